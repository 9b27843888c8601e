"""The paper's claims on real images, over many seeds: rows, verdicts, figures and a report.

    python -m experiments.reproduce --preset=quick --out=results/quick

trains linear and non-linear networks, attacks them, measures the spectra of their perturbations,
and decides the claims registered in ``freqbias/study/claims/caro2024.toml``. It composes the other
binaries of the study.

============  ====================================================================  ============
preset        what                                                                  2 CPU cores
============  ====================================================================  ============
``smoke``     one data set, three arms, 3 seeds: shows that everything runs         < 1 minute
``quick``     two data sets, ten arms, linear and ReLU, two initial scales, 8 seeds ~ 5 minutes
``standard``  all binaries but linear_bias, on two data sets and what they derive   hours
``paper``     the paper's scale                                                     accelerator
============  ====================================================================  ============

``quick`` varies one factor at a time, from conv K = 3 with one hidden layer: the kernel (3, 7, full
width), the depth (1 to 3), and sharing and locality (locally connected, scattered). FC is the
baseline. The second attack (L-inf) runs only where C1, C2 and C6 are decided, on conv and FC with
one hidden layer at initial scale 1, to save time.

``standard`` is every binary of the study at once: seven kernel sizes and four depths, so that
trends are curves; sharing x locality; three initial scales; three paddings; Adam and weight decay;
ResNet, VGG, ConvMixer, ViT and MLP-Mixer at equal steps and at equal accuracy; courses of training;
smallest perturbations, filtered images and heat maps; and conv K = 3, full width and FC on the main
sets under eight transforms, on ``digits`` and on 1/f noise. One factor varies at a time, but for
the initial scale, which crosses all of them, since no verdict stands that depends on it. Eight
seeds, because t intervals over fewer are wide (the report says of each claim what eight could have
shown); about twice the images, channels and training of ``quick``, because the time of convolutions
on CPU goes with each of them, and accuracy must pass the floors of the claims. ``paper`` has the
binaries alike at the settings of the authors' public code.

What is spent is told in ``freqbias/study/design.py``; what a preset costs, before it is
run, by ``python -m experiments.cost --preset=paper``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("reproduce", designs.reproduce)

"""The paper's claims on real images, over many seeds: rows, verdicts, figures and a report.

    python -m experiments.reproduce --preset=quick --out=results/quick

trains linear and non-linear networks, attacks them, measures the spectra of their perturbations,
and decides the claims registered in ``freqbias/study/claims/caro2024.toml``. It composes the other
binaries of the study.

============  ====================================================================  ============
preset        what                                                                  2 CPU cores
============  ====================================================================  ============
``smoke``     one data set, three arms, 3 seeds: shows that everything runs         < 1 minute
``quick``     two data sets, four arms, linear and ReLU, 8 seeds, trained to fit    3 to 5 minutes
``standard``  all binaries but linear_bias, on two data sets and what they derive   hours
``paper``     the paper's scale                                                     accelerator
============  ====================================================================  ============

``quick`` has conv K = 3, 7 and full width with one hidden layer, and FC, at initial scale 1. Its
networks are trained until they fit, each arm at the largest rate at which all seeds are stable, and
are attacked (L2) along their course. Depth, sharing and locality, initial scales and the second
attack (L-inf) are left to ``standard``.

``standard`` is every binary of the study at once: seven kernel sizes and four depths, so that
trends are curves; sharing x locality; three initial scales; three paddings; Adam and weight decay;
ResNet, VGG, ConvMixer, ViT and MLP-Mixer at equal steps and at equal accuracy; courses of training;
smallest perturbations, filtered images and heat maps; and conv K = 3, full width and FC on the main
sets under eight transforms, on ``digits`` and on 1/f noise. One factor varies at a time, but for
the initial scale, which crosses all of them, since no verdict stands that depends on it. Eight
seeds, because t intervals over fewer are wide (the report says of each claim what eight could have
shown). Its 248 steps, at one rate and clipped, leave most networks far from fitted: its verdicts
speak of the beginning of training. ``paper`` has the
binaries alike at the settings of the authors' public code.

What is spent is told in ``freqbias/study/design.py``; what a preset costs, before it is
run, by ``python -m experiments.cost --preset=paper``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("reproduce", designs.reproduce)

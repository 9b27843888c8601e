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
``standard``  nine data sets, seven kernel sizes, depth, sharing, scales, blocks    hours
``paper``     the paper's scale                                                     accelerator
``authors``   the authors' protocol, and the way from there to ours                 see below
============  ====================================================================  ============

``quick`` has conv K = 3, 7 and full width with one hidden layer, and FC, at initial scale 1. Its
networks are trained until they fit, each arm at the largest rate at which all seeds are stable, and
are attacked (L2) along their course. Depth, sharing and locality, initial scales and the second
attack (L-inf) are left to ``standard``.

``standard`` trains to fit, too (0.99 of the training images), with twice the channels. On the two
main sets: seven kernel sizes and three depths, so that trends are curves; the arms of C1 and C2 at
initial scales 1, 1/3 and 1/10, since no verdict stands that depends on it; sharing x locality; Adam
and weight decay; planted patterns (C11); smallest perturbations along the course, filtered images
and heat maps. On Fashion-MNIST also ViT, MLP-Mixer and GFNet. Conv K = 3, full width and FC
on five more sets, so that C4 has its sources. One factor varies at a time; eight seeds, because t
intervals over fewer are wide (the report says of each claim what eight could have shown). Paddings,
all transforms of the data, four more architectures and those on photographs are left to the
binaries of their name; ``--parts`` runs some of the questions. ``paper`` has all
binaries at the scale of the paper; it was never run.

``authors`` has the protocol of the authors' public code on FC and one convolution (K = 3, 11, full
width), their statistic beside ours, and C1 and C2 at nine stages between that protocol and ours,
one change at a time (``freqbias/study/protocols.py``). ``--parts=bridge`` is the stages that train
for 2,229 steps or fewer. ``authors``, ``width``, ``channels`` and ``depth`` train for 15,600, the
protocol itself at width 3072: an accelerator's work, or a night's.

What is spent is told in ``freqbias/study/design.py``; what a preset costs, before it is
run, by ``python -m experiments.cost --preset=paper``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("reproduce", designs.reproduce)

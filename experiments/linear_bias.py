"""When do local kernels mean higher frequency? Linear networks over time, sample, scale and step.

    python -m experiments.linear_bias --preset=quick --out=results/linear_quick

trains linear networks of every arm on synthetic and real binary tasks from initialisation to deep
in the separable regime, and reads claims C7, C8 and the linear half of C6 off them: the mean
frequency of the predictor over time beside its maximum-margin limits, phase diagrams of conv minus
FC, sparsity and certificates, kernel slack.

===========  ==========================================================================  ==========
preset       what                                                                        2 CPU cores
===========  ==========================================================================  ==========
``smoke``    two tasks, three arms, 3 seeds, 50 steps: shows that everything runs        < 1 minute
``quick``    five tasks, eight arms, 8 seeds, three samples, 1,000 steps                 8 minutes
``full``     eight tasks, thirteen arms, 16 seeds, four samples, 20,000 steps            hours
===========  ==========================================================================  ==========

Written to ``--out``: rows.csv (one row per task, arm, N, initial scale, step size, seed and
recorded step), claims.json (by ``freqbias/study/linear/claims.toml``), limits.json, study.json,
config.json, figures, report.html.
"""

from freqbias.cli import linear_bias

if __name__ == "__main__":
    linear_bias.main()

"""Joins the parts of a study, then judges, draws and reports as if it had been run at once.

A study that was split over machines (`linear_bias` likewise):

    python -m experiments.kernel_size --shard=1/2 --out=part1    # on one machine
    python -m experiments.kernel_size --shard=2/2 --out=part2    # on another
    python -m experiments.merge --shards=part1,part2 --out=results/kernel_size

or one that was run on some data sets, then on others:

    python -m experiments.reproduce --preset=standard --out=results/packaged
    python -m experiments.reproduce --preset=standard --datasets=cifar10 --out=results/cifar10
    python -m experiments.merge --shards=results/packaged,results/cifar10 --out=results/both
"""

from freqbias.cli import merge

if __name__ == "__main__":
    merge.main()

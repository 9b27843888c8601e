"""Claim C3: does frequency rise with depth, and does it in fully connected networks too?

    python -m experiments.depth --preset=quick --depths=1-3

Convolutional networks with 3 x 3 kernels and fully connected ones, which differ in nothing but the
number of hidden layers; what is spent and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm
from experiments.sweep import Design

DEPTHS = {"smoke": (1, 2), "quick": (1, 2, 3), "standard": (1, 2, 3, 4), "paper": (1, 2, 3, 4)}


def designs(preset: str) -> tuple[Design, ...]:
    """Every depth of the preset, with 3 x 3 kernels and fully connected."""
    arms = [arm for depth in DEPTHS[preset] for arm in (Arm("conv", depth, "3"), Arm("fc", depth))]
    return (Design(sweep.DATASETS_OF[preset], tuple(arms)),)


if __name__ == "__main__":
    sweep.main("depth", designs)

"""Claim C9: is it weight sharing (translational symmetry), or locality alone?

    python -m experiments.symmetry --preset=quick

Networks with one hidden layer of nine taps per output, crossed: shared or not, local or scattered
over the image; and locally connected ones that start from one kernel at every pixel. What is spent
and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

ARMS = (
    Arm("conv", 1, "3"),
    Arm("locally_connected", 1, "3"),
    Arm("scattered", 1, "3"),
    Arm("scattered_unshared", 1, "3"),
    Arm("locally_connected_tied", 1, "3"),
)


def designs(preset: str) -> tuple[Design, ...]:
    """Sharing x locality, and the tied start."""
    return (Design(sweep.DATASETS_OF[preset], ARMS, asked=Asked(second_attack=True)),)


if __name__ == "__main__":
    sweep.main("symmetry", designs)

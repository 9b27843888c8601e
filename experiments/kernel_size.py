"""Claim C2: does frequency fall as kernels grow, up to the width of the image?

    python -m experiments.kernel_size --preset=quick --datasets=digits --kernel_sizes=3,5,full

Convolutional networks with one hidden layer, which differ in nothing but the kernel size, beside a
fully connected network; attacked in L2 with and without the box [0, 1], and in L-inf. What is spent
and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

KERNELS = {
    "smoke": ("3", "full"),
    "quick": ("3", "7", "full"),
    "standard": ("3", "5", "7", "9", "11", "15", "full"),
    "paper": ("3", "7", "11", "15", "full"),
}


def designs(preset: str) -> tuple[Design, ...]:
    """Every kernel size of the preset, and FC."""
    arms = (*(Arm("conv", 1, kernel) for kernel in KERNELS[preset]), Arm("fc"))
    asked = Asked(second_attack=True, other_box=True)
    return (Design(sweep.DATASETS_OF[preset], arms, asked=asked),)


if __name__ == "__main__":
    sweep.main("kernel_size", designs)

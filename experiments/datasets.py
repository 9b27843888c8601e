"""Claim C4: does the effect depend on the data set?

    python -m experiments.datasets --preset=quick --datasets=digits,fashion_mnist_mini

Convolutional networks with 3 x 3 and full-width kernels beside a fully connected one, on every
data set; the effects C1 and C2 on each, and how much they differ. What is spent and written is told
in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design
from freqbias.data import embedded

ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))
CONTROLLED = (
    "fashion_mnist_mini+low_pass_0.125",
    "natural_patches+permuted_0",
    "fashion_mnist_mini+teacher_0.25_0.35",
)
DATASETS_OF = {
    "smoke": ("fashion_mnist_mini", "digits"),
    "quick": embedded.NAMES,
    "standard": (*embedded.NAMES, *CONTROLLED),
    "paper": ("cifar10", "cifar100", "svhn_cropped", "mnist", "fashion_mnist", "kmnist"),
}


def designs(preset: str) -> tuple[Design, ...]:
    """Three arms on many data sets."""
    return (Design(DATASETS_OF[preset], ARMS, asked=Asked(second_attack=True)),)


if __name__ == "__main__":
    sweep.main("datasets", designs)

"""Control: do zeros around the image, or the wrap of it, make the effect?

    python -m experiments.padding --preset=quick

Convolutional networks with circular, zero ("SAME") and no ("VALID") padding; a circular one sees
the edge between opposite sides of an image, which has high frequencies along the axes. What is
spent and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

PADDINGS = ("circular", "SAME", "VALID")


def designs(preset: str) -> tuple[Design, ...]:
    """Every padding at K = 3 and 7, and FC."""
    kernels = ("3",) if preset == "smoke" else ("3", "7")
    arms = [Arm("conv", 1, kernel, padding) for kernel in kernels for padding in PADDINGS]
    asked = Asked(second_attack=True)
    return (Design(sweep.DATASETS_OF[preset], (*arms, Arm("fc")), asked=asked),)


if __name__ == "__main__":
    sweep.main("padding", designs)

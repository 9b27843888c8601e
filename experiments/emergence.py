"""Claim C10: are perturbations absent at initialisation, and when do they emerge?

    python -m experiments.emergence --preset=quick

The smallest L2 perturbation relative to the image, and the frequency of perturbations of a fixed
size, at initialisation and at log-spaced steps of training. What is spent and written is told in
``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))


def designs(preset: str) -> tuple[Design, ...]:
    """Three arms at log-spaced steps."""
    checkpoints = 3 if preset == "smoke" else 6
    asked = Asked(checkpoints=checkpoints, minimal=True, minimal_in_training=True)
    return (Design(sweep.DATASETS_OF[preset], ARMS, asked=asked),)


if __name__ == "__main__":
    sweep.main("emergence", designs)

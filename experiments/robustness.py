"""How robust each architecture is, and which frequencies it uses, beside where it is attacked.

    python -m experiments.robustness --preset=quick

Smallest L2 perturbations, accuracy under both attacks, and accuracy on low- and on high-passed
images (which frequencies a network needs) beside the spectra of its perturbations. What is spent
and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

ARMS = (
    Arm("conv", 1, "3"),
    Arm("conv", 1, "7"),
    Arm("conv", 1, "full"),
    Arm("conv", 2, "3"),
    Arm("locally_connected", 1, "3"),
    Arm("fc"),
)


def designs(preset: str) -> tuple[Design, ...]:
    """Plain families, with all that is measured of robustness."""
    arms = (ARMS[0], ARMS[-1]) if preset == "smoke" else ARMS
    asked = Asked(second_attack=True, minimal=True, filtered=True)
    return (Design(sweep.DATASETS_OF[preset], arms, asked=asked),)


if __name__ == "__main__":
    sweep.main("robustness", designs)

"""Which plane waves break each architecture: the heat map of Yin et al. (2019).

    python -m experiments.heatmap --preset=quick

The error rate on test images to which one plane wave of a fixed L2 norm is added, for every
frequency: all frequencies are tried alike, where a perturbation chooses its own. What is spent and
written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("locally_connected", 1, "3"), Arm("fc"))


def designs(preset: str) -> tuple[Design, ...]:
    """Four arms at initial scale 1."""
    arms = (ARMS[0], ARMS[-1]) if preset == "smoke" else ARMS
    asked = Asked(heat_map=True)
    return (Design(sweep.DATASETS_OF[preset], arms, init_scales=(1.0,), asked=asked),)


if __name__ == "__main__":
    sweep.main("heatmap", designs)

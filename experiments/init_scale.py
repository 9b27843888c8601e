"""Control: how much of an effect is the noise of the initial weights?

    python -m experiments.init_scale --preset=quick --init_scales=1,0.5,0.1

Where the data have no variance, fully connected and unshared weights keep their white start; so
each arm is run at three output scales of the initial weights. What is spent and written is told in
``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm
from experiments.sweep import Design

ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("locally_connected", 1, "3"), Arm("fc"))
SCALES = (1.0, 0.5, 0.1)


def designs(preset: str) -> tuple[Design, ...]:
    """Three initial scales."""
    return (Design(sweep.DATASETS_OF[preset], ARMS, init_scales=SCALES),)


if __name__ == "__main__":
    sweep.main("init_scale", designs)

"""Control: is the effect one of the optimiser, or of weight decay?

    python -m experiments.optimizer --preset=quick

Convolutional and fully connected networks by SGD with momentum, by the same with weight decay, and
by Adam, which singles out the axes of parameter space. What is spent and written is told in
``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm
from experiments.sweep import Design

PLAIN = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))
WEIGHT_DECAY = 5e-4


def designs(preset: str) -> tuple[Design, ...]:
    """Three arms by three rules."""
    decayed = tuple(arm._replace(weight_decay=WEIGHT_DECAY) for arm in PLAIN)
    by_adam = tuple(arm._replace(optimizer="adam") for arm in PLAIN)
    return (Design(sweep.DATASETS_OF[preset], (*PLAIN, *decayed, *by_adam)),)


if __name__ == "__main__":
    sweep.main("optimizer", designs)

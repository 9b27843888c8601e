"""What the linear study compares, and what is spent, by preset.

===========  ===========================================================================
preset       what is compared, and what is spent on it
===========  ===========================================================================
``smoke``    two tasks, three arms, 3 seeds, 50 steps: shows that everything runs
``quick``    five tasks, eight arms, 8 seeds, three samples of each, 1,000 steps
``full``     eight tasks, thirteen arms, 16 seeds, up to four samples, 20,000 steps
===========  ===========================================================================
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from freqbias import _checks
from freqbias._checked import check_fields
from freqbias.ensemble import STRATEGIES, Strategy
from freqbias.study.linear.limits import LimitPlan
from freqbias.study.linear.tasks import TaskPlan
from freqbias.study.setting import Arm

REGISTRY = Path(__file__).with_name("claims.toml")
"""The claims about linear networks."""


@dataclasses.dataclass(frozen=True)
class Descent:
    """What is spent on every arm and task alike: full-batch descent over seeds, scales and steps.

    Attributes:
      seeds: each draws its own samples and initial weights.
      init_scales: of the initial predictor, relative to the usual; must hold 1.
      num_steps: of descent.
      step_size: the first of the small steps, relative to the norm of the weights.
      decay_steps: after how many steps the small steps begin to shrink.
      large_step_size: the large steps, which stay as they are; at initial scale 1 only.
      stationarity_images: the largest sample on which KKT residuals are fitted.
      random_key: the root of all randomness.
      strategy: of the ensemble's axis in training, see `freqbias.ensemble`. "auto" is "sharded"
        over several processes or accelerators, else "vmap", one program for all.
    """

    seeds: tuple[int, ...] = tuple(range(8))
    init_scales: tuple[float, ...] = (1.0, 0.5, 0.03)
    num_steps: int = 1000
    step_size: float = 0.01
    decay_steps: float = 100.0
    large_step_size: float = 0.05
    stationarity_images: int = 128
    random_key: int = 0
    strategy: Strategy = "auto"

    def __post_init__(self) -> None:
        check_fields(self)


class Comparison(NamedTuple):
    """What is compared: every arm on every task, beside the maximum margins of the task."""

    tasks: tuple[TaskPlan, ...]
    arms: tuple[Arm, ...]
    limits: tuple[LimitPlan, ...] = ()
    limit_seeds: int = 1  # seeds on whose samples the limits are solved for


def check_descent(descent: Descent) -> None:
    """Raises ValueError or TypeError unless the descent can be run."""
    if len(_checks.seeds(descent.seeds)) < 2:
        raise ValueError(f"seeds must be at least 2, to have a spread; got {list(descent.seeds)}.")
    _checks.positive_int("num_steps", descent.num_steps)
    _checks.one_of("strategy", descent.strategy, STRATEGIES)
    for name in ("step_size", "large_step_size", "decay_steps", "init_scales"):
        _checks.positive(name, getattr(descent, name))
    scales = list(descent.init_scales)
    if len(set(scales)) != len(scales):
        raise ValueError(f"init_scales must not repeat; got {scales}.")
    if 1.0 not in scales:
        raise ValueError(f"init_scales must hold 1; got {scales}.")
    if descent.step_size == descent.large_step_size:
        raise ValueError(f"step_size and large_step_size must differ; both {descent.step_size}.")


ARMS = (
    Arm("fc", 1),
    Arm("fc", 2),
    Arm("conv", 1, "3"),
    Arm("conv", 1, "7"),
    Arm("conv", 1, "full"),
    Arm("conv", 2, "3"),
    Arm("conv", 2, "full"),
    Arm("locally_connected", 1, "3"),
)
PAIR = (32, 128, 512)  # sample sizes of a task of two classes
MANY = (128, 512, 2048)  # of even against odd classes

PRESETS: Mapping[str, tuple[Comparison, Descent]] = {
    "smoke": (
        Comparison(
            tasks=(TaskPlan("teacher", (16, 64), 200), TaskPlan("patches_1_2", (16, 64), 200)),
            arms=(Arm("fc", 1), Arm("conv", 1, "3"), Arm("conv", 1, "full")),
            limits=(
                *(LimitPlan("l2", num, 100) for num in (16, 64)),
                LimitPlan("fourier", 16, 100),
            ),
        ),
        Descent(seeds=(0, 1, 2), init_scales=(1.0, 0.5), num_steps=50),
    ),
    "quick": (
        Comparison(
            tasks=(
                *(
                    TaskPlan(name, PAIR, 1000)
                    for name in ("noise", "teacher", "fashion_0_6", "patches_0_3")
                ),
                TaskPlan("patches_even_odd", MANY, 3000),
            ),
            arms=ARMS,
            limits=(
                *(LimitPlan("l2", num, 100) for num in (32, 128, 512)),
                *(LimitPlan("fourier", num, 100) for num in (32, 128)),
                LimitPlan("kernel_3", 32, 100),
                LimitPlan("kernel_3", 512, 12),
                LimitPlan("locally_connected_3", 32, 100),
            ),
        ),
        Descent(),
    ),
    "full": (
        Comparison(
            tasks=(
                *(TaskPlan(name, (*PAIR, 1000), 1000) for name in ("noise", "teacher")),
                *(TaskPlan(name, PAIR, 2000) for name in ("fashion_0_6", "fashion_5_7")),
                TaskPlan("fashion_even_odd", MANY, 8000),
                *(TaskPlan(name, PAIR, 1000) for name in ("patches_1_2", "patches_0_3")),
                TaskPlan("patches_even_odd", MANY, 4000),
            ),
            arms=(
                *ARMS,
                Arm("fc", 3),
                Arm("conv", 2, "7"),
                Arm("conv", 3, "3"),
                Arm("conv", 3, "full"),
                Arm("locally_connected", 2, "3"),
            ),
            limits=tuple(
                LimitPlan(norm, num, 300)
                for norm in ("l2", "fourier", "kernel_3", "locally_connected_3")
                for num in PAIR
            ),
            limit_seeds=2,
        ),
        Descent(seeds=tuple(range(16)), init_scales=(1.0, 0.5, 0.1, 0.01), num_steps=20_000),
    ),
}
"""What is compared and what is spent, by the name of the preset."""

"""What the linear study compares and spends, by preset."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from freqbias.plotting import Style
from freqbias.study import arms
from freqbias.study.linear.courses import Budget, LimitPlan
from freqbias.study.linear.tasks import TaskPlan
from freqbias.study.setting import Arm, Setting

REGISTRY = Path(__file__).with_name("claims.toml")


class Preset(NamedTuple):
    """A design and its budget."""

    tasks: tuple[TaskPlan, ...]
    arms: tuple[Arm, ...]
    budget: Budget
    limits: tuple[LimitPlan, ...]
    limit_seeds: int


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
PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        tasks=(TaskPlan("teacher", (16, 64), 200), TaskPlan("patches_1_2", (16, 64), 200)),
        arms=(Arm("fc", 1), Arm("conv", 1, "3"), Arm("conv", 1, "full")),
        budget=Budget(seeds=(0, 1, 2), init_scales=(1.0, 0.5), num_steps=50),
        limits=(LimitPlan("l2", 16, 100), LimitPlan("l2", 64, 100), LimitPlan("fourier", 16, 100)),
        limit_seeds=1,
    ),
    "quick": Preset(
        tasks=(
            TaskPlan("noise", PAIR, 1000),
            TaskPlan("teacher", PAIR, 1000),
            TaskPlan("fashion_0_6", PAIR, 1000),
            TaskPlan("patches_0_3", PAIR, 1000),
            TaskPlan("patches_even_odd", MANY, 3000),
        ),
        arms=ARMS,
        budget=Budget(),
        limits=(
            *(LimitPlan("l2", num, 100) for num in (32, 128, 512)),
            *(LimitPlan("fourier", num, 100) for num in (32, 128)),
            LimitPlan("kernel_3", 32, 100),
            LimitPlan("kernel_3", 512, 12),
            LimitPlan("locally_connected_3", 32, 100),
        ),
        limit_seeds=1,
    ),
    "full": Preset(
        tasks=(
            *(TaskPlan(name, (*PAIR, 1000), 1000) for name in ("noise", "teacher")),
            TaskPlan("fashion_0_6", PAIR, 2000),
            TaskPlan("fashion_5_7", PAIR, 2000),
            TaskPlan("fashion_even_odd", MANY, 8000),
            TaskPlan("patches_1_2", PAIR, 1000),
            TaskPlan("patches_0_3", PAIR, 1000),
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
        budget=Budget(seeds=tuple(range(16)), init_scales=(1.0, 0.5, 0.1, 0.01), num_steps=20_000),
        limits=tuple(
            LimitPlan(norm, num, 300)
            for norm in ("l2", "fourier", "kernel_3", "locally_connected_3")
            for num in PAIR
        ),
        limit_seeds=2,
    ),
}

STYLES: Mapping[str, Style] = {
    Setting("", "linear", *arm).arm: arms.style(arm) for arm in PRESETS["full"].arms
}
"""How every arm is drawn, by its name in the rows."""

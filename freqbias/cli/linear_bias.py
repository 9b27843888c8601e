"""The flags of the linear study, and its binary; what it does is `freqbias.study.linear`."""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from freqbias import _checks
from freqbias.cli import flags
from freqbias.study import linear
from freqbias.study.engine import Executor
from freqbias.study.linear import Comparison, Descent, study
from freqbias.study.linear.tasks import check_names

TASKS = absl_flags.DEFINE_list(
    "tasks",
    None,
    "Binary tasks: noise, teacher, fashion_0_6 (two classes), patches_even_odd; default: the "
    "preset's.",
)
NUM_TRAIN = absl_flags.DEFINE_list("num_train", None, "Sample sizes (images) of every task.")
TRAIN_STEPS = absl_flags.DEFINE_integer("train_steps", None, "Steps of full-batch descent.")
STEP_SIZE = absl_flags.DEFINE_float(
    "step_size", None, "First of the small steps, relative to the norm of the weights."
)
LARGE_STEP_SIZE = absl_flags.DEFINE_float(
    "large_step_size", None, "The large, constant steps, likewise."
)


class Request(NamedTuple):
    """A checked study with the folder it runs in."""

    plan: linear.Plan
    run: Path
    executor: Executor
    shard: tuple[int, int] | None


def prepare() -> Request:
    """Checks every flag, makes the tasks and opens the run."""
    preset = flags.PRESET.value
    _checks.one_of("preset", preset, linear.PRESETS)
    compared, descent = linear.PRESETS[preset]
    plan = linear.plan("linear_bias", _compared(compared), _descent(descent), preset=preset)
    executor, shard = flags.executor(), flags.shard()
    run = study.open_run(
        plan,
        flags.OUT.value or os.path.join("results", f"linear_{preset}"),
        shard=shard,
        device=executor.device(),
        overwrite=flags.OVERWRITE.value,
        resume=flags.RESUME.value,
    )
    return Request(plan, run, executor, shard)


def execute(request: Request) -> None:
    """Runs what is left; unless this is a part, judges, draws and reports."""
    study.execute(request.plan, request.run, request.executor, shard=request.shard)


def _compared(compared: Comparison) -> Comparison:
    """With the tasks of --tasks, or the preset's; --num_train replaces their sample sizes."""
    tasks = {task.name: task for task in compared.tasks}
    names = list(tasks) if TASKS.value is None else TASKS.value
    check_names(names)
    of_two_classes = [task for task in compared.tasks if not task.name.endswith("even_odd")][-1]
    chosen = [tasks.get(name, of_two_classes._replace(name=name)) for name in names]
    if NUM_TRAIN.value is not None:
        sizes = flags.parse_ints("num_train", NUM_TRAIN.value)
        if not sizes or min(sizes) < 2 or len(set(sizes)) != len(sizes):
            raise ValueError(f"num_train must be distinct sizes >= 2; got {list(sizes)}.")
        chosen = [
            task._replace(num_train=tuple(sorted(sizes)), pool=max(task.pool, *sizes))
            for task in chosen
        ]
    return compared._replace(tasks=tuple(chosen))


def _descent(descent: Descent) -> Descent:
    """The preset's descent with the flags that were given."""
    if TRAIN_STEPS.value is not None:
        _checks.positive_int("train_steps", TRAIN_STEPS.value)
    seeds, scales = flags.SEEDS.value, flags.INIT_SCALES.value
    given: dict[str, Any] = {
        "seeds": None if seeds is None else flags.parse_ints("seeds", seeds),
        "init_scales": None if scales is None else flags.parse_floats("init_scales", scales),
        "num_steps": TRAIN_STEPS.value,
        "step_size": STEP_SIZE.value,
        "large_step_size": LARGE_STEP_SIZE.value,
        "random_key": flags.RANDOM_KEY.value,
        "strategy": flags.strategy(),
    }
    return dataclasses.replace(descent, **{k: v for k, v in given.items() if v is not None})


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, over_processes=True)

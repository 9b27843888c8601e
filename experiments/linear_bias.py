"""When do local kernels mean higher frequency? Linear networks over time, sample, scale and step.

    python -m experiments.linear_bias --preset=quick --out=results/linear_quick

trains linear networks of every arm on synthetic and real binary tasks from initialisation to deep
in the separable regime, and reads claims C7, C8 and the linear half of C6 off them: the mean
frequency of the predictor over time beside its maximum-margin limits, phase diagrams of conv minus
FC, sparsity and certificates, kernel slack.

===========  ==========================================================================  ==========
preset       what                                                                        2 CPU cores
===========  ==========================================================================  ==========
``smoke``    two tasks, three arms, 3 seeds, 50 steps: shows that everything runs        < 1 minute
``quick``    five tasks, eight arms, 8 seeds, three samples, 1,000 steps                 8 minutes
``full``     eight tasks, thirteen arms, 16 seeds, four samples, 20,000 steps            hours
===========  ==========================================================================  ==========

Written to ``--out``: rows.csv (one row per task, arm, N, initial scale, step size, seed and
recorded step), claims.json (by ``claims_linear.toml``), limits.json, config.json, figures,
report.html.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from experiments import claims, common, linear_report, linear_study, linear_summary, linear_tasks
from experiments.linear_study import Budget, LimitPlan
from experiments.linear_tasks import Task, TaskPlan
from experiments.setting import Arm, Setting
from freqbias import _checks, report, runs

REGISTRY = Path(__file__).with_name("claims_linear.toml")


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

TASKS = flags.DEFINE_list(
    "tasks",
    None,
    "Binary tasks: noise, teacher, fashion_0_6 (two classes), patches_even_odd; default: the "
    "preset's.",
)
NUM_TRAIN = flags.DEFINE_list("num_train", None, "Sample sizes (images) of every task.")
TRAIN_STEPS = flags.DEFINE_integer("train_steps", None, "Steps of full-batch descent.")
STEP_SIZE = flags.DEFINE_float(
    "step_size", None, "First of the small steps, relative to the norm of the weights."
)
LARGE_STEP_SIZE = flags.DEFINE_float(
    "large_step_size", None, "The large, constant steps, likewise."
)


class Plan(NamedTuple):
    """A checked run, ready to start."""

    run: Path
    tasks: tuple[TaskPlan, ...]
    made: dict[str, Task]
    arms: tuple[Arm, ...]
    budget: Budget
    limits: tuple[LimitPlan, ...]
    limit_seeds: int
    registry: claims.Registry
    workers: int


def prepare() -> Plan:
    """Checks every flag, makes the tasks and opens the run."""
    _checks.one_of("preset", common.PRESET.value, PRESETS)
    preset = PRESETS[common.PRESET.value]
    budget = _budget(preset.budget)
    tasks = _tasks(preset)
    sources = linear_tasks.load_sources([plan.name for plan in tasks])
    made = {}
    for plan in tasks:
        source = linear_tasks.dataset_of(plan.name)
        dataset = None if source is None else sources[source]
        made[plan.name] = linear_tasks.make_task(plan, dataset, budget.random_key)
    registry = claims.with_arms(
        claims.load_registry(REGISTRY), {_setting("", arm).arm: () for arm in preset.arms}
    )
    run = runs.open_run(
        common.OUT.value or os.path.join("results", f"linear_{common.PRESET.value}"),
        {
            "preset": common.PRESET.value,
            "tasks": {plan.name: [list(plan.num_train), plan.pool] for plan in tasks},
            **dataclasses.asdict(budget),
            "arms": [list(arm) for arm in preset.arms],
            "limits": [list(limit) for limit in preset.limits],
            "claims": [claim.id for claim in registry.claims],
        },
        data_checksums={name: dataset.checksum for name, dataset in sources.items()},
        overwrite=common.OVERWRITE.value,
        resume=common.RESUME.value,
    )
    return Plan(
        run=run,
        tasks=tasks,
        made=made,
        arms=preset.arms,
        budget=budget,
        limits=preset.limits,
        limit_seeds=preset.limit_seeds,
        registry=registry,
        workers=common.num_workers(jax.default_backend()),
    )


def execute(plan: Plan) -> None:
    """Runs what is left, then judges, draws and reports."""
    run_left(plan)
    rows = runs.write_rows(plan.run)
    order = [task.name for task in plan.tasks]
    rows = rows.sort_values("dataset", key=lambda names: names.map(order.index), kind="stable")
    limits = [
        {"task": task.name, **limit}
        for task in plan.tasks
        for limit in _read_json(plan.run, f"limits/{task.name}.json")
    ]
    records = claims.judge(linear_summary.final_rows(rows), plan.registry)
    runs.save_json(plan.run, "claims.json", {"claims": records})
    runs.save_json(plan.run, "limits.json", limits)
    titles = {name: task.title for name, task in plan.made.items()}
    page = linear_report.make_page(rows, limits, records, titles)
    path = report.write_page(plan.run, page)
    for section in page.sections[:2]:  # when, and the tally of the claims
        print("\n".join(section.text))
    print(f"report: {path}")


def run_left(plan: Plan) -> None:
    """Every setting and every task's limits that are not there yet, side by side."""
    done = runs.finished(plan.run)
    jobs = []
    for task in plan.tasks:
        name = f"limits/{task.name}.json"
        if not (plan.run / name).exists():
            jobs.append(_limit_job(plan, task, name))
        for arm in plan.arms:
            setting = _setting(task.name, arm)
            if f"{task.name}.{setting.arm}" not in done:
                jobs.append(_setting_job(plan, task, setting))
    common.run_jobs(jobs, plan.workers)


def _setting_job(plan: Plan, task: TaskPlan, setting: Setting) -> common.Job:
    cost = _cost(setting, task, plan.budget)

    def parts() -> Iterator[common.Part]:
        rows = linear_study.run_setting(setting, plan.made[task.name], task, plan.budget)
        yield cost, partial(runs.append_rows, plan.run, f"{task.name}.{setting.arm}", rows)

    return common.Job(cost, parts)


def _limit_job(plan: Plan, task: TaskPlan, name: str) -> common.Job:
    """The maximum margins of one task."""

    def parts() -> Iterator[common.Part]:
        wanted = [limit for limit in plan.limits if limit.num_train in task.num_train]
        seeds = plan.budget.seeds[: plan.limit_seeds]
        found = linear_study.solve_limits(plan.made[task.name], wanted, seeds, plan.budget)
        yield 20.0, partial(runs.save_json, plan.run, name, found)

    return common.Job(20.0, parts)


def _cost(setting: Setting, task: TaskPlan, budget: Budget) -> float:
    """Relative time of a setting, for the order and the progress bar only."""
    layers = {"fc": 0.2, "conv": 0.6, "locally_connected": 1.5}[setting.architecture]
    return 3 + budget.num_steps / 1000 * 2 * (task.pool / 1000 + layers * setting.depth)


def _setting(task: str, arm: Arm) -> Setting:
    return Setting(task, "linear", *arm)


def _read_json(run: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((run / name).read_text(encoding="utf-8"))


def _tasks(preset: Preset) -> tuple[TaskPlan, ...]:
    """The preset's tasks, or those of --tasks with its sample sizes; --num_train replaces them."""
    known = {plan.name: plan for plan in preset.tasks}
    names = TASKS.value if TASKS.value is not None else list(known)
    linear_tasks.check_names(names)
    pair = preset.tasks[-1] if len(preset.tasks) == 2 else preset.tasks[-2]
    plans = [known.get(name, pair._replace(name=name)) for name in names]
    if NUM_TRAIN.value is not None:
        sizes = common.parse_ints("num_train", NUM_TRAIN.value)
        if not sizes or min(sizes) < 2 or len(set(sizes)) != len(sizes):
            raise ValueError(f"num_train must be distinct sizes >= 2; got {list(sizes)}.")
        plans = [plan._replace(num_train=tuple(sorted(sizes))) for plan in plans]
        plans = [plan._replace(pool=max(plan.pool, *sizes)) for plan in plans]
    return tuple(plans)


def _budget(budget: Budget) -> Budget:
    """The preset's budget with the flags that were given, checked."""
    given: dict[str, Any] = {
        "seeds": None
        if common.SEEDS.value is None
        else common.parse_ints("seeds", common.SEEDS.value),
        "init_scales": None
        if common.INIT_SCALES.value is None
        else common.parse_floats("init_scales", common.INIT_SCALES.value),
        "num_steps": TRAIN_STEPS.value,
        "step_size": STEP_SIZE.value,
        "large_step_size": LARGE_STEP_SIZE.value,
        "random_key": common.RANDOM_KEY.value,
    }
    budget = dataclasses.replace(budget, **{k: v for k, v in given.items() if v is not None})
    linear_study.check_budget(budget)
    return budget


if __name__ == "__main__":
    common.run(prepare, execute)

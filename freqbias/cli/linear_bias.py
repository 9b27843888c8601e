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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from freqbias import _checks, report, runs
from freqbias.cli import flags
from freqbias.study import claims, engine
from freqbias.study.linear import courses, page, summary
from freqbias.study.linear import tasks as tasks_lib
from freqbias.study.linear.courses import Budget, LimitPlan
from freqbias.study.linear.presets import PRESETS, REGISTRY, Preset
from freqbias.study.linear.tasks import Task, TaskPlan
from freqbias.study.setting import Arm, Setting

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
    _checks.one_of("preset", flags.PRESET.value, PRESETS)
    preset = PRESETS[flags.PRESET.value]
    budget = _budget(preset.budget)
    tasks = _tasks(preset)
    sources = tasks_lib.load_sources([plan.name for plan in tasks])
    made = {}
    for plan in tasks:
        source = tasks_lib.dataset_of(plan.name)
        dataset = None if source is None else sources[source]
        made[plan.name] = tasks_lib.make_task(plan, dataset, budget.random_key)
    registry = claims.with_arms(
        claims.load_registry(REGISTRY), {_setting("", arm).arm: () for arm in preset.arms}
    )
    run = runs.open_run(
        flags.OUT.value or os.path.join("results", f"linear_{flags.PRESET.value}"),
        {
            "preset": flags.PRESET.value,
            "tasks": {plan.name: [list(plan.num_train), plan.pool] for plan in tasks},
            **dataclasses.asdict(budget),
            "arms": [list(arm) for arm in preset.arms],
            "limits": [list(limit) for limit in preset.limits],
            "claims": [claim.id for claim in registry.claims],
        },
        data_checksums={name: dataset.checksum for name, dataset in sources.items()},
        overwrite=flags.OVERWRITE.value,
        resume=flags.RESUME.value,
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
        workers=flags.WORKERS.value or engine.default_workers(),
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
    records = claims.judge(summary.final_rows(rows), plan.registry)
    runs.save_json(plan.run, "claims.json", {"claims": records})
    runs.save_json(plan.run, "limits.json", limits)
    titles = {name: task.title for name, task in plan.made.items()}
    made = page.make_page(rows, limits, records, titles)
    path = report.write_page(plan.run, made)
    for section in made.sections[:2]:  # when, and the tally of the claims
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
    engine.run_jobs(jobs, plan.workers)


def _setting_job(plan: Plan, task: TaskPlan, setting: Setting) -> engine.Job:
    name = f"{task.name}.{setting.arm}"
    compute = partial(courses.run_setting, setting, plan.made[task.name], task, plan.budget)
    save = partial(runs.append_rows, plan.run, name)
    cost = _cost(setting, task, plan.budget)
    return engine.Job((engine.Task(name, cost, compute, save),))


def _limit_job(plan: Plan, task: TaskPlan, name: str) -> engine.Job:
    """The maximum margins of one task."""
    wanted = [limit for limit in plan.limits if limit.num_train in task.num_train]
    seeds = plan.budget.seeds[: plan.limit_seeds]
    compute = partial(courses.solve_limits, plan.made[task.name], wanted, seeds, plan.budget)
    save = partial(runs.save_json, plan.run, name)
    return engine.Job((engine.Task(name, 20.0, compute, save),))


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
    tasks_lib.check_names(names)
    pair = preset.tasks[-1] if len(preset.tasks) == 2 else preset.tasks[-2]
    plans = [known.get(name, pair._replace(name=name)) for name in names]
    if NUM_TRAIN.value is not None:
        sizes = flags.parse_ints("num_train", NUM_TRAIN.value)
        if not sizes or min(sizes) < 2 or len(set(sizes)) != len(sizes):
            raise ValueError(f"num_train must be distinct sizes >= 2; got {list(sizes)}.")
        plans = [plan._replace(num_train=tuple(sorted(sizes))) for plan in plans]
        plans = [plan._replace(pool=max(plan.pool, *sizes)) for plan in plans]
    return tuple(plans)


def _budget(budget: Budget) -> Budget:
    """The preset's budget with the flags that were given, checked."""
    given: dict[str, Any] = {
        "seeds": None
        if flags.SEEDS.value is None
        else flags.parse_ints("seeds", flags.SEEDS.value),
        "init_scales": None
        if flags.INIT_SCALES.value is None
        else flags.parse_floats("init_scales", flags.INIT_SCALES.value),
        "num_steps": TRAIN_STEPS.value,
        "step_size": STEP_SIZE.value,
        "large_step_size": LARGE_STEP_SIZE.value,
        "random_key": flags.RANDOM_KEY.value,
    }
    budget = dataclasses.replace(budget, **{k: v for k, v in given.items() if v is not None})
    courses.check_budget(budget)
    return budget


def main() -> None:
    """The binary."""
    flags.run(prepare, execute)

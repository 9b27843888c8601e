"""The linear study from what it compares to rows, verdicts, figures and report.

    from freqbias.study import linear

    compared, descent = linear.PRESETS["smoke"]
    plan = linear.plan("mine", compared, descent)
    linear.run(plan, "results/mine")

Written to the folder: rows.csv (one row per task, arm, sample size, initial scale, step size, seed
and recorded step), claims.json, limits.json (maximum margins), study.json (how arms are drawn, the
registry, titles of the tasks), config.json, figures, report.html.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from freqbias import distributed, report, runs
from freqbias._checked import check_fields, checked
from freqbias.study import arms, claims, description, engine, executors, timing
from freqbias.study.claims import Registry
from freqbias.study.engine import Executor, Job, Task
from freqbias.study.linear import courses, page, summary
from freqbias.study.linear import tasks as tasks_lib
from freqbias.study.linear.design import REGISTRY, Comparison, Descent, check_descent
from freqbias.study.linear.limits import regularizer_of, solve_limits
from freqbias.study.linear.tasks import BinaryTask, TaskPlan
from freqbias.study.setting import Arm, Budget, Setting

LAYER_COST: Mapping[str, float] = {"fc": 0.2, "conv": 0.6, "locally_connected": 1.5}
"""Relative time of a layer, for the order and the progress bar only."""
LIMIT_COST = 20.0
"""That of the maximum margins of a task."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked study, ready to run.

    Attributes:
      name: of the study.
      compared: tasks, arms and maximum margins.
      tasks: the images of every task, by name.
      descent: what is spent.
      registry: the claims that these arms can decide.
      checksums: of the data sets that the tasks were made of.
      preset: the name of comparison and descent; may be empty.
    """

    name: str
    compared: Comparison
    tasks: Mapping[str, BinaryTask]
    descent: Descent
    registry: Registry
    checksums: Mapping[str, str]
    preset: str = ""

    @property
    def settings(self) -> list[Setting]:
        """Every arm on every task, at all initial scales and step sizes at once."""
        return [
            setting_of(task.name, arm) for task in self.compared.tasks for arm in self.compared.arms
        ]


@checked
def plan(
    name: str,
    compared: Comparison,
    descent: Descent,
    *,
    preset: str = "",
    tasks: Mapping[str, BinaryTask] | None = None,
    registry: Registry | None = None,
) -> Plan:
    """Checks a study and makes its tasks; writes nothing.

    Args:
      name: of the study.
      compared: tasks, arms and maximum margins.
      descent: what is spent.
      preset: the name of both, for the report.
      tasks: of your own, by the names that the comparison uses; others are made by name.
      registry: the claims; those that the arms cannot decide are left out. Default: the claims
        about linear networks.

    Raises:
      ValueError: an unknown task, architecture or norm, a sample larger than its task, a descent
        that cannot be run.
    """
    check_descent(descent)
    check_fields(compared)
    given = dict(tasks or {})
    names = [task.name for task in compared.tasks]
    tasks_lib.check_names(names, own=tuple(given))
    if not compared.arms:
        raise ValueError("arms must not be empty.")
    for arm in compared.arms:
        courses.make_net(setting_of("", arm))
    for limit in compared.limits:
        regularizer_of(limit.norm)
    sources = tasks_lib.load_sources([task for task in names if task not in given])
    made = {
        task.name: given.get(task.name) or tasks_lib.make_task(task, sources, descent.random_key)
        for task in compared.tasks
    }
    for task in compared.tasks:
        tasks_lib.check_samples(task, made[task.name].labels)
    there: dict[str, tuple[str, ...]] = {setting_of("", arm).arm: () for arm in compared.arms}
    return Plan(
        name=name,
        compared=compared,
        tasks=made,
        descent=descent,
        registry=claims.with_arms(registry or claims.load_registry(REGISTRY), there),
        checksums={source: dataset.checksum for source, dataset in sources.items()},
        preset=preset,
    )


def setting_of(task: str, arm: Arm) -> Setting:
    """An arm on a task."""
    return Setting(task, "linear", *arm)


def open_run(
    plan: Plan,
    out: str | os.PathLike,
    *,
    shard: tuple[int, int] | None = None,
    device: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """Makes ``out`` the folder of the study, or goes on with it; see `freqbias.runs.open_run`."""
    engine.check_shard(shard, len(plan.settings))
    compared = plan.compared
    samples = {task.name: [list(task.num_train), task.pool] for task in compared.tasks}
    run = runs.open_run(
        out,
        {
            "experiment": plan.name,
            "preset": plan.preset,
            "datasets": list(samples),
            "claims": [claim.id for claim in plan.registry.claims],
            **dataclasses.asdict(plan.descent),
            "limits": [list(limit) for limit in compared.limits],
            "limit_seeds": compared.limit_seeds,
            "settings": {
                courses.task_name(setting.dataset, setting.arm): {
                    "num_train": samples[setting.dataset][0],
                    "pool": samples[setting.dataset][1],
                }
                for setting in plan.settings
            },
            **({"shard": list(shard)} if shard else {}),
        },
        data_checksums=plan.checksums,
        device=device,
        overwrite=overwrite,
        resume=resume,
    )
    # Linear networks have one channel, and fully connected ones stand for any width.
    drawn = arms.as_drawn(plan.settings, Budget(channels=1, width=1))
    titles = {task.name: task.title for task in plan.tasks.values()}
    description.write(run, "linear", drawn, plan.registry, titles=titles)
    return run


@checked
def run(
    plan: Plan,
    out: str | os.PathLike,
    *,
    executor: str = "threads",
    workers: int | None = None,
    scheduler: str | None = None,
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """Runs a study: trains, solves for the limits, measures, judges, draws and reports.

    Sets JAX up by `engine.configure`.

    Args:
      plan: from `plan`.
      out: the folder of the run.
      executor: "threads", "processes" or "dask"; see ``freqbias.study.executors``.
      workers: tasks at once; default: one per CPU core, one on an accelerator.
      scheduler: the address of a Dask scheduler; default: a local cluster.
      shard: (i, n): only part i of n; `freqbias.runs.merge` and `finished.join` join the parts.
      overwrite: replace the run that ``out`` holds.
      resume: go on with it.

    Returns:
      The folder.
    """
    engine.configure()
    where = executors.make(executor, workers=workers, scheduler=scheduler)
    folder = open_run(
        plan, out, shard=shard, device=where.device(), overwrite=overwrite, resume=resume
    )
    execute(plan, folder, where, shard=shard)
    return folder


def execute(
    plan: Plan, run: Path, executor: Executor, *, shard: tuple[int, int] | None = None
) -> None:
    """Runs what is left; unless this is a part, judges, draws and reports."""
    try:
        with timing.timed(run):
            run_left(plan, run, executor, shard=shard)
        distributed.from_first(
            partial(description.close_part, run, shard)
            if shard and shard[1] > 1
            else partial(finish, run)
        )
    finally:
        runs.close_run(run)


def run_left(
    plan: Plan, run: Path, executor: Executor, *, shard: tuple[int, int] | None = None
) -> None:
    """Every arm on every task, and every task's limits, that are not there yet."""
    limits = [Job((_limit_task(plan, run, task),)) for task in plan.compared.tasks]
    arms = [Job((_course_task(plan, run, setting),)) for setting in plan.settings]
    jobs = [*engine.shard_of(limits, shard), *engine.shard_of(arms, shard)]  # arms in every part
    done = distributed.from_first(partial(_done, plan, run))
    engine.run_jobs(engine.left(jobs, done), executor)


def _done(plan: Plan, run: Path) -> list[str]:
    """The names of what is finished: settings, and the limits of tasks."""
    limits = [_limits_file(task.name) for task in plan.compared.tasks]
    return [*sorted(runs.finished(run)), *(name for name in limits if (run / name).exists())]


@checked
def join(shards: Sequence[str | os.PathLike], run: Path) -> None:
    """Takes the maximum margins of shards into the run that was merged from them."""
    for task in runs.read_config(run)["config"]["datasets"]:
        name = _limits_file(task)
        for shard in shards:
            if (Path(shard) / name).exists():
                runs.save_json(run, name, runs.load_json(shard, name))


@checked
def judged_rows(run: str | os.PathLike) -> pd.DataFrame:
    """The rows of a run that its claims are judged on; see `summary.final_rows`."""
    return summary.final_rows(_in_order(runs.read_rows(run), run))


@checked
def verdicts(run: str | os.PathLike) -> claims.Verdicts:
    """What ``claims.json`` says of a run, from its rows; the course is told in the report."""
    registry = description.read(run).registry
    records = claims.judge(judged_rows(run), registry)
    independence = claims.judge_independence(records, registry)
    return {"claims": records, "independence": independence, "readings": []}


@checked
def finish(run: Path) -> None:
    """Judges the rows of a run, draws and reports."""
    rows = _in_order(runs.write_rows(run), run)
    found = description.read(run)
    limits = [
        {"task": task, **limit}
        for task in dict.fromkeys(rows["dataset"])
        for limit in runs.load_json(run, _limits_file(str(task)))
    ]
    judged = verdicts(run)
    runs.save_json(run, "claims.json", judged)
    runs.save_json(run, "limits.json", limits)
    results = summary.Results(rows, limits, found.titles, found.drawn.with_arms(rows["arm"]))
    path = report.write_page(run, page.make_page(results, judged["claims"]))
    print("\n".join(summary.sentences(results, page.CONV_FC, page.CONV_FC_NAMES)))
    print(claims.as_text(judged))
    print(f"report: {path}")


def _in_order(rows: pd.DataFrame, run: str | os.PathLike) -> pd.DataFrame:
    """The rows by task, in the order in which the study names them."""
    order = runs.read_config(run)["config"]["datasets"]
    return rows.sort_values("dataset", key=lambda names: names.map(order.index), kind="stable")


def _course_task(plan: Plan, run: Path, setting: Setting) -> Task:
    name = courses.task_name(setting.dataset, setting.arm)
    of = next(task for task in plan.compared.tasks if task.name == setting.dataset)
    return Task(
        name=name,
        cost=_cost(setting, of, plan.descent),
        compute=partial(courses.follow, setting, plan.tasks[of.name], of, plan.descent),
        save=partial(runs.append_rows, run, name),
    )


def _limit_task(plan: Plan, run: Path, of: TaskPlan) -> Task:
    """The maximum margins of one task."""
    wanted = [limit for limit in plan.compared.limits if limit.num_train in of.num_train]
    seeds = plan.descent.seeds[: plan.compared.limit_seeds]
    key = plan.descent.random_key
    return Task(
        name=_limits_file(of.name),
        cost=LIMIT_COST,
        compute=partial(solve_limits, plan.tasks[of.name], wanted, seeds, key),
        save=partial(runs.save_json, run, _limits_file(of.name)),
    )


def _limits_file(task: str) -> str:
    return f"limits/{task}.json"


def _cost(setting: Setting, task: TaskPlan, descent: Descent) -> float:
    """Relative time of a setting, for the order and the progress bar only."""
    layers = LAYER_COST[setting.architecture] * setting.depth
    return 3 + descent.num_steps / 1000 * 2 * (task.pool / 1000 + layers)

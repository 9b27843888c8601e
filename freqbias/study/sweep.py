"""A study from its designs to rows, verdicts, figures and report.

    from freqbias import study

    design = study.Design(("digits",), (study.Arm("conv", 1, "3"), study.Arm("fc")))
    plan = study.plan("mine", [design], study.Budget(epochs=10))
    study.run(plan, "results/mine")

Written to the folder: rows.csv (one row per setting, recorded step, attack and seed), claims.json,
spectra.npz, study.json (how arms are drawn, the registry), config.json, figures, report.html.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from freqbias import data, distributed, report, runs, training
from freqbias._checked import checked
from freqbias.data import Dataset
from freqbias.ensemble import Ensemble
from freqbias.study import (
    arms,
    claims,
    courses,
    description,
    design,
    engine,
    executors,
    networks,
    timing,
)
from freqbias.study.claims import Registry
from freqbias.study.design import Design
from freqbias.study.engine import Executor, Job, Task
from freqbias.study.measures import MEASUREMENTS, Measurement, dataset_arrays, null_columns
from freqbias.study.setting import Asked, Budget, Setting

Rows = list[dict[str, Any]]
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked study, ready to run.

    Attributes:
      name: of the study.
      preset: the name of its budget; may be empty.
      settings: what is compared, each with what is asked of it.
      datasets: by name.
      budget: what is spent on each setting.
      registry: the claims that these settings can decide.
      measurements: what is measured.
      save_params: whether the trained networks are kept, for `load_networks`.
    """

    name: str
    settings: Mapping[Setting, Asked]
    datasets: Mapping[str, Dataset]
    budget: Budget
    registry: Registry
    preset: str = ""
    measurements: Sequence[Measurement] = MEASUREMENTS
    save_params: bool = False


@checked
def plan(
    name: str,
    designs: Iterable[Design],
    budget: Budget,
    *,
    preset: str = "",
    datasets: Mapping[str, Dataset] | None = None,
    registry: Registry | None = None,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    save_params: bool = False,
) -> Plan:
    """Checks a study and loads its data; writes nothing.

    Args:
      name: of the study.
      designs: what is compared; kernels larger than the images are left out.
      budget: what is spent on each setting.
      preset: the name of the budget, for the report.
      datasets: of your own, by the names that the designs use; others are loaded by name.
      registry: the claims; those that the settings cannot decide are left out. Default: the
        paper's.
      measurements: what is measured.
      save_params: whether to keep the trained networks, for `load_networks`.

    Raises:
      ValueError: an unknown family, data set or claim, or no setting at all.
    """
    asked = design.cells(designs)
    given = dict(datasets or {})
    names = list(dict.fromkeys(setting.dataset for setting in asked))
    for dataset in names:
        if dataset not in given:
            data.check_name(dataset, argument="dataset")
    loaded = {dataset: given.get(dataset) or data.load(dataset) for dataset in names}
    asked = design.fitting(asked, loaded)
    if not asked:
        raise ValueError("designs must compare something; got no setting.")
    registry = registry or claims.load_registry()
    return Plan(
        name=name,
        settings=asked,
        datasets=loaded,
        budget=budget,
        registry=claims.with_arms(registry, design.asked_of_arms(asked)),
        preset=preset,
        measurements=measurements,
        save_params=save_params,
    )


def open_run(
    plan: Plan,
    out: str | os.PathLike,
    *,
    shard: tuple[int, int] | None = None,
    device: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """Makes ``out`` the folder of the study, or goes on with it; see `freqbias.runs.open_run`.

    What goes on may ask more: further settings, data sets and claims.
    """
    engine.check_shard(shard, len(_together(plan)))
    run = runs.open_run(
        out,
        {
            "experiment": plan.name,
            "preset": plan.preset,
            "datasets": list(plan.datasets),
            "claims": [claim.id for claim in plan.registry.claims],
            **dataclasses.asdict(plan.budget),
            "settings": {setting.id: plan.settings[setting]._asdict() for setting in plan.settings},
            **({"save_params": True} if plan.save_params else {}),
            **({"shard": list(shard)} if shard else {}),
        },
        data_checksums={name: dataset.checksum for name, dataset in plan.datasets.items()},
        device=device,
        overwrite=overwrite,
        resume=resume,
        grows=("datasets", "claims", "settings"),
    )
    description.write(
        run,
        "sweep",
        arms.as_drawn(plan.settings, plan.budget),
        plan.registry,
        figures=[m.figure for m in plan.measurements if m.figure is not None],
    )
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
    """Runs a study: trains, attacks, measures, judges, draws and reports.

    Sets JAX up by `engine.configure`.

    Args:
      plan: from `plan`.
      out: the folder of the run.
      executor: "threads", "processes" or "dask"; see ``freqbias.study.executors``.
      workers: settings at once; default: one per CPU core, one on an accelerator.
      scheduler: the address of a Dask scheduler; default: a local cluster.
      shard: (i, n): only part i of n; `freqbias.runs.merge` and `finish` join the parts.
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
    """Runs what is left of the settings; unless this is a part, judges, draws and reports."""
    try:
        with timing.timed(run):
            run_left(plan, run, executor, shard=shard)
        distributed.from_first(partial(_close, plan, run, shard))
    finally:
        runs.close_run(run)


def run_left(
    plan: Plan, run: Path, executor: Executor, *, shard: tuple[int, int] | None = None
) -> None:
    """Every setting, or those of a part, that is not finished yet."""
    done = distributed.from_first(lambda: sorted(runs.finished(run)))
    jobs = engine.shard_of(_jobs(plan, run), shard)
    engine.run_jobs(engine.left(jobs, done), executor)


def _close(plan: Plan, run: Path, shard: tuple[int, int] | None) -> None:
    """What is written once all settings are finished."""
    for name, dataset in plan.datasets.items():
        arrays = dataset_arrays(dataset, design.fitted(plan.budget, dataset).num_attacked)
        runs.save_arrays(run, f"arrays/{name}", **arrays)
    if shard and shard[1] > 1:
        description.close_part(run, shard)
    else:
        finish(run)


@checked
def load_networks(plan: Plan, run: str | os.PathLike, setting: Setting) -> Ensemble:
    """The trained networks of a setting, to be analysed again.

    Args:
      plan: that of the run, with ``save_params``.
      run: its folder.
      setting: one of ``plan.settings``, finished.

    Returns:
      The networks; without the history of their training.

    Raises:
      FileNotFoundError: the run has not kept them.
      ValueError: what it kept are other networks.
    """
    dataset = plan.datasets[setting.dataset]
    budget = design.spent(setting, plan.budget, dataset)
    model = networks.make_model(setting, dataset, budget)
    seeds = tuple(budget.seeds)
    like = {
        "variables": jax.eval_shape(
            lambda key: training.initial_params(model, dataset.image_shape, seeds=seeds, key=key),
            jax.random.key(0),
        ),
        "status": jax.ShapeDtypeStruct((len(seeds),), np.int32),
    }
    found = runs.load_params(run, f"params/{setting.id}", like)
    return Ensemble(
        params=jax.tree.map(jnp.asarray, found["variables"]),
        status=found["status"],
        history=None,
        seeds=seeds,
        apply_fn=training.shared_apply_fn(model),
    )


def judged_rows(run: str | os.PathLike) -> pd.DataFrame:
    """The rows of a run that its claims are judged on: of trained networks, with their curves."""
    rows = runs.read_rows(run)
    rows = courses.with_curves(rows, description.read(run).registry.accuracy_floor)
    return rows[rows["final"]]


def verdicts(run: str | os.PathLike) -> claims.Verdicts:
    """What ``claims.json`` says of a run, from its rows."""
    registry = description.read(run).registry
    records, read = claims.settled(
        claims.judge(judged_rows(run), registry), claims.readings(runs.read_rows(run), registry)
    )
    return {
        "claims": records,
        "independence": claims.judge_independence(records, registry),
        "readings": read,
    }


def finish(run: Path) -> None:
    """Judges the rows of a run, joins its arrays, draws and reports."""
    runs.write_rows(run)
    config = runs.read_config(run)["config"]
    found = verdicts(run)
    runs.save_json(run, "claims.json", found)
    arrays: dict[str, Any] = {}
    for name in (*config["settings"], *config["datasets"]):
        arrays |= runs.load_arrays(run, f"arrays/{name}")
    runs.save_arrays(run, "spectra", **arrays)
    path = report.write_report(run)
    print(claims.as_text(found))
    print(f"report: {path}")


def _jobs(plan: Plan, run: Path) -> list[Job]:
    """One for settings that share compilations."""
    key = jax.random.key(plan.budget.random_key)
    nulls = {
        name: null_columns(dataset, design.fitted(plan.budget, dataset).num_attacked, key)
        for name, dataset in plan.datasets.items()
    }

    def relative(budget: Budget, dataset: Dataset) -> float:
        """Images that a network is trained on, where those of no protocol are 1."""
        usual = design.fitted(plan.budget, dataset)
        return budget.epochs * budget.num_images / (usual.epochs * usual.num_images)

    def task(setting: Setting) -> Task:
        dataset, asked = plan.datasets[setting.dataset], plan.settings[setting]
        budget = design.spent(setting, plan.budget, dataset)
        return Task(
            name=setting.id,
            cost=design.cost(setting, asked, dataset.image_shape) * relative(budget, dataset),
            compute=partial(
                _compute,
                arms.registered(setting.architecture),
                setting,
                dataset,
                budget,
                asked=asked,
                measurements=plan.measurements,
                save_params=plan.save_params,
            ),
            save=partial(_save, run, setting, nulls[setting.dataset]),
        )

    return [Job(tuple(map(task, group))) for group in _together(plan)]


def _together(plan: Plan) -> list[list[Setting]]:
    """The settings, those that share compilations together."""
    groups: dict[tuple[str | int, ...], list[Setting]] = {}
    for setting in plan.settings:
        dataset = plan.datasets[setting.dataset]
        shared = networks.program(setting, dataset, design.spent(setting, plan.budget, dataset))
        groups.setdefault(shared, []).append(setting)
    return list(groups.values())


def _compute(
    family: arms.Family | None,
    setting: Setting,
    dataset: Dataset,
    budget: Budget,
    *,
    asked: Asked,
    measurements: Sequence[Measurement],
    save_params: bool,
) -> tuple[Rows, Arrays, Any]:
    """One setting, in a process that may not know the family yet: rows, arrays, networks."""
    if family is not None:
        arms.register(family)
    kept: list[Ensemble] = []
    rows, arrays = networks.run_setting(
        setting,
        dataset,
        budget,
        asked,
        measurements=measurements,
        on_trained=kept.append if save_params else None,
    )
    saved = [{"variables": nets.params, "status": nets.status} for nets in kept]
    return rows, arrays, jax.device_get(saved)


def _save(
    run: Path, setting: Setting, nulls: Mapping[str, float], found: tuple[Rows, Arrays, Any]
) -> None:
    """Arrays first: a setting is finished once its rows are there."""
    rows, arrays, kept = found
    for nets in kept:
        runs.save_params(run, f"params/{setting.id}", nets)
    runs.save_arrays(run, f"arrays/{setting.id}", **arrays)
    runs.append_rows(run, setting.id, [{**row, **nulls} for row in rows])

"""The paper's claims on real images, over many seeds: rows, verdicts, figures and a report.

    python -m experiments.reproduce --preset=quick --out=results/quick

trains linear and ReLU networks of every arm below, attacks them, measures the spectra of their
perturbations, and decides the claims registered in ``claims.toml``.

===========  =======================================================================  ==========
preset       what                                                                     2 CPU cores
===========  =======================================================================  ==========
``smoke``    one data set, three arms, 3 seeds: shows that everything runs            < 1 minute
``quick``    two data sets, ten arms, linear and ReLU, two initial scales, 8 seeds    < 5 minutes
===========  =======================================================================  ==========

One factor varies at a time, from conv K = 3 with one hidden layer: the kernel (3, 7, full width),
the depth (1 to 3), and sharing and locality (locally connected, scattered). FC is the baseline. The
second attack (L-inf) runs at initial scale 1 and one hidden layer only, to save time.

Written to ``--out``: rows.csv, claims.json, spectra.npz, config.json, figures, report.html.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from experiments import claims, common, study
from experiments.study import Arm, Budget, Setting
from freqbias import _checks, report, runs
from freqbias.data import Dataset


class Preset(NamedTuple):
    """A design and its budget."""

    datasets: tuple[str, ...]
    arms: tuple[Arm, ...]
    init_scales: tuple[float, ...]
    budget: Budget


ONE_FACTOR_AT_A_TIME = (
    Arm("conv", 3, "3"),
    Arm("conv", 2, "3"),
    Arm("conv", 1, "3"),
    Arm("conv", 1, "7"),
    Arm("conv", 1, "full"),
    Arm("fc", 1),
    Arm("locally_connected", 1, "3"),
    Arm("locally_connected_tied", 1, "3"),
    Arm("scattered", 1, "3"),
    Arm("scattered_unshared", 1, "3"),
)
PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        datasets=("fashion_mnist_mini",),
        arms=(Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc", 1)),
        init_scales=(1.0,),
        budget=Budget(seeds=(0, 1, 2), num_images=640, num_attacked=32, num_steps=5),
    ),
    "quick": Preset(
        datasets=("fashion_mnist_mini", "natural_patches"),
        arms=ONE_FACTOR_AT_A_TIME,
        init_scales=(1.0, 0.5),
        budget=Budget(),
    ),
}

DATASETS = flags.DEFINE_list("datasets", None, "Data sets; default: the preset's.")
CLAIMS = flags.DEFINE_list("claims", None, "Claims to decide, e.g. C1,C2-ends; default: all.")
EPSILON_L2 = flags.DEFINE_float(
    "epsilon_l2", None, "L2 budget of a perturbation, in units of intensity in [0, 1]; default 1."
)
EPSILON_LINF = flags.DEFINE_float(
    "epsilon_linf", None, "L-inf budget, in units of intensity in [0, 1]; default 8/255."
)
NUM_IMAGES = flags.DEFINE_integer("num_images", None, "Training images of each seed.")
EPOCHS = flags.DEFINE_integer("epochs", None, "Passes over the training images.")
NUM_ATTACKED = flags.DEFINE_integer("num_attacked", None, "Test images attacked.")
NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Steps of projected gradient descent.")


class Plan(NamedTuple):
    """A checked run, ready to start."""

    run: Path
    datasets: dict[str, Dataset]
    settings: tuple[Setting, ...]
    budget: Budget
    registry: claims.Registry
    workers: int


def prepare() -> Plan:
    """Checks every flag, loads the data and opens the run."""
    _checks.one_of("preset", common.PRESET.value, PRESETS)
    preset = PRESETS[common.PRESET.value]
    registry = claims.load_registry()
    if CLAIMS.value:
        registry = claims.select(registry, CLAIMS.value)
    datasets = common.load_datasets(DATASETS.value or preset.datasets)
    budget = _budget(preset.budget, datasets)
    settings = tuple(
        Setting(name, regime, *arm, init_scale=scale)
        for name in datasets
        for regime in study.REGIMES
        for arm in preset.arms
        for scale in preset.init_scales
    )
    registry = claims.with_arms(registry, {setting.arm for setting in settings})
    if not registry.claims:
        raise ValueError(
            f"claims must be decidable with the arms of preset {common.PRESET.value!r}."
        )
    run = runs.open_run(
        common.OUT.value or os.path.join("results", common.PRESET.value),
        {
            "preset": common.PRESET.value,
            "datasets": list(datasets),
            "claims": [claim.id for claim in registry.claims],
            **dataclasses.asdict(budget),
            "arms": [list(arm) for arm in preset.arms],
            "init_scales": list(preset.init_scales),
        },
        data_checksums={name: dataset.checksum for name, dataset in datasets.items()},
        overwrite=common.OVERWRITE.value,
        resume=common.RESUME.value,
    )
    workers = common.num_workers(jax.default_backend())
    return Plan(run, datasets, settings, budget, registry, workers)


def execute(plan: Plan) -> None:
    """Runs what is left of the settings, then judges, draws and reports."""
    _run_settings(plan)
    rows = runs.write_rows(plan.run)
    records = claims.judge(rows, plan.registry)
    runs.save_json(plan.run, "claims.json", {"claims": records})
    arrays: dict[str, Any] = {}
    for setting in plan.settings:
        arrays |= runs.load_arrays(plan.run, f"arrays/{setting.id}")
    for dataset in plan.datasets.values():
        arrays |= study.dataset_arrays(dataset, plan.budget.num_attacked)
    runs.save_arrays(plan.run, "spectra", **arrays)
    path = report.write_report(plan.run)
    print(claims.as_table(records))
    print(f"report: {path}")


def _run_settings(plan: Plan) -> None:
    """Settings that share compilations run after each other, groups of them side by side."""
    done = runs.finished(plan.run)
    left = [setting for setting in plan.settings if setting.id not in done]
    groups: dict[tuple[str | int, ...], list[Setting]] = {}
    for setting in left:
        groups.setdefault(study.program(setting), []).append(setting)
    nulls = {
        name: study.null_columns(
            dataset, plan.budget.num_attacked, jax.random.key(plan.budget.random_key)
        )
        for name, dataset in plan.datasets.items()
    }

    def parts(group: Sequence[Setting]) -> Iterator[common.Part]:
        for setting in group:
            # The second opinion is asked where most claims are: at scale 1 and one hidden layer.
            second = setting.init_scale == 1.0 and setting.depth == 1
            geometries = ("l2", "linf") if second else ("l2",)
            dataset = plan.datasets[setting.dataset]
            rows, arrays = study.run_setting(setting, dataset, plan.budget, geometries=geometries)
            rows = [{**row, **nulls[setting.dataset]} for row in rows]
            yield _cost(setting), partial(_save, plan.run, setting, rows, arrays)

    jobs = [common.Job(sum(map(_cost, group)), partial(parts, group)) for group in groups.values()]
    common.run_jobs(jobs, plan.workers)


def _save(
    run: Path, setting: Setting, rows: list[dict[str, Any]], arrays: Mapping[str, Any]
) -> None:
    """Arrays first: a setting is finished once its rows are there."""
    runs.save_arrays(run, f"arrays/{setting.id}", **arrays)
    runs.append_rows(run, setting.id, rows)


def _cost(setting: Setting) -> float:
    """Relative time of a setting, for the order and the progress bar only."""
    layers = 1 + 2 * (setting.depth - 1)
    return layers * (4.0 if setting.regime == "relu" else 1.0)


def _budget(budget: Budget, datasets: Mapping[str, Dataset]) -> Budget:
    """The preset's budget with the flags that were given; checked against the data."""
    given: dict[str, Any] = {
        "epsilon_l2": EPSILON_L2.value,
        "epsilon_linf": EPSILON_LINF.value,
        "num_images": NUM_IMAGES.value,
        "epochs": EPOCHS.value,
        "num_attacked": NUM_ATTACKED.value,
        "num_steps": NUM_STEPS.value,
        "random_key": common.RANDOM_KEY.value,
        "seeds": None
        if common.SEEDS.value is None
        else common.parse_ints("seeds", common.SEEDS.value),
    }
    budget = dataclasses.replace(budget, **{k: v for k, v in given.items() if v is not None})
    _checks.seeds(budget.seeds)
    for name in ("epsilon_l2", "epsilon_linf"):
        _checks.positive(name, getattr(budget, name))
    for name in ("num_images", "epochs", "num_attacked", "num_steps"):
        _checks.positive_int(name, getattr(budget, name))
    for dataset in datasets.values():
        for name, split, least in (
            ("num_images", dataset.train, budget.batch_size),
            ("num_attacked", dataset.test, 1),
        ):
            value = getattr(budget, name)
            if not least <= value <= len(split.labels):
                raise ValueError(
                    f"{name} must lie in {least}..{len(split.labels)} for {dataset.name}; "
                    f"got {value}."
                )
    return budget


if __name__ == "__main__":
    common.run(prepare, execute)

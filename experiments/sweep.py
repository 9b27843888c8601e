"""A sweep: from what a binary compares to its rows, verdicts, figures and report.

Every binary of the study is a docstring and a function from a preset's name to `Design`s; what they
share is here: the budgets of the presets, the flags, running settings side by side, splitting them
over machines, judging and reporting.

===========  =======================================================================================
preset       what is spent on each setting
===========  =======================================================================================
``smoke``    3 seeds, 640 images x 3 epochs, 32 attacked x 5 steps: shows that everything runs
``quick``    8 seeds, 1,024 images x 3 epochs, 64 attacked x 20 steps, 4 channels
``standard`` 8 seeds, 2,000 images x 4 epochs, 128 attacked x 20 steps, 8 channels: 2 CPU cores
``paper``    8 seeds, 50,000 images x 40 epochs, 2,000 attacked x 100 steps, 32 channels: a GPU, TPU
===========  =======================================================================================

Written to ``--out``: rows.csv (one row per setting, recorded step, attack and seed), claims.json,
spectra.npz, config.json, figures, report.html.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from experiments import claims, common, curves, study
from experiments import setting as settings_lib
from experiments.setting import BLOCKS, PRIMARY, Arm, Asked, Budget, Setting
from freqbias import _checks, report, runs
from freqbias.data import Dataset

BUDGETS: Mapping[str, Budget] = {
    "smoke": Budget(seeds=(0, 1, 2), num_images=640, num_attacked=32, num_steps=5),
    "quick": Budget(),
    "standard": Budget(
        num_images=2000, epochs=4, channels=8, num_attacked=128, adam_learning_rate=0.005
    ),
    "paper": Budget(
        num_images=50_000,
        epochs=40,
        batch_size=128,
        learning_rate=0.01,
        decay_factor=0.3,
        decay_epochs=4,
        channels=32,
        width=3072,
        block_width=128,
        num_tested=10_000,
        num_attacked=2_000,
        num_steps=100,
    ),
}
PRESETS = tuple(BUDGETS)
DATASETS_OF: Mapping[str, tuple[str, ...]] = {
    "smoke": ("fashion_mnist_mini",),
    "quick": ("fashion_mnist_mini", "natural_patches"),
    "standard": ("fashion_mnist_mini", "natural_patches"),
    "paper": ("cifar10",),
}
"""The data sets of a preset, where a binary has no others."""


class Design(NamedTuple):
    """What is compared: every arm on every data set, in every regime, at every initial scale."""

    datasets: tuple[str, ...]
    arms: tuple[Arm, ...]
    regimes: tuple[str, ...] = settings_lib.REGIMES
    init_scales: tuple[float, ...] = (1.0, 0.5)
    asked: Asked = PRIMARY


_SIZES = {"fc": 0.35, "conv_mixer": 2, "mlp_mixer": 4, "vgg": 4, "vit": 5, "resnet": 12}
"""Time of a network, where that of one with as many layers of convolution is 1."""

Designs = Callable[[str], tuple[Design, ...]]
"""From the name of a preset to what is compared."""

DATASETS = flags.DEFINE_list("datasets", None, "Data sets; default: the preset's.")
REGIMES = flags.DEFINE_list("regimes", None, "From linear, relu; default: the preset's.")
KERNEL_SIZES = flags.DEFINE_list(
    "kernel_sizes",
    None,
    "Taps along each axis of networks that have a kernel, e.g. 3,7,full; default: the preset's.",
)
DEPTHS = flags.DEFINE_list("depths", None, "Hidden layers, e.g. 1,2 or 1-4; default: the preset's.")
CLAIMS = flags.DEFINE_list("claims", None, "Claims to decide, e.g. C1,C2-ends; default: all.")
EPSILON_L2 = flags.DEFINE_float(
    "epsilon_l2", None, "L2 budget of a perturbation, in units of intensity in [0, 1]; default 1."
)
EPSILON_LINF = flags.DEFINE_float(
    "epsilon_linf", None, "L-inf budget, in units of intensity in [0, 1]; default 8/255."
)
NUM_IMAGES = flags.DEFINE_integer("num_images", None, "Training images of each seed.")
EPOCHS = flags.DEFINE_integer("epochs", None, "Passes over the training images.")
CHANNELS = flags.DEFINE_integer("channels", None, "Channels of convolutions and unshared layers.")
NUM_ATTACKED = flags.DEFINE_integer("num_attacked", None, "Test images attacked.")
NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Steps of projected gradient descent.")
SHARD = flags.DEFINE_string(
    "shard",
    None,
    "Run only part i of n, written i/n with i in 1..n, of the settings; `python -m "
    "experiments.merge` joins the parts. Default: all.",
)


class Plan(NamedTuple):
    """A checked run, ready to start."""

    run: Path
    datasets: dict[str, Dataset]
    cells: dict[Setting, Asked]
    budget: Budget
    workers: int
    shard: tuple[int, int]


def main(name: str, designs: Designs) -> None:
    """The binary ``name``."""
    common.run(partial(prepare, name, designs), execute)


def cells(designs: Sequence[Design]) -> dict[Setting, Asked]:
    """All settings of some designs, with all that any of them asks.

    Networks built of blocks are never linear and have their own initial scale.
    """
    out: dict[Setting, Asked] = {}
    for design in designs:
        for dataset in design.datasets:
            for regime in design.regimes:
                for arm in design.arms:
                    for scale in design.init_scales:
                        if arm.architecture in BLOCKS and (regime, scale) != ("relu", 1.0):
                            continue
                        setting = Setting(dataset, regime, *arm, init_scale=scale)
                        out[setting] = _both(out.get(setting, PRIMARY), design.asked)
    return out


def _both(one: Asked, other: Asked) -> Asked:
    return Asked(
        **{
            name: max(value, getattr(other, name))  # of two flags, either
            for name, value in one._asdict().items()
        }
    )


def prepare(name: str, designs: Designs) -> Plan:
    """Checks every flag, loads the data and opens the run."""
    preset = common.PRESET.value
    _checks.one_of("preset", preset, PRESETS)
    asked = cells([_with_flags(design) for design in designs(preset)])
    datasets = common.load_datasets(list(dict.fromkeys(setting.dataset for setting in asked)))
    budget = _budget(BUDGETS[preset], datasets)
    asked = _with_fitting_kernels(asked, datasets)
    registry = claims.load_registry()
    if CLAIMS.value:
        registry = claims.select(registry, CLAIMS.value)
    registry = claims.with_arms(registry, _asked_of_arms(asked))
    if CLAIMS.value and not registry.claims:
        raise ValueError(f"claims must be decidable with the arms of preset {preset!r}.")
    shard = _shard(SHARD.value)
    run = runs.open_run(
        common.OUT.value
        or os.path.join("results", preset if name == "reproduce" else f"{name}_{preset}"),
        {
            "experiment": name,
            "preset": preset,
            "datasets": list(datasets),
            "claims": [claim.id for claim in registry.claims],
            **dataclasses.asdict(budget),
            "settings": {setting.id: asked[setting]._asdict() for setting in asked},
            **({"shard": list(shard)} if SHARD.value else {}),
        },
        data_checksums={name: dataset.checksum for name, dataset in datasets.items()},
        overwrite=common.OVERWRITE.value,
        resume=common.RESUME.value,
    )
    workers = common.num_workers(jax.default_backend())
    return Plan(run, datasets, asked, budget, workers, shard)


def execute(plan: Plan) -> None:
    """Runs what is left of the settings; unless this is a part, judges, draws and reports."""
    for name, dataset in plan.datasets.items():
        arrays = study.dataset_arrays(dataset, _fitted(plan.budget, dataset).num_attacked)
        runs.save_arrays(plan.run, f"arrays/{name}", **arrays)
    _run_settings(plan)
    if plan.shard[1] > 1:
        runs.write_rows(plan.run)
        print(f"part {plan.shard[0]} of {plan.shard[1]}: {plan.run}; join: "
              "python -m experiments.merge --shards=FOLDER,... --out=FOLDER")  # fmt: skip
        return
    finish(plan.run)


def finish(run: Path) -> None:
    """Judges the rows of a run, joins its arrays, draws and reports."""
    rows = runs.write_rows(run)
    config = runs.read_config(run)["config"]
    registry = claims.registry_of(run)
    read_off = curves.with_curves(rows, registry.accuracy_floor)
    records = claims.judge(read_off[read_off["final"]], registry)
    independence = claims.judge_independence(records, registry)
    runs.save_json(run, "claims.json", {"claims": records, "independence": independence})
    arrays: dict[str, Any] = {}
    for name in (*config["settings"], *config["datasets"]):
        arrays |= runs.load_arrays(run, f"arrays/{name}")
    runs.save_arrays(run, "spectra", **arrays)
    path = report.write_report(run)
    print(claims.as_table(records) if records else "no claim is decided by these settings")
    if independence:
        print(claims.independence_table(independence))
    print(f"report: {path}")


def _asked_of_arms(settings: Mapping[Setting, Asked]) -> dict[str, set[str]]:
    """Arm -> names of what is asked of it."""
    names: dict[str, set[str]] = {}
    for setting, asked in settings.items():
        here = {name for name, value in asked._asdict().items() if value}
        names[setting.arm] = names.get(setting.arm, set()) | here
    return names


def _with_flags(design: Design) -> Design:
    """A design with the factors that were given on the command line."""
    arms = design.arms
    if KERNEL_SIZES.value:
        for text in KERNEL_SIZES.value:
            if text != "full" and not (text.isdigit() and int(text) > 0):
                raise ValueError(f"kernel_sizes must be positive ints or full; got {text!r}.")
        arms = tuple(
            arm._replace(kernel=kernel)
            for arm in arms
            for kernel in (KERNEL_SIZES.value if arm.kernel else ("",))
        )
    if DEPTHS.value:
        depths = common.parse_ints("depths", DEPTHS.value)
        for depth in depths:
            _checks.positive_int("depths", depth)
        arms = tuple(arm._replace(depth=depth) for arm in arms for depth in depths)
    for regime in REGIMES.value or ():
        _checks.one_of("regimes", regime, settings_lib.REGIMES)
    scales = design.init_scales
    if common.INIT_SCALES.value:
        scales = common.parse_floats("init_scales", common.INIT_SCALES.value)
    return design._replace(
        datasets=tuple(DATASETS.value or design.datasets),
        arms=tuple(dict.fromkeys(arms)),
        regimes=tuple(REGIMES.value or design.regimes),
        init_scales=scales,
    )


def fits(setting: Setting, side: int) -> bool:
    """Whether the kernel of a setting is no larger than images of that side."""
    return setting.kernel in ("", "full") or int(setting.kernel) <= side


def _with_fitting_kernels(
    settings: Mapping[Setting, Asked], datasets: Mapping[str, Dataset]
) -> dict[Setting, Asked]:
    """Only kernels no larger than the image; one that was asked for by flag is an error."""
    out = {}
    for setting, asked in settings.items():
        side = min(datasets[setting.dataset].image_shape[:2])
        if fits(setting, side):
            out[setting] = asked
        elif KERNEL_SIZES.value:
            raise ValueError(
                f"kernel_sizes must be at most the image side, {side} for {setting.dataset}; "
                f"got {setting.kernel}."
            )
    return out


def _shard(text: str | None) -> tuple[int, int]:
    """(i, n) from "i/n"; (1, 1) for all."""
    if text is None:
        return 1, 1
    first, slash, last = text.partition("/")
    if not (slash and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise ValueError(f"shard must be i/n with 1 <= i <= n, e.g. 2/4; got {text!r}.")
    return int(first), int(last)


def _run_settings(plan: Plan) -> None:
    """Settings that share compilations run after each other, groups of them side by side."""
    groups: dict[tuple[str | int, ...], list[Setting]] = {}
    for setting in plan.cells:
        groups.setdefault(study.program(setting), []).append(setting)
    # Dealt by cost, so that the parts of a sweep take about the same time.
    cost = {
        setting: _cost(setting, asked, plan.datasets[setting.dataset].image_shape)
        for setting, asked in plan.cells.items()
    }
    order = sorted(groups.values(), key=lambda group: -sum(map(cost.__getitem__, group)))
    part, parts_of_all = plan.shard
    done = runs.finished(plan.run)
    left = [[s for s in group if s.id not in done] for group in order[part - 1 :: parts_of_all]]
    nulls = {
        name: study.null_columns(
            dataset,
            _fitted(plan.budget, dataset).num_attacked,
            jax.random.key(plan.budget.random_key),
        )
        for name, dataset in plan.datasets.items()
    }

    def parts(group: Sequence[Setting]) -> Iterator[common.Part]:
        for setting in group:
            dataset = plan.datasets[setting.dataset]
            budget = _fitted(plan.budget, dataset)
            rows, arrays = study.run_setting(setting, dataset, budget, plan.cells[setting])
            rows = [{**row, **nulls[setting.dataset]} for row in rows]
            yield cost[setting], partial(_save, plan.run, setting, rows, arrays)

    jobs = [
        common.Job(sum(map(cost.__getitem__, group)), partial(parts, group))
        for group in left
        if group
    ]
    common.run_jobs(jobs, plan.workers)


def _save(
    run: Path, setting: Setting, rows: list[dict[str, Any]], arrays: Mapping[str, Any]
) -> None:
    """Arrays first: a setting is finished once its rows are there."""
    runs.save_arrays(run, f"arrays/{setting.id}", **arrays)
    runs.append_rows(run, setting.id, rows)


def _cost(setting: Setting, asked: Asked, image_shape: tuple[int, ...]) -> float:
    """Relative time of a setting, for the order and the progress bar only.

    One is a ReLU network of one convolution, trained and attacked on images of 28 x 28; fitted to
    the times that the settings of `standard` took on two cores (colour images of 32 x 32: twice).
    """
    layers = 1 + 1.4 * (setting.depth - 1)
    image = math.sqrt(math.prod(image_shape) / 28**2)
    if setting.regime == "linear":
        return 0.4 * image * (layers + 3 * asked.heat_map)
    attacks = 0.8 * asked.second_attack + 0.3 * asked.other_box + asked.minimal
    attacks += 8 * asked.heat_map + asked.checkpoints * (0.25 + 1.2 * asked.minimal_in_training)
    size = _SIZES.get(setting.architecture, 1.0)
    return image * size * (1 if setting.architecture in BLOCKS else layers) * (1 + attacks)


def _budget(budget: Budget, datasets: Mapping[str, Dataset]) -> Budget:
    """The preset's budget with the flags that were given; checked against the data."""
    given: dict[str, Any] = {
        "epsilon_l2": EPSILON_L2.value,
        "epsilon_linf": EPSILON_LINF.value,
        "num_images": NUM_IMAGES.value,
        "channels": CHANNELS.value,
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
    for name in ("num_images", "epochs", "channels", "num_attacked", "num_steps"):
        _checks.positive_int(name, getattr(budget, name))
    for dataset in datasets.values():
        for name, split, least in (
            ("num_images", dataset.train, budget.batch_size),
            ("num_attacked", dataset.test, 1),
        ):
            value = given[name]
            if value is not None and not least <= value <= len(split.labels):
                raise ValueError(
                    f"{name} must lie in {least}..{len(split.labels)} for {dataset.name}; "
                    f"got {value}."
                )
    return budget


def _fitted(budget: Budget, dataset: Dataset) -> Budget:
    """The budget on a data set that may be smaller than the preset's numbers of images.

    Seeds then train on halves of the training set, so that their subsamples differ.
    """
    train, test = len(dataset.train.labels), len(dataset.test.labels)
    num_images = budget.num_images if budget.num_images <= train else train // 2
    return dataclasses.replace(
        budget, num_images=num_images, num_attacked=min(budget.num_attacked, test)
    )

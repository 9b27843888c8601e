"""The flags of every study of attacks on trained networks, and its binary.

A binary of the study is a docstring and a function from a preset's name to `Design`s:

    if __name__ == "__main__":
        sweep.main("kernel_size", designs)

What is spent is told in ``freqbias/study/design.py``, what is written in ``sweep.py`` beside it.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from freqbias import _checks, data, study
from freqbias.cli import flags
from freqbias.data import Dataset
from freqbias.study import bridge, claims
from freqbias.study import designs as studied
from freqbias.study import sweep as library
from freqbias.study.design import BUDGETS, PRESETS, Design, Designs, fitted
from freqbias.study.engine import Executor
from freqbias.study.setting import REGIMES, Budget, Regime

DATASETS = absl_flags.DEFINE_list("datasets", None, "Data sets; default: the preset's.")
REGIMES_GIVEN = absl_flags.DEFINE_list("regimes", None, "From linear, relu; default: the preset's.")
KERNEL_SIZES = absl_flags.DEFINE_list(
    "kernel_sizes",
    None,
    "Taps along each axis of networks that have a kernel, e.g. 3,7,full; default: the preset's.",
)
DEPTHS = absl_flags.DEFINE_list(
    "depths", None, "Hidden layers, e.g. 1,2 or 1-4; default: the preset's."
)
PARTS = absl_flags.DEFINE_list(
    "parts",
    None,
    "Of reproduce only these parts, e.g. kernel_size,symmetry; default: all of the preset.",
)
CLAIMS = absl_flags.DEFINE_list("claims", None, "Claims to decide, e.g. C1,C2-ends; default: all.")
EPSILON_L2 = absl_flags.DEFINE_float(
    "epsilon_l2", None, "L2 budget of a perturbation, in units of intensity in [0, 1]; default 1."
)
EPSILON_LINF = absl_flags.DEFINE_float(
    "epsilon_linf", None, "L-inf budget, in units of intensity in [0, 1]; default 8/255."
)
NUM_IMAGES = absl_flags.DEFINE_integer("num_images", None, "Training images of each seed.")
TRAIN_BATCH_SIZE = absl_flags.DEFINE_integer("train_batch_size", None, "Training images of a step.")
EPOCHS = absl_flags.DEFINE_integer("epochs", None, "Passes over the training images.")
CHANNELS = absl_flags.DEFINE_integer(
    "channels", None, "Channels of convolutions and unshared layers."
)
NUM_ATTACKED = absl_flags.DEFINE_integer("num_attacked", None, "Test images attacked.")
NUM_STEPS = absl_flags.DEFINE_integer("num_steps", None, "Steps of projected gradient descent.")
SAVE_PARAMS = absl_flags.DEFINE_bool(
    "save_params", False, "Keep the trained networks, for study.load_networks: params/SETTING.npz."
)


class Request(NamedTuple):
    """A checked study with the folder it runs in."""

    plan: study.Plan
    run: Path
    executor: Executor
    shard: tuple[int, int] | None


def main(name: str, designs: Designs) -> None:
    """The binary ``name``."""
    flags.run(partial(prepare, name, designs), execute, says=designs.__doc__, over_processes=True)


def prepare(name: str, designs: Designs) -> Request:
    """Checks every flag, loads the data and opens the run."""
    preset = flags.PRESET.value
    _checks.one_of("preset", preset, PRESETS)
    if preset == "authors" and name != "reproduce":
        raise ValueError(f"preset must be one of the study's own for {name}; got 'authors', which "
                         "is of reproduce.")  # fmt: skip
    compared = chosen(name, designs, preset)
    for dataset in dict.fromkeys(name for design in compared for name in design.datasets):
        data.check_name(dataset, argument="datasets")
    registry = bridge.registry() if preset == "authors" else claims.load_registry()
    if CLAIMS.value:
        registry = claims.select(registry, CLAIMS.value)
    plan = library.plan(name, compared, BUDGETS[preset], preset=preset, registry=registry)
    plan = dataclasses.replace(
        plan, budget=budgeted(plan.budget, plan.datasets), save_params=SAVE_PARAMS.value
    )
    if KERNEL_SIZES.value:
        _check_kernels(KERNEL_SIZES.value, compared, plan.datasets)
    if CLAIMS.value and not plan.registry.claims:
        raise ValueError(f"claims must be decidable with the arms of preset {preset!r}.")
    shard = flags.shard()
    out = flags.OUT.value or os.path.join(
        "results", preset if name == "reproduce" else f"{name}_{preset}"
    )
    executor = flags.executor()
    run = library.open_run(
        plan,
        out,
        shard=shard,
        device=executor.device(),
        overwrite=flags.OVERWRITE.value,
        resume=flags.RESUME.value,
    )
    return Request(plan, run, executor, shard)


def chosen(name: str, designs: Designs, preset: str) -> list[Design]:
    """What binary ``name`` compares, by the flags."""
    return [_with_flags(design) for design in _designs(name, designs, preset)]


def _designs(name: str, designs: Designs, preset: str) -> Sequence[Design]:
    """All designs, or those of the parts that were given."""
    if not PARTS.value:
        return designs(preset)
    if name != "reproduce":
        raise ValueError(f"parts must be given to reproduce only; this is {name}.")
    parts = studied.parts(preset)
    for part in PARTS.value:
        _checks.one_of("parts", part, parts)
    return [design for part in PARTS.value for design in parts[part]]


def execute(request: Request) -> None:
    """Runs what is left of the settings; unless this is a part, judges, draws and reports."""
    library.execute(request.plan, request.run, request.executor, shard=request.shard)


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
        depths = flags.parse_ints("depths", DEPTHS.value)
        for depth in depths:
            _checks.positive_int("depths", depth)
        arms = tuple(arm._replace(depth=depth) for arm in arms for depth in depths)
    regimes: tuple[Regime, ...] = design.regimes
    if REGIMES_GIVEN.value:
        for name in REGIMES_GIVEN.value:
            _checks.one_of("regimes", name, REGIMES)
        regimes = tuple(regime for regime in REGIMES if regime in REGIMES_GIVEN.value)
    scales = design.init_scales
    if flags.INIT_SCALES.value:
        scales = flags.parse_floats("init_scales", flags.INIT_SCALES.value)
    return design._replace(
        datasets=tuple(DATASETS.value or design.datasets),
        arms=tuple(dict.fromkeys(arms)),
        regimes=regimes,
        init_scales=scales,
    )


def _check_kernels(
    kernels: Sequence[str], designs: Sequence[Design], datasets: Mapping[str, Dataset]
) -> None:
    """A kernel that was asked for by flag must not be larger than the images."""
    for name in dict.fromkeys(name for design in designs for name in design.datasets):
        side = min(datasets[name].image_shape[:2])
        for text in kernels:
            if text != "full" and int(text) > side:
                raise ValueError(
                    f"kernel_sizes must be at most the image side, {side} for {name}; got {text}."
                )


def budgeted(budget: Budget, datasets: Mapping[str, Dataset]) -> Budget:
    """The preset's budget with the flags that were given; checked against the data."""
    given: dict[str, Any] = {
        "epsilon_l2": EPSILON_L2.value,
        "epsilon_linf": EPSILON_LINF.value,
        "num_images": NUM_IMAGES.value,
        "batch_size": TRAIN_BATCH_SIZE.value,
        "channels": CHANNELS.value,
        "epochs": EPOCHS.value,
        "num_attacked": NUM_ATTACKED.value,
        "num_steps": NUM_STEPS.value,
        "random_key": flags.RANDOM_KEY.value,
        "strategy": flags.strategy(),
        "seeds": None
        if flags.SEEDS.value is None
        else flags.parse_ints("seeds", flags.SEEDS.value),
    }
    given = {name: value for name, value in given.items() if value is not None}
    if "epochs" in given:
        given |= {"steps": 0, "decay_epochs": max(1, round(given["epochs"] / 10))}
    for name, long in (("num_attacked", "long_attacked"), ("num_steps", "long_steps")):
        given |= {long: given[name]} if name in given else {}
    budget = dataclasses.replace(budget, **given, given=tuple(given))
    _checks.seeds(budget.seeds)
    for name in ("epsilon_l2", "epsilon_linf"):
        _checks.positive(name, getattr(budget, name))
    for name in ("num_images", "epochs", "channels", "num_attacked", "num_steps"):
        _checks.positive_int(name, getattr(budget, name))
    _checks.positive_int("train_batch_size", budget.batch_size)
    for dataset in datasets.values():
        num_images = fitted(budget, dataset).num_images
        if "batch_size" in given and budget.batch_size > num_images:
            raise ValueError(
                f"train_batch_size must be at most the {num_images} training images of a seed for "
                f"{dataset.name}; got {budget.batch_size}."
            )
        for name, split, least in (
            ("num_images", dataset.train, budget.batch_size),
            ("num_attacked", dataset.test, 1),
        ):
            value = given.get(name)
            if value is not None and not least <= value <= len(split.labels):
                raise ValueError(
                    f"{name} must lie in {least}..{len(split.labels)} for {dataset.name}; "
                    f"got {value}."
                )
    return budget

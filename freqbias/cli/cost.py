"""What a preset costs before it is run: operations, hours at a given speed, memory.

    freqbias cost --preset=paper --image_shape=32,32,3 --tflops=10
    freqbias cost --preset=authors --parts=authors --datasets=fashion_mnist --seeds=0-2

Counts the floating-point operations of one forward pass, one gradient of the parameters and one of
the image of every network that ``reproduce`` would train by the same flags, as XLA counts them on
programs that are lowered and not run, and multiplies by the passes that the budget asks for; of
linear networks, as they are trained, through their effective predictor. Hours are operations over
the speed that is *sustained*, which is yours to give: small convolutions reach a few percent of an
accelerator's peak. Memory is that of the largest setting: images, parameters with momentum for all
seeds, and all values of one forward pass kept at once, for a training batch of all seeds or for all
attacked images of one seed, whichever is more. No data set is read: all count as of the one shape
given. Convolutions are counted by the route that this device would take.
"""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags as absl_flags
from tqdm import tqdm

from freqbias import _checks, data, models, training
from freqbias.cli import flags, sweep
from freqbias.study import design, designs, measures, networks, protocols
from freqbias.study.setting import Asked, Budget, Setting

IMAGE_SHAPE = absl_flags.DEFINE_list("image_shape", ["32", "32", "3"], "Height, width, channels.")
CLASSES = absl_flags.DEFINE_integer("classes", 10, "Number of classes.")
TFLOPS = absl_flags.DEFINE_float("tflops", 10.0, "Sustained speed, 1e12 operations per second.")
BATCH = 4  # images of a pass that is counted
SHARED = (  # flags of a study that are counted
    *("preset", "parts", "datasets", "regimes", "kernel_sizes", "depths", "init_scales", "seeds"),
    *("num_images", "train_batch_size", "epochs", "channels", "num_attacked", "num_steps"),
    "compilation_cache",
)


class Pass(NamedTuple):
    """What one image costs one network."""

    forward: float  # operations
    train: float  # of a gradient of the parameters
    attack: float  # of a gradient of the image
    num_parameters: int
    kept: float  # bytes of all values of a forward pass


class Plan(NamedTuple):
    """A checked request."""

    cells: Mapping[Setting, Asked]
    budget: Budget
    dataset: data.Dataset
    tflops: float


def prepare() -> Plan:
    """Checks the flags."""
    preset = flags.PRESET.value
    _checks.one_of("preset", preset, design.PRESETS)
    shape = flags.parse_ints("image_shape", IMAGE_SHAPE.value)
    if len(shape) != 3:
        raise ValueError(f"image_shape must be height,width,channels; got {shape}.")
    for name, value in (*zip("HWC", shape, strict=True), ("classes", CLASSES.value)):
        _checks.positive_int(name, value)
    _checks.positive("tflops", TFLOPS.value)
    compared = sweep.chosen("reproduce", designs.reproduce, preset)
    cells = {
        setting: asked
        for setting, asked in design.cells(compared).items()
        if design.fits(setting, min(shape[:2]))
    }
    budget = sweep.budgeted(design.BUDGETS[preset], {})
    return Plan(cells, budget, _like(shape, CLASSES.value), TFLOPS.value)


def execute(plan: Plan) -> None:
    """Counts and prints."""
    lines = []
    for setting, asked in tqdm(plan.cells.items(), desc="settings", unit=""):
        like = dataclasses.replace(setting, init_scale=1.0)  # scales cost the same
        budget = protocols.applied(plan.budget, setting.protocol)
        model = networks.make_model(like, plan.dataset, budget)
        one = per_image(model, plan.dataset.image_shape)
        if setting.regime == "linear":
            one = through_predictor(one, budget, plan.dataset)
        spent = operations(one, setting, asked, budget, plan.dataset.image_shape)
        held = memory(one, budget, plan.dataset.image_shape)
        lines.append(
            {
                "family": setting.architecture,
                "regime": setting.regime,
                "networks": len(plan.budget.seeds),
                "PFLOP": spent / 1e15,
                "hours": spent / (plan.tflops * 1e12) / 3600,
                "GB": held / 1e9,
            }
        )
    table = pd.DataFrame(lines)
    total = table.groupby(["family", "regime"], sort=False).agg(
        {"networks": "sum", "PFLOP": "sum", "hours": "sum", "GB": "max"}
    )
    print(total.to_string(float_format="{:.3g}".format))
    print(
        f"{len(plan.cells)} settings, {table['networks'].sum()} networks: "
        f"{table['PFLOP'].sum():.3g} PFLOP, {table['hours'].sum():.3g} hours at {plan.tflops:g} "
        f"TFLOP/s, {table['GB'].max():.3g} GB at most"
    )


def operations(
    one: Pass, setting: Setting, asked: Asked, budget: Budget, image_shape: tuple[int, ...]
) -> float:
    """Of all seeds of a setting: training, attacks, measurements.

    The closed forms of linear networks cost next to nothing.
    """
    trained = budget.steps * budget.batch_size or budget.epochs * budget.num_images
    gradients, forwards, long = 0, budget.num_tested, 0
    if setting.regime == "relu":
        gradients += (1 + asked.second_attack + asked.other_box) * (budget.num_steps + 1)
        gradients += asked.minimal * measures.MINIMAL_STEPS
        in_training = budget.num_steps + asked.minimal_in_training * measures.MINIMAL_STEPS
        gradients += asked.checkpoints * in_training
        long = asked.long_attack * (budget.long_steps + 2) * budget.long_attacked
    if asked.filtered:
        forwards += 2 * len(measures.CUTOFFS) * budget.num_tested
    if asked.heat_map:
        forwards += budget.num_attacked * image_shape[0] * image_shape[1] // 2
    return len(budget.seeds) * (
        trained * one.train
        + (gradients * budget.num_attacked + long) * one.attack
        + forwards * one.forward
    )


def through_predictor(one: Pass, budget: Budget, dataset: data.Dataset) -> Pass:
    """Of an affine network: a row for each class goes through the layers, once a step.

    Each image costs two products with the effective predictor; see `freqbias.training`.
    """
    num_classes, pixels = dataset.num_classes, float(np.prod(dataset.image_shape))
    if num_classes > budget.batch_size:
        return one
    rows = num_classes / budget.batch_size
    return one._replace(train=rows * one.train + 4 * pixels * num_classes)


def memory(one: Pass, budget: Budget, image_shape: tuple[int, ...]) -> float:
    """Bytes, as the module says."""
    seeds, pixels = len(budget.seeds), int(np.prod(image_shape))
    images = pixels * (budget.num_images + budget.num_tested)  # stored in 8 bits
    training_batch = seeds * budget.batch_size * one.kept
    return images + 8 * seeds * one.num_parameters + max(
        training_batch, budget.num_attacked * one.kept
    )  # fmt: skip


@lru_cache
def per_image(model: Any, image_shape: tuple[int, ...]) -> Pass:
    """What one image costs, counted by XLA on programs that are not compiled."""
    images = jax.ShapeDtypeStruct((BATCH, *image_shape), jnp.float32)
    labels = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(params: Any, images: Any, labels: Any) -> Any:
        return training.cross_entropy(model.apply(params, images), labels).sum()

    def counted(function: Any, *arguments: Any) -> float:
        analysis: Any = jax.jit(function).lower(*arguments).cost_analysis()
        return float(analysis["flops"]) / BATCH

    kept = sum(
        float(np.prod(out.aval.shape)) * out.aval.dtype.itemsize
        for equation in jax.make_jaxpr(model.apply)(params, images).eqns
        for out in equation.outvars
    )
    return Pass(
        forward=counted(model.apply, params, images),
        train=counted(jax.grad(loss), params, images, labels),
        attack=counted(jax.grad(loss, argnums=1), params, images, labels),
        num_parameters=models.num_parameters(params),
        kept=kept / BATCH,
    )


def _like(shape: tuple[int, ...], num_classes: int) -> data.Dataset:
    """Any data set of a shape: only that matters here."""
    images = np.random.default_rng(0).uniform(size=(num_classes, *shape))
    labels = np.arange(num_classes)
    return data.from_arrays(images, labels, images, labels, name="any")


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=SHARED)

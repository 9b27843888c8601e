"""What freqbias and torch cost over the number of networks, K, depth, width and side of an image.

PGD and training, as in the suites of these names, on networks as initialised: the time of a step
does not depend on what they have learned. ``slopes`` in `benchmarks.tables` are those of the
logarithm of the cost, on the logarithm of what grows.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import freqbias as fb
from benchmarks import networks, pgd, training
from benchmarks.harness import Case, Settings, Suite, interleaved

AXES: dict[str, tuple[int, ...]] = {
    "seeds": (1, 2, 4, 8, 16, 32, 64),
    "kernel_size": (3, 5, 7, 9, 15, 21, 28),
    "depth": (1, 2, 4, 8),
    "width": (4, 8, 16, 32),
    "side": (14, 28, 56),
}
STEPS = {"pgd": 8, "training": 16}
IMAGES = 32


def network_of(axis: str, at: int) -> tuple[str, int, int]:
    """(name, networks, side) of one point of an axis; the rest is as in its middle."""
    values = {"seeds": 4, "kernel_size": 3, "depth": 1, "width": 8, "side": 28} | {axis: at}
    name = "conv_{kernel_size}_{depth}x{width}".format(**values)
    return name, values["seeds"], values["side"]


def initialised(name: str, num_seeds: int, side: int) -> networks.Problem:
    """Networks that have not been trained."""
    test, model = fb.data.load("fashion_mnist_mini").test, networks.named(name)
    images = jnp.asarray(networks.images_of(test, side)[:IMAGES])
    labels = jnp.asarray(test.labels[:IMAGES], jnp.int32)
    seeds, key = tuple(range(num_seeds)), jax.random.key(0)
    params = fb.training.initial_params(model, images.shape[1:], seeds=seeds, key=key)
    nets = fb.Ensemble(params, jnp.zeros(num_seeds, jnp.int32), None, seeds, model.apply)
    return networks.Problem(model, nets, images, labels)


def measure(task: str, axis: str, at: int, settings: Settings) -> list[dict[str, Any]]:
    """Rows of one point."""
    libraries = tuple({"freqbias", "torch"} & set(settings.libraries))
    settings = settings._replace(libraries=libraries)
    (name, seeds, side), steps = network_of(axis, at), STEPS[task]
    if task == "pgd":
        length = 2.5 * pgd.EPSILON / steps
        runners = pgd.runners(initialised(name, seeds, side), length, settings)
    else:
        sizes = {"batch_size": IMAGES, "num_steps": steps, "side": side}
        runners = training.Task(name, num_seeds=seeds, **sizes).runners(settings)
    rows = []
    for run in interleaved(runners, seeds=seeds, steps=steps, settings=settings):
        row = run.row(IMAGES)
        rows.append(row | {"cost": seeds * steps * IMAGES / row["rate"]})
    return rows


def cases(settings: Settings) -> list[Case]:
    """One for each task and point."""
    axes = {"seeds": (1, 2)} if settings.smoke else AXES
    return [
        Case({"task": task, "axis": axis, "at": at}, partial(measure, task, axis, at, settings))
        for task in STEPS
        for axis, values in axes.items()
        for at in values
    ]


SUITE = Suite(
    "scaling",
    "cost of a convolution's PGD and training: image-steps per second",
    ("task", "axis", "at"),
    ("seeds_run", "steps_run", "seconds", "rate", "cost"),
    cases,
    minutes=10,
)

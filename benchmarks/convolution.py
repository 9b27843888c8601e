"""The routes of `freqbias.ops` side by side: the table that `choose_method` rests on.

A layer with tanh behind it takes some steps in one ``scan``, as training and attacks run, on as
many networks at once as there are cores: ``training`` has the gradient of the kernel, and of the
images where those are no data (more than 3 channels); ``attack`` that of the images. Routes that
cannot be the fastest are left out where they would need too much time or memory. Winograd's, for
3 x 3 taps, is there for comparison (`benchmarks.winograd`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import freqbias as fb
from benchmarks import winograd
from benchmarks.harness import Case, Settings, Suite, cores, seconds
from freqbias import ops

METHODS = "direct", "im2col", "dft", "fft", "winograd"  # the last is none of the library's
NUM_IMAGES, NUM_STEPS = 32, 4
SIDES = 8, 16, 28, 64
CHANNELS = (1, 8), (3, 16), (8, 8), (16, 16), (32, 32)
SIZES = 3, 5, 7, 9, 15
_DATA_CHANNELS = 3  # as many or fewer: the first layer
_MOST_COLUMNS = 800  # taps times channels of im2col
_MOST_PRODUCTS = 5e7  # of a direct convolution on one image, which on CPU takes 1 ns each or more


def layer(kind: str, method: str) -> Callable[..., Any]:
    """(images [H, W, C, N], kernel) -> features [H, W, C', N]."""
    if method == "winograd":
        return winograd.conv
    convolve: Any = ops.depthwise_conv if kind == "depthwise" else ops.conv
    return partial(convolve, method=method, images_last=True)


def moving(task: str, in_channels: int) -> tuple[int, ...]:
    """Of (images, kernel), the arguments that a task has a gradient of."""
    if task == "attack":
        return (0,)
    return (1,) if in_channels <= _DATA_CHANNELS else (0, 1)


def descent(layer: Callable[..., Any], task: str, steps: int) -> Callable[..., Any]:
    """A function of images and kernel that takes steps on one of them, or on both."""

    def loss(images: Any, kernel: Any) -> Any:
        return jnp.sum(jnp.tanh(layer(images, kernel)))

    def run(images: Any, kernel: Any) -> Any:
        wanted = moving(task, images.shape[2])

        def step(at: tuple[Any, Any], _: Any) -> tuple[tuple[Any, Any], None]:
            slopes = dict(zip(wanted, jax.grad(loss, argnums=wanted)(*at), strict=True))
            first, second = (x - 0.01 * slopes[i] if i in slopes else x for i, x in enumerate(at))
            return (first, second), None

        return jax.lax.scan(step, (images, kernel), length=steps)[0]

    return run


def measure(  # noqa: PLR0917 (the columns of a case)
    kind: str, task: str, side: int, inputs: int, outputs: int, size: int, settings: Settings
) -> list[dict[str, Any]]:
    """A row for each route and repeat: microseconds per image and step of all cores together."""
    num, steps = (2, 1) if settings.smoke else (NUM_IMAGES, NUM_STEPS)
    seeds = 1 if jax.default_backend() != "cpu" else cores()
    last = (size, size, inputs) if kind == "depthwise" else (size, size, inputs, outputs)
    key_images, key_kernel = jax.random.split(jax.random.key(0))
    images = jax.random.normal(key_images, (seeds, side, side, inputs, num))
    kernel = jax.random.normal(key_kernel, (seeds, *last)) / size
    runs = {}
    for method in METHODS:
        if not _worth(kind, method, side, inputs, outputs, size):
            continue
        each = descent(layer(kind, method), task, steps)
        runs[method] = partial(fb.ensemble.map_seeds, each, (images, kernel))
        seconds(runs[method])
    return [
        {"library": method, "repeat": repeat}
        | {"microseconds": 1e6 * seconds(run)[0] / (seeds * num * steps)}
        for repeat in range(settings.repeats)
        for method, run in runs.items()
    ]


def _worth(  # noqa: PLR0917 (the columns of a case)
    kind: str, method: str, side: int, inputs: int, outputs: int, size: int
) -> bool:
    if method == "winograd":
        return kind == "conv" and size == 3 and side % winograd.TILE == 0
    if method == "im2col":
        return kind == "conv" and size**2 * inputs <= _MOST_COLUMNS
    if method == "direct" and jax.default_backend() == "cpu":
        return size**2 * inputs * outputs * side**2 <= _MOST_PRODUCTS
    return True


def shapes(*, smoke: bool) -> list[tuple[str, str, int, int, int, int]]:
    """Kind, task, side, channels in and out, kernel size."""
    if smoke:
        return [("conv", "attack", 8, 3, 4, 3), ("depthwise", "training", 8, 4, 4, 3)]
    found = []
    for side in SIDES:
        for size in sorted({size for size in SIZES if size <= side} | {side}):
            if side == 64 and 9 < size < side:
                continue  # as at 9 and at full width
            for task in ("training", "attack"):
                found += [("conv", task, side, *pair, size) for pair in CHANNELS]
                if size in (3, 7) and side <= 28:
                    found += [("depthwise", task, side, 32, 32, size)]
    return found


def cases(settings: Settings) -> list[Case]:
    """One for each shape and task."""
    names = "kind", "task", "side", "in_channels", "out_channels", "kernel_size"
    return [
        Case(dict(zip(names, shape, strict=True)), partial(measure, *shape, settings))
        for shape in shapes(smoke=settings.smoke)
    ]


def chosen(table: pd.DataFrame, backend: str) -> pd.DataFrame:
    """One line for each case: the median of each route, the route chosen, its time to the best.

    Args:
      table: rows of this suite.
      backend: where they were measured, as for `freqbias.ops.choose_method`.
    """
    keys = list(SUITE.keys)
    wide = table.pivot_table(
        index=keys, columns="library", values="microseconds", aggfunc="median", sort=False
    )
    wide = wide[[name for name in METHODS if name in wide]]
    lines = wide.reset_index()
    lines["chosen"] = [_chosen(row, backend) for row in lines.to_dict("records")]
    taken = [wide.iloc[i].get(name, np.nan) for i, name in enumerate(lines["chosen"])]
    lines["to_best"] = np.asarray(taken) / wide.min(axis=1).to_numpy()
    return lines


def _chosen(row: dict[str, Any], backend: str) -> str:
    shape: Sequence[int] = (row["side"], row["side"])
    if row["kind"] == "conv":
        channels = row["in_channels"], row["out_channels"]
        moved = 0 in moving(row["task"], row["in_channels"])
        taps = row["kernel_size"] ** 2
        return ops.choose_method(taps, *channels, shape, backend, images_gradient=moved)
    method = ops.choose_method(row["kernel_size"] ** 2, 1, 1, shape, backend)
    return "dft" if method == "im2col" else method


SUITE = Suite(
    "routes",
    "routes of a convolution: microseconds per image and step",
    ("kind", "task", "side", "in_channels", "out_channels", "kernel_size"),
    ("microseconds",),
    cases,
    minutes=15,
)

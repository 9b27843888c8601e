"""The routes of `freqbias.ops` side by side: the tables that `choose_method` rests on.

    python -m benchmarks.convolution --num_images=64 --size=28

Time per image of both gradients of one layer, in microseconds, the best of several runs; by
``--num_steps=4`` of that many steps of descent in one ``scan``, as training and attacks run, each.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags

from freqbias import ops

NUM_IMAGES = flags.DEFINE_integer("num_images", 64, "Images per batch.", lower_bound=1)
SIZE = flags.DEFINE_integer("size", 28, "Side of an image, pixels.", lower_bound=1)
OUT_CHANNELS = flags.DEFINE_integer("out_channels", 8, "Output channels.", lower_bound=1)
NUM_STEPS = flags.DEFINE_integer("num_steps", 1, "Steps; in one scan if several.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed runs of each.", lower_bound=1)

IN_CHANNELS = (1, 3, 8)
METHODS = ("direct", "im2col", "dft", "fft")
DEPTHWISE = 32  # channels
_MOST_COLUMNS = 512  # im2col beyond this is not worth its memory


def best_seconds(fn: Callable[..., object], *arguments: jax.Array) -> float:
    """The fastest of several runs, compiled beforehand."""
    jax.block_until_ready(fn(*arguments))
    times = []
    for _ in range(REPEATS.value):
        start = time.perf_counter()
        jax.block_until_ready(fn(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def microseconds(layer: Callable[[Any, Any], Any], side: int, kernel_shape: Sequence[int]) -> float:
    """Time of a step per image, of a layer (images, kernel) -> features."""
    num, steps = NUM_IMAGES.value, NUM_STEPS.value
    channels = kernel_shape[2]
    images = jax.random.normal(jax.random.key(0), (num, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), tuple(kernel_shape))
    gradients = jax.grad(lambda x, k: jnp.sum(jnp.tanh(layer(x, k))), argnums=(0, 1))

    def descend(at: Any, _: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda a, g: a - 0.01 * g, at, gradients(*at)), None

    def run(x: jax.Array, k: jax.Array) -> Any:
        if steps == 1:
            return gradients(x, k)
        return jax.lax.scan(descend, (x, k), length=steps)[0]

    return 1e6 * best_seconds(jax.jit(run), images, kernel) / (num * steps)


def main(argv: Sequence[str]) -> None:
    """Prints the tables."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    backend, size = jax.default_backend(), SIZE.value
    rows = []
    for channels in IN_CHANNELS:
        for taps in (k for k in (3, 5, 7, size) if k <= size):
            row: dict[str, Any] = {"in_channels": channels, "kernel_size": taps}
            for method in METHODS:
                if method in ("direct", "im2col") and taps**2 * channels > _MOST_COLUMNS:
                    row[method] = np.nan
                    continue
                layer: Any = partial(ops.conv, method=method)
                row[method] = microseconds(layer, size, (taps, taps, channels, OUT_CHANNELS.value))
            row["chosen"] = ops.choose_method(
                taps**2, channels, OUT_CHANNELS.value, (size, size), backend
            )
            rows.append(row)
    print(f"backend {backend}, {NUM_IMAGES.value} images {size} x {size}, us per image and step")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))

    side, rows = max(size // 4, 1), []
    for taps in (k for k in (3, 7) if k <= side):
        row = {"channels": DEPTHWISE, "kernel_size": taps}
        for method in ("direct", "dft", "fft"):
            layer = partial(ops.depthwise_conv, method=method)
            row[method] = microseconds(layer, side, (taps, taps, DEPTHWISE))
        rows.append(row)
    print(f"\ndepthwise, {side} x {side}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    app.run(main)

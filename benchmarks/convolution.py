"""The routes of `freqbias.ops.conv` side by side: the table that `choose_method` rests on.

    python -m benchmarks.convolution --num_images=64 --size=28

Time per image of both gradients of one layer, in microseconds, the best of several runs.
"""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags

from freqbias import ops

NUM_IMAGES = flags.DEFINE_integer("num_images", 64, "Images per batch.", lower_bound=1)
SIZE = flags.DEFINE_integer("size", 28, "Side of an image, pixels.", lower_bound=1)
OUT_CHANNELS = flags.DEFINE_integer("out_channels", 8, "Output channels.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed runs of each.", lower_bound=1)

IN_CHANNELS = (1, 3, 8)
METHODS = ("direct", "im2col", "fft")
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


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    size, num = SIZE.value, NUM_IMAGES.value
    kernel_sizes = [k for k in (3, 7, size) if k <= size]
    rows = []
    for channels in IN_CHANNELS:
        images = jax.random.normal(jax.random.key(0), (num, size, size, channels))
        for kernel_size in kernel_sizes:
            shape = (kernel_size, kernel_size, channels, OUT_CHANNELS.value)
            kernel = jax.random.normal(jax.random.key(1), shape)
            taps = kernel_size**2
            row = {"in_channels": channels, "kernel_size": kernel_size}
            for method in METHODS:
                if method != "fft" and taps * channels > _MOST_COLUMNS:
                    row[method] = np.nan
                    continue

                def loss(x: jax.Array, k: jax.Array, method: str = method) -> jax.Array:
                    return jnp.sum(jnp.tanh(ops.conv(x, k, method=method)))  # type: ignore[arg-type]

                gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))
                row[method] = 1e6 * best_seconds(gradients, images, kernel) / num
            row["chosen"] = ops.choose_method(taps, channels, jax.default_backend())
            rows.append(row)
    print(f"backend {jax.default_backend()}, {num} images {size} x {size}, us per image")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.0f"))


if __name__ == "__main__":
    app.run(main)

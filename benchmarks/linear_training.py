r"""Full-batch training of many linear conv nets: through beta, and through the layers.

Both run the same sphere-normalised descent from the same weights on the same images, so they must
end at the same losses, which are printed.

  beta    ``freqbias.theory.train_direction``: all seeds at once, one matrix product per step
  layers  a jitted ``lax.scan`` over ``freqbias.ops.conv`` and a readout, one seed after another,
          by every convolution route; the fastest counts. Run on a few seeds and extrapolated.

  python -m benchmarks.linear_training --num_seeds=1000 --depth=3 --kernel_size=3

A few minutes on two cores at the defaults.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from freqbias import ops, theory

NUM_SEEDS = flags.DEFINE_integer("num_seeds", 1000, "Seeds trained through beta.", lower_bound=1)
NUM_LAYERED = flags.DEFINE_integer("num_layered", 2, "Seeds trained through layers.", lower_bound=1)
NUM_STEPS = flags.DEFINE_integer("num_steps", 100, "Steps timed.", lower_bound=1)
NUM_IMAGES = flags.DEFINE_integer("num_images", 400, "Images, drawn as noise.", lower_bound=2)
SIZE = flags.DEFINE_integer("size", 28, "Side of an image, pixels.", lower_bound=2)
DEPTH = flags.DEFINE_integer("depth", 3, "Hidden convolutions.", lower_bound=1)
KERNEL_SIZE = flags.DEFINE_integer("kernel_size", 3, "Taps per side of a kernel.", lower_bound=1)
STEP_SIZE, DECAY_STEPS = 0.02, 100.0


def layered_train_fn(
    images: np.ndarray, labels: np.ndarray, num_steps: int, method: str
) -> Callable[[Any, Any], Any]:
    """A jitted function (params, log_scale) -> (params, log_scale) of one seed."""
    sign = jnp.asarray(2.0 * labels - 1, jnp.float32)
    pixels = jnp.asarray(images)

    def log_loss(params: Any, log_factor: Any) -> Any:
        hidden = pixels
        for kernel in params["kernels"]:
            hidden = ops.conv(hidden, kernel, method=method)  # type: ignore[arg-type]
        outputs = hidden.reshape(len(sign), -1) @ params["readout"].ravel()
        return jax.nn.logsumexp(-jnp.exp(log_factor) * sign * outputs)

    def norm(tree: Any) -> Any:
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))

    def step(carry: Any, index: Any) -> Any:
        params, log_scale = carry
        degree = len(params["kernels"]) + 1
        gradient = jax.grad(log_loss)(params, degree * log_scale)
        rate = STEP_SIZE / jnp.sqrt(1 + index / DECAY_STEPS) / norm(gradient)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        size = norm(params)
        return (jax.tree.map(lambda p: p / size, params), log_scale + jnp.log(size)), None

    def train(params: Any, log_scale: Any) -> Any:
        return jax.lax.scan(step, (params, log_scale), jnp.arange(num_steps))[0]

    return jax.jit(train)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a second call and its seconds; the first compiles."""
    jax.block_until_ready(function())
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def main(argv: Sequence[str]) -> None:
    """Times both and prints one line each."""
    del argv
    side, num_steps, num_seeds = SIZE.value, NUM_STEPS.value, NUM_SEEDS.value
    rng = np.random.default_rng(0)
    images = rng.standard_normal((NUM_IMAGES.value, side, side, 1)).astype(np.float32)
    labels = (np.arange(len(images)) % 2).astype(np.int32)
    net = theory.conv_net((side, side, 1), DEPTH.value, kernel_size=KERNEL_SIZE.value)
    start = theory.init_direction(net, jax.random.split(jax.random.key(0), num_seeds), len(images))
    after, seconds = timed(
        lambda: theory.train_direction(
            net,
            start,
            images,
            labels,
            num_steps=num_steps,
            step_size=STEP_SIZE,
            decay_steps=DECAY_STEPS,
        )
    )
    through_beta = seconds / (num_steps * num_seeds)
    losses = theory.read_direction(net, after, images, labels).log_loss
    print(
        f"device {jax.devices()[0].device_kind}; {num_seeds} seeds, depth {DEPTH.value}, ", end=""
    )
    print(f"K={KERNEL_SIZE.value}, {len(images)} images of {side}x{side}, {num_steps} steps")
    print(
        f"beta:   {1e6 * through_beta:9.1f} us per seed and step; 10,000 steps of "
        f"{num_seeds} seeds take {1e4 * num_seeds * through_beta:.3g} s"
    )
    num_layered = min(NUM_LAYERED.value, num_seeds)
    best = np.inf
    for method in ("direct", "im2col", "dft", "fft"):
        train = layered_train_fn(images, labels, num_steps, method)
        total, final = 0.0, []
        for seed in range(num_layered):
            params = jax.tree.map(lambda leaf, s=seed: leaf[s], start.params)
            (params, log_scale), seconds = timed(partial(train, params, start.log_scale[seed]))
            total += seconds
            single = jax.tree.map(lambda leaf: leaf[None], params)
            state = after._replace(params=single, log_scale=log_scale[None])
            final.append(float(theory.read_direction(net, state, images, labels).log_loss[0]))
        per_step = total / (num_steps * num_layered)
        best = min(best, per_step)
        print(
            f"layers: {1e6 * per_step:9.1f} us ({method}); final log loss by seed: "
            + ", ".join(
                f"{mine:.4f} against {float(theirs):.4f} through beta"
                for mine, theirs in zip(final, losses, strict=False)
            )
        )
    print(f"ratio to the fastest: {best / through_beta:.0f}")


if __name__ == "__main__":
    app.run(main)

"""What a network's speed on a processor rests on: the matrix products of its steps, alone.

A step of training or of an attack is a list of products of matrices of known shapes, by the routes
that freqbias takes (`freqbias.ops.convolution`): a table of shifted copies times the kernel, or
transforms and mixing on the frequencies. Here just these products are done, as often, on as many
cores, from operands that lie ready in memory: no copies, no activations, no loss, no optimiser. A
program of these routes is faster only where an operand is still in the cache, for it was just made.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import freqbias as fb
from freqbias import ops
from freqbias.ops import dft


class Product(NamedTuple):
    """``many`` products [rows, inner] x [inner, columns] at once."""

    many: int
    rows: int
    inner: int
    columns: int


def counts(model: Any) -> bool:
    """Whether the products of a network are known: of dense and convolutional ones, on CPU."""
    known = isinstance(model, fb.models.FullyConnected | fb.models.ConvNet)
    return known and jax.default_backend() == "cpu"


def of_step(
    model: Any, image_shape: Sequence[int], num_images: int, *, training: bool
) -> list[Product]:
    """The products of one step on one network.

    Args:
      model: one that `counts`, with circular padding.
      image_shape: (H, W, C).
      num_images: N, in the batch.
      training: gradients with respect to all weights, but not to the images; else the reverse.
    """
    height, width, inputs = image_shape
    found: list[Product] = []
    if isinstance(model, fb.models.FullyConnected):
        sizes = [height * width * inputs, *[model.width] * model.depth]
        for index, (before, after) in enumerate(itertools.pairwise(sizes)):
            inward = not training or index > 0
            found += _dense(before, after, num_images, weights=training, inward=inward)
        return found + _dense(sizes[-1], model.num_classes, num_images, weights=training)
    for index in range(model.depth):
        layer = (model.kernel_size, height, width, inputs, model.channels, num_images)
        inward = not training or index > 0
        found += _convolution(*layer, weights=training, inward=inward)
        inputs = model.channels
    return found + _dense(height * width * inputs, model.num_classes, num_images, weights=training)


def _dense(
    inputs: int, outputs: int, num: int, *, weights: bool, inward: bool = True
) -> list[Product]:
    forward = Product(1, outputs, inputs, num)
    backward = [Product(1, inputs, num, outputs)] * weights + [
        Product(1, inputs, outputs, num)
    ] * inward
    return [forward, *backward]


def _convolution(  # noqa: PLR0917 (sizes, in the order of the formula)
    size: int,
    height: int,
    width: int,
    inputs: int,
    outputs: int,
    num: int,
    *,
    weights: bool,
    inward: bool,
) -> list[Product]:
    taps = size**2
    sizes = taps, inputs, outputs, (height, width)
    if ops.choose_method(*sizes, "cpu", images_gradient=inward) == "im2col":
        return _dense(taps * inputs, outputs, height * width * num, weights=weights, inward=inward)
    half = height // 2 + 1  # frequencies over the rows of real images

    def transform(channels: int) -> list[Product]:
        over_rows = Product(1, 2 * half, height, width * channels * num)
        long, short = dft.factors(width)
        over_columns = [Product(half, 2 * long, 2 * long, short * channels * num)]
        if short > 1:
            over_columns.append(Product(half * long, 2 * short, 2 * short, channels * num))
        return [over_rows, *over_columns]

    mixing = Product(half * width, 2 * outputs, 2 * inputs, num)
    found = [*transform(inputs), mixing, *transform(outputs)]  # forward
    found += transform(outputs)  # of what comes back
    found += [Product(half * width, 2 * outputs, num, 2 * inputs)] * weights
    if inward:
        found += [Product(half * width, 2 * inputs, 2 * outputs, num), *transform(inputs)]
    return found


def runner(steps_of: Sequence[Product]) -> Callable[[int, int], Any]:
    """A function (networks, steps) that does the products of so many steps of each network."""
    each = partial(_repeated, tuple(steps_of))

    def run(seeds: int, steps: int) -> Any:
        return fb.ensemble.map_seeds(each, (jnp.arange(seeds),), (jnp.int32(steps),))

    return run


def _repeated(products: tuple[Product, ...], seed: jax.Array, steps: jax.Array) -> jax.Array:
    def operands(product: Product) -> tuple[jax.Array, jax.Array, jax.Array]:
        many, rows, inner, columns = product
        start = 1e-3 + 0.0 * seed.astype(jnp.float32)
        shapes = (many, rows, inner), (many, inner, columns), (many, rows, columns)
        left, right, out = (jnp.broadcast_to(start, shape) for shape in shapes)
        return left, right, out

    def step(_: jax.Array, state: Any) -> Any:
        done = []
        for left, right, out in state:
            # One number of each result goes into the next: no product can be left out.
            tied = left.at[0, 0, 0].set(1e-3 + 0.0 * out[0, 0, 0])
            done.append((tied, right, jnp.matmul(tied, right)))
        return done

    state = jax.lax.fori_loop(0, steps, step, [operands(product) for product in products])
    return jnp.stack([out[0, 0, 0] for _, _, out in state])

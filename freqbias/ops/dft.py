r"""Circular convolution through the discrete Fourier transform, as matrix products.

The transform of an image of H rows is a product with an H x H matrix, and one along its columns
likewise. For images of up to some hundred pixels a side a processor does these products faster than
it does a fast transform, whose steps are short and scattered.

Arrays are [H, W, C, N], images last. Then no step moves a number: rows are transformed by one
product with [H, W C N], columns by products per row frequency, channels are mixed by one per
frequency, [2 O, 2 I] [2 I, N], and the way back is the same in reverse. The 2 are real and
imaginary part. Row frequencies p go from 0 to H / 2 alone: the images are real.

A transform over W = A B columns is one product with [2 W, C N], or two short ones (Cooley and
Tukey, 1965): with columns w = a B + b and frequencies q = r + A s,

    X[r + A s] = sum_b exp(-2 pi i b (r + A s) / W) sum_a exp(-2 pi i a r / A) x[a B + b],

products of 2 A numbers and then, for each r, of 2 B. Frequencies are then in the order of (r, s).
"""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from freqbias.ops.product import product
from freqbias.typing import Array

_PRECISION = jax.lax.Precision.HIGHEST


def conv(images: Array, weights: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Circular convolution whose taps are all pairs of ``rows`` and ``columns``.

    Args:
      images: [H, W, I, N], float.
      weights: [R, C, I, O].
      rows: int [R], offsets dy, distinct modulo H.
      columns: int [C], offsets dx, distinct modulo W.

    Returns:
      [H, W, O, N]: ``sum_{r, c, i} weights[r, c, i, o] images[h + dy_r, w + dx_c, i, n]``.
    """
    height, width, inputs, num = images.shape
    outputs = weights.shape[3]
    real, imaginary = _transfer(weights, rows, columns, (height, width))  # [P, W, O, I]
    # Complex numbers as matrices: (a + ib) (x + iy) has the real part ax - by, and bx + ay.
    mixing = _blocks(real, -imaginary, imaginary, real)
    real_t, imaginary_t = (jnp.swapaxes(part, 2, 3) for part in (real, imaginary))
    transposed = _blocks(real_t, imaginary_t, -imaginary_t, real_t)
    spectrum = _analysis(images).reshape(-1, width, 2 * inputs, num)
    mixed = product(mixing, transposed, spectrum)
    return _synthesis(mixed.reshape(-1, width, 2, outputs, num), height)


def _blocks(a: Array, b: Array, c: Array, d: Array) -> Array:
    """[[a, b], [c, d]] of the last two axes."""
    upper, lower = jnp.concatenate([a, b], axis=3), jnp.concatenate([c, d], axis=3)
    return jnp.concatenate([upper, lower], axis=2)


def depthwise_conv(images: Array, weights: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """As `conv`, each channel by itself: images [H, W, C, N], weights [R, C, C] -> [H, W, C, N]."""
    height, width = images.shape[:2]
    transfer = _transfer(weights[:, :, None], rows, columns, (height, width))
    a, b = (part[:, :, :, 0, None] for part in transfer)  # [P, W, C, 1]
    spectrum = _analysis(images)
    x, y = spectrum[:, :, 0], spectrum[:, :, 1]
    return _synthesis(jnp.stack([a * x - b * y, b * x + a * y], axis=2), height)


def _analysis(images: Array) -> Array:
    """The transform [P, W, 2, C, N] of images [H, W, C, N], not normalised."""
    height, width, channels, num = images.shape
    forward, _ = _over_rows(height)
    spectrum = _of_constant(forward, images.reshape(height, -1))
    for stage in _over_columns(width):
        spectrum = _each(stage, spectrum, height // 2 + 1)
    return spectrum.reshape(-1, width, 2, channels, num)


def _synthesis(spectrum: Array, height: int) -> Array:
    """The inverse of `_analysis`."""
    num_rows, width, _, channels, num = spectrum.shape
    _, backward = _over_rows(height)
    for stage in reversed(_over_columns(width)):
        spectrum = _each(stage.transpose(0, 2, 1), spectrum, num_rows)
    images = _of_constant(backward / width, spectrum.reshape(2 * num_rows, -1))
    return images.reshape(height, width, channels, num)


def _each(stage: np.ndarray, array: Array, num_rows: int) -> Array:
    """``stage[g] @ array[p, g]`` for each row frequency p, [P, G, K, ...] -> [P G, M, ...].

    As a product of stacks, since XLA would transpose the array for one matrix.
    """
    groups, _, inner = stage.shape
    repeated = np.broadcast_to(stage, (num_rows, *stage.shape)).reshape(-1, *stage.shape[1:])
    stack = array.reshape(num_rows * groups, inner, -1)
    return _of_constant(repeated, stack)


def _of_constant(matrix: np.ndarray, stack: Array) -> Array:
    transposed = np.ascontiguousarray(np.swapaxes(matrix, -1, -2))
    return product(jnp.asarray(matrix, stack.dtype), jnp.asarray(transposed, stack.dtype), stack)


def _transfer(
    weights: Array, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Real and imaginary part [P, W, O, I] of ``sum_{r, c} weights exp(2 pi i (p dy/H + q dx/W))``.

    q in the order of `_frequencies`. It is the conjugate of the kernel's transform: the layer is a
    cross-correlation.
    """
    (height, width), dtype = shape, weights.dtype
    num_rows, num_columns, inputs, outputs = weights.shape
    turn = 2 * np.pi * np.outer(_frequencies(width), columns) / width  # [W, C]
    over_columns = np.stack([np.cos(turn), np.sin(turn)]).reshape(2 * width, num_columns)
    flat = jnp.moveaxis(weights, 1, 0).reshape(num_columns, -1)
    half = jnp.matmul(over_columns.astype(dtype), flat, precision=_PRECISION)
    # [(part, W), (R, I, O)] -> [(part, R), (W, O, I)]
    half = half.reshape(2, width, num_rows, inputs, outputs)
    half = jnp.transpose(half, (0, 2, 1, 4, 3)).reshape(2 * num_rows, -1)
    turn = 2 * np.pi * np.outer(np.arange(height // 2 + 1), rows) / height  # [P, R]
    cos, sin = np.cos(turn), np.sin(turn)
    over_rows = np.block([[cos, -sin], [sin, cos]])  # [(part, P), (part, R)]
    out = jnp.matmul(over_rows.astype(dtype), half, precision=_PRECISION)
    out = out.reshape(2, height // 2 + 1, width, outputs, inputs)
    return out[0], out[1]


@lru_cache
def _over_rows(height: int) -> tuple[np.ndarray, np.ndarray]:
    """To the frequencies over rows, [(P, 2), H], and back, [H, (P, 2)]."""
    frequencies = np.arange(height // 2 + 1)
    turn = 2 * np.pi * np.outer(frequencies, np.arange(height)) / height
    forward = np.stack([np.cos(turn), -np.sin(turn)], axis=1).reshape(-1, height)
    # Each frequency but the first, and the last of an even height, stands for its negative too.
    twice = np.where((frequencies == 0) | (2 * frequencies == height), 1, 2)
    return forward, (forward * np.repeat(twice, 2)[:, None] / height).T


@lru_cache
def _over_columns(width: int) -> tuple[np.ndarray, ...]:
    """The stages of the transform over columns, [1, (A, 2), (2, A)] and [A, (B, 2), (2, B)].

    One stage [1, (W, 2), (2, W)] where ``factors`` finds no two that are worth it.
    """
    long, short = factors(width)
    first = np.arange(long)
    stages = [_embedded(np.outer(first, first)[None] / long)]
    if short > 1:
        place, frequency = np.arange(short), _frequencies(width).reshape(long, short)
        stages.append(_embedded(frequency[:, :, None] * place[None, None] / width))
    return tuple(stages)


def _embedded(turns: np.ndarray) -> np.ndarray:
    """exp(-2 pi i turns) [G, M, K] as real matrices [G, (M, part), (part, K)]."""
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    # [frequency, part, part, place]: what real and imaginary part at a place give to those there.
    parts = np.stack([np.stack([cos, sin], axis=2), np.stack([-sin, cos], axis=2)], axis=2)
    groups, rows, places = turns.shape
    return parts.reshape(groups, 2 * rows, 2 * places)


def _frequencies(width: int) -> np.ndarray:
    """The frequencies q [W] in the order of a transform's result, r + A s of (r, s)."""
    long, short = factors(width)
    return (np.arange(long)[:, None] + long * np.arange(short)[None]).ravel()


@lru_cache
def factors(width: int) -> tuple[int, int]:
    """(A, B), A >= B, A B = W, of the least sum A + B; (W, 1) unless that halves the products."""
    short = next(b for b in range(math.isqrt(width), 0, -1) if width % b == 0)
    long = width // short
    return (long, short) if 2 * (long + short) <= width else (width, 1)

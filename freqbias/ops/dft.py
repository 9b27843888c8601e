r"""Circular convolution through the discrete Fourier transform, as matrix products.

The transform of an image of H rows is a product with an H x H matrix, and one along its columns
likewise. For images of up to some hundred pixels a side a processor does these products faster than
it does a fast transform, whose steps are short and scattered.

Arrays are [H, W, C, N], images last. Then no step moves a number: rows are transformed by one
product with [H, W C N], columns by one per row frequency with [2 W, C N], channels are mixed by one
per frequency, [2 O, 2 I] [2 I, N], and the way back is the same in reverse. The 2 are real and
imaginary part. Row frequencies p go from 0 to H / 2 alone: the images are real.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

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
    upper = jnp.concatenate([real, -imaginary], axis=3)
    mixing = jnp.concatenate([upper, jnp.concatenate([imaginary, real], axis=3)], axis=2)
    spectrum = _analysis(images).reshape(-1, width, 2 * inputs, num)
    mixed = jnp.matmul(mixing, spectrum, precision=_PRECISION)
    return _synthesis(mixed.reshape(-1, width, 2, outputs, num), height)


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
    over_rows, over_columns, _, _ = (
        matrix.astype(images.dtype) for matrix in _matrices(height, width)
    )
    half = jnp.matmul(over_rows, images.reshape(height, -1), precision=_PRECISION)
    half = half.reshape(-1, 2 * width, channels * num)
    return _each(over_columns, half).reshape(-1, width, 2, channels, num)


def _synthesis(spectrum: Array, height: int) -> Array:
    """The inverse of `_analysis`."""
    num_rows, width, _, channels, num = spectrum.shape
    _, _, over_columns, over_rows = (
        matrix.astype(spectrum.dtype) for matrix in _matrices(height, width)
    )
    half = _each(over_columns, spectrum.reshape(num_rows, 2 * width, channels * num))
    half = half.reshape(2 * num_rows, -1)
    images = jnp.matmul(over_rows, half, precision=_PRECISION)
    return images.reshape(height, width, channels, num)


def _each(matrix: np.ndarray, stack: Array) -> Array:
    """``matrix @ stack[p]`` for each p; as a product of stacks, since XLA would transpose one."""
    repeated = np.broadcast_to(matrix, (stack.shape[0], *matrix.shape))
    return jnp.matmul(repeated, stack, precision=_PRECISION)


def _transfer(
    weights: Array, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Real and imaginary part [P, W, O, I] of ``sum_{r, c} weights exp(2 pi i (p dy/H + q dx/W))``.

    It is the conjugate of the kernel's transform: the layer is a cross-correlation.
    """
    (height, width), dtype = shape, weights.dtype
    num_rows, num_columns, inputs, outputs = weights.shape
    turn = 2 * np.pi * np.outer(np.arange(width), columns) / width  # [W, C]
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
def _matrices(height: int, width: int) -> tuple[np.ndarray, ...]:
    """To the frequencies over rows and over columns, and back over columns and over rows.

    [(P, 2), H], [(W, 2), (2, W)], [(2, W), (W, 2)], [H, (P, 2)].
    """
    frequencies = np.arange(height // 2 + 1)
    turn = 2 * np.pi * np.outer(frequencies, np.arange(height)) / height
    over_rows = np.stack([np.cos(turn), -np.sin(turn)], axis=1).reshape(-1, height)
    # Each frequency but the first, and the last of an even height, stands for its negative too.
    twice = np.where((frequencies == 0) | (2 * frequencies == height), 1, 2)
    back_over_rows = (over_rows * np.repeat(twice, 2)[:, None] / height).T
    turn = 2 * np.pi * np.outer(np.arange(width), np.arange(width)) / width
    cos, sin = np.cos(turn), np.sin(turn)
    # [frequency, part, part, place]: what real and imaginary part at a place give to those there.
    over_columns = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)
    over_columns = over_columns.reshape(2 * width, 2 * width)
    return over_rows, over_columns, over_columns.T / width, back_over_rows

r"""Layers without weight sharing: each output pixel has its own weights.

.. math:: y[n, d, o] = \sum_{t, i} W[d, t, i, o]\; x[n, \pi_t(d), i]

With ``pi_t(d) = d + offset_t`` this is a locally connected layer; with ``pi_t`` an arbitrary
permutation of the pixels it has neither locality nor symmetry.
"""

import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias.ops.convolution import views
from freqbias.typing import Array


def locally_connected(images: Array, weights: Array, offsets: np.ndarray) -> Array:
    """Convolution with weights of its own at every output pixel (circular borders).

    Args:
      images: [N, H, W, I], float.
      weights: [H, W, T, I, O].
      offsets: int [T, 2], (dy, dx) of each tap.

    Returns:
      [N, H, W, O].

    Raises:
      TypeError: images or weights are not float32 or float64.
      ValueError: shapes do not fit.
    """
    _check(images, weights, num_taps=len(offsets))
    pixels = jnp.transpose(images, (1, 2, 3, 0))  # [H, W, I, N]: a pixel is one block of memory
    return _apply(jnp.stack(views(pixels, np.asarray(offsets), (0, 1)), axis=2), weights)


def permuted_connected(images: Array, weights: Array, positions: np.ndarray) -> Array:
    """Like `locally_connected`, but tap t of output pixel d reads input pixel positions[t, d].

    Args:
      images: [N, H, W, I], float.
      weights: [H, W, T, I, O].
      positions: int [T, H * W], each row a permutation of the pixels.

    Returns:
      [N, H, W, O].

    Raises:
      TypeError: images or weights are not float32 or float64.
      ValueError: shapes do not fit.
    """
    _check(images, weights, num_taps=len(positions))
    height, width, channels, num = (images.shape[axis] for axis in (1, 2, 3, 0))
    pixels = jnp.transpose(images, (1, 2, 3, 0)).reshape(height * width, channels, num)
    # A permutation: its gradient writes each pixel once, and adds nothing up.
    permuted = [
        pixels.at[row].get(unique_indices=True, mode="promise_in_bounds")
        for row in np.asarray(positions)
    ]
    columns = jnp.stack(permuted, axis=1)
    return _apply(columns.reshape(height, width, len(positions), channels, num), weights)


def _apply(columns: Array, weights: Array) -> Array:
    """``[H, W, T, I, N], [H, W, T, I, O] -> [N, H, W, O]``: one matrix product per pixel."""
    out = jnp.einsum("hwtio,hwtin->hwon", weights, columns)
    return jnp.transpose(out, (3, 0, 1, 2))


def _check(images: Array, weights: Array, *, num_taps: int) -> None:
    _checks.rank("images", images, 4)
    _checks.rank("weights", weights, 5)
    _checks.floating("images", images)
    _checks.floating("weights", weights)
    expected = (*images.shape[1:3], num_taps, images.shape[3])
    if weights.shape[:4] != expected:
        raise ValueError(
            f"weights must have shape (H, W, taps, input channels, output channels) = "
            f"{(*expected, 'any')}; got {weights.shape}."
        )

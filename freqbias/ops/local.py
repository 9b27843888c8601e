r"""Layers without weight sharing: each output pixel has its own weights.

.. math:: y[n, d, o] = \sum_{t, i} W[d, t, i, o]\; x[n, \pi_t(d), i]

With ``pi_t(d) = d + offset_t`` this is a locally connected layer; with ``pi_t`` an arbitrary
permutation of the pixels it has neither locality nor symmetry.
"""

import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.ops.convolution import turned, views
from freqbias.typing import Array


@checked
def locally_connected(
    images: Array, weights: Array, offsets: np.ndarray, *, images_last: bool = False
) -> Array:
    """Convolution with weights of its own at every output pixel (circular borders).

    Args:
      images: [N, H, W, I], float; [H, W, I, N] if ``images_last``.
      weights: [H, W, T, I, O].
      offsets: int [T, 2], (dy, dx) of each tap.
      images_last: as in `freqbias.ops.conv`.

    Returns:
      [N, H, W, O]; with ``images_last`` [H, W, O, N].

    Raises:
      TypeError: images or weights are not float32 or float64.
      ValueError: shapes do not fit.
    """
    _checks.integers("offsets", offsets, (None, 2))
    _check(images, weights, num_taps=len(offsets), images_last=images_last)

    def layer(pixels: Array) -> Array:
        return _apply(jnp.stack(views(pixels, np.asarray(offsets), (0, 1)), axis=2), weights)

    return turned(layer, images, images_last)


@checked
def permuted_connected(
    images: Array, weights: Array, positions: np.ndarray, *, images_last: bool = False
) -> Array:
    """Like `locally_connected`, but tap t of output pixel d reads input pixel positions[t, d].

    Args:
      images: [N, H, W, I], float; [H, W, I, N] if ``images_last``.
      weights: [H, W, T, I, O].
      positions: int [T, H * W], each row a permutation of the pixels.
      images_last: as in `freqbias.ops.conv`.

    Returns:
      [N, H, W, O]; with ``images_last`` [H, W, O, N].

    Raises:
      TypeError: images or weights are not float32 or float64.
      ValueError: shapes do not fit.
    """
    _checks.integers("positions", positions, (None, None))
    _check(images, weights, num_taps=len(positions), images_last=images_last)
    if np.shape(positions)[1] != weights.shape[0] * weights.shape[1]:
        raise ValueError(f"positions must be [T, H * W]; got shape {np.shape(positions)}.")

    def layer(images: Array) -> Array:
        height, width, channels, num = images.shape
        pixels = images.reshape(height * width, channels, num)
        # A permutation: its gradient writes each pixel once, and adds nothing up.
        permuted = [
            pixels.at[row].get(unique_indices=True, mode="promise_in_bounds")
            for row in np.asarray(positions)
        ]
        columns = jnp.stack(permuted, axis=1)
        return _apply(columns.reshape(height, width, len(positions), channels, num), weights)

    return turned(layer, images, images_last)


def _apply(columns: Array, weights: Array) -> Array:
    """``[H, W, T, I, N], [H, W, T, I, O] -> [H, W, O, N]``: one matrix product per pixel."""
    return jnp.einsum("hwtio,hwtin->hwon", weights, columns)


def _check(images: Array, weights: Array, *, num_taps: int, images_last: bool) -> None:
    _checks.rank("images", images, 4)
    _checks.rank("weights", weights, 5)
    _checks.floating("images", images)
    _checks.floating("weights", weights)
    for name, array in (("images", images), ("weights", weights)):
        if 0 in array.shape:
            raise ValueError(f"{name} must not be empty; got shape {array.shape}.")
    height, width, channels = images.shape[:3] if images_last else images.shape[1:]
    expected = (height, width, num_taps, channels)
    if weights.shape[:4] != expected:
        raise ValueError(
            f"weights must have shape (H, W, taps, input channels, output channels) = "
            f"{(*expected, 'any')}; got {weights.shape}."
        )

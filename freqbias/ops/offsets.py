"""Taps of a convolution: where, relative to an output pixel, its inputs lie.

A kernel is a list of *offsets* (dy, dx), int [T, 2], and weights per offset. A K x K kernel has the
offsets of a centred square; a *scattered* kernel has the same number of taps anywhere on the torus.
Both are circulant: the same offsets serve every pixel.
"""

from collections.abc import Sequence

import numpy as np

from freqbias import _checks
from freqbias._checked import checked


@checked
def square_offsets(height: int, width: int) -> np.ndarray:
    """Offsets of a centred height x width kernel, row by row.

    Tap (i, j) reads the input at (i - (height - 1) // 2, j - (width - 1) // 2) from the output
    pixel, the centring of ``padding="SAME"`` in ``jax.lax``.

    Args:
      height: rows of the kernel, taps.
      width: columns of the kernel, taps.

    Returns:
      int [height * width, 2].

    Example:
      >>> from freqbias import ops
      >>> ops.square_offsets(1, 3).tolist()
      [[0, -1], [0, 0], [0, 1]]
    """
    for name, size in (("height", height), ("width", width)):
        _checks.positive_int(name, size)
    rows = np.arange(height) - (height - 1) // 2
    columns = np.arange(width) - (width - 1) // 2
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


@checked
def scattered_offsets(num_taps: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """Offsets drawn uniformly without replacement from all pixels of the torus.

    Args:
      num_taps: T, number of taps.
      shape: (H, W) of the image, pixels.
      seed: of the draw; same seed, same offsets.

    Returns:
      int [T, 2], distinct.

    Raises:
      ValueError: more taps than pixels.
    """
    _checks.positive_int("num_taps", num_taps)
    height, width = _checks.sizes("shape", shape, "HW")
    _checks.seeds([seed])
    if num_taps > height * width:
        raise ValueError(
            f"num_taps must be at most the number of pixels, {height * width}; got {num_taps}."
        )
    flat = np.random.default_rng(seed).choice(height * width, num_taps, replace=False)
    return np.stack([flat // width, flat % width], axis=-1)


@checked
def scattered_positions(num_taps: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """One permutation of all pixels per tap: input positions with neither symmetry nor locality.

    Output pixel d reads, through tap t, the input pixel ``positions[t, d]``. As in a locally
    connected layer each input pixel feeds exactly T outputs, but the T inputs of one output lie
    anywhere, and neighbouring outputs have unrelated inputs.

    Args:
      num_taps: T.
      shape: (H, W), pixels.
      seed: of the draw.

    Returns:
      int [T, H * W], each row a permutation.
    """
    _checks.positive_int("num_taps", num_taps)
    height, width = _checks.sizes("shape", shape, "HW")
    _checks.seeds([seed])
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(height * width) for _ in range(num_taps)])

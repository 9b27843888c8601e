r"""Winograd's F(4 x 4, 3 x 3), to be measured beside the routes of `freqbias.ops`.

.. math:: Y = A^T [(G g G^T) \odot (B^T d B)] A

on tiles d of 6 x 6 pixels that give 4 x 4 (Lavin and Gray, "Fast algorithms for convolutional
neural networks", 2016, section 4.1), circular. Of matrices [C', C] [C, tiles N] there are 36
products; the transforms are sums of shifted arrays, since as products they cost more than they
save.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_B = np.array([  # B^T
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
])  # fmt: skip
_G = np.array([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
])  # fmt: skip
_A = np.array([  # A^T
    [1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1],
])  # fmt: skip
TILE = 4  # of outputs; it divides the sides


@jax.custom_vjp
def conv(images: Any, kernel: Any) -> Any:
    """Images [H, W, C, N], kernel [3, 3, C, C'] -> [H, W, C', N]."""
    height, width, channels, num = images.shape
    rows, columns = height // TILE, width // TILE
    transformed = jnp.einsum("ay,bx,yxio->boai", _G, _G, kernel, precision="highest")
    mixing = jnp.moveaxis(transformed, 2, 1).reshape(36, -1, channels)
    tiles = _tiles(jnp.moveaxis(images, 2, 0), 1)  # [C, H, W, N]
    tiles = _combined(_B, tiles)  # [6, C, rows, W, N]
    tiles = _combined(_B, _tiles(tiles, 3))  # [6, 6, C, rows, columns, N]
    mixed = jnp.matmul(mixing, tiles.reshape(36, channels, -1), precision="highest")
    mixed = mixed.reshape(6, 6, -1, rows, columns, num)
    out = _combined(_A, list(mixed))  # [4, 6, C', rows, columns, N]
    out = _combined(_A, [out[:, j] for j in range(6)])  # [4, 4, C', rows, columns, N]
    return jnp.transpose(out, (3, 0, 4, 1, 2, 5)).reshape(height, width, -1, num)


def _tiles(array: Any, axis: int) -> list[Any]:
    """Six arrays: the j-th has the j-th pixel of each tile along ``axis``, the first of them -1."""
    size = array.shape[axis]
    take = partial(jax.lax.slice_in_dim, axis=axis)
    pieces = [take(array, size - 1, size), array, take(array, 0, TILE - 1)]
    wrapped = jnp.concatenate(pieces, axis)
    shape = (*array.shape[:axis], size // TILE + 1, TILE, *array.shape[axis + 1 :])
    tiled = jnp.moveaxis(wrapped.reshape(shape), axis + 1, 0)
    first = [j // TILE for j in range(6)]
    return [take(tiled[j % TILE], first[j], first[j] + size // TILE) for j in range(6)]


def _combined(matrix: np.ndarray, parts: list[Any]) -> Any:
    """Its rows times the parts, along a new first axis."""
    rows = [
        sum(float(c) * part for c, part in zip(row, parts, strict=True) if c != 0) for row in matrix
    ]
    return jnp.stack(rows)


def _forward(images: Any, kernel: Any) -> Any:
    return conv(images, kernel), (images, kernel)


def _backward(kept: Any, slopes: Any) -> Any:
    images, kernel = kept
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    _, pullback = jax.vjp(partial(conv.__wrapped__, images), kernel)
    return conv(slopes, turned), *pullback(slopes)


conv.defvjp(_forward, _backward)

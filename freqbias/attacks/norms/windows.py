"""The square windows of the Square attack: where it starts, and how it moves, in each norm."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from freqbias.attacks.levels import Scalar
from freqbias.typing import Array, Key

_ROUNDING = 1e-5  # share of a mass or a length that counts as none
POWER_L1, POWER_L2 = 4, 2  # of bumps


def stripes(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Vertical stripes of one pixel, +-1, each channel its own."""
    signs = jax.random.rademacher(key, (shape[1] * shape[2],), dtype)
    return jnp.broadcast_to(signs.reshape(1, *shape[1:]), shape)


def move_linf(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with one window at +-epsilon, a sign for each channel."""
    height, width, channels = delta.shape
    draws = _uniform(key, 2 + channels)
    inside = _window(_corner(draws[:2], height, width, side), height, width, side)
    return jnp.where(inside[..., None], epsilon * _signs(draws[2:], delta.dtype), delta)


def tiles(key: Key, shape: tuple[int, ...], dtype: jnp.dtype, *, power: int) -> Array:
    """A grid of about 5 x 5 `_bumps`, a sign for each tile and channel."""
    height, width, channels = shape
    side = max(min(height, width) // 5, 1)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    grid = rows[-1] + 1, columns[-1] + 1
    sign_key, turn_key = jax.random.split(key)
    signs = jax.random.rademacher(sign_key, (math.prod(grid) * channels,), dtype)
    signs = signs.reshape(*grid, channels)[rows][:, columns]
    down = jnp.asarray(np.arange(height)[:, None] % side)
    right = jnp.asarray(np.arange(width)[None, :] % side)
    turned = jax.random.bernoulli(turn_key, shape=(math.prod(grid),))
    turned = turned.reshape(grid)[rows][:, columns]
    bumps = _bumps(down, right, side, max(shape), turned, dtype, power=power)
    return signs * bumps[..., None]


def move_l1(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with the mass of one window moved to another, yet to be projected.

    As `move_l2`, with L1 masses and steeper bumps. With C channels, the new content has C times the
    mass that is available. For C = 1 the result is in the ball. For C > 1 it is not: the projection
    onto the ball then takes the same amount from every entry, and small ones vanish. As in L2, no
    mass moves from one channel to another. So with several channels another start can find more.
    """
    return move_mass(1, key, delta, side, epsilon)


def move_l2(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with the mass of one window moved to another, and the unused mass added there.

    With delta_1 and delta_2 the windows' contents of a channel, the new content of the first
    points along delta_1 / ||delta_1|| +- bumps / ||bumps|| (along +- bumps where this is 0). Its
    length is such that the channel gains its share of the unused mass, epsilon^2 - ||delta||^2. The
    content of the second becomes zero. Then delta is scaled to norm epsilon, less a few rounding
    errors.
    """
    moved = move_mass(2, key, delta, side, epsilon)
    length = epsilon * (1 - 8 * jnp.finfo(delta.dtype).eps)
    return moved * (length / positive(jnp.sqrt(jnp.sum(moved**2))))


def move_mass(order: int, key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """The move of `move_l1` and `move_l2`; mass is sum_i |delta_i|^order."""
    height, width, channels = delta.shape
    draws = _uniform(key, 5 + channels)
    corner = _corner(draws[:2], height, width, side)
    first = _window(corner, height, width, side)[..., None]
    second = _window(_corner(draws[2:4], height, width, side), height, width, side)[..., None]
    turned, signs = draws[4] < 0.5, _signs(draws[5:], delta.dtype)
    down, right = jnp.arange(height)[:, None] - corner[0], jnp.arange(width)[None] - corner[1]
    most, power = max(height, width), POWER_L2 if order == 2 else POWER_L1
    bumps = _bumps(down, right, side, most, turned, delta.dtype, power=power)
    bumps = jnp.where(first, bumps[..., None], 0)

    def power_of(delta: Array) -> Array:
        return jnp.abs(delta) if order == 1 else delta**2

    def mass(delta: Array) -> Array:
        return jnp.sum(power_of(delta), axis=(0, 1), keepdims=True)

    def length(mass: Array) -> Array:
        return mass if order == 1 else jnp.sqrt(mass)

    unused = epsilon**order - jnp.sum(power_of(delta))
    # In a full ball what is unused is a rounding error, but its root is a thousand times as large.
    unused = jnp.where(unused > _ROUNDING * epsilon**order, unused, 0) / channels
    available = length(mass(jnp.where(first | second, delta, 0)) + unused)
    if order == 1:
        available = channels * available
    old = jnp.where(first, delta, 0)
    content = old / positive(length(mass(old)))
    new = signs * bumps / positive(length(mass(bumps)))
    # Where the two cancel, as in a window of one pixel, the sum's direction would be rounding.
    content = jnp.where(length(mass(content + new)) > _ROUNDING, content + new, new)
    content = available * content / positive(length(mass(content)))
    return jnp.where(first, content, jnp.where(second, 0, delta))


def _uniform(key: Key, count: int) -> Array:
    """Draws [count] from [0, 1), all at once; some too many, for XLA's CPU compiler unrolls few."""
    return jax.random.uniform(key, (max(count, 16),))[:count]


def positive(size: Array) -> Array:
    """A denominator: 1 instead of 0."""
    return jnp.where(size > 0, size, 1)


def _corner(draws: Array, height: int, width: int, side: Array) -> tuple[Array, Array]:
    """Upper left corner of a window within the image, uniform as the two draws from [0, 1) are."""
    places = jnp.array([height, width]) - side + 1
    row, column = jnp.minimum(jnp.floor(draws * places).astype(jnp.int32), places - 1)
    return row, column


def _signs(draws: Array, dtype: jnp.dtype) -> Array:
    """[1, 1, C], +-1 with equal chances, from draws [C] from [0, 1)."""
    return jnp.where(draws < 0.5, -1, 1).astype(dtype)[None, None]


def _window(corner: tuple[Array, Array], height: int, width: int, side: Array) -> Array:
    """Bool [H, W], the square of a given side."""
    rows, columns = jnp.arange(height) - corner[0], jnp.arange(width) - corner[1]
    rows, columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    return rows[:, None] & columns[None, :]


def _bumps(  # noqa: PLR0917 (a square and a place in it)
    down: Array,
    right: Array,
    side: Array | int,
    most: int,
    turned: Array,
    dtype: jnp.dtype,
    *,
    power: int,
) -> Array:
    """Two bumps of opposite sign side by side in a square (``turned``: one above the other).

    The height of a bump of h x w pixels at Chebyshev distance d from its centre is
    sum_{m = d + 1}^{n + 1} 1 / m^power, with n = floor(h / 2). Since d is the larger of the
    distances in rows and in columns, the sum up to d is the larger of two sums of one coordinate.

    Args:
      down: int [H, 1], row of each pixel in its square.
      right: int [1, W], column.
      side: of the square.
      most: the largest side there may be.
      turned: bool, [] or [H, W].
      dtype: of the result.
      power: 2, in L1 4: the higher, the more of the mass is in the middle.

    Returns:
      [H, W]; only pixels of a square mean something.

    Reference:
      1912.00049, section 4.3, eq. 2; the power in L1 is that of the public code of 2103.01208.
    """
    half = middle = side // 2
    partial_sums = np.concatenate([[0], np.cumsum(1 / np.arange(1, most + 3) ** float(power))])
    sums = jnp.asarray(partial_sums, dtype)

    def up_to(distance: Array) -> Array:
        return sums[jnp.clip(jnp.abs(distance), 0, most + 1)]

    def across(place: Array) -> tuple[Array, Array]:
        leads = place < half
        wide = jnp.where(leads, half, side - half)
        start = jnp.where(leads, 0, half)
        return jnp.where(leads, 1, -1), up_to(place - start - wide // 2)

    (row_sign, row_across), (column_sign, column_across) = across(down), across(right)
    rows = jnp.where(turned, row_across, up_to(down - middle))
    columns = jnp.where(turned, up_to(right - middle), column_across)
    sign = jnp.where(turned, row_sign, column_sign)
    return sign * jnp.maximum(sums[middle + 1] - jnp.maximum(rows, columns), 0)

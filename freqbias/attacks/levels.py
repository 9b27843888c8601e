"""Roots of monotone sums over pixels: the one unknown number in a projection onto a ball.

By the KKT conditions, the projection onto a ball and a box, and the best point of both for a linear
objective, are known pixel by pixel up to one multiplier s, which all pixels share. The functions
here solve the equation that s has to meet.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from freqbias.typing import Array

Scalar: TypeAlias = float | Array


def water_level(slopes: Array, caps: Array, target: Scalar) -> Array:
    """Smallest s >= 0 with sum_i min(s slopes_i, caps_i) = target.

    The sum is concave, increasing and piecewise linear in s. So Newton's method from s = 0 climbs
    to the root from the left, passes at least one breakpoint in each step, and ends exactly on the
    root.

    Args:
      slopes: non-negative, any shape.
      caps: non-negative, infinity for no cap, the shape of ``slopes``.
      target: positive scalar.

    Returns:
      s, a scalar; infinity where sum_i caps_i < target (over the i with positive slope).
    """
    caps = jnp.where(slopes > 0, caps, 0)

    def newton(level: Array) -> Array:
        free = level * slopes < caps
        rest = target - jnp.sum(jnp.where(free, 0, caps))
        slope = jnp.sum(jnp.where(free, slopes, 0))
        capped = jnp.where(rest > 0, jnp.inf, level)
        return jnp.where(slope > 0, rest / jnp.where(slope > 0, slope, 1), capped)

    def climbs(levels: tuple[Array, Array]) -> Array:
        return (levels[1] > levels[0]) & (levels[1] < jnp.inf)

    def climb(levels: tuple[Array, Array]) -> tuple[Array, Array]:
        return levels[1], newton(levels[1])

    zero = jnp.zeros((), slopes.dtype)
    return jnp.maximum(*jax.lax.while_loop(climbs, climb, (zero - 1, zero)))


def threshold_level(gaps: Array, caps: Array, target: Scalar) -> Array:
    """The s >= 0 with sum_i clip(s - gaps_i, 0, caps_i) = target.

    The sum is increasing and piecewise linear in s, neither convex nor concave: Newton's method,
    kept within a shrinking bracket by bisection, ends exactly on the root after a few steps.
    Without caps this is the threshold of the projection onto the L1 ball.

    Args:
      gaps: non-negative, any shape; the smallest is 0.
      caps: non-negative, infinity for no cap, the shape of ``gaps``.
      target: positive scalar, at most sum_i caps_i.

    Returns:
      s, a scalar. Differentiable.

    Reference:
      Cominetti, Mascarenhas and Silva, A Newton's method for the continuous quadratic knapsack
      problem, 2014.
    """
    problem = gaps, caps, jnp.asarray(target, gaps.dtype)
    fixed_gaps, fixed_caps, fixed_target = jax.lax.stop_gradient(problem)

    def moves(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, previous, level = state
        return (level < previous) | (level > previous)  # false for NaN

    def move(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        low, high, _, level = state
        # By `where`, not `clip`: XLA's CPU compiler does not vectorise a sum of maxima or minima.
        above = jnp.where(level > fixed_gaps, level - fixed_gaps, 0)
        below = jnp.sum(jnp.where(above > fixed_caps, fixed_caps, above)) < fixed_target
        low, high = jnp.where(below, level, low), jnp.where(below, high, level)
        new = _root_of_piece(level, fixed_gaps, fixed_caps, fixed_target, flat=-1)
        trusted = ((low < new) & (new < high)) | (new == level)
        return low, high, level, jnp.where(trusted, new, (low + high) / 2)

    high = largest(fixed_gaps) + fixed_target
    low = jnp.zeros_like(high)
    level = jax.lax.while_loop(moves, move, (low, high, low - 1, high))[3]
    return _root_of_piece(level, *problem, flat=level)  # carries the derivative


def ranked_level(sizes: Array, rank: Array) -> Array:
    """The ``rank``-th largest size: the largest s that at least so many sizes reach.

    Found bit by bit, since floats that are not negative are in the order of their bits. On CPU this
    is ten times as fast as sorting.

    Args:
      sizes: finite, non-negative floats, any shape.
      rank: int [], from 1 to the number of sizes.

    Returns:
      s, one of the sizes.
    """
    ordered = as_integers(sizes)
    level = last_where(lambda level: jnp.sum(ordered >= level) >= rank, ordered.dtype)
    return jax.lax.bitcast_convert_type(level, sizes.dtype)


@jax.custom_jvp
def largest(values: Array) -> Array:
    """max_i |values_i|, NaN if any is; compared by their bits, which XLA vectorises on CPU."""
    return jax.lax.bitcast_convert_type(jnp.max(as_integers(jnp.abs(values))), values.dtype)


@largest.defjvp
def _largest_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return jax.jvp(lambda values: jnp.max(jnp.abs(values)), primals, tangents)


def as_integers(sizes: Array) -> Array:
    """The bits of floats that are not negative, as integers in the same order."""
    dtype = jnp.dtype(f"int{jnp.finfo(sizes.dtype).bits}")
    return jax.lax.bitcast_convert_type(jax.lax.stop_gradient(sizes), dtype)


def last_where(
    holds: Callable[[Array], Array], dtype: jnp.dtype, *, num_bits: int | None = None
) -> Array:
    """The largest integer n >= 0 where ``holds(n)``, found bit by bit; 0 if it holds at none.

    Args:
      holds: int [] -> bool []; where it holds, it holds at all smaller integers too.
      dtype: of n, a signed integer type.
      num_bits: of n; by default all but the sign's.

    Returns:
      n, a scalar.
    """
    num_bits = jnp.iinfo(dtype).bits - 1 if num_bits is None else num_bits

    def settle(index: Array, found: Array) -> Array:
        bit = jnp.left_shift(jnp.ones((), dtype), (num_bits - 1 - index).astype(dtype))
        return jnp.where(holds(found | bit), found | bit, found)

    return jax.lax.fori_loop(0, num_bits, settle, jnp.zeros((), dtype))


def _root_of_piece(level: Array, gaps: Array, caps: Array, target: Array, *, flat: Scalar) -> Array:
    """Root of the linear piece of `threshold_level` at ``level``; ``flat`` if its slope is 0."""
    full = level >= gaps + caps
    free = (level > gaps) & ~full
    rest = target - jnp.sum(jnp.where(full, caps, 0)) + jnp.sum(jnp.where(free, gaps, 0))
    count = jnp.sum(free)
    return jnp.where(count > 0, rest / jnp.maximum(count, 1), flat)


def secular_level(sizes: Array, curves: Array, scale: Scalar) -> Array:
    """The s >= 0 with scale^2 sum_i sizes_i^2 / (1 + s curves_i)^2 = 1; zero where there is none.

    The reciprocal root of the sum is concave and increasing in s (by the Cauchy-Schwarz
    inequality), so that Newton's method on it climbs from s = 0 to the root from the left.

    Args:
      sizes: any shape, sum_i sizes_i^2 = 1.
      curves: positive, the shape of ``sizes``.
      scale: scalar; there is a root where it is above 1.

    Returns:
      s, a scalar. Differentiable.

    Reference:
      More and Sorensen, Computing a trust region step, 1983, section 3.
    """

    def newton(level: Array, sizes: Array, curves: Array, scale: Scalar) -> Array:
        shrunk = (sizes / (1 + level * curves)) ** 2
        second, third = jnp.sum(shrunk), jnp.sum(shrunk * curves / (1 + level * curves))
        step = (scale * jnp.sqrt(jnp.where(third > 0, second, 1)) - 1) * second
        return level + step / jnp.where(third > 0, third, 1)

    def climbs(levels: tuple[Array, Array]) -> Array:
        return levels[1] > levels[0] * (1 + 4 * jnp.finfo(sizes.dtype).eps)

    def climb(levels: tuple[Array, Array]) -> tuple[Array, Array]:
        return levels[1], newton(levels[1], *fixed)

    problem = sizes, curves, scale
    fixed = jax.lax.stop_gradient(problem)
    zero = jnp.zeros((), sizes.dtype)
    level = jax.lax.while_loop(climbs, climb, (zero - 1, zero))[1]
    level = newton(jnp.maximum(level, 0), *problem)  # carries the derivative
    return jnp.maximum(level, 0)

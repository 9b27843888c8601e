"""The step of Brendel-Bethge: the nearest point of a plane, within a trust region and the box.

With b the unit normal of a boundary, c the distance to go along it and r the trust region,

    argmin_z ||z||  subject to  <b, z - delta> = c,  ||z - delta||_2 <= r,  image + z in the box.

**L2, L1, L-inf.** The problem is convex. For a fixed multiplier theta of the trust region, the
stationary points in each pixel are a line in the multiplier tau of the boundary, shrunk by theta
and clipped to the box:

    L2      z = clip((1 - theta) delta + tau b)
    L1      z = clip(soft(delta + tau b, s)),          s growing with theta from 0
    L-inf   z = clip(clip(delta + tau b, -t, t)),      t falling with theta to 0

<b, z> grows with tau, so that tau is the root of one piecewise linear equation; ||z - delta||_2
grows and ||z|| falls with theta, so that theta is the largest at which the trust region holds. Both
are found by bracketed iterations with a fixed limit: nothing can hang or become singular. (In L1, s
is at most 100 times the largest pixel. Entries of nearly equal |b| may then still share what one of
them should take alone, which costs at most 1 % of the optimum.)

**L0.** The problem is combinatorial. For fixed multipliers, an entry is either 0 or
clip(delta + tau b), and of several those stay that are worth most,

    w = z (2 (delta + tau b) - z)  at  z = clip(delta + tau b),

the worth by which `L0.project_box` chooses as well. As few of them as reach the plane are kept, and
moved onto it by the shortest way. The larger tau, the more a kept entry moves, and the fewer are
kept: tau is the largest at which the trust region holds. (Sets of entries that no tau selects are
not found: of 300 random problems of 8 entries, 2 % were not solved with the fewest.)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from freqbias.attacks.norms import L0, L1, L2, Linf, Norm
from freqbias.typing import Array

_NUM_THETAS = 16
_NUM_TAUS = 40
_ROUNDING_BITS = 64  # units in the last place, within which two worths are equal
_LEAST_TAU = 1e-7  # of the largest, where the search for L0's begins


def nearest_on_boundary(  # noqa: PLR0917 (the numbers of one problem)
    norm: L0 | L1 | L2 | Linf,
    delta: Array,
    normal: Array,
    gap: Array,
    radius: Array,
    lower: Array,
    upper: Array,
) -> Array:
    """Solves the problem of the module's docstring for one image.

    Args:
      norm: `L2`, `Linf`, `L1` or `L0`.
      delta: [H, W, C], within [lower, upper].
      normal: b [H, W, C], of L2 norm 1.
      gap: c, scalar.
      radius: r, scalar > 0.
      lower: [H, W, C], at most 0; -inf for none.
      upper: [H, W, C], at least 0; inf for none.

    Returns:
      z [H, W, C]. Where box and trust region do not reach the plane: as far towards it as the trust
      region allows, along the shortest way to it (or to the corner of the box nearest to it).
    """
    # Flat: on CPU, sums over a last axis of one channel take ten times as long.
    shape, num_channels = delta.shape, delta.shape[-1]
    delta, normal, lower, upper = (part.ravel() for part in (delta, normal, lower, upper))
    size = L2().value(delta)
    tolerance = 32 * jnp.finfo(delta.dtype).eps * (jnp.abs(gap) + size)
    zero, one = jnp.zeros_like(gap), jnp.ones_like(gap)
    strongest = jnp.maximum(jnp.max(jnp.abs(normal)), 1e-12)

    def solve(norm: Norm, theta: Array, tau: Array, scale: Array) -> tuple[Array, Array, Array]:
        """The z of a theta with the right tau, whether it is feasible, and tau."""
        # Beyond this the strongest pixel alone passes the plane, if the box lets it.
        limit = 1e3 * (jnp.abs(gap) + size + 200 * scale) / strongest**2
        kept = None
        if isinstance(norm, L0):
            level = limit * _LEAST_TAU ** (1 - theta)
            goal = jnp.sum(normal * delta) + gap
            ahead = shortest_tau + jnp.where(goal < 0, -level, level)
            group = num_channels if norm.per_pixel else 1
            kept = _worthiest(delta + ahead * normal, normal, goal, lower, upper, group)

        def line(tau: Array) -> Array:
            if kept is None:
                return _line(norm, delta, normal, theta, scale, tau)
            return jnp.where(kept, delta + tau * normal, 0)

        def at(tau: Array) -> tuple[Array, Array]:
            z, rate = jax.jvp(line, (tau,), (jnp.ones_like(tau),))
            free = (lower <= z) & (z <= upper)
            slope = jnp.sum(jnp.where(free, normal * rate, 0))
            return jnp.sum(normal * (jnp.clip(z, lower, upper) - delta)) - gap, slope

        if isinstance(norm, L0 | L2):
            tau = zero  # from here on pixels only stop: Newton meets no plateau in front of a root
        tau, miss = _root(at, tau, limit, tolerance)
        z = jnp.clip(line(tau), lower, upper)
        fits = (jnp.abs(miss) <= 4 * tolerance) & (L2().value(z - delta) <= radius)
        return z, fits, tau

    shortest, fits, shortest_tau = solve(L2(), zero, zero, zero)
    step = shortest - delta
    step = step * (radius / jnp.maximum(L2().value(step), radius))
    best = jnp.where(fits, shortest, delta + step)
    scale = jnp.max(jnp.abs(shortest))
    freest, done, _ = solve(norm, one, shortest_tau, scale)
    State = tuple[Array, ...]

    def continues(state: State) -> Array:
        return (state[0] < _NUM_THETAS) & fits & ~done

    def bisect(state: State) -> State:
        iteration, low, high, tau, best = state
        theta = (low + high) / 2
        z, fits, new_tau = solve(norm, theta, tau, scale)
        low, high = jnp.where(fits, theta, low), jnp.where(fits, high, theta)
        tau, best = jnp.where(fits, new_tau, tau), jnp.where(fits, z, best)
        return iteration + 1, low, high, tau, best

    first: State = jnp.zeros((), jnp.int32), zero, one, shortest_tau, best
    best = jax.lax.while_loop(continues, bisect, first)[-1]
    return jnp.clip(jnp.where(done, freest, best), lower, upper).reshape(shape)


def _worthiest(  # noqa: PLR0917 (the numbers of one problem)
    point: Array, normal: Array, goal: Array, lower: Array, upper: Array, group: int
) -> Array:
    """Which entries [D] of the clipped point to keep: as few as reach <b, z> = goal, or all.

    Of consecutive ``group`` entries, all or none. The least worth that is kept is found by
    bisection of its bits, which are ordered as floats that are not negative are: on CPU ten times
    as fast as to sort.
    """
    z = jnp.clip(point, lower, upper)
    worth, gain = z * (2 * point - z), jnp.where(goal < 0, -normal, normal) * z
    worth, gain = (each.reshape(-1, group).sum(axis=1) for each in (worth, gain))
    integer = jnp.dtype(f"int{8 * worth.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(jnp.abs(jnp.maximum(worth, 0)), integer)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = low + (high - low) // 2
        reached = jnp.sum(jnp.where(bits >= middle, gain, 0)) >= jnp.abs(goal)
        return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

    ends = jnp.zeros((), integer), jnp.full((), jnp.iinfo(integer).max, integer)
    least, _ = jax.lax.fori_loop(0, jnp.iinfo(integer).bits - 1, halve, ends)
    # The least one kept has to pass for itself, even if XLA computes it twice and rounds otherwise.
    return jnp.repeat(bits >= least - _ROUNDING_BITS, group)


def _line(  # noqa: PLR0917 (the numbers of one problem)
    norm: Norm, delta: Array, normal: Array, theta: Array, scale: Array, tau: Array
) -> Array:
    """The z of the module's docstring before it is clipped to the box; theta = 0 shrinks nothing.

    ``scale`` is the largest pixel at theta = 0, which bounds t and is the unit of s.
    """
    if isinstance(norm, L2):
        return (1 - theta) * delta + tau * normal
    point = delta + tau * normal
    if isinstance(norm, L1):
        threshold = theta / (1 - 0.99 * theta) * scale
        return jnp.sign(point) * jnp.maximum(jnp.abs(point) - threshold, 0)
    side = jnp.where(theta > 0, (1 - theta) * scale, jnp.inf)
    return jnp.clip(point, -side, side)


def _root(
    at: Callable[[Array], tuple[Array, Array]], tau: Array, limit: Array, tolerance: Array
) -> tuple[Array, Array]:
    """Newton's method on an increasing piecewise linear function, bracketed by bisection.

    Args:
      at: tau -> (value, slope).
      tau: where to begin.
      limit: of |tau|.
      tolerance: of |value|.

    Returns:
      Tau and the value there, to rounding; where there is no root, at the end of the bracket.
    """
    State = tuple[Array, ...]

    def continues(state: State) -> Array:
        iteration, low, high, tau, value, _ = state
        beyond = jnp.where(value < 0, tau >= high, tau <= low)
        return (iteration < _NUM_TAUS) & (jnp.abs(value) > tolerance) & ~beyond

    def iterate(state: State) -> State:
        iteration, low, high, tau, value, slope = state
        low, high = jnp.where(value < 0, tau, low), jnp.where(value < 0, high, tau)
        newton = tau - value / jnp.where(slope > 0, slope, 1)
        trusted = (slope > 0) & (low < newton) & (newton < high)
        # A plateau: the end of the bracket first, to see whether there is a root at all.
        ahead = jnp.where(value < 0, high, low)
        other = jnp.where(jnp.abs(ahead) == limit, ahead, (low + high) / 2)
        tau = jnp.where(trusted, newton, other)
        return iteration + 1, low, high, tau, *at(tau)

    first: State = jnp.zeros((), jnp.int32), -limit, limit, tau, *at(tau)
    last = jax.lax.while_loop(continues, iterate, first)
    # Once more: how far within the tolerance it ended depends on rounding, hence on the batch.
    _, _, _, tau, value, _ = iterate(last)
    better = jnp.abs(value) <= jnp.abs(last[4])
    return jnp.where(better, tau, last[3]), jnp.where(better, value, last[4])

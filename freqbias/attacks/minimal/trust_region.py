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

from freqbias.attacks.levels import largest
from freqbias.attacks.norms import L2, Norm, Plane, Shortest
from freqbias.typing import Array

_NUM_THETAS = 16
_NUM_TAUS = 40


def nearest_on_boundary(  # noqa: PLR0917 (the numbers of one problem)
    norm: Norm,
    delta: Array,
    normal: Array,
    gap: Array,
    radius: Array,
    lower: Array,
    upper: Array,
) -> Array:
    """Solves the problem of the module's docstring for one image.

    Args:
      norm: one with `Norm.line_to_plane`.
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
    plane = Plane(delta, normal, gap, lower, upper, num_channels)
    size = L2().value(delta)
    tolerance = 32 * jnp.finfo(delta.dtype).eps * (jnp.abs(gap) + size)
    zero, one = jnp.zeros_like(gap), jnp.ones_like(gap)
    strongest = jnp.maximum(largest(normal), 1e-12)

    def solve(
        norm: Norm, theta: Array, tau: Array, shortest: Shortest
    ) -> tuple[Array, Array, Array]:
        """The z of a theta with the right tau, whether it is feasible, and tau."""
        # Beyond this the strongest pixel alone passes the plane, if the box lets it.
        limit = 1e3 * (jnp.abs(gap) + size + 200 * shortest.scale) / strongest**2
        line = norm.line_to_plane(plane, theta, shortest, limit)

        def at(tau: Array) -> tuple[Array, Array]:
            z, rate = jax.jvp(line.at, (tau,), (jnp.ones_like(tau),))
            free = (lower <= z) & (z <= upper)
            slope = jnp.sum(jnp.where(free, normal * rate, 0))
            return jnp.sum(normal * (jnp.clip(z, lower, upper) - delta)) - gap, slope

        if line.straight:
            tau = zero  # from here on pixels only stop: Newton meets no plateau in front of a root
        tau, miss = _root(at, tau, limit, tolerance)
        z = jnp.clip(line.at(tau), lower, upper)
        fits = (jnp.abs(miss) <= 4 * tolerance) & (L2().value(z - delta) <= radius)
        return z, fits, tau

    nearest, fits, tau = solve(L2(), zero, zero, Shortest(zero, zero))
    step = nearest - delta
    step = step * (radius / jnp.maximum(L2().value(step), radius))
    best = jnp.where(fits, nearest, delta + step)
    shortest = Shortest(tau, largest(nearest))
    freest, done, _ = solve(norm, one, tau, shortest)
    State = tuple[Array, ...]

    def continues(state: State) -> Array:
        return (state[0] < _NUM_THETAS) & fits & ~done

    def bisect(state: State) -> State:
        iteration, low, high, tau, best = state
        theta = (low + high) / 2
        z, fits, new_tau = solve(norm, theta, tau, shortest)
        low, high = jnp.where(fits, theta, low), jnp.where(fits, high, theta)
        tau, best = jnp.where(fits, new_tau, tau), jnp.where(fits, z, best)
        return iteration + 1, low, high, tau, best

    first: State = jnp.zeros((), jnp.int32), zero, one, tau, best
    best = jax.lax.while_loop(continues, bisect, first)[-1]
    return jnp.clip(jnp.where(done, freest, best), lower, upper).reshape(shape)


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

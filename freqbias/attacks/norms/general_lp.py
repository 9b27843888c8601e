"""The norms between L1 and L-inf: Lp of any order."""

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import check_fields
from freqbias._pytree import frozen
from freqbias.attacks.levels import Scalar, largest, water_level
from freqbias.attacks.norms.base import Bounds, Norm, along, into_ball, reach
from freqbias.attacks.norms.steps import rise, room_of, smallest_of_shape
from freqbias.typing import Array, Key

_MAX_STEPS = 60  # of Newton's method; a few suffice unless the order is near 1 or large

# step, lower end, upper end, level, its last change, excess of the level before
_State: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]


@frozen
class Lp(Norm):
    """(sum_i |delta_i|^p)^(1/p), 1 < p < infinity; its dual is the norm of order p / (p - 1).

    The order is traced: all orders share one compilation. Near 1 and above 50, float32 loses digits
    of the small entries; `L1` and `Linf` are the limits. `L2` does the same as order 2, and faster.

    Attributes:
      order: p, a scalar.

    Raises:
      ValueError: ``order`` is not between 1 and infinity.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.pgd(attacks.Lp(1.5), epsilon=1.0, num_steps=5)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> bool((found.distance <= 1 + 1e-6).all())
      True

    Reference:
      Uniform law: Barthe et al., math/0503650, theorem 1. Projection and steps: the KKT conditions.
      Networks against it: Faghri et al., 2102.08868, section 3.
    """

    order: Scalar

    def __post_init__(self) -> None:
        """Checks the order, where it can be read."""
        check_fields(self)
        _checks.rank("order", self.order, 0)
        if _checks.is_concrete(self.order) and not 1 < float(np.asarray(self.order)) < math.inf:
            raise ValueError(f"order must lie between 1 and infinity; got {self.order}.")

    shrinks = True

    def value(self, delta: Array) -> Array:
        """||delta||_p, scaled by its largest entry so that powers neither over- nor underflow."""
        return _value(delta, self.order)

    def dual(self, gradient: Array) -> Array:
        """||gradient||_q, q = p / (p - 1)."""
        return _value(gradient, self.order / (self.order - 1))

    def steepest(self, gradient: Array) -> Array:
        """Entries sign(g_i) |g_i|^(q - 1), at norm 1."""
        return jnp.sign(gradient) * self._shape(gradient)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """`along` the gradient: it, not ``steepest``, is normal to the ball at its best point."""
        del boxed
        return along(gradient, self.steepest(gradient))

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """The z with z_i + s sign(z_i) |z_i|^(p - 1) = delta_i, of the one s that meets the ball.

        Both each z_i for one s, and s itself, are found by Newton's method on logarithms.
        """
        return self._shrink(delta, delta, jnp.full_like(delta, jnp.inf), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact projection onto the ball and the box at once: as ``project``, with |z_i| <= c_i.

        c_i is the room of pixel i. The condition for s is that the clipped z meets the ball.
        """
        lower, upper = reach(image, bounds)
        room = jnp.where(delta > 0, upper, -lower)
        return self._shrink(delta, jnp.clip(delta, lower, upper), room, epsilon)

    def _shrink(self, delta: Array, clipped: Array, room: Array, epsilon: Scalar) -> Array:
        scale = jax.lax.stop_gradient(largest(delta))
        scale = jnp.where(scale == 0, 1, scale)
        sizes = jnp.minimum(
            _shrunk(jnp.abs(delta) / scale, room / scale, epsilon / scale, self.order) * scale, room
        )
        inside = self.value(clipped) <= epsilon
        return into_ball(self, jnp.where(inside, clipped, jnp.sign(delta) * sizes), epsilon)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball of dimension D.

        D variables of density exp(-|x|^p), up to a factor, divided by the root of order p of
        sum_i |x_i|^p + w, with w exponential.
        """
        size_key, rest_key = jax.random.split(key)
        order = jnp.asarray(self.order, dtype)
        points = jax.random.generalized_normal(size_key, order, (math.prod(shape),), dtype)  # type: ignore[arg-type]
        rest = jax.random.exponential(rest_key, (1,), dtype) ** (1 / order)
        return (points / self.value(jnp.concatenate([points, rest]))).reshape(shape)

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """Pixels move as |w|^(q - 1), to the level that takes the margin away."""
        if bounds is None:
            return super().smallest_step(normal, image, margin, bounds)
        shape = self._shape(normal)
        return smallest_of_shape(self, shape, normal, image, margin, bounds=bounds)

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """Pixels move as |w|^(q - 1), to the level at which the norm is epsilon."""
        if bounds is None:
            return super().largest_step(normal, image, epsilon, bounds)
        shape, room = self._shape(normal), room_of(normal, image, bounds)
        level = water_level(shape**self.order, (room / epsilon) ** self.order, 1.0)
        level = epsilon * level ** (1 / self.order)
        return into_ball(self, -jnp.sign(normal) * rise(shape, room, level), epsilon)

    def _shape(self, gradient: Array) -> Array:
        """|steepest|: |g_i|^(q - 1) / ||g||_q^(q - 1)."""
        dual = self.dual(gradient)
        return (jnp.abs(gradient) / jnp.where(dual == 0, 1, dual)) ** (1 / (self.order - 1))


def _value(delta: Array, order: Scalar) -> Array:
    scale = jax.lax.stop_gradient(largest(delta))
    zero = scale == 0
    scale = jnp.where(zero, 1, scale)
    powers = jnp.sum(jnp.abs(delta / scale) ** order)
    return jnp.where(zero, 0, scale * jnp.where(zero, 1, powers) ** (1 / order))


def _shrunk(sizes: Array, caps: Array, target: Scalar, order: Scalar) -> Array:
    """min(z_i, caps_i) with z_i + s z_i^(p - 1) = sizes_i, at the s where its norm is the target.

    By logarithms, which neither over- nor underflow: t = log s and u_i = log z_i, see `_roots`. The
    logarithm of the norm falls with t; Newton's method on it is kept within a bracket by bisection.

    Args:
      sizes: in [0, 1], the largest 1.
      caps: not negative, infinity for no cap, the shape of ``sizes``.
      target: positive scalar, less than the norm of min(sizes, caps); else anything may come out.
      order: p.

    Returns:
      The shape of ``sizes``. Differentiable.
    """
    power = order - 1
    moves = (sizes > 0) & (caps > 0)
    kept = moves | ~jnp.any(moves)
    log_sizes = jnp.log(jnp.where(moves, sizes, 1))
    log_caps = jnp.log(jnp.where(moves, caps, 1))
    log_target = jnp.log(target)
    eps = jnp.finfo(sizes.dtype).eps

    def excess(roots: Array, log_caps: Array, log_target: Array) -> tuple[Array, Array]:
        """Log of the norm over the target, and the share of each entry in the norm's power."""
        powers = jnp.where(kept, order * jnp.minimum(roots, log_caps), -jnp.inf)
        return jax.nn.logsumexp(powers) / order - log_target, jax.nn.softmax(powers, axis=None)

    def newton(level: Array, roots: Array, gap: Array, shares: Array) -> Array:
        by_level, by_root = _slopes(level, roots, power)
        fall = jnp.sum(jnp.where(roots < log_caps, shares * by_level / by_root, 0))
        return level + gap / jax.lax.stop_gradient(jnp.where(fall > 0, fall, 1))

    def seeks(state: _State) -> Array:
        step, _, _, level, change, gap = state
        far = jnp.abs(gap) > 4 * eps * (1 + jnp.abs(fixed[2]))
        return (step < _MAX_STEPS) & far & (jnp.abs(change) > 2 * eps * (1 + jnp.abs(level)))

    def seek(state: _State) -> _State:
        step, low, high, level, *_ = state
        roots = _roots(level, fixed[0], power)
        gap, shares = excess(roots, *fixed[1:])
        low, high = jnp.where(gap > 0, level, low), jnp.where(gap > 0, high, level)
        new = newton(level, roots, gap, shares)
        trusted = (low < new) & (new < high) | (new == level)
        new = jnp.where(trusted, new, (low + high) / 2)
        return step + 1, low, high, new, new - level, gap

    fixed = jax.lax.stop_gradient((log_sizes, log_caps, log_target))
    # At the upper end the norm is at most the target; at the lower one, nothing moves.
    dual = order / power
    high = jax.nn.logsumexp(jnp.where(kept, dual * fixed[0], -jnp.inf)) / dual - power * fixed[2]
    low = jnp.log(eps) - 1 + jnp.minimum(0, (1 - power) * jnp.min(fixed[0]))
    low, infinity = jnp.minimum(low, high - 1), jnp.full_like(high, jnp.inf)
    start = jnp.zeros((), jnp.int32), low, high, high, infinity, infinity
    level = jax.lax.stop_gradient(jax.lax.while_loop(seeks, seek, start)[3])
    roots = jax.lax.stop_gradient(_roots(level, fixed[0], power))
    # One more step of each carries the derivative.
    near = _newton_root(level, roots, log_sizes, power)
    level = jnp.clip(newton(level, roots, *excess(near, log_caps, log_target)), low, high)
    roots = _newton_root(level, roots, log_sizes, power)
    return jnp.where(moves, jnp.minimum(jnp.exp(roots), caps), 0)


def _roots(level: Array, log_sizes: Array, power: Scalar) -> Array:
    """The u with logaddexp(u, level + power u) = log_sizes, entry by entry.

    The left side is convex in u, of slope between 1 and ``power``. So Newton's method descends to
    the root from min(log_sizes, (log_sizes - level) / power), which lies above it.
    """
    eps = jnp.finfo(log_sizes.dtype).eps

    def goes_on(state: tuple[Array, Array, Array]) -> Array:
        step, roots, change = state
        return (step < _MAX_STEPS) & jnp.any(change > 2 * eps * (1 + jnp.abs(roots)))

    def descend(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step, roots, _ = state
        new = _newton_root(level, roots, log_sizes, power)
        return step + 1, new, roots - new

    first = jnp.minimum(log_sizes, (log_sizes - level) / power)
    start = jnp.zeros((), jnp.int32), first, jnp.ones_like(first)
    return jax.lax.while_loop(goes_on, descend, start)[1]


def _newton_root(level: Array, roots: Array, log_sizes: Array, power: Scalar) -> Array:
    slope = jax.lax.stop_gradient(_slopes(level, roots, power)[1])
    return roots - (jnp.logaddexp(roots, level + power * roots) - log_sizes) / slope


def _slopes(level: Array, roots: Array, power: Scalar) -> tuple[Array, Array]:
    """Derivatives of logaddexp(u, level + power u) by the level, and by u."""
    share = jax.nn.sigmoid(level + (power - 1) * roots)
    return share, 1 - share + power * share

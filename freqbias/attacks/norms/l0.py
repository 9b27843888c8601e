"""The number of changed entries, L0: no norm, but a distance for minimal attacks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from freqbias._pytree import frozen, static
from freqbias.attacks.levels import Scalar
from freqbias.attacks.norms.base import Bounds, Line, Norm, Plane, Shortest, length, reach
from freqbias.attacks.norms.steps import fill, into_box, room_of
from freqbias.typing import Array, Key

_ROUNDING_BITS = 64  # units in the last place, within which two worths are equal
_LEAST_TAU = 1e-7  # of the largest, where the search for a set begins


@frozen
class L0(Norm):
    """Number of changed entries, #{i: delta_i != 0}: no norm, but a distance for minimal attacks.

    Every channel of a colour pixel counts (as in foolbox), or, with ``per_pixel``, a pixel counts
    once however many of its channels change. The ball of radius epsilon holds points of any size
    with at most floor(epsilon) changes. It is a cone without a steepest direction, a dual or a
    uniform law; these raise.

    Attributes:
      per_pixel: count pixels [H, W] instead of entries [H, W, C].
    """

    per_pixel: bool = static(default=False)

    shrinks = True
    counts = True

    def value(self, delta: Array) -> Array:
        """Number of changed entries (or pixels), in the dtype of delta."""
        changed = delta != 0
        if self.per_pixel:
            changed = jnp.any(changed, axis=-1)
        return jnp.sum(changed).astype(delta.dtype)

    def steepest(self, gradient: Array) -> Array:
        """Raises ValueError: <gradient, v> has no maximum over the ball; nor has it a dual."""
        del gradient
        raise ValueError(
            "L0 has no steepest direction and no dual: its ball has no end. Use it in minimal "
            "attacks."
        )

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Keeps the floor(epsilon) largest entries, of equals the first."""
        return self._keep(delta, jnp.abs(delta), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact: clips, and keeps the entries that bring the point nearest to delta.

        To keep entry i, at its clipped value z_i, instead of setting it to 0 lowers the squared
        distance to delta by delta_i^2 - (delta_i - z_i)^2.
        """
        clipped = jnp.clip(delta, *reach(image, bounds))
        return self._keep(clipped, jnp.sqrt(clipped * (2 * delta - clipped)), epsilon)

    def _keep(self, delta: Array, weight: Array, epsilon: Scalar) -> Array:
        """The entries (or pixels) of the largest weight (per pixel: root of summed squares)."""
        if self.per_pixel:
            weight = jax.vmap(jax.vmap(length))(weight)[..., None]
        kept = _largest(weight.ravel(), jnp.floor(epsilon)).reshape(weight.shape)
        return jnp.where(kept, delta, 0)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Raises ValueError: the ball has no end."""
        del key, shape, dtype
        raise ValueError("L0 has no uniform law: its ball has no end. Use it in minimal attacks.")

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """Pixels in the order of |w_i| c_i, with c_i the room, as few as reach the margin."""
        size, room = jnp.abs(normal), room_of(normal, image, bounds)
        gain = jnp.where(size > 0, size * room, 0)
        steps = fill(self._priority(size, gain), gain, margin) / jnp.where(size > 0, size, 1)
        delta = into_box(-jnp.sign(normal) * steps, image, bounds)
        return delta, jnp.where(jnp.sum(gain) >= margin, self.value(delta), jnp.inf)

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """The floor(epsilon) pixels of the largest |w_i| c_i, each as far as there is room.

        Raises:
          ValueError: ``bounds`` is None: the ball has no end.
        """
        if bounds is None:
            raise ValueError("bounds must be given for a budget in L0, whose ball has no end.")
        size, room = jnp.abs(normal), room_of(normal, image, bounds)
        channels = normal.shape[-1] if self.per_pixel else 1
        priority = self._priority(size, size * room)
        chosen = fill(priority, jnp.ones_like(size), jnp.floor(epsilon) * channels)
        return into_box(-jnp.sign(normal) * chosen * room, image, bounds)

    def _priority(self, size: Array, gain: Array) -> Array:
        """What pixels are ordered by: what all of a pixel takes off the margin."""
        gain = jnp.where(jnp.isfinite(gain), gain, size)  # without bounds any pixel suffices
        if self.per_pixel:
            gain = jnp.broadcast_to(jnp.sum(gain, axis=-1, keepdims=True), gain.shape)
        return gain

    def line_to_plane(self, plane: Plane, theta: Array, shortest: Shortest, limit: Array) -> Line:
        """Of the entries of clip(delta + tau b), as few as reach the plane; the others are 0.

        The further ahead tau looks, the more a kept entry moves, and the fewer are kept. It looks
        ahead of the shortest way by 1e-7 of the limit at theta = 0 and by all of it at 1.
        """
        level = limit * _LEAST_TAU ** (1 - theta)
        goal = jnp.sum(plane.normal * plane.delta) + plane.gap
        ahead = shortest.tau + jnp.where(goal < 0, -level, level)
        group = plane.num_channels if self.per_pixel else 1
        kept = _worthiest(plane, plane.delta + ahead * plane.normal, goal, group)
        return Line(lambda tau: jnp.where(kept, plane.delta + tau * plane.normal, 0), straight=True)


def _worthiest(plane: Plane, point: Array, goal: Array, group: int) -> Array:
    """Which entries [D] of the clipped point to keep: as few as reach <b, z> = goal, or all.

    Of consecutive ``group`` entries, all or none; by the least worth that is kept.
    """
    z = jnp.clip(point, plane.lower, plane.upper)
    worth, gain = z * (2 * point - z), jnp.where(goal < 0, -plane.normal, plane.normal) * z
    worth, gain = (each.reshape(-1, group).sum(axis=1) for each in (worth, gain))
    bits = _ordered(worth)
    least = _highest(
        lambda level: jnp.sum(jnp.where(bits >= level, gain, 0)) >= jnp.abs(goal), bits
    )
    # The least one kept has to pass for itself, even if XLA computes it twice and rounds otherwise.
    return jnp.repeat(bits >= least - _ROUNDING_BITS, group)


def _largest(weight: Array, count: Array) -> Array:
    """Which entries [D] are the ``count`` largest, of equals the first; all, if there are fewer."""
    bits, count = _ordered(weight), jnp.minimum(count, weight.size)
    least = _highest(lambda level: _number(bits >= level) >= count, bits)
    above, equal, index = bits > least, bits == least, jnp.arange(weight.size)
    left = count - _number(above)
    first = _highest(lambda end: _number(equal & (index < end)) <= left, index, weight.size)
    return above | (equal & (index < first))


def _number(chosen: Array) -> Array:
    """How many are chosen; as a sum of floats, which XLA on CPU adds up several at a time."""
    return jnp.sum(jnp.where(chosen, 1.0, 0.0))


def _ordered(values: Array) -> Array:
    """The bits of what is above 0, and 0 else, as integers: ordered as the floats are."""
    bits = jnp.finfo(values.dtype).bits
    return jax.lax.bitcast_convert_type(jnp.where(values > 0, values, 0), f"int{bits}")


def _highest(holds: Callable[[Array], Array], like: Array, most: int | None = None) -> Array:
    """The highest integer, at most ``most``, at which ``holds``; it does so up to there, or at 0.

    By bisection, of integers like those of an array: on CPU ten times as fast as to sort.
    """
    most = jnp.iinfo(like.dtype).max if most is None else most

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = high - (high - low) // 2
        found = holds(middle)
        return jnp.where(found, middle, low), jnp.where(found, high, middle - 1)

    ends = jnp.zeros((), like.dtype), jnp.full((), most, like.dtype)
    return jax.lax.fori_loop(0, most.bit_length(), halve, ends)[0]

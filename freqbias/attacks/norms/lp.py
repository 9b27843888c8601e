"""The norms of pixels: L1, L2 and L-inf."""

import dataclasses
import math
from typing import Self

import jax
import jax.numpy as jnp

from freqbias._pytree import frozen, static
from freqbias.attacks.levels import Scalar, largest, threshold_level, water_level
from freqbias.attacks.norms import windows
from freqbias.attacks.norms.base import (
    Bounds,
    Line,
    Norm,
    Plane,
    Shortest,
    Windows,
    along,
    into_ball,
    length,
    length_in_loop,
    reach,
    unit,
)
from freqbias.attacks.norms.steps import fill, into_box, rise, room_of, smallest_of_shape
from freqbias.typing import Array, Key


@frozen
class L1(Norm):
    """Sum of absolute values, sum_i |delta_i|; its dual is the maximum norm.

    Attributes:
      step_fraction: None for the exact ``steepest``, one pixel; or a share q in (0, 1], static: a
        step is spread evenly over the ceil(q D) largest of the D entries of the gradient. Then
        <gradient, v> is their mean, less than the dual norm, but many pixels move at once.

    Reference:
      Projection: Duchi et al., 2008; with the box, Croce and Hein, 2103.01208, section 3. Sparse
      step: Tramer and Boneh, 1904.13000, section 4 (SLIDE).
    """

    step_fraction: float | None = static(default=None)

    sparse = True
    shrinks = True

    @property
    def exact(self) -> bool:
        """Whether a step is one pixel."""
        return self.step_fraction is None

    def exactly(self) -> Self:
        """The norm whose steepest step is one pixel."""
        return dataclasses.replace(self, step_fraction=None)

    def value(self, delta: Array) -> Array:
        """||delta||_1."""
        return jnp.sum(jnp.abs(delta))

    def dual(self, gradient: Array) -> Array:
        """||gradient||_inf."""
        return largest(gradient)

    def steepest(self, gradient: Array) -> Array:
        """The sign of the largest |gradient_i| (of equals, the first) at i, zero elsewhere.

        It ignores the box: the pixel may be at its bound already, where a step changes nothing. So
        attacks step along ``ascent``.

        Raises:
          ValueError: ``step_fraction`` is not in (0, 1].
        """
        size = 1
        if self.step_fraction is not None:
            if not 0 < self.step_fraction <= 1:
                raise ValueError(f"step_fraction must be in (0, 1]; got {self.step_fraction}.")
            size = math.ceil(self.step_fraction * gradient.size)
        flat = gradient.ravel()
        _, largest = jax.lax.top_k(jnp.abs(flat), size)
        signs = jnp.sign(flat[largest])
        signs = signs / jnp.maximum(jnp.sum(jnp.abs(signs)), 1)
        return jnp.zeros_like(flat).at[largest].set(signs).reshape(gradient.shape)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``; in the box `along` the gradient, unless there is a ``step_fraction``.

        (In the box, a single pixel is soon at its bound.)
        """
        direction = self.steepest(gradient)
        whole = boxed and self.step_fraction is None
        return along(gradient, direction) if whole else direction

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Soft threshold, sign(delta) max(|delta| - mu, 0), of the one mu that meets the ball."""
        return self._shrink(delta, delta, jnp.full_like(delta, jnp.inf), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact projection onto the ball and the box at once.

        The KKT conditions give z_i = sign(delta_i) clip(|delta_i| - mu, 0, c_i), with c_i the room
        of pixel i and one mu >= 0. (To clip what ``project`` returns is not the nearest point: it
        leaves unspent what the box cuts off.)
        """
        lower, upper = reach(image, bounds)
        room = jnp.where(delta > 0, upper, -lower)
        return self._shrink(delta, jnp.clip(delta, lower, upper), room, epsilon)

    def _shrink(self, delta: Array, clipped: Array, room: Array, epsilon: Scalar) -> Array:
        size = jnp.abs(delta)
        gap = largest(size) - size  # of mu to the largest entry: precise if few entries remain
        inside = self.value(clipped) <= epsilon
        # A batch waits for its slowest level; inside, where none is needed, for one found at once.
        gaps, caps = jnp.where(inside, 0, gap), jnp.where(inside, jnp.inf, room)
        shrunk = jnp.clip(threshold_level(gaps, caps, epsilon) - gap, 0, room)
        z = jnp.where(inside, clipped, jnp.sign(delta) * shrunk)
        return z * (epsilon / jnp.maximum(self.value(z), epsilon))  # removes rounding

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball of dimension D.

        Of D + 1 exponential variables divided by their sum, the first D, with random signs.
        """
        sign_key, size_key = jax.random.split(key)
        size = math.prod(shape)
        parts = jax.random.exponential(size_key, (size + 1,), dtype)
        signs = jax.random.rademacher(sign_key, (size,), dtype)
        return (signs * parts[:size] / jnp.sum(parts)).reshape(shape)

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """A knapsack: pixels are filled up in the order of |w_i|, the last one in part."""
        size, room = jnp.abs(normal), room_of(normal, image, bounds)
        gain = jnp.where(size > 0, size * room, 0)
        steps = fill(size, gain, margin) / jnp.where(size > 0, size, 1)
        delta = into_box(-jnp.sign(normal) * steps, image, bounds)
        return delta, jnp.where(jnp.sum(gain) >= margin, self.value(delta), jnp.inf)

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """The same knapsack, filled up to epsilon."""
        size, room = jnp.abs(normal), room_of(normal, image, bounds)
        caps = jnp.where(size > 0, room, 0)
        delta = into_box(-jnp.sign(normal) * fill(size, caps, epsilon), image, bounds)
        return into_ball(self, delta, epsilon)

    def line_to_plane(self, plane: Plane, theta: Array, shortest: Shortest, limit: Array) -> Line:
        """soft(delta + tau b, s), with s growing with theta from 0 to 100 largest entries."""
        del limit
        threshold = theta / (1 - 0.99 * theta) * shortest.scale

        def at(tau: Array) -> Array:
            point = plane.delta + tau * plane.normal
            return jnp.sign(point) * jnp.maximum(jnp.abs(point) - threshold, 0)

        return Line(at, straight=False)

    def windows(self, num_channels: int) -> Windows:
        """`freqbias.attacks.norms.windows.move_mass` of order 1, from tiles of steep bumps."""

        def start(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
            drawn = windows.tiles(key, shape, dtype, power=windows.POWER_L1)
            return num_channels * drawn / windows.positive(self.value(drawn))

        return Windows(start, windows.move_l1, in_ball=num_channels == 1)


@frozen
class L2(Norm):
    """Euclidean norm, sqrt(sum_i delta_i^2); dual to itself."""

    shrinks = True

    def value(self, delta: Array) -> Array:
        """||delta||_2, scaled by its largest entry so that squares neither over- nor underflow."""
        return length(delta)

    def dual(self, gradient: Array) -> Array:
        """||gradient||_2."""
        return self.value(gradient)

    def steepest(self, gradient: Array) -> Array:
        """The unit vector gradient / ||gradient||_2, whatever the scale of the gradient."""
        return unit(gradient)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``."""
        del boxed
        return self.steepest(gradient)

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Delta * min(1, epsilon / ||delta||_2)."""
        return delta * (epsilon / jnp.maximum(self.value(delta), epsilon))

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact projection onto the ball and the box at once.

        The KKT conditions give z = clip(t delta, low - image, high - image) with one t in (0, 1].
        ||z||^2 is concave, increasing and piecewise linear in t^2, of slope sum_i delta_i^2 over
        the pixels that are not clipped. So Newton's method, from the t that the ball alone would
        have, climbs to the root from the left, mostly in one step.
        """
        lower, upper = reach(image, bounds)
        size = length_in_loop(delta)
        first = jnp.where(size > epsilon, epsilon / jnp.where(size > 0, size, 1), 1)
        # Epsilon; but one number for all images makes XLA sum ten times slower on CPU.
        radius = jnp.where(size > epsilon, first * size, epsilon)
        tolerance = 8 * jnp.finfo(delta.dtype).eps

        def at(factor: Array) -> tuple[Array, Array]:
            z = jnp.clip(factor * delta, lower, upper)
            return z, jnp.sum((z.ravel() * (1 / radius)) ** 2)

        def climbs(state: tuple[Array, Array, Array, Array]) -> Array:
            previous, factor, _, squares = state
            return (previous < factor) & (factor < 1) & (squares < 1 - tolerance)

        def climb(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            _, factor, z, squares = state
            free = jnp.where(z == factor * delta, delta, 0).ravel() * (1 / size)
            slope = jnp.sum(free**2) / first**2
            step = (1 - squares) / jnp.where(slope > 0, slope, 1)
            higher = jnp.where(slope > 0, jnp.minimum(jnp.sqrt(factor**2 + step), 1), 1)
            return factor, higher, *at(higher)

        start = jnp.zeros_like(first), first, *at(first)
        _, _, clipped, squares = jax.lax.while_loop(climbs, climb, start)
        return clipped * (1 / jnp.sqrt(jnp.maximum(squares, 1)))  # removes rounding; keeps the box

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball of dimension D.

        The first D coordinates of a uniform point of the unit sphere in D + 2 dimensions.
        """
        size = math.prod(shape)
        sphere = self.steepest(jax.random.normal(key, (size + 2,), dtype))
        return sphere[:size].reshape(shape)

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """Pixels move as |w|, to the level that takes the margin away."""
        if bounds is None:
            return super().smallest_step(normal, image, margin, bounds)
        return smallest_of_shape(self, jnp.abs(normal), normal, image, margin, bounds=bounds)

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """Pixels move as |w|, to the level at which the norm is epsilon."""
        if bounds is None:
            return super().largest_step(normal, image, epsilon, bounds)
        shape, room = jnp.abs(normal), room_of(normal, image, bounds)
        scale = self.value(shape) / epsilon  # of order 1 for the squares
        scale = jnp.where(scale > 0, scale, 1)
        level = water_level((shape / (scale * epsilon)) ** 2, (room / epsilon) ** 2, 1.0)
        level = jnp.sqrt(level) / scale
        return into_ball(self, -jnp.sign(normal) * rise(shape, room, level), epsilon)

    def line_to_plane(self, plane: Plane, theta: Array, shortest: Shortest, limit: Array) -> Line:
        """(1 - theta) delta + tau b."""
        del shortest, limit
        return Line(lambda tau: (1 - theta) * plane.delta + tau * plane.normal, straight=True)

    def windows(self, num_channels: int) -> Windows:
        """`freqbias.attacks.norms.windows.move_mass` of order 2, from tiles of bumps."""
        del num_channels

        def start(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
            return self.steepest(windows.tiles(key, shape, dtype, power=windows.POWER_L2))

        return Windows(start, windows.move_l2, in_ball=True)


@frozen
class Linf(Norm):
    """Maximum norm, max_i |delta_i|; its dual is the L1 norm."""

    shrinks = True

    def value(self, delta: Array) -> Array:
        """||delta||_inf."""
        return largest(delta)

    def dual(self, gradient: Array) -> Array:
        """||gradient||_1."""
        return jnp.sum(jnp.abs(gradient))

    def steepest(self, gradient: Array) -> Array:
        """sign(gradient); pixels of zero gradient stay."""
        return jnp.sign(gradient)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``."""
        del boxed
        return self.steepest(gradient)

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """clip(delta, -epsilon, epsilon)."""
        return jnp.clip(delta, -epsilon, epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """The ball and the box are both boxes: clip to their intersection."""
        lower, upper = reach(image, bounds)
        return jnp.clip(delta, jnp.maximum(lower, -epsilon), jnp.minimum(upper, epsilon))

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the cube: every pixel uniform in [-1, 1]."""
        drawn = jax.random.uniform(key, (math.prod(shape),), dtype, -1, 1)
        return drawn.reshape(shape)  # flat: XLA's CPU compiler unrolls draws along short axes

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """All pixels with w_i != 0 move alike, to the level that takes the margin away."""
        if bounds is None:
            return super().smallest_step(normal, image, margin, bounds)
        shape = jnp.abs(jnp.sign(normal))
        return smallest_of_shape(self, shape, normal, image, margin, bounds=bounds)

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """All pixels with w_i != 0 move by epsilon, or as far as there is room."""
        if bounds is None:
            return super().largest_step(normal, image, epsilon, bounds)
        shape, room = jnp.abs(jnp.sign(normal)), room_of(normal, image, bounds)
        delta = -jnp.sign(normal) * rise(shape, room, jnp.asarray(epsilon))
        return into_ball(self, delta, epsilon)

    def line_to_plane(self, plane: Plane, theta: Array, shortest: Shortest, limit: Array) -> Line:
        """clip(delta + tau b, -t, t), with t falling with theta from the largest entry to 0."""
        del limit
        side = jnp.where(theta > 0, (1 - theta) * shortest.scale, jnp.inf)
        return Line(
            lambda tau: jnp.clip(plane.delta + tau * plane.normal, -side, side), straight=False
        )

    def windows(self, num_channels: int) -> Windows:
        """One window at a time at +-epsilon, from stripes."""
        del num_channels
        return Windows(windows.stripes, windows.move_linf, in_ball=True)

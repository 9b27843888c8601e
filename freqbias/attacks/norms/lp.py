"""The norms of pixels: L1, L2 and L-inf, and the count of changed entries, L0."""

import math

import jax
import jax.numpy as jnp

from freqbias._pytree import frozen, static
from freqbias.attacks.levels import Scalar, threshold_level, water_level
from freqbias.attacks.norms.base import Bounds, reach
from freqbias.typing import Array, Key


def along(gradient: Array, steepest: Array) -> Array:
    """The direction of the gradient, of twice the L2 norm of a steepest direction.

    With a step of this length, entries (or frequencies) whose gradient is small reach their size at
    the best point of the ball within a few steps too.
    """
    return 2 * L2().value(steepest) * L2().steepest(gradient)


@frozen
class L0:
    """Number of changed entries, #{i: delta_i != 0}: no norm, but a distance for minimal attacks.

    Every channel of a colour pixel counts (as in foolbox), or, with ``per_pixel``, a pixel counts
    once however many of its channels change. The ball of radius epsilon holds points of any size
    with at most floor(epsilon) changes. It is a cone without a steepest direction, a dual or a
    uniform law; these raise.

    Attributes:
      per_pixel: count pixels [H, W] instead of entries [H, W, C].
    """

    per_pixel: bool = static(default=False)

    def value(self, delta: Array) -> Array:
        """Number of changed entries (or pixels), in the dtype of delta."""
        changed = delta != 0
        if self.per_pixel:
            changed = jnp.any(changed, axis=-1)
        return jnp.sum(changed).astype(delta.dtype)

    def dual(self, gradient: Array) -> Array:
        """Raises ValueError: infinite for every gradient but zero."""
        raise ValueError("norm l0 has no dual: its ball is unbounded. Use L0 in minimal attacks.")

    def steepest(self, gradient: Array) -> Array:
        """Raises ValueError: <gradient, v> has no maximum over the ball."""
        raise ValueError("norm l0 has no steepest direction. Use L0 in minimal attacks.")

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``."""
        del boxed
        return self.steepest(gradient)

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
            weight = jax.vmap(jax.vmap(L2().value))(weight)[..., None]
        order = jnp.argsort(-weight.ravel())
        rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
        return jnp.where(rank.reshape(weight.shape) < jnp.floor(epsilon), delta, 0)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Raises ValueError: the ball is unbounded."""
        raise ValueError("norm l0 has no uniform law. Use L0 in minimal attacks.")


@frozen
class L1:
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

    def value(self, delta: Array) -> Array:
        """||delta||_1."""
        return jnp.sum(jnp.abs(delta))

    def dual(self, gradient: Array) -> Array:
        """||gradient||_inf."""
        return jnp.max(jnp.abs(gradient))

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
        gap = jnp.max(size) - size  # of mu to the largest entry: precise if few entries remain
        shrunk = jnp.clip(threshold_level(gap, room, epsilon) - gap, 0, room)
        inside = self.value(clipped) <= epsilon
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


@frozen
class L2:
    """Euclidean norm, sqrt(sum_i delta_i^2); dual to itself."""

    def value(self, delta: Array) -> Array:
        """||delta||_2, scaled by its largest entry so that squares neither over- nor underflow."""
        scale = jax.lax.stop_gradient(jnp.max(jnp.abs(delta)))
        zero = scale == 0
        scale = jnp.where(zero, 1, scale)
        squares = jnp.sum((delta / scale) ** 2)
        return jnp.where(zero, 0, scale * jnp.sqrt(jnp.where(zero, 1, squares)))

    def dual(self, gradient: Array) -> Array:
        """||gradient||_2."""
        return self.value(gradient)

    def steepest(self, gradient: Array) -> Array:
        """The unit vector gradient / ||gradient||_2, whatever the scale of the gradient."""
        scale = jnp.max(jnp.abs(gradient))
        gradient = gradient / jnp.where(
            scale == 0, 1, scale
        )  # squares now neither over- nor underflow
        return gradient / jnp.where(scale == 0, 1, jnp.sqrt(jnp.sum(gradient**2)))

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
        Since ||z||^2 = sum_i min(t^2 delta_i^2, c_i^2), with c_i the room of pixel i, t^2 is a
        `water_level`.
        """
        lower, upper = reach(image, bounds)
        room = jnp.where(delta > 0, upper, -lower)
        level = water_level((delta / epsilon) ** 2, (room / epsilon) ** 2, 1.0)
        clipped = jnp.clip(jnp.sqrt(jnp.minimum(level, 1)) * delta, lower, upper)
        return self.project(clipped, epsilon)  # removes rounding; stays in the box, which holds 0

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball of dimension D.

        The first D coordinates of a uniform point of the unit sphere in D + 2 dimensions.
        """
        size = math.prod(shape)
        sphere = self.steepest(jax.random.normal(key, (size + 2,), dtype))
        return sphere[:size].reshape(shape)


@frozen
class Linf:
    """Maximum norm, max_i |delta_i|; its dual is the L1 norm."""

    def value(self, delta: Array) -> Array:
        """||delta||_inf."""
        return jnp.max(jnp.abs(delta))

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
        return jax.random.uniform(key, shape, dtype, -1, 1)

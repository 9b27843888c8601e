"""Norms as frozen pytrees: the geometry of an attack, for one perturbation.

Every method takes ONE perturbation delta [H, W, C] (any shape works); callers ``vmap`` over images.
A new geometry is one new class with the methods of `Norm`; every gradient attack then works in it.

Every norm has a static field ``name``, its own, because the treedefs of two dataclasses registered
with JAX compare equal if their static fields do, whatever their types (jaxlib 0.10): without it,
``jit`` would now and then run the compiled program of another norm.

Rounding: a projected point exceeds its ball by at most a few units in the last place (relative
1e-6 in float32); the L-inf ball and the box [0, 1] are kept exactly. The distance re-computed from
pixels, ``(image + delta) - image``, carries the rounding of the sum as well: up to 6e-8 per pixel
in float32, hence 6e-8 D in L1 and 6e-8 sqrt(D) in L2 of D entries.
"""

import math
from typing import Protocol, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp

from freqbias.typing import Array, Key

Bounds: TypeAlias = tuple[float, float]
"""Lowest and highest pixel value."""
Scalar: TypeAlias = float | Array


class Norm(Protocol):
    """A norm ||.|| on perturbations: what an attack needs to know of its geometry."""

    @property
    def name(self) -> str:
        """Its name, which no other norm has."""
        ...

    def value(self, delta: Array) -> Array:
        """||delta||, a scalar, whose gradient is finite at zero too."""
        ...

    def dual(self, gradient: Array) -> Array:
        """Dual norm: max of <gradient, v> over ||v|| <= 1, a scalar."""
        ...

    def steepest(self, gradient: Array) -> Array:
        """Argmax of <gradient, v> over ||v|| <= 1; zero for a zero gradient."""
        ...

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Nearest point (Euclidean) of the ball ||.|| <= epsilon."""
        ...

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Nearest point (Euclidean) of the ball for which image + delta lies within bounds."""
        ...

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """A random point, uniform in the unit ball."""
        ...


@flax.struct.dataclass
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

    step_fraction: float | None = flax.struct.field(pytree_node=False, default=None)
    name: str = flax.struct.field(pytree_node=False, default="l1")

    def value(self, delta: Array) -> Array:
        """||delta||_1."""
        return jnp.sum(jnp.abs(delta))

    def dual(self, gradient: Array) -> Array:
        """||gradient||_inf."""
        return jnp.max(jnp.abs(gradient))

    def steepest(self, gradient: Array) -> Array:
        """The sign of the largest |gradient_i| (of equals, the first) at i, zero elsewhere.

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

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Soft threshold, sign(delta) max(|delta| - mu, 0), of the one mu that meets the ball."""
        return self._shrink(delta, delta, jnp.full_like(delta, jnp.inf), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact projection onto the ball and the box at once.

        The KKT conditions give z_i = sign(delta_i) clip(|delta_i| - mu, 0, c_i), with c_i the room
        of pixel i and one mu >= 0. (To clip what ``project`` returns is not the nearest point: it
        leaves unspent what the box cuts off.)
        """
        lower, upper = bounds[0] - image, bounds[1] - image
        room = jnp.where(delta > 0, upper, -lower)
        return self._shrink(delta, jnp.clip(delta, lower, upper), room, epsilon)

    def _shrink(self, delta: Array, clipped: Array, room: Array, epsilon: Scalar) -> Array:
        size = jnp.abs(delta)
        gap = jnp.max(size) - size  # mu is sought as a distance from the top: sharp if few remain
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


@flax.struct.dataclass
class L2:
    """Euclidean norm, sqrt(sum_i delta_i^2); dual to itself."""

    name: str = flax.struct.field(pytree_node=False, default="l2")

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
        gradient = gradient / jnp.where(scale == 0, 1, scale)
        return gradient / jnp.where(scale == 0, 1, self.value(gradient))

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Delta * min(1, epsilon / ||delta||_2)."""
        return delta * (epsilon / jnp.maximum(self.value(delta), epsilon))

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Exact projection onto the ball and the box at once.

        The KKT conditions give z = clip(t delta, low - image, high - image) with one t in (0, 1].
        Since ||z||^2 = sum_i min(t^2 delta_i^2, c_i^2), with c_i the room of pixel i, t^2 is a
        `water_level`.
        """
        lower, upper = bounds[0] - image, bounds[1] - image
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


@flax.struct.dataclass
class Linf:
    """Maximum norm, max_i |delta_i|; its dual is the L1 norm."""

    name: str = flax.struct.field(pytree_node=False, default="linf")

    def value(self, delta: Array) -> Array:
        """||delta||_inf."""
        return jnp.max(jnp.abs(delta))

    def dual(self, gradient: Array) -> Array:
        """||gradient||_1."""
        return jnp.sum(jnp.abs(gradient))

    def steepest(self, gradient: Array) -> Array:
        """sign(gradient); pixels of zero gradient stay."""
        return jnp.sign(gradient)

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """clip(delta, -epsilon, epsilon)."""
        return jnp.clip(delta, -epsilon, epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """The ball and the box are both boxes: clip to their intersection."""
        lower = jnp.maximum(bounds[0] - image, -epsilon)
        upper = jnp.minimum(bounds[1] - image, epsilon)
        return jnp.clip(delta, lower, upper)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the cube: every pixel uniform in [-1, 1]."""
        return jax.random.uniform(key, shape, dtype, -1, 1)


def water_level(slopes: Array, caps: Array, target: Scalar) -> Array:
    """Smallest s >= 0 with sum_i min(s slopes_i, caps_i) = target.

    The sum is concave, increasing and piecewise linear in s, so that Newton's method from s = 0
    climbs to the root from the left, past at least one breakpoint a step, and ends exactly on it.
    This one root solves the projection onto L2 ball and box, and the closed forms of
    `freqbias.attacks.affine`.

    Args:
      slopes: non-negative, any shape.
      caps: non-negative, infinity for no cap, the shape of ``slopes``.
      target: positive scalar.

    Returns:
      s, a scalar; infinity where sum_i caps_i < target (over the i with positive slope).
    """
    caps = jnp.where(slopes > 0, caps, 0)
    infinity = jnp.asarray(jnp.inf, slopes.dtype)

    def newton(level: Array) -> Array:
        free = level * slopes < caps
        rest = target - jnp.sum(jnp.where(free, 0, caps))
        slope = jnp.sum(jnp.where(free, slopes, 0))
        capped = jnp.where(rest > 0, infinity, level)
        return jnp.where(slope > 0, rest / jnp.where(slope > 0, slope, 1), capped)

    def climbs(levels: tuple[Array, Array]) -> Array:
        return (levels[1] > levels[0]) & jnp.isfinite(levels[1])

    def climb(levels: tuple[Array, Array]) -> tuple[Array, Array]:
        return levels[1], newton(levels[1])

    zero = jnp.zeros_like(infinity)
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
        below = jnp.sum(jnp.clip(level - fixed_gaps, 0, fixed_caps)) < fixed_target
        low, high = jnp.where(below, level, low), jnp.where(below, high, level)
        new = _root_of_piece(level, fixed_gaps, fixed_caps, fixed_target, flat=-1)
        trusted = ((low < new) & (new < high)) | (new == level)
        return low, high, level, jnp.where(trusted, new, (low + high) / 2)

    high = jnp.max(fixed_gaps) + fixed_target
    low = jnp.zeros_like(high)
    level = jax.lax.while_loop(moves, move, (low, high, low - 1, high))[3]
    return _root_of_piece(level, *problem, flat=level)  # carries the derivative


def _root_of_piece(level: Array, gaps: Array, caps: Array, target: Array, *, flat: Scalar) -> Array:
    """The root of the linear piece of `threshold_level` at ``level``; ``flat`` if it is level."""
    full = level >= gaps + caps
    free = (level > gaps) & ~full
    rest = target - jnp.sum(jnp.where(full, caps, 0)) + jnp.sum(jnp.where(free, gaps, 0))
    count = jnp.sum(free)
    return jnp.where(count > 0, rest / jnp.maximum(count, 1), flat)

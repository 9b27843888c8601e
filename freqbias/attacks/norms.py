"""Norms as frozen pytrees: the geometry of an attack, for one perturbation.

Every method takes ONE perturbation delta [H, W, C] (any shape works); callers ``vmap`` over images.
A new geometry is one new class with the methods of `Norm`; every gradient attack then works in it.

Every norm has a static field ``name``, its own, because the treedefs of two dataclasses registered
with JAX compare equal if their static fields do, whatever their types (jaxlib 0.10): without it,
``jit`` would now and then run the compiled program of another norm.

Rounding: a projected point exceeds its ball by at most a few units in the last place (relative
1e-6 in float32); the L-inf ball and the box [0, 1] are kept exactly. The distance re-computed from
pixels, ``(image + delta) - image``, carries the rounding of the sum as well: up to 6e-8 per pixel
in float32.
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

"""What a norm is: the geometry of an attack, for one perturbation.

Every method takes ONE perturbation delta [H, W, C] (any shape works); callers ``vmap`` over images.
A new geometry is one new class with the methods of `Norm`; every gradient attack then works in it.

Rounding: a projected point exceeds its ball by at most a few units in the last place (relative
1e-6 in float32); the L-inf ball and the box are kept exactly. The distance re-computed from
pixels, ``(image + delta) - image``, carries the rounding of the sum as well: up to 6e-8 per pixel
in float32, hence 6e-8 D in L1 and 6e-8 sqrt(D) in L2 of D entries.
"""

from typing import Protocol, TypeAlias

import jax.numpy as jnp

from freqbias.attacks.levels import Scalar
from freqbias.typing import Array, Key

Bounds: TypeAlias = tuple[float, float]
"""Lowest and highest pixel value."""


def reach(image: Array, bounds: Bounds) -> tuple[Array, Array]:
    """The least and the largest delta, per entry, for which image + delta lies within bounds.

    As it is rounded: ``image + (high - image)`` can round to beyond ``high``, by at most half a
    unit in the last place of the difference, so that its neighbour towards 0 does not.

    Args:
      image: [..., H, W, C] within bounds.
      bounds: (low, high) of a pixel.

    Returns:
      lower <= 0 and upper >= 0, of the image's shape.
    """
    low, high = bounds
    lower, upper = low - image, high - image
    zero = jnp.zeros_like(image)
    return (
        jnp.where(image + lower < low, jnp.nextafter(lower, zero), lower),
        jnp.where(image + upper > high, jnp.nextafter(upper, zero), upper),
    )


class Norm(Protocol):
    """A norm ||.|| on perturbations: what an attack needs to know of its geometry."""

    def value(self, delta: Array) -> Array:
        """||delta||, a scalar, whose gradient is finite at zero too."""
        ...

    def dual(self, gradient: Array) -> Array:
        """Dual norm: max of <gradient, v> over ||v|| <= 1, a scalar."""
        ...

    def steepest(self, gradient: Array) -> Array:
        """Argmax of <gradient, v> over ||v|| <= 1; zero for a zero gradient."""
        ...

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """Direction of a step from a point of the ball; ``project`` then brings it back there.

        If the gradient is the same everywhere, the best point of the ball is ``steepest``. Steps
        stay there if their direction is normal to the ball at this point. In most norms
        ``steepest`` itself is.

        With ``boxed``, ``project_box`` brings the step back, and the direction must be normal to
        the intersection of ball and box at its best point. There ``steepest`` is so only if the
        faces of the ball are parallel to those of the box; the gradient always is: `along`.
        """
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

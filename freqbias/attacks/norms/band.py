"""A norm on the perturbations of some frequencies only.

The real images whose spectrum vanishes outside a symmetric mask M are a linear subspace V, spanned
by the cosines and sines of M, and multiplication of the spectrum by M is the orthogonal projection
P onto it. `band_limited` turns a `Norm` into its restriction to V. An attack in this norm moves
within V at every step; its result is not filtered afterwards.

    attack = pgd(band_limited(L2(), spectral.band_mask((28, 28), 1/8, 1/4)), epsilon=0.5)

For an affine model without box, the smallest L2 perturbation of V is margin / ||P w||_2, with w the
gradient of the margin.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen
from freqbias.attacks.levels import Scalar, largest
from freqbias.attacks.norms.base import Bounds, Norm, along, reach
from freqbias.attacks.norms.fourier import FourierL1, FourierLinf, WeightedFourierL2
from freqbias.attacks.norms.lp import L2, Linf
from freqbias.spectral import filters, fourier
from freqbias.typing import Array, ArrayLike, Key

_MAX_ITERATIONS = 40
_MARGIN = 0.02  # of the box by which `_near` searches, in root mean squares of delta


@frozen
class BandLimited(Norm):
    """A norm on the perturbations of some frequencies only; made by `band_limited`.

    Without the box, all methods are exact in L2 and in the Fourier norms. In other norms, and with
    the box, the points of V within the ball (and the box) have no closed form; each method says
    what it gives instead.

    Attributes:
      norm: the norm.
      mask: [H, W] of zeros and ones, fftfreq order, symmetric; traced, so that all bands share one
        compilation. It holds for every channel.
    """

    norm: Norm
    mask: Array

    @property
    def exact(self) -> bool:
        """In L2 and in the norms of the spectrum; steps of others leave V, and are projected."""
        fits = isinstance(self.norm, L2 | FourierL1 | FourierLinf | WeightedFourierL2)
        return fits and self.norm.exact

    def value(self, delta: Array) -> Array:
        """||delta||, the norm's own."""
        return self.norm.value(delta)

    def dual(self, gradient: Array) -> Array:
        """Dual norm of P gradient: the max of <gradient, v> over the unit ball within V.

        In L1, L-inf and Lp it is an upper bound of that.
        """
        return self.norm.dual(self._gradient(gradient))

    def steepest(self, gradient: Array) -> Array:
        """Argmax of <gradient, v> over the unit ball within V.

        In L1, L-inf and Lp it is P s / ||P s|| instead, s being the steepest direction of
        P gradient. It is not the argmax, but it ascends: <gradient, P s> = <P gradient, s> > 0.
        """
        direction = self.norm.steepest(self._gradient(gradient))
        if isinstance(self.norm, L2):
            return direction
        direction = self._limit(direction)
        size = self.norm.value(direction)
        return direction / jnp.where(size == 0, 1, size)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest`` in L2, and in Fourier norms without the box; else `along` P gradient.

        In `WeightedFourierL2` it is that norm's ``ascent`` of P gradient.
        """
        limited, direction = self._gradient(gradient), self.steepest(gradient)
        if isinstance(self.norm, WeightedFourierL2):
            return self._limit(self.norm.ascent(limited))
        fits = isinstance(self.norm, FourierL1 | FourierLinf) and not boxed
        return direction if fits or isinstance(self.norm, L2) else along(limited, direction)

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Nearest point of the ball within V; in L-inf a point near it, in L1 and Lp some point."""
        limited = self._limit(delta)
        if isinstance(self.norm, L2):
            return self.norm.project(limited, epsilon)
        if isinstance(self.norm, Linf):
            side = jnp.full_like(delta, epsilon)
            return _near(self._limit, delta, -side, side)
        limited = self._limit(self.norm.project(limited, epsilon))
        return limited * (epsilon / jnp.maximum(self.norm.value(limited), epsilon))

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """A point of the ball, the box and V, near the nearest.

        No closed form exists; see `_near`. The three sets are kept to rounding, and the box
        exactly.

        If many pixels are black or white, the three may have little more than 0 in common: on a
        black background a perturbation can only be positive, and a wave of mean zero is not. Then
        attack with ``bounds=None``, or images of less contrast.
        """
        lower, upper = reach(image, bounds)
        if isinstance(self.norm, Linf):  # this ball is a box, others go together with V
            lower, upper = jnp.maximum(lower, -epsilon), jnp.minimum(upper, epsilon)
            return _near(self._limit, delta, lower, upper)
        return _near(partial(self.project, epsilon=epsilon), delta, lower, upper)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the unit ball within V.

        The direction is that of white noise, and the radius to the power dim V is uniform in
        [0, 1]. (In other norms than L2 the directions are not exactly uniform.)
        """
        noise_key, radius_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (math.prod(shape),), dtype)
        noise = self._limit(noise.reshape(shape))
        dimension = shape[-1] * jnp.sum(self.mask.astype(dtype))
        radius = jax.random.uniform(radius_key, (), dtype) ** (1 / dimension)
        return noise * (radius / self.norm.value(noise))

    def _limit(self, delta: Array) -> Array:
        """P delta, whose spectrum is zero off the mask."""
        if self.mask.shape != delta.shape[:2]:
            raise ValueError(
                f"mask must be [H, W] = {delta.shape[:2]} of the images; got {self.mask.shape}."
            )
        return filters.apply_transfer(delta, self.mask)

    def _gradient(self, gradient: Array) -> Array:
        """P gradient; zero where it is nothing but the rounding of the transform."""
        limited = self._limit(gradient)
        noise = 16 * jnp.finfo(gradient.dtype).eps * largest(gradient)
        return jnp.where(largest(limited) <= noise, 0, limited)


@checked
def band_limited(norm: Norm, mask: ArrayLike) -> BandLimited:
    """The norm on perturbations whose spectrum is zero off a mask.

    Args:
      norm: e.g. ``L2()``.
      mask: boolean or of zeros and ones, [H, W], fftfreq order, with mask[-k] = mask[k], e.g. of
        `freqbias.spectral.band_mask`, or any set of waves, each with its mirror image.

    Returns:
      A norm for any attack.

    Raises:
      ValueError: mask is not [H, W], not of zeros and ones, not symmetric, or empty.

    Example:
      >>> import jax
      >>> from freqbias import attacks, spectral
      >>> mask = spectral.band_mask((8, 8), 1 / 4, 1)
      >>> high = attacks.band_limited(attacks.L2(), mask)
      >>> attack = attacks.pgd(high, epsilon=0.5, num_steps=3, bounds=None)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> spectrum = abs(jax.numpy.fft.fft2(found.delta[..., 0]))
      >>> bool((spectrum[:, ~mask] < 1e-4).all())
      True
    """
    check_mask("mask", mask)
    return BandLimited(norm, jnp.asarray(mask, jnp.result_type(float)))


def check_mask(name: str, mask: ArrayLike) -> None:
    """Raises ValueError unless ``mask`` is [H, W], of zeros and ones, not empty and symmetric."""
    _checks.rank(name, mask, 2)
    if _checks.is_concrete(mask):
        values = np.asarray(mask)
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{name} must be boolean or of zeros and ones; got other values.")
        if not values.any():
            raise ValueError(f"{name} must hold at least one frequency; got none.")
        if not fourier.is_symmetric_mask(values):
            raise ValueError(f"{name} must be symmetric, mask[-k] = mask[k] in fftfreq order.")


def _near(project_fn: Callable[[Array], Array], delta: Array, lower: Array, upper: Array) -> Array:
    """A point of a convex set and a box, both of which hold 0, near the nearest to delta.

    Dykstra's algorithm with Nesterov's momentum, between the set and a box that is smaller by a
    small margin, until the point of the set lies within the box itself and no longer moves. If it
    does not lie there after the last iteration, it is scaled towards 0 until it does, which keeps
    it in the set.

    Reference:
      Boyle and Dykstra, 1986; Beck and Teboulle, 2009.
    """
    start = project_fn(delta)
    margin = _MARGIN * jnp.sqrt(jnp.mean(start**2))
    middle = (lower + upper) / 2
    inner_lower = jnp.minimum(lower + margin, middle)
    inner_upper = jnp.maximum(upper - margin, middle)
    State = tuple[Array, Array, Array, Array, Array, Array]

    def outside(point: Array) -> Array:
        return jnp.any((point < lower) | (point > upper))

    def continues(state: State) -> Array:
        iteration, point, *_, change = state
        return (iteration < _MAX_ITERATIONS) & (outside(point) | (change > margin / 2))

    def iterate(state: State) -> State:
        iteration, point, dual, ahead, momentum, _ = state
        new = point + ahead
        new = new - jnp.clip(new, inner_lower, inner_upper)
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - dual)
        moved = project_fn(delta - ahead)
        change = largest(moved - point)
        return iteration + 1, moved, new, ahead, next_momentum, change

    one, zeros = jnp.ones((), delta.dtype), jnp.zeros_like(delta)
    first = jnp.zeros((), jnp.int32), start, zeros, zeros, one, 0 * one
    return _scale_into_box(jax.lax.while_loop(continues, iterate, first)[1], lower, upper)


def _scale_into_box(delta: Array, lower: Array, upper: Array) -> Array:
    """Scales delta by one factor in [0, 1] into a box that holds 0, rounding included."""
    room = jnp.where(delta > 0, upper, -lower)
    size = jnp.abs(delta)
    factor = jnp.min(jnp.where(size > room, room / jnp.where(size > 0, size, 1), 1))
    safe = 1 - 4 * jnp.finfo(delta.dtype).eps
    return delta * jnp.where(factor < 1, factor * safe, 1)

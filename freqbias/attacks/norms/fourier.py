"""Norms of the spectrum of a perturbation: how much each frequency may change.

The DFT is orthonormal, over H and W, per channel, so that <g, v> = Re <fft2(g), fft2(v)> and the
duality of the moduli carries over. The spectrum of a real perturbation is Hermitian; what acts on
moduli alone keeps it so. Both halves of the plane count: a wave and its mirror image are two
entries of a Fourier norm.

With the box no projection has a closed form. `project_ball_and_box` iterates to the nearest point;
what it returns keeps both constraints, converged or not. With the box, steepest steps do not end at
the best point either, so ``ascent`` is then along the gradient.

Rounding: as in base.py. The distance re-computed from pixels carries up to 6e-8
per pixel in float32, hence 6e-8 sqrt(H W) in `FourierLinf`, 6e-8 H W C in `FourierL1` and
6e-8 sqrt(H W C) max(weights) in `WeightedFourierL2`.

Reference:
  Faghri et al., Bridging the gap between adversarial robustness and optimization bias, 2102.08868,
  section 4.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen
from freqbias.attacks.levels import Scalar, largest, secular_level
from freqbias.attacks.norms.base import Bounds, Norm, into_ball, project_ball_and_box
from freqbias.attacks.norms.lp import L1, L2
from freqbias.spectral import fourier
from freqbias.typing import Array, ArrayLike, Key


@frozen
class FourierLinf(Norm):
    """Largest modulus of a frequency, max_{f, c} |fft2(delta)|; its dual is `FourierL1`."""

    def value(self, delta: Array) -> Array:
        """||fft2(delta)||_inf."""
        return largest(jnp.abs(fourier.fft2(delta)))

    def dual(self, gradient: Array) -> Array:
        """||fft2(gradient)||_1."""
        return jnp.sum(jnp.abs(fourier.fft2(gradient)))

    def steepest(self, gradient: Array) -> Array:
        """Every frequency at modulus 1, with the phase it has in the gradient."""
        return _real_image(_phase(fourier.fft2(gradient)))

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Clips every modulus to epsilon."""
        spectrum = fourier.fft2(delta)
        factor = epsilon / jnp.maximum(jnp.abs(spectrum), epsilon)
        return _within(self, delta, _real_image(spectrum * factor), epsilon)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball.

        A pair of frequencies is uniform in a disc, and so its modulus the larger of two uniform
        variables; a frequency that is its own mirror image is uniform in [-1, 1].
        """
        phase_key, size_key = jax.random.split(key)
        size = jax.random.uniform(size_key, (math.prod(shape),), dtype).reshape(shape)
        return _real_image(jnp.maximum(size, _mirror(size)) * _random_phase(phase_key, size))


@frozen
class FourierL1(Norm):
    """Sum of the moduli of all frequencies, sum_{f, c} |fft2(delta)|; dual to `FourierLinf`."""

    def value(self, delta: Array) -> Array:
        """||fft2(delta)||_1."""
        return jnp.sum(jnp.abs(fourier.fft2(delta)))

    def dual(self, gradient: Array) -> Array:
        """||fft2(gradient)||_inf."""
        return largest(jnp.abs(fourier.fft2(gradient)))

    def steepest(self, gradient: Array) -> Array:
        """One plane wave: the strongest of the gradient (of equals, the first)."""
        spectrum = fourier.fft2(gradient)
        strongest = jnp.argmax(jnp.abs(spectrum))
        wave = jnp.arange(spectrum.size) == strongest
        # The real part spreads the modulus over the frequency and its mirror image.
        return _real_image(jnp.where(wave.reshape(spectrum.shape), _phase(spectrum), 0))

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Soft threshold of every modulus, by the projection of the moduli onto the L1 ball."""
        spectrum = fourier.fft2(delta)
        moduli = L1().project(jnp.abs(spectrum), epsilon)
        return _within(self, delta, _real_image(moduli * _phase(spectrum)), epsilon)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball of dimension D.

        As for `L1`, of D + 1 exponential variables divided by their sum; a pair of frequencies
        shares two of them.
        """
        phase_key, size_key = jax.random.split(key)
        parts = jax.random.exponential(size_key, (math.prod(shape) + 1,), dtype)
        size = (parts[:-1] / jnp.sum(parts)).reshape(shape)
        return _real_image((size + _mirror(size)) / 2 * _random_phase(phase_key, size))


@frozen
class WeightedFourierL2(Norm):
    """Weighted energy, sqrt(sum_{f, c} (w_f |fft2(delta)|)^2); made by `weighted_fourier_l2`.

    Its ball is an ellipsoid, whose outward normal at ``steepest`` of a gradient is the gradient,
    not ``steepest`` itself. With X the spectrum of the gradient, the best point for an affine model
    has a spectrum proportional to X / w^2; steepest steps with Euclidean projections would end at
    X / w^4. So ``ascent`` is along the gradient, and so long that no frequency moves less than in
    a steepest step.

    Attributes:
      weights: w, [H, W] or [H, W, 1], positive, w_f = w_{-f}, in fftfreq order; traced.
    """

    weights: Array

    def value(self, delta: Array) -> Array:
        """||w fft2(delta)||_2."""
        return L2().value(self._plane(delta) * jnp.abs(fourier.fft2(delta)))

    def dual(self, gradient: Array) -> Array:
        """||fft2(gradient) / w||_2."""
        return L2().value(jnp.abs(fourier.fft2(gradient)) / self._plane(gradient))

    def steepest(self, gradient: Array) -> Array:
        """The filtered gradient, of spectrum fft2(gradient) / w^2, at norm 1."""
        dual = self.dual(gradient)
        normalized = fourier.fft2(gradient / jnp.where(dual == 0, 1, dual))
        return _real_image(normalized / self._plane(gradient) ** 2)

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """A multiple of the gradient: ``steepest`` with frequency f times (w_f / min w)^2."""
        del boxed
        lightest = jnp.min(self._plane(gradient))
        dual = self.dual(gradient) * lightest
        return gradient / jnp.where(dual == 0, 1, dual) / lightest

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Divides frequency f by 1 + lambda w_f^2, with the one lambda that meets the ball."""
        weights, spectrum = self._plane(delta), fourier.fft2(delta)
        sizes = weights * jnp.abs(spectrum)
        total = L2().value(sizes)
        curves = jnp.broadcast_to(weights**2, sizes.shape)
        level = secular_level(sizes / jnp.where(total == 0, 1, total), curves, total / epsilon)
        return _within(self, delta, _real_image(spectrum / (1 + level * curves)), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """By `project_ball_and_box`."""
        return project_ball_and_box(self, delta, image, epsilon, bounds)

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball: a uniform point of the L2 ball, frequency f divided by w_f."""
        point = L2().sample(key, shape, dtype)
        return _real_image(fourier.fft2(point) / self._plane(point))

    def _plane(self, delta: Array) -> Array:
        """The weights as [H, W, 1], of the dtype of delta."""
        height, width = np.shape(self.weights)[:2]
        if np.shape(delta)[:2] != (height, width):
            raise ValueError(
                f"weights of shape {(height, width)} do not fit perturbations [H, W, C] of shape "
                f"{np.shape(delta)}."
            )
        return jnp.asarray(self.weights, delta.dtype).reshape(height, width, 1)


@checked
def weighted_fourier_l2(weights: ArrayLike) -> WeightedFourierL2:
    """The norm sqrt(sum_{f, c} (w_f |fft2(delta)|)^2).

    Args:
      weights: w, [H, W] or [H, W, 1], one positive number per frequency, with w_f = w_{-f}: a
        frequency of large weight is expensive to change. In fftfreq order, DC at [0, 0]. (A plane
        of even sizes in fftshift order is symmetric as well, and is not noticed.)

    Returns:
      The norm.

    Raises:
      TypeError: ``weights`` is not float32 or float64.
      ValueError: another shape, or concrete and not positive, finite and symmetric.

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import attacks, spectral
      >>> norm = attacks.weighted_fourier_l2(1 + 10 * spectral.radius_grid((8, 8)))
      >>> wave = jnp.tile(jnp.array([1.0, -1.0]), (8, 4))[..., None]  # half a cycle per pixel
      >>> float(norm.value(jnp.ones((8, 8, 1)))), float(norm.value(wave))
      (8.0, 48.0)
    """
    _checks.floating("weights", weights)
    shape = np.shape(weights)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)) or 0 in shape:
        raise ValueError(f"weights must be [H, W] or [H, W, 1]; got shape {shape}.")
    _checks.positive("weights", weights)
    if _checks.is_concrete(weights):
        weights = np.asarray(weights)
        if not fourier.is_symmetric_mask(weights.reshape(shape[:2])):
            raise ValueError("weights must be symmetric, w_f = w_{-f}, in fftfreq order.")
    return WeightedFourierL2(weights)  # type: ignore[arg-type]


def _within(norm: Norm, delta: Array, projected: Array, epsilon: Scalar) -> Array:
    """Delta where it lies in the ball, else its projection, freed of rounding."""
    inside = norm.value(delta) <= epsilon
    return jnp.where(inside, delta, into_ball(norm, projected, epsilon))


def _real_image(spectrum: Array) -> Array:
    """The real part of the inverse DFT: the image of the Hermitian part of a spectrum."""
    return jnp.fft.ifft2(spectrum, axes=fourier.IMAGE_AXES, norm="ortho").real


def _phase(spectrum: Array) -> Array:
    """X / |X|; zero where X is zero."""
    modulus = jnp.abs(spectrum)
    return spectrum / jnp.where(modulus == 0, 1, modulus)


def _random_phase(key: Key, like: Array) -> Array:
    """Independent uniform phases with the symmetry of a real image: those of white noise."""
    noise = jax.random.normal(key, (like.size,), like.dtype)
    return _phase(fourier.fft2(noise.reshape(like.shape)))


def _mirror(plane: Array) -> Array:
    """Reindexes [H, W, C] from f to -f."""
    return jnp.roll(jnp.flip(plane, (0, 1)), (1, 1), (0, 1))

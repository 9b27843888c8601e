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
from freqbias._pytree import frozen
from freqbias.attacks.levels import Scalar, secular_level
from freqbias.attacks.norms.base import Bounds, Norm, reach
from freqbias.attacks.norms.lp import L1, L2, along
from freqbias.spectral import fourier
from freqbias.typing import Array, ArrayLike, Key

_MAX_ITERATIONS = 100  # in one step of an attack; the next steps approach the nearest point further


@frozen
class FourierLinf:
    """Largest modulus of a frequency, max_{f, c} |fft2(delta)|; its dual is `FourierL1`."""

    def value(self, delta: Array) -> Array:
        """||fft2(delta)||_inf."""
        return jnp.max(jnp.abs(fourier.fft2(delta)))

    def dual(self, gradient: Array) -> Array:
        """||fft2(gradient)||_1."""
        return jnp.sum(jnp.abs(fourier.fft2(gradient)))

    def steepest(self, gradient: Array) -> Array:
        """Every frequency at modulus 1, with the phase it has in the gradient."""
        return _real_image(_phase(fourier.fft2(gradient)))

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``; in the box `along` the gradient."""
        direction = self.steepest(gradient)
        return along(gradient, direction) if boxed else direction

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Clips every modulus to epsilon."""
        spectrum = fourier.fft2(delta)
        factor = epsilon / jnp.maximum(jnp.abs(spectrum), epsilon)
        return _within(self, delta, _real_image(spectrum * factor), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """By `project_ball_and_box`, of at most 100 iterations."""
        return project_ball_and_box(
            self, delta, image, epsilon, bounds, max_iterations=_MAX_ITERATIONS
        )

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Uniform in the ball.

        A pair of frequencies is uniform in a disc, and so its modulus the larger of two uniform
        variables; a frequency that is its own mirror image is uniform in [-1, 1].
        """
        phase_key, size_key = jax.random.split(key)
        size = jax.random.uniform(size_key, (math.prod(shape),), dtype).reshape(shape)
        return _real_image(jnp.maximum(size, _mirror(size)) * _random_phase(phase_key, size))


@frozen
class FourierL1:
    """Sum of the moduli of all frequencies, sum_{f, c} |fft2(delta)|; dual to `FourierLinf`."""

    def value(self, delta: Array) -> Array:
        """||fft2(delta)||_1."""
        return jnp.sum(jnp.abs(fourier.fft2(delta)))

    def dual(self, gradient: Array) -> Array:
        """||fft2(gradient)||_inf."""
        return jnp.max(jnp.abs(fourier.fft2(gradient)))

    def steepest(self, gradient: Array) -> Array:
        """One plane wave: the strongest of the gradient (of equals, the first)."""
        spectrum = fourier.fft2(gradient)
        strongest = jnp.argmax(jnp.abs(spectrum))
        wave = jnp.arange(spectrum.size) == strongest
        # The real part spreads the modulus over the frequency and its mirror image.
        return _real_image(jnp.where(wave.reshape(spectrum.shape), _phase(spectrum), 0))

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """As ``steepest``; in the box `along` the gradient."""
        direction = self.steepest(gradient)
        return along(gradient, direction) if boxed else direction

    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Soft threshold of every modulus, by the projection of the moduli onto the L1 ball."""
        spectrum = fourier.fft2(delta)
        moduli = L1().project(jnp.abs(spectrum), epsilon)
        return _within(self, delta, _real_image(moduli * _phase(spectrum)), epsilon)

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """By `project_ball_and_box`, of at most 100 iterations."""
        return project_ball_and_box(
            self, delta, image, epsilon, bounds, max_iterations=_MAX_ITERATIONS
        )

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
class WeightedFourierL2:
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


def project_ball_and_box(
    norm: Norm,
    delta: Array,
    image: Array,
    epsilon: Scalar,
    bounds: Bounds,
    *,
    max_iterations: int = 1000,
) -> Array:
    """Nearest point of ball and box, from the projections onto each.

    Dykstra's algorithm, which is proximal gradient ascent on the dual,

        z = P_box(delta - y),   y <- (z + y) - P_ball(z + y),

    with Nesterov's momentum, which starts anew where it points back. It ends when z, a point of the
    box, and the point of the ball agree to rounding: after about 20 iterations for a gradient step
    out of the ball, after hundreds for a point at a hundred times the radius. Then z is scaled into
    the ball. As the box holds 0, the result keeps both constraints, converged or not.

    Args:
      norm: whose ``project`` is used.
      delta: [H, W, C].
      image: [H, W, C] within bounds.
      epsilon: radius of the ball.
      bounds: (low, high) of a pixel.
      max_iterations: at which to stop at the latest.

    Returns:
      The point [H, W, C].

    Reference:
      Boyle and Dykstra, 1986; Beck and Teboulle, 2009; O'Donoghue and Candes, 1204.3982, section 3.
    """
    lower, upper = reach(image, bounds)
    tolerance = 4 * jnp.finfo(delta.dtype).eps * jnp.max(jnp.abs(delta))
    State = tuple[Array, Array, Array, Array, Array]

    def continues(state: State) -> Array:
        iteration, *_, gap = state
        return (iteration < max_iterations) & (gap > tolerance)

    def iterate(state: State) -> State:
        iteration, dual, ahead, momentum, _ = state
        in_box = jnp.clip(delta - ahead, lower, upper)
        in_ball = norm.project(in_box + ahead, epsilon)
        new = in_box + ahead - in_ball
        back = jnp.sum((ahead - new) * (new - dual)) > 0
        momentum = jnp.where(back, 1, momentum)
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - dual)
        return iteration + 1, new, ahead, next_momentum, jnp.max(jnp.abs(in_box - in_ball))

    one, zeros = jnp.ones((), delta.dtype), jnp.zeros_like(delta)
    start = jnp.zeros((), jnp.int32), zeros, zeros, one, one * jnp.inf
    _, dual, *_ = jax.lax.while_loop(continues, iterate, start)
    return _into_ball(norm, jnp.clip(delta - dual, lower, upper), epsilon)


def _within(norm: Norm, delta: Array, projected: Array, epsilon: Scalar) -> Array:
    """Delta where it lies in the ball, else its projection, freed of rounding."""
    inside = norm.value(delta) <= epsilon
    return jnp.where(inside, delta, _into_ball(norm, projected, epsilon))


def _into_ball(norm: Norm, delta: Array, epsilon: Scalar) -> Array:
    return delta * (epsilon / jnp.maximum(norm.value(delta), epsilon))


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

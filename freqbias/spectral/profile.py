r"""Power spectra of images, their average over images, and their profile over the radius.

The power of an image is P[k] = Σ_c |X_c[k]|², orthonormal, summed over channels. Five choices turn
it into one number for many images. Public code differs in each of them, and results change with
each, so they are fixed here:

1. *Raw* images are transformed: not their absolute value (|cos| has twice the frequency of cos),
   not grey values (opposite colours cancel), not values scaled to [0, 1] per image (that makes a
   DC of its own and depends on single pixels).
2. *Power*, not amplitude or its logarithm: power is energy, adds over channels, and is shared out
   among the frequencies (p = P / Σ P is a distribution). Entropy, mean and median frequency are
   those of this distribution.
3. *DC* is the mean of the image and no pattern. It is left out unless ``include_dc`` is set.
4. Each image is normalised *before* averaging, so that each counts alike; averaging raw power
   would weight an image by the square of its norm.
5. Images *without power* (zero, or, without DC, constant) have no spectrum: theirs is NaN, and so
   is every statistic of it. Averages leave them out; ``has_power`` says which they are.

**Without power** means that the share of the frequencies asked for lies below the rounding of the
transform: their amplitude is less than 32 machine epsilons of the whole. A constant image has
non-zero Fourier coefficients in floating point; without this threshold their rounding noise would
be normalised and reported as a white spectrum. Images that hold NaN or infinity are refused where
their values can be read; inside ``jit`` they have no power.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from freqbias import _checks
from freqbias._checked import checked
from freqbias.spectral import fourier
from freqbias.typing import Array, ArrayLike


class RadialProfile(NamedTuple):
    """A power spectrum as a function of the radius. Σ count · mean = total power."""

    frequency: np.ndarray  # [R], nominal radius of each bin, cycles per pixel
    mean: Array  # [..., R], mean power of the coefficients in the bin
    count: np.ndarray  # type: ignore[assignment]  # [R], coefficients of the full plane in the bin, at least 1


@checked
def power_spectrum(images: ArrayLike) -> Array:
    """Power per frequency, P[k] = Σ_c |X_c[k]|², of the orthonormal transform.

    Σ_k P[k] = Σ x² (Parseval).

    Args:
      images: real, [..., H, W, C].

    Returns:
      Power [..., H, W], full plane, fftfreq order.

    Raises:
      TypeError, ValueError: as in ``fourier.fft2``.
    """
    fourier.check_images(images)
    return _power_spectrum(images)


@jax.jit
def _power_spectrum(images: Array) -> Array:
    half = fourier.rfft2(images)
    power = jnp.sum(jnp.square(half.real) + jnp.square(half.imag), axis=-1)
    return fourier.full_plane(power, np.shape(images)[-2])


def rescaled_power(images: ArrayLike, name: str = "images") -> Array:
    """``power_spectrum`` of images divided by their largest modulus: it cannot under- or overflow.

    For statistics that do not depend on the scale. The divisor is held constant in derivatives,
    which is exact for them.
    """
    fourier.check_images(images, name)
    return _rescaled_power(images)


@jax.jit
def _rescaled_power(images: Array) -> Array:
    largest = jnp.max(jnp.abs(lax.stop_gradient(images)), axis=(-3, -2, -1), keepdims=True)
    return power_spectrum(images / jnp.where(largest > 0, largest, 1))


def normalize(
    power: Array, keep: np.ndarray, *, zero_for_none: bool = False
) -> tuple[Array, Array]:
    """Shares of power p = P / Σ P over the frequencies ``keep``; zero elsewhere.

    Args:
      power: [..., H, W], non-negative.
      keep: boolean [H, W].
      zero_for_none: whether p is 0 where there is no power, instead of NaN.

    Returns:
      (p, valid): p [..., H, W] sums to 1 where ``valid`` [...]; elsewhere its derivative is zero.
    """
    kept = jnp.where(jnp.broadcast_to(keep, power.shape), power, 0)
    kept_total = jnp.sum(kept, axis=(-2, -1), keepdims=True)
    total = jnp.sum(power, axis=(-2, -1), keepdims=True)
    threshold = (32 * float(jnp.finfo(power.dtype).eps)) ** 2
    valid = (kept_total > threshold * total) & jnp.isfinite(total)
    none = 0.0 if zero_for_none else jnp.nan
    shares = jnp.where(valid, kept, none) / jnp.where(valid, kept_total, 1)
    return shares, valid[..., 0, 0]


def dc_mask(shape: Sequence[int], include_dc: bool) -> np.ndarray:
    """Boolean [H, W]: all frequencies, or all but DC."""
    keep = np.ones(fourier.check_shape(shape), bool)
    keep[0, 0] = include_dc
    return keep


@checked
def normalized_power(images: ArrayLike, *, include_dc: bool = False) -> Array:
    """The distribution of each image's power over frequencies, p = P / Σ P.

    Invariant under the scale of the image, whatever its size (1e-30 or 1e30).

    Args:
      images: real, [..., H, W, C].
      include_dc: whether the DC takes part; if not, p[0, 0] = 0.

    Returns:
      p [..., H, W], summing to 1; NaN for an image without power.

    Raises:
      TypeError, ValueError: as in ``fourier.fft2``.
    """
    fourier.check_images(images)
    return _normalized_power(images, bool(include_dc))[0]


@partial(jax.jit, static_argnums=(1, 2))
def _normalized_power(
    images: Array, include_dc: bool, zero_for_none: bool = False
) -> tuple[Array, Array]:
    """`normalize` of images."""
    power = rescaled_power(images)
    keep = dc_mask(power.shape[-2:], include_dc)
    return normalize(power, keep, zero_for_none=zero_for_none)


@checked
def mean_spectrum(
    images: ArrayLike, *, axis: int | tuple[int, ...], include_dc: bool = False
) -> Array:
    """The average over images of their normalised power.

    Power per image, channels summed, normalised, then averaged: each image counts alike. Images
    without power are left out; if none is left the result is NaN.

    Args:
      images: real, [..., H, W, C].
      axis: which of the leading axes of ``images`` to average over.
      include_dc: whether the DC takes part.

    Returns:
      The leading axes that are left, then [H, W]; sums to 1.

    Raises:
      TypeError, ValueError: as in ``fourier.fft2``; ValueError if ``axis`` is not a leading axis of
        ``images``.

    Example:
      Of the perturbations of 2 networks, 5 images each, the second network's are zero:

      >>> delta = np.random.default_rng(0).normal(size=(2, 5, 8, 8, 1)).astype(np.float32)
      >>> delta[1] = 0
      >>> power = mean_spectrum(delta, axis=1)
      >>> power.shape, np.isnan(power[1]).all()
      ((2, 8, 8), np.True_)
    """
    fourier.check_images(images)
    rank = np.ndim(images)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    leading = tuple(a + rank if a < 0 else a for a in axes)
    if not all(0 <= a < rank - 3 for a in leading):
        raise ValueError(
            f"axis must name leading axes of images [..., H, W, C], 0..{rank - 4}; got {axis}."
        )
    return _mean_spectrum(images, leading, bool(include_dc))


@partial(jax.jit, static_argnums=(1, 2))
def _mean_spectrum(images: Array, leading: tuple[int, ...], include_dc: bool) -> Array:
    shares, valid = _normalized_power(images, include_dc, True)
    number = jnp.sum(valid, axis=leading)[..., None, None]
    mean = jnp.sum(shares, axis=leading) / jnp.maximum(number, 1)
    return jnp.where(number > 0, mean, jnp.nan)


@checked
def axis_share(power: ArrayLike, *, include_dc: bool = False) -> Array:
    r"""Share of the power on the two axes of the plane: horizontal and vertical patterns.

    .. math:: \sum_{k_y k_x = 0} P[k] \;/\; \sum_k P[k]

    Images whose opposite sides differ have a cross there, which wrapping them makes. White noise
    has (H + W - 2) / (H W - 1) without zero frequency.

    Args:
      power: [..., H, W], full plane in fftfreq order, e.g. of `power_spectrum`.
      include_dc: whether zero frequency counts.

    Returns:
      [...] in [0, 1]; NaN where there is no power.

    Raises:
      TypeError, ValueError: ``power`` is no power spectrum.
    """
    power = check_power(power)
    keep = dc_mask(power.shape[-2:], include_dc)
    axes = np.zeros(power.shape[-2:], bool)
    axes[0], axes[:, 0] = True, True
    total = jnp.sum(jnp.where(keep, power, 0), axis=(-2, -1))
    share = jnp.sum(jnp.where(keep & axes, power, 0), axis=(-2, -1))
    return jnp.where(total > 0, share / jnp.where(total > 0, total, 1), jnp.nan)


@checked
def radial_profile(power: ArrayLike) -> RadialProfile:
    """Mean power as a function of the radius, for square and other shapes, odd and even.

    Bin b holds the frequencies with rint(radius · max(H, W)) = b: rings one cycle per (longer)
    image side wide, centred at b / max(H, W) cycles per pixel. k and -k share a bin. The corners
    are included, up to radius 1/√2. White noise gives a flat mean, since the mean is over
    coefficients, whose number grows with the radius; Σ count · mean is the total. No bin is empty.

    Args:
      power: [..., H, W], full plane, fftfreq order; where it is NaN (no spectrum) so is the mean.

    Returns:
      RadialProfile(frequency [R], mean [..., R], count [R]).

    Raises:
      TypeError: ``power`` is not float32 or float64.
      ValueError: fewer than two axes, an empty one, or a power that is negative or infinite.
    """
    power = check_power(power)
    shape = power.shape[-2:]
    longer = max(shape)
    bins = np.rint(fourier.radius_grid(shape) * longer).astype(int).ravel()
    count = np.bincount(bins)
    mean = _bin_means(power, bins, count)
    return RadialProfile(np.arange(count.size) / longer, mean, count)


@jax.jit
def _bin_means(power: Array, bins: Array, number: Array) -> Array:
    """Sum of power [..., H, W] per bin [H·W], divided by number [R]."""
    flat = power.reshape(*power.shape[:-2], bins.size)
    total = jnp.zeros((*flat.shape[:-1], number.size), flat.dtype).at[..., bins].add(flat)
    return total / jnp.broadcast_to(number.astype(total.dtype), total.shape)


def check_power(power: ArrayLike, name: str = "power") -> Array:
    """Returns ``power`` as a JAX array, or raises unless it is real, [..., H, W] and >= 0.

    NaN passes: the power of nothing (`normalized_power`, `mean_spectrum`).
    """
    _checks.floating(name, power)
    shape = np.shape(power)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ValueError(f"{name} must be [..., H, W] with H, W >= 1; got shape {shape}.")
    if _checks.is_concrete(power):
        values = np.asarray(power)  # can be read even inside jit
        if np.any(values < 0):
            raise ValueError(
                f"{name} must not be negative; is it in decibels, or are these images?"
            )
        if np.any(np.isinf(values)):
            raise ValueError(f"{name} must not be infinite.")
    return jnp.asarray(power)

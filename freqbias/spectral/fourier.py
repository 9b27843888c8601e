r"""The discrete Fourier transform of images, and which coefficient is which frequency.

An image x of H by W pixels is a sum of H·W plane waves. The transform used everywhere is the
orthonormal one,

    X[ky, kx] = (H·W)^(-1/2) Σ_{y,x} x[y, x] exp(-2πi (ky·y/H + kx·x/W)),

so energy is conserved without a factor (Parseval): Σ x² = Σ |X|².

**Order.** Coefficient ``k`` along an axis of N pixels is the frequency ``k/N`` for k < N/2 and
``(k - N)/N`` above, in cycles per pixel: ``np.fft.fftfreq`` order, DC at index [0, 0], nothing is
shifted to a centre. (A plane that *is* shifted has its DC at index N//2. Radii measured from
(N - 1)/2 are half a bin off, and put +5 and -5 into different bins.)

**The two halves.** A real image has X[-k] = conj(X[k]) (indices modulo H and W): *Hermitian*. So

* half of the plane is redundant. ``rfft2`` returns columns 0..W//2 only, and every sum over it
  needs weight 2 on the columns whose mirror image was left out, 1 on the columns that hold their
  own mirror image: ``half_plane_weights``;
* up to four coefficients equal their own mirror image (DC, and the Nyquist frequencies of even
  axes): they are real numbers, all others come in pairs;
* a filter keeps images real exactly if its transfer function is Hermitian too. A mask over
  indices -l..l-1 is not. Taking the real part of what comes out hides the fault and loses energy;
  here such masks are refused (``is_symmetric_mask``).

**Radius.** The radius of a frequency is hypot(fy, fx), in cycles per pixel. It ends at 1/2 along
the axes and at 1/√2 in the corners; the corners beyond 1/2 hold 1 - π/4, 22 %, of the plane.

Grids and masks depend on static shapes only and are float64 NumPy arrays: under ``jit`` they are
constants.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import Array, ArrayLike, Unit

IMAGE_AXES = (-3, -2)
"""The axes H and W of images [..., H, W, C]."""
PLANE_AXES = (-2, -1)
"""The axes H and W of a Fourier plane [..., H, W]."""


def check_images(images: Any, name: str = "images") -> None:
    """Raises unless ``images`` is real [..., H, W, C], float32 or float64, not empty and finite.

    Any range will do: perturbations and gradients are images too. Inside ``jit`` values cannot be
    read; an image that is not finite then has no power (see ``profile``).
    """
    _checks.floating(name, images)
    shape = np.shape(images)
    if len(shape) < 3 or 0 in shape[-3:]:
        raise ValueError(f"{name} must be [..., H, W, C] with H, W, C >= 1; got shape {shape}.")
    _checks.finite(name, images)


def check_shape(shape: Any) -> tuple[int, int]:
    """Returns ``shape`` as (H, W), or raises."""
    height, width = _checks.sizes("shape", shape, "HW")
    return height, width


@checked
def fft2(images: ArrayLike) -> Array:
    """Orthonormal DFT of images over height and width.

    Args:
      images: real, [..., H, W, C], float32 or float64.

    Returns:
      The spectrum [..., H, W, C], complex, in fftfreq order (DC at [0, 0]).

    Raises:
      TypeError: ``images`` is not float32 or float64.
      ValueError: ``images`` has fewer than three axes or an empty one, or (outside ``jit``) an
        entry that is NaN or infinite.
    """
    check_images(images)
    return _fft2(images)


@jax.jit
def _fft2(images: Array) -> Array:
    return jnp.fft.fft2(images, axes=IMAGE_AXES, norm="ortho")


@checked
def ifft2(spectrum: ArrayLike) -> Array:
    """The real images with a given Hermitian spectrum; the inverse of ``fft2``.

    Only a Hermitian spectrum, X[-k] = conj(X[k]), belongs to a real image. Where the values can be
    read (outside ``jit``) any other is refused, since its imaginary part would be lost; inside
    ``jit`` the real part is returned, i.e. the spectrum is projected to its Hermitian part.

    Args:
      spectrum: complex, [..., H, W, C], fftfreq order.

    Returns:
      Real images [..., H, W, C].

    Raises:
      TypeError: ``spectrum`` is not complex.
      ValueError: wrong rank, or concrete and not Hermitian.
    """
    dtype = jnp.result_type(spectrum)
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"spectrum must be complex; got {dtype}.")
    if np.ndim(spectrum) < 3:
        raise ValueError(f"spectrum must be [..., H, W, C]; got shape {np.shape(spectrum)}.")
    if _checks.is_concrete(spectrum) and not is_symmetric_mask(
        np.moveaxis(np.asarray(spectrum), -1, 0)
    ):
        raise ValueError(
            "spectrum must be Hermitian, X[-k] = conj(X[k]); this one belongs to no real image."
        )
    return _ifft2(spectrum)


@jax.jit
def _ifft2(spectrum: Array) -> Array:
    return jnp.fft.ifft2(spectrum, axes=IMAGE_AXES, norm="ortho").real


@checked
def rfft2(images: ArrayLike) -> Array:
    """The half of ``fft2`` that determines the other: columns 0..W//2, at half the cost.

    Args:
      images: real, [..., H, W, C].

    Returns:
      Complex [..., H, W//2 + 1, C]. Weight sums over it with ``half_plane_weights``.

    Raises:
      TypeError, ValueError: as in ``fft2``.
    """
    check_images(images)
    return _rfft2(images)


@jax.jit
def _rfft2(images: Array) -> Array:
    return jnp.fft.rfft2(images, axes=IMAGE_AXES, norm="ortho")


@checked
def irfft2(half: ArrayLike, shape: Sequence[int]) -> Array:
    """The real images with half spectrum ``half``; the inverse of ``rfft2``.

    Args:
      half: complex, [..., H, W//2 + 1, C].
      shape: (H, W) of the images. W cannot be read from ``half``: W = 6 and W = 7 both give four
        columns.

    Returns:
      Real images [..., H, W, C].

    Raises:
      ValueError: ``half`` does not fit ``shape``.
    """
    height, width = check_shape(shape)
    if np.ndim(half) < 3 or np.shape(half)[-3:-1] != (height, width // 2 + 1):
        raise ValueError(
            f"half must be [..., {height}, {width // 2 + 1}, C] for shape {(height, width)}; "
            f"got {np.shape(half)}."
        )
    return _irfft2(half, (height, width))


@partial(jax.jit, static_argnums=1)
def _irfft2(half: Array, shape: tuple[int, int]) -> Array:
    return jnp.fft.irfft2(half, s=shape, axes=IMAGE_AXES, norm="ortho")


@checked
def half_plane_weights(shape: Sequence[int]) -> np.ndarray:
    """How many coefficients of the full plane each coefficient of ``rfft2`` stands for.

    One in column 0 and, for even W, in column W/2; two elsewhere. Thus for any power P that is
    symmetric under k -> -k: Σ weights · P_half = Σ P_full.

    Args:
      shape: (H, W).

    Returns:
      Weights [H, W//2 + 1]; they sum to H·W.
    """
    height, width = check_shape(shape)
    weights = np.full((height, width // 2 + 1), 2.0)
    weights[:, 0] = 1.0
    if width % 2 == 0:
        weights[:, -1] = 1.0
    return weights


@checked
def full_plane(half: Array, width: int) -> Array:
    """The full plane of a symmetric quantity (a power) from its half plane.

    full[ky, kx] = half[-ky, W - kx] in the columns kx > W/2.

    Args:
      half: [..., H, W//2 + 1].
      width: W.

    Returns:
      [..., H, W].

    Raises:
      ValueError: ``half`` has not W//2 + 1 columns.
    """
    if np.ndim(half) < 2 or np.shape(half)[-1] != width // 2 + 1:
        raise ValueError(
            f"half must have {width // 2 + 1} columns for width {width}; got {np.shape(half)}."
        )
    mirrored = jnp.flip(half[..., 1 : (width + 1) // 2], PLANE_AXES)
    return jnp.concatenate([half, jnp.roll(mirrored, 1, -2)], axis=-1)


@checked
def negate_frequencies(plane: ArrayLike) -> Any:
    """Reindexes a plane [..., H, W] from k to -k (modulo H and W); NumPy in, NumPy out."""
    if np.ndim(plane) < 2:
        raise ValueError(f"plane must be [..., H, W]; got shape {np.shape(plane)}.")
    xp = np if isinstance(plane, np.ndarray) else jnp
    return xp.roll(xp.flip(plane, PLANE_AXES), (1, 1), PLANE_AXES)


def _wave_numbers(size: int) -> np.ndarray:
    """Signed whole wave numbers of one axis in fftfreq order: 0, 1, ..., -2, -1."""
    return (np.arange(size) + size // 2) % size - size // 2


@checked
def frequency_grid(
    shape: Sequence[int], *, unit: Unit = "cycles/pixel"
) -> tuple[np.ndarray, np.ndarray]:
    """The two components of every frequency of the plane.

    Args:
      shape: (H, W).
      unit: "cycles/pixel" (fy = ky/H, in [-1/2, 1/2)) or "cycles/image" (fy = ky, whole numbers).

    Returns:
      (fy, fx), each [H, W], in fftfreq order.

    Raises:
      ValueError: unknown unit, or ``shape`` is not two positive sizes.
    """
    height, width = check_shape(shape)
    ky, kx = np.meshgrid(_wave_numbers(height), _wave_numbers(width), indexing="ij")
    if unit == "cycles/image":
        return ky.astype(float), kx.astype(float)
    return ky / height, kx / width


@checked
def radius_grid(shape: Sequence[int], *, unit: Unit = "cycles/pixel") -> np.ndarray:
    """The radius of every frequency of the plane.

    In cycles per pixel, hypot(ky/H, kx/W): the frequency of the wave along its own direction. In
    cycles per image, hypot(ky, kx); for square images that is N times the other, for others the
    two order the plane differently. Computed from whole numbers, so that it is exactly the same
    for k and -k, under transposition, and at ties such as hypot(3, 4) = 5.

    Args:
      shape: (H, W).
      unit: "cycles/pixel" or "cycles/image".

    Returns:
      Radii [H, W], in fftfreq order.

    Raises:
      ValueError: unknown unit, or ``shape`` is not two positive sizes.

    Example:
      >>> radius_grid((4, 4))[0]
      array([0.  , 0.25, 0.5 , 0.25])
    """
    height, width = check_shape(shape)
    ky, kx = frequency_grid(shape, unit="cycles/image")
    if unit == "cycles/image":
        return np.sqrt(ky**2 + kx**2)
    return np.sqrt((ky * width) ** 2 + (kx * height) ** 2) / (height * width)


def check_band(low: Any, high: Any) -> None:
    """Raises ValueError unless 0 <= low < high (where both can be read)."""
    if _checks.is_concrete(low) and _checks.is_concrete(high):
        lower, upper = float(low), float(high)
        if not 0.0 <= lower < upper:
            raise ValueError(f"a band needs 0 <= low < high; got low={lower:g}, high={upper:g}.")


@checked
def band_mask(shape: Sequence[int], low: float | Array, high: float | Array) -> Any:
    """The frequencies of a ring: low < radius <= high, and with low = 0 the DC as well.

    So (0, a), (a, b), (b, inf) cut the plane into disjoint parts that cover it.

    Args:
      shape: (H, W).
      low: lower radius, cycles per pixel, excluded; 0 for none.
      high: upper radius, cycles per pixel, included; ``math.inf`` for none.

    Returns:
      Boolean mask [H, W]: NumPy if ``low`` and ``high`` are numbers.

    Raises:
      ValueError: not 0 <= low < high.

    Example:
      >>> band_mask((8, 8), 0, 1 / 8).sum()  # the DC and its four neighbours
      np.int64(5)
    """
    check_band(low, high)
    radius = radius_grid(shape)
    return ((radius > low) | ((radius == 0.0) & (low == 0.0))) & (radius <= high)


@checked
def is_symmetric_mask(mask: ArrayLike, *, tolerance: float = 1e-5) -> bool:
    """Whether a concrete mask or transfer function maps real images to real images.

    That is T[-k] = conj(T[k]), which for a real T reads T[-k] = T[k].

    Args:
      mask: boolean, real or complex, [..., H, W], fftfreq order.
      tolerance: largest difference allowed, relative to the largest modulus.

    Returns:
      True if symmetric.

    Raises:
      ValueError: fewer than two axes.
    """
    if np.ndim(mask) < 2:
        raise ValueError(f"mask must be [..., H, W]; got shape {np.shape(mask)}.")
    mask = np.asarray(mask)
    mask = mask.astype(complex if np.iscomplexobj(mask) else float)
    difference = np.abs(mask - np.conj(negate_frequencies(mask)))
    return bool(np.all(difference <= tolerance * np.max(np.abs(mask), initial=0.0)))

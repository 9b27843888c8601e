r"""Filters of images in frequency, and controlled changes of their spectrum.

A filter multiplies each Fourier coefficient by a transfer function, Y[k] = T[k] X[k]. All filters
here are radial (T depends on the radius of k, in cycles per pixel) and real, so they shift nothing
and treat all orientations alike, and T[-k] = T[k] keeps real images real.

================ ============================== ===========================================
kind             low-pass T(r), cutoff c        character
================ ============================== ===========================================
``ideal``        1 if r <= c, else 0            a projection; rings at edges in the image
``gaussian``     exp(-r² / 2c²)                 no ringing; T(c) = e^(-1/2) = 0.607
``butterworth``  1 / (1 + (r/c)^(2 order))      between the two; T(c) = 1/2
================ ============================== ===========================================

High-pass is 1 - T, band-pass T(high) - T(low): so low-pass and high-pass of an image add up to the
image, and the bands of a list of cutoffs do. The DC passes the low-pass unchanged.

Two more changes serve as controls: each keeps one thing about a data set and alters another.

* ``replace_amplitude`` keeps the phases, i.e. where edges are, and gives every image the same
  amplitudes, e.g. the mean amplitudes of another data set.
* ``permute_spectrum`` moves the coefficients to other frequencies, the same way for every image.
  It is an *orthogonal* map of the images, so all inner products between images stay. Whatever
  sees data through inner products only cannot tell: a fully connected network with Gaussian
  initialisation, trained by (stochastic) gradient descent, learns the same function up to the
  map, and the spectrum of its perturbations is permuted exactly (in law). A convolutional one is
  not rotation-equivariant. This separates architecture from data without an approximation. (Not
  for Adam or L-infinity attacks: they depend on the pixel axes.)

References:
  R. C. Gonzalez, R. E. Woods, Digital Image Processing, ch. 4 (filters in frequency; its
  Butterworth transfer is the one used here, the square of that of circuit theory).
  A. V. Oppenheim, J. S. Lim, The importance of phase in signals, Proc. IEEE 69, 1981.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.spectral import fourier, profile
from freqbias.typing import Array, ArrayLike, Key

Kind: TypeAlias = Literal["ideal", "gaussian", "butterworth"]


@checked
def low_pass_transfer(
    shape: Sequence[int], cutoff: float | Array, *, kind: Kind = "ideal", order: int = 2
) -> Array:
    """Transfer function of a radial low-pass (table above).

    Args:
      shape: (H, W).
      cutoff: c > 0, cycles per pixel; may be traced.
      kind: "ideal", "gaussian" or "butterworth".
      order: steepness, of "butterworth" only.

    Returns:
      T [H, W] in [0, 1], fftfreq order; T[0, 0] = 1.

    Raises:
      ValueError: ``cutoff`` is not positive, or unknown ``kind``.
      TypeError: ``order`` is not an int.
    """
    _checks.positive("cutoff", cutoff)
    _checks.positive_int("order", order)
    radius = fourier.radius_grid(shape)
    if kind == "ideal":
        return jnp.asarray(radius <= cutoff, jnp.result_type(float))
    if kind == "gaussian":
        return jnp.exp(-jnp.square(radius / cutoff) / 2)
    with np.errstate(divide="ignore"):
        log_radius = np.log(radius)  # -inf at DC, where the sigmoid is 1
    # 1 / (1 + (r/c)^2n), without overflow of the power
    return jax.nn.sigmoid(2 * order * (jnp.log(cutoff) - log_radius))


@checked
def band_pass_transfer(
    shape: Sequence[int],
    low: float | Array,
    high: float | Array,
    *,
    kind: Kind = "ideal",
    order: int = 2,
) -> Array:
    """Transfer function T(high) - T(low) of a radial band-pass; with low = 0 it is T(high).

    Args:
      shape: (H, W).
      low: lower cutoff, cycles per pixel, a number; 0 for none.
      high: upper cutoff, cycles per pixel.
      kind: as in ``low_pass_transfer``. "ideal" is ``fourier.band_mask``.
      order: as in ``low_pass_transfer``.

    Returns:
      T [H, W] in [0, 1].

    Raises:
      ValueError: not 0 <= low < high; or as in ``low_pass_transfer``.
    """
    fourier.check_band(low, high)
    _checks.positive("high", high)
    upper = low_pass_transfer(shape, high, kind=kind, order=order)
    if _checks.is_concrete(low) and float(low) == 0.0:
        return upper
    return upper - low_pass_transfer(shape, low, kind=kind, order=order)


@checked
def apply_transfer(images: ArrayLike, transfer: ArrayLike) -> Array:
    """Multiplies the spectrum of images by a transfer function.

    Args:
      images: real, [..., H, W, C].
      transfer: [H, W], real, boolean or complex, full plane in fftfreq order, with
        T[-k] = conj(T[k]). Inside ``jit`` a traced transfer is taken at its word: of one that is
        not symmetric only some columns (0..W//2) are used.

    Returns:
      Real images [..., H, W, C], of the dtype of ``images``.

    Raises:
      TypeError: ``images`` is not float32 or float64.
      ValueError: ``transfer`` is not [H, W], or concrete and not symmetric.
    """
    fourier.check_images(images)
    shape = np.shape(images)[-3:-1]
    if np.shape(transfer) != shape:
        raise ValueError(f"transfer must be [H, W] = {shape}; got shape {np.shape(transfer)}.")
    if _checks.is_concrete(transfer) and not fourier.is_symmetric_mask(transfer):
        raise ValueError(
            "transfer must be symmetric, T[-k] = conj(T[k]) in fftfreq order; "
            "this one maps real images to complex ones."
        )
    return _apply_transfer(images, transfer)


@jax.jit
def _apply_transfer(images: Array, transfer: Array) -> Array:
    shape = images.shape[-3:-1]
    spectrum = fourier.rfft2(images)
    real = spectrum.real.dtype
    half = jnp.asarray(transfer)[:, : shape[1] // 2 + 1, None]
    half = half.astype(spectrum.dtype if jnp.iscomplexobj(half) else real)
    return fourier.irfft2(spectrum * jnp.broadcast_to(half, spectrum.shape), shape)


@checked
def low_pass(
    images: ArrayLike, cutoff: float | Array, *, kind: Kind = "ideal", order: int = 2
) -> Array:
    """Keeps the radii up to ``cutoff``, DC included.

    Args:
      images: real, [..., H, W, C].
      cutoff: cycles per pixel, > 0.
      kind: "ideal", "gaussian" or "butterworth".
      order: steepness, of "butterworth" only.

    Returns:
      Real images [..., H, W, C]. Values may leave [0, 1]; nothing is clipped.

    Raises:
      TypeError, ValueError: as in ``apply_transfer`` and ``low_pass_transfer``.

    Example:
      ``low_pass(images, 1 / 8)`` of images 32 wide keeps waves of up to 4 cycles per image.
    """
    shape = _plane(images)
    return apply_transfer(images, low_pass_transfer(shape, cutoff, kind=kind, order=order))


@checked
def high_pass(
    images: ArrayLike, cutoff: float | Array, *, kind: Kind = "ideal", order: int = 2
) -> Array:
    """Removes what ``low_pass`` keeps: the transfer functions add up to exactly 1.

    Args:
      images: as in ``low_pass``.
      cutoff: as in ``low_pass``.
      kind: as in ``low_pass``.
      order: as in ``low_pass``.

    Returns:
      Real images [..., H, W, C], of mean zero. ``low_pass + high_pass`` is ``images``, up to the
      rounding of the transform.

    Raises:
      TypeError, ValueError: as in ``low_pass``.
    """
    shape = _plane(images)
    return apply_transfer(images, 1 - low_pass_transfer(shape, cutoff, kind=kind, order=order))


@checked
def band_pass(
    images: ArrayLike,
    low: float | Array,
    high: float | Array,
    *,
    kind: Kind = "ideal",
    order: int = 2,
) -> Array:
    """Keeps the radii low < r <= high.

    Args:
      images: as in ``low_pass``.
      low: cycles per pixel; 0 for no lower limit (then DC passes).
      high: cycles per pixel.
      kind: as in ``low_pass``.
      order: as in ``low_pass``.

    Returns:
      Real images [..., H, W, C].

    Raises:
      TypeError, ValueError: as in ``low_pass``; ValueError unless 0 <= low < high.
    """
    shape = _plane(images)
    return apply_transfer(images, band_pass_transfer(shape, low, high, kind=kind, order=order))


@checked
def mean_amplitude(images: ArrayLike) -> Array:
    """Mean amplitude |X| of a set of images, per frequency and channel, for ``replace_amplitude``.

    Args:
      images: real, [..., H, W, C]; all leading axes are averaged over.

    Returns:
      Amplitude [H, W, C], orthonormal, exactly symmetric under k -> -k.

    Raises:
      TypeError, ValueError: as in ``fourier.fft2``.
    """
    fourier.check_images(images)
    return _mean_amplitude(images)


@jax.jit
def _mean_amplitude(images: Array) -> Array:
    half = jnp.abs(fourier.rfft2(images))
    half = jnp.mean(half.reshape(-1, *half.shape[-3:]), axis=0)
    full = fourier.full_plane(jnp.moveaxis(half, -1, 0), np.shape(images)[-2])
    return jnp.moveaxis((full + fourier.negate_frequencies(full)) / 2, 0, -1)


@checked
def replace_amplitude(
    images: ArrayLike, amplitude: ArrayLike, *, include_dc: bool = False
) -> Array:
    """Gives every image the amplitudes ``amplitude`` and keeps its phases.

    Y[k] = A[k] X[k] / |X[k]|. The phases are taken of the Hermitian part of the computed
    spectrum: without that, coefficients at the level of rounding would have phases that belong to
    no real image. A coefficient below that level (8 machine epsilons of the image's norm) has no
    phase and gets phase 0. At self-conjugate frequencies the phase is a sign.

    Args:
      images: real, [..., H, W, C].
      amplitude: A >= 0, [H, W, C] or [H, W, 1], orthonormal, symmetric (see ``mean_amplitude``).
      include_dc: whether the mean of each image and channel is replaced as well (in modulus; its
        sign is kept). By default images keep their own.

    Returns:
      Real images [..., H, W, C]. Values may leave [0, 1]; nothing is clipped.

    Raises:
      TypeError: not float32 or float64.
      ValueError: ``amplitude`` does not fit, or is concrete and negative or not symmetric.
    """
    fourier.check_images(images)
    _checks.floating("amplitude", amplitude)
    height, width, channels = np.shape(images)[-3:]
    if np.shape(amplitude) not in ((height, width, channels), (height, width, 1)):
        raise ValueError(
            f"amplitude must be [H, W, C] = {(height, width, channels)} or [H, W, 1]; "
            f"got shape {np.shape(amplitude)}."
        )
    if _checks.is_concrete(amplitude):
        if np.min(np.asarray(amplitude)) < 0:
            raise ValueError("amplitude must not be negative.")
        if not fourier.is_symmetric_mask(np.moveaxis(np.asarray(amplitude), -1, 0)):
            raise ValueError("amplitude must be symmetric, A[-k] = A[k] in fftfreq order.")
    return _replace_amplitude(images, amplitude, bool(include_dc))


@partial(jax.jit, static_argnums=2)
def _replace_amplitude(images: Array, amplitude: Array, include_dc: bool) -> Array:
    height, width = images.shape[-3:-1]
    spectrum = jnp.moveaxis(fourier.fft2(images), -1, -3)  # [..., C, H, W]
    spectrum = (spectrum + jnp.conj(fourier.negate_frequencies(spectrum))) / 2
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    floor = (8 * float(jnp.finfo(power.dtype).eps)) ** 2
    has_phase = power > floor * jnp.sum(power, axis=(-2, -1), keepdims=True)
    phase = jnp.where(
        has_phase, spectrum / jnp.sqrt(jnp.where(has_phase, power, 1)).astype(spectrum.dtype), 1
    )
    wanted = jnp.moveaxis(jnp.asarray(amplitude, power.dtype), -1, -3)
    replaced = phase * jnp.broadcast_to(wanted, phase.shape)
    keep = jnp.broadcast_to(profile.dc_mask((height, width), include_dc), phase.shape)
    replaced = jnp.moveaxis(jnp.where(keep, replaced, spectrum), -3, -1)
    return fourier.irfft2(replaced[..., : width // 2 + 1, :], (height, width))


class FourierPermutation(NamedTuple):
    """A permutation of frequencies that maps real images to real images.

    The coefficient at k comes from ``source[k]``: Y[k] = X[source[k]], with
    source[-k] = -source[k]. A pair {k, -k}, i.e. the two-dimensional space of a cosine and a sine,
    goes to another pair as a whole; self-conjugate frequencies go to self-conjugate ones.
    """

    source: Array  # int32 [H, W], flat index into the plane


@checked
def fourier_permutation(
    key: Key, shape: Sequence[int], *, include_dc: bool = False
) -> FourierPermutation:
    """Draws a permutation of the real Fourier basis, uniform over those ``FourierPermutation``.

    Pairs are permuted among themselves, each in random orientation (a flip k -> -k conjugates the
    coefficient, i.e. reverses the sine); the up to four self-conjugate frequencies among
    themselves.

    Args:
      key: the key of the draw.
      shape: (H, W).
      include_dc: whether the DC moves as well. By default it stays, so that images keep their
        means, and subtracting a constant before or after the map is the same.

    Returns:
      The permutation.

    Raises:
      ValueError: ``shape`` is not two positive sizes.
    """
    return _draw_permutation(key, fourier.check_shape(shape), bool(include_dc))


@partial(jax.jit, static_argnums=(1, 2))
def _draw_permutation(key: Key, shape: tuple[int, int], include_dc: bool) -> FourierPermutation:
    height, width = shape
    index = np.arange(height * width, dtype=np.int32)
    negative = fourier.negate_frequencies(index.reshape(height, width)).ravel()
    pairs = index[index < negative]
    alone = index[index == negative]
    alone = alone if include_dc else alone[1:]  # DC is index 0
    pair_key, flip_key, alone_key = jax.random.split(key, 3)
    origin = jax.random.permutation(pair_key, jnp.asarray(pairs))
    mirror = jnp.asarray(negative)
    flip = jax.random.bernoulli(flip_key, np.float32(0.5), pairs.shape)  # x64 or not: one draw
    origin = jnp.where(flip, mirror[origin], origin)
    source = jnp.asarray(index)
    source = source.at[pairs].set(origin).at[negative[pairs]].set(mirror[origin])
    source = source.at[alone].set(jax.random.permutation(alone_key, jnp.asarray(alone)))
    return FourierPermutation(source.reshape(height, width))


@checked
def invert_permutation(permutation: FourierPermutation) -> FourierPermutation:
    """The inverse map, which is also the transpose: the map is orthogonal."""
    return FourierPermutation(_inverse(permutation.source))


@jax.jit
def _inverse(source: Array) -> Array:
    return jnp.argsort(source.ravel()).astype(source.dtype).reshape(source.shape)


@checked
def permute_spectrum(images: ArrayLike, permutation: FourierPermutation) -> Array:
    """Moves the Fourier coefficients of images, Y[k] = X[source[k]], in every channel alike.

    An orthogonal map of real images: <Qx, Qy> = <x, y>, and Q^T = Q^-1 =
    ``permute_spectrum(., invert_permutation(permutation))``.

    Args:
      images: real, [..., H, W, C].
      permutation: a permutation of shape (H, W).

    Returns:
      Real images [..., H, W, C]. Values may leave [0, 1]; nothing is clipped.

    Raises:
      TypeError: ``images`` is not float32 or float64.
      ValueError: the shapes differ.
    """
    fourier.check_images(images)
    return _permute_spectrum(images, permutation)


@jax.jit
def _permute_spectrum(images: Array, permutation: FourierPermutation) -> Array:
    spectrum = jnp.moveaxis(fourier.fft2(images), -1, -3)
    permuted = jnp.moveaxis(_take(spectrum, permutation, "images"), -3, -1)
    shape = images.shape[-3:-1]
    return fourier.irfft2(permuted[..., : shape[1] // 2 + 1, :], shape)


@checked
def permute_power(power: ArrayLike, permutation: FourierPermutation) -> Array:
    """What ``permute_spectrum`` does to a power spectrum: P'[k] = P[source[k]].

    Args:
      power: [..., H, W], full plane, fftfreq order.
      permutation: a permutation of shape (H, W).

    Returns:
      [..., H, W].

    Raises:
      TypeError, ValueError: as in ``profile.radial_profile``; ValueError if the shapes differ.
    """
    return _take(profile.check_power(power), permutation, "power")


@partial(jax.jit, static_argnums=2)
def _take(plane: Array, permutation: FourierPermutation, name: str) -> Array:
    """``plane`` [..., H, W] gathered at ``permutation.source``."""
    source = permutation.source
    if plane.shape[-2:] != source.shape:
        raise ValueError(
            f"{name} must be of the permutation's (H, W) = {source.shape}; got {plane.shape[-2:]}."
        )
    return plane.reshape(*plane.shape[:-2], source.size)[..., source]


def _plane(images: Any) -> tuple[int, int]:
    """(H, W) of images, after the check that they are images."""
    fourier.check_images(images)
    return np.shape(images)[-3:-1]

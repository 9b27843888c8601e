"""What a kernel of K taps can do in frequency: sharp ranges, uncertainty bounds, random kernels.

Every quantity here is a quadratic form of the taps. A weight a(f) on the frequencies of an [H, W]
grid gives, for a kernel w zero-padded to the grid,

    sum_f a(f) |w_hat(f)|^2 = w^T A w,    A[x, x'] = (1/HW) sum_f a(f) exp(2 pi i f.(x - x')),

so the range of the power-weighted mean of ``a`` is the range of eigenvalues of A, and the kernels
which attain it are its eigenvectors. With the indicator of a band these are the periodic discrete
prolate spheroidal sequences; with the radius they are the kernels of lowest and highest mean
frequency. One dimension is H = 1.

A bound here constrains *one layer*. A full-width readout removes it from the network as a whole.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.spectral import frequency_grid, radius_grid
from freqbias.typing import Array, ArrayLike


class SpectralRange(NamedTuple):
    """The range of a power-weighted mean over all kernels of a size, and who attains it."""

    minimum: float
    maximum: float
    minimizer: np.ndarray  # [Kh, Kw], unit energy
    maximizer: np.ndarray  # [Kh, Kw], unit energy


@checked
def spectral_range(
    weights: ArrayLike, kernel_size: int | Sequence[int], *, include_dc: bool = True
) -> SpectralRange:
    """Exact range, over all real kernels, of a mean of ``weights`` under the power spectrum.

    min and max of  sum_f a(f) |w_hat(f)|^2 / sum_f |w_hat(f)|^2  over w of ``kernel_size``.

    Args:
      weights: a(f), real and even, [H, W] in ``fftfreq`` order.
      kernel_size: K for K x K, or (Kh, Kw); at most (H, W).
      include_dc: whether f = 0 counts in both sums.

    Returns:
      The extreme values and kernels [Kh, Kw] of unit energy, with a non-negative sum.

    Raises:
      ValueError: weights are not even, or the kernel is larger than the grid or, with DC left
        out, is a single tap on a single pixel.
    """
    weights = np.asarray(weights, np.float64)
    _checks.rank("weights", weights, 2)
    mirrored = np.roll(weights[::-1, ::-1], (1, 1), (0, 1))
    if not np.allclose(weights, mirrored):
        raise ValueError("weights must be even, a(-f) = a(f); got an array which is not.")
    _checks.sizes("weights: shape", weights.shape, "HW")
    _checks.finite("weights", weights)
    height, width = _kernel_shape(kernel_size, weights.shape)
    form = _quadratic_form(weights, height, width)
    num_pixels = weights.size
    if include_dc:
        values, vectors = scipy.linalg.eigh(form)
    else:
        constant = np.full_like(form, 1.0 / num_pixels)  # the power at f = 0 as a quadratic form
        form = form - weights[0, 0] * constant
        if height * width < num_pixels:
            values, vectors = scipy.linalg.eigh(form, np.eye(len(form)) - constant)
        elif num_pixels > 1:
            # Every kernel is possible: move the constant kernel to the middle of the spectrum.
            middle = np.sort(weights.ravel()[1:])[(num_pixels - 1) // 2]
            values, vectors = scipy.linalg.eigh(form + middle * constant)
        else:
            raise ValueError("include_dc=False needs more than one pixel; got weights [1, 1].")

    def kernel(vector: np.ndarray) -> np.ndarray:
        vector = vector / np.linalg.norm(vector)
        return (vector if vector.sum() >= 0 else -vector).reshape(height, width)

    return SpectralRange(
        float(values[0]), float(values[-1]), kernel(vectors[:, 0]), kernel(vectors[:, -1])
    )


@checked
def band_energy_range(
    kernel_size: int | Sequence[int],
    shape: Sequence[int],
    radius: float,
    *,
    band: Literal["disc", "square"] = "disc",
) -> SpectralRange:
    """Least and greatest share of a kernel's energy in the low band, f = 0 included.

    The maximiser is the periodic discrete prolate sequence: the most low-pass kernel there is. At
    least ``1 - maximum`` of any kernel's energy lies above the band.

    Args:
      kernel_size: K for K x K, or (Kh, Kw); (1, K) with shape (1, N) is one-dimensional.
      shape: (H, W) of the image, in pixels.
      radius: the band's edge, in cycles per pixel, inclusive.
      band: ``"disc"`` for hypot(fy, fx) <= radius, ``"square"`` for max(|fy|, |fx|) <= radius.

    Returns:
      The range of the share, within [0, 1], and its kernels.

    Raises:
      TypeError: a size is no int.
      ValueError: kernel_size is no size, or larger than the image; shape is not (H, W); radius is
        negative; or unknown band.

    Reference:
      Slepian 1978; Gruenbaum 1981 for the periodic form.
    """
    _checks.one_of("band", band, ("disc", "square"))
    if not radius >= 0:
        raise ValueError(f"radius must be >= 0 cycles per pixel; got {radius}.")
    fy, fx = frequency_grid(shape)
    distance = radius_grid(shape) if band == "disc" else np.maximum(np.abs(fy), np.abs(fx))
    return spectral_range((distance <= radius + 1e-9).astype(np.float64), kernel_size)


@checked
def mean_frequency_range(
    kernel_size: int | Sequence[int], shape: Sequence[int], *, include_dc: bool = True
) -> SpectralRange:
    """Exact range of the power-weighted mean radius over all kernels, in cycles per pixel.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).
      shape: (H, W) of the image, in pixels.
      include_dc: whether f = 0 counts. A kernel's gain at DC is part of its response, so it is
        in by default here (it is out by default for images and perturbations).

    Returns:
      The range, and the kernels that attain it.

    Example:
      >>> round(mean_frequency_range(3, (28, 28)).minimum, 3)
      0.167
    """
    kernel_shape = _kernel_shape(kernel_size, shape)
    return _mean_frequency_range(kernel_shape, tuple(shape), include_dc=include_dc)


@lru_cache
def _mean_frequency_range(
    kernel_shape: tuple[int, int], shape: tuple[int, ...], *, include_dc: bool
) -> SpectralRange:
    return spectral_range(radius_grid(shape), kernel_shape, include_dc=include_dc)


@checked
def kernel_mean_frequency(
    kernel: ArrayLike, shape: Sequence[int], *, include_dc: bool = True
) -> Array:
    """Power-weighted mean radius of a layer's kernels, in cycles per pixel.

    sum_f |f| P(f) / sum_f P(f),  P(f) = sum_{i,o} |kernel_hat[f, i, o]|^2, zero-padded to shape.

    Args:
      kernel: [..., Kh, Kw, Cin, Cout]; leading axes, such as seeds, are kept.
      shape: (H, W) of the image, in pixels.
      include_dc: whether f = 0 counts; see ``mean_frequency_range``.

    Returns:
      Frequencies [...], within ``mean_frequency_range`` of the kernel's size. An all-zero kernel
      has none: NaN.

    Raises:
      TypeError: kernel is not float32 or float64.
      ValueError: kernel has rank below 4 or is larger than the image.
    """
    kernel = jnp.asarray(kernel)
    _checks.floating("kernel", kernel)
    if kernel.ndim < 4:
        raise ValueError(f"kernel must be [..., Kh, Kw, Cin, Cout]; got shape {kernel.shape}.")
    _kernel_shape(kernel.shape[-4:-2], shape)
    return _mean_frequency(kernel, tuple(shape), bool(include_dc))


@partial(jax.jit, static_argnums=(1, 2))
def _mean_frequency(kernel: Array, shape: tuple[int, int], include_dc: bool) -> Array:
    response = jnp.fft.fft2(kernel, s=shape, axes=(-4, -3))
    power = jnp.sum(response.real**2 + response.imag**2, axis=(-2, -1))
    if not include_dc:
        power = power.at[..., 0, 0].set(0)
    radius = jnp.asarray(radius_grid(shape), kernel.dtype)
    moment = jnp.einsum("...hw,hw->...", power, radius, precision="highest")
    return moment / jnp.sum(power, axis=(-2, -1))


@checked
def kernel_slack(kernel: ArrayLike, shape: Sequence[int], *, include_dc: bool = True) -> Array:
    """How far a layer lies above the lowest mean frequency its kernel size allows.

    kernel_mean_frequency(kernel) - mean_frequency_range(kernel size).minimum >= 0.

    Args:
      kernel: [..., Kh, Kw, Cin, Cout].
      shape: (H, W) of the image, in pixels.
      include_dc: whether f = 0 counts.

    Returns:
      Slack [...], in cycles per pixel.

    Raises:
      TypeError, ValueError: as ``kernel_mean_frequency``.
    """
    value = kernel_mean_frequency(kernel, shape, include_dc=include_dc)
    size = jnp.shape(kernel)[-4:-2]
    return value - mean_frequency_range(size, shape, include_dc=include_dc).minimum


# Uncertainty: supports, spreads.


@checked
def donoho_stark_bound(support_size: int, num_pixels: int) -> int:
    """Fewest non-zero frequencies of a signal with ``support_size`` non-zero pixels.

    |supp x| |supp x_hat| >= D, in any number of dimensions (D = pixels in all).

    Args:
      support_size: non-zero pixels.
      num_pixels: D.

    Returns:
      The bound, ceil(D / support_size).

    Raises:
      TypeError: a number is no int.
      ValueError: a number is not positive, or the support is larger than the image.

    Reference:
      Donoho & Stark 1989, theorem 1.
    """
    _checks.positive_int("support_size", support_size)
    _checks.positive_int("num_pixels", num_pixels)
    if support_size > num_pixels:
        raise ValueError(f"support_size must be at most {num_pixels}; got {support_size}.")
    return -(-num_pixels // support_size)


@checked
def contiguous_bound(kernel_size: int | Sequence[int], shape: Sequence[int]) -> int:
    """Fewest non-zero frequencies of a kernel of *contiguous* taps, far above Donoho-Stark.

    (H - Kh + 1)(W - Kw + 1): the transform is a polynomial of degree K - 1 in exp(-2 pi i f), so
    it has at most K - 1 zeros per line.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).
      shape: (H, W) of the image.

    Returns:
      The bound.

    Raises:
      TypeError: a size is no int.
      ValueError: kernel_size is no size, or larger than the image; or shape is not (H, W).

    Reference:
      Alon & Furedi 1993, for the two-dimensional form.
    """
    kernel = _kernel_shape(kernel_size, shape)
    return int(np.prod([size - taps + 1 for size, taps in zip(shape, kernel, strict=True)]))


@checked
def rms_frequency_bound(kernel_size: int | Sequence[int], shape: Sequence[int]) -> float:
    """Closed-form Heisenberg bound: no kernel has a lower root-mean-square radius.

    sqrt(sum over axes of (1 - cos(pi / (K + 1))) / 2) / pi  ~  1 / (2 (K + 1)) per axis,

    in cycles per pixel, f = 0 included. The lag-1 autocorrelation of K taps is at most
    cos(pi / (K + 1)) (Fejer). An axis that the kernel fills contributes nothing: there the kernel
    can be constant.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).
      shape: (H, W) of the image, in pixels.

    Returns:
      The bound, in cycles per pixel.

    Raises:
      TypeError: a size is no int.
      ValueError: kernel_size is no size, or larger than the image; or shape is not (H, W).
    """
    kernel = _kernel_shape(kernel_size, shape)
    terms = [
        (1 - np.cos(np.pi / (taps + 1))) / 2
        for size, taps in zip(shape, kernel, strict=True)
        if taps < size
    ]
    return float(np.sqrt(np.sum(terms)) / np.pi)


@checked
def massar_spindel_slack(signal: ArrayLike) -> Array:
    """Slack of the uncertainty relation of position and frequency on a cycle; never negative.

    (1 + 2A) X F + A^2 (X + F) - A^2 >= 0,  A = tan(pi / N),  X = 1 - |sum_n p_n e^{2 pi i n/N}|^2,
    with p = |x|^2 / sum |x|^2, and F the same for |x_hat|^2.

    Args:
      signal: [..., N], real or complex.

    Returns:
      Slack [...]; 0 for a state of minimum uncertainty.

    Raises:
      ValueError: signal is a scalar.

    Reference:
      Massar & Spindel 2008 (arXiv 0710.0723).
    """
    signal = _signal(signal)
    size = signal.shape[-1]
    constant = np.tan(np.pi / size)

    def spread(amplitude: Array) -> Array:
        power = jnp.abs(amplitude) ** 2
        angle = 2 * np.pi * np.arange(size) / size
        phase = jnp.asarray(np.exp(1j * angle), jnp.result_type(power, jnp.complex64))
        moment = jnp.einsum("...n,n->...", power, phase, precision="highest") / jnp.sum(power, -1)
        return 1 - jnp.abs(moment) ** 2

    in_space, in_frequency = spread(signal), spread(jnp.fft.fft(signal, norm="ortho"))
    square = constant**2
    return (
        (1 + 2 * constant) * in_space * in_frequency + square * (in_space + in_frequency) - square
    )


@checked
def cosine_spread(signal: ArrayLike) -> Array:
    """Spread about the origin in space plus spread about DC, (1 - <cos>_x) + (1 - <cos>_f).

    Args:
      signal: [..., N], real or complex, centred on index 0.

    Returns:
      [...], at least ``harper_bound(N).minimum``.
    """
    signal = _signal(signal)
    size = signal.shape[-1]

    def mean_cosine(amplitude: Array) -> Array:
        power = jnp.abs(amplitude) ** 2
        cosine = jnp.asarray(np.cos(2 * np.pi * np.arange(size) / size), power.dtype)
        return jnp.einsum("...n,n->...", power, cosine, precision="highest") / jnp.sum(power, -1)

    return 2 - mean_cosine(signal) - mean_cosine(jnp.fft.fft(signal, norm="ortho"))


def _signal(signal: ArrayLike) -> Array:
    """Returns ``signal`` as a JAX array [..., N], checked."""
    if not np.ndim(signal) or not np.shape(signal)[-1]:
        raise ValueError(f"signal must be [..., N] with N >= 1; got shape {np.shape(signal)}.")
    return jnp.asarray(signal)


class HarperBound(NamedTuple):
    """The tight additive uncertainty bound and the signal that attains it."""

    minimum: float
    minimizer: np.ndarray  # [N], unit energy


@checked
def harper_bound(size: int) -> HarperBound:
    """Tight lower bound of ``cosine_spread``: 2 minus the top eigenvalue of Harper's operator.

    (H x)_n = cos(2 pi n / N) x_n + (x_{n-1} + x_{n+1}) / 2  on the cycle of N.

    Args:
      size: N.

    Returns:
      The bound and the signal that attains it.

    Raises:
      TypeError: size is no int.
      ValueError: size is not positive.
    """
    _checks.positive_int("size", size)
    index = np.arange(size)
    operator = np.diag(np.cos(2 * np.pi * index / size))
    np.add.at(operator, (index, (index + 1) % size), 0.5)
    np.add.at(operator, (index, (index - 1) % size), 0.5)
    values, vectors = scipy.linalg.eigh(operator)
    top = vectors[:, -1]
    return HarperBound(float(2 - values[-1]), top if top.sum() >= 0 else -top)


# Random kernels: what to expect before training.


class RandomPrediction(NamedTuple):
    """Mean and standard deviation, over draws, of a statistic at initialisation."""

    mean: float
    std: float


@checked
def random_kernel_mean_frequency(
    kernel_size: int | Sequence[int],
    shape: Sequence[int],
    *,
    num_channels: int = 1,
    include_dc: bool = True,
) -> RandomPrediction:
    """Exact mean and sd of ``kernel_mean_frequency`` of a layer of iid Gaussian taps.

    The statistic is w^T A w / w^T w of a direction w that is uniform on the sphere in
    n = Kh Kw Cin Cout dimensions, with A of n x n:

        mean = tr A / n,   variance = 2 (tr A^2 - (tr A)^2 / n) / (n (n + 2)).

    The mean is that of a flat spectrum, whatever K. So is that of a net's predictor, at every
    depth: independent layers multiply, and each has a flat expected power. Depth and locality
    change only the spread.

    Args:
      kernel_size: K for K x K, or (Kh, Kw); the image's side for a full-width or FC layer.
      shape: (H, W) of the image, in pixels.
      num_channels: Cin x Cout.
      include_dc: whether f = 0 counts. With DC left out the moments are exact only to O(1/HW).

    Returns:
      Mean and sd in cycles per pixel.

    Raises:
      TypeError: a size is no int.
      ValueError: kernel_size is no size, or larger than the image; or shape is not (H, W).
    """
    _checks.positive_int("num_channels", num_channels)
    height, width = _kernel_shape(kernel_size, shape)
    radius = radius_grid(shape)
    scale = 1.0 if include_dc else radius.size / (radius.size - 1)
    form = _quadratic_form(radius * scale, height, width)
    taps = height * width * num_channels
    trace, trace_square = num_channels * np.trace(form), num_channels * np.sum(form**2)
    variance = 2 * (trace_square - trace**2 / taps) / (taps * (taps + 2))
    return RandomPrediction(float(trace / taps), float(np.sqrt(max(variance, 0.0))))


@checked
def random_kernel_power(
    kernel_size: int | Sequence[int], shape: Sequence[int], *, mean: float = 0.0, std: float = 1.0
) -> np.ndarray:
    """Expected power spectrum of iid taps: flat at zero mean, low-pass otherwise.

    E|fft2(w)(f)|^2 = Kh Kw std^2 + mean^2 |D_Kh(fy) D_Kw(fx)|^2,  D_K(f) = sum_k e^{-2 pi i f k}.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).
      shape: (H, W) of the image.
      mean: mean of a tap.
      std: standard deviation of a tap.

    Returns:
      [H, W], in ``fftfreq`` order.
    """
    kernel = _kernel_shape(kernel_size, shape)
    return kernel[0] * kernel[1] * std**2 + mean**2 * _dirichlet_power(kernel, shape, 1)


@checked
def random_net_power_moment(
    kernel_sizes: Sequence[int | Sequence[int]], shape: Sequence[int]
) -> np.ndarray:
    """E[P(f)^2] / E[P(f)]^2 of a random linear conv net's predictor, single channel.

    prod over layers of  2 + |D_Kh(2 fy) D_Kw(2 fx)|^2 / (Kh Kw)^2,  Gaussian taps of zero mean.
    It doubles per layer: depth concentrates the power in fewer frequencies, at random places.
    The participation ratio is near HW over the mean of this (an annealed estimate).

    Args:
      kernel_sizes: one K, or (Kh, Kw), per layer; the image's size for the readout.
      shape: (H, W) of the image.

    Returns:
      [H, W], in ``fftfreq`` order.
    """
    moment = np.ones(_checks.sizes("shape", shape, "HW"))
    for kernel_size in kernel_sizes:
        kernel = _kernel_shape(kernel_size, shape)
        moment = moment * (2 + _dirichlet_power(kernel, shape, 2) / (kernel[0] * kernel[1]) ** 2)
    return moment


def _kernel_shape(kernel_size: int | Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """Returns (Kh, Kw), checked against an image of ``shape``."""
    shape = _checks.sizes("shape", shape, "HW")
    single = isinstance(kernel_size, int | np.integer)
    sizes: Any = (kernel_size, kernel_size) if single else tuple(kernel_size)  # type: ignore[arg-type]
    if len(sizes) != 2:
        raise ValueError(f"kernel_size must be an int or (Kh, Kw); got {sizes}.")
    for taps, size in zip(sizes, shape, strict=True):
        _checks.positive_int("kernel_size", taps)
        if taps > size:
            raise ValueError(f"kernel_size must be at most the image's {shape}; got {sizes}.")
    return int(sizes[0]), int(sizes[1])


def _quadratic_form(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns A [Kh Kw, Kh Kw] with w^T A w = sum_f a(f) |w_hat(f)|^2, w_hat orthonormal."""
    lags = np.fft.ifft2(weights).real
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    return lags[y[:, None] - y, x[:, None] - x]  # negative lags wrap, as they should


def _dirichlet_power(kernel: tuple[int, int], shape: Sequence[int], harmonic: int) -> np.ndarray:
    """Returns |D_Kh(h fy) D_Kw(h fx)|^2 [H, W] at a harmonic h."""
    axes = [
        np.abs(
            np.exp(-2j * np.pi * harmonic * np.fft.fftfreq(size)[:, None] * np.arange(taps)).sum(1)
        )
        ** 2
        for size, taps in zip(shape, kernel, strict=True)
    ]
    return axes[0][:, None] * axes[1]

r"""Frequency-controlled data: a Dataset in, a Dataset out, training and test images alike.

=========================  ==========================  ========================================
transform                  what it changes             what it keeps
=========================  ==========================  ========================================
``low_pass``               removes radii above         everything below; the mean of an image
``high_pass``              removes radii up to         everything above
``band_pass``              removes radii outside       everything inside
``replace_spectrum``       amplitudes: another set's   phases, mean and contrast of each image
``permute_frequencies``    which frequency is which    all inner products between images
``plant_pattern``          adds a pattern per class    the images underneath
``window``                 tapers towards mid grey     the middle of an image
=========================  ==========================  ========================================

``filter_split`` filters the test set only, to ask which frequencies a trained network uses. Radii
are in cycles per pixel, filters ideal. Labels are changed in ``freqbias.data.teacher``.

**Range.** A changed image would leave [0, 1]. So maps act on the deviation from mid grey, and
contrast is reduced as far as needed,

    y = 1/2 + a L(x - 1/2),   a = min(1, 1/2 / max |L(x - 1/2)|),

the maximum taken over all pixels of both splits: one factor per data set, and nothing is clipped.
``Dataset.contrast`` holds a (times that of the set before): the perturbation of y that means the
same as one of x of size epsilon has size ``epsilon * contrast``. Inside a model, standardisation
divides by the standard deviation of the data, which a scales alike: networks see L(x) whatever a
is. Where L has no DC (``high_pass``), images have mean 1/2.

**Numbers.** Computed in float64 and stored as float32, whose rounding is white noise of power below
1e-15 per coefficient; 8 bits would add 1e-6.

**The exact control** is ``permute_frequencies``. Let Q be a permutation of the real Fourier basis
(`freqbias.spectral.fourier_permutation`): an orthogonal, real map. A fully connected network f on
Qx with its first weights mapped by Q as well, W Q^T, is f on x; its gradient with respect to W Q^T
is the old one times Q^T; so (stochastic) gradient descent, with momentum and weight decay, keeps
the two equal for ever. Gaussian weights W Q^T have the law of W. Hence on the permuted set FC
networks are the same in law up to Q, and so are their L2 perturbations: *the spectrum of delta is
permuted exactly*. Convolutions do not commute with Q, so theirs is not. Whatever differs more
between the two sets for a convolutional than for a fully connected network is due to the
architecture, not to the data. It holds neither for Adam nor for L-infinity attacks nor for the box
[0, 1], which all single out the pixel axes. Q must keep the DC (the default of
``fourier_permutation``) for standardisation, which subtracts a constant image, to be the same
before and after.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from freqbias import _checks, spectral
from freqbias._checked import checked
from freqbias.data.dataset import Dataset, Split
from freqbias.data.mapping import (
    MID_GREY,
    check_band,
    check_order,
    largest_contrast,
    map_images,
    noise,
    number_text,
    with_note,
    within_range,
)
from freqbias.spectral import FourierPermutation
from freqbias.typing import Key


@checked
def low_pass(dataset: Dataset, cutoff: float) -> Dataset:
    """Keeps the radii up to ``cutoff``, DC included.

    Args:
      dataset: the data set.
      cutoff: cycles per pixel.

    Returns:
      The Dataset, float32, its contrast reduced if values would leave [0, 1] (see the module).

    Raises:
      ValueError: ``cutoff`` removes nothing, or everything but the DC.

    Example:
      ``low_pass(load("natural_patches"), 1 / 8)``, or ``load("natural_patches+low_pass_0.125")``.
    """
    _check_cutoff(dataset, cutoff)
    change = partial(spectral.low_pass, cutoff=float(cutoff))
    note = f"Radii above {number_text(cutoff)} cycles per pixel removed"
    return _changed(dataset, change, f"low_pass_{number_text(cutoff)}", note)


@checked
def high_pass(dataset: Dataset, cutoff: float) -> Dataset:
    """Removes the radii up to ``cutoff``, DC included: every image gets mean 1/2.

    Args:
      dataset: the data set.
      cutoff: cycles per pixel.

    Returns:
      As in ``low_pass``.

    Raises:
      ValueError: as in ``low_pass``.
    """
    _check_cutoff(dataset, cutoff)
    change = partial(spectral.high_pass, cutoff=float(cutoff))
    note = f"Radii up to {number_text(cutoff)} cycles per pixel removed"
    return _changed(dataset, change, f"high_pass_{number_text(cutoff)}", note)


@checked
def band_pass(dataset: Dataset, low: float, high: float) -> Dataset:
    """Keeps the radii low < r <= high; with low = 0 the DC as well, else images get mean 1/2.

    Args:
      dataset: the data set.
      low: cycles per pixel.
      high: cycles per pixel.

    Returns:
      As in ``low_pass``.

    Raises:
      ValueError: not 0 <= low < high, or the band is empty but for the DC.
    """
    check_band(dataset.image_shape[:2], low, high)
    band = f"{number_text(low)} to {number_text(high)}"
    return _changed(
        dataset,
        partial(spectral.band_pass, low=float(low), high=float(high)),
        f"band_pass_{number_text(low)}_{number_text(high)}",
        f"Radii outside {band} cycles per pixel removed",
    )


@checked
def replace_spectrum(dataset: Dataset, other: Dataset) -> Dataset:
    """Gives all images the power spectrum of another set; each keeps its phases.

    With p the mean of the normalised power of ``other``'s training images
    (`freqbias.spectral.mean_spectrum`), channel c of an image with energy E_c outside DC becomes

        Y_c[k] = sqrt(E_c p[k]) X_c[k] / |X_c[k]|,   k != 0.

    So every image keeps its mean, its contrast and, in its phases, the place of its edges, and the
    mean spectrum of the result is p exactly. Energies and means still differ between classes.

    Args:
      dataset: the data set.
      other: the set whose spectrum is taken. Larger images are cropped to the centre; channels
        need not agree.

    Returns:
      As in ``low_pass``.

    Raises:
      ValueError: the images of ``other`` are smaller than those of ``dataset``, or constant.
    """
    height, width, _ = dataset.image_shape
    tall, wide, _ = other.image_shape
    if tall < height or wide < width:
        raise ValueError(
            f"other must have images of at least {height} x {width}; {other.name} has "
            f"{tall} x {wide}."
        )
    top, left = (tall - height) // 2, (wide - width) // 2
    cropped = other.train.images[:, top : top + height, left : left + width]
    spectra = map_images(spectral.normalized_power, cropped)
    present = ~np.isnan(spectra).any(axis=(1, 2))  # images without power have no spectrum
    if not present.any():
        raise ValueError(f"other must have images that are not constant; got {other.name}.")
    shares = np.asarray(np.mean(spectra[present], axis=0, dtype=np.float64))
    shares = (shares + spectral.negate_frequencies(shares)) / 2
    amplitude = np.sqrt(shares / shares.sum())[..., None]

    def change(images: np.ndarray) -> Any:
        pattern = images - np.mean(images, axis=(1, 2), keepdims=True)
        norm = np.sqrt(np.sum(np.square(pattern), axis=(1, 2), keepdims=True))
        replaced = spectral.replace_amplitude(images, amplitude)
        level = jnp.mean(replaced, axis=(1, 2), keepdims=True)
        return level + norm * (replaced - level)

    note = f"Power spectrum replaced by the mean one of {other.name}, phases kept"
    return _changed(dataset, change, f"spectrum_{other.name}", note)


@checked
def permute_frequencies(dataset: Dataset, permutation: FourierPermutation) -> Dataset:
    """Moves the Fourier coefficients of all images to other frequencies: the exact control.

    y = 1/2 + a Q(x - 1/2) with the orthogonal map Q of `freqbias.spectral.permute_spectrum`; its
    inverse is ``permute_spectrum(., invert_permutation(permutation))``. See the module for what
    follows for networks, and for epsilon. While Q keeps the DC, y has the mean of x about mid grey,
    scaled by a, and a standard deviation of a times that of x, per channel.

    Args:
      dataset: the data set.
      permutation: of its (H, W), from `freqbias.spectral.fourier_permutation`.

    Returns:
      As in ``low_pass``. Named ``+permuted``.

    Raises:
      ValueError: the shapes differ.

    Example:
      ``permute_frequencies(dataset, spectral.fourier_permutation(key, dataset.image_shape[:2]))``
    """
    source = np.asarray(permutation.source)
    if source.shape != dataset.image_shape[:2]:
        raise ValueError(
            f"permutation must have shape (H, W) = {dataset.image_shape[:2]}; got {source.shape}."
        )
    change = partial(spectral.permute_spectrum, permutation=FourierPermutation(source))  # type: ignore[arg-type]
    return _changed(dataset, change, "permuted", "Frequencies permuted")


@checked
def plant_pattern(dataset: Dataset, fraction: float, amplitude: float, *, key: Key) -> Dataset:
    """Adds to every image a pattern of its class, at known frequencies.

        X'[k] = X[k] + amplitude * exp(i phase[class, k])   for k in the planted set, every channel.

    The set is drawn from the pairs {k, -k} and the same for all classes, which differ in their
    phases, uniform and Hermitian. So a class shows at these frequencies only, and not in the power
    spectrum. The pattern has standard deviation amplitude * sqrt(share of coefficients planted) in
    units of intensity.

    Args:
      dataset: the data set.
      fraction: in (0, 1], of the pairs of frequencies.
      amplitude: > 0, modulus of each planted coefficient of the orthonormal transform.
      key: draws the set and the phases.

    Returns:
      As in ``low_pass``.

    Raises:
      ValueError: ``fraction`` is out of range or plants no pair, or ``amplitude`` is not positive.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]; got {fraction}.")
    _checks.positive("amplitude", amplitude)
    patterns = _patterns(key, dataset.image_shape[:2], dataset.num_classes, fraction)
    patterns = float(amplitude) * patterns

    def change(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return images + patterns[labels]

    numbers = f"{number_text(fraction)}_{number_text(amplitude)}"
    note = f"A pattern per class on {number_text(fraction)} of the frequencies, of amplitude " + (
        number_text(amplitude)
    )
    return _changed(dataset, change, f"planted_{numbers}", note, with_labels=True)


class FilteredSplit(NamedTuple):
    """A filtered Split and the factor by which its contrast was reduced."""

    split: Split
    contrast: float


@checked
def filter_split(
    split: Split,
    low: float = 0.0,
    high: float = math.inf,
    *,
    centre: float | np.ndarray = 0.5,
    contrast: float | None = None,
) -> FilteredSplit:
    """Low-, high- or band-passes a test set: which frequencies does a trained network use?

        y = centre + a T(x - centre),   T keeps low < radius <= high, with low = 0 the DC as well.

    a is the largest factor up to 1 with which y stays in [0, 1]: nothing is clipped. To tell lost
    frequencies from lost contrast, compare with the unfiltered images at the same contrast:

        filtered, a = filter_split(dataset.test, high=0.125, centre=dataset.mean)
        reference, _ = filter_split(dataset.test, centre=dataset.mean, contrast=a)

    Args:
      split: the images.
      low: cycles per pixel; 0 for a low-pass.
      high: cycles per pixel; infinite for a high-pass.
      centre: intensity in (0, 1), one or one per channel. ``dataset.mean``, which a model
        standardises to 0, means that what is removed is replaced by nothing.
      contrast: a, in (0, 1]; None: the largest that fits.

    Returns:
      FilteredSplit(split, contrast): float32, the same labels.

    Raises:
      ValueError: not 0 <= low < high, ``centre`` is out of range or does not fit the channels, or
        ``contrast`` is out of range or so large that values would leave [0, 1].
    """
    middle = np.asarray(centre, np.float32)
    if middle.shape not in ((), (1,), split.pixels.shape[-1:]):
        raise ValueError(
            f"centre must be a number or one per channel, {split.pixels.shape[-1]}; got shape "
            f"{middle.shape}."
        )
    if not np.all((middle > 0) & (middle < 1)):
        raise ValueError(f"centre must lie in (0, 1); got {centre}.")
    check_order(low, high)
    transfer = spectral.band_mask(split.pixels.shape[1:3], float(low), float(high))
    change = partial(spectral.apply_transfer, transfer=transfer)
    part = map_images(change, split.images, centre=middle)
    most = largest_contrast([part], middle)
    if contrast is None:
        contrast = most
    elif not 0 < contrast <= most:
        raise ValueError(
            f"contrast must lie in (0, {most:.7g}] for values to stay in [0, 1]; got {contrast}."
        )
    return FilteredSplit(Split(within_range(part, middle, contrast), split.labels), contrast)


@checked
def window(dataset: Dataset, taper: float) -> Dataset:
    """Fades the borders of every image to mid grey, so that its opposite sides meet.

    Deviations from mid grey are multiplied by a Tukey (tapered cosine) window along each axis. The
    DFT and circular convolutions see an image that wraps; one that does not wrap has a step there,
    hence a cross of high frequencies along the axes. The windowed set is the control for both.

    Args:
      dataset: the data set.
      taper: share of each axis that fades, half of it at either side, in (0, 1]; 1 is Hann's
        window.

    Returns:
      The Dataset, float32, of the same contrast.

    Raises:
      ValueError: ``taper`` is out of range.

    Reference:
      Harris, On the use of windows for harmonic analysis with the DFT, Proc. IEEE 66 (1978).
    """
    if not 0 < taper <= 1:
        raise ValueError(f"taper must lie in (0, 1]; got {taper}.")
    rows, columns = (scipy.signal.windows.tukey(side, taper) for side in dataset.image_shape[:2])
    factor = (rows[:, None] * columns)[..., None]
    return _changed(
        dataset,
        lambda deviation: deviation * factor[None],
        f"windowed_{number_text(taper)}",
        f"Borders faded to mid grey over {number_text(taper)} of each axis",
    )


def _changed(
    dataset: Dataset,
    change: Callable[..., Any],
    suffix: str,
    note: str,
    *,
    with_labels: bool = False,
) -> Dataset:
    """``dataset`` with ``change`` applied to the deviations from mid grey, contrast reduced."""
    splits = (dataset.train, dataset.test)
    parts = [
        map_images(
            change,
            split.images,
            centre=MID_GREY,
            labels=split.labels if with_labels else None,
        )
        for split in splits
    ]
    contrast = largest_contrast(parts, MID_GREY)
    train, test = (
        Split(within_range(part, MID_GREY, contrast), split.labels)
        for part, split in zip(parts, splits, strict=True)
    )
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}+{suffix}",
        train=train,
        test=test,
        description=with_note(dataset.description, f"{note}; contrast times {contrast:.4g}"),
        contrast=dataset.contrast * contrast,
    )


def _patterns(key: Key, shape: tuple[int, int], num_classes: int, fraction: float) -> np.ndarray:
    """Patterns [K, H, W, 1] of modulus 1 on ``fraction`` of the pairs of frequencies."""
    set_key, phase_key = jax.random.split(key)
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    negative = spectral.negate_frequencies(index)
    pairs = index[index < negative]
    num = round(fraction * len(pairs))
    if num < 1:
        raise ValueError(
            f"fraction must plant at least one of the {len(pairs)} pairs of frequencies of "
            f"{shape[0]} x {shape[1]} images; got {fraction}."
        )
    order = np.argsort(noise(set_key, (len(pairs),)), kind="stable")
    planted = np.isin(index, pairs[order[:num]]) | np.isin(negative, pairs[order[:num]])
    spectrum = np.fft.fft2(noise(phase_key, (num_classes, *shape)), norm="ortho")
    phases = spectrum / np.abs(spectrum)  # of a real image, hence Hermitian
    return np.fft.ifft2(phases * planted, norm="ortho").real[..., None]


def _check_cutoff(dataset: Dataset, cutoff: float) -> None:
    _checks.positive("cutoff", cutoff)
    radius = spectral.radius_grid(dataset.image_shape[:2])
    lowest, highest = radius[radius > 0].min(initial=np.inf), radius.max()
    if not lowest <= cutoff < highest:
        raise ValueError(
            f"cutoff must lie in [{lowest:g}, {highest:g}), in cycles per pixel, to divide the "
            f"frequencies of {dataset.name}; got {cutoff}."
        )

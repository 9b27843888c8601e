"""Tasks whose answer lies in a known band (labels of a linear teacher) or nowhere (shuffled ones).

Frequencies outside the teacher's band carry nothing about the labels but what correlates with those
inside; where frequencies are independent (``power_law``), nothing at all.
"""

import dataclasses
import math
from functools import partial

import jax
import numpy as np

from freqbias import _checks, spectral
from freqbias._checked import checked
from freqbias.data.dataset import Dataset, Split
from freqbias.data.mapping import (
    BATCH,
    MID_GREY,
    check_band,
    float64_on_cpu,
    largest_contrast,
    map_images,
    noise,
    number_text,
    with_note,
    within_range,
)
from freqbias.typing import Key

_ROUNDING = 1e-6  # intensity, well above float32's rounding of an image in [0, 1]
_IMBALANCE = 0.01  # of the size of a class
_MAX_SWEEPS = 200


@checked
def label_by_teacher(
    dataset: Dataset, low: float, high: float, *, key: Key, num_classes: int | None = None
) -> Dataset:
    """Replaces the labels by those of a linear teacher whose weights live in one band.

        label = argmax_k <w_k, x> + b_k,   w_k white noise within low < radius <= high.

    Each w_k is scaled to unit standard deviation of its output over the training images, and the
    b_k make the classes equal in number there, to 1 % (for two classes: the median). The test
    images are labelled by the same teacher. What lies outside the band has no part in the labels.

    Args:
      dataset: the data set.
      low: cycles per pixel; 0 includes the DC.
      high: cycles per pixel; may be infinite.
      key: draws the weights.
      num_classes: K; by default that of ``dataset``.

    Returns:
      The Dataset: the same pixels, other labels.

    Raises:
      TypeError: ``num_classes`` is no int.
      ValueError: not 0 <= low < high, the images do not vary within the band, or they cannot be
        divided equally.
    """
    num_classes = dataset.num_classes if num_classes is None else num_classes
    _checks.positive_int("num_classes", num_classes)
    if not 2 <= num_classes <= len(dataset.train):
        raise ValueError(
            f"num_classes must lie in 2..{len(dataset.train)}, the number of training images; "
            f"got {num_classes}."
        )
    check_band(dataset.image_shape[:2], low, high)
    weights = _teacher(key, dataset.image_shape, num_classes, float(low), float(high))
    train, test = (_scores(split, weights) for split in (dataset.train, dataset.test))
    spread = train.std(axis=0)
    if np.any(spread <= _ROUNDING * np.linalg.norm(weights.reshape(num_classes, -1), axis=1)):
        raise ValueError(
            f"low and high must enclose frequencies in which {dataset.name} varies; "
            f"got {number_text(low)} and {number_text(high)}."
        )
    train, test = train / spread, test / spread
    offsets = _balancing_offsets(train)
    band = f"{number_text(low)}_{number_text(high)}"
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}+teacher_{band}",
        train=Split(dataset.train.pixels, _largest(train + offsets)),
        test=Split(dataset.test.pixels, _largest(test + offsets)),
        class_names=tuple(map(str, range(num_classes))),
        description=with_note(
            dataset.description,
            f"Labels replaced by those of a linear teacher within {number_text(low)} to "
            f"{number_text(high)} cycles per pixel",
        ),
    )


@checked
def shuffle_labels(dataset: Dataset, *, key: Key) -> Dataset:
    """Permutes the labels among the images of each split: nothing is left to learn but by heart.

    How often each label occurs stays. What differs between architectures here is due to them and to
    the images alone.

    Args:
      dataset: the data set.
      key: draws the permutations.

    Returns:
      The Dataset: the same pixels, labels in another order.
    """
    keys = jax.random.split(key)
    train, test = (
        Split(split.pixels, split.labels[np.asarray(jax.random.permutation(k, len(split)))])
        for k, split in zip(keys, (dataset.train, dataset.test), strict=True)
    )
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}+shuffled",
        train=train,
        test=test,
        description=with_note(dataset.description, "Labels shuffled within each split"),
    )


@checked
def label_by_turn(dataset: Dataset, *, key: Key) -> Dataset:
    """Which way up an image is: every image four times, turned by 0, 90, 180 and 270 degrees.

    The label is the number of quarter turns, so that no colour and no identity tells it. Sources
    are split: the classes of ``dataset`` (for ``natural_patches`` the photographs) are dealt into
    two halves, one for training and one for testing.

    Args:
      dataset: of square images and at least two classes.
      key: deals the classes.

    Returns:
      A Dataset of four classes, which take turns; training images from the training split of the
      first half of the classes, test images from the test split of the others.

    Raises:
      ValueError: the images are not square, or there is one class only.
    """
    height, width, _ = dataset.image_shape
    if height != width:
        raise ValueError(f"dataset must have square images; got {height} x {width}.")
    if dataset.num_classes < 2:
        raise ValueError(f"dataset must have at least two classes; got {dataset.num_classes}.")
    order = np.asarray(jax.random.permutation(key, dataset.num_classes))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    train, test = (
        _turned(split, half)
        for split, half in zip((dataset.train, dataset.test), halves, strict=True)
    )
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}+turned",
        train=train,
        test=test,
        class_names=("upright", "quarter turn", "half turn", "three quarter turns"),
        description=with_note(
            dataset.description, "Labelled by four rotations, other classes in the test set"
        ),
    )


def _turned(split: Split, classes: np.ndarray) -> Split:
    """The images of some classes, each at its four rotations in turn: any prefix is balanced."""
    pixels = split.pixels[np.isin(split.labels, classes)]
    turned = np.stack([np.rot90(pixels, turns, axes=(1, 2)) for turns in range(4)], axis=1)
    labels = np.tile(np.arange(4, dtype=np.int32), len(pixels))
    return Split(turned.reshape(-1, *pixels.shape[1:]), labels)


@checked
def power_law(
    *,
    key: Key,
    alpha: float,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 2,
    teacher_band: tuple[float, float] = (0.0, math.inf),
    num_train: int = 10_000,
    num_test: int = 2_000,
) -> Dataset:
    """Gaussian images of amplitude 1/f^alpha (power 1/f^(2 alpha)), labelled by a linear teacher.

    No DC, channels independent, pixels 1/2 plus noise scaled so that the largest deviation of the
    whole set is 1/2. Natural images have alpha near 1, white noise 0.

    Args:
      key: draws images and teacher.
      alpha: the exponent, >= 0.
      image_shape: (H, W, C).
      num_classes: K.
      teacher_band: radii, cycles per pixel, see ``label_by_teacher``.
      num_train: training images.
      num_test: test images.

    Returns:
      The Dataset.

    Raises:
      TypeError: a size is no int.
      ValueError: ``alpha`` is negative, a size is not positive, or as in ``label_by_teacher``.
    """
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha must be finite and at least 0; got {alpha}.")
    _checks.sizes("image_shape", image_shape, "HWC")
    counts = {"num_classes": num_classes, "num_train": num_train, "num_test": num_test}
    for name, value in counts.items():
        _checks.positive_int(name, value)
    if not 0 <= teacher_band[0] < teacher_band[1]:
        raise ValueError(f"teacher_band must be (low, high), 0 <= low < high; got {teacher_band}.")
    if image_shape[0] * image_shape[1] < 2:
        raise ValueError(f"image_shape must have a frequency beside DC; got {image_shape}.")
    images = noise(jax.random.fold_in(key, 1), (num_train + num_test, *image_shape))
    radius = spectral.radius_grid(image_shape[:2])
    transfer = np.where(radius > 0, np.where(radius > 0, radius, 1.0) ** -float(alpha), 0.0)
    images = map_images(partial(spectral.apply_transfer, transfer=transfer), images)
    images = within_range(images, MID_GREY, largest_contrast([images], MID_GREY, most=math.inf))
    labels = np.arange(len(images), dtype=np.int32) % num_classes
    dataset = Dataset(
        "power_law_{}_{}_{}".format(
            number_text(alpha), "x".join(map(str, image_shape)), num_classes
        ),
        Split(images[:num_train], labels[:num_train]),
        Split(images[num_train:], labels[num_train:]),
        tuple(map(str, range(num_classes))),
        description=f"Gaussian images of amplitude 1/f^{number_text(alpha)}.",
        source="synthetic",
        licence="none needed",
    )
    labelled = label_by_teacher(dataset, *teacher_band, key=key, num_classes=num_classes)
    whole = tuple(teacher_band) == (0.0, math.inf)
    return dataclasses.replace(labelled, name=dataset.name) if whole else labelled


def _teacher(
    key: Key, image_shape: tuple[int, int, int], num_classes: int, low: float, high: float
) -> np.ndarray:
    """White noise within a band, [K, H, W, C]."""
    white = noise(key, (num_classes, *image_shape))
    transfer = spectral.band_mask(image_shape[:2], low, high)
    with float64_on_cpu():
        return np.asarray(spectral.apply_transfer(white, transfer))


def _scores(split: Split, weights: np.ndarray) -> np.ndarray:
    """<w_k, x - 1/2>, float64 [N, K]."""
    columns = weights.reshape(len(weights), -1).T
    return np.concatenate([
        (split.images[start : start + BATCH].astype(float) - 0.5).reshape(-1, len(columns))
        @ columns
        for start in range(0, len(split), BATCH)
    ])  # fmt: skip


def _balancing_offsets(scores: np.ndarray) -> np.ndarray:
    """Offsets b [K] such that argmax_k scores[n, k] + b[k] takes each value equally often, to 1 %.

    Coordinate ascent on the dual of the transport problem: in turn, b_k is set to the quantile at
    which class k gets exactly its share. The result is centred.
    """
    num, num_classes = scores.shape
    share = num // num_classes
    offsets = np.zeros(num_classes)
    for _ in range(_MAX_SWEEPS):
        for k in range(num_classes):
            rest = np.delete(scores + offsets, k, axis=1).max(axis=1)
            needed = np.partition(rest - scores[:, k], (share - 1, share))
            offsets[k] = (needed[share - 1] + needed[share]) / 2
        counts = np.bincount(_largest(scores + offsets), minlength=num_classes)
        if np.max(np.abs(counts - num / num_classes)) <= max(1, _IMBALANCE * share):
            return offsets - offsets.mean()
    raise ValueError(
        f"num_classes must be such that a teacher of this band can divide the images equally; "
        f"with {num_classes} classes of {share} images the sizes came to {counts.tolist()}."
    )


def _largest(scores: np.ndarray) -> np.ndarray:
    return np.argmax(scores, axis=1).astype(np.int32)

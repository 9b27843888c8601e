"""Labelled images with everything a result must name: arrays, classes, source, licence, checksum.

Arrays are NumPy and read-only; pixels stay as they are stored (8 bits), and become float32 in
[0, 1] once, on first use.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from freqbias import _checks
from freqbias._checked import check_fields, checked


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The images and labels of a training or a test set.

    Attributes:
      pixels: [N, H, W, C], as stored: uint8 in 0..255, or float32 in [0, 1] where rounding to 8
        bits would add a white-noise floor to a spectrum (filtered images, say). Computations use
        ``images``, which is float32 in [0, 1] either way.
      labels: int32 [N], non-negative.

    Raises:
      TypeError: an array is no NumPy array, pixels are neither uint8 nor float32, or labels are
        not int32.
      ValueError: a rank or length is wrong, an axis is empty, a label is negative, or float pixels
        are not finite or leave [0, 1].

    Example:
      ``train = load("fashion_mnist_mini").train`` and ``train[:2000]``, a smaller Split.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        for name, array in (("pixels", self.pixels), ("labels", self.labels)):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{name} must be a NumPy array; got {type(array).__name__}.")
        if self.pixels.dtype not in (np.uint8, np.float32):
            raise TypeError(f"pixels must be uint8 or float32; got {self.pixels.dtype}.")
        if self.labels.dtype != np.int32:
            raise TypeError(f"labels must be int32; got {self.labels.dtype}.")
        _checks.rank("pixels", self.pixels, 4)
        if 0 in self.pixels.shape:
            raise ValueError(f"pixels must not be empty; got shape {self.pixels.shape}.")
        if self.pixels.dtype == np.float32:
            _checks.images(self.pixels, name="pixels")
        _checks.rank("labels", self.labels, 1)
        if len(self.labels) != len(self.pixels):
            raise ValueError(
                f"labels must have one entry per image ({len(self.pixels)}); "
                f"got {len(self.labels)}."
            )
        if self.labels.min() < 0:
            raise ValueError(f"labels must not be negative; got {self.labels.min()}.")
        object.__setattr__(self, "pixels", _read_only(self.pixels))
        object.__setattr__(self, "labels", _read_only(self.labels))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> "Split":
        """The images at ``index``, a slice or an array of positions or of booleans."""
        if np.ndim(index) == 0 and not isinstance(index, slice):  # type: ignore[arg-type]
            raise TypeError(f"index must be a slice or an array; got {index!r}.")
        return Split(self.pixels[index], self.labels[index])

    @functools.cached_property
    def images(self) -> np.ndarray:
        """Float32 [N, H, W, C] in [0, 1]; computed on first use, then kept."""
        if self.pixels.dtype == np.float32:
            return self.pixels
        return _read_only(self.pixels / np.float32(255))


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set of one image shape, with names and provenance.

    Attributes:
      name: the name in tables and file names.
      train: the training set.
      test: the test set.
      class_names: K names; label k is ``class_names[k]``.
      description: what the images are and how they were selected.
      source: where they come from.
      licence: under which terms.
      contrast: how much of the contrast of the stored images is left, in (0, 1]. A size epsilon of
        a perturbation of those corresponds to ``epsilon * contrast`` here.

    Raises:
      TypeError: a split is no Split, or a name is no string.
      ValueError: the splits differ in image shape or dtype, class names are missing or repeat, or
        a label has no class name.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    description: str = ""
    source: str = ""
    licence: str = ""
    contrast: float = 1.0

    def __post_init__(self):
        check_fields(self)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if len(set(self.class_names)) != len(self.class_names) or not self.class_names:
            raise ValueError(f"class_names must be distinct, at least one; got {self.class_names}.")
        train, test = self.train.pixels, self.test.pixels
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise ValueError(
                "train_images and test_images must be of the same shape and dtype; got "
                f"{train.shape[1:]} {train.dtype} and {test.shape[1:]} {test.dtype}."
            )
        for name, split in (("train", self.train), ("test", self.test)):
            if split.labels.max() >= self.num_classes:
                raise ValueError(
                    f"{name}.labels must lie in 0..{self.num_classes - 1}, one of "
                    f"{self.num_classes} class_names; got {split.labels.max()}."
                )

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        _, height, width, channels = self.train.pixels.shape
        return height, width, channels

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """Mean of each channel over the training images: float32 [C], in [0, 1]."""
        mean = np.mean(self.train.images, axis=(0, 1, 2), dtype=np.float64)
        return _read_only(np.asarray(mean, np.float32))

    @functools.cached_property
    def std(self) -> np.ndarray:
        """Standard deviation of each channel over the training images: float32 [C]."""
        channels = range(self.image_shape[-1])  # one by one: the temporary is float64
        std = [np.std(self.train.images[..., c], dtype=np.float64) for c in channels]
        return _read_only(np.asarray(std, np.float32))

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 over dtype, shape and bytes of train and test pixels and labels."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for array in (split.pixels, split.labels):
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                digest.update(f"{array.dtype.name}{array.shape}".encode())
                digest.update(little.data)
        return digest.hexdigest()


def _split(images: Any, labels: Any, name: str) -> Split:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype.kind not in "biuf":
        raise TypeError(f"{name}_images must be uint8 or floats; got {images.dtype}.")
    if images.dtype != np.uint8:
        _checks.images(images, name=f"{name}_images")
        images = images.astype(np.float32)
    _checks.rank(f"{name}_labels", labels, 1)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name}_labels must be integers; got {labels.dtype}.")
    if len(labels) != len(images):
        raise ValueError(
            f"{name}_labels must have one entry for each of {name}_images ({len(images)}); "
            f"got {len(labels)}."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < 2**31:
        raise ValueError(
            f"{name}_labels must lie in 0..2**31 - 1; got {labels.min()}..{labels.max()}."
        )
    return Split(images, labels.astype(np.int32))


@checked
def from_arrays(
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    *,
    name: str = "custom",
    class_names: Sequence[str] | None = None,
    description: str = "",
    source: str = "",
    licence: str = "",
) -> Dataset:
    """Makes a Dataset of arrays in memory.

    Args:
      train_images: [N, H, W, C], uint8 in 0..255, or floats in [0, 1], kept as float32.
      train_labels: integers [N], 0..K-1.
      test_images: [M, H, W, C], of the same kind as the training images.
      test_labels: integers [M], 0..K-1.
      name: the name in tables and file names.
      class_names: K names; by default "0", "1", ... up to the greatest label.
      description: what the images are.
      source: where they come from.
      licence: under which terms.

    Returns:
      The Dataset.

    Raises:
      TypeError: images are neither uint8 nor floats, or labels are not integers.
      ValueError: a shape is wrong, float images leave [0, 1] or are not finite, or labels are out
        of range.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> images, labels = rng.random((20, 8, 8, 1)), rng.integers(2, size=20)
      >>> from_arrays(images, labels, images, labels).image_shape
      (8, 8, 1)
    """
    train = _split(train_images, train_labels, "train")
    test = _split(test_images, test_labels, "test")
    if class_names is None:
        num_classes = 1 + max(train.labels.max(), test.labels.max())
        class_names = tuple(str(label) for label in range(num_classes))
    return Dataset(name, train, test, tuple(class_names), description, source, licence)

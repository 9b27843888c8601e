"""Folders of picture files as images with labels: `load_pictures`."""

import os
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.data.dataset import Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@checked
def load_pictures(
    folder: str | os.PathLike, *, size: int | None = None, num_images: int | None = None
) -> tuple[Split, tuple[str, ...]]:
    """Pictures with labels, from a folder of either form.

    * A folder for each class: ``FOLDER/cat/1.png``. If all names are numbers they are the labels;
      else labels are their positions in alphabetical order, as torchvision's ``ImageFolder`` has
      them, so all classes of the network must be there.
    * Files that end in their label: ``FOLDER/anything_243.jpg``.

    Pictures come class by class in turn, so that the first ones are of many classes. Grey pictures
    stay grey if all are; transparency is dropped.

    Args:
      folder: where they lie.
      size: side in pixels: each is resized so that its shorter side has it, then cut about its
        centre; None: as they are, all of one size.
      num_images: how many to read at most; None is all.

    Returns:
      A `Split`, and the names of the classes by label ("" where none is known).

    Raises:
      FileNotFoundError: no such folder, or no picture in it.
      ValueError: pictures of different sizes without ``size``, a file without a label, or a file
        that is no picture.
    """
    if size is not None:
        _checks.positive_int("size", size)
    if num_images is not None:
        _checks.positive_int("num_images", num_images)
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"images must be in a folder; there is none at {root}.")
    found, names = _labelled(root)
    if not found:
        raise FileNotFoundError(
            f"folder must hold pictures ({', '.join(SUFFIXES)}); {root} holds none."
        )
    found = found[:num_images]
    pixels = [_read(path, size) for path, _ in found]
    shapes = {array.shape[:2] for array in pixels}
    if len(shapes) > 1:
        raise ValueError(
            f"pictures must be of one size; got {sorted(shapes)[:3]}. Say size=, e.g. 224."
        )
    if len({array.shape[2] for array in pixels}) > 1:  # some grey, some in colour
        pixels = [np.repeat(p, 3, axis=-1) if p.shape[2] == 1 else p for p in pixels]
    return Split(np.stack(pixels), np.array([label for _, label in found], np.int32)), names


def _labelled(root: Path) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """Files with labels, classes in turn, and the names of the classes."""
    classes = sorted(path for path in root.iterdir() if path.is_dir() and _pictures(path))
    if not classes:
        return [(path, _label_at_end(path)) for path in _pictures(root)], ()
    if all(path.name.isdecimal() for path in classes):
        labels = [int(path.name) for path in classes]
        names: tuple[str, ...] = ()
    else:
        labels, names = list(range(len(classes))), tuple(path.name for path in classes)
    columns = [
        [(path, label) for path in _pictures(one)]
        for one, label in zip(classes, labels, strict=True)
    ]
    return [item for item in chain(*zip_longest(*columns)) if item is not None], names


def _pictures(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _label_at_end(path: Path) -> int:
    text = path.stem.rpartition("_")[2]
    if not text.isdecimal():
        raise ValueError(
            f"pictures must lie in a folder for each class, or end in their label (name_7.png); "
            f"got {path.name}."
        )
    return int(text)


def _read(path: Path, size: int | None) -> np.ndarray:
    """uint8 [H, W, 1 or 3]."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  (comes with matplotlib)

    try:
        with Image.open(path) as file:
            picture = file.convert("L" if file.mode in ("1", "L", "I;16", "I") else "RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"pictures must be readable; {path} is none.") from error
    if size is not None:
        scale = size / min(picture.size)
        wide, high = (max(size, round(side * scale)) for side in picture.size)
        left, top = (wide - size) // 2, (high - size) // 2
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR).crop(
            (left, top, left + size, top + size)
        )
    array = np.asarray(picture, np.uint8)
    return array[..., None] if array.ndim == 2 else array

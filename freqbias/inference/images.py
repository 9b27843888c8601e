"""From numbers per image to one number per network: what is left out is counted."""

from typing import NamedTuple

import numpy as np

from freqbias._checked import checked
from freqbias.typing import Numbers


class ImageMeans(NamedTuple):
    """Means over the images that have a value, and how many those are."""

    mean: np.ndarray  # [...], float64; NaN where no image has a value
    num_images: np.ndarray  # [...], int


@checked
def image_means(values: Numbers, *, where: Numbers | None = None) -> ImageMeans:
    """Mean over images, of those that have a value: NaN is left out, and what is left counted.

    A perturbation of zero has no frequency (`freqbias.spectral` gives NaN). Minimal attacks return
    it for every image that is misclassified as it is, so ``num_images`` is part of the result.

    Args:
      values: [..., N], one number per image; leading axes, such as seeds, are kept.
      where: boolean [..., N], the images asked for, e.g. ``found.flipped``; None for all.

    Returns:
      ImageMeans(mean [...], num_images [...]). The means, one per seed, are what `mean_interval`
      and its like take.

    Raises:
      TypeError: ``values`` are not numbers, or ``where`` not booleans.
      ValueError: ``values`` have no axis, or ``where`` has another shape.

    Example:
      >>> image_means([[0.2, 0.4, float("nan")], [0.3, 0.3, 0.3]])
      ImageMeans(mean=array([0.3, 0.3]), num_images=array([2, 3]))
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"values must hold real numbers; got dtype {array.dtype}.")
    if array.ndim == 0:
        raise ValueError("values must hold one number per image [..., N]; got a scalar.")
    array = array.astype(np.float64)
    counted = ~np.isnan(array)
    if where is not None:
        wanted = np.asarray(where)
        if wanted.dtype != bool:
            raise TypeError(f"where must hold booleans; got dtype {wanted.dtype}.")
        if wanted.shape != array.shape:
            raise ValueError(f"where must be of shape {array.shape}; got {wanted.shape}.")
        counted &= wanted
    number = counted.sum(axis=-1)
    total = np.where(counted, array, 0).sum(axis=-1)
    return ImageMeans(np.where(number > 0, total / np.maximum(number, 1), np.nan), number)

"""What a network expects of its images, as a part of the network.

Everything here works on images [N, H, W, C] in [0, 1] and is differentiable, so that perturbations
and their epsilons stay in units of intensity whatever the network was trained on.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.interop.checks import UnfitError, check_logits
from freqbias.typing import ApplyFn, Array, Params


class Network(NamedTuple):
    """A network and its parameters: ``apply_fn(params, images) -> logits [N, K]``.

    ``fb.analyze(*network, images, labels, key=key)``, and the same for every attack.
    """

    apply_fn: ApplyFn
    params: Params


class Options(TypedDict, total=False):
    """What every adapter takes: see `Preprocessing`, and ``output``."""

    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    pixel_max: float
    channels_first: bool
    resize: tuple[int, int] | None
    output: Callable[[Any], Array] | None


class Preprocessing(NamedTuple):
    """From images [N, H, W, C] in [0, 1] to what a network expects.

        x' = (pixel_max * resize(x) - mean) / std,   then [N, C, H, W] if ``channels_first``.

    Attributes:
      mean: of each channel or of all, in the network's units: after ``pixel_max``; None: 0.
      std: likewise; None: 1.
      pixel_max: what the network calls white, 1 or 255.
      channels_first: whether the network expects [N, C, H, W].
      resize: (H, W) that the network expects, bilinear; None: as the images come.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pixel_max: float = 1.0
    channels_first: bool = False
    resize: tuple[int, int] | None = None

    def __call__(self, images: Array) -> Array:
        """What the network sees of images [N, H, W, C] in [0, 1]."""
        if jnp.ndim(images) != 4:
            raise UnfitError(f"images must be [N, H, W, C]; got shape {jnp.shape(images)}.")
        num, _, _, channels = images.shape
        if self.resize is not None:
            images = jax.image.resize(images, (num, *self.resize, channels), "bilinear")
        if self.pixel_max != 1:
            images = images * self.pixel_max
        if self.mean is not None:
            images = images - _of_channels("mean", self.mean, channels, images.dtype)
        if self.std is not None:
            images = images / _of_channels("std", self.std, channels, images.dtype)
        return jnp.moveaxis(images, -1, 1) if self.channels_first else images


def _of_channels(name: str, values: tuple[float, ...], channels: int, dtype: Any) -> Array:
    if len(values) not in (1, channels):
        raise UnfitError(
            f"{name} must be one number or one for each of the {channels} channels of the images; "
            f"got {len(values)}."
        )
    return jnp.asarray(values, dtype).reshape(1, 1, 1, -1)


@checked
def preprocessing(
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    pixel_max: float = 1.0,
    channels_first: bool = False,
    resize: tuple[int, int] | None = None,
) -> Preprocessing:
    """A checked `Preprocessing`; arguments as its attributes.

    Raises:
      UnfitError: a mean of [0, 1] beside a pixel_max of 255, which no network was trained with.
      ValueError: a number or a size is out of range.
    """
    _checks.positive("pixel_max", pixel_max)
    means = None if mean is None else tuple(map(float, np.atleast_1d(mean)))
    stds = None if std is None else tuple(map(float, np.atleast_1d(std)))
    if stds is not None:
        _checks.positive("std", stds)
    if means is not None and not np.isfinite(means).all():
        raise ValueError(f"mean must be finite; got {mean}.")
    if means is not None and pixel_max > 2 and 0 < max(means) <= 1:
        raise UnfitError(
            f"mean must be in the network's units, here 0..{pixel_max:g}; got {mean}. Say "
            f"pixel_max=1, or a mean like {pixel_max * max(means):.4g}."
        )
    if resize is not None:
        if np.shape(resize) != (2,):
            raise ValueError(f"resize must be (H, W); got {resize}.")
        for size in resize:
            _checks.positive_int("resize", size)
        resize = (int(resize[0]), int(resize[1]))
    return Preprocessing(means, stds, float(pixel_max), bool(channels_first), resize)


def network_of(
    forward: Callable[[Params, Array], Any],
    params: Params,
    *,
    output: Callable[[Any], Array] | None = None,
    **options: Any,
) -> Network:
    """A `Network` of a function that sees preprocessed images.

    Args:
      forward: (params, what `Preprocessing` returns) -> logits, or what ``output`` reads them from.
      params: of one network.
      output: picks the logits out of what ``forward`` returns; None: these are the logits.
      options: those of `preprocessing`.

    Returns:
      The `Network`; each call makes another ``apply_fn``, which compiles anew.
    """
    prepare = preprocessing(**options)

    def apply_fn(params: Params, images: Array, /) -> Array:
        found = forward(params, prepare(images))
        logits = found if output is None else output(found)
        check_logits(logits, jnp.shape(images)[0])
        return logits

    return Network(apply_fn, params)

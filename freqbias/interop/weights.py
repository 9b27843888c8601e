"""Weights of files into this library's own networks: `load_weights`."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from freqbias._checked import checked
from freqbias.interop.files import read_weights
from freqbias.models.published import Place, Published, published
from freqbias.typing import Params

_SHOWN = 5  # names in an error


@checked
def load_weights(
    path: str | os.PathLike, model: nn.Module, *, image_shape: Sequence[int] = (224, 224, 3)
) -> Params:
    """The parameters of one of this library's networks, from a file of weights.

    Names may be those under which weights are published: of timm for `ViT`, `MLPMixer`, `ConvMixer`
    and `EfficientNetLite` (also of efficientnet-lite-pytorch), of torchvision for `ResNet` and
    `VGG`. Or the network's own, "." between the levels, as in ``head.kernel``; of any Flax module.
    Batch normalisation in the file becomes a factor and an offset of each channel, gamma / sqrt(var
    + eps) and beta - mean gamma / sqrt(var + eps), of a network with ``normalization="affine"``.
    Where it was folded into the convolution before it, as exporters to ONNX do, the factor is 1.

    Args:
      path: of a file that `read_weights` reads; no code in it is run.
      model: of `freqbias.models`, with the settings of the weights; mean and std are settings, too.
      image_shape: (H, W, C) of the images.

    Returns:
      Variables for ``model.apply``.

    Raises:
      FileNotFoundError, ImportError, ValueError: as of `read_weights`.
      ValueError: names or shapes do not fit; the message lists what is missing, unexpected, and of
        another shape.

    Example:
      .. code-block:: python

        model = fb.models.ResNet(1000, (3, 4, 6, 3), bottleneck=True, stem="large",
                                 normalization="affine", mean=MEAN, std=STD)
        params = fb.interop.load_weights("resnet50.safetensors", model)
        fb.analyze(model.apply, params, images, labels, key=key)
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    wanted = {
        name: leaf.shape
        for name, leaf in flax.traverse_util.flatten_dict(shapes["params"], sep="/").items()
    }
    given = {
        name: array
        for name, array in read_weights(path).items()
        if not name.endswith("num_batches_tracked")
    }
    own = {name.replace("/", "."): name for name in wanted}
    form = published(model, given)
    if form is None or set(own) == set(given):
        found = {own.get(name, name): _Read(array, (name,)) for name, array in given.items()}
    else:
        _check_normalization(model, given, form, path)
        found = dict(_translated(given, form, wanted))
    _check(found, wanted, given, f"{type(model).__name__}, and {path} does not")
    arrays = {name: np.reshape(found[name].array, shape) for name, shape in wanted.items()}
    cast = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    return {"params": flax.traverse_util.unflatten_dict(cast, sep="/")}


class _Read(NamedTuple):
    """A parameter in a file."""

    array: np.ndarray  # axes as here; dense layers may be of another rank
    used: tuple[str, ...]  # names


def _translated(
    given: Mapping[str, np.ndarray], form: Published, wanted: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, _Read]]:
    """The parameters here that a file has, by their names here."""
    for name in wanted:
        layer, _, leaf = name.rpartition("/")
        place = form.places.get(layer or name)
        if place is None:
            continue
        if f"{place.name}.weight" not in given and f"{layer}/scale" in wanted:
            yield from _folded(name, given, form, wanted)
            continue
        names = _names(place, leaf, normalises=f"{layer}/scale" in wanted and (
            f"{place.name}.running_var" in given))  # fmt: skip
        if all(one in given for one in names):
            yield name, _Read(_converted([given[one] for one in names], place, leaf, form), names)


def _folded(
    name: str,
    given: Mapping[str, np.ndarray],
    form: Published,
    wanted: Mapping[str, tuple[int, ...]],
) -> Iterator[tuple[str, _Read]]:
    """A parameter of a normalisation that the convolution before it holds: its offset, or none."""
    layer, _, leaf = name.rpartition("/")
    rest = layer.removeprefix("norm").removeprefix("_")
    convolution = next((of for of in (f"conv_{rest}", rest, "stem") if of in form.places), "")
    offset = f"{form.places[convolution].name}.bias" if convolution else ""
    if offset not in given:
        return
    if leaf == "scale":
        yield name, _Read(np.ones(wanted[name], np.float32), ())
    elif f"{convolution}/bias" in wanted:  # which takes the offset itself
        yield name, _Read(np.zeros(wanted[name], np.float32), ())
    else:
        yield name, _Read(given[offset], (offset,))


def _names(place: Place, leaf: str, *, normalises: bool) -> tuple[str, ...]:
    """What a parameter here is made of there."""
    if leaf in ("token", "positions"):
        return (place.name,)
    weight, bias = f"{place.name}.weight", f"{place.name}.bias"
    if normalises:
        statistics = tuple(f"{place.name}.running_{of}" for of in ("mean", "var"))
        return (weight, *statistics) if leaf == "scale" else (weight, *statistics, bias)
    return (bias,) if leaf == "bias" else (weight,)


def _converted(arrays: list[np.ndarray], place: Place, leaf: str, form: Published) -> np.ndarray:
    first = np.asarray(arrays[0])
    if len(arrays) > 1:  # of a batch normalisation
        if len({np.shape(array) for array in arrays}) > 1:
            raise ValueError(
                f"weights must have each batch normalisation of one shape; {place.name} has "
                f"{', '.join(str(np.shape(array)) for array in arrays)}."
            )
        mean, var = (np.asarray(array, np.float64) for array in arrays[1:3])
        scale = first / np.sqrt(var + form.epsilon)
        return scale if leaf == "scale" else arrays[3] - mean * scale
    if place.parts > 1 and first.shape[:1] and first.shape[0] % place.parts == 0:
        first = np.split(first, place.parts)[place.part]
    return np.moveaxis(first, (0, 1), (-1, -2)) if leaf == "kernel" and first.ndim > 1 else first


def _check_normalization(
    model: nn.Module, given: Mapping[str, np.ndarray], form: Published, path: Any
) -> None:
    """Raises where batch normalisation meets a network that has none, or the other way round."""
    kind = getattr(model, "normalization", None)
    statistics = any(name.endswith("running_var") for name in given)
    norms = [place.name for layer, place in form.places.items() if layer.startswith("norm")]
    if kind is not None and not any(f"{name}.weight" in given for name in norms):
        if kind != "affine":
            raise ValueError(f"model must have normalization='affine': in {path} normalisations "
                             f"are folded into convolutions; got {kind!r}.")  # fmt: skip
        return
    if kind is not None and statistics != (kind == "affine"):
        raise ValueError(
            f"model must have normalization={'affine' if statistics else 'group'!r}: {path} has "
            f"{'' if statistics else 'no '}statistics of batch normalisation; got {kind!r}."
        )


def _check(
    found: Mapping[str, _Read],
    wanted: Mapping[str, tuple[int, ...]],
    given: Mapping[str, np.ndarray],
    what: str,
) -> None:
    """Raises unless a file has the parameters of a network, no others, and each of its shape."""
    used = {name for read in found.values() for name in read.used}
    shapes = {name: np.shape(read.array) for name, read in found.items()}
    told = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": sorted({*given} - used | ({*found} - {*wanted})),
        "of another shape": [
            f"{name} {shapes[name]} for {shape}"
            for name, shape in wanted.items()
            if name in found and not _fits(shapes[name], shape)
        ],
    }
    if any(told.values()):
        listed = "; ".join(
            f"{title}: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            for title, names in told.items()
            if names
        )
        raise ValueError(f"weights must fit {what}: {listed}.")


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array is a parameter but for the shape of a dense layer's inputs or outputs."""
    if given == wanted:
        return True
    if math.prod(given) != math.prod(wanted) or len(wanted) not in (2, 3):
        return False
    if len(given) == 1:  # offsets of heads
        return len(wanted) == 2
    return len(given) in (2, 4) and given[-1] in (wanted[-1], math.prod(wanted[1:]))

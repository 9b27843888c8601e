"""Networks of timm by name, with the weights of its hub or of a file."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.interop.files import read_weights
from freqbias.interop.preprocessing import Network
from freqbias.interop.torch_modules import from_torch

NUM_IMAGENET = 1000  # classes


@checked
def from_timm(
    name: str,
    *,
    weights: Literal["hub", "random"] | str | os.PathLike = "hub",
    seed: int = 0,
) -> Network:
    """A network of timm (PyTorch Image Models), with the preprocessing that timm knows of it.

    Images of another size than it was trained on are resized inside the network, so that several
    networks can be given the same images.

    Args:
      name: of timm, e.g. ``"resnet50"``, ``"vit_base_patch16_224"``, ``"mixer_b16_224"``.
      weights: "hub" (fetched once by timm, and kept in its cache), "random" (untrained), or a file
        of its state dict that `read_weights` reads.
      seed: of random weights.

    Returns:
      A `Network`, as of `from_torch`.

    Raises:
      ImportError: timm is missing, or cannot be imported; the message has the line that installs.
      ValueError: timm knows no such name, or the file does not fit it.
      OSError: the hub cannot be reached, or there is no such file.
    """
    timm, torch = _timm(), _torch()
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5] or timm.list_models(f"{name[:4]}*")[:5]
        raise ValueError(
            f"name must be a network of timm; got {name!r}. Near it: {', '.join(near) or 'none'}."
        )
    if weights == "hub":
        try:
            module = timm.create_model(name, pretrained=True)
        except Exception as error:  # of the network of machines, in many kinds
            raise OSError(
                f"the weights of {name} could not be fetched from the hub "
                f"({type(error).__name__}); give a file of them."
            ) from error
    elif weights == "random":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = timm.create_model(name)
    else:
        module = _loaded(timm, torch, name, read_weights(weights))
    config = timm.data.resolve_model_data_config(module)
    channels, *size = config["input_size"]
    _checks.one_of(f"channels that {name} sees", channels, (1, 3))
    return from_torch(
        module.eval(), mean=config["mean"], std=config["std"], resize=(size[0], size[1])
    )


@checked
def imagenet_labels(names: Sequence[str]) -> np.ndarray:
    """Class numbers of ImageNet-1k, as timm counts, of WordNet's numbers, e.g. "n01440764" is 0.

    Args:
      names: numbers of WordNet.

    Returns:
      int32, one for each.

    Raises:
      ImportError: timm is missing.
      ValueError: a name that is no class of ImageNet-1k.
    """
    known = {name: label for label, name in enumerate(_timm().data.ImageNetInfo().label_names())}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"names must be classes of ImageNet-1k; got {', '.join(unknown[:3])}.")
    return np.array([known[name] for name in names], np.int32)


def _loaded(timm: Any, torch: Any, name: str, state: dict[str, np.ndarray]) -> Any:
    """A module with as many classes as its weights have."""
    head = timm.get_pretrained_cfg(name)
    head = f"{head.classifier}.weight" if head else ""
    classes = len(state[head]) if head in state else NUM_IMAGENET
    module = timm.create_model(name, num_classes=classes)
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"weights must fit {name} of timm: {said[:300]}") from error
    return module


def _torch() -> Any:
    import torch  # noqa: PLC0415  (only where it is used)

    return torch


def _timm() -> Any:
    try:
        import timm  # noqa: PLC0415
        import timm.data  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        raise ImportError(
            f"networks of timm need timm ({error}): pip install 'freqbias[peers]'."
        ) from error
    return timm

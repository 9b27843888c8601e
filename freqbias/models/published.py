"""What the layers of these networks are called where their weights are published, in torch.

The names are those of timm, of torchvision for ResNet and VGG, and for EfficientNet-Lite also those
of the package efficientnet-lite-pytorch.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from freqbias.models.efficientnet import EfficientNetLite, Stage
from freqbias.models.patches import ConvMixer, MLPMixer, ViT
from freqbias.models.residual import VGG, ResNet


class Place(NamedTuple):
    """Where a layer's weights are."""

    name: str
    part: int = 0  # of `parts` along the outputs, as in one matrix for query, key and value
    parts: int = 1


class Published(NamedTuple):
    """The published form of a network."""

    places: dict[str, Place]  # of each layer by its name here, "/" between the levels
    epsilon: float = 1e-5  # added to the variance by its batch normalisation


def published(model: Any, given: Collection[str] = ()) -> Published | None:
    """The published form of a network; None if it has none.

    Args:
      model: of this package.
      given: names in a file of weights, which tell the form if there are several.
    """
    if isinstance(model, EfficientNetLite):
        own = any(name.startswith("_") for name in given)
        names = _efficientnet(model) if own else _efficientnet_of_timm(model)
        return Published(_places(names), 1e-3 if model.padding == "tensorflow" else 1e-5)
    if isinstance(model, ViT):
        return Published(_vit(model))
    return next((Published(_places(of(model))) for kind, of in _NAMES.items()
                 if isinstance(model, kind)), None)  # fmt: skip


def _places(names: dict[str, str]) -> dict[str, Place]:
    return {layer: Place(name) for layer, name in names.items()}


def _resnet(model: ResNet) -> dict[str, str]:
    names = {"stem": "conv1", "norm": "bn1", "head": "fc"}
    blocks = [(stage, block) for stage, of in enumerate(model.blocks) for block in range(of)]
    for index, (stage, block) in enumerate(blocks):
        prefix = f"layer{stage + 1}.{block}"
        for part in range(3 if model.bottleneck else 2):
            names[f"conv_{index}_{part}"] = f"{prefix}.conv{part + 1}"
            names[f"norm_{index}_{part}"] = f"{prefix}.bn{part + 1}"
        names[f"shortcut_{index}"] = f"{prefix}.downsample.0"
        names[f"norm_shortcut_{index}"] = f"{prefix}.downsample.1"
    return names


def _vgg(model: VGG) -> dict[str, str]:
    names, index, position = {"head": "classifier"}, 0, 0
    for number in model.convolutions:
        for _ in range(number):
            names[f"conv_{index}"] = f"features.{position}"
            names[f"norm_{index}"] = f"features.{position + 1}"
            index, position = index + 1, position + 3
        position += 1  # pooling
    return names


def _conv_mixer(model: ConvMixer) -> dict[str, str]:
    names = {"embedding": "stem.0", "norm": "stem.2", "head": "head"}
    for index in range(model.depth):
        names[f"depthwise_{index}"] = f"blocks.{index}.0.fn.0"
        names[f"norm_depthwise_{index}"] = f"blocks.{index}.0.fn.2"
        names[f"pointwise_{index}"] = f"blocks.{index}.1"
        names[f"norm_pointwise_{index}"] = f"blocks.{index}.3"
    return names


def _vit(model: ViT) -> dict[str, Place]:
    names = {"embedding": "patch_embed.proj", "norm": "norm", "head": "head"}
    names |= {"token": "cls_token", "positions": "pos_embed"}
    found = {}
    for index in range(model.depth):
        prefix = f"blocks.{index}"
        names[f"norm_attention_{index}"] = f"{prefix}.norm1"
        names[f"norm_mlp_{index}"] = f"{prefix}.norm2"
        names[f"attention_{index}/out"] = f"{prefix}.attn.proj"
        names[f"mlp_{index}/expand"] = f"{prefix}.mlp.fc1"
        names[f"mlp_{index}/contract"] = f"{prefix}.mlp.fc2"
        for part, own in enumerate(("query", "key", "value")):
            found[f"attention_{index}/{own}"] = Place(f"{prefix}.attn.qkv", part, 3)
    return _places(names) | found


def _mlp_mixer(model: MLPMixer) -> dict[str, str]:
    names = {"embedding": "stem.proj", "norm": "norm", "head": "head"}
    for index in range(model.depth):
        names[f"norm_tokens_{index}"] = f"blocks.{index}.norm1"
        names[f"norm_channels_{index}"] = f"blocks.{index}.norm2"
        for part in ("tokens", "channels"):
            names[f"{part}_{index}/expand"] = f"blocks.{index}.mlp_{part}.fc1"
            names[f"{part}_{index}/contract"] = f"blocks.{index}.mlp_{part}.fc2"
    return names


def _efficientnet(model: EfficientNetLite) -> dict[str, str]:
    names = {"stem": "_conv_stem", "norm_stem": "_bn0"}
    names |= {"conv_head": "_conv_head", "norm_head": "_bn1", "head": "_fc"}
    for index in range(sum(Stage._make(stage).blocks for stage in model.stages)):
        for part, own in enumerate(("expand", "depthwise", "project")):
            names[f"{own}_{index}"] = f"_blocks.{index}._{own}_conv"
            names[f"norm_{own}_{index}"] = f"_blocks.{index}._bn{part}"
    return names


def _efficientnet_of_timm(model: EfficientNetLite) -> dict[str, str]:
    names = {"stem": "conv_stem", "norm_stem": "bn1"}
    names |= {"conv_head": "conv_head", "norm_head": "bn2", "head": "classifier"}
    index = 0
    for number, stage in enumerate(map(Stage._make, model.stages)):
        parts = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if stage.expand == 1:
            parts = {"depthwise": "conv_dw", "project": "conv_pw"}
        for block in range(stage.blocks):
            for part, (own, name) in enumerate(parts.items()):
                names[f"{own}_{index}"] = f"blocks.{number}.{block}.{name}"
                names[f"norm_{own}_{index}"] = f"blocks.{number}.{block}.bn{part + 1}"
            index += 1
    return names


_NAMES: Mapping[type, Callable[[Any], dict[str, str]]] = {
    ResNet: _resnet,
    VGG: _vgg,
    ConvMixer: _conv_mixer,
    MLPMixer: _mlp_mixer,
}

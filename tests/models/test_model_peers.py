"""Forward passes and input gradients of torchvision's and timm's networks on our weights.

A peer is changed only where ours is not the published network, and openly: group normalisation
for batch normalisation (so that logits do not depend on the batch), the stem of ResNet for small
images, one dense layer after a mean over pixels at the end of VGG, Flax's epsilon.
"""

import importlib.util
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import models

pytestmark = pytest.mark.peers
NUM_CLASSES = 10
IMAGES_SEED = 1


@pytest.fixture(scope="module")
def torch():
    """torch, with torchvision and timm loaded."""
    torch = pytest.importorskip("torch")
    for package in ("torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns that it cannot read image files
        try:
            import torchvision  # noqa: PLC0415
        except RuntimeError:
            # Its compiled operators are those of another build of torch (the one for CPU beside
            # torchvision for CUDA). Networks do without, but for two declarations.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
            import torchvision  # noqa: F401, PLC0415
        import timm  # noqa: F401, PLC0415
    yield torch  # and keep what was declared


def _normalise_groups(torch, module, num_groups):
    """Replaces every batch normalisation by a group normalisation, in place."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            norm = torch.nn.GroupNorm(num_groups, child.num_features, eps=1e-6)
            setattr(module, name, norm)
        else:
            _normalise_groups(torch, child, num_groups)


def _pad(torch, module, padding):
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d) and any(layer._reversed_padding_repeated_twice):
            layer.padding_mode = {"SAME": "zeros", "circular": "circular"}[padding]


def _weight(kernel):
    """Kernel of Flax, [..., in, out], as a weight of torch."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _affine(layer, prefix):
    """Weight and bias of a convolution, a dense layer or a normalisation."""
    weight = layer["scale"] if "scale" in layer else _weight(layer["kernel"])
    out = {f"{prefix}.weight": weight}
    return {**out, f"{prefix}.bias": layer["bias"]} if "bias" in layer else out


def _embedding(layer, prefix, patch_size):
    """The dense layer on flat patches as a convolution of stride P."""
    kernel = layer["kernel"].reshape(patch_size, patch_size, -1, layer["kernel"].shape[-1])
    return _affine({**layer, "kernel": kernel}, prefix)


def _torch_names(layers, names):
    """The state of the peer, given where each of our layers is in it."""
    state = {}
    for name, prefix in names.items():
        state.update(_affine(layers[name], prefix))
    return state


def resnet(torch, settings, layers, side):
    """ResNet-18 of torchvision with the stem of section 4.2: 3 x 3, stride 1, no pooling."""
    from torchvision.models import resnet18  # noqa: PLC0415

    del side
    network = resnet18(num_classes=NUM_CLASSES)
    network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = torch.nn.Identity()
    _normalise_groups(torch, network, 8)
    _pad(torch, network, settings["padding"])
    names = {"stem": "conv1", "norm": "bn1", "head": "fc"}
    for index in range(8):
        prefix = f"layer{index // 2 + 1}.{index % 2}"
        for half in range(2):
            names[f"conv_{index}_{half}"] = f"{prefix}.conv{half + 1}"
            names[f"norm_{index}_{half}"] = f"{prefix}.bn{half + 1}"
        if f"shortcut_{index}" in layers:
            names[f"shortcut_{index}"] = f"{prefix}.downsample.0"
            names[f"norm_shortcut_{index}"] = f"{prefix}.downsample.1"
    return network, _torch_names(layers, names)


def vgg(torch, settings, layers, side):
    """VGG-11 of torchvision with normalisation."""
    from torchvision.models import vgg11_bn  # noqa: PLC0415

    del side
    network = vgg11_bn()
    network.avgpool = torch.nn.AdaptiveAvgPool2d(1)
    network.classifier = torch.nn.Linear(512, NUM_CLASSES)
    _normalise_groups(torch, network, 8)
    _pad(torch, network, settings["padding"])
    convolutions = [
        position
        for position, layer in enumerate(network.features)
        if isinstance(layer, torch.nn.Conv2d)
    ]
    names = {"head": "classifier"}
    for index, position in enumerate(convolutions):
        names[f"conv_{index}"] = f"features.{position}"
        names[f"norm_{index}"] = f"features.{position + 1}"
    return network, _torch_names(layers, names)


def conv_mixer(torch, settings, layers, side):
    """ConvMixer of timm."""
    from timm.models.convmixer import ConvMixer  # noqa: PLC0415

    del side
    network = ConvMixer(
        dim=settings["width"],
        depth=settings["depth"],
        kernel_size=settings["kernel_size"],
        patch_size=settings["patch_size"],
        num_classes=NUM_CLASSES,
    )
    _normalise_groups(torch, network, 1)
    _pad(torch, network, settings["padding"])
    names = {"norm": "stem.2", "head": "head"}
    for index in range(settings["depth"]):
        names[f"depthwise_{index}"] = f"blocks.{index}.0.fn.0"
        names[f"norm_depthwise_{index}"] = f"blocks.{index}.0.fn.2"
        names[f"norm_pointwise_{index}"] = f"blocks.{index}.3"
    state = _torch_names(layers, names)
    state.update(_embedding(layers["embedding"], "stem.0", settings["patch_size"]))
    for index in range(settings["depth"]):
        pointwise = layers[f"pointwise_{index}"]
        one_by_one = {**pointwise, "kernel": pointwise["kernel"][None, None]}
        state.update(_affine(one_by_one, f"blocks.{index}.1"))
    return network, state


def vit(torch, settings, layers, side):
    """ViT-Ti/16 of timm."""
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    del torch
    network = VisionTransformer(
        img_size=side,
        patch_size=settings["patch_size"],
        embed_dim=settings["width"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        num_classes=NUM_CLASSES,
    )
    names = {"norm": "norm", "head": "head"}
    for index in range(settings["depth"]):
        names[f"norm_attention_{index}"] = f"blocks.{index}.norm1"
        names[f"norm_mlp_{index}"] = f"blocks.{index}.norm2"
    state = _torch_names(layers, names)
    state.update(_embedding(layers["embedding"], "patch_embed.proj", settings["patch_size"]))
    state.update({"cls_token": layers["token"], "pos_embed": layers["positions"]})
    width = settings["width"]
    for index in range(settings["depth"]):
        attention, prefix = layers[f"attention_{index}"], f"blocks.{index}"
        parts = [attention[part] for part in ("query", "key", "value")]
        kernel = np.concatenate([part["kernel"].reshape(width, width) for part in parts], axis=1)
        bias = np.concatenate([part["bias"].ravel() for part in parts])
        out = {**attention["out"], "kernel": attention["out"]["kernel"].reshape(width, width)}
        state.update(_affine({"kernel": kernel, "bias": bias}, f"{prefix}.attn.qkv"))
        state.update(_affine(out, f"{prefix}.attn.proj"))
        state.update(_affine(layers[f"mlp_{index}"]["expand"], f"{prefix}.mlp.fc1"))
        state.update(_affine(layers[f"mlp_{index}"]["contract"], f"{prefix}.mlp.fc2"))
    return network, state


def mlp_mixer(torch, settings, layers, side):
    """Mixer of timm; S/16 has twice as many blocks."""
    from timm.models.mlp_mixer import MlpMixer  # noqa: PLC0415

    del torch
    width = settings["width"]
    network = MlpMixer(
        num_classes=NUM_CLASSES,
        img_size=side,
        patch_size=settings["patch_size"],
        num_blocks=settings["depth"],
        embed_dim=width,
        mlp_ratio=(settings["tokens_width"] / width, settings["channels_width"] / width),
    )
    names = {"norm": "norm", "head": "head"}
    for index in range(settings["depth"]):
        names[f"norm_tokens_{index}"] = f"blocks.{index}.norm1"
        names[f"norm_channels_{index}"] = f"blocks.{index}.norm2"
    state = _torch_names(layers, names)
    state.update(_embedding(layers["embedding"], "stem.proj", settings["patch_size"]))
    for index in range(settings["depth"]):
        for part in ("tokens", "channels"):
            mlp, prefix = layers[f"{part}_{index}"], f"blocks.{index}.mlp_{part}"
            state.update(_affine(mlp["expand"], f"{prefix}.fc1"))
            state.update(_affine(mlp["contract"], f"{prefix}.fc2"))
    return network, state


CONV_MIXER = {"patch_size": 7, "depth": 4, "width": 96}
MIXER = {"patch_size": 16, "depth": 4, "width": 512, "tokens_width": 256, "channels_width": 2048}
CASES = {
    "resnet": (resnet, {"padding": "SAME"}, 32),
    "resnet-odd": (resnet, {"padding": "SAME"}, 33),
    "resnet-circular": (resnet, {"padding": "circular"}, 32),
    "vgg": (vgg, {"padding": "SAME"}, 64),
    "vgg-circular": (vgg, {"padding": "circular"}, 64),
    "conv_mixer": (conv_mixer, {**CONV_MIXER, "kernel_size": 7, "padding": "SAME"}, 56),
    "conv_mixer-circular": (
        conv_mixer,
        {**CONV_MIXER, "kernel_size": 7, "padding": "circular"},
        56,
    ),
    "vit": (vit, {"patch_size": 16, "depth": 12, "width": 192, "heads": 3}, 64),
    "mlp_mixer": (mlp_mixer, MIXER, 64),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_input_gradients_are_the_peers(torch, case):
    make_peer, settings, side = CASES[case]
    model = models.create(case.split("-")[0], num_classes=NUM_CLASSES, **settings)
    rng = np.random.default_rng(IMAGES_SEED)
    images = rng.random((3, side, side, 3), np.float32)
    direction = rng.standard_normal((3, NUM_CLASSES)).astype(np.float32)
    params = model.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct(images.shape, jnp.float32))
    # Away from initialisation: zeros and ones would hide a bias or a scale in the wrong place.
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + 0.05 * rng.standard_normal(leaf.shape, np.float32), params
    )
    logits, pullback = jax.vjp(jax.jit(lambda x: model.apply(params, x)), images)
    (slopes,) = pullback(jnp.asarray(direction))

    network, state = make_peer(torch, settings, params["params"], side)
    network.load_state_dict({name: torch.tensor(leaf) for name, leaf in state.items()})  # all used
    pixels = torch.tensor(np.moveaxis(images, -1, 1), requires_grad=True)
    theirs = network.eval()(pixels)
    theirs.backward(torch.tensor(direction))
    their_slopes = np.moveaxis(pixels.grad.numpy(), 1, -1)
    assert float(np.std(logits, axis=0).max()) > 1e-2  # logits tell the images apart

    scale = np.abs(np.asarray(logits)).max()
    np.testing.assert_allclose(logits, theirs.detach().numpy(), atol=1e-4 * max(1, scale))
    np.testing.assert_allclose(slopes, their_slopes, atol=1e-4 * np.abs(their_slopes).max())

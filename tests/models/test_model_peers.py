"""Logits and input gradients of torchvision's and timm's networks, whose weights ours load.

A peer is changed only where ours is not the published network, and openly: where a case says so,
group normalisation for batch normalisation (so that logits do not depend on the batch; of Flax's
epsilon); the stem of ResNet for small images; one dense layer after a mean over pixels at the end
of VGG.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import interop, models

pytestmark = pytest.mark.peers
NUM_CLASSES = 10
IMAGES_SEED = 1


@pytest.fixture(scope="module")
def torch(torch_with_timm):
    return torch_with_timm


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


def _leave_initialisation(torch, network):
    """Zeros and ones would hide a bias, a scale or a statistic in the wrong place."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for leaf in network.parameters():
            leaf.add_(0.05 * torch.randn(leaf.shape, generator=generator))
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean += 0.1 * torch.randn(layer.num_features, generator=generator)
                layer.running_var *= 1 + torch.rand(layer.num_features, generator=generator)


def resnet(torch, settings, side):
    """ResNet of torchvision, with the stem of section 4.2 if small: 3 x 3, stride 1, no pooling."""
    from torchvision.models import resnet18, resnet50  # noqa: PLC0415

    del side
    network = (resnet50 if settings.get("bottleneck") else resnet18)(num_classes=NUM_CLASSES)
    if settings.get("stem") != "large":
        network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = torch.nn.Identity()
    return network


def vgg(torch, settings, side):
    """VGG-11 of torchvision with normalisation."""
    from torchvision.models import vgg11_bn  # noqa: PLC0415

    del settings, side
    network = vgg11_bn()
    network.avgpool = torch.nn.AdaptiveAvgPool2d(1)
    network.classifier = torch.nn.Linear(512, NUM_CLASSES)
    return network


def conv_mixer(torch, settings, side):
    """ConvMixer of timm."""
    from timm.models.convmixer import ConvMixer  # noqa: PLC0415

    del torch, side
    return ConvMixer(
        dim=settings["width"],
        depth=settings["depth"],
        kernel_size=settings["kernel_size"],
        patch_size=settings["patch_size"],
        num_classes=NUM_CLASSES,
    )


def vit(torch, settings, side):
    """ViT-Ti/16 of timm."""
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    del torch
    return VisionTransformer(
        img_size=side,
        patch_size=settings["patch_size"],
        embed_dim=settings["width"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        num_classes=NUM_CLASSES,
    )


def mlp_mixer(torch, settings, side):
    """Mixer of timm; S/16 has twice as many blocks."""
    from timm.models.mlp_mixer import MlpMixer  # noqa: PLC0415

    del torch
    width = settings["width"]
    return MlpMixer(
        num_classes=NUM_CLASSES,
        img_size=side,
        patch_size=settings["patch_size"],
        num_blocks=settings["depth"],
        embed_dim=width,
        mlp_ratio=(settings["tokens_width"] / width, settings["channels_width"] / width),
    )


def efficientnet_lite(torch, settings, side):
    """EfficientNet-Lite0 of timm, padded as by TensorFlow or as by torch."""
    import timm  # noqa: PLC0415

    del torch, side
    prefix = "tf_" if settings.get("padding", "tensorflow") == "tensorflow" else ""
    return timm.create_model(f"{prefix}efficientnet_lite0", num_classes=NUM_CLASSES)


AFFINE = {"normalization": "affine"}
CONV_MIXER = {"patch_size": 7, "depth": 4, "width": 96, "kernel_size": 7}
MIXER = {"patch_size": 16, "depth": 4, "width": 512, "tokens_width": 256, "channels_width": 2048}
LARGE = {"blocks": (3, 4, 6, 3), "bottleneck": True, "stem": "large"}
CASES = {
    "resnet": (resnet, {"padding": "SAME"}, 32),
    "resnet-odd": (resnet, {"padding": "SAME"}, 33),
    "resnet-circular": (resnet, {"padding": "circular"}, 32),
    "resnet-50": (resnet, {**LARGE, **AFFINE}, 64),
    "vgg": (vgg, {"padding": "SAME"}, 64),
    "vgg-circular": (vgg, {"padding": "circular"}, 64),
    "vgg-affine": (vgg, AFFINE, 64),
    "conv_mixer": (conv_mixer, CONV_MIXER, 56),
    "conv_mixer-circular": (conv_mixer, {**CONV_MIXER, "padding": "circular"}, 56),
    "conv_mixer-affine": (conv_mixer, {**CONV_MIXER, **AFFINE}, 56),
    "vit": (vit, {"patch_size": 16, "depth": 12, "width": 192, "heads": 3}, 64),
    "mlp_mixer": (mlp_mixer, MIXER, 64),
    "efficientnet_lite": (efficientnet_lite, AFFINE, 64),
    "efficientnet_lite-same": (efficientnet_lite, {**AFFINE, "padding": "SAME"}, 64),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_input_gradients_are_the_peers(torch, case, tmp_path):
    make_peer, settings, side = CASES[case]
    family = case.split("-")[0]
    model = models.create(family, num_classes=NUM_CLASSES, **settings)
    network = make_peer(torch, settings, side)
    if "normalization" not in settings:
        _normalise_groups(torch, network, 1 if family == "conv_mixer" else 8)
    _pad(torch, network, settings.get("padding", "SAME"))
    _leave_initialisation(torch, network)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    params = interop.load_weights(tmp_path / "weights.pth", model, image_shape=(side, side, 3))

    rng = np.random.default_rng(IMAGES_SEED)
    images = rng.random((3, side, side, 3))
    direction = rng.standard_normal((3, NUM_CLASSES))
    with jax.enable_x64():  # in float32 a ReLU near its kink may round to either side
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        logits, pullback = jax.vjp(jax.jit(lambda x: model.apply(params, x)), jnp.asarray(images))
        logits, slopes = np.asarray(logits), np.asarray(pullback(jnp.asarray(direction))[0])
    assert logits.dtype == slopes.dtype == np.float64
    pixels = torch.tensor(np.moveaxis(images, -1, 1), requires_grad=True)
    theirs = network.double().eval()(pixels)
    theirs.backward(torch.tensor(direction))
    their_slopes = np.moveaxis(pixels.grad.numpy(), 1, -1)
    scale = np.abs(logits).max()
    assert float(np.std(logits, axis=0).max()) > 1e-4 * scale  # logits tell the images apart

    # Statistics are folded into scale and bias in the precision of the weights.
    precision = 1e-5 if settings.get("normalization") == "affine" else 1e-9
    np.testing.assert_allclose(logits, theirs.detach().numpy(), atol=precision * max(1, scale))
    largest = np.abs(their_slopes).max()
    np.testing.assert_allclose(slopes, their_slopes, atol=precision * largest)

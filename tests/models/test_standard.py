"""The standard architectures: published sizes, and what every network here must do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from freqbias import models
from freqbias.models import MLPMixer, ResNet, ViT, layers

SMALL = {
    "vit": {"depth": 1, "width": 8, "heads": 2},
    "mlp_mixer": {"depth": 1, "width": 8, "tokens_width": 4, "channels_width": 8},
    "conv_mixer": {"depth": 1, "width": 8, "kernel_size": 3},
    "global_filter": {"depth": 1, "width": 8, "mlp_ratio": 2},
    "resnet": {"blocks": (1, 1), "width": 8, "groups": 4},
    "vgg": {"convolutions": (1, 1), "width": 8, "groups": 4},
    "efficientnet_lite": {
        "stages": ((1, 8, 1, 1, 3), (2, 8, 2, 2, 5)),
        "stem": 8,
        "head": 8,
        "groups": 4,
    },
}


def init(model, key, images):
    """Parameters, by one program."""
    return jax.jit(model.init)(key, images)


def apply(model, params, images):
    """Logits, by one program."""
    return jax.jit(model.apply)(params, images)


every_model = pytest.mark.parametrize("name", SMALL)


@pytest.mark.parametrize(
    ("name", "settings", "side", "published"),
    [  # published: timm's counts, and for ResNet-18 that of the usual form for CIFAR-10
        ("vit", dict(patch_size=16, depth=12, width=192, heads=3), 224, 5_717_416),
        ("vit", dict(patch_size=16, depth=12, width=384, heads=6), 224, 22_050_664),
        (
            "mlp_mixer",
            dict(patch_size=16, depth=8, width=512, tokens_width=256, channels_width=2048),
            224,
            18_528_264,
        ),
        ("conv_mixer", dict(patch_size=7, depth=32, width=768, kernel_size=7), 224, 21_110_248),
        ("resnet", {}, 32, 11_173_962),
        (
            "resnet",
            dict(blocks=(3, 4, 6, 3), bottleneck=True, stem="large", normalization="affine"),
            224,
            25_557_032,
        ),
        ("efficientnet_lite", {}, 224, 4_652_008),
    ],
)
def test_parameter_counts_are_the_published_ones(name, settings, side, published):
    model = models.create(name, num_classes=10 if side == 32 else 1000, **settings)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    assert models.num_parameters(params) == published


def test_vgg_11_by_hand():
    widths = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    expected = sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths))
    model = models.create("vgg", num_classes=10)
    params = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    assert models.num_parameters(params) == expected + 512 * 10 + 10


@every_model
def test_an_image_does_not_depend_on_its_batch_and_standardisation_is_inside(name, rng):
    images = rng.random((4, 8, 8, 2), np.float32)
    model = models.create(name, num_classes=3, mean=(0.3, 0.4), std=(0.2, 0.5), **SMALL[name])
    params = init(model, jax.random.key(1), images)
    logits = np.asarray(apply(model, params, images))
    assert logits.shape == (4, 3)
    np.testing.assert_allclose(apply(model, params, images[1:2]), logits[1:2], atol=1e-5)
    bare = models.create(name, num_classes=3, **SMALL[name])
    shifted = (images - np.float32([0.3, 0.4])) / np.float32([0.2, 0.5])
    np.testing.assert_allclose(apply(bare, params, shifted), logits, rtol=1e-4, atol=1e-5)
    slopes = jax.jit(jax.grad(lambda x: jnp.sum(model.apply(params, x) ** 2)))(images)
    assert (np.abs(slopes).max(axis=(1, 2, 3)) > 0).all()


def test_mixers_and_transformers_see_patches_in_their_own_way(rng):
    """Swapping two patches: a transformer without positions is blind to it, a mixer is not."""
    images = rng.random((2, 8, 8, 1), np.float32)
    swapped = images.copy()
    swapped[:, :4, :4], swapped[:, 4:, 4:] = images[:, 4:, 4:], images[:, :4, :4]
    vit = ViT(3, depth=1, width=8, heads=2)
    params = init(vit, jax.random.key(1), images)
    params["params"]["positions"] = np.zeros_like(params["params"]["positions"])
    np.testing.assert_allclose(apply(vit, params, swapped), apply(vit, params, images), atol=1e-5)
    mixer = MLPMixer(3, depth=1, width=8, tokens_width=4, channels_width=8)
    params = init(mixer, jax.random.key(1), images)
    assert not np.allclose(apply(mixer, params, swapped), apply(mixer, params, images), atol=1e-3)


def test_circular_residual_networks_commute_with_shifts_of_their_stride(rng):
    """Global pooling and circular padding: logits do not see a shift by the total stride."""
    images = rng.random((2, 8, 8, 1), np.float32)
    moved = np.roll(images, (2, 4), axis=(1, 2))
    for padding, same in (("circular", True), ("SAME", False)):
        model = ResNet(3, blocks=(1, 1), width=8, groups=4, kernel_size=5, padding=padding)
        params = init(model, jax.random.key(1), images)
        close = np.allclose(apply(model, params, moved), apply(model, params, images), atol=1e-4)
        assert close == same


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vit", {"heads": 3}, "width must be a multiple of heads"),
        ("vit", {"patch_size": 3}, "patch_size must divide the image"),
        ("mlp_mixer", {"patch_size": 5}, "patch_size must divide the image"),
        ("conv_mixer", {"padding": "reflect"}, "padding must be one of"),
        ("conv_mixer", {"depth": 0}, "depth must be at least 1"),
        ("resnet", {"groups": 3}, "groups must divide width"),
        ("vgg", {"kernel_size": 0}, "kernel_size must be at least 1"),
        ("vgg", {"normalization": "batch"}, "normalization must be one of"),
        ("resnet", {"stem": "wide"}, "stem must be one of"),
        ("efficientnet_lite", {"padding": "VALID"}, "padding must be one of"),
    ],
)
def test_bad_settings_are_named(name, change, message):
    model = models.create(name, num_classes=3, **{**SMALL[name], **change})
    with pytest.raises(ValueError, match=message):
        init(model, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))


@pytest.mark.parametrize("padding", ["SAME", "circular"])
@pytest.mark.parametrize(
    "given",
    [{}, {"stride": 2}, {"kernel_size": 4}, {"kernel_size": 7, "stride": 2}, {"depthwise": True}],
    ids=str,
)
def test_a_convolution_is_flax_s_on_the_same_parameters(padding, given, rng):
    """Both routes to one layer; 7 taps are more than the image has pixels."""
    images = rng.standard_normal((2, 5, 6, 3), np.float32)
    ours = layers.Conv(**{"channels": 3, "kernel_size": 3, "padding": padding, **given})
    taps, stride = ours.kernel_size, ours.stride
    flax = nn.Conv(
        3,
        (taps, taps),
        stride,
        padding="CIRCULAR" if padding == "circular" else [((taps - 1) // 2, taps // 2)] * 2,
        feature_group_count=3 if ours.depthwise else 1,
    )
    params = init(flax, jax.random.key(1), images)
    jax.tree.map(np.testing.assert_array_equal, params, init(ours, jax.random.key(1), images))
    params["params"]["bias"] = np.arange(3, dtype=np.float32)
    found, expected = apply(ours, params, images), apply(flax, params, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"padding": "CIRCULAR"}, "padding must be one of"),
        ({"depthwise": True, "stride": 2}, "stride must be 1 if depthwise; got 2"),
    ],
)
def test_bad_options_of_a_convolution_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        layers.Conv(3, 3, **given).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_a_global_filter_is_a_depthwise_circular_convolution_of_full_width(rng):
    """Two routes: the product in frequency, and the sum over all shifts of the kernel in space."""
    model = models.GlobalFilterNet(3, patch_size=1, depth=1, width=8, mlp_ratio=1)
    images = rng.random((2, 6, 4, 2), np.float32)
    params = init(model, jax.random.key(1), images)["params"]
    parts = np.asarray(params["filter_0"], np.float64)
    assert parts.shape == (6, 3, 8, 2)
    kernel = np.fft.irfft2(parts[..., 0] + 1j * parts[..., 1], s=(6, 4), axes=(0, 1))

    @jax.jit
    def gelu(x):
        return nn.gelu(x, approximate=False)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return x * np.asarray(params[name]["scale"]) + np.asarray(params[name]["bias"])

    def dense(x, layer):
        return x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])

    x = dense(np.asarray(images, np.float64), params["embedding"])
    mixed = norm(x, "norm_filter_0")
    convolved = sum(
        kernel[dy, dx] * np.roll(mixed, (dy, dx), axis=(1, 2)) for dy in range(6) for dx in range(4)
    )
    hidden = dense(norm(convolved, "norm_mlp_0"), params["mlp_0"]["expand"])
    x = x + dense(np.asarray(gelu(hidden)), params["mlp_0"]["contract"])
    expected = dense(norm(x, "norm").mean((1, 2)), params["head"])
    np.testing.assert_allclose(apply(model, {"params": params}, images), expected, atol=2e-5)

"""Every architecture of the zoo, run through one table of shared properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import models, ops
from freqbias.training import shared_apply_fn

SHAPE = (8, 8, 2)
TABLE = {
    "fc": {"depth": 2, "width": 16},
    "conv": {"depth": 2, "kernel_size": 3, "channels": 4},
    "conv_full": {"depth": 2, "kernel_size": 8, "channels": 4},
    "locally_connected": {"depth": 2, "kernel_size": 3, "channels": 4},
    "locally_connected_tied": {"depth": 2, "kernel_size": 3, "channels": 4},
    "scattered": {"depth": 2, "kernel_size": 3, "channels": 4},
    "scattered_unshared": {"depth": 2, "kernel_size": 3, "channels": 4},
}


def init(model, key, images):
    """Parameters, by programs of single draws: networks share them, where shapes are equal."""
    return model.lazy_init(key, jax.ShapeDtypeStruct(images.shape, images.dtype))


def apply(model, params, images):
    """Logits, by one program."""
    return jax.jit(model.apply)(params, images)


every_model = pytest.mark.parametrize("case", TABLE)


def make(case, **changes):
    name = case.removesuffix("_full")
    return models.create(name, num_classes=3, **{**TABLE[case], **changes})


def images_of(key, num=5):
    return np.random.default_rng(key).random((num, *SHAPE), np.float32)


@every_model
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_logits_and_batch_independence(case, activation):
    """An image's logits do not depend on the batch it is in."""
    model, images = make(case, activation=activation), images_of(0)
    params = init(model, jax.random.key(1), images)
    logits = np.asarray(apply(model, params, images))
    assert logits.shape == (5, 3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(apply(model, params, images[:1]), logits[:1], atol=2e-6)


@every_model
def test_affine_without_activation(case, x64):
    """No activation: f(x) = b + <beta, x> to rounding, in float64."""
    model = make(case, activation="none", mean=(0.3, 0.4), std=(0.2, 0.5))
    images = np.float64(images_of(0))
    params = init(model, jax.random.key(1), images)
    assert ops.is_affine(model.apply, params, SHAPE, jnp.float64)

    @jax.jit
    def both(params):
        predictor = ops.affine_predictor(model.apply, params, SHAPE, jnp.float64)
        return model.apply(params, images), predictor(images), predictor.weights

    logits, found, weights = jax.device_get(both(params))
    assert np.abs(found - logits).max() <= 1e-12 * np.abs(weights).max() * images[0].size


@every_model
def test_not_affine_with_relu(case):
    model = make(case, activation="relu")
    params = jax.eval_shape(model.init, jax.random.key(0), images_of(0))
    assert not ops.is_affine(model.apply, params, SHAPE)


@every_model
def test_init_scale_scales_the_function(case):
    """Alpha scales the linear network at initialisation by alpha, whatever its depth."""
    images = images_of(0)
    logits = []
    for scale in (1.0, 0.1):
        model = make(case, activation="none", init_scale=scale)
        logits.append(np.asarray(apply(model, init(model, jax.random.key(1), images), images)))
    np.testing.assert_allclose(logits[1], 0.1 * logits[0], rtol=1e-4, atol=1e-5)


@every_model
def test_activations_keep_their_size(case):
    """He scaling: hidden second moments stay of order one through the layers of a ReLU net."""
    model = make(case, activation="relu")
    images = np.random.default_rng(0).standard_normal((32, *SHAPE), np.float32)

    def moments(key):
        _, kept = model.apply(model.init(key, images), images, mutable=["intermediates"])
        hidden = kept["intermediates"]
        return jnp.stack([jnp.mean(hidden[f"hidden_{i}"][0] ** 2) for i in range(2)])

    found = np.asarray(jax.jit(jax.vmap(moments))(jax.random.split(jax.random.key(1), 64)))
    standard_error = found.std(axis=0) / 8
    # The input has second moment 1; ReLU halves what the gain of sqrt(2) doubled.
    assert (abs(found.mean(axis=0) - 1.0) < 4 * standard_error + 0.02).all()


@every_model
def test_standardisation_is_inside(case):
    """Standardising outside gives the same logits as mean and std inside."""
    images = images_of(0)
    inside, outside = make(case, mean=(0.3, 0.4), std=(0.2, 0.5)), make(case)
    params = init(inside, jax.random.key(1), images)
    shifted = (images - np.float32([0.3, 0.4])) / np.float32([0.2, 0.5])
    np.testing.assert_allclose(
        apply(inside, params, images), apply(outside, params, shifted), rtol=1e-4, atol=1e-5
    )


@every_model
def test_models_of_one_shape_share_their_apply(case):
    """Initialisation is no reason to compile again."""
    assert shared_apply_fn(make(case)) is shared_apply_fn(make(case, init_scale=0.5))
    assert shared_apply_fn(make(case)) is not shared_apply_fn(make(case, depth=1))
    tied = shared_apply_fn(make("locally_connected_tied"))
    assert (shared_apply_fn(make(case)) is tied) == case.startswith("locally_connected")


def test_parameter_counts():
    """By hand: kernels, biases, readout."""
    counts = {
        "fc": 128 * 16 + 16 + 16 * 16 + 16 + 16 * 3 + 3,
        "conv": 9 * 2 * 4 + 4 + 9 * 4 * 4 + 4 + 256 * 3 + 3,
        "conv_full": 64 * 2 * 4 + 4 + 64 * 4 * 4 + 4 + 256 * 3 + 3,
        "locally_connected": 64 * (9 * 2 * 4 + 4 + 9 * 4 * 4 + 4) + 256 * 3 + 3,
        "scattered": 9 * 2 * 4 + 4 + 9 * 4 * 4 + 4 + 256 * 3 + 3,
    }
    for case, expected in counts.items():
        params = jax.eval_shape(make(case).init, jax.random.key(0), images_of(0, 1))
        assert models.num_parameters(params) == expected


@pytest.mark.parametrize("case", ["conv", "conv_full", "scattered"])
def test_shared_weights_commute_with_shifts(case):
    """Translational symmetry: shifting the image shifts every hidden layer."""
    model, images = make(case), images_of(0)
    params = init(model, jax.random.key(1), images)

    @jax.jit
    def hidden(x):
        return model.apply(params, x, mutable=["intermediates"])[1]["intermediates"]["hidden_1"][0]

    moved = hidden(np.roll(images, (2, 3), axis=(1, 2)))
    np.testing.assert_allclose(moved, np.roll(hidden(images), (2, 3), axis=(1, 2)), atol=2e-6)


def test_tied_init_starts_from_the_convolution():
    """Conv-tied locally connected: the same function class point as a conv net, weights free."""
    images = images_of(0)
    model = make("locally_connected_tied")
    params = jax.device_get(init(model, jax.random.key(1), images))
    kernel = params["params"]["kernel_0"]
    assert kernel.shape == (8, 8, 9, 2, 4)
    np.testing.assert_array_equal(kernel, np.broadcast_to(kernel[:1, :1], kernel.shape))
    conv = make("conv")
    tied = jax.tree.map(lambda leaf: leaf, params)
    for index, channels in enumerate((2, 4)):
        own = params["params"][f"kernel_{index}"][0, 0]
        tied["params"][f"kernel_{index}"] = own.reshape(3, 3, channels, 4)
        tied["params"][f"bias_{index}"] = np.zeros(4, np.float32)
    np.testing.assert_allclose(
        apply(conv, tied, images), apply(model, params, images), rtol=1e-4, atol=1e-5
    )


def test_full_width_relu_nets_live():
    """Every one of 64 full-width nets of 4 channels has an input gradient at initialisation."""
    model, images = make("conv_full", mirrored=True), images_of(0, 16)

    def gradient(key):
        params = model.init(key, images)
        return jax.grad(lambda x: jnp.sum(model.apply(params, x) ** 2))(images)

    slopes = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(1), 64))
    assert (np.abs(slopes).max(axis=(2, 3, 4)) > 0).all()


def test_mirrored_channels_come_in_pairs():
    params = init(make("conv", mirrored=True), jax.random.key(0), images_of(0, 1))["params"]
    kernel = np.asarray(params["kernel_0"])
    np.testing.assert_array_equal(kernel[..., :2], -kernel[..., 2:])


@pytest.mark.parametrize("padding", ["circular", "SAME", "VALID"])
@pytest.mark.parametrize("pooling", [None, "average", "max", "global_average"])
@pytest.mark.parametrize("normalization", [None, "layer", "group"])
def test_conv_options(padding, pooling, normalization):
    model = models.ConvNet(
        num_classes=3, padding=padding, pooling=pooling, normalization=normalization
    )
    images = images_of(0)
    logits = apply(model, init(model, jax.random.key(1), images), images)
    assert logits.shape == (5, 3)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("conv", {"kernel_size": 9}, "kernel_size must be at most the image size"),
        ("locally_connected", {"kernel_size": 9}, "kernel_size must be at most"),
        ("conv", {"activation": "tanh"}, "activation must be one of 'none', 'relu', 'gelu'"),
        ("conv", {"padding": "reflect"}, "padding must be one of"),
        ("conv", {"pooling": "sum"}, "pooling must be one of"),
        ("conv", {"normalization": "batch"}, "normalization must be one of"),
        ("conv", {"mirrored": True, "channels": 3}, "channels must be even"),
        ("fc", {"init_scale": 0.0}, "init_scale must be positive"),
        ("fc", {"depth": -1}, "depth must be an int >= 0"),
        ("fc", {"std": (0.0,)}, "std must be positive"),
        ("fc", {"mean": (0.0, 0.0, 0.0)}, "mean must have one entry or one per channel"),
    ],
)
def test_bad_settings_are_named(case, change, message):
    with pytest.raises(ValueError, match=message):
        init(make(case, **change), jax.random.key(0), images_of(0))


def test_unknown_architecture_lists_the_known():
    with pytest.raises(ValueError, match="name must be one of 'fc', 'conv', 'locally_connected'"):
        models.create("perceptron", num_classes=3)

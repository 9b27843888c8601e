"""The effective predictor: gradient against forward pass, product of DFTs against gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import models, ops
from freqbias.ops import square_offsets
from freqbias.theory import predictor as pred

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def linearise(apply, params, shape, dtype):
    return jax.jit(lambda p: pred.affine_predictor(apply, p, shape, jnp.dtype(dtype)))(params)


def patches(images, kernel_size):
    """images[d + k - p] for every output pixel d and tap k, [N, H, W, Kh, Kw, C]."""
    y, x = (
        (np.arange(size)[:, None] + np.arange(taps) - (taps - 1) // 2) % size
        for size, taps in zip(images.shape[1:3], kernel_size, strict=True)
    )
    return images[:, y[:, None, :, None], x[None, :, None, :]]


def circular_conv(kernel, images):
    """Cross-correlation by its definition."""
    return jnp.einsum(
        "nhwabi,abio->nhwo", patches(images, kernel.shape[:2]), kernel, precision="highest"
    )


def conv_apply(params, images):
    for kernel, bias in params["layers"]:
        images = circular_conv(kernel, images) + bias[None, None, None]
    return jnp.einsum("nhwc,hwck->nk", images, params["readout"], precision="highest")


def conv_params(rng, sizes, shape, dtype, channels=(2, 3, 4), num_classes=3):
    widths = channels[: len(sizes) + 1]
    return {
        "layers": [
            (normal(rng, (*size, i, o), dtype), normal(rng, (o,), dtype))
            for size, i, o in zip(sizes, widths[:-1], widths[1:], strict=True)
        ],
        "readout": normal(rng, (*shape, widths[-1], num_classes), dtype),
    }


CONVS = {
    "one layer": (((3, 3),), (6, 5)),
    "deep, even and odd kernels": (((3, 3), (2, 4)), (6, 5)),
    "full width": (((6, 5), (6, 5)), (6, 5)),
    "one-dimensional": (((1, 3), (1, 9)), (1, 9)),
}


@pytest.mark.parametrize(
    "case, dtype",
    [*((case, "float64") for case in CONVS), ("deep, even and odd kernels", "float32")],
)
def test_product_of_dfts_is_the_gradient_and_the_network(case, dtype):
    sizes, shape = CONVS[case]
    with jax.enable_x64(dtype == "float64"):
        rng = np.random.default_rng(0)
        params = conv_params(rng, sizes, shape, dtype)
        found = linearise(conv_apply, params, (*shape, 2), dtype)
        kernels = [kernel for kernel, _ in params["layers"]]
        closed = jax.jit(pred.conv_predictor)(kernels, params["readout"])
        error = pred.check_affine(conv_apply, params, (*shape, 2))
        scale = np.abs(found.weights).max()
        np.testing.assert_allclose(closed, found.weights, atol=TOLERANCE[dtype] * scale)
        assert found.weights.dtype == closed.dtype == dtype
        assert error <= TOLERANCE[dtype]  # of the network itself


def test_lax_conv_uses_the_same_origin_for_odd_kernels():
    rng = np.random.default_rng(1)
    kernel = normal(rng, (3, 5, 2, 3), "float32")
    images = normal(rng, (2, 7, 8, 2), "float32")
    wrapped = np.pad(images, ((0, 0), (1, 1), (2, 2), (0, 0)), mode="wrap")
    out = jax.lax.conv_general_dilated(
        wrapped, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(circular_conv(kernel, images), out, atol=1e-4)


def test_a_shift_of_all_taps_is_a_phase_only():
    rng = np.random.default_rng(2)
    kernel = normal(rng, (3, 3, 1, 2), "float32")
    corner = square_offsets(3, 3) + 1
    centred = pred.kernel_response(kernel, (8, 8))
    causal = pred.kernel_response(kernel, (8, 8), offsets=corner)
    padded = np.fft.fft2(kernel, (8, 8), axes=(0, 1))
    np.testing.assert_allclose(causal, padded, atol=1e-5)
    np.testing.assert_allclose(np.abs(centred), np.abs(causal), atol=1e-5)
    assert np.abs(centred - causal).max() > 1e-2
    readout = normal(rng, (8, 8, 2, 1), "float32")
    moved = pred.conv_predictor([kernel], readout, offsets=[corner])
    centred = pred.conv_predictor([kernel], readout)
    np.testing.assert_allclose(np.roll(moved, (-1, -1), (0, 1)), centred, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_locally_connected_shares_nothing_and_has_no_dft(depth, x64):
    rng = np.random.default_rng(3)
    shape, widths = (6, 5), (2, 3, 4)[: depth + 1]
    layers = [normal(rng, (*shape, 6, i, o), "float64") for i, o in itertools.pairwise(widths)]
    readout = normal(rng, (*shape, widths[-1], 3), "float64")

    def apply(params, images):
        layers, readout = params
        for layer in layers:
            taps = patches(images, (3, 2))
            taps = taps.reshape(*taps.shape[:3], 6, -1)
            images = jnp.einsum("nhwti,hwtio->nhwo", taps, layer)
        return jnp.einsum("nhwc,hwck->nk", images, readout)

    found = linearise(apply, (layers, readout), (*shape, 2), "float64")
    closed = pred.locally_connected_predictor(layers, readout, square_offsets(3, 2))
    np.testing.assert_allclose(closed, found.weights, rtol=0, atol=1e-12 * np.abs(closed).max())


def test_a_tied_locally_connected_layer_is_a_convolution(x64):
    rng = np.random.default_rng(4)
    kernel = rng.standard_normal((3, 3, 2, 3))
    readout = rng.standard_normal((6, 6, 3, 2))
    tied = np.broadcast_to(kernel.reshape(9, 2, 3), (6, 6, 9, 2, 3))
    np.testing.assert_allclose(
        pred.locally_connected_predictor([tied], readout, square_offsets(3, 3)),
        jax.jit(pred.conv_predictor)([kernel], readout),
        atol=1e-12,
    )


def test_dense(x64):
    rng = np.random.default_rng(5)
    kernels = [rng.standard_normal(size) for size in [(24, 7), (7, 5), (5, 3)]]

    def apply(params, images):
        hidden = images.reshape(len(images), -1)
        for kernel in params:
            hidden = hidden @ kernel
        return hidden

    found = linearise(apply, kernels, (4, 3, 2), "float64")
    np.testing.assert_allclose(pred.dense_predictor(kernels, (4, 3, 2)), found.weights, atol=1e-11)


def relu_apply(params, images):
    hidden = jax.nn.relu(jnp.einsum("nhwc,hwcm->nm", images, params[0]) + 0.1)
    return hidden @ params[1]


def relu_params(num_classes=4):
    rng = np.random.default_rng(6)
    return [normal(rng, (4, 4, 1, 8), "float32"), normal(rng, (8, num_classes), "float32")]


def test_a_network_which_is_not_affine_is_refused_and_its_error_reported():
    with pytest.raises(ValueError, match="must be affine"):
        pred.check_affine(relu_apply, relu_params(), (4, 4, 1))
    params = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), relu_params())
    read = jax.jit(jax.vmap(lambda p: pred.check_affine(relu_apply, p, (4, 4, 1))))
    assert np.all(read(params) > 1e-2)
    with pytest.raises(ValueError, match="must be affine"):  # dead at zero, alive elsewhere
        pred.check_affine(
            lambda p, x: jax.nn.relu(x.sum((1, 2, 3))[:, None] - p[None]), jnp.ones((1,)), (4, 4, 1)
        )


MODELS = {
    "fc": {"depth": 2, "width": 7},
    "conv": {"depth": 2, "kernel_size": 3, "channels": 3},
    "locally_connected": {"depth": 2, "kernel_size": 3, "channels": 2},
    "scattered": {"depth": 2, "kernel_size": 3, "channels": 2},
}


@pytest.mark.parametrize("name", MODELS)
def test_closed_predictors_are_those_of_the_models(name, x64):
    """Each affine family of the zoo, from its own weights, without running it."""
    shape = (6, 6, 2)
    model = models.create(name, num_classes=3, activation="none", **MODELS[name])
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, *shape)))
    found = linearise(model.apply, params, shape, "float64")
    weights = params["params"]
    last = weights["head"]["readout"]["kernel"]
    if name == "fc":
        hidden = [weights[layer]["kernel"] for layer in sorted(weights) if layer != "head"]
        closed = pred.dense_predictor([*hidden, last], shape)
    else:
        kernels = [weights["kernel_0"], weights["kernel_1"]]
        readout = last.reshape(6, 6, -1, 3)
        if name == "conv":
            closed = pred.conv_predictor(kernels, readout)
        elif name == "scattered":
            offsets = [ops.scattered_offsets(9, (6, 6), layer) for layer in range(2)]
            kernels = [kernel.reshape(3, 3, *kernel.shape[1:]) for kernel in kernels]
            closed = pred.conv_predictor(kernels, readout, offsets=offsets)
        else:
            closed = pred.locally_connected_predictor(kernels, readout, square_offsets(3, 3))
    np.testing.assert_allclose(closed, found.weights, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", [*MODELS, "locally_connected_tied", "scattered_unshared"]
)  # fmt: skip
def test_every_linear_architecture_is_its_predictor(name, dtype):
    """|f(x) - f(0) - <beta, x>| / (|beta| |x|), of the forward pass itself."""
    shape = (5, 5, 1)
    small = {"width": 4} if name == "fc" else {"kernel_size": 3, "channels": 2}
    model = models.create(name, num_classes=2, activation="none", depth=1, **small)
    with jax.enable_x64(dtype == "float64"):
        params = jax.jit(model.init)(jax.random.key(1), np.zeros((1, *shape), dtype))
        assert pred.check_affine(model.apply, params, shape) <= TOLERANCE[dtype]


def test_standardisation_inside_the_model_moves_the_bias_only():
    rng = np.random.default_rng(7)
    weights = normal(rng, (4, 4, 1, 3), "float32")

    @jax.jit
    def apply(params, images):
        return jnp.einsum("nhwc,hwck->nk", (images - 0.5) / 0.25, params)

    found = pred.affine_predictor(apply, weights, (4, 4, 1))
    np.testing.assert_allclose(found.weights, 4 * weights, rtol=1e-6)
    np.testing.assert_allclose(found.bias, -2 * weights.sum((0, 1, 2)), rtol=1e-5)


def test_margin_gradient_of_an_affine_network_is_its_pair_margin():
    rng = np.random.default_rng(8)
    weights = normal(rng, (4, 4, 1, 3), "float32")
    images, labels = normal(rng, (6, 4, 4, 1), "float32"), np.arange(6) % 3

    def apply(params, images):
        return jnp.einsum("nhwc,hwck->nk", images, params)

    logits = np.array(apply(weights, images))
    logits[np.arange(6), labels] = -np.inf
    w, b = pred.pair_margin(
        pred.affine_predictor(apply, weights, (4, 4, 1)), labels, logits.argmax(-1)
    )
    got = pred.margin_gradient(apply, weights, images, labels)
    np.testing.assert_allclose(got, w, atol=1e-6)
    assert b.shape == (6,)


def test_margin_gradient_of_a_relu_network_predicts_the_margin_nearby(x64):
    params = jax.tree.map(np.float64, relu_params())
    rng = np.random.default_rng(9)
    images, labels = rng.uniform(size=(5, 4, 4, 1)), np.arange(5) % 4
    gradient = np.asarray(pred.margin_gradient(relu_apply, params, images, labels))
    step = 1e-7 * rng.standard_normal(images.shape)

    def margin(images):
        logits = np.array(jax.jit(relu_apply)(params, images))
        true = logits[np.arange(5), labels]
        logits[np.arange(5), labels] = -np.inf
        return true - logits.max(-1)

    np.testing.assert_allclose(
        margin(images + step) - margin(images), (gradient * step).sum((1, 2, 3)), atol=1e-13
    )


def test_bad_arguments_say_what_was_expected():
    kernel, readout = np.ones((3, 3, 1, 2)), np.ones((8, 8, 2, 1))
    with pytest.raises(ValueError, match="not circulant"):
        pred.conv_predictor([kernel], readout, padding="SAME")
    with pytest.raises(ValueError, match="cannot feed"):
        pred.conv_predictor([kernel[..., :1]], readout)
    with pytest.raises(ValueError, match="must fit the image"):
        pred.conv_predictor([kernel], readout[:2])
    with pytest.raises(ValueError, match="layers must begin"):
        pred.locally_connected_predictor([np.ones((7, 8, 9, 1, 2))], readout, square_offsets(3, 3))
    with pytest.raises(ValueError, match="at least two logits"):
        pred.margin_gradient(
            relu_apply, relu_params(1), np.zeros((1, 4, 4, 1), np.float32), np.array([0])
        )
    with pytest.raises(ValueError, match=r"image_shape must be \(H, W, C\)"):
        pred.check_affine(relu_apply, relu_params(), (4, 4))

"""Convolution: one operation, three routes, every kernel size up to the image."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from freqbias import ops

ROUTES = ("direct", "im2col", "dft", "fft")
STATIC = ("padding", "method")
conv = jax.jit(ops.conv, static_argnames=("stride", *STATIC))
depthwise_conv = jax.jit(ops.depthwise_conv, static_argnames=STATIC)


def _random(key, *shape, dtype=np.float32):
    return np.random.default_rng(key).normal(size=shape).astype(dtype)


def _scipy(images, kernel, padding):
    """The same sum by scipy.signal.correlate2d, channel by channel."""
    images, kernel = np.asarray(images, np.float64), np.asarray(kernel, np.float64)
    rows, columns = kernel.shape[:2]
    top, left = (rows - 1) // 2, (columns - 1) // 2
    mode = "wrap" if padding == "circular" else "constant"
    out = []
    for image in images:
        widths = ((top, rows - 1 - top), (left, columns - 1 - left), (0, 0))
        padded = image if padding == "VALID" else np.pad(image, widths, mode=mode)
        out.append(
            [
                sum(
                    scipy.signal.correlate2d(padded[..., i], kernel[..., i, o], mode="valid")
                    for i in range(image.shape[-1])
                )
                for o in range(kernel.shape[-1])
            ]
        )
    return np.moveaxis(np.array(out), 1, -1)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("padding", ["circular", "SAME", "VALID"])
@pytest.mark.parametrize("kernel_size", [(1, 1), (2, 2), (3, 3), (3, 5), (6, 7)])
def test_every_route_matches_scipy(method, padding, kernel_size):
    images, kernel = _random(0, 2, 6, 7, 2), _random(1, *kernel_size, 2, 3)
    found = conv(images, kernel, padding=padding, method=method)
    np.testing.assert_allclose(found, _scipy(images, kernel, padding), rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("padding", ["circular", "SAME", "VALID"])
@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride_keeps_some_outputs(method, padding, stride):
    images, kernel = _random(0, 2, 6, 7, 2), _random(1, 3, 4, 2, 3)
    found = conv(images, kernel, stride=stride, padding=padding, method=method)
    expected = _scipy(images, kernel, padding)[:, ::stride, ::stride]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
@pytest.mark.parametrize("padding", ["circular", "SAME", "VALID"])
@pytest.mark.parametrize("kernel_size", [(1, 1), (2, 2), (3, 5), (6, 7)])
def test_depthwise_is_a_convolution_of_each_channel(method, padding, kernel_size):
    images, kernel = _random(0, 2, 6, 7, 3), _random(1, *kernel_size, 3)
    found = np.asarray(depthwise_conv(images, kernel, padding=padding, method=method))
    for channel in range(3):
        one = slice(channel, channel + 1)
        expected = _scipy(images[..., one], kernel[..., one, None], padding)
        np.testing.assert_allclose(found[..., one], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ROUTES)
def test_a_single_tap_shifts_the_image(method):
    """Cross-correlation: tap (0, 2) of a 3 x 3 kernel reads the pixel up and to the right."""
    images = _random(0, 1, 5, 5, 1)
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[0, 2] = 1.0
    found = conv(images, kernel, method=method)
    np.testing.assert_allclose(found, np.roll(images, (1, -1), axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("method", ROUTES)
def test_full_width_kernel_is_an_exact_circulant(method):
    """With K = N the DFT of the output is conj(DFT(kernel)) times that of the input."""
    images, kernel = _random(0, 1, 6, 6, 1), _random(1, 6, 6, 1, 1)
    found = np.fft.fft2(np.asarray(conv(images, kernel, method=method))[0, ..., 0])
    centred = np.roll(kernel[..., 0, 0], (-2, -2), axis=(0, 1))
    expected = np.conj(np.fft.fft2(centred)) * np.fft.fft2(images[0, ..., 0])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=12, deadline=None)
def test_routes_agree(size, kernel_size, channels, seed):
    kernel_size = tuple(min(k, s) for k, s in zip(kernel_size, size, strict=True))
    images, kernel = (
        _random(seed, 2, *size, channels[0]),
        _random(seed + 1, *kernel_size, *channels),
    )
    results = [conv(images, kernel, method=method) for method in ROUTES]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-5 * kernel.size)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("kernel_size", [3, 6])
def test_gradients(method, kernel_size, x64):
    images = _random(0, 2, 6, 6, 2, dtype=jnp.float64)
    kernel = _random(1, kernel_size, kernel_size, 2, 2, dtype=jnp.float64)
    check_grads(lambda x, k: conv(x, k, method=method), (images, kernel), order=2, modes=["rev"])


@pytest.mark.parametrize("method", ["im2col", "fft"])
def test_scattered_is_circulant_and_reads_its_offsets(method):
    images, weights = _random(0, 2, 5, 6, 2), _random(1, 4, 2, 3)
    offsets = ops.scattered_offsets(4, (5, 6), seed=0)
    scattered = jax.jit(partial(ops.scattered_conv, offsets=offsets, method=method))
    found = scattered(images, weights)
    expected = sum(
        np.roll(images, (-int(dy), -int(dx)), axis=(1, 2)) @ weights[t]
        for t, (dy, dx) in enumerate(offsets)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    moved = scattered(np.roll(images, 2, axis=1), weights)
    np.testing.assert_allclose(moved, np.roll(found, 2, axis=1), atol=1e-5)


def test_square_offsets_make_scattered_a_convolution():
    images, kernel = _random(0, 2, 5, 6, 2), _random(1, 3, 2, 2, 3)
    found = ops.scattered_conv(images, kernel.reshape(6, 2, 3), ops.square_offsets(3, 2))
    np.testing.assert_allclose(found, conv(images, kernel), atol=1e-5)


def test_repeated_offsets_add():
    """Two taps at one place are one tap with the sum of their weights."""
    images, weights = _random(0, 1, 4, 4, 1), _random(1, 2, 1, 1)
    for method in ("im2col", "fft"):
        found = ops.scattered_conv(images, weights, np.array([[1, 1], [5, 1]]), method=method)
        expected = np.roll(images, (-1, -1), axis=(1, 2)) * weights.sum()
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_rule_goes_by_shape_and_backend():
    side = (28, 28)
    assert ops.choose_method(9, 1, 8, side, "cpu") == "im2col"
    assert ops.choose_method(9, 64, 64, side, "cpu") == "dft"
    assert ops.choose_method(28 * 28, 1, 8, side, "cpu") == "dft"
    assert ops.choose_method(28 * 28, 1, 8, (128, 128), "cpu") == "fft"
    assert ops.choose_method(9, 64, 64, side, "gpu") == "direct"
    assert ops.choose_method(49, 64, 64, side, "gpu") == "fft"
    assert ops.choose_method(49, 64, 64, side, "tpu") == "direct"
    assert ops.choose_method(28 * 28, 64, 64, side, "tpu") == "fft"


def test_the_rule_takes_larger_kernels_by_columns_where_images_need_no_gradient():
    side = (28, 28)
    assert ops.choose_method(25, 1, 8, side, "cpu") == "dft"
    assert ops.choose_method(25, 1, 8, side, "cpu", images_gradient=False) == "im2col"


def _is_by_columns(function, *arguments):
    """Whether a program has a product with 25 columns, as im2col of 5 x 5 taps does."""
    return "f32[25," in str(jax.make_jaxpr(function)(*arguments))


def test_the_gradient_of_the_kernel_alone_goes_by_columns_and_every_gradient_is_right():
    """5 x 5 taps, one input channel: im2col without, dft with a gradient of the images."""
    if jax.default_backend() != "cpu":
        pytest.skip("the rule sees what is differentiated on CPU alone")
    images, kernel = _random(0, 2, 28, 28, 1), _random(1, 5, 5, 1, 8)

    def loss(images, kernel, method="auto"):
        return jnp.tanh(ops.conv(images, kernel, method=method)).sum()

    by_columns = {0: False, 1: True, (0, 1): False}
    for wanted, expected in by_columns.items():
        found, other = (
            jax.grad(partial(loss, method=method), wanted) for method in ("auto", "im2col")
        )
        assert _is_by_columns(found, images, kernel) == expected
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
            jax.jit(found)(images, kernel),
            jax.jit(other)(images, kernel),
        )
    # Under loops, vmap and a second derivative it is the same.
    step = jax.grad(lambda kernel: jax.lax.map(lambda x: loss(x[None], kernel), images).sum())
    assert _is_by_columns(step, kernel)
    many = jax.jit(jax.vmap(jax.grad(loss, 1), (None, 0)))(images, kernel[None])
    one = jax.jit(jax.grad(loss, 1))(images, kernel)
    np.testing.assert_allclose(np.asarray(many)[0], one, rtol=1e-4, atol=1e-4)
    mixed = [
        jax.jit(jax.grad(lambda kernel, m=m: (jax.grad(loss)(images, kernel, m) ** 2).sum()))(
            kernel
        )
        for m in ("auto", "im2col")
    ]
    np.testing.assert_allclose(*mixed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("inputs", [1, 8, 32])
def test_the_rule_never_takes_xla_conv_on_cpu_and_im2col_up_to_some_size(inputs):
    chosen = [ops.choose_method(taps**2, inputs, 8, (28, 28), "cpu") for taps in range(1, 29)]
    assert set(chosen) == {"im2col", "dft"}
    assert chosen == sorted(chosen, reverse=True)


@pytest.mark.parametrize("method", ROUTES)
def test_vmap_over_kernels_equals_a_loop(method):
    """The seed axis: one kernel per seed."""
    images, kernels = _random(0, 4, 2, 6, 6, 2), _random(1, 4, 3, 3, 2, 2)

    def apply(image, kernel):
        return conv(image, kernel, method=method)

    looped = np.stack([apply(x, k) for x, k in zip(images, kernels, strict=True)])
    np.testing.assert_allclose(jax.vmap(apply)(images, kernels), looped, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((4, 4, 1), np.float32)}, ValueError, "images must have rank 4"),
        ({"images": np.zeros((1, 4, 4, 1), np.int32)}, TypeError, "images must be float"),
        ({"images": np.zeros((1, 4, 4, 2), np.float32)}, ValueError, "2 input channels"),
        ({"kernel": np.zeros((5, 5, 1, 1), np.float32)}, ValueError, "kernel_size must be at most"),
        ({"kernel": np.zeros((3, 3, 1, 1))}, TypeError, "one dtype"),
        ({"padding": "reflect"}, ValueError, "padding must be one of"),
        ({"method": "winograd"}, ValueError, "method must be one of"),
    ],
)
def test_bad_input_is_named(change, error, message, x64):
    arguments = {
        "images": np.zeros((1, 4, 4, 1), np.float32),
        "kernel": np.zeros((3, 3, 1, 1), np.float32),
        **change,
    }
    with pytest.raises(error, match=message):
        ops.conv(**arguments)

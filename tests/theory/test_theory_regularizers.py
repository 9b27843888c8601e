"""Norms of architectures: the verified table, closed forms at both ends, primal against dual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.theory import predictor
from freqbias.theory import regularizers as reg

SHAPE = (6, 5, 2)
REGULARIZERS = {
    "l2": reg.l2_regularizer(),
    "fourier": reg.fourier_regularizer(),
    "kernel": reg.kernel_regularizer((3, 2)),
    "locally connected": reg.locally_connected_regularizer((3, 2)),
    "nuclear": reg.nuclear_regularizer(),
}

TABLE_BETA = np.random.default_rng(1).standard_normal(48)[16:].reshape(1, 32, 1)
TABLE = [  # K and R_K of the predictor above, D = 32
    (1, "63.8117165"),
    (2, "63.3284"),
    (3, "61.9592"),
    (5, "61.5385"),
    (7, "61.5115"),
    (9, "61.4559"),
    (16, "59.5944"),
    (32, "58.4114731"),
]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("taps, text", TABLE)
def test_r_k_between_l2_and_the_l1_norm_of_the_dft(taps, text):
    found = reg.kernel_norm(TABLE_BETA, (1, taps))
    assert abs(found.value - float(text)) <= 0.51 * 10.0 ** -len(text.split(".")[1])
    assert found.gap < 1e-7


def test_r_k_never_increases_with_k_and_ends_in_closed_forms():
    values = [
        reg.kernel_norm(TABLE_BETA, (1, taps)).value
        for taps in (1, 2, 3, 4, 5, 6, 8, 12, 20, 28, 32)
    ]
    assert np.all(np.diff(values) <= 1e-6)
    np.testing.assert_allclose(values[0], 2 * np.sqrt(32) * np.linalg.norm(TABLE_BETA), rtol=1e-9)
    np.testing.assert_allclose(
        values[-1], 2 * reg.fourier_regularizer().norm(TABLE_BETA), rtol=1e-8
    )


@pytest.mark.peers
@pytest.mark.parametrize(
    "shape, taps", [((1, 12, 1), (1, 3)), ((5, 6, 1), (3, 3)), ((1, 32, 1), (1, 9))]
)
def test_r_k_by_factors_equals_the_semidefinite_program(shape, taps):
    pytest.importorskip("cvxpy")
    import convex_programs  # noqa: PLC0415 (needs cvxpy)

    beta = normal(*shape, seed=3)
    exact = convex_programs.kernel_norm(beta, taps)
    np.testing.assert_allclose(reg.kernel_norm(beta, taps).value, exact, rtol=1e-6)


def test_r_k_is_the_weight_cost_of_a_network_that_realises_beta():
    """Any two-layer net of K taps costs at least R_K of its predictor; scaling one way is free."""
    kernels, readout = normal(1, 3, 1, 2), normal(1, 12, 2, 1, seed=1)
    with jax.enable_x64(True):
        beta = np.asarray(predictor.conv_predictor([kernels], readout))[..., 0] / np.sqrt(12)
    cost = np.sum(kernels**2) + np.sum(readout**2)
    value = reg.kernel_norm(beta, (1, 3)).value
    assert value < cost
    assert value < 2 * np.sqrt(np.sum(kernels**2) * np.sum(readout**2))


def test_channels_do_not_matter_in_one_dimension_and_hardly_in_two():
    line = normal(1, 10, 1, seed=5)
    one = min(reg.kernel_norm(line, (1, 3), num_channels=1).value for _ in range(1))
    np.testing.assert_allclose(one, reg.kernel_norm(line, (1, 3)).value, rtol=1e-6)
    image = normal(4, 4, 1, seed=6)
    one = reg.kernel_norm(image, 2, num_channels=1).value
    two = reg.kernel_norm(image, 2)
    assert two.gap < 1e-6
    assert 1 - 1e-9 < one / two.value < 1.02


def test_with_several_channels_r_1_is_nuclear_and_r_full_groups_channels():
    """K = 1: 2 sqrt(D) nuclear. Full width: 2 sum_f ||beta_hat[f, :]||."""
    beta = normal(2, 2, 2)
    np.testing.assert_allclose(
        reg.kernel_norm(beta, 1).value,
        2 * np.sqrt(4) * reg.nuclear_regularizer().norm(beta),
        rtol=1e-7,
    )
    full = reg.kernel_norm(beta, 2, num_channels=3).value
    np.testing.assert_allclose(full, 2 * reg.fourier_regularizer().norm(beta), rtol=1e-5)


def test_locally_connected_norm_ends_in_closed_forms():
    beta = normal(4, 5, 2)
    one = reg.locally_connected_norm(beta, 1)
    np.testing.assert_allclose(one.value, 2 * np.sqrt((beta**2).sum(-1)).sum(), rtol=1e-8)
    full = reg.locally_connected_norm(beta, (4, 5))
    np.testing.assert_allclose(full.value, 2 * np.linalg.norm(beta), rtol=1e-8)
    middle = reg.locally_connected_norm(beta, 3)
    assert middle.gap < 1e-6
    assert full.value < middle.value < one.value


@pytest.mark.parametrize("name", REGULARIZERS)
def test_adjoint_is_the_adjoint_of_blocks(name):
    regularizer = REGULARIZERS[name]
    y = normal(*SHAPE)
    blocks = regularizer.blocks(y)
    weights = normal(*blocks.shape, seed=1)
    np.testing.assert_allclose(
        np.sum(blocks * weights), np.sum(y * regularizer.adjoint(weights, SHAPE)), rtol=1e-12
    )


@pytest.mark.parametrize("name", REGULARIZERS)
def test_hoelder_holds_and_is_attained(name):
    """<beta, y> <= Norm(beta) Norm*(y), with equality at the subgradient of the dual norm."""
    regularizer = REGULARIZERS[name]
    shape = (6, 5, 1) if name == "kernel" else SHAPE
    y = normal(*shape)
    dual = reg.dual_norm(regularizer, y)
    for seed in range(3):
        beta = normal(*shape, seed=10 + seed)
        assert np.sum(beta * y) <= regularizer.norm(beta) * dual
    blocks = regularizer.blocks(y)
    left, values, right = np.linalg.svd(blocks, full_matrices=False)
    b = np.argmax(values[:, 0])
    top = np.zeros_like(blocks)
    top[b] = np.outer(left[b, :, 0], right[b, 0])
    attained = regularizer.adjoint(top, shape)
    np.testing.assert_allclose(np.sum(attained * y), dual, rtol=1e-10)
    np.testing.assert_allclose(regularizer.norm(attained), 1.0, rtol=2e-5)


def test_dual_of_r_k_is_the_toeplitz_matrix_of_the_autocorrelation():
    y = normal(1, 9, 1)
    correlation = np.fft.ifft(np.abs(np.fft.fft(y[0, :, 0])) ** 2).real
    toeplitz = correlation[np.abs(np.subtract.outer(np.arange(4), np.arange(4)))]
    expected = np.sqrt(np.linalg.eigvalsh(toeplitz)[-1]) / (2 * np.sqrt(9))
    got = reg.dual_norm(reg.kernel_regularizer((1, 4)), y)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_duals_in_closed_form():
    y = normal(*SHAPE)
    spectrum = np.fft.fft2(y, axes=(0, 1), norm="ortho")
    got = reg.dual_norm(reg.fourier_regularizer(), y)
    np.testing.assert_allclose(got, np.sqrt((np.abs(spectrum) ** 2).sum(-1)).max(), rtol=1e-12)
    window = np.zeros(SHAPE)
    window[1:4, 2:4] = y[1:4, 2:4]
    assert reg.dual_norm(REGULARIZERS["locally connected"], y) >= np.linalg.norm(window) / 2 - 1e-12
    alone = reg.dual_norm(REGULARIZERS["locally connected"], window)
    np.testing.assert_allclose(alone, np.linalg.norm(window) / 2, rtol=1e-12)


@pytest.mark.parametrize("name", ["l2", "fourier", "nuclear"])
def test_norms_run_in_jax_under_vmap_and_jit(name):
    regularizer = REGULARIZERS[name]
    beta = normal(3, *SHAPE)
    got = jax.jit(jax.vmap(regularizer.norm))(jnp.asarray(beta, jnp.float32))
    np.testing.assert_allclose(got, [regularizer.norm(b) for b in beta], rtol=1e-5)
    dual = jax.jit(lambda y: reg.dual_norm(regularizer, y))(jnp.asarray(beta, jnp.float32))
    np.testing.assert_allclose(dual, reg.dual_norm(regularizer, beta), rtol=1e-5)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_conv_cost_is_attained_by_balanced_layers_and_exceeded_by_others(depth):
    """|w_l_hat| = |beta_hat|^{1/L} in every layer; unequal shares of a product cost more."""
    beta = normal(1, 8, 1)
    spectrum = np.fft.fft(beta[0, :, 0], norm="ortho")
    share = np.abs(spectrum) ** (1 / (depth + 1))
    readout = share * spectrum / np.abs(spectrum)
    layers = [np.fft.ifft(share, norm="ortho").real] * depth
    with jax.enable_x64(True):
        got = predictor.conv_predictor(
            [layer[None, :, None, None] for layer in layers],
            np.fft.ifft(readout, norm="ortho").real[None, :, None, None],
            offsets=[np.stack([np.zeros(8, int), np.arange(8)], 1)] * depth,
        )
        got = np.asarray(got)[..., 0] / 8 ** (depth / 2)  # each layer divided by sqrt(D)
    np.testing.assert_allclose(got, beta, atol=1e-12)
    cost = depth * np.sum(share**2) + np.sum(np.abs(readout) ** 2)
    np.testing.assert_allclose(reg.conv_cost(beta, depth), cost, rtol=1e-12)
    if depth:
        uneven = np.exp(normal(8, seed=2))
        other = np.sum((share * uneven) ** 2) + np.sum(np.abs(readout / uneven) ** 2)
        assert reg.conv_cost(beta, depth) < other + (depth - 1) * np.sum(share**2)
    unscaled = cost * 8.0 ** (-depth / (depth + 1))
    np.testing.assert_allclose(reg.conv_cost(beta, depth, scaled=False), unscaled, rtol=1e-12)


def test_dense_cost_is_attained_by_balanced_layers():
    beta = normal(2, 2, 1)
    size = np.linalg.norm(beta)
    for depth in range(4):
        cost = (depth + 1) * (size ** (1 / (depth + 1))) ** 2  # every layer of norm size^{1/L}
        np.testing.assert_allclose(reg.dense_cost(beta, depth), cost, rtol=1e-12)
    np.testing.assert_allclose(reg.conv_cost(beta, 0), reg.dense_cost(beta, 0), rtol=1e-12)


def test_bad_arguments_say_what_was_expected():
    with pytest.raises(ValueError, match="at most the image's"):
        reg.kernel_norm(normal(4, 4, 1), 5)
    with pytest.raises(ValueError, match="beta must have rank 3"):
        reg.kernel_norm(normal(4, 4), 3)
    with pytest.raises(ValueError, match="num_channels must be at least"):
        reg.kernel_norm(normal(4, 4, 2), 3, num_channels=1)
    with pytest.raises(ValueError, match="hidden layers"):
        reg.conv_cost(normal(4, 4, 1), -1)
    with pytest.raises(ValueError, match="H, W, C"):
        reg.dual_norm(reg.l2_regularizer(), normal(4, 4))
    assert reg.kernel_norm(np.zeros((4, 4, 1)), 3).value == 0

"""First-order residuals: zero where they must be, and not elsewhere."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.theory import margins, predictor, regularizers, stationarity

LINE = (1, 16, 1)
IMAGES = np.random.default_rng(0).standard_normal((8, *LINE))
LABELS = np.arange(8, dtype=np.int32) % 2


def solutions():
    return {
        "l2": margins.support_vector_machine(IMAGES, LABELS).weights,
        "l1": margins.max_margin(IMAGES, LABELS, regularizers.fourier_regularizer()).weights,
        "R_3": margins.max_margin(IMAGES, LABELS, regularizers.kernel_regularizer((1, 3))).weights,
    }


def residual(beta, depth):
    return stationarity.fourier_stationarity(beta, IMAGES, LABELS, depth=depth)


def test_solver_solutions_are_stationary_for_their_own_depth_only():
    found = solutions()
    assert residual(found["l2"], 0).residual < 1e-8
    optimal = residual(found["l1"], 1)
    assert optimal.residual < 1e-4
    assert optimal.dual_excess < 1e-3  # the zeros are optimal too
    assert residual(found["l1"], 0).residual > 0.1
    assert residual(found["l2"], 1).residual > 0.1
    assert residual(found["l2"], 2).residual > 0.1
    assert residual(found["R_3"], 2).residual > 0.1


def test_the_residual_does_not_depend_on_scale():
    beta = solutions()["l2"]
    one, other = residual(beta, 2), residual(1e3 * beta, 2)
    np.testing.assert_allclose(one.residual, other.residual, rtol=1e-9)
    assert one.num_frequencies == other.num_frequencies == 16
    assert np.isnan(one.dual_excess)


def test_a_single_frequency_in_the_data_s_cone_is_stationary_at_every_depth():
    """One image: beta along one of its frequencies, with its phase, satisfies the conditions."""
    image = IMAGES[:1]
    spectrum = np.fft.fft(image[0, 0, :, 0])
    kept = np.where(np.isin(np.arange(16), [3, 13]), spectrum, 0)
    beta = np.fft.ifft(kept).real[None, :, None]
    for depth in (1, 2, 3):
        found = stationarity.fourier_stationarity(beta, image, np.array([1]), depth=depth)
        assert found.residual < 1e-10
        assert found.num_frequencies == 2
    assert stationarity.fourier_stationarity(beta, image, np.array([1]), depth=0).residual > 0.1
    excess = stationarity.fourier_stationarity(beta, image, np.array([1]), depth=1).dual_excess
    loudest = np.abs(spectrum).max() / np.abs(spectrum[3]) - 1
    np.testing.assert_allclose(excess, loudest, rtol=1e-8)  # a louder frequency would be better


def test_parameter_stationarity_is_the_angle_to_the_gradient(x64):
    def objective(params):
        return -params["a"] @ np.array([3.0, 4.0]) + 0 * params["b"]

    aligned = {"a": np.array([3.0, 4.0]), "b": np.zeros(())}
    across = {"a": np.array([-4.0, 3.0]), "b": np.zeros(())}
    found = jax.jit(partial(stationarity.parameter_stationarity, objective))
    np.testing.assert_allclose(found(aligned), 0, atol=1e-15)
    np.testing.assert_allclose(found(across), 1)
    seeds = jax.tree.map(lambda a, b: np.stack([a, b]), aligned, across)
    np.testing.assert_allclose(jax.jit(jax.vmap(found))(seeds), [0, 1], atol=1e-15)


@pytest.mark.parametrize("kernel_size, per_frequency", [((5, 6), True), ((3, 3), False)])
def test_gradient_flow_conserves_layer_balance(kernel_size, per_frequency, x64):
    """Every frequency at full width; for local kernels only the sum, i.e. squared norms."""
    rng = np.random.default_rng(1)
    shape, channels = (5, 6), (1, 2, 2)
    params = {
        "kernels": [
            rng.standard_normal((*kernel_size, i, o)) / 3 for i, o in itertools.pairwise(channels)
        ],
        "readout": rng.standard_normal((*shape, 2, 1)) / 3,
    }
    images, targets = rng.standard_normal((7, *shape, 1)) / 3, rng.standard_normal(7)

    @jax.jit
    def loss(params):
        beta = predictor.conv_predictor(params["kernels"], params["readout"])[..., 0]
        return jnp.mean((jnp.einsum("nhwc,hwc->n", images, beta) - targets) ** 2)

    @jax.jit
    def balances(params):
        layers = [*params["kernels"], params["readout"]]
        return [
            stationarity.layer_balance(one, two, shape) for one, two in itertools.pairwise(layers)
        ]

    def velocity(params):
        return jax.tree.map(jnp.negative, jax.grad(loss)(params))

    @jax.jit
    def flow(params):
        def step(_, params):  # classical Runge-Kutta
            def ahead(size, slope):
                return jax.tree.map(lambda p, s: p + size * s, params, slope)

            h = 0.002
            k1 = velocity(params)
            k2 = velocity(ahead(h / 2, k1))
            k3 = velocity(ahead(h / 2, k2))
            k4 = velocity(ahead(h, k3))
            return jax.tree.map(
                lambda p, a, b, c, d: p + h / 6 * (a + 2 * b + 2 * c + d), params, k1, k2, k3, k4
            )

        return jax.lax.fori_loop(0, 300, step, params)

    after = jax.device_get(flow(params))
    assert loss(after) < 0.9 * loss(params)
    before, later = jax.device_get((balances(params), balances(after)))
    for one, two in zip(before, later, strict=True):
        if per_frequency:
            np.testing.assert_allclose(one, two, atol=1e-6)  # Runge-Kutta's own error
        else:
            assert np.abs(one - two).max() > 1e-3
        np.testing.assert_allclose(one.sum((0, 1)), two.sum((0, 1)), atol=1e-5)
    layers = [np.sum(k**2) for k in (*params["kernels"], params["readout"])]
    np.testing.assert_allclose(
        np.trace(before[0].sum((0, 1))).real, layers[0] - layers[1], rtol=1e-10
    )


def test_bad_arguments_say_what_was_expected():
    beta = solutions()["l2"]
    with pytest.raises(ValueError, match="must separate"):
        residual(-beta, 1)
    with pytest.raises(ValueError, match="hidden layers"):
        residual(beta, -1)
    with pytest.raises(ValueError, match="beta must be"):
        residual(beta[0], 1)
    with pytest.raises(ValueError, match="channels second begins with"):
        stationarity.layer_balance(np.ones((3, 3, 1, 2)), np.ones((3, 3, 1, 2)), (5, 5))

"""Maximum margins: certified solutions, a second solver, and certificates that can fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.theory import margins, regularizers
from freqbias.theory.certificate import certificate
from freqbias.typing import Status

REGULARIZERS = {
    "l2": regularizers.l2_regularizer(),
    "fourier": regularizers.fourier_regularizer(),
    "kernel": regularizers.kernel_regularizer(3),
    "locally connected": regularizers.locally_connected_regularizer(3),
    "nuclear": regularizers.nuclear_regularizer(),
}


def problem(shape=(6, 6, 2), num=12, seed=0):
    images = np.random.default_rng(seed).standard_normal((num, *shape))
    return images, np.arange(num, dtype=np.int32) % 2


def margins_of(beta, images, labels):
    return (2 * labels - 1) * np.tensordot(images, beta, 3)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_solutions_are_feasible_and_certified(name):
    images, labels = problem((4, 5, 1), 8) if name == "kernel" else problem()
    found = margins.max_margin(images, labels, REGULARIZERS[name])
    assert found.status == Status.OK
    assert -1e-12 < found.gap < 1e-6
    np.testing.assert_allclose(margins_of(found.weights, images, labels).min(), 1, rtol=1e-9)
    norm = REGULARIZERS[name].norm(found.weights)
    np.testing.assert_allclose(norm, found.norm, rtol=1e-5)
    again = certificate(
        found.weights, images, labels, REGULARIZERS[name], dual_weights=found.dual_weights
    )
    assert again.gap < 1e-5
    np.testing.assert_allclose(again.bound, 1 / found.norm, rtol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("name", REGULARIZERS)
def test_interior_point_on_the_dual_equals_clarabel_on_the_primal(name):
    pytest.importorskip("cvxpy")
    import convex_programs  # noqa: PLC0415 (needs cvxpy)

    images, labels = problem((4, 5, 2), 8) if name == "kernel" else problem()
    found = margins.max_margin(images, labels, REGULARIZERS[name])
    norm, beta = convex_programs.max_margin(images, labels, REGULARIZERS[name])
    np.testing.assert_allclose(found.norm, norm, rtol=2e-6)
    cosine = np.sum(found.weights * beta) / (np.linalg.norm(found.weights) * np.linalg.norm(beta))
    assert 1 - cosine < 1e-7


def test_support_vector_machine_is_exact_and_meets_the_kkt_conditions():
    images, labels = problem((28, 28, 1), 60)
    found = margins.support_vector_machine(images, labels)
    assert found.gap < 1e-12
    values = margins_of(found.weights, images, labels)
    assert values.min() > 1 - 1e-10
    assert np.all(found.dual_weights * (values - 1) < 1e-8 * found.dual_weights.max())
    one_tap = margins.max_margin(images, labels, regularizers.kernel_regularizer(1))
    np.testing.assert_allclose(one_tap.weights, found.weights, atol=1e-10)
    np.testing.assert_allclose(one_tap.norm, 2 * 28 * found.norm, rtol=1e-10)


@pytest.mark.slow
def test_images_of_28_by_28_take_a_second_or_two():
    images, labels = problem((28, 28, 1), 60)
    fourier = margins.max_margin(images, labels, regularizers.fourier_regularizer())
    kernel = margins.max_margin(images, labels, regularizers.kernel_regularizer(3))
    assert max(fourier.gap, kernel.gap) < 1e-6
    l2 = margins.support_vector_machine(images, labels).norm
    assert 2 * fourier.norm < kernel.norm < 2 * 28 * l2


def test_margins_order_as_the_norms_do():
    """R_K falls with K, from 2 sqrt(D) times l2 to twice l1 of the DFT."""
    images, labels = problem((6, 6, 1), 10)
    norms = [
        margins.max_margin(images, labels, regularizers.kernel_regularizer(taps)).norm
        for taps in (1, 2, 3)
    ]
    l2 = margins.support_vector_machine(images, labels).norm
    full = margins.max_margin(images, labels, regularizers.fourier_regularizer()).norm
    np.testing.assert_allclose(norms[0], 2 * 6 * l2, rtol=1e-9)
    assert norms[0] > norms[1] > norms[2] > 2 * full


def test_fourier_solution_is_sparse_in_frequency_and_the_l2_solution_is_not():
    images, labels = problem((8, 8, 1), 12)
    fourier = margins.max_margin(images, labels, regularizers.fourier_regularizer())
    l2 = margins.support_vector_machine(images, labels)

    def live(beta):
        amplitude = np.abs(np.fft.fft2(beta[..., 0]))
        return np.sum(amplitude > 1e-4 * amplitude.max())

    assert live(fourier.weights) < 40 < live(l2.weights)


def test_data_that_no_predictor_separates_have_a_status():
    images, labels = problem((2, 2, 1), 40)
    for regularizer in (REGULARIZERS["l2"], REGULARIZERS["fourier"]):
        found = margins.max_margin(images, labels, regularizer)
        assert found.status == Status.NOT_SEPARABLE
        assert np.all(found.weights == 0)
    assert margins.support_vector_machine(images, labels).status == Status.NOT_SEPARABLE
    twice = np.concatenate([images[:2], images[:2]])  # the same image in both classes
    assert (
        margins.support_vector_machine(twice, np.array([0, 1, 1, 0])).status == Status.NOT_SEPARABLE
    )


def test_an_unfinished_solution_says_so_and_still_bounds():
    images, labels = problem()
    found = margins.max_margin(images, labels, REGULARIZERS["fourier"], max_iterations=15)
    best = margins.max_margin(images, labels, REGULARIZERS["fourier"])
    assert found.status == Status.NOT_CONVERGED
    assert found.gap > 1e-6
    assert best.norm <= found.norm
    first = margins.max_margin(images, labels, REGULARIZERS["kernel"], max_iterations=1)
    assert first.status == Status.NOT_CONVERGED


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scale_of_the_images_is_immaterial(scale):
    images, labels = problem()
    for regularizer in (REGULARIZERS["l2"], REGULARIZERS["fourier"]):
        found = margins.max_margin(images, labels, regularizer)
        scaled = margins.max_margin(scale * images, labels, regularizer)
        assert scaled.status == Status.OK
        np.testing.assert_allclose(scale * scaled.norm, found.norm, rtol=2e-6)


def test_a_tiny_margin_is_found():
    images = np.zeros((2, 4, 4, 1))
    images[:, 0, 0] = 1.0
    images[0, 1, 1], images[1, 1, 1] = 1e-3, -1e-3
    found = margins.support_vector_machine(images, np.array([1, 0]))
    np.testing.assert_allclose(found.norm, 1e3, rtol=1e-6)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_certificate_bounds_every_predictor_and_shows_a_bad_one(name):
    images, labels = problem((4, 5, 1), 8) if name == "kernel" else problem()
    best = margins.max_margin(images, labels, REGULARIZERS[name])
    noise = np.random.default_rng(1).standard_normal(best.weights.shape)
    other = best.weights + 0.1 * np.abs(best.weights).max() * noise
    found = certificate(other, images, labels, REGULARIZERS[name])
    assert found.margin <= 1 / best.norm <= found.bound * (1 + 1e-6)
    assert found.gap > 1e-2
    wrong = certificate(-best.weights, images, labels, REGULARIZERS[name])
    assert wrong.margin < 0 and wrong.gap > 1


def test_a_predictor_certifies_itself_by_its_own_softmax():
    """The solver's multipliers are not needed: softmax of the margins bounds the gap."""
    images, labels = problem((1, 16, 1), 8)
    best = margins.support_vector_machine(images, labels)
    rng = np.random.default_rng(2)
    near = best.weights + 1e-3 * rng.standard_normal(best.weights.shape)
    found = certificate(near, images, labels, REGULARIZERS["l2"])
    assert found.gap < 0.3
    informed = certificate(near, images, labels, REGULARIZERS["l2"], dual_weights=best.dual_weights)
    assert informed.gap < found.gap
    far = best.weights + 0.1 * rng.standard_normal(best.weights.shape)
    assert certificate(far, images, labels, REGULARIZERS["l2"]).gap > found.gap


@pytest.mark.parametrize("informed", [True, False])
def test_a_certificate_of_members_is_that_of_their_images_alone(informed):
    images, labels = problem()
    members = np.arange(12) % 3 > 0
    beta = np.random.default_rng(4).standard_normal((6, 6, 2))
    weights = np.random.default_rng(5).uniform(size=12)
    got = certificate(
        beta, images, labels, REGULARIZERS["fourier"], members=members,
        dual_weights=weights if informed else None,
    )  # fmt: skip
    alone = certificate(
        beta, images[members], labels[members], REGULARIZERS["fourier"],
        dual_weights=weights[members] if informed else None,
    )  # fmt: skip
    np.testing.assert_allclose(got.margin, alone.margin, rtol=1e-12)
    if informed:
        np.testing.assert_allclose(got.bound, alone.bound, rtol=1e-12)
    best = margins.max_margin(images[members], labels[members], REGULARIZERS["fourier"])
    assert got.margin <= 1 / best.norm <= got.bound * (1 + 1e-6)


def test_certificates_of_many_seeds_under_vmap():
    images, labels = problem()
    betas = np.random.default_rng(3).standard_normal((4, 6, 6, 2)).astype(np.float32)
    got = jax.jit(jax.vmap(lambda b: certificate(b, images, labels, REGULARIZERS["fourier"]).gap))(
        jnp.asarray(betas)
    )
    expected = [certificate(b, images, labels, REGULARIZERS["fourier"]).gap for b in betas]
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_bad_arguments_say_what_was_expected():
    images, labels = problem()
    with pytest.raises(ValueError, match="both classes"):
        margins.max_margin(images, np.zeros(12, np.int32), REGULARIZERS["l2"])
    with pytest.raises(ValueError, match="max_iterations must be at least 1"):
        margins.max_margin(images, labels, REGULARIZERS["l2"], max_iterations=0)
    with pytest.raises(ValueError, match="labels must lie in"):
        margins.support_vector_machine(images, np.arange(12) % 3)
    with pytest.raises(ValueError, match="beta must be"):
        certificate(np.ones((5, 6, 2)), images, labels, REGULARIZERS["l2"])

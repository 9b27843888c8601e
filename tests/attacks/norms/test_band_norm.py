"""Norms limited to a band: the subspace V of a mask, and all methods within it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE
from hypothesis import given, settings
from hypothesis import strategies as st
from norm_table import band_basis, filtered, norm_id
from scipy import optimize, stats

from freqbias.attacks import L2, FourierLinf, Linf, band_limited, band_masks
from freqbias.spectral import band_mask

BOX = (0.0, 1.0)
LOW, HIGH = band_masks(SHAPE[:2], (0, 0.25, np.inf))
norms = pytest.mark.parametrize("norm", [L2(), Linf(), FourierLinf()], ids=norm_id)


def _normal(seed, shape=SHAPE):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def test_the_dimension_of_a_band_is_its_number_of_frequencies():
    """Two per pair f, -f; one per frequency that is its own mirror image: DC and Nyquist."""
    for mask in (LOW, HIGH, LOW | HIGH):
        assert band_basis(mask, SHAPE).shape[1] == SHAPE[-1] * mask.sum()


@pytest.mark.parametrize("mask", [LOW, HIGH], ids=["low", "high"])
def test_steepest_in_l2_is_the_filtered_gradient(mask):
    norm, gradient = band_limited(L2(), mask), _normal(0)
    inside = filtered(gradient, mask)
    size = np.linalg.norm(inside)
    np.testing.assert_allclose(norm.steepest(gradient), inside / size, atol=1e-6)
    np.testing.assert_allclose(norm.dual(gradient), size, rtol=1e-5)


@norms
def test_steepest_is_a_unit_ascent_within_the_band(norm):
    """L2 and Fourier norms attain the dual norm; for others the argmax is a linear program."""
    limited, gradient = band_limited(norm, HIGH), _normal(1)
    direction = limited.steepest(gradient)
    np.testing.assert_allclose(filtered(direction, HIGH), direction, atol=1e-6)
    np.testing.assert_allclose(norm.value(direction), 1, rtol=1e-5)
    ascent = np.sum(gradient * np.asarray(direction)) / limited.dual(gradient)
    assert 0.3 < ascent <= 1 + 1e-5 if norm == Linf() else abs(ascent - 1) < 1e-5


def test_a_gradient_outside_the_band_is_zero_not_rounding():
    """Normalised, the rounding of the transform would look like a direction."""
    gradient = np.float32(filtered(_normal(2), LOW))
    for scale in (1e-20, 1.0, 1e20):
        assert not band_limited(L2(), HIGH).steepest(np.float32(scale) * gradient).any()


@norms
def test_projection_is_the_nearest_point_of_ball_and_band(norm):
    """Variational inequality <d - z, v - z> <= 0 for every v of ball and band."""
    limited, delta, epsilon = band_limited(norm, LOW), _normal(3), 0.3
    z = np.asarray(jax.jit(limited.project)(delta, epsilon))
    np.testing.assert_allclose(filtered(z, LOW), z, atol=1e-6)
    assert norm.value(z) <= epsilon * (1 + 1e-6)
    draw = jax.jit(lambda key: epsilon * limited.sample(key, SHAPE, jnp.float32))
    points = [draw(jax.random.key(index)) for index in range(20)]
    points += [epsilon * limited.steepest(delta - z)]
    slack = 0.03 if norm == Linf() else 1e-4  # by iteration
    for v in points:
        assert np.sum((delta - z) * (v - z)) <= slack * np.sum((delta - z) ** 2)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_l2_projection_with_the_box_keeps_all_three_and_is_near_the_nearest(seed):
    shape, epsilon, mask = (4, 4, 1), 0.6, band_mask((4, 4), 0, 0.3)
    generator = np.random.default_rng(seed)
    image = generator.uniform(0.02, 0.98, shape).astype(np.float32)
    delta = generator.normal(size=shape).astype(np.float32)
    z = np.asarray(_project_box(band_limited(L2(), mask), delta, image, epsilon))
    assert (image + z).min() >= 0 and (image + z).max() <= 1
    assert np.linalg.norm(z) <= epsilon * (1 + 1e-6)
    np.testing.assert_allclose(filtered(z, mask), z, atol=1e-6)
    basis, x, d = band_basis(mask, shape), image.ravel().astype(float), delta.ravel().astype(float)
    constraints = [
        {"type": "ineq", "fun": lambda a: epsilon**2 - a @ a},
        {"type": "ineq", "fun": lambda a: x + basis @ a},
        {"type": "ineq", "fun": lambda a: 1 - x - basis @ a},
    ]
    start = np.zeros(basis.shape[1])
    best = optimize.minimize(
        lambda a: np.sum((basis @ a - d) ** 2), start, method="SLSQP", constraints=constraints
    )
    assert np.linalg.norm(z.ravel() - d) <= 1.03 * np.linalg.norm(basis @ best.x - d)


_project_box = jax.jit(lambda norm, delta, image, eps: norm.project_box(delta, image, eps, BOX))


@norms
def test_saturated_pixels_leave_a_smaller_set_not_an_error(norm):
    """A black image has no room for a wave of mean zero, and much for the band with the DC."""
    black, delta = np.zeros(SHAPE, np.float32), _normal(4)
    nothing = _project_box(band_limited(norm, HIGH), delta, black, 0.2)
    np.testing.assert_array_equal(nothing, 0)
    raised = np.asarray(_project_box(band_limited(norm, LOW), delta + 1, black, 0.2))
    assert raised.min() >= 0 and raised.max() > 0.01 and norm.value(raised) <= 0.2 * (1 + 1e-6)
    np.testing.assert_allclose(filtered(raised, LOW), raised, atol=1e-6)


def test_sample_is_uniform_in_the_ball_of_the_band():
    limited = band_limited(L2(), LOW)
    keys = jax.random.split(jax.random.key(0), 2000)
    points = jax.vmap(lambda key: limited.sample(key, SHAPE, jnp.float32))(keys)
    points = np.asarray(points).reshape(2000, -1) @ band_basis(LOW, SHAPE)
    radius = np.linalg.norm(points, axis=1)
    dimension = points.shape[1]
    assert dimension == SHAPE[-1] * LOW.sum()
    assert stats.kstest(radius**dimension, "uniform").pvalue > 1e-3
    sd = np.sqrt(1 / (dimension + 2))  # of one coordinate of a uniform point of the ball
    assert np.abs(points.mean(0)).max() < 5 * sd / np.sqrt(2000)
    np.testing.assert_allclose(points.std(0), sd, rtol=0.15)


def _one_sided():
    mask = np.zeros(SHAPE[:2])
    mask[1, 0] = 1  # without its mirror image at [5, 0]
    return mask


@pytest.mark.parametrize(
    "mask, words",
    [
        (np.zeros(SHAPE[:2]), "at least one frequency"),
        (_one_sided(), "symmetric"),
        (np.full(SHAPE[:2], 0.5), "zeros and ones"),
        (np.ones(SHAPE), "rank 2"),
    ],
    ids=["empty", "one-sided", "weights", "rank"],
)
def test_masks_that_are_no_band_raise(mask, words):
    with pytest.raises(ValueError, match=words):
        band_limited(L2(), mask)

"""Norms: duality, projections, laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from freqbias.attacks import L1, L2, Linf
from freqbias.attacks.norms import threshold_level, water_level

SHAPE = (3, 4, 2)
BOX = (0.0, 1.0)
NORMS = [L1(), L2(), Linf()]
norms = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
seeds = given(st.integers(0, 2**31 - 1))
few = settings(max_examples=20, deadline=None)


value = jax.jit(lambda norm, delta: norm.value(delta))
dual = jax.jit(lambda norm, gradient: norm.dual(gradient))
steepest = jax.jit(lambda norm, gradient: norm.steepest(gradient))
project = jax.jit(lambda norm, delta, epsilon: norm.project(delta, epsilon))
project_box = jax.jit(lambda norm, delta, image, eps: norm.project_box(delta, image, eps, BOX))
sample = jax.jit(lambda norm, key, dtype: norm.sample(key, SHAPE, dtype), static_argnames="dtype")
level_of = jax.jit(water_level)


def _normal(seed, shape=SHAPE, scale=1.0):
    return np.float32(scale * np.random.default_rng(seed).normal(size=shape))


def _uniform(seed, shape=SHAPE):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_norms_are_told_apart_by_jit():
    """Treedefs of registered dataclasses compare by their static fields only, not by their type."""
    structures = [jax.tree.structure(norm) for norm in NORMS]
    for index, structure in enumerate(structures):
        assert structure not in structures[:index]


def test_values_are_those_of_numpy():
    delta = _normal(0)
    flat = np.asarray(delta).ravel()
    np.testing.assert_allclose(value(L2(), delta), np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(value(Linf(), delta), np.linalg.norm(flat, np.inf), rtol=1e-6)
    np.testing.assert_allclose(dual(L2(), delta), np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(dual(Linf(), delta), np.linalg.norm(flat, 1), rtol=1e-6)


@norms
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_are_homogeneous_at_any_scale(norm, scale):
    """Squares of 1e-30 underflow in float32; a norm of them need not."""
    delta = _normal(1)
    np.testing.assert_allclose(value(norm, scale * delta) / scale, value(norm, delta), rtol=1e-5)
    np.testing.assert_allclose(steepest(norm, scale * delta), steepest(norm, delta), rtol=1e-5)


@norms
@seeds
@few
def test_steepest_attains_the_dual_norm(norm, seed):
    gradient = _normal(seed)
    direction = steepest(norm, gradient)
    np.testing.assert_allclose(value(norm, direction), 1, rtol=1e-5)
    np.testing.assert_allclose(np.sum(gradient * direction), dual(norm, gradient), rtol=1e-5)


@norms
def test_zero_is_harmless(norm):
    zero = np.zeros(SHAPE, np.float32)
    np.testing.assert_array_equal(steepest(norm, zero), 0)
    np.testing.assert_array_equal(project(norm, zero, 0.1), 0)
    np.testing.assert_array_equal(project_box(norm, zero, zero, 0.1), 0)
    assert value(norm, zero) == 0
    assert dual(norm, jax.jit(jax.grad(norm.value))(zero)) <= 1 + 1e-6  # a subgradient, no NaN
    assert jnp.isfinite(jax.jit(jax.jacobian(norm.project))(zero, 0.1)).all()


@norms
def test_gradient_of_the_norm_is_dual_to_it(norm):
    """Euler: <grad ||d||, d> = ||d||."""
    delta = _normal(2)
    gradient = jax.jit(jax.grad(norm.value))(delta)
    np.testing.assert_allclose(np.sum(gradient * delta), value(norm, delta), rtol=1e-5)
    np.testing.assert_allclose(dual(norm, gradient), 1, rtol=1e-5)


@norms
def test_nan_is_not_hidden(norm):
    assert jnp.isnan(value(norm, np.full(SHAPE, np.nan, np.float32)))


@norms
@seeds
@few
def test_projection_is_the_nearest_point_of_the_ball(norm, seed):
    """Variational inequality: <d - z, v - z> <= 0 for every v of the ball; and z is in it."""
    delta, epsilon = _normal(seed), 0.7
    z = project(norm, delta, epsilon)
    assert value(norm, z) <= epsilon * (1 + 1e-6)
    for index in range(5):
        v = epsilon * sample(norm, jax.random.key(index), jnp.float32)
        assert np.sum((delta - z) * (v - z)) <= 1e-5
    support = epsilon * dual(norm, delta - z)  # the largest <d - z, v>, attained
    np.testing.assert_allclose(support, np.sum((delta - z) * z), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(project(norm, z, epsilon), z, rtol=1e-6)  # idempotent
    np.testing.assert_array_equal(project(norm, 0.01 * delta, epsilon), 0.01 * delta)  # inside


@norms
@seeds
@few
def test_projection_onto_ball_and_box_agrees_with_slsqp(norm, seed):
    shape, epsilon = (2, 3, 1), 0.5
    with jax.enable_x64(True):
        generator = np.random.default_rng(seed)
        image = generator.uniform(size=shape).round(1)  # some pixels black or white
        delta = generator.normal(size=shape)
        found = np.asarray(project_box(norm, delta, image, epsilon)).ravel()
        x, d = np.asarray(image).ravel(), np.asarray(delta).ravel()
    np.testing.assert_allclose(found, _nearest_by_slsqp(norm, d, x, epsilon), atol=1e-6)


def _nearest_by_slsqp(norm, d, x, epsilon):
    """Nearest point of ball and box as z = up - down, up and down >= 0: then L1 is smooth."""
    size = d.size
    signs = np.r_[np.ones(size), -np.ones(size)]
    high = np.r_[1 - x, x]
    ball = []
    if norm.name == "linf":
        high = np.minimum(high, epsilon)
    elif norm.name == "l1":
        ball = [{"type": "ineq", "fun": lambda v: epsilon - v.sum(), "jac": lambda v: -0 * v - 1}]
    else:

        def jacobian(v):
            return -2 * signs * np.tile(v[:size] - v[size:], 2)

        fun = {"fun": lambda v: epsilon**2 - np.sum((v[:size] - v[size:]) ** 2), "jac": jacobian}
        ball = [{"type": "ineq", **fun}]
    solution = optimize.minimize(
        lambda v: 0.5 * np.sum((v[:size] - v[size:] - d) ** 2),
        np.zeros(2 * size),
        jac=lambda v: signs * np.tile(v[:size] - v[size:] - d, 2),
        method="SLSQP",
        bounds=[(0, bound) for bound in high],
        constraints=ball,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return solution.x[:size] - solution.x[size:]


@pytest.mark.parametrize("epsilon", [1e-3, 0.3, 2.0, 100.0])
def test_l2_ball_and_box_hold_at_image_size(epsilon):
    """28 x 28, steps far outside, pixels at the bounds: the result is clip(t delta) for one t."""
    image = np.clip(_normal(3, (28, 28, 1)) + 0.5, 0, 1).astype(np.float32)
    delta = _normal(4, (28, 28, 1), scale=3.0)
    z = np.asarray(project_box(L2(), delta, image, epsilon))
    assert (image + z).min() >= 0 and (image + z).max() <= 1
    assert value(L2(), z) <= epsilon * (1 + 1e-6)
    inside = (np.abs(z) > 0) & (image + z > 1e-6) & (image + z < 1 - 1e-6)
    if epsilon < 3:
        ratios = np.asarray(z / delta)[np.asarray(inside)]
        np.testing.assert_allclose(ratios, np.median(ratios), rtol=1e-4)
        np.testing.assert_allclose(value(L2(), z), epsilon, rtol=1e-5)
    else:
        np.testing.assert_allclose(image + z, np.clip(image + delta, 0, 1), atol=1e-6)


@norms
def test_methods_vmap_to_a_loop(norm):
    """A norm over the wrong axis is silent: compare with one image at a time."""
    deltas, images = _normal(5, (4, *SHAPE)), _uniform(6, (4, *SHAPE))
    projected = jax.vmap(project_box, (None, 0, 0, None))(norm, deltas, images, 0.8)
    values = jax.vmap(value, (None, 0))(norm, deltas)
    for index in range(4):
        one = project_box(norm, deltas[index], images[index], 0.8)
        np.testing.assert_allclose(projected[index], one, atol=1e-6)
        np.testing.assert_allclose(values[index], value(norm, deltas[index]), rtol=1e-6)


def test_sample_is_uniform_in_the_ball():
    """L2: radius^D is uniform, the direction has no preference. L-inf: each pixel is uniform."""
    keys = jax.random.split(jax.random.key(7), 2000)
    draw = jax.vmap(lambda norm, key: sample(norm, key, jnp.float32), (None, 0))
    points = np.asarray(draw(L2(), keys)).reshape(2000, -1)
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest(radius ** points.shape[1], "uniform").pvalue > 1e-3
    sd = np.sqrt(1 / (points.shape[1] + 2))  # of one coordinate of a uniform point of the ball
    assert np.abs(points.mean(0)).max() < 5 * sd / np.sqrt(2000)
    cube = np.asarray(draw(Linf(), keys)).reshape(2000, -1)
    assert stats.kstest(cube[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(cube[:, -1], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(cube[:, 0], cube[:, 1])[0, 1]) < 5 / np.sqrt(2000)


@norms
def test_sample_keeps_the_dtype(norm, x64):
    for dtype in (jnp.float32, jnp.float64):
        assert sample(norm, jax.random.key(0), dtype).dtype == dtype


@seeds
@few
def test_water_level_solves_its_equation(seed):
    generator = np.random.default_rng(seed)
    slopes, caps = generator.exponential(size=(2, 50))
    slopes[:5], caps[5:8] = 0, 0
    caps[20:22] = np.inf if seed % 2 else 1.0
    reach = caps[slopes > 0].sum()
    target = generator.uniform(0.01, 0.99) * min(reach, 30.0)
    with jax.enable_x64(True):
        level = float(level_of(slopes, caps, target))
    np.testing.assert_allclose(np.minimum(level * slopes, caps).sum(), target, rtol=1e-12)


def test_water_level_out_of_reach_is_infinite():
    slopes, caps = np.float32([1, 2, 0]), np.float32([1, 1, 5])
    assert jnp.isinf(level_of(slopes, caps, 2.001))
    np.testing.assert_allclose(level_of(slopes, caps, 2.0), 1.0, rtol=1e-6)  # exactly in reach
    assert jnp.isinf(level_of(np.zeros(3, np.float32), caps, 1.0))

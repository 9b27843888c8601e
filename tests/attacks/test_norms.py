"""Norms: duality, projections, laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from freqbias.attacks import L2, Linf
from freqbias.attacks.norms import water_level

SHAPE = (3, 4, 2)
norms = pytest.mark.parametrize("norm", [L2(), Linf()], ids=["l2", "linf"])
seeds = given(st.integers(0, 2**31 - 1))
few = settings(max_examples=20, deadline=None)


def _normal(seed, shape=SHAPE, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), shape)


def test_values_are_those_of_numpy():
    delta = _normal(0)
    flat = np.asarray(delta).ravel()
    np.testing.assert_allclose(L2().value(delta), np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(Linf().value(delta), np.linalg.norm(flat, np.inf), rtol=1e-6)
    np.testing.assert_allclose(L2().dual(delta), np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(Linf().dual(delta), np.linalg.norm(flat, 1), rtol=1e-6)


@norms
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_are_homogeneous_at_any_scale(norm, scale):
    """Squares of 1e-30 underflow in float32; a norm of them need not."""
    delta = _normal(1)
    np.testing.assert_allclose(norm.value(scale * delta) / scale, norm.value(delta), rtol=1e-5)
    np.testing.assert_allclose(norm.steepest(scale * delta), norm.steepest(delta), rtol=1e-5)


@norms
@seeds
@few
def test_steepest_attains_the_dual_norm(norm, seed):
    gradient = _normal(seed)
    direction = norm.steepest(gradient)
    np.testing.assert_allclose(norm.value(direction), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(gradient * direction), norm.dual(gradient), rtol=1e-5)


@norms
def test_zero_is_harmless(norm):
    zero = jnp.zeros(SHAPE)
    np.testing.assert_array_equal(norm.steepest(zero), 0)
    np.testing.assert_array_equal(norm.project(zero, 0.1), 0)
    np.testing.assert_array_equal(norm.project_box(zero, zero, 0.1, (0.0, 1.0)), 0)
    assert norm.value(zero) == 0
    assert norm.dual(jax.grad(norm.value)(zero)) <= 1 + 1e-6  # a subgradient, no NaN
    assert jnp.isfinite(jax.jacobian(norm.project)(zero, 0.1)).all()


@norms
def test_gradient_of_the_norm_is_dual_to_it(norm):
    """Euler: <grad ||d||, d> = ||d||."""
    delta = _normal(2)
    gradient = jax.grad(norm.value)(delta)
    np.testing.assert_allclose(jnp.sum(gradient * delta), norm.value(delta), rtol=1e-5)
    np.testing.assert_allclose(norm.dual(gradient), 1, rtol=1e-5)


@norms
def test_nan_is_not_hidden(norm):
    assert jnp.isnan(norm.value(_normal(0).at[0, 0, 0].set(jnp.nan)))


@norms
@seeds
@few
def test_projection_is_the_nearest_point_of_the_ball(norm, seed):
    """Variational inequality: <d - z, v - z> <= 0 for every v of the ball; and z is in it."""
    delta, epsilon = _normal(seed), 0.7
    z = norm.project(delta, epsilon)
    assert norm.value(z) <= epsilon * (1 + 1e-6)
    for index in range(5):
        v = epsilon * norm.sample(jax.random.key(index), SHAPE, jnp.float32)
        assert jnp.sum((delta - z) * (v - z)) <= 1e-5
    support = epsilon * norm.dual(delta - z)  # the largest <d - z, v>, attained
    np.testing.assert_allclose(support, jnp.sum((delta - z) * z), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.project(z, epsilon), z, rtol=1e-6)  # idempotent
    np.testing.assert_array_equal(norm.project(0.01 * delta, epsilon), 0.01 * delta)  # inside


@norms
@seeds
@few
def test_projection_onto_ball_and_box_agrees_with_slsqp(norm, seed):
    shape, epsilon = (2, 3, 1), 0.5
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed))
        image = jax.random.uniform(keys[0], shape).round(1)  # some pixels black or white
        delta = jax.random.normal(keys[1], shape)
        found = np.asarray(norm.project_box(delta, image, epsilon, (0.0, 1.0))).ravel()
        x, d = np.asarray(image).ravel(), np.asarray(delta).ravel()
    low, high = -x, 1 - x
    ball = []
    if norm == L2():
        ball = [{"type": "ineq", "fun": lambda z: epsilon**2 - z @ z, "jac": lambda z: -2 * z}]
    else:
        low, high = np.maximum(low, -epsilon), np.minimum(high, epsilon)
    solution = optimize.minimize(
        lambda z: 0.5 * np.sum((z - d) ** 2),
        np.zeros_like(d),
        jac=lambda z: z - d,
        method="SLSQP",
        bounds=list(zip(low, high, strict=True)),
        constraints=ball,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found, solution.x, atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.3, 2.0, 100.0])
def test_l2_ball_and_box_hold_at_image_size(epsilon):
    """28 x 28, steps far outside, pixels at the bounds: the result is clip(t delta) for one t."""
    image = jnp.clip(_normal(3, (28, 28, 1)) + 0.5, 0, 1)
    delta = _normal(4, (28, 28, 1), scale=3.0)
    z = jax.jit(L2().project_box, static_argnums=3)(delta, image, epsilon, (0.0, 1.0))
    assert (image + z).min() >= 0 and (image + z).max() <= 1
    assert L2().value(z) <= epsilon * (1 + 1e-6)
    inside = (jnp.abs(z) > 0) & (image + z > 1e-6) & (image + z < 1 - 1e-6)
    if epsilon < 3:
        ratios = np.asarray(z / delta)[np.asarray(inside)]
        np.testing.assert_allclose(ratios, np.median(ratios), rtol=1e-4)
        np.testing.assert_allclose(L2().value(z), epsilon, rtol=1e-5)
    else:
        np.testing.assert_allclose(image + z, jnp.clip(image + delta, 0, 1), atol=1e-6)


@norms
def test_methods_vmap_to_a_loop(norm):
    """A norm over the wrong axis is silent: compare with one image at a time."""
    deltas, images = _normal(5, (4, *SHAPE)), jax.random.uniform(jax.random.key(6), (4, *SHAPE))
    project = jax.vmap(lambda d, x: norm.project_box(d, x, 0.8, (0.0, 1.0)))
    batched = project(deltas, images)
    for index in range(4):
        one = norm.project_box(deltas[index], images[index], 0.8, (0.0, 1.0))
        np.testing.assert_allclose(batched[index], one, atol=1e-6)
        np.testing.assert_allclose(
            jax.vmap(norm.value)(deltas)[index], norm.value(deltas[index]), rtol=1e-6
        )


def test_sample_is_uniform_in_the_ball():
    """L2: radius^D is uniform, the direction has no preference. L-inf: each pixel is uniform."""
    keys = jax.random.split(jax.random.key(7), 2000)
    draw = jax.vmap(lambda key, norm: norm.sample(key, SHAPE, jnp.float32), (0, None))
    points = np.asarray(draw(keys, L2())).reshape(2000, -1)
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest(radius ** points.shape[1], "uniform").pvalue > 1e-3
    sd = np.sqrt(1 / (points.shape[1] + 2))  # of one coordinate of a uniform point of the ball
    assert np.abs(points.mean(0)).max() < 5 * sd / np.sqrt(2000)
    cube = np.asarray(draw(keys, Linf())).reshape(2000, -1)
    assert stats.kstest(cube[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(cube[:, -1], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(cube[:, 0], cube[:, 1])[0, 1]) < 5 / np.sqrt(2000)


@norms
def test_sample_keeps_the_dtype(norm, x64):
    for dtype in (jnp.float32, jnp.float64):
        assert norm.sample(jax.random.key(0), SHAPE, dtype).dtype == dtype


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
        level = float(water_level(jnp.asarray(slopes), jnp.asarray(caps), target))
    np.testing.assert_allclose(np.minimum(level * slopes, caps).sum(), target, rtol=1e-12)


def test_water_level_out_of_reach_is_infinite():
    slopes, caps = jnp.array([1.0, 2.0, 0.0]), jnp.array([1.0, 1.0, 5.0])
    assert jnp.isinf(water_level(slopes, caps, 2.001))
    np.testing.assert_allclose(water_level(slopes, caps, 2.0), 1.0, rtol=1e-6)  # exactly in reach
    assert jnp.isinf(water_level(jnp.zeros(3), caps, 1.0))

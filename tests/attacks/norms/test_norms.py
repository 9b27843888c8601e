"""Norms: duality, projections, laws."""

import itertools

import jax
import jax.numpy as jnp
import norm_table
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from norm_table import norm_id
from scipy import optimize, stats

from freqbias.attacks import L0, L1, L2, Linf, Lp
from freqbias.attacks.levels import (
    largest,
    ranked_level,
    secular_level,
    threshold_level,
    water_level,
)
from freqbias.attacks.norms import reach
from freqbias.attacks.norms.steps import fill

SHAPE = (3, 4, 2)  # one odd and one even axis, two channels
BOX = (0.0, 1.0)
CASES = norm_table.norms(SHAPE)
norms = pytest.mark.parametrize("norm", CASES, ids=norm_id)
seeds = given(st.integers(0, 2**31 - 1))
few = settings(max_examples=20, deadline=None)


value = jax.jit(lambda norm, delta: norm.value(delta))
dual = jax.jit(lambda norm, gradient: norm.dual(gradient))
steepest = jax.jit(lambda norm, gradient: norm.steepest(gradient))
project = jax.jit(lambda norm, delta, epsilon: norm.project(delta, epsilon))
project_box = jax.jit(lambda norm, delta, image, eps: norm.project_box(delta, image, eps, BOX))
project_within = jax.jit(
    lambda norm, delta, image, eps, bounds: norm.project_box(delta, image, eps, bounds),
    static_argnames="bounds",
)
sample = jax.jit(lambda norm, key: norm.sample(key, SHAPE, jnp.float32))
slope = jax.jit(jax.grad(lambda delta, norm: norm.value(delta)))
slopes = jax.jit(jax.jacobian(lambda delta, norm, epsilon: norm.project(delta, epsilon)))
values = jax.jit(jax.vmap(lambda norm, delta: norm.value(delta), (None, 0)))
samples = jax.jit(jax.vmap(lambda norm, key: norm.sample(key, SHAPE, jnp.float32), (None, 0)))
level_of = jax.jit(water_level)
threshold = jax.jit(threshold_level)
secular = jax.jit(secular_level)
ranked = jax.jit(jax.vmap(ranked_level))
filled = jax.jit(jax.vmap(fill))


def _normal(seed, shape=SHAPE, scale=1.0):
    return np.float32(scale * np.random.default_rng(seed).normal(size=shape))


def _uniform(seed, shape=SHAPE):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_norms_are_told_apart_by_jit():
    kinds = {type(norm): norm for norm in CASES}.values()  # orders of Lp share a program
    structures = [jax.tree.structure(norm) for norm in [*kinds, L0(), L0(True), L1(0.1)]]
    for index, structure in enumerate(structures):
        assert structure not in structures[:index]


@norms
def test_values_are_those_of_numpy(norm):
    delta = _normal(0)
    case = CASES[norm]
    np.testing.assert_allclose(value(norm, delta), norm_table.value(case, delta), rtol=1e-6)
    np.testing.assert_allclose(dual(norm, delta), norm_table.dual(case, delta), rtol=1e-6)


@norms
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_are_homogeneous_at_any_scale(norm, scale):
    """Squares of 1e-30 underflow in float32; a norm of them need not."""
    delta = _normal(1)
    np.testing.assert_allclose(value(norm, scale * delta) / scale, value(norm, delta), rtol=1e-5)
    expected = steepest(norm, delta)
    np.testing.assert_allclose(steepest(norm, scale * delta), expected, rtol=1e-5, atol=1e-6)


@norms
@seeds
@few
def test_steepest_attains_the_dual_norm(norm, seed):
    gradient = _normal(seed)
    direction = np.asarray(steepest(norm, gradient))
    np.testing.assert_allclose(value(norm, direction), 1, rtol=1e-5)
    np.testing.assert_allclose(np.sum(gradient * direction), dual(norm, gradient), rtol=1e-5)
    other = _normal(seed + 1)  # Hoelder
    assert np.sum(gradient * other) <= dual(norm, gradient) * value(norm, other) * (1 + 1e-5)


@norms
def test_zero_is_harmless(norm):
    zero = np.zeros(SHAPE, np.float32)
    np.testing.assert_array_equal(steepest(norm, zero), 0)
    np.testing.assert_array_equal(project(norm, zero, 0.1), 0)
    np.testing.assert_array_equal(project_box(norm, zero, zero, 0.1), 0)
    assert value(norm, zero) == 0
    assert dual(norm, slope(zero, norm)) <= np.float32(1 + 1e-6)  # a subgradient, no NaN
    assert np.isfinite(slopes(zero, norm, 0.1)).all()


@norms
def test_gradient_of_the_norm_is_dual_to_it(norm):
    """Euler: <grad ||d||, d> = ||d||."""
    delta = _normal(2)
    gradient = np.asarray(slope(delta, norm))
    np.testing.assert_allclose(np.sum(gradient * delta), value(norm, delta), rtol=1e-5)
    np.testing.assert_allclose(dual(norm, gradient), 1, rtol=1e-5)


@norms
def test_nan_is_not_hidden(norm):
    assert np.isnan(value(norm, np.full(SHAPE, np.nan, np.float32)))


@norms
@seeds
@few
def test_projection_is_the_nearest_point_of_the_ball(norm, seed):
    """Variational inequality: <d - z, v - z> <= 0 for every v of the ball; and z is in it."""
    delta, epsilon = _normal(seed), 0.7
    z = np.asarray(project(norm, delta, epsilon))
    assert value(norm, z) <= epsilon * (1 + 1e-6)
    for index in range(5):
        v = epsilon * np.asarray(sample(norm, jax.random.key(index)))
        assert np.sum((delta - z) * (v - z)) <= 1e-5
    support = epsilon * dual(norm, delta - z)  # the largest <d - z, v>, attained
    np.testing.assert_allclose(support, np.sum((delta - z) * z), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(project(norm, z, epsilon), z, rtol=1e-6, atol=1e-6)  # idempotent
    np.testing.assert_array_equal(project(norm, 0.01 * delta, epsilon), 0.01 * delta)  # inside


@pytest.mark.parametrize("norm", [L1(), L2(), Linf(), Lp(1.5), Lp(4.0)], ids=norm_id)
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
    if norm == Linf():
        high = np.minimum(high, epsilon)
    elif norm == L1():
        ball = [{"type": "ineq", "fun": lambda v: epsilon - v.sum(), "jac": lambda v: -0 * v - 1}]
    else:
        order = getattr(norm, "order", 2)

        def room(v):
            return epsilon**order - np.sum(np.abs(v[:size] - v[size:]) ** order)

        def jacobian(v):
            z = v[:size] - v[size:]
            return -order * signs * np.tile(np.sign(z) * np.abs(z) ** (order - 1), 2)

        ball = [{"type": "ineq", "fun": room, "jac": jacobian}]
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


@norms
@seeds
@few
def test_projection_onto_ball_and_box_is_feasible_and_nearest(norm, seed):
    """Both constraints hold exactly; no feasible point lies beyond the supporting hyperplane."""
    image = np.clip(_normal(seed) + 0.5, 0, 1)  # many pixels black or white
    delta, epsilon = _normal(seed + 1), 0.3 * float(value(norm, _normal(seed + 1)))
    z = np.asarray(project_box(norm, delta, image, epsilon))
    assert (image + z).min() >= 0 and (image + z).max() <= 1
    assert value(norm, z) <= epsilon * (1 + 1e-6)
    np.testing.assert_allclose(project_box(norm, z, image, epsilon), z, atol=1e-6)
    for index in range(5):
        v = _uniform(index) - image  # in the box; scaled, in the ball too
        v = v * min(1, epsilon / float(value(norm, v)))
        assert np.sum((delta - z) * (v - z)) <= 1e-5 * (1 + epsilon)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.02, 0.9), (-2.1, 2.6), (10.3, 20.0)], ids=str)
def test_what_is_left_of_the_box_is_the_most_that_sums_stay_in(bounds):
    """x + (high - x) is not high in float32: of (0.02, 0.9) six sums in ten round to beyond it."""
    low, high = np.float32(bounds)
    image = np.clip(low + (high - low) * _uniform(0, (100_000,)), low, high)
    lower, upper = (np.asarray(end) for end in jax.jit(reach, static_argnums=1)(image, bounds))
    assert lower.max() <= 0 <= upper.min()
    assert (image + lower).min() >= low and (image + upper).max() <= high
    further = image + np.nextafter(upper, np.float32(np.inf))
    assert np.all((further > high) | (image + upper == high))  # no more fits, or more adds nothing


@norms
def test_projections_stay_in_a_box_of_any_bounds(norm):
    bounds, delta = (0.02, 0.9), _normal(1, scale=3.0)
    image = np.clip(_normal(0) + 0.5, *np.float32(bounds))
    for epsilon in (0.3, 100.0):
        z = np.asarray(project_within(norm, delta, image, epsilon, bounds))
        assert (image + z).min() >= np.float32(0.02) and (image + z).max() <= np.float32(0.9)


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
    sizes = np.asarray(values(norm, deltas))
    for index, found in enumerate(np.asarray(projected)):
        one = project_box(norm, deltas[index], images[index], 0.8)
        np.testing.assert_allclose(found, one, atol=1e-6)
        np.testing.assert_allclose(sizes[index], value(norm, deltas[index]), rtol=1e-6)


@norms
def test_sample_is_uniform_in_the_ball(norm):
    """||point||^D is uniform on [0, 1], and the point as likely as its opposite."""
    keys = jax.random.split(jax.random.key(7), 2000)
    points = np.asarray(samples(norm, keys))
    radius = np.asarray(values(norm, points), np.float64)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest(radius ** np.prod(SHAPE), "uniform").pvalue > 1e-3
    points = points.reshape(2000, -1)
    assert (np.abs(points.mean(0)) < 5 * points.std(0) / np.sqrt(2000)).all()
    covariance = np.corrcoef(points[:, :2].T)[0, 1]
    assert not CASES[norm].independent or abs(covariance) < 5 / np.sqrt(2000)


def test_sample_has_the_marginals_of_the_uniform_law():
    """L1: |x_i| is Beta(1, D); L2: x_i^2 is Beta(1/2, (D + 1)/2); L-inf: x_i is uniform."""
    keys, size = jax.random.split(jax.random.key(8), 2000), np.prod(SHAPE)
    laws = {
        L1(): (np.abs, stats.beta(1, size)),
        L2(): (np.square, stats.beta(0.5, (size + 1) / 2)),
        Linf(): (np.asarray, stats.uniform(-1, 2)),
    }
    for norm, (transform, law) in laws.items():
        points = np.asarray(samples(norm, keys)).reshape(2000, -1)
        for column in (0, -1):
            assert stats.kstest(transform(points[:, column]), law.cdf).pvalue > 1e-3


@norms
def test_sample_keeps_the_dtype(norm, x64):
    for dtype in (jnp.float32, jnp.float64):
        drawn = jax.eval_shape(lambda key: norm.sample(key, SHAPE, dtype), jax.random.key(0))  # noqa: B023
        assert drawn.dtype == dtype


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
    assert np.isinf(level_of(slopes, caps, 2.001))
    np.testing.assert_allclose(level_of(slopes, caps, 2.0), 1.0, rtol=1e-6)  # exactly in reach
    assert np.isinf(level_of(np.zeros(3, np.float32), caps, 1.0))


@seeds
@few
def test_projection_onto_l2_ball_and_box_is_at_the_level_of_its_squares(seed):
    """z = clip(t delta, lower, upper), with t^2 the water level of the squares, or t = 1."""
    generator = np.random.default_rng(seed)
    image = np.float32(generator.uniform(size=(5, 5, 1)) * generator.integers(2, size=(5, 5, 1)))
    delta = np.float32(generator.normal(size=image.shape) * 10.0 ** generator.integers(-2, 12))
    delta[0] *= np.float32(1e-9)  # still free where the others are cut off
    epsilon = 10.0 ** generator.uniform(-3, 1)
    found = project_box(L2(), delta, image, np.float32(epsilon))
    with jax.enable_x64(True):
        exact, image = np.float64(delta), np.float64(image)
        room = np.where(exact > 0, 1 - image, image)
        level = float(level_of((exact / epsilon) ** 2, (room / epsilon) ** 2, 1.0))
    expected = np.clip(np.sqrt(min(level, 1.0)) * exact, -image, 1 - image)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * epsilon)


def test_the_largest_entry_is_found_by_its_bits():
    values, found = np.float32([[0.5, -3.0], [2.0, 0.0]]), jax.jit(largest)
    assert found(values) == 3 and found(0 * values) == 0
    assert np.isinf(found(np.float32([[-np.inf, -3.0], [2.0, 0.0]])))
    assert np.isnan(found(np.float32([[np.nan, -3.0], [2.0, np.inf]])))
    np.testing.assert_array_equal(jax.jit(jax.grad(largest))(values), [[0, -1], [0, 0]])
    np.testing.assert_array_equal(jax.jit(jax.vmap(largest))(values), [3, 2])


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1.0, 1e25, 1e37])
def test_lengths_are_right_at_every_scale(scale):
    values = np.float32([3, -4, 0]) * np.float32(scale)
    np.testing.assert_allclose(value(L2(), values), 5 * np.float64(scale), rtol=1e-6)
    np.testing.assert_allclose(steepest(L2(), values), [0.6, -0.8, 0], rtol=1e-6)


@seeds
@few
def test_threshold_level_solves_its_equation(seed):
    """Neither convex nor concave: some entries capped, some untouched, ties, and integers."""
    generator = np.random.default_rng(seed)
    gaps, caps = generator.exponential(size=(2, 50)).round(seed % 3)
    gaps, caps[:5] = gaps - gaps.min(), np.inf if seed % 2 else 0.0
    target = generator.uniform(0.01, 0.99) * min(caps.sum(), 30.0)
    with jax.enable_x64(True):
        level = float(threshold(gaps, caps, target))
    np.testing.assert_allclose(np.clip(level - gaps, 0, caps).sum(), target, rtol=1e-12)


@seeds
@few
def test_secular_level_solves_its_equation(seed):
    generator = np.random.default_rng(seed)
    sizes, curves = generator.normal(size=50), 10 ** generator.uniform(-4, 4, size=50)
    sizes /= np.linalg.norm(sizes)
    scale = 10 ** generator.uniform(0.01, 4)
    with jax.enable_x64(True):
        level = float(secular(sizes, curves, scale))
    assert level > 0
    np.testing.assert_allclose(scale * np.linalg.norm(sizes / (1 + level * curves)), 1, rtol=1e-12)


@pytest.mark.parametrize("order", [1.0, 0.5, np.inf, np.nan])
def test_lp_of_an_order_that_is_none_raises(order):
    with pytest.raises(ValueError, match="order"):
        Lp(order)


def test_lp_has_l1_l2_and_linf_as_its_cases():
    delta, image = _normal(0), _uniform(1)
    for order, norm, tolerance in ((2.0, L2(), 1e-5), (1.02, L1(), 0.1), (100.0, Linf(), 0.05)):
        near = Lp(order)
        np.testing.assert_allclose(value(near, delta), value(norm, delta), rtol=tolerance)
        epsilon = 0.3 * float(value(norm, delta))
        for found, expected in (
            (project(near, delta, epsilon), project(norm, delta, epsilon)),
            (project_box(near, delta, image, epsilon), project_box(norm, delta, image, epsilon)),
        ):
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            assert error < tolerance, (order, error)


@pytest.mark.parametrize("order", [1.2, 1.5, 3.0, 10.0])
@pytest.mark.parametrize("share", [1e-4, 0.5, 0.999])
def test_lp_projection_of_an_image_meets_the_ball_and_its_normal_cone(order, share):
    """At the nearest point z, <d - z, z> = epsilon ||d - z||_dual, to float32."""
    norm, delta = Lp(order), _normal(2, (28, 28, 3))
    epsilon = share * float(value(norm, delta))
    z = np.asarray(project(norm, delta, epsilon), np.float64)
    np.testing.assert_allclose(np.linalg.norm(z.ravel(), order), epsilon, rtol=1e-5)
    support = epsilon * np.linalg.norm((delta - z).ravel(), order / (order - 1))
    np.testing.assert_allclose(np.sum((delta - z) * z), support, rtol=2e-3)


@pytest.mark.parametrize("order", [1.5, 4.0])
def test_lp_projections_have_the_right_derivatives(order):
    with jax.enable_x64(True):
        generator = np.random.default_rng(0)
        delta, image = generator.normal(size=SHAPE), generator.uniform(size=SHAPE)
        norm = Lp(order)
        check_grads(lambda d: project(norm, d, 0.5), (delta,), order=1, modes=("rev",))
        box = lambda d, e: project_box(norm, d, image, e)  # noqa: E731
        check_grads(box, (delta, 0.5), order=1, modes=("rev",))


@pytest.mark.parametrize("order", [1.5, 3.0])
def test_lp_steps_in_the_box_are_those_of_slsqp(order):
    """The most that a ball can take off a margin; the smallest delta that takes as much."""
    norm, image, epsilon = Lp(order), np.clip(_normal(3) + 0.5, 0, 1).astype(np.float64), 0.6
    normal = _normal(4).astype(np.float64)
    with jax.enable_x64(True):
        largest = np.asarray(norm.largest_step(normal, image, epsilon, BOX))
        margin = -np.sum(normal * largest)
        smallest, distance = norm.smallest_step(normal, image, margin, BOX)
    np.testing.assert_allclose(smallest, largest, atol=1e-6)
    np.testing.assert_allclose(distance, epsilon, rtol=1e-6)
    size, room = np.abs(normal).ravel(), np.where(normal > 0, image, 1 - image).ravel()
    ball = {
        "type": "ineq",
        "fun": lambda v: epsilon**order - np.sum(np.maximum(v, 0) ** order),
        "jac": lambda v: -order * np.maximum(v, 0) ** (order - 1),
    }
    solution = optimize.minimize(
        lambda v: -size @ v,
        np.zeros(size.size),
        jac=lambda v: -size,
        method="SLSQP",
        bounds=[(0, bound) for bound in room],
        constraints=[ball],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(-solution.fun, margin, rtol=1e-6)
    assert (np.abs(largest).ravel() > room - 1e-9).any()  # the box decides something


def test_l1_steepest_is_one_pixel_or_a_sparse_step():
    gradient = np.float32([[[1.0, -3.0], [2.0, 3.0]]])
    np.testing.assert_array_equal(steepest(L1(), gradient), [[[0, -1], [0, 0]]])  # the first tie
    np.testing.assert_array_equal(steepest(L1(0.5), gradient), [[[0, -0.5], [0, 0.5]]])
    np.testing.assert_array_equal(steepest(L1(1.0), 0 * gradient), 0 * gradient)
    with pytest.raises(ValueError, match="step_fraction"):
        L1(0.0).steepest(gradient)


def test_clipping_a_projection_onto_the_l1_ball_is_not_the_nearest_point():
    """What the box cuts off may be spent elsewhere."""
    delta, image = np.float32([2.0, 1.0]), np.float32([0.5, 0.0])
    np.testing.assert_allclose(project(L1(), delta, 1.0), [1, 0])
    np.testing.assert_allclose(project_box(L1(), delta, image, 1.0), [0.5, 0.5])


@pytest.mark.parametrize("per_pixel", [False, True])
def test_l0_projections_are_the_nearest_of_all_supports(per_pixel):
    """Every support of the allowed size is tried."""
    norm, epsilon = L0(per_pixel), 2.5  # two changes
    generator = np.random.default_rng(0)
    for _ in range(10):
        delta = generator.normal(size=(2, 2, 2)).astype(np.float32)
        image = np.clip(generator.normal(0.5, 0.5, (2, 2, 2)), 0, 1).astype(np.float32)
        supports = [
            np.array(bits) for bits in itertools.product([0, 1], repeat=4 if per_pixel else 8)
        ]
        shape = (2, 2, 1) if per_pixel else (2, 2, 2)
        masks = [bits.reshape(shape) for bits in supports if bits.sum() <= 2]
        for target, found in (
            (delta, project(norm, delta, epsilon)),
            (np.clip(delta, -image, 1 - image), project_box(norm, delta, image, epsilon)),
        ):
            best = min(np.sum((delta - mask * target) ** 2) for mask in masks)
            np.testing.assert_allclose(np.sum((delta - found) ** 2), best, rtol=1e-6)
            assert value(norm, found) <= 2


def test_l0_keeps_of_equals_the_first():
    """As a stable sort does, for every number of changes, up to more than there are."""
    delta = np.random.default_rng(0).integers(-2, 3, (4, 5, 1)).astype(np.float32)
    order = np.argsort(-abs(delta).ravel(), kind="stable")
    for count in range(delta.size + 2):
        expected = np.zeros_like(delta)
        expected.flat[order[:count]] = delta.flat[order[:count]]
        np.testing.assert_array_equal(project(L0(), delta, count + 0.5), expected)


def test_l0_counts_entries_or_pixels_and_has_no_gradient_geometry():
    delta = np.zeros((3, 3, 3), np.float32)
    delta[0, 1], delta[2, 2, 0] = 1e-9, -5
    assert value(L0(), delta) == 4 and value(L0(per_pixel=True), delta) == 2
    np.testing.assert_array_equal(jax.grad(L0().value)(delta), 0)
    with pytest.raises(ValueError, match="L0"):
        L0().dual(delta)
    with pytest.raises(ValueError, match="L0"):
        L0().steepest(delta)
    with pytest.raises(ValueError, match="L0"):
        L0().sample(jax.random.key(0), (3,), jnp.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranked_level_is_what_sorting_gives(seed, dtype):
    """Of ties and zeros, tiny and huge numbers, at every rank; in one program."""
    with jax.enable_x64(dtype == "float64"):
        generator = np.random.default_rng(seed)
        scale = 10.0 ** generator.integers(-30, 30, (40, 1))
        sizes = np.abs(generator.normal(size=(40, 23)) * scale).round(seed).astype(dtype)
        sizes[:, :5], sizes[:, 5:9] = 0, sizes[:, 9:10]
        ranks = np.arange(40, dtype=np.int32) % 23 + 1
        found = ranked(sizes, ranks)
        assert found.dtype == dtype
        expected = np.sort(sizes, axis=1)[:, ::-1][np.arange(40), ranks - 1]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_fill_gives_each_what_is_left_in_order_of_priority(seed):
    """By hand, in NumPy: ties, no caps, targets of nothing and of more than there is."""
    generator = np.random.default_rng(seed)
    priority, caps = np.abs(generator.normal(size=(2, 30, 4, 5, 2))).round(1)
    caps[:4], priority[4:8] = np.inf, 1.0
    target = generator.uniform(0, 1.2, 30) * np.where(np.isinf(caps), 1, caps).sum((1, 2, 3))
    target[::5] = 0
    with jax.enable_x64(True):
        found = np.asarray(filled(priority, caps, target)).reshape(30, -1)
    for row in range(30):
        left, expected = target[row], np.zeros(40)
        for place in np.argsort(-priority[row].ravel(), kind="stable"):
            expected[place] = min(left, caps[row].ravel()[place])
            left -= expected[place]
        np.testing.assert_allclose(found[row], expected, atol=1e-12)

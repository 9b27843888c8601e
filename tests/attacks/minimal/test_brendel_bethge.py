"""Brendel-Bethge: its subproblem against a general solver, the attack against closed forms."""

import itertools

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import NUM_CLASSES, affine
from hypothesis import given, settings
from hypothesis import strategies as st
from norm_table import norm_id
from scipy import optimize

from freqbias.attacks import L0, L1, L2, FourierL1, Linf, affine_attack, brendel_bethge
from freqbias.attacks.minimal.trust_region import nearest_on_boundary
from freqbias.typing import Status

norms = pytest.mark.parametrize("norm", [L2(), Linf(), L1(), L0()], ids=norm_id)
slowly = pytest.mark.parametrize(
    "norm",
    [
        L2(),
        pytest.param(Linf(), marks=pytest.mark.slow),
        pytest.param(L1(), marks=pytest.mark.slow),
    ],
    ids=norm_id,
)
solve = jax.jit(nearest_on_boundary)


def _problem(seed, size=6):
    """A point of the box, a normal, and a plane that box and trust region reach."""
    generator = np.random.default_rng(seed)
    image, other = generator.uniform(size=(2, size))
    normal = generator.normal(size=size)
    normal /= np.linalg.norm(normal)
    goal = image + generator.uniform(0.05, 1.0) * (generator.uniform(size=size) - image)
    gap = normal @ (goal - other)
    radius = np.linalg.norm(goal - other) * generator.uniform(1.01, 3)
    return other - image, normal, gap, radius, -image, 1 - image


def _by_slsqp(norm, delta, normal, gap, radius, lower, upper):
    """Smallest ||z||, by z = up - down and a bound t of all pixels: smooth in every norm."""
    size = delta.size
    eye = np.hstack([np.eye(size), -np.eye(size), np.zeros((size, 1))])  # variables -> z
    objectives = {
        L2(): lambda v: np.sum((eye @ v) ** 2),
        L1(): lambda v: v[:-1].sum(),
        Linf(): lambda v: v[-1],
    }
    constraints = [
        {"type": "eq", "fun": lambda v: normal @ (eye @ v - delta) - gap},
        {"type": "ineq", "fun": lambda v: radius**2 - np.sum((eye @ v - delta) ** 2)},
        {"type": "ineq", "fun": lambda v: v[-1] - v[:size] - v[size:-1]},
    ]
    best = np.inf
    for start in (
        np.r_[np.maximum(delta, 0), np.maximum(-delta, 0), 1.0],
        np.full(2 * size + 1, 0.1),
    ):
        bounds = [(0, bound) for bound in np.r_[upper, -lower, 2.0]]
        found = optimize.minimize(
            objectives[norm],
            start,
            method="SLSQP",
            bounds=bounds,
            constraints=constraints,
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        if found.success:
            best = min(best, found.fun)
    return np.sqrt(best) if norm == L2() else best


@slowly
@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_the_subproblem_agrees_with_slsqp(norm, seed):
    problem = _problem(seed)
    with jax.enable_x64(True):
        z = np.asarray(solve(norm, *problem))
    delta, normal, gap, radius, lower, upper = problem
    assert (z >= lower).all() and (z <= upper).all()
    np.testing.assert_allclose(normal @ (z - delta), gap, atol=1e-9)
    assert np.linalg.norm(z - delta) <= radius * (1 + 1e-9)
    expected = _by_slsqp(norm, *problem)
    near_ties = 2e-2 if norm == L1() else 1e-3
    assert norm.value(z) <= expected * (1 + near_ties) + 1e-5


def _fewest(delta, normal, gap, radius, lower, upper, groups):
    """Smallest number of groups of entries that need not be 0, of all sets of them."""
    num_groups = groups.max() + 1
    for count in range(num_groups + 1):
        for chosen in itertools.combinations(range(num_groups), count):
            kept = np.isin(groups, chosen)
            point = np.where(kept, delta, 0)
            along = np.where(kept, normal, 0)
            goal = normal @ delta + gap

            def miss(tau, point=point, along=along, goal=goal):
                return normal @ np.clip(point + tau * along, lower, upper) - goal

            low, high = -1e4, 1e4
            for _ in range(80):
                middle = (low + high) / 2
                low, high = (middle, high) if miss(middle) < 0 else (low, middle)
            z = np.clip(point + high * along, lower, upper)  # the nearest with these entries
            if abs(miss(high)) < 1e-9 and np.linalg.norm(z - delta) <= radius:
                return count
    return num_groups


@pytest.mark.parametrize("per_pixel", [False, True], ids=["entries", "pixels"])
def test_in_l0_the_subproblem_is_solved_as_well_as_by_trying_all_sets(per_pixel):
    """Feasible always; with as few entries as possible nearly always, as the docstring says."""
    norm, excess = L0(per_pixel=per_pixel), []
    for seed in range(40):
        problem = [np.reshape(part, np.shape(part) and (4, 1, 2)) for part in _problem(seed, 8)]
        with jax.enable_x64(True):
            z = np.asarray(solve(norm, *problem))
        delta, normal, gap, radius, lower, upper = problem
        assert (z >= lower).all() and (z <= upper).all()
        np.testing.assert_allclose(np.sum(normal * (z - delta)), gap, atol=1e-9)
        assert np.linalg.norm(z - delta) <= radius * (1 + 1e-9)
        groups = np.arange(8) // (2 if per_pixel else 1)
        changed = np.unique(groups[z.ravel() != 0]).size
        excess.append(changed - _fewest(*(np.ravel(part) for part in problem), groups))
    excess = np.array(excess)
    assert excess.min() >= 0 and (excess == 0).mean() > 0.9 and excess.mean() < 0.2


@norms
def test_a_plane_out_of_reach_is_approached_as_far_as_the_trust_region_goes(norm):
    delta, normal, _, _, lower, upper = (np.float32(part) for part in _problem(0))
    for gap in (5.0, -5.0, 1e-2):
        radius = np.float32(1e-3)
        z = np.asarray(solve(norm, delta, normal, np.float32(gap), radius, lower, upper))
        assert np.isfinite(z).all() and (z >= lower).all() and (z <= upper).all()
        assert np.linalg.norm(z - delta) <= radius * (1 + 1e-4)
        assert np.sign(gap) * normal @ (z - delta) > 0.2 * radius


@slowly
@pytest.mark.parametrize("num_classes", [pytest.param(2, marks=pytest.mark.slow), 10])
def test_on_affine_models_of_image_size_it_is_exact(norm, num_classes, key):
    """The table of references: foolbox's Brendel-Bethge is off by a factor 41 at worst."""
    generator = np.random.default_rng(0)
    shape = (28, 28, 1)
    beta = generator.normal(size=(num_classes, *shape)).astype(np.float32)
    images = generator.uniform(size=(64, *shape)).astype(np.float32)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    params = jnp.asarray(beta), jnp.asarray(bias)
    labels = np.argmax(affine(params, images), -1)
    exact = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels)
    found = brendel_bethge(norm, num_steps=20)(affine, params, images, labels, key)
    ratio = np.asarray(found.distance / exact.distance)
    assert ratio.min() > 0.99  # below 1 by the rounding of the margin alone
    assert np.median(ratio) < 1.001 and ratio.max() < 1.001


@pytest.mark.parametrize(
    "per_pixel", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["entries", "pixels"]
)
def test_on_affine_models_l0_is_within_one_entry_of_the_optimum(per_pixel, key):
    """From given images of noise; the start along the gradient is the closed form itself."""
    generator = np.random.default_rng(0)
    shape, norm = (14, 14, 2), L0(per_pixel=per_pixel)
    beta = generator.normal(size=(10, *shape)).astype(np.float32)
    images = generator.uniform(size=(32, *shape)).astype(np.float32)
    params = jnp.asarray(beta), jnp.zeros(10)
    labels = np.argmax(affine(params, images), -1)
    exact = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels)
    starts = generator.uniform(size=images.shape).astype(np.float32)
    assert (np.argmax(affine(params, starts), -1) != labels).mean() > 0.6
    found = brendel_bethge(norm, num_steps=20)(affine, params, images, labels, key, starts=starts)
    excess = np.asarray(found.distance - exact.distance)
    assert excess.min() >= 0 and np.median(excess) <= 1 and excess.max() <= 3
    found = brendel_bethge(norm, num_steps=20)(affine, params, images, labels, key)
    excess = np.asarray(found.distance - exact.distance)
    assert excess.min() >= 0 and np.median(excess) == 0 and excess.max() <= 1


def _hill(params, images):
    """Class 1 where what rises from the grey image, or from a mean of 0.8, is high enough."""
    height, slope, plateau = params
    rise = slope * jnp.sum((images - 0.5) ** 2, (1, 2, 3))
    rise += plateau * jax.nn.relu(jnp.mean(images, (1, 2, 3)) - 0.8)
    return jnp.stack([jnp.full_like(rise, height), rise], axis=-1)


WALL = np.float32([0.25, 1, 0])  # curved: a sphere of radius 1/2 about the grey image
PLATEAU = np.float32([0.1, 0, 1])  # class 1 beyond a mean of 0.9; flat below a mean of 0.8


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None], ids=["box", "free"])
def test_a_curved_boundary_is_followed_to_its_nearest_point(bounds, key):
    """From inside a sphere, the nearest point of the wall is straight ahead."""
    images = np.full((8, 3, 3, 1), 0.5, np.float32)
    offset = np.random.default_rng(0).normal(size=images.shape) / 30
    images = (images + offset).astype(np.float32)
    attack = brendel_bethge(L2(), num_steps=30, bounds=bounds)
    found = attack(_hill, WALL, images, np.zeros(8, int), key)
    exact = 0.5 - np.linalg.norm(offset.reshape(8, -1), axis=1)
    ratio = np.asarray(found.distance) / exact
    assert ratio.min() > 1 - 1e-3 and ratio.max() < 1.01


def test_a_given_start_is_walked_from_where_no_gradient_leads(key):
    images = np.full((8, 3, 3, 1), 0.5, np.float32)
    labels = np.zeros(8, int)
    lost = brendel_bethge(L2(), num_steps=30)(_hill, PLATEAU, images, labels, key)
    assert not lost.is_adversarial.any() and (lost.status == Status.DEAD).all()
    starts = np.random.default_rng(0).uniform(0.91, 1.0, images.shape).astype(np.float32)
    attack = brendel_bethge(L2(), num_steps=30, num_starts=1)  # nothing but the given one
    found = attack(_hill, PLATEAU, images, labels, key, starts=starts)
    assert found.is_adversarial.all() and (found.status == Status.OK).all()
    np.testing.assert_allclose(found.distance, 0.4 * 3, rtol=1e-3)


def test_a_start_that_is_not_adversarial_changes_nothing(key):
    """Image by image: the others use theirs."""
    generator = np.random.default_rng(0)
    images = generator.uniform(0.4, 0.6, (8, 3, 3, 1)).astype(np.float32)
    useless = np.arange(8) % 2 == 0
    starts = np.where(
        useless[:, None, None, None], 0.5, np.round(generator.uniform(size=(3, 3, 1)))
    )
    attack = brendel_bethge(L2(), num_steps=30, num_starts=1)  # a second, from noise, is both's
    arguments = _hill, WALL, images, np.zeros(8, int), key
    free, given = attack(*arguments), attack(*arguments, starts=np.float32(starts))
    assert given.is_adversarial.all()
    np.testing.assert_allclose(given.delta[useless], free.delta[useless], atol=1e-6)
    assert (given.delta[~useless] != free.delta[~useless]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(given.gradient_evaluations, free.gradient_evaluations)


def test_bad_starts_raise(key):
    model = attack_table.make_model("mlp")
    attack = brendel_bethge(L2())
    bad = [
        (model.images[1:], ValueError, "shape"),
        (model.images + 1, ValueError, "bounds"),
        (model.images * jnp.nan, ValueError, "finite"),
        (model.labels, ValueError, "rank"),
        (np.zeros(model.images.shape, int), TypeError, "float"),
    ]
    for starts, error, words in bad:
        with pytest.raises(error, match=f"starts.*{words}"):
            attack(*model, key, starts=starts)


def test_images_without_an_adversarial_start_have_an_infinite_distance(key):
    images = np.full((8, 3, 3, 1), 0.5, np.float32)
    attack = brendel_bethge(L2(), num_steps=30)
    found = attack(_hill, WALL * np.float32([1, 0.1, 1]), images, np.zeros(8, int), key)
    np.testing.assert_array_equal(found.distance, np.inf)
    np.testing.assert_array_equal(found.delta, 0)
    assert not found.is_adversarial.any() and (found.status != Status.DIVERGED).all()


@pytest.mark.slow
def test_a_targeted_attack_reaches_its_targets(key):
    model = attack_table.make_model("mlp")
    targets = (model.labels + 1) % NUM_CLASSES
    attack = brendel_bethge(L2(), num_steps=10, targeted=True)
    found = attack(*model, key, targets=targets)
    predicted = jnp.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(np.asarray(predicted == targets), found.is_adversarial)
    assert found.is_adversarial.mean() > 0.8


def test_bad_options_raise():
    with pytest.raises(ValueError, match=r"smallest_step.*FourierL1"):
        brendel_bethge(FourierL1())
    with pytest.raises(ValueError, match="radius"):
        brendel_bethge(L2(), radius=0.0)
    for name in ("num_steps", "num_starts", "num_rivals"):
        with pytest.raises(ValueError, match=name):
            brendel_bethge(L2(), **{name: 0})

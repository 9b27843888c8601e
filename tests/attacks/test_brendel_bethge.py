"""Brendel-Bethge: its subproblem against a general solver, the attack against closed forms."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import NUM_CLASSES, affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from freqbias.attacks import L0, L1, L2, Linf, affine_attack, brendel_bethge
from freqbias.attacks.brendel_bethge import nearest_on_boundary
from freqbias.typing import Status

norms = pytest.mark.parametrize("norm", [L2(), Linf(), L1()], ids=lambda norm: norm.name)
slowly = pytest.mark.parametrize(
    "norm",
    [
        L2(),
        pytest.param(Linf(), marks=pytest.mark.slow),
        pytest.param(L1(), marks=pytest.mark.slow),
    ],
    ids=lambda norm: norm.name,
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
        "l2": lambda v: np.sum((eye @ v) ** 2),
        "l1": lambda v: v[:-1].sum(),
        "linf": lambda v: v[-1],
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
            objectives[norm.name],
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
    assert np.median(ratio) < 1.001 and ratio.max() < 1.05


def _wall(params, images):
    """Class 1 beyond a curved wall: a sphere of radius 1/2 about the grey image."""
    distance = jnp.sum((images - 0.5) ** 2, (1, 2, 3))
    return jnp.stack([jnp.full_like(distance, 0.25), params * distance], axis=-1)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None], ids=["box", "free"])
def test_a_curved_boundary_is_followed_to_its_nearest_point(bounds, key):
    """From inside a sphere, the nearest point of the wall is straight ahead."""
    images = np.full((8, 3, 3, 1), 0.5, np.float32)
    offset = np.random.default_rng(0).normal(size=images.shape) / 30
    images = (images + offset).astype(np.float32)
    attack = brendel_bethge(L2(), num_steps=30, bounds=bounds)
    found = attack(_wall, jnp.float32(1), images, np.zeros(8, int), key)
    exact = 0.5 - np.linalg.norm(offset.reshape(8, -1), axis=1)
    ratio = np.asarray(found.distance) / exact
    assert ratio.min() > 1 - 1e-3 and ratio.max() < 1.01


def test_images_without_an_adversarial_start_have_an_infinite_distance(key):
    images = np.full((3, 2, 2, 1), 0.5, np.float32)
    found = brendel_bethge(L2(), num_steps=3)(
        _wall, jnp.float32(0.1), images, np.zeros(3, int), key
    )
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
    with pytest.raises(TypeError, match="norm"):
        brendel_bethge(L0())
    with pytest.raises(ValueError, match="radius"):
        brendel_bethge(L2(), radius=0.0)
    for name in ("num_steps", "num_starts", "num_rivals"):
        with pytest.raises(ValueError, match=name):
            brendel_bethge(L2(), **{name: 0})

"""Closed forms against linear programming and SLSQP, in float64."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import affine
from scipy import optimize

from freqbias.attacks import L2, Linf, affine_attack
from freqbias.typing import Status

norms = pytest.mark.parametrize("norm", [L2(), Linf()], ids=["l2", "linf"])
boxes = pytest.mark.parametrize("bounds", [None, (0.0, 1.0)], ids=["free", "box"])
SHAPE = (3, 2, 2)


def _problem(num_classes=3, num_images=10, seed=0):
    """Affine model and images, many pixels close to the bounds; labels are the predictions."""
    generator = np.random.default_rng(seed)
    params = generator.normal(size=(num_classes, *SHAPE)), generator.normal(size=num_classes)
    images = np.clip(generator.normal(0.5, 0.5, (num_images, *SHAPE)), 0, 1)
    logits = np.einsum("nhwc,khwc->nk", images, params[0]) + params[1]
    return params, images, np.argmax(logits, -1), logits


def _room(image, bounds):
    if bounds is None:
        return [(-10.0, 10.0)] * image.size
    return list(zip(bounds[0] - image.ravel(), bounds[1] - image.ravel(), strict=True))


def _solve(norm, w, room, *, margin=None, epsilon=None):
    """Minimal norm with <w, delta> = -margin, or minimal <w, delta> within epsilon; by SciPy."""
    if norm == Linf():
        size = w.size  # variables: delta, and (minimal attack) the bound t
        if epsilon is not None:
            tight = [(max(a, -epsilon), min(b, epsilon)) for a, b in room]
            return optimize.linprog(w, bounds=tight).fun
        identity, ones = np.eye(size), np.ones((size, 1))
        solution = optimize.linprog(
            np.r_[np.zeros(size), 1.0],
            A_ub=np.block([[identity, -ones], [-identity, -ones], [w[None], np.zeros((1, 1))]]),
            b_ub=np.r_[np.zeros(2 * size), -margin],
            bounds=[*room, (0, None)],
        )
        return solution.fun if solution.success else np.inf
    if epsilon is not None:
        objective, jacobian = (lambda d: w @ d), (lambda d: w)
        constraint = {"fun": lambda d: epsilon**2 - d @ d, "jac": lambda d: -2 * d}
    else:
        objective, jacobian = (lambda d: d @ d / 2), (lambda d: d)
        constraint = {"fun": lambda d: -margin - w @ d, "jac": lambda d: -w}
    solution = optimize.minimize(
        objective,
        -1e-3 * w,
        jac=jacobian,
        method="SLSQP",
        bounds=room,
        constraints=[{"type": "ineq", **constraint}],
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    if epsilon is not None:
        return solution.fun
    return np.linalg.norm(solution.x) if solution.success else np.inf


@norms
@boxes
def test_minimal_distance_is_that_of_a_solver(norm, bounds, x64):
    """The minimum over the other classes, each solved by SciPy."""
    params, images, labels, logits = _problem()
    found = affine_attack(norm, bounds=bounds)(affine, params, images, labels)
    for index, label in enumerate(labels):
        exact = min(
            _solve(
                norm,
                (params[0][label] - params[0][j]).ravel(),
                _room(images[index], bounds),
                margin=logits[index, label] - logits[index, j],
            )
            for j in range(3)
            if j != label
        )
        np.testing.assert_allclose(found.distance[index], exact, rtol=1e-6)


@norms
@boxes
def test_minimal_delta_lies_on_the_boundary_and_flips_the_prediction(norm, bounds, x64):
    params, images, labels, _ = _problem()
    found = affine_attack(norm, bounds=bounds)(affine, params, images, labels)
    logits = np.sort(affine(params, images + found.delta), axis=-1)
    reached = np.isfinite(found.distance)
    np.testing.assert_array_equal(found.is_adversarial, reached)
    np.testing.assert_allclose((logits[:, -1] - logits[:, -2])[reached], 0, atol=1e-12)
    assert reached.sum() >= 7


@norms
def test_without_the_box_it_is_the_textbook_formula(norm, x64):
    """-m w / ||w||_2^2 and -m sign(w) / ||w||_1 for the class of smallest m / ||w||_dual."""
    params, images, labels, logits = _problem()
    found = affine_attack(norm)(affine, params, images, labels)
    for index, label in enumerate(labels):
        w = (params[0][label] - params[0]).reshape(3, -1)
        m = logits[index, label] - logits[index]
        dual = np.linalg.norm(w, 2 if norm == L2() else 1, axis=1)
        j = np.argmin(np.where(dual > 0, m / np.where(dual > 0, dual, 1), np.inf))
        unit = w[j] / dual[j] if norm == L2() else np.sign(w[j])
        expected = -m[j] / dual[j] * unit
        np.testing.assert_allclose(found.delta[index].ravel(), expected, rtol=1e-9, atol=1e-14)


@norms
@boxes
def test_budget_attack_is_the_optimum_of_a_solver(norm, bounds, x64):
    """Least margin to the nearest class within ball and box; at 20 the box alone binds."""
    params, images, labels, _ = _problem()
    minimal = affine_attack(norm, bounds=bounds)(affine, params, images, labels)
    nearest = np.argmax(affine(params, images + minimal.delta), -1)
    for epsilon in (0.05, 0.4) if bounds is None else (0.05, 0.4, 20.0):
        found = affine_attack(norm, epsilon=epsilon, bounds=bounds)(affine, params, images, labels)
        for index in np.flatnonzero(np.isfinite(minimal.distance)):
            w = (params[0][labels[index]] - params[0][nearest[index]]).ravel()
            exact = _solve(norm, w, _room(images[index], bounds), epsilon=epsilon)
            np.testing.assert_allclose(w @ found.delta[index].ravel(), exact, rtol=1e-6)


@norms
@boxes
def test_a_budget_succeeds_exactly_beyond_the_minimal_distance(norm, bounds, x64):
    params, images, labels, _ = _problem()
    radius = np.asarray(affine_attack(norm, bounds=bounds)(affine, params, images, labels).distance)
    for epsilon in np.quantile(radius[np.isfinite(radius)], [0.2, 0.5, 0.8]):
        attack = affine_attack(norm, epsilon=1.001 * epsilon, bounds=bounds)
        found = attack(affine, params, images, labels)
        np.testing.assert_array_equal(found.is_adversarial, radius <= 1.001 * epsilon)


@pytest.mark.parametrize("norm", [L2(), pytest.param(Linf(), marks=pytest.mark.slow)])
def test_float32_stays_within_a_few_roundings_of_the_exact_distance(norm):
    """The slack that makes the flip visible costs little: 28 x 28, 10 classes."""
    params = attack_table.affine_params(jax.random.key(0), 10, (28, 28, 1))
    images = attack_table.make_images(jax.random.key(1), 64, (28, 28, 1))
    labels = np.argmax(affine(params, images), -1)
    found = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, images))
        exact = affine_attack(norm, bounds=(0.0, 1.0))(affine, *double, labels).distance
    assert found.is_adversarial.all()
    ratio = np.asarray(found.distance) / np.asarray(exact)
    np.testing.assert_allclose(ratio, 1, rtol=2e-3)
    np.testing.assert_allclose(np.median(ratio), 1, rtol=1e-4)


@norms
def test_an_image_the_box_protects_has_infinite_distance(norm, x64):
    """Even black or white everywhere, the label's bias decides."""
    (beta, bias), images, labels, _ = _problem()
    reach = 2 * np.abs(beta).sum()
    params = (beta, bias + reach * (np.arange(3) == labels[0]))
    labels = np.full_like(labels, labels[0])
    found = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels)
    assert np.isinf(found.distance).all() and not found.is_adversarial.any()
    np.testing.assert_array_equal(found.delta, 0)
    assert np.isfinite(affine_attack(norm)(affine, params, images, labels).distance).all()
    spent = affine_attack(norm, epsilon=0.1, bounds=(0.0, 1.0))(affine, params, images, labels)
    assert (spent.distance > 0.05).all()  # a budget is spent, though in vain


def test_a_network_that_is_not_affine_is_refused_or_flagged():
    model = attack_table.make_model("mlp")
    with pytest.raises(ValueError, match="affine"):
        affine_attack(L2())(*model)
    params = model.params
    run = jax.jit(
        lambda params: affine_attack(L2())(model.apply_fn, params, model.images, model.labels)
    )
    np.testing.assert_array_equal(run(params).status, Status.NOT_CONVERGED)


def test_other_norms_are_refused():
    with pytest.raises(TypeError, match="norm"):
        affine_attack("l2")
    with pytest.raises(ValueError, match="bounds"):
        affine_attack(L2(), bounds=(1.0, 0.0))
    assert jnp.isfinite(affine_attack(L2(), epsilon=0.1).epsilon)

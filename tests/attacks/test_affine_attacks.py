"""Closed forms against linear programming, SLSQP and enumeration, in float64."""

import itertools

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import affine
from norm_table import norm_id
from scipy import optimize

from freqbias.attacks import (
    L0,
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    Lp,
    affine_attack,
    weighted_fourier_l2,
)
from freqbias.typing import Status

norms = pytest.mark.parametrize("norm", [L1(), L2(), Linf()], ids=norm_id)
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
    if norm == L1():  # variables: the upward and the downward part of delta
        bounds = [(0, high) for _, high in room] + [(0, -low) for low, _ in room]
        split = np.r_[w, -w]
        if epsilon is not None:
            return optimize.linprog(split, np.ones((1, 2 * w.size)), epsilon, bounds=bounds).fun
        solution = optimize.linprog(np.ones(2 * w.size), split[None], -margin, bounds=bounds)
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


def _fft(delta):
    return np.fft.fft2(delta, axes=(0, 1), norm="ortho")


def _ifft(spectrum):
    return np.fft.ifft2(spectrum, axes=(0, 1), norm="ortho").real


def _one_pixel(w):
    return np.where(np.abs(w) == np.abs(w).max(), np.sign(w), 0)


def _one_wave(w):
    moduli = np.abs(_fft(w))
    wave = np.where(moduli > moduli.max() - 1e-9, _fft(w), 0)
    return _ifft(wave / np.abs(wave).sum())


WEIGHTS = np.array([[1.0, 2.0], [3.0, 0.5], [3.0, 0.5]])[..., None]
TEXTBOOK = {  # the norm, its dual, and the unit perturbation
    "l1": (L1(), lambda w: np.abs(w).max(), _one_pixel),
    "l2": (L2(), np.linalg.norm, lambda w: w / np.linalg.norm(w)),
    "l1.5": (
        Lp(1.5),
        lambda w: np.linalg.norm(w.ravel(), 3),
        lambda w: np.sign(w) * (w / np.linalg.norm(w.ravel(), 3)) ** 2,
    ),
    "linf": (Linf(), lambda w: np.abs(w).sum(), np.sign),
    "fourier_l1": (FourierL1(), lambda w: np.abs(_fft(w)).max(), _one_wave),
    "fourier_linf": (
        FourierLinf(),
        lambda w: np.abs(_fft(w)).sum(),
        lambda w: _ifft(_fft(w) / np.abs(_fft(w))),
    ),
    "weighted_fourier_l2": (
        weighted_fourier_l2(WEIGHTS),
        lambda w: np.linalg.norm(_fft(w) / WEIGHTS),
        lambda w: _ifft(_fft(w) / WEIGHTS**2) / np.linalg.norm(_fft(w) / WEIGHTS),
    ),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_without_the_box_it_is_the_textbook_formula(name, x64):
    """-m unit / ||w||_dual for the class of smallest m / ||w||_dual; a budget, -epsilon unit."""
    norm, dual_of, unit_of = TEXTBOOK[name]
    params, images, labels, logits = _problem()
    found = affine_attack(norm)(affine, params, images, labels)
    spent = affine_attack(norm, epsilon=0.3)(affine, params, images, labels)
    assert found.is_adversarial.all()
    for index, label in enumerate(labels):
        others = [j for j in range(3) if j != label]
        normals = [params[0][label] - params[0][j] for j in others]
        radii = [
            (logits[index, label] - logits[index, j]) / dual_of(w)
            for j, w in zip(others, normals, strict=True)
        ]
        unit = unit_of(normals[np.argmin(radii)])
        np.testing.assert_allclose(found.distance[index], min(radii), rtol=1e-9)
        np.testing.assert_allclose(found.delta[index], -min(radii) * unit, atol=1e-12)
        np.testing.assert_allclose(spent.delta[index], -0.3 * unit, atol=1e-12)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_l0_changes_as_few_pixels_as_any_subset(per_pixel, x64):
    """Every subset of entries (or pixels), each moved as far as the box allows, is tried."""
    norm, shape = L0(per_pixel), (*SHAPE[:2], 1) if per_pixel else SHAPE
    params, images, *_ = _problem(seed=1)
    params = params[0], 4.0 * np.arange(3)  # wide margins: many pixels are needed
    logits = np.asarray(affine(params, images))
    labels = logits.argmax(-1)
    minimal = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels)
    assert len(set(minimal.distance.tolist())) > 2
    budget = affine_attack(norm, epsilon=2, bounds=(0.0, 1.0))(affine, params, images, labels)
    subsets = np.array(list(itertools.product([0, 1], repeat=int(np.prod(shape)))))
    counts = subsets.sum(1)
    for index, label in enumerate(labels):
        fewest, normals = {}, {}
        for j in {0, 1, 2} - {int(label)}:
            w = normals[j] = params[0][label] - params[0][j]
            gain = np.abs(w) * np.where(w > 0, images[index], 1 - images[index])
            gain = (gain.sum(-1) if per_pixel else gain).ravel()
            reached = subsets @ gain >= logits[index, label] - logits[index, j]
            fewest[j] = np.min(counts[reached], initial=10**6), (subsets @ gain)[counts <= 2].max()
        least = min(count for count, _ in fewest.values())
        if least == 10**6:
            assert np.isinf(minimal.distance[index])
            continue
        assert minimal.distance[index] == least and minimal.is_adversarial[index]
        drops = [np.sum(-w * np.asarray(budget.delta[index])) for w in normals.values()]
        best = [
            np.isclose(drop, most) and count == least
            for drop, (count, most) in zip(drops, fewest.values(), strict=True)
        ]
        assert any(best)
    assert (jax.vmap(norm.value)(budget.delta) <= 2).all()


def test_l0_without_the_box_needs_one_pixel(x64):
    params, images, labels, _ = _problem()
    found = affine_attack(L0())(affine, params, images, labels)
    np.testing.assert_array_equal(found.distance, 1)
    assert found.is_adversarial.all()


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


@pytest.mark.parametrize("norm", [L0(), L1(), L2(), Linf()], ids=norm_id)
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
    spent = affine_attack(norm, epsilon=1.5, bounds=(0.0, 1.0))(affine, params, images, labels)
    assert (spent.distance > 0.5).all()  # a budget is spent, though in vain


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


@pytest.mark.parametrize("name", ["fourier_l1", "fourier_linf", "weighted_fourier_l2"])
def test_fourier_norms_with_the_box_are_refused(name):
    """Nothing is returned that is not the exact optimum."""
    with pytest.raises(ValueError, match="with bounds"):
        affine_attack(TEXTBOOK[name][0], bounds=(0.0, 1.0))


def test_a_budget_of_changes_without_the_box_is_refused():
    with pytest.raises(ValueError, match="bounds must be given"):
        affine_attack(L0(), epsilon=2)

"""Minimal attacks against the exact optimum of affine models, and against one another."""

import itertools
from functools import partial

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import NUM_CLASSES, affine

from freqbias.attacks import (
    L0,
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    Lp,
    affine_attack,
    carlini_wagner,
    ddn,
    deepfool,
    driver,
    fab,
    fmn,
    pgd,
    smallest_budget,
)
from freqbias.attacks.driver import jacobian
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.carlini_wagner import _tanh
from freqbias.typing import Status

SHAPE, NUM_IMAGES = (28, 28, 1), 64


def _slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@partial(jax.jit, static_argnames=("num_classes", "spread", "seed", "shape"))
def _problem(num_classes, spread=0.5, seed=0, *, shape=SHAPE):
    """Random weights, biases for which every class is predicted, images within 0.5 +- spread."""
    beta, _ = attack_table.affine_params(jax.random.key(seed), num_classes, shape)
    images = attack_table.make_images(jax.random.key(seed + 1), NUM_IMAGES, shape)
    images = jnp.round(images) if spread is None else 0.5 + spread * (2 * images - 1)
    bias = -jnp.einsum("nhwc,khwc->nk", images, beta).mean(0)
    params = beta, bias
    return params, images, jnp.argmax(affine(params, images), -1).astype(jnp.int32)


def _exact(norm, problem, bounds=(0.0, 1.0)):
    """In float64, where the slack beyond the boundary is nothing."""
    params, images, labels = problem
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, images))
        found = affine_attack(norm, bounds=bounds)(affine, *double, np.asarray(labels))
        return np.asarray(found.distance)


ATTACKS = {
    "ddn": (ddn(), L2()),
    "fmn_l2": (fmn(L2()), L2()),
    "fmn_linf": (fmn(Linf()), Linf()),
    "fmn_l1": (fmn(L1()), L1()),
    "fmn_l0": (fmn(L0()), L0()),
    "fmn_pixels": (fmn(L0(per_pixel=True)), L0(per_pixel=True)),
    "deepfool_l2": (deepfool(L2()), L2()),
    "deepfool_linf": (deepfool(Linf()), Linf()),
    "deepfool_box": (deepfool(L2(), box_aware=True, num_steps=3), L2()),
    "deepfool_l1": (deepfool(L1()), L1()),
    "fab_l2": (fab(L2()), L2()),
    "fab_linf": (fab(Linf()), Linf()),
    "fab_l1": (fab(L1()), L1()),
    "fab_lp": (fab(Lp(1.5)), Lp(1.5)),
    "fmn_lp": (fmn(Lp(4.0)), Lp(4.0)),
    "fab_by_class": (fab(L2(), class_by_class=True, num_steps=20), L2()),
    "carlini_wagner": (carlini_wagner(), L2()),
    "smallest_budget_l1": (smallest_budget(L1()), L1()),
    "smallest_budget_l2": (smallest_budget(L2()), L2()),
    "smallest_budget_linf": (smallest_budget(Linf()), Linf()),
    "smallest_budget_fourier_l1": (smallest_budget(FourierL1(), bounds=None), FourierL1()),
    "smallest_budget_fourier_linf": (smallest_budget(FourierLinf(), bounds=None), FourierLinf()),
}
WORST = {  # at most, of the exact distance; of the others 1.02
    "deepfool_l2": 1.001,
    "deepfool_box": 1.001,
    "deepfool_l1": 1.003,  # the line search shrinks full pixels and the last one alike
    "deepfool_linf": 1.001,
    "smallest_budget_l2": 1.001,
    "smallest_budget_linf": 1.001,
    "smallest_budget_fourier_l1": 1.001,
    "smallest_budget_fourier_linf": 1.001,
}


def _measure(name, num_classes, spread, num_images=NUM_IMAGES):
    """An attack at its default settings against the closed form."""
    attack, norm = ATTACKS[name]
    shape = (20, 20, 2) if norm == L0(per_pixel=True) else SHAPE
    params, images, labels = _problem(num_classes, spread, shape=shape)
    problem = params, images[:num_images], labels[:num_images]
    exact = _exact(norm, problem, attack.bounds)
    found = attack(affine, *problem, jax.random.key(0))
    assert found.is_adversarial.all() and (found.status == Status.OK).all()
    ratio = np.asarray(found.distance) / exact
    if isinstance(norm, L0):
        np.testing.assert_allclose(found.distance, exact, atol=1)
        assert np.median(ratio) == 1
    else:
        assert ratio.min() >= 1 - 2e-3  # rounding of the smallest margins
        worst = WORST.get(name, 1.02)
        assert np.median(ratio) <= (1.002 if worst == 1.02 else 1.001) and ratio.max() <= worst


SLOW = {"fmn_pixels", "deepfool_box", "fab_by_class"}
SLOW |= {"smallest_budget_fourier_l1", "smallest_budget_fourier_linf"}


@pytest.mark.parametrize("name", [_slow(name) if name in SLOW else name for name in ATTACKS])
def test_default_settings_find_the_optimum_of_black_and_white_images(name):
    """Half of all steps lead out of the box: where attacks that forget it fail."""
    _measure(name, num_classes=10, spread=None, num_images=16)


@pytest.mark.slow
@pytest.mark.parametrize("name, num_classes", list(itertools.product(ATTACKS, (2, 10))))
def test_default_settings_find_the_exact_optimum_of_affine_models(name, num_classes):
    """The yardstick: 784 inputs in the box. References are off by up to a factor of 368 here.

    The tolerance is a tenth of what would do: 2 % in median and 5 % at worst.
    """
    for spread in (0.5, 0.1, None):  # up to the box, away from it, and all pixels on its edge
        _measure(name, num_classes, spread)


@pytest.mark.parametrize("norm", [L2(), _slow(Linf())], ids=["l2", "linf"])
@pytest.mark.parametrize("num_classes", [_slow(2), 10])
def test_deepfool_without_the_box_is_the_closed_form(norm, num_classes):
    problem = _problem(num_classes, spread=0.1)
    found = deepfool(norm, bounds=None, num_steps=3)(affine, *problem, jax.random.key(0))
    np.testing.assert_allclose(found.distance, _exact(norm, problem, None), rtol=1e-3)


def test_the_line_search_takes_any_overshoot_away(key):
    problem = _problem(10, spread=0.1)  # in the box, the path back is not the path of the optimum
    far = deepfool(L2(), overshoot=0.7, num_steps=2)(affine, *problem, key)
    near = deepfool(L2(), overshoot=0.01, num_steps=2)(affine, *problem, key)
    np.testing.assert_allclose(far.distance, near.distance, rtol=1e-3)


SMALL = {
    "ddn": ddn(num_steps=40),
    "fmn": fmn(L2(), num_steps=40),
    "deepfool": deepfool(L2(), num_steps=10),
    "fab": fab(L2(), num_steps=20),
    "carlini_wagner": carlini_wagner(num_steps=40),
}


@pytest.mark.parametrize(
    "chosen", [("ddn", "carlini_wagner"), _slow(tuple(SMALL))], ids=["two", "all"]
)
def test_attacks_in_l2_agree_on_a_smooth_network(chosen, key):
    """Five ways to one number; none can be below the optimum, so that all must be near it."""
    model = attack_table.make_model("mlp")
    distance = {name: SMALL[name](*model, key).distance[:-2] for name in chosen}
    best = np.min(list(distance.values()), axis=0)
    for name, found in distance.items():
        ratio = np.asarray(found) / best
        assert np.median(ratio) < 1.01 and ratio.max() < 1.05, name
    for attack in map(
        SMALL.get, chosen
    ):  # the result is on the boundary: a bisection gains nothing
        found = attack(*model, key)
        closer = model.apply_fn(model.params, model.images + 0.998 * found.delta)
        np.testing.assert_array_equal(closer.argmax(-1)[:-2], model.labels[:-2])


@pytest.mark.slow
def test_no_budget_below_the_distance_found_suffices(key):
    """Against PGD, which looks for anything within a radius."""
    model = attack_table.make_model("mlp")
    radius = ddn()(*model, key).distance

    def attack_one(epsilon, image, label):
        attack = pgd(L2(), epsilon=epsilon, loss="margin", num_steps=50)
        return attack(model.apply_fn, model.params, image[None], label[None], key).is_adversarial[0]

    for share, least, most in ((0.98, 0, 0), (1.02, 6, 10)):  # PGD misses some
        found = jax.jit(jax.vmap(attack_one))(share * radius, model.images, model.labels)
        assert least <= found[:-2].sum() <= most


@pytest.mark.slow
@pytest.mark.parametrize("make", [ddn, (lambda **o: fmn(Linf(), **o))], ids=["ddn", "fmn"])
def test_distance_decreases_with_the_number_of_steps(make, key):
    model = attack_table.make_model("mlp")
    distances = [make(num_steps=n)(*model, key).distance[:-2] for n in (2, 8, 40)]
    medians = np.median(distances, axis=1)
    assert medians[0] >= medians[1] >= medians[2] and medians[0] > 1.0005 * medians[2]
    assert (distances[2] <= 1.002 * np.asarray(distances[0])).all()


TARGETED = {
    "ddn": (ddn(targeted=True), L2()),
    "fmn_linf": (fmn(Linf(), targeted=True), Linf()),
    "deepfool": (deepfool(L2(), targeted=True), L2()),
    "deepfool_linf": (deepfool(Linf(), targeted=True), Linf()),
    "fab_linf": (fab(Linf(), targeted=True), Linf()),
    "carlini_wagner": (carlini_wagner(targeted=True), L2()),
}


@pytest.mark.parametrize(
    "name", [name if name in {"ddn", "deepfool"} else _slow(name) for name in TARGETED]
)
def test_targeted_attacks_reach_their_targets(name, key):
    """Of two classes, the target is the other one: the exact distance. Of more, it is farther."""
    attack, norm = TARGETED[name]
    problem = _problem(2)
    found = attack(affine, *problem, key, targets=1 - problem[2])
    ratio = np.asarray(found.distance) / _exact(norm, problem)
    assert np.median(ratio) < 1.002 and ratio.max() < 1.02
    model = attack_table.make_model("mlp")
    targets = (model.labels + 1) % NUM_CLASSES
    found = attack(*model, key, targets=targets)
    reached = model.apply_fn(model.params, model.images + found.delta).argmax(-1)
    np.testing.assert_array_equal(reached == targets, found.is_adversarial)
    assert found.is_adversarial.mean() > 0.8
    if norm == L2():
        free = ddn()(*model, key).distance
        assert (found.distance >= 0.99 * free)[found.is_adversarial].all()


@pytest.mark.parametrize("norm", [L2(), _slow(Linf())], ids=["l2", "linf"])
def test_targeted_fab_reaches_the_least_likely_class(norm, key):
    """Drawn to the image before it has reached its target, it missed half of these."""
    model = attack_table.make_model("mlp")
    images = attack_table.make_images(jax.random.key(9), 48)
    logits = model.apply_fn(model.params, images)
    labels, targets = jnp.argmax(logits, -1), jnp.argmin(logits, -1)
    attack = fab(norm, targeted=True)
    found = attack(model.apply_fn, model.params, images, labels, key, targets=targets)
    assert found.is_adversarial.all()


def _grey(params, images):
    """The affine network of `attack_table` for pixels in 0..255."""
    return affine(params, images / 255)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fmn_l0", "fmn_linf", "fab_l2", "carlini_wagner"])
def test_the_unit_of_a_pixel_and_of_a_logit_plays_no_part(name, key):
    """Steps, radii and weights are measured by the linearised boundary."""
    attack, norm = ATTACKS[name]
    params, images, labels = _problem(10)
    images, labels = images[:16], labels[:16]
    expected = attack(affine, params, images, labels, key).distance
    grey = attack.replace(bounds=(0.0, 255.0))
    loud = jax.tree.map(lambda leaf: 1e4 * leaf, params)
    found = grey(_grey, loud, 255 * images, labels, key).distance
    unit = 1 if norm == L0() else 255
    np.testing.assert_allclose(found, unit * np.asarray(expected), rtol=5e-3)


@pytest.mark.parametrize("name", ["ddn", _slow("fmn_linf"), _slow("deepfool_l2"), _slow("fab_l2")])
def test_an_image_the_box_protects_has_infinite_distance(name, key):
    """Even black or white everywhere, the label's bias decides."""
    (beta, bias), images, labels = _problem(10)
    labels = jnp.zeros_like(labels)
    params = beta, bias + 2 * jnp.abs(beta).sum() * (jnp.arange(10) == 0)
    found = ATTACKS[name][0](affine, params, images, labels, key)
    assert np.isinf(found.distance).all() and not found.is_adversarial.any()
    np.testing.assert_array_equal(found.delta, 0)
    np.testing.assert_array_equal(found.status, Status.OK)


@pytest.fixture
def asked(monkeypatch):
    """The oracles that the host driver asks, one after the other."""
    oracles = []

    def query(oracle, *args):
        oracles.append(oracle)
        return ask(oracle, *args)

    ask = driver.query
    monkeypatch.setattr(driver, "query", query)
    return oracles


@pytest.mark.parametrize("norm", [L2(), Linf()])
def test_deepfool_stops_when_all_images_fell(norm, key, asked):
    """On an affine network after one step, and one more question to see it; on both drivers."""
    problem = _problem(10)
    found = deepfool(norm, bounds=None, driver="host")(affine, *problem, key)
    assert asked.count(jacobian) == 2
    np.testing.assert_array_equal(found.gradient_evaluations, 10)
    attacks = (deepfool(norm, num_steps=3, bounds=None, driver=name) for name in ("scan", "host"))
    for attack in attacks:  # traced, "host" cannot know when to end; no later step moves anything
        again = jax.jit(attack, static_argnums=0)(affine, *problem, key)
        np.testing.assert_allclose(again.delta, found.delta, atol=1e-6)
        np.testing.assert_array_equal(again.gradient_evaluations, 10)


@pytest.mark.parametrize("seed", [3, 5, 9])
def test_each_start_ends_with_a_line_search(seed, key):
    """On these networks one after the last start alone ends up to 22 % further away with more."""
    model = attack_table.make_model("mlp", seed)
    options = {"num_steps": 4, "driver": "host"}  # which compiles nothing for another number
    attacks = (fmn(Linf(), num_restarts=number, **options) for number in (1, 2, 3))
    for fewer, more in itertools.pairwise(attack(*model, key).distance for attack in attacks):
        assert (more <= fewer).all()


def test_a_broken_network_is_asked_once(key, asked):
    """Not for the whole of an attack, before it is refused."""
    problem = _problem(3)
    with pytest.raises(ValueError, match="apply_fn must return finite logits"):
        ddn(driver="host")(lambda params, images: affine(params, images) * jnp.nan, *problem, key)
    assert len(asked) == 1


@pytest.mark.slow
def test_rivals_not_probed_cost_no_gradient_but_may_be_the_nearest(key):
    problem = _problem(10)
    few, many = (ddn(num_rivals=n, num_steps=5)(affine, *problem, key) for n in (1, 30))
    np.testing.assert_array_equal(few.gradient_evaluations, 6)
    np.testing.assert_array_equal(many.gradient_evaluations, 19)  # there are only nine others
    assert (many.distance <= 1.001 * few.distance).all()
    assert (many.distance < 0.999 * few.distance).any()


def test_aims_are_in_the_order_of_distance_and_begin_anew_after_the_last():
    """Of equals the strongest first, those not probed last: a stable sort."""
    distances = np.array([[2.0, 1, np.inf, 1], [np.inf] * 4, [3, 2, 1, 0]], np.float32)
    classes = np.array([[5, 6, 7, 8], [1, 2, 3, 4], [9, 8, 7, 6]], np.int32)
    zeros = np.zeros(3, np.float32)
    rivals = boundary.Rivals(classes, np.int32(4), distances, -distances, zeros, zeros, zeros)
    order = np.argsort(distances, axis=1, kind="stable")
    for position in range(9):
        aimed = jax.jit(boundary.aim_at)(rivals, np.int32(position))
        chosen = order[:, position % 4]
        rows = np.arange(3)
        np.testing.assert_array_equal(aimed.aim, classes[rows, chosen])
        np.testing.assert_array_equal(aimed.distance, distances[rows, chosen])
        np.testing.assert_array_equal(aimed.length, -distances[rows, chosen])


def test_a_second_aim_finds_nearer_classes_and_never_hurts(key):
    """The nearest boundary of the linearised network is not always that of the network."""
    model = attack_table.make_model("mlp", seed=4)
    (weight, bias), last = model.params
    model = model._replace(params=((2 * weight, bias), last))  # more strongly bent
    model = model._replace(labels=jnp.argmax(model.apply_fn(model.params, model.images), -1))
    first, both = (ddn(num_steps=20, num_restarts=n)(*model, key) for n in (1, 3))
    np.testing.assert_array_equal(both.gradient_evaluations, first.gradient_evaluations + 40)
    assert (both.distance <= (1 + 1e-6) * first.distance).all()  # two programs, two roundings
    assert (both.distance < 0.99 * first.distance).any()


def _flat_below_half(params, images):
    """No gradient at or below 0.5; class 1 wins from 0.6 on."""
    x = images[:, 0, 0, 0]
    return jnp.stack([params + 0.1 + jnp.zeros_like(x), jax.nn.relu(x - 0.5)], axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("class_by_class", [False, True])
def test_restarts_of_fab_are_random_and_leave_a_plateau(class_by_class, key):
    images, labels = np.full((8, 1, 1, 1), 0.5, np.float32), np.zeros(8, int)
    once, often = (
        fab(L2(), num_steps=5, num_restarts=n, class_by_class=class_by_class)(
            _flat_below_half, jnp.float32(0), images, labels, key
        )
        for n in (1, 6)
    )
    assert np.isinf(once.distance).all() and (once.status == Status.DEAD).all()
    found = np.asarray(often.status) == Status.OK
    assert found.sum() >= 6  # each start leaves the plateau with probability 1/2
    np.testing.assert_allclose(often.distance[found], 0.1, rtol=1e-3)
    gradients = 5 if class_by_class else 10
    np.testing.assert_array_equal(once.gradient_evaluations, gradients)
    np.testing.assert_array_equal(often.gradient_evaluations, 6 * gradients)


@pytest.mark.parametrize(
    "make, options, error, words",
    [
        (ddn, dict(num_steps=0), ValueError, "num_steps"),
        (ddn, dict(gamma=-0.1), ValueError, "gamma"),
        (ddn, dict(gamma=1.0), ValueError, "gamma must lie in"),  # the ball would become a point
        (ddn, dict(step_size=0.0), ValueError, "step_size"),
        (ddn, dict(num_rivals=0), ValueError, "num_rivals"),
        (fmn, dict(norm="linf"), TypeError, "norm"),
        (fmn, dict(norm=FourierL1()), ValueError, "smallest_step.*FourierL1"),
        (deepfool, dict(norm=L0()), ValueError, "not count"),
        (deepfool, dict(norm=L2(), overshoot=-1.0), ValueError, "overshoot"),
        (fab, dict(norm=L0()), ValueError, "not count"),
        (fab, dict(norm=L2(), beta=0.0), ValueError, "beta"),
        (fab, dict(norm=L2(), beta=1.5), ValueError, "beta must lie in"),  # away from the image
        (fab, dict(norm=L2(), num_restarts=0), ValueError, "num_restarts"),
        (carlini_wagner, dict(weight=0.0), ValueError, "weight"),
        (carlini_wagner, dict(num_search_steps=0), ValueError, "num_search_steps"),
        (carlini_wagner, dict(bounds=(1.0, 0.0)), ValueError, "bounds"),
    ],
)
def test_bad_options_raise_where_the_attack_is_made(make, options, error, words):
    with pytest.raises(error, match=words):
        make(**options)


def test_carlini_and_wagner_descend_by_the_derivative_of_their_variable():
    """The slope of delta by two routes, where nothing is clipped."""
    attack = carlini_wagner()
    images = np.full((1, 5, 5, 1), 0.5, np.float32)
    variable = np.linspace(-0.7, 0.7, 25, dtype=np.float32).reshape(images.shape)
    squashed = np.tanh(variable)
    np.testing.assert_allclose(_tanh(variable), squashed, atol=2e-7)
    derivative = jax.grad(lambda at: attack._delta(images, jnp.tanh(at)).sum())(variable)
    slope = attack._half_width * attack._slope(squashed)
    np.testing.assert_allclose(slope, derivative, rtol=1e-5)

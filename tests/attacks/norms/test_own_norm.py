"""Norms of a user's own: what their methods let them do, and what an attack says that lacks one."""

import functools

import attack_table
import jax
import jax.numpy as jnp
import norm_table
import numpy as np
import pytest
from attack_table import SHAPE
from norm_table import norm_id

import freqbias as fb
from freqbias.attacks import (
    L1,
    L2,
    FourierLinf,
    Linf,
    Lp,
    affine_attack,
    apgd,
    auto_attack,
    band_limited,
    brendel_bethge,
    deepfool,
    diagnose,
    fab,
    fmn,
    mi_fgsm,
    pgd,
    smallest_budget,
    square,
)
from freqbias.attacks.norms import Windows, defines

BOX = (0.0, 1.0)
BOUNDS = [BOX, None]


class Uneven(fb.attacks.Norm):
    """max_i |delta_i| / w_i: some pixels may change more than others."""

    widths: jax.Array

    def value(self, delta):
        return jnp.max(jnp.abs(delta) / self.widths)

    def project(self, delta, epsilon):
        return jnp.clip(delta, -epsilon * self.widths, epsilon * self.widths)

    def steepest(self, gradient):
        return jnp.sign(gradient) * self.widths


class Capable(Uneven):
    """The same norm, with all that any attack asks for; by L-inf, in units of the widths."""

    shrinks = True

    def ascent(self, gradient, *, boxed=False):
        return self.steepest(gradient)

    def project_box(self, delta, image, epsilon, bounds):
        lower, upper = fb.attacks.norms.reach(image, bounds)
        return jnp.clip(self.project(delta, epsilon), lower, upper)

    def sample(self, key, shape, dtype):
        return self.widths * Linf().sample(key, shape, dtype)

    def smallest_step(self, normal, image, margin, bounds):
        if bounds is None:
            return super().smallest_step(normal, image, margin, bounds)
        step = fb.attacks.norms.steps.smallest_of_shape
        shape = self.widths * jnp.abs(jnp.sign(normal))
        return step(self, shape, normal, image, margin, bounds=bounds)

    def windows(self, num_channels):
        plain = Linf().windows(num_channels)

        def start(key, shape, dtype):
            return self.widths * plain.start(key, shape, dtype)

        def move(key, delta, side, epsilon):
            return self.widths * plain.move(key, delta / self.widths, side, epsilon)

        return Windows(start, move, in_ball=True)


@pytest.fixture
def widths(rng):
    return rng.uniform(0.5, 2.0, SHAPE).astype(np.float32)


@pytest.fixture
def model():
    return attack_table.make_model("affine")


def _exact(model, norm, bounds):
    """Distance of each image that is classified correctly, by bisection over the radius."""
    beta, bias = (np.asarray(leaf, float) for leaf in model.params)
    widths, distances = np.asarray(norm.widths), []
    for image, label in zip(np.asarray(model.images, float), np.asarray(model.labels), strict=True):
        normals = beta[label] - np.delete(beta, label, axis=0)
        margins = np.sum(normals * image, axis=(1, 2, 3))
        margins += bias[label] - np.delete(bias, label)
        low, high = np.zeros(len(margins)), np.full(len(margins), 10.0)
        for _ in range(60):
            middle = (low + high) / 2
            moved = image - middle[:, None, None, None] * widths * np.sign(normals)
            moved = moved if bounds is None else moved.clip(*bounds)
            fell = margins + np.sum(normals * (moved - image), axis=(1, 2, 3)) <= 0
            low, high = np.where(fell, low, middle), np.where(fell, middle, high)
        distances.append(high.min())
    return np.array(distances)


@pytest.mark.parametrize("bounds", BOUNDS, ids=["box", "free"])
def test_three_methods_suffice_for_every_gradient_attack(bounds, widths, model, key):
    """With the box, the default projection is the nearest point."""
    norm, epsilon = Uneven(widths), 0.02
    exact = _exact(model, norm, bounds)[:-2]
    expected = exact <= epsilon
    assert 0 < expected.sum() < len(expected)
    for make in (pgd, mi_fgsm):
        options = {"random_start": False} if make is pgd else {}
        found = make(norm, epsilon=epsilon, bounds=bounds, loss="margin", **options)(*model, key)
        assert np.max(found.distance) <= epsilon * (1 + 1e-5)
        clear = np.abs(exact / epsilon - 1) > 0.02
        fell = np.asarray(found.is_adversarial)[:-2]
        np.testing.assert_array_equal(fell[clear], expected[clear])
    radius = smallest_budget(norm, bounds=bounds)(*model, key).distance[:-2]
    np.testing.assert_allclose(radius, exact, rtol=0.03)


def test_without_the_box_it_has_closed_forms(widths, model):
    norm = Uneven(widths)
    found = affine_attack(norm)(*model)
    exact = _exact(model, norm, None)
    np.testing.assert_allclose(found.distance[:-2], exact[:-2], rtol=1e-4)
    spent = affine_attack(norm, epsilon=0.02)(*model)
    np.testing.assert_array_equal(spent.is_adversarial[:-2], exact[:-2] < 0.02)


@pytest.mark.parametrize(
    "make, method",
    [
        (fmn, "smallest_step"),
        (deepfool, "smallest_step"),
        (fab, "smallest_step"),
        (brendel_bethge, "smallest_step"),
        (lambda norm: affine_attack(norm, bounds=BOX), "smallest_step"),
        (lambda norm: square(norm, epsilon=0.1), "windows"),
    ],
    ids=["fmn", "deepfool", "fab", "brendel_bethge", "affine", "square"],
)
def test_what_is_lacking_is_named(make, method, widths):
    with pytest.raises(ValueError, match=f"`{method}`.*Uneven does not"):
        make(Uneven(widths))


def test_what_a_call_lacks_is_named(widths, model, key):
    with pytest.raises(ValueError, match="`sample` for a random start; Uneven"):
        pgd(Uneven(widths), epsilon=0.1)(*model, key)
    with pytest.raises(ValueError, match=r"`line_to_plane`.*Capable does not"):
        brendel_bethge(Capable(widths))


def test_no_norm_is_refused_by_its_type():
    makers = (fmn, deepfool, fab, brendel_bethge, smallest_budget, affine_attack)
    for make in makers:
        with pytest.raises(TypeError, match=r"norm must be a .*'l2'"):
            make("l2")
    for make in (pgd, apgd, square, auto_attack, fb.attacks.universal):
        with pytest.raises(TypeError, match=r"norm must be a .*L2"):
            make(L2, epsilon=0.1)  # the class, not an instance


@pytest.mark.parametrize("bounds", BOUNDS, ids=["box", "free"])
@pytest.mark.parametrize("make", [fmn, deepfool, fab])
def test_with_a_smallest_step_minimal_attacks_find_the_optimum(make, bounds, widths, model, key):
    norm = Capable(widths)
    found = make(norm, bounds=bounds)(*model, key)
    np.testing.assert_allclose(found.distance[:-2], _exact(model, norm, bounds)[:-2], rtol=0.02)


def test_with_windows_square_searches_and_others_take_it_up(widths, model, key):
    norm, epsilon = Capable(widths), 0.05
    exact = _exact(model, norm, BOX)[:-2]
    found = square(norm, epsilon=epsilon, num_steps=200)(*model, key)
    assert np.max(found.distance) <= epsilon * (1 + 1e-5)
    fell = np.asarray(found.is_adversarial)[:-2]
    assert not fell[exact > epsilon].any()
    assert fell[exact < 0.5 * epsilon].all()
    kinds = [type(one).__name__ for one in auto_attack(norm, epsilon=epsilon).attacks]
    assert kinds == ["AutoPGD", "AutoPGD", "FAB", "SquareAttack"]
    kinds = [type(one).__name__ for one in auto_attack(Uneven(widths), epsilon=epsilon).attacks]
    assert kinds == ["AutoPGD", "AutoPGD"]
    attack = pgd(norm, epsilon=epsilon, num_steps=5)
    assert diagnose(attack, *model, key).failed() == ()


def test_a_norm_like_l1_gets_sparse_steps(model):
    class Mine(L1):
        pass

    assert type(apgd(Mine(), epsilon=1.0)).__name__ == "SparseAutoPGD"
    assert type(apgd(L2(), epsilon=1.0)).__name__ == "AutoPGD"
    assert deepfool(Mine()).box_aware and not deepfool(L2()).box_aware
    with pytest.raises(ValueError, match="multi_epsilon"):
        apgd(L2(), epsilon=1.0, multi_epsilon=True)


@pytest.mark.parametrize("norm", norm_table.norms(SHAPE), ids=norm_id)
def test_defaults_agree_with_what_norms_define(norm, rng):
    """The dual by its definition, and the projections of ball and box put together."""
    delta, image = rng.standard_normal(SHAPE, np.float32), rng.random(SHAPE, np.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def of(cls, norm, delta, image):
        radius = 0.3 * norm.value(delta)
        return cls.dual(norm, delta), cls.project_box(norm, delta, image, radius, BOX)

    (dual, projected), (own_dual, own) = (
        of(cls, norm, delta, image) for cls in (fb.attacks.Norm, type(norm))
    )
    np.testing.assert_allclose(dual, own_dual, rtol=1e-5)
    np.testing.assert_allclose(projected, own, atol=2e-3)


@pytest.mark.parametrize("norm", [L1(), L2(), Linf(), Lp(1.5)], ids=norm_id)
@pytest.mark.parametrize("bounds", BOUNDS, ids=["box", "free"])
def test_the_largest_step_at_the_smallest_distance_takes_the_margin_away(norm, bounds, rng):
    normal, image = rng.standard_normal(SHAPE, np.float32), rng.random(SHAPE, np.float32)
    margin = np.float32(2.0)

    @jax.jit
    def steps(norm, normal, image):
        delta, distance = norm.smallest_step(normal, image, margin, bounds)
        spent = norm.largest_step(normal, image, distance, bounds)
        return delta, distance, norm.value(delta), spent, norm.dual(normal)

    delta, distance, size, spent, dual = jax.device_get(steps(norm, normal, image))
    np.testing.assert_allclose(np.sum(normal * delta), -margin, rtol=1e-5)
    np.testing.assert_allclose(size, distance, rtol=1e-5)
    np.testing.assert_allclose(np.sum(normal * spent), -margin, rtol=1e-4)
    if bounds is None:
        np.testing.assert_allclose(distance, margin / dual, rtol=1e-5)


@pytest.mark.parametrize("norm", [L2(), FourierLinf()], ids=norm_id)
def test_in_a_band_the_closed_form_is_exact_where_the_steepest_step_is(norm, model):
    limited = band_limited(norm, attack_table.LOW_BAND)
    found = affine_attack(limited)(*model)
    beta, labels = np.asarray(model.params[0]), np.asarray(model.labels)
    logits = np.asarray(model.apply_fn(model.params, model.images))
    duals = jax.jit(jax.vmap(jax.vmap(limited.dual)))(beta[labels][:, None] - beta[None])
    margins = np.take_along_axis(logits, labels[:, None], axis=1) - logits
    own = np.arange(logits.shape[1])[None] == labels[:, None]
    exact = np.min(np.divide(margins, duals, out=np.full_like(margins, np.inf), where=~own), axis=1)
    np.testing.assert_allclose(found.distance[:-2], exact[:-2], rtol=1e-4)
    assert found.is_adversarial.all()


def test_in_a_band_other_norms_have_no_closed_form():
    for norm in (Linf(), L1()):
        with pytest.raises(ValueError, match="exact steepest direction"):
            affine_attack(band_limited(norm, attack_table.LOW_BAND))
    with pytest.raises(ValueError, match="with bounds"):
        affine_attack(band_limited(L2(), attack_table.LOW_BAND), bounds=BOX)


def test_an_override_is_what_defines_a_method():
    assert defines(L2(), "smallest_step") and defines(L2(), "windows")
    assert not defines(FourierLinf(), "smallest_step")
    assert not defines(band_limited(L2(), attack_table.LOW_BAND), "windows")

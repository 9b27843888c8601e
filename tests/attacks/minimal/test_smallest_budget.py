"""The smallest budget of a norm: against closed forms, and where there is none."""

import attack_table
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import NUM_CLASSES, affine
from scipy import optimize

from freqbias.attacks import (
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    affine_attack,
    band_limited,
    pgd,
    smallest_budget,
)
from freqbias.spectral import band_mask
from freqbias.typing import Status


def _model(num_classes=10, shape=(8, 7, 2), num_images=32):
    """An affine model and images that fill the box, so that it cuts into most perturbations."""
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(num_classes, *shape)).astype(np.float32)
    images = generator.uniform(size=(num_images, *shape)).astype(np.float32)
    params = jnp.asarray(beta), jnp.zeros(num_classes)
    return params, images, np.argmax(affine(params, images), -1)


@pytest.mark.parametrize(
    "norm",
    [
        L2(),
        L1(step_fraction=0.1),
        *(pytest.param(n, marks=pytest.mark.slow) for n in (Linf(), L1())),
    ],
    ids=["l2", "sparse_l1", "linf", "l1"],
)
def test_the_smallest_budget_of_an_affine_model_is_its_exact_radius(norm, key):
    params, images, labels = _model()
    exact = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels).distance
    found = smallest_budget(norm)(affine, params, images, labels, key)
    ratio = np.asarray(found.distance / exact)
    assert ratio.min() > 0.99  # below 1 by the rounding of the margin alone
    assert np.median(ratio) < 1.001 and ratio.max() < 1.005


SIDE = 6
LOW, HIGH = band_mask((SIDE, SIDE), 0, 0.3), band_mask((SIDE, SIDE), 0.3, 1)
ANGLES = 2 * np.pi * np.arange(48) / 48
TIGHT = 1 / np.cos(np.pi / 48)  # by which a modulus may exceed what 48 half planes leave of it


def _least(norm, normal, margin, image):
    """The smallest norm that takes a margin away in the box, by linear programming.

    The variables are delta and bounds of moduli: of each pixel or frequency, or one for all. A
    modulus |X| <= t is <X, e^(i angle)> <= t for 48 angles.
    """
    inner, size = getattr(norm, "norm", norm), SIDE**2
    waves = np.fft.fft2(np.eye(size).reshape(-1, SIDE, SIDE), norm="ortho").reshape(size, size).T
    rows = [np.eye(size), -np.eye(size)]
    if isinstance(inner, FourierL1 | FourierLinf):
        rows = [np.cos(a) * waves.real + np.sin(a) * waves.imag for a in ANGLES]
    one = isinstance(inner, Linf | FourierLinf)
    bounds = np.ones((size, 1)) if one else np.eye(size)
    number = bounds.shape[1]
    limits = np.vstack([np.hstack([row, -bounds]) for row in rows])
    crosses = np.concatenate([normal, np.zeros(number)])
    off = np.zeros((0, size))
    if hasattr(norm, "mask"):
        outside = np.flatnonzero(np.asarray(norm.mask).ravel() == 0)
        off = np.vstack([waves[outside].real, waves[outside].imag])
    found = optimize.linprog(
        np.concatenate([np.zeros(size), np.ones(number)]),
        A_ub=np.vstack([limits, crosses]),
        b_ub=np.append(np.zeros(len(limits)), -margin),
        A_eq=np.hstack([off, np.zeros((len(off), number))]),
        b_eq=np.zeros(len(off)),
        bounds=[*zip(-image, 1 - image, strict=True), *[(0, None)] * number],
    )
    return found.fun if found.success else np.inf


@pytest.mark.parametrize(
    "norm, median, worst",  # ball, box and band at once are only nearly projected onto
    [
        (FourierLinf(), 1.002, 1.01),
        (FourierL1(), 1.002, 1.02),
        (band_limited(Linf(), LOW), 1.03, 1.12),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (band_limited(Linf(), HIGH), 1.03, 1.12),
                (band_limited(FourierLinf(), LOW), 1.01, 1.12),
                (band_limited(FourierL1(), HIGH), 1.01, 1.12),
            ]
        ),
    ],
    ids=["fourier_linf", "fourier_l1", "low", "high", "low_fourier_linf", "high_fourier_l1"],
)
@pytest.mark.parametrize("spread", [0.5, None])
def test_in_the_box_it_is_what_linear_programming_finds(norm, median, worst, spread, key):
    """Where there is no closed form: of a colourful network, and of black and white images.

    Steps along the steepest direction, and radii that forget the box, were 20 % off, or found none.
    """
    generator, shape = np.random.default_rng(0), (SIDE, SIDE, 1)
    beta = np.cumsum(generator.normal(size=(3, *shape)), axis=1).astype(np.float32)
    images = generator.uniform(size=(5, *shape)).astype(np.float32)
    if spread is None:
        images = np.round(images)
    if spread is None and hasattr(norm, "mask"):
        images = 0.1 + 0.8 * images  # a wave needs room on both sides
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    logits = np.asarray(affine((beta, bias), images))
    labels = logits.argmax(-1)
    found = smallest_budget(norm)(affine, (beta, bias), images, labels, key)
    least = [
        min(
            _least(
                norm,
                (beta[label] - beta[other]).ravel(),
                logits[index, label] - logits[index, other],
                images[index].ravel(),
            )
            for other in range(3)
            if other != label
        )
        for index, label in enumerate(labels)
    ]
    distance, reachable = np.asarray(found.distance), np.isfinite(least)
    np.testing.assert_array_equal(np.isfinite(distance), reachable)
    ratio = distance[reachable] / np.array(least)[reachable]
    assert len(ratio) >= 4 and ratio.min() > 1 - 1e-3
    assert np.median(ratio) < median * TIGHT and ratio.max() < worst * TIGHT


def test_pgd_in_l1_takes_as_much_as_the_closed_form(key):
    """Its steepest step is one pixel, at which the box soon stops it: 93 of 100 images stood."""
    params, images, labels = _model(num_classes=2)
    exact = affine_attack(L1(), epsilon=4.0, bounds=(0.0, 1.0))(affine, params, images, labels)
    found = pgd(L1(), epsilon=4.0, loss="margin")(affine, params, images, labels, key)
    normals = params[0][1 - labels] - params[0][labels]
    taken, most = (jnp.sum(normals * one.delta, axis=(1, 2, 3)) for one in (found, exact))
    assert (taken <= most * (1 + 1e-5)).all() and jnp.median(taken / most) > 0.99
    assert (taken / most).min() > 0.97


@pytest.mark.slow
def test_targets_are_reached_at_a_budget_that_is_no_smaller(key):
    model = attack_table.make_model("mlp")
    targets = (model.labels + 1) % NUM_CLASSES
    free = smallest_budget(L2(), num_steps=10)(*model, key)
    aimed = smallest_budget(L2(), num_steps=10, targeted=True)(*model, key, targets=targets)
    found = np.asarray(aimed.is_adversarial)
    assert found.mean() > 0.8
    predicted = jnp.argmax(model.apply_fn(model.params, model.images + aimed.delta), -1)
    np.testing.assert_array_equal(np.asarray(predicted == targets), found)
    assert (np.asarray(aimed.distance) >= 0.99 * np.asarray(free.distance)).all()


def test_where_no_budget_suffices_the_distance_is_infinite(key):
    """Class 1 needs brighter pixels than there are."""

    def out_of_reach(params, images):
        mean = jnp.mean(images, (1, 2, 3))
        return jnp.stack([jnp.full_like(mean, 1.5), params * mean], axis=-1)

    images = np.full((3, 2, 2, 1), 0.5, np.float32)
    found = smallest_budget(L2(), num_steps=5)(
        out_of_reach, jnp.float32(1), images, np.zeros(3, int), key
    )
    np.testing.assert_array_equal(found.distance, np.inf)
    np.testing.assert_array_equal(found.delta, 0)
    assert not found.is_adversarial.any() and (found.status == Status.OK).all()


@pytest.mark.parametrize("name", ["num_steps", "num_radii", "num_rivals"])
def test_bad_numbers_raise(name):
    with pytest.raises(ValueError, match=name):
        smallest_budget(L2(), **{name: 0})
    with pytest.raises(TypeError, match=name):
        smallest_budget(L2(), **{name: 2.5})

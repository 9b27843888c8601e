"""Attacks in a band, radii per band, and the heat map of plane waves."""

from functools import partial

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, TRACES, affine
from norm_table import band_basis, filtered
from scipy import optimize

from freqbias.attacks import (
    L2,
    FourierLinf,
    Linf,
    apgd,
    band_limited,
    band_masks,
    evaluate_bands,
    heat_map,
    pgd,
    smallest_budget,
)
from freqbias.ensemble import seed_keys
from freqbias.spectral import band_mask
from freqbias.typing import Status

BOX = (0.0, 1.0)
LOW, HIGH = band_masks(SHAPE[:2], (0, 0.25, np.inf))


def _affine_model(num_classes, num_images=16, seed=0):
    """An affine model, and images far from the box."""
    generator = np.random.default_rng(seed)
    beta = generator.normal(size=(num_classes, *SHAPE)).astype(np.float32)
    images = (0.5 + 0.1 * generator.uniform(-1, 1, (num_images, *SHAPE))).astype(np.float32)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    logits = np.asarray(affine((beta, bias), images))
    return (jnp.asarray(beta), jnp.asarray(bias)), images, np.argmax(logits, -1), logits


def _radius_in_band(params, labels, logits, mask):
    """min_j margin_j / ||P w_j||_2, the exact radius of an affine model without the box."""
    beta = np.asarray(params[0], float)
    normals = filtered(beta[labels][:, None] - beta[None], mask)
    slopes = np.linalg.norm(normals.reshape(*normals.shape[:2], -1), axis=-1)
    slopes[np.arange(len(labels)), labels] = np.nan
    return np.nanmin((logits[np.arange(len(labels)), labels][:, None] - logits) / slopes, axis=1)


@pytest.mark.parametrize(
    "make, noise",
    [
        (partial(pgd, step_size=1.0, num_steps=1, random_start=False), 1e-6),
        (partial(apgd, num_steps=30), 1e-4),
    ],
    ids=["pgd", "apgd"],
)
def test_an_attack_in_a_band_finds_the_exact_optimum_of_a_linear_model(make, noise, key):
    """delta = -epsilon P w / ||P w||: no filter applied after the search would give it."""
    params, images, labels, _ = _affine_model(2)
    for mask in (LOW, HIGH):
        attack = make(band_limited(L2(), mask), epsilon=0.05, bounds=None)
        found = attack(affine, params, images, labels, key)
        normal = filtered(np.asarray(params[0][labels] - params[0][1 - labels]), mask)
        size = np.linalg.norm(normal.reshape(len(labels), -1), axis=1)
        expected = -0.05 * normal / size[:, None, None, None]
        np.testing.assert_allclose(found.delta, expected, atol=noise)


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(L2(), id="l2"),
        pytest.param(FourierLinf(), marks=pytest.mark.slow, id="fourier"),
    ],
)
def test_apgd_in_a_band_keeps_band_ball_and_box(norm, key):
    model = attack_table.make_model("mlp")
    epsilon = attack_table.EPSILON[norm]
    found = apgd(band_limited(norm, HIGH), epsilon=epsilon, num_steps=6)(*model, key)
    assert found.flipped.any()
    np.testing.assert_allclose(filtered(found.delta, HIGH), found.delta, atol=1e-6)
    assert jax.vmap(norm.value)(found.delta).max() <= epsilon * (1 + 1e-6)
    returned = model.images + found.delta
    assert returned.min() >= 0 and returned.max() <= 1


@pytest.mark.slow
def test_pgd_in_linf_comes_near_the_linear_program(key):
    """Largest <g, v> over |v_i| <= 1 and v in the band."""
    shape = (8, 8, 1)
    mask, gradient = (
        band_mask(shape[:2], 0, 0.25),
        np.float32(np.random.default_rng(5).normal(size=shape)),
    )
    basis = band_basis(mask, shape)
    program = optimize.linprog(
        -basis.T @ gradient.ravel(),
        A_ub=np.vstack([basis, -basis]),
        b_ub=np.ones(2 * basis.shape[0]),
        bounds=(None, None),
    )
    params = jnp.stack([-gradient, gradient]), jnp.zeros(2)
    image = np.full((1, *shape), 0.5, np.float32)
    attack = pgd(band_limited(Linf(), mask), epsilon=0.1, num_steps=40, random_start=False)
    found = attack(affine, params, image, np.array([0]), key)
    assert np.sum(found.delta[0] * gradient) > 0.95 * 0.1 * -program.fun
    np.testing.assert_allclose(filtered(found.delta, mask), found.delta, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_radius_per_band_is_margin_over_filtered_normal(num_classes, key):
    """The yardstick of frequency-resolved robustness; all bands share one compilation."""
    params, images, labels, logits = _affine_model(num_classes)
    attack = smallest_budget(L2(), num_steps=10, num_radii=4, bounds=None)
    masks = np.stack([LOW, HIGH])
    evaluate_bands(attack, affine, params, images, labels, key, masks=masks[:1])
    TRACES.clear()
    found = evaluate_bands(attack, affine, params, images, labels, key, masks=masks)
    assert not TRACES
    assert found.perturbation.delta.shape == (2, *images.shape)
    for band, mask in enumerate(masks):
        exact = _radius_in_band(params, labels, logits, mask)
        ratio = found.perturbation.distance[band] / exact
        assert np.abs(ratio - 1).max() < 0.01 and np.median(ratio) < 1.0005
        delta = found.perturbation.delta[band]
        np.testing.assert_allclose(filtered(delta, mask), delta, atol=1e-6)
    assert (found.perturbation.status == Status.OK).all()


def test_bands_of_an_ensemble_are_those_of_its_seeds(key):
    models = [attack_table.make_model("mlp", seed) for seed in range(2)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(m.params for m in models))
    keys, masks = seed_keys(key, (6, 1)), np.stack([LOW, HIGH])
    attack = pgd(L2(), epsilon=0.5, num_steps=3, bounds=None)
    apply_fn, _, images, labels = models[0]
    options = {"masks": masks, "seeds": (6, 1)}
    stacked = [
        evaluate_bands(attack, apply_fn, params, images, labels, key, strategy=strategy, **options)
        for strategy in ("sequential", "vmap")
    ]
    assert stacked[0].robust_accuracy.shape == (2, 2)
    for seed, model in enumerate(models):
        one = evaluate_bands(
            attack, apply_fn, model.params, images, labels, keys[seed], masks=masks
        )
        for found in stacked:
            delta = found.perturbation.delta[:, seed]
            np.testing.assert_allclose(delta, one.perturbation.delta, atol=1e-5)
            np.testing.assert_array_equal(found.robust_accuracy[:, seed], one.robust_accuracy)
    with pytest.raises(ValueError, match="strategy"):
        evaluate_bands(attack, apply_fn, params, images, labels, keys, strategy="loop", **options)


def test_bands_of_a_targeted_attack_reach_the_targets(key):
    """Each band as the attack in that band alone."""
    model = attack_table.make_model("mlp")
    targets, masks = (model.labels + 1) % attack_table.NUM_CLASSES, np.stack([LOW, HIGH])
    attack = pgd(L2(), epsilon=1.5, num_steps=3, targeted=True)
    found = evaluate_bands(attack, *model, key, masks=masks, targets=targets, batch_size=12)
    assert found.perturbation.is_adversarial.any(1).all()
    for band, mask in enumerate(masks):
        alone = attack.replace(norm=band_limited(L2(), mask))(*model, key, targets=targets)
        delta = found.perturbation.delta[band]
        np.testing.assert_allclose(delta, alone.delta, atol=1e-5)
        reached = np.argmax(model.apply_fn(model.params, model.images + delta), -1) == targets
        np.testing.assert_array_equal(found.perturbation.is_adversarial[band], reached)
    with pytest.raises(ValueError, match="targets"):
        evaluate_bands(attack, *model, key, masks=masks)


def test_band_masks_cut_the_plane_into_disjoint_parts():
    masks = band_masks((7, 8), (0, 0.1, 0.3, np.inf))
    np.testing.assert_array_equal(masks.sum(0), 1)
    assert masks[0, 0, 0]


def test_a_mask_of_another_shape_raises(key):
    model = attack_table.make_model("mlp")
    attack = pgd(band_limited(L2(), np.ones((5, 6))), epsilon=0.1)
    with pytest.raises(ValueError, match="mask must be"):
        attack(*model, key)
    with pytest.raises(ValueError, match="edges"):
        band_masks((6, 5), [0.1])


# --- The heat map ---------------------------------------------------------------------------------


def _wave(shape, ky, kx):
    """The wave by another route: the inverse transform of a Hermitian pair, normalised."""
    spectrum = np.zeros(shape, complex)
    spectrum[ky, kx] += 1
    spectrum[-ky, -kx] += 1
    wave = np.fft.ifft2(spectrum).real
    return wave / np.linalg.norm(wave)


def _expected_map(params, images, labels, amplitude, clip):
    height, width = images.shape[1:3]
    beta, bias = (np.asarray(leaf, float) for leaf in params)
    out = np.zeros((height, width))
    for ky in range(height):
        for kx in range(width):
            moved = images + amplitude * _wave((height, width), ky, kx)[None, :, :, None]
            moved = moved.clip(0, 1) if clip else moved
            logits = np.einsum("nhwc,khwc->nk", moved, beta) + bias
            out[ky, kx] = np.mean(np.argmax(logits, -1) != labels)
    return out


@pytest.mark.parametrize("shape", [SHAPE, (5, 6, 1)], ids=["even", "odd"])
@pytest.mark.parametrize("bounds", [None, BOX], ids=["free", "clipped"])
def test_heat_map_of_an_affine_model_by_numpy(shape, bounds):
    params = attack_table.affine_params(jax.random.key(0), shape=shape)
    images = np.asarray(attack_table.make_images(jax.random.key(1), shape=shape), float)
    labels = np.argmax(affine(params, np.float32(images)), -1)
    for per, amplitude in (("image", 2 / np.sqrt(shape[-1])), ("channel", 2.0)):
        found = heat_map(
            affine,
            params,
            np.float32(images),
            labels,
            epsilon=2.0,
            epsilon_per=per,
            bounds=bounds,
            batch_size=50,
        )
        expected = _expected_map(params, images, labels, amplitude, bounds is not None)
        assert 0.1 < expected.mean() < 0.9
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("epsilon_per", ["image", "channel"])
def test_the_wave_at_the_network_has_the_norm_and_the_frequency_it_should(epsilon_per, key):
    """A network that reads its input out: class 1 wins if the wave is what it should be."""
    clean, (ky, kx) = np.full((1, *SHAPE), 0.5, np.float32), (1, 2)

    def norm_of(size):
        def apply_fn(params, images):
            error = jnp.abs(jnp.sqrt(jnp.sum((images - 0.5) ** 2, (1, 2, 3))) - size)
            return jnp.stack([jnp.full_like(error, 1e-5), error], axis=-1)

        return apply_fn

    size = 0.3 if epsilon_per == "image" else 0.3 * np.sqrt(SHAPE[-1])
    options = dict(epsilon=0.3, epsilon_per=epsilon_per)
    assert not heat_map(norm_of(size), (), clean, np.array([0]), key, **options).any()

    def energy_at(params, images):
        spectrum = jnp.fft.fft2(images - 0.5, axes=(1, 2))
        power = jnp.sum(jnp.abs(spectrum) ** 2, -1)
        share = (power[:, ky, kx] + power[:, -ky, -kx]) / jnp.sum(power, (1, 2))
        return jnp.stack([jnp.full_like(share, 0.5), share], axis=-1)

    found = heat_map(energy_at, (), clean, np.array([0]), key, **options)
    np.testing.assert_array_equal(np.argwhere(found), [[ky, kx], [SHAPE[0] - ky, SHAPE[1] - kx]])


def test_signs_are_drawn_per_image_channel_and_frequency(key):
    """They do not depend on the batch, and fall to both sides."""

    def sign(params, images):
        mean = jnp.mean(images - 0.5, (1, 2))[:, params]  # of a channel; moves at DC only
        return jnp.stack([jnp.zeros_like(mean), mean], axis=-1)

    images, labels = np.full((200, 2, 2, 2), 0.5, np.float32), np.zeros(200, int)
    maps = [
        heat_map(sign, channel, images, labels, key, epsilon=0.1, batch_size=size)[0, 0]
        for channel, size in ((0, 64), (0, 999), (1, 64))
    ]
    assert maps[0] == maps[1] != maps[2]
    assert abs(maps[0] - 0.5) < 5 * 0.5 / np.sqrt(200)
    assert heat_map(sign, 0, images, labels, epsilon=0.1)[0, 0] == 1


def test_heat_map_of_an_ensemble_is_one_map_per_seed(key):
    params = [attack_table.affine_params(jax.random.key(seed)) for seed in range(2)]
    images = attack_table.make_images(key)
    labels = np.zeros(len(images), int)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    found = heat_map(affine, stacked, images, labels, key, epsilon=1.0, ensemble=True)
    TRACES.clear()
    expected = [heat_map(affine, one, images, labels, key, epsilon=2.0 / 2) for one in params]
    assert not TRACES and found.shape == (2, *SHAPE[:2])
    np.testing.assert_array_equal(found, expected)


def test_a_logit_that_is_not_finite_is_an_error():
    params = jax.tree.map(
        lambda leaf: leaf * jnp.nan, attack_table.affine_params(jax.random.key(0))
    )
    images = np.full((2, *SHAPE), 0.5, np.float32)
    np.testing.assert_array_equal(
        heat_map(affine, params, images, np.zeros(2, int), epsilon=1.0), 1
    )


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(epsilon=0.0), ValueError, "epsilon"),
        (dict(epsilon=np.ones(2)), TypeError, "epsilon"),
        (dict(epsilon_per="pixel"), ValueError, "epsilon_per"),
        (dict(batch_size=0), ValueError, "batch_size"),
        (dict(bounds=(1.0, 0.0)), ValueError, "bounds"),
        (dict(labels=np.zeros(3, int)), ValueError, "labels"),
        (dict(images=np.zeros((2, 6, 5), np.float32)), ValueError, "images"),
    ],
)
def test_bad_arguments_of_a_heat_map_raise(options, error, words):
    arguments = dict(images=np.zeros((2, *SHAPE), np.float32), labels=np.zeros(2, int), epsilon=1.0)
    params = attack_table.affine_params(jax.random.key(0))
    with pytest.raises(error, match=words):
        heat_map(affine, params, **(arguments | options))

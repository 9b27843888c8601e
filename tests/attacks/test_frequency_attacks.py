"""Band-limited norms and attacks, radii per band, and the heat map of plane waves."""

from functools import partial

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, TRACES, affine
from hypothesis import given, settings
from hypothesis import strategies as st
from norm_table import norm_id
from scipy import optimize, stats

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
norms = pytest.mark.parametrize("norm", [L2(), Linf(), FourierLinf()], ids=norm_id)


def _normal(seed, shape=SHAPE):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def _filtered(delta, mask):
    """P delta, by NumPy and the full plane."""
    spectrum = np.fft.fft2(np.asarray(delta, float), axes=(-3, -2))
    return np.fft.ifft2(spectrum * mask[..., None], axes=(-3, -2)).real


def _basis(mask, shape):
    """An orthonormal basis [D, dim V] of the perturbations of a mask."""
    size = int(np.prod(shape))
    columns = _filtered(np.eye(size).reshape(size, *shape), mask).reshape(size, size)
    vectors, values, _ = np.linalg.svd(columns)
    return vectors[:, values > 0.5]


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
    normals = _filtered(beta[labels][:, None] - beta[None], mask)
    slopes = np.linalg.norm(normals.reshape(*normals.shape[:2], -1), axis=-1)
    slopes[np.arange(len(labels)), labels] = np.nan
    return np.nanmin((logits[np.arange(len(labels)), labels][:, None] - logits) / slopes, axis=1)


def test_the_dimension_of_a_band_is_its_number_of_frequencies():
    """Two per pair f, -f; one per frequency that is its own mirror image: DC and Nyquist."""
    for mask in (LOW, HIGH, LOW | HIGH):
        assert _basis(mask, SHAPE).shape[1] == SHAPE[-1] * mask.sum()


@pytest.mark.parametrize("mask", [LOW, HIGH], ids=["low", "high"])
def test_steepest_in_l2_is_the_filtered_gradient(mask):
    norm, gradient = band_limited(L2(), mask), _normal(0)
    inside = _filtered(gradient, mask)
    size = np.linalg.norm(inside)
    np.testing.assert_allclose(norm.steepest(gradient), inside / size, atol=1e-6)
    np.testing.assert_allclose(norm.dual(gradient), size, rtol=1e-5)


@norms
def test_steepest_is_a_unit_ascent_within_the_band(norm):
    """L2 and Fourier norms attain the dual norm; for others the argmax is a linear program."""
    limited, gradient = band_limited(norm, HIGH), _normal(1)
    direction = limited.steepest(gradient)
    np.testing.assert_allclose(_filtered(direction, HIGH), direction, atol=1e-6)
    np.testing.assert_allclose(norm.value(direction), 1, rtol=1e-5)
    ascent = np.sum(gradient * np.asarray(direction)) / limited.dual(gradient)
    assert 0.3 < ascent <= 1 + 1e-5 if norm == Linf() else abs(ascent - 1) < 1e-5


def test_a_gradient_outside_the_band_is_zero_not_rounding():
    """Normalised, the rounding of the transform would look like a direction."""
    gradient = np.float32(_filtered(_normal(2), LOW))
    for scale in (1e-20, 1.0, 1e20):
        assert not band_limited(L2(), HIGH).steepest(np.float32(scale) * gradient).any()


@norms
def test_projection_is_the_nearest_point_of_ball_and_band(norm):
    """Variational inequality <d - z, v - z> <= 0 for every v of ball and band."""
    limited, delta, epsilon = band_limited(norm, LOW), _normal(3), 0.3
    z = np.asarray(jax.jit(limited.project)(delta, epsilon))
    np.testing.assert_allclose(_filtered(z, LOW), z, atol=1e-6)
    assert norm.value(z) <= epsilon * (1 + 1e-6)
    draw = jax.jit(lambda key: epsilon * limited.sample(key, SHAPE, jnp.float32))
    points = [draw(jax.random.key(index)) for index in range(20)]
    points += [epsilon * limited.steepest(delta - z)]
    slack = 0.03 if norm == Linf() else 1e-4  # by iteration
    for v in points:
        assert np.sum((delta - z) * (v - z)) <= slack * np.sum((delta - z) ** 2)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_l2_projection_with_the_box_keeps_all_three_and_is_near_the_nearest(seed):
    shape, epsilon, mask = (4, 4, 1), 0.6, band_mask((4, 4), 0, 0.3)
    generator = np.random.default_rng(seed)
    image = generator.uniform(0.02, 0.98, shape).astype(np.float32)
    delta = generator.normal(size=shape).astype(np.float32)
    z = np.asarray(_project_box(band_limited(L2(), mask), delta, image, epsilon))
    assert (image + z).min() >= 0 and (image + z).max() <= 1
    assert np.linalg.norm(z) <= epsilon * (1 + 1e-6)
    np.testing.assert_allclose(_filtered(z, mask), z, atol=1e-6)
    basis, x, d = _basis(mask, shape), image.ravel().astype(float), delta.ravel().astype(float)
    constraints = [
        {"type": "ineq", "fun": lambda a: epsilon**2 - a @ a},
        {"type": "ineq", "fun": lambda a: x + basis @ a},
        {"type": "ineq", "fun": lambda a: 1 - x - basis @ a},
    ]
    start = np.zeros(basis.shape[1])
    best = optimize.minimize(
        lambda a: np.sum((basis @ a - d) ** 2), start, method="SLSQP", constraints=constraints
    )
    assert np.linalg.norm(z.ravel() - d) <= 1.03 * np.linalg.norm(basis @ best.x - d)


_project_box = jax.jit(lambda norm, delta, image, eps: norm.project_box(delta, image, eps, BOX))


@norms
def test_saturated_pixels_leave_a_smaller_set_not_an_error(norm):
    """A black image has no room for a wave of mean zero, and much for the band with the DC."""
    black, delta = np.zeros(SHAPE, np.float32), _normal(4)
    nothing = _project_box(band_limited(norm, HIGH), delta, black, 0.2)
    np.testing.assert_array_equal(nothing, 0)
    raised = np.asarray(_project_box(band_limited(norm, LOW), delta + 1, black, 0.2))
    assert raised.min() >= 0 and raised.max() > 0.01 and norm.value(raised) <= 0.2 * (1 + 1e-6)
    np.testing.assert_allclose(_filtered(raised, LOW), raised, atol=1e-6)


def test_sample_is_uniform_in_the_ball_of_the_band():
    limited = band_limited(L2(), LOW)
    keys = jax.random.split(jax.random.key(0), 2000)
    points = jax.vmap(lambda key: limited.sample(key, SHAPE, jnp.float32))(keys)
    points = np.asarray(points).reshape(2000, -1) @ _basis(LOW, SHAPE)
    radius = np.linalg.norm(points, axis=1)
    dimension = points.shape[1]
    assert dimension == SHAPE[-1] * LOW.sum()
    assert stats.kstest(radius**dimension, "uniform").pvalue > 1e-3
    sd = np.sqrt(1 / (dimension + 2))  # of one coordinate of a uniform point of the ball
    assert np.abs(points.mean(0)).max() < 5 * sd / np.sqrt(2000)
    np.testing.assert_allclose(points.std(0), sd, rtol=0.15)


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
        normal = _filtered(np.asarray(params[0][labels] - params[0][1 - labels]), mask)
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
    np.testing.assert_allclose(_filtered(found.delta, HIGH), found.delta, atol=1e-6)
    assert jax.vmap(norm.value)(found.delta).max() <= epsilon * (1 + 1e-6)
    returned = model.images + found.delta
    assert returned.min() >= 0 and returned.max() <= 1


@pytest.mark.slow
def test_pgd_in_linf_comes_near_the_linear_program(key):
    """Largest <g, v> over |v_i| <= 1 and v in the band."""
    shape = (8, 8, 1)
    mask, gradient = band_mask(shape[:2], 0, 0.25), _normal(5, shape)
    basis = _basis(mask, shape)
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
    np.testing.assert_allclose(_filtered(found.delta, mask), found.delta, atol=1e-6)


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
        np.testing.assert_allclose(_filtered(delta, mask), delta, atol=1e-6)
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


def _one_sided():
    mask = np.zeros(SHAPE[:2])
    mask[1, 0] = 1  # without its mirror image at [5, 0]
    return mask


@pytest.mark.parametrize(
    "mask, words",
    [
        (np.zeros(SHAPE[:2]), "at least one frequency"),
        (_one_sided(), "symmetric"),
        (np.full(SHAPE[:2], 0.5), "zeros and ones"),
        (np.ones(SHAPE), "rank 2"),
    ],
    ids=["empty", "one-sided", "weights", "rank"],
)
def test_masks_that_are_no_band_raise(mask, words):
    with pytest.raises(ValueError, match=words):
        band_limited(L2(), mask)


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
        (dict(epsilon=np.ones(2)), ValueError, "epsilon"),
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

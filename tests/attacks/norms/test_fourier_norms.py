"""Fourier norms: closed forms of waves, projections by bisection in NumPy, laws, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import affine
from scipy import stats

from freqbias.attacks import (
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    WeightedFourierL2,
    affine_attack,
    apgd,
    bim,
    fgsm,
    pgd,
    smallest_budget,
    weighted_fourier_l2,
)
from freqbias.spectral import radius_grid

SHAPES = [(4, 6, 1), (5, 4, 3), pytest.param((3, 5, 2), marks=pytest.mark.slow)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
NAMES = ["fourier_l1", "fourier_linf", "weighted_fourier_l2"]
names = pytest.mark.parametrize("name", NAMES)
BOX = (0.0, 1.0)

value = jax.jit(lambda norm, delta: norm.value(delta))
dual = jax.jit(lambda norm, gradient: norm.dual(gradient))
steepest = jax.jit(lambda norm, gradient: norm.steepest(gradient))
project = jax.jit(lambda norm, delta, epsilon: norm.project(delta, epsilon))
project_box = jax.jit(lambda norm, delta, image, eps: norm.project_box(delta, image, eps, BOX))


def _weights(shape):
    return 0.3 + 10 * radius_grid(shape[:2]) ** 2


def _make(name, shape):
    norms = {"fourier_l1": FourierL1(), "fourier_linf": FourierLinf()}
    return norms.get(name) or weighted_fourier_l2(_weights(shape))


def _fft(delta):
    return np.fft.fft2(delta, axes=(0, 1), norm="ortho")


def _numpy_project(name, delta, epsilon):
    """Projection of the spectrum onto the ball; the multiplier by bisection."""
    spectrum = _fft(delta)
    modulus, weights = np.abs(spectrum), _weights(delta.shape)[..., None]

    def shrink(level):
        if name == "fourier_l1":
            moduli = np.maximum(modulus - level, 0)
            return moduli, moduli.sum()
        if name == "fourier_linf":
            moduli = np.minimum(modulus, epsilon)
            return moduli, moduli.max()
        moduli = modulus / (1 + level * weights**2)
        return moduli, np.linalg.norm(weights * moduli)

    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if shrink(middle)[1] > epsilon else (low, middle)
    moduli = shrink(0.0 if shrink(0.0)[1] <= epsilon else high)[0]
    shrunk = moduli * np.exp(1j * np.angle(spectrum))
    image = np.fft.ifft2(shrunk, axes=(0, 1), norm="ortho")
    assert np.abs(image.imag).max() < 1e-12
    return image.real


def _numpy_dykstra(name, delta, image, epsilon):
    """Plain Dykstra between box and ball, until it stands still."""
    point, box_part, ball_part = delta, 0.0, 0.0
    for _ in range(20000):
        in_box = np.clip(point + box_part, -image, 1 - image)
        box_part = point + box_part - in_box
        new = _numpy_project(name, in_box + ball_part, epsilon)
        ball_part = in_box + ball_part - new
        if np.abs(new - in_box).max() < 1e-11:
            return new
        point = new
    raise AssertionError("Dykstra has not converged.")


def test_closed_forms_of_a_cosine_a_constant_and_a_pixel(x64):
    """Cosine of amplitude a on n pixels: two entries a sqrt(n)/2; constant: one, a sqrt(n)."""
    height, width, a = 4, 6, 0.3
    x = np.arange(width)[None, :, None]
    wave = a * np.cos(2 * np.pi * 2 * x / width) * np.ones((height, 1, 1))
    root = np.sqrt(height * width)
    pixel = np.zeros((height, width, 1))
    pixel[1, 2] = a
    for delta, largest, total in (
        (wave, a * root / 2, a * root),
        (a * np.ones((height, width, 1)), a * root, a * root),
        (pixel, a / root, a * root),
        (np.concatenate([wave, 0 * wave, 2 * wave], -1), a * root, 3 * a * root),
    ):
        np.testing.assert_allclose(value(FourierLinf(), delta), largest, rtol=1e-12)
        np.testing.assert_allclose(value(FourierL1(), delta), total, rtol=1e-12)
    norm = weighted_fourier_l2(_weights((height, width)))
    weight = _weights((height, width))[0, 2]
    np.testing.assert_allclose(value(norm, wave), weight * a * root / np.sqrt(2), rtol=1e-12)


@shapes
def test_steepest_directions_by_their_spectra(shape, x64):
    """Fourier L-inf: all moduli 1, phases kept; Fourier L1: one wave; weighted: X / w^2."""
    gradient = np.random.default_rng(0).normal(size=shape)
    spectrum = _fft(gradient)
    found = _fft(steepest(FourierLinf(), gradient))
    np.testing.assert_allclose(found, spectrum / np.abs(spectrum), atol=1e-12)
    found = np.abs(_fft(steepest(FourierL1(), gradient)))
    assert (found > 1e-12).sum() in (1, 2)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)
    assert np.abs(spectrum)[found > 1e-12].min() >= np.abs(spectrum).max() - 1e-12
    norm = weighted_fourier_l2(_weights(shape))
    expected = spectrum / _weights(shape)[..., None] ** 2
    found = _fft(steepest(norm, gradient))
    np.testing.assert_allclose(found, expected / dual(norm, gradient), rtol=1e-9, atol=1e-12)
    stretched = found * (_weights(shape) / _weights(shape).min())[..., None] ** 2
    ascent = jax.jit(lambda norm, gradient: norm.ascent(gradient))(norm, gradient)
    np.testing.assert_allclose(_fft(ascent), stretched, rtol=1e-9, atol=1e-12)


def test_steepest_of_a_real_frequency_is_a_whole_wave():
    """DC and Nyquist are their own mirror images: all the modulus is theirs, not half of it."""
    for wave in (np.ones((4, 4, 1)), np.tile([[1.0], [-1.0]], (4, 2, 1))):
        direction = steepest(FourierL1(), -np.float32(wave))
        np.testing.assert_allclose(direction, -wave / 4, atol=1e-6)


@shapes
@names
def test_projection_is_that_of_bisection(name, shape, x64):
    norm, generator = _make(name, shape), np.random.default_rng(1)
    delta = generator.normal(size=shape)
    for share in (0.01, 0.3, 0.9, 1.5):
        epsilon = share * float(value(norm, delta))
        found = project(norm, delta, epsilon)
        np.testing.assert_allclose(found, _numpy_project(name, delta, epsilon), atol=1e-12)


@shapes
@names
def test_projection_onto_ball_and_box_is_that_of_dykstra(name, shape, x64):
    norm, generator = _make(name, shape), np.random.default_rng(2)
    image = np.clip(generator.normal(0.5, 0.5, shape), 0, 1)
    delta = generator.normal(size=shape)
    for share in (0.1, 0.4):
        epsilon = share * float(value(norm, delta))
        found = project_box(norm, delta, image, epsilon)
        expected = _numpy_dykstra(name, delta, image, epsilon)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        assert value(norm, found) <= epsilon * (1 + 1e-12)


def test_equal_weights_are_the_l2_norm(x64):
    """The iteration for ball and box against the exact projection of `L2`."""
    shape, generator = (6, 5, 2), np.random.default_rng(3)
    image = np.clip(generator.normal(0.5, 0.5, shape), 0, 1)
    delta, gradient = generator.normal(size=(2, *shape))
    norm = weighted_fourier_l2(np.full((6, 5, 1), 2.0))
    np.testing.assert_allclose(value(norm, delta), 2 * value(L2(), delta), rtol=1e-12)
    np.testing.assert_allclose(dual(norm, gradient), dual(L2(), gradient) / 2, rtol=1e-12)
    np.testing.assert_allclose(
        steepest(norm, gradient), steepest(L2(), gradient) / 2, rtol=1e-9, atol=1e-12
    )
    for epsilon in (0.1, 1.0, 3.0, 30.0):
        expected = project(L2(), delta, epsilon)
        np.testing.assert_allclose(project(norm, delta, 2 * epsilon), expected, rtol=1e-9)
        expected = project_box(L2(), delta, image, epsilon)
        np.testing.assert_allclose(
            project_box(norm, delta, image, 2 * epsilon), expected, atol=1e-8
        )


@names
def test_ball_and_box_hold_at_image_size(name):
    """28 x 28 in float32, steps far outside, pixels at the bounds: both constraints hold."""
    shape, generator = (28, 28, 1), np.random.default_rng(4)
    norm = _make(name, shape)
    image = np.clip(generator.normal(0.5, 0.5, shape), 0, 1).astype(np.float32)
    delta = 3 * generator.normal(size=shape).astype(np.float32)
    for share in (1e-3, 0.03, 0.3):
        epsilon = share * float(value(norm, delta))
        z = project_box(norm, delta, image, epsilon)
        assert (image + z).min() >= 0 and (image + z).max() <= 1
        assert value(norm, z) <= epsilon * (1 + 1e-6)
        if share < 0.1:
            np.testing.assert_allclose(value(norm, z), epsilon, rtol=1e-4)  # the ball binds


def test_samples_have_the_spectra_of_the_uniform_law():
    """Discs and intervals; Beta laws of shares; each phase uniform."""
    shape = (3, 4, 1)
    size, keys = 12, jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda norm, key: norm.sample(key, shape, jnp.float32), (None, 0)))
    spectra = np.fft.fft2(draw(FourierLinf(), keys), axes=(1, 2), norm="ortho")[..., 0]
    assert stats.kstest(spectra[:, 0, 0].real, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(spectra[:, 0, 2].real, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(np.abs(spectra[:, 1, 2]) ** 2, "uniform").pvalue > 1e-3
    assert stats.kstest(np.angle(spectra[:, 1, 2]) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-3
    spectra = np.fft.fft2(draw(FourierL1(), keys), axes=(1, 2), norm="ortho")[..., 0]
    assert stats.kstest(np.abs(spectra[:, 0, 0]), stats.beta(1, size).cdf).pvalue > 1e-3
    pair = 2 * np.abs(spectra[:, 2, 1])
    assert stats.kstest(pair, stats.beta(2, size - 1).cdf).pvalue > 1e-3
    norm = weighted_fourier_l2(_weights(shape))
    spectra = np.fft.fft2(draw(norm, keys), axes=(1, 2), norm="ortho")[..., 0]
    share = (_weights(shape)[0, 2] * spectra[:, 0, 2].real) ** 2
    assert stats.kstest(share, stats.beta(0.5, (size + 1) / 2).cdf).pvalue > 1e-3


BAD_WEIGHTS = {
    "shape": (np.ones(4), ValueError, r"\[H, W\]"),
    "channels": (np.ones((4, 4, 3)), ValueError, r"\[H, W\]"),
    "zero": (np.zeros((4, 4)), ValueError, "positive"),
    "nan": (np.full((4, 4), np.nan), ValueError, "positive"),
    "one side": (1 + np.eye(1, 16, 1).reshape(4, 4), ValueError, "symmetric"),
    "shifted": (np.fft.fftshift(1 + radius_grid((5, 6))), ValueError, "symmetric"),
    "integers": (np.ones((4, 4), int), TypeError, "weights"),
}


@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_bad_weights_raise(bad):
    weights, error, words = BAD_WEIGHTS[bad]
    with pytest.raises(error, match=words):
        weighted_fourier_l2(weights)


def test_weights_of_another_shape_than_the_images_raise():
    norm = weighted_fourier_l2(np.ones((4, 6)))
    with pytest.raises(ValueError, match="weights"):
        norm.value(jnp.zeros((6, 4, 1)))


def test_weights_are_traced(key):
    """New weights of one shape compile nothing; and a vmap over weights is a loop over them."""
    weights = np.stack([_weights((4, 6)), 1 + 0 * _weights((4, 6))])
    delta = jax.random.normal(key, (4, 6, 2))
    run = jax.jit(jax.vmap(lambda w: WeightedFourierL2(w).value(delta)))
    expected = [value(weighted_fourier_l2(w), delta) for w in weights]
    np.testing.assert_allclose(run(np.float32(weights)), expected, rtol=1e-6)
    size = value._cache_size()
    value(weighted_fourier_l2(3 * weights[0]), delta)
    assert value._cache_size() == size


@pytest.mark.parametrize("name", [NAMES[1], pytest.param(NAMES[0], marks=pytest.mark.slow)])
def test_pgd_finds_the_closed_form(name, key):
    """Affine model, no box: PGD succeeds from m / ||w||_dual on."""
    shape = (4, 5, 1)
    weights = np.random.default_rng(5).normal(size=(20, 2)).astype(np.float32)
    images = np.full((1, *shape), 0.5, np.float32)

    def apply_fn(params, images):
        return images.reshape(len(images), -1) @ params

    norm = _make(name, shape)
    label = int(np.argmax(apply_fn(weights, images)))
    normal = (weights[:, label] - weights[:, 1 - label]).reshape(shape)
    radius = float(normal.ravel() @ images.ravel() / dual(norm, normal))
    for factor in (0.98, 1.02):
        attack = pgd(norm, epsilon=factor * radius, num_steps=100, bounds=None)
        found = attack(apply_fn, weights, images, np.array([label]), key)
        assert found.flipped.item() == (factor > 1)


def test_weighted_attacks_end_at_the_best_point_of_the_ball(key):
    """Step and projection of one metric: an affine model's exact budget loss and radius."""
    shape, generator = (6, 5, 2), np.random.default_rng(6)
    weights = generator.normal(size=(*shape, 3)).astype(np.float32)
    images = np.full((4, *shape), 0.5, np.float32)
    labels = np.arange(4) % 3

    def apply_fn(params, images):
        return jnp.tensordot(images, params, 3)

    def towards_the_next(logits, labels):
        rows = jnp.arange(len(labels))
        return logits[rows, (labels + 1) % 3] - logits[rows, labels]

    norm, epsilon = _make("weighted_fourier_l2", shape), 0.4
    normals = weights[..., (labels + 1) % 3] - weights[..., labels]
    best = epsilon * np.array([dual(norm, normal) for normal in np.moveaxis(normals, -1, 0)])
    options = dict(epsilon=epsilon, loss=towards_the_next, bounds=None)
    attacks = {
        "fgsm": fgsm(norm, **options),
        "bim": bim(norm, num_steps=20, **options),
        "pgd": pgd(norm, num_steps=40, step_size=epsilon / 4, **options),
        "apgd": apgd(norm, num_steps=40, **options),
    }
    for name, attack in attacks.items():
        delta = attack(apply_fn, weights, images, labels, key).delta
        gain = np.einsum("nhwc,hwcn->n", delta, normals)
        rtol = 1e-3 if name == "bim" else 1e-5  # its small steps are still on their way
        np.testing.assert_allclose(gain, best, rtol=rtol, err_msg=name)


def test_the_smallest_weighted_budget_is_the_exact_radius(key):
    shape, generator = (6, 5, 2), np.random.default_rng(7)
    params = generator.normal(size=(3, *shape)).astype(np.float32), np.zeros(3, np.float32)
    images = generator.uniform(size=(8, *shape)).astype(np.float32)
    labels = np.argmax(affine(params, images), -1)
    norm = _make("weighted_fourier_l2", shape)
    exact = affine_attack(norm)(affine, params, images, labels).distance
    found = smallest_budget(norm, bounds=None)(affine, params, images, labels, key).distance
    np.testing.assert_allclose(found, exact, rtol=1e-3)


@names
def test_in_the_box_a_step_of_any_length_along_the_gradient_stays_at_the_best_point(name):
    """The condition of an optimum: a step along ``ascent`` is projected back.

    Steepest steps leave it: they would end at a worse point.
    """
    shape, generator = (6, 5, 2), np.random.default_rng(8)
    norm = _make(name, shape)
    gradient = generator.normal(size=shape).astype(np.float32)
    image = generator.uniform(size=shape).astype(np.float32)
    epsilon = 0.1 * float(value(norm, np.sign(gradient)))

    def projected(delta):
        return np.asarray(project_box(norm, delta, image, epsilon))

    direction = np.asarray(jax.jit(lambda norm, g: norm.ascent(g, boxed=True))(norm, gradient))
    best = np.zeros_like(gradient)
    for _ in range(60):
        best = projected(best + epsilon * direction)
    np.testing.assert_allclose(value(norm, best), epsilon, rtol=1e-5)
    assert ((image + best == 0) | (image + best == 1)).any()
    size = float(np.abs(best).max())
    for length in (0.1, 1.0):
        moved = projected(best + length * epsilon * direction)
        np.testing.assert_allclose(moved, best, atol=2e-3 * size)
    steep, direction = best, np.asarray(steepest(norm, gradient))
    for _ in range(60):
        steep = projected(steep + epsilon / 10 * direction)
    assert np.sum(steep * gradient) < 0.999 * np.sum(best * gradient)


def test_fourier_linf_is_not_linf():
    """A white pixel and a wave change places: what one norm finds small the other finds large."""
    pixel = np.zeros((8, 8, 1), np.float32)
    pixel[0, 0] = 1
    wave = np.float32(np.tile([[1.0], [-1.0]], (8, 4, 1)))
    assert value(Linf(), pixel) == value(Linf(), wave) == 1
    np.testing.assert_allclose(value(FourierLinf(), pixel), 1 / 8, rtol=1e-6)
    np.testing.assert_allclose(value(FourierLinf(), wave), 8, rtol=1e-6)

"""Filters keep images real and add up; controls keep what they promise to keep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import spectral
from freqbias.spectral import filters, fourier

KINDS = ["ideal", "gaussian", "butterworth"]
SHAPES = [(8, 8), (7, 6)]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_shape = pytest.mark.parametrize("shape", SHAPES)


@each_kind
@pytest.mark.parametrize("shape", [(7, 6)])
def test_low_and_high_pass_add_up_to_the_image(rng, kind, shape):
    images = rng.standard_normal((2, *shape, 3), np.float32)
    low = np.asarray(spectral.low_pass(images, 0.2, kind=kind))
    high = np.asarray(spectral.high_pass(images, 0.2, kind=kind))
    assert low.dtype == images.dtype
    np.testing.assert_allclose(low + high, images, atol=2e-6)
    transfer = np.asarray(spectral.low_pass_transfer(shape, 0.2, kind=kind))
    np.testing.assert_array_equal(transfer + (1 - transfer), 1)
    np.testing.assert_allclose(np.mean(low, (1, 2)), np.mean(images, (1, 2)), atol=1e-6)
    np.testing.assert_allclose(np.mean(high, (1, 2)), 0, atol=1e-6)


@each_kind
def test_bands_add_up_to_the_low_pass(rng, kind):
    images = rng.standard_normal((9, 8, 1), np.float32)
    cuts = (0, 0.1, 0.25, 0.4)
    bands = [spectral.band_pass(images, *cut, kind=kind) for cut in itertools.pairwise(cuts)]
    np.testing.assert_allclose(
        np.sum(bands, axis=0), spectral.low_pass(images, 0.4, kind=kind), atol=2e-6
    )


@each_shape
def test_the_ideal_filter_is_a_projection_onto_its_band(rng, shape):
    images = rng.standard_normal((*shape, 2), np.float32)
    once = spectral.band_pass(images, 0.15, 0.4)
    np.testing.assert_allclose(spectral.band_pass(once, 0.15, 0.4), once, atol=2e-6)
    assert float(spectral.band_fraction(once, 0.15, 0.4)) == pytest.approx(1, abs=1e-6)
    mask = fourier.band_mask(shape, 0.15, 0.4)
    np.testing.assert_array_equal(spectral.band_pass_transfer(shape, 0.15, 0.4), mask)
    orthogonal = np.vdot(spectral.low_pass(images, 0.3), spectral.high_pass(images, 0.3))
    assert abs(float(orthogonal)) < 1e-4


def test_transfer_at_the_cutoff_and_its_order():
    at = {kind: np.asarray(spectral.low_pass_transfer((16, 16), 0.25, kind=kind)) for kind in KINDS}
    assert float(at["ideal"][0, 4]) == 1.0
    assert float(at["ideal"][0, 5]) == 0.0
    assert float(at["gaussian"][0, 4]) == pytest.approx(np.exp(-0.5), rel=1e-6)
    assert float(at["butterworth"][0, 4]) == pytest.approx(0.5, rel=1e-6)
    for order in (1, 3):
        steep = np.asarray(
            spectral.low_pass_transfer((16, 16), 0.25, kind="butterworth", order=order)
        )
        assert float(steep[0, 8]) == pytest.approx(1 / (1 + 2 ** (2 * order)), rel=1e-5)
        assert float(steep[0, 0]) == 1.0
    sharp = spectral.low_pass_transfer((16, 16), 0.01, kind="butterworth", order=500)
    assert np.isfinite(sharp).all()


@each_kind
def test_a_wave_is_scaled_by_the_transfer_at_its_frequency(kind):
    wave = np.float32(
        np.cos(2 * np.pi * 3 * np.arange(16) / 16)[None, :, None] + np.zeros((16, 1, 1))
    )
    gain = np.asarray(spectral.low_pass_transfer((16, 16), 0.2, kind=kind))[0, 3]
    np.testing.assert_allclose(spectral.low_pass(wave, 0.2, kind=kind), gain * wave, atol=1e-6)


@each_kind
def test_a_traced_cutoff_is_the_same_filter(rng, kind):
    images = rng.standard_normal((8, 7, 1), np.float32)
    low_pass = jax.jit(lambda x, c: spectral.low_pass(x, c, kind=kind))
    for cutoff in (0.125, 0.25, 3 / 7):
        traced = low_pass(images, cutoff)
        np.testing.assert_allclose(traced, spectral.low_pass(images, cutoff, kind=kind), atol=2e-6)
    high_passes = jax.jit(jax.vmap(lambda c: spectral.high_pass(images, c, kind=kind)))
    stacked = np.asarray(high_passes(np.float32([0.1, 0.3])))
    np.testing.assert_allclose(stacked[1], spectral.high_pass(images, 0.3, kind=kind), atol=2e-6)


def test_apply_transfer_is_multiplication_in_frequency(rng):
    images = rng.standard_normal((2, 6, 7, 2), np.float32)
    fy, fx = fourier.frequency_grid((6, 7))
    fy = np.where(fy == -0.5, 0, fy)  # at Nyquist a shift by half a pixel is not Hermitian
    transfer = np.exp(-2j * np.pi * (2 * fy + fx)) * np.exp(-(fx**2))
    found = spectral.apply_transfer(images, transfer)
    product = spectral.fft2(images) * np.complex64(transfer)[None, :, :, None]
    np.testing.assert_allclose(found, spectral.ifft2(product), atol=2e-6)
    shift = np.exp(-2j * np.pi * fourier.frequency_grid((6, 7))[1])
    rolled = spectral.apply_transfer(images, shift)
    np.testing.assert_allclose(rolled, np.roll(images, 1, axis=2), atol=2e-6)


def test_a_mask_half_a_bin_off_is_refused(rng):
    images = rng.standard_normal((8, 8, 1), np.float32)
    index = np.arange(8)
    off_centre = np.hypot(index[:, None] - 3.5, index[None, :] - 3.5) <= 2
    with pytest.raises(ValueError, match="symmetric"):
        spectral.apply_transfer(images, np.fft.ifftshift(off_centre))


def test_float64_filters_in_float64(rng, x64):
    images = rng.standard_normal((8, 8, 1))
    for kind in KINDS:
        low = np.asarray(spectral.low_pass(images, 0.2, kind=kind))
        high = np.asarray(spectral.high_pass(images, 0.2, kind=kind))
        assert low.dtype == jnp.float64
        np.testing.assert_allclose(low + high, images, atol=1e-14)
    assert spectral.low_pass(np.float32(images), 0.2).dtype == jnp.float32


# Replacing the amplitude.


@pytest.mark.parametrize("shape", [(7, 6)])
def test_replaced_images_have_the_wanted_amplitude_and_their_own_phase(rng, shape):
    images = rng.random((3, *shape, 2), np.float32)
    others = rng.standard_normal((20, *shape, 2), np.float32)
    amplitude = spectral.mean_amplitude(others)
    found = spectral.replace_amplitude(images, amplitude, include_dc=True)
    before, after = (np.asarray(spectral.fft2(x)) for x in (images, found))
    np.testing.assert_allclose(
        np.abs(after), np.broadcast_to(amplitude, after.shape), rtol=1e-3, atol=1e-5
    )
    aligned = (after * np.conj(before)).real
    np.testing.assert_allclose(aligned, np.abs(after) * np.abs(before), rtol=1e-3, atol=1e-5)


def test_the_own_amplitude_gives_the_image_back(rng):
    image = rng.random((8, 9, 2), np.float32)
    amplitude = spectral.mean_amplitude(image)
    for include_dc in (False, True):
        found = spectral.replace_amplitude(image, amplitude, include_dc=include_dc)
        np.testing.assert_allclose(found, image, atol=1e-5)


def test_images_keep_their_mean_unless_the_dc_is_replaced(rng):
    images = rng.random((3, 8, 8, 1), np.float32)
    amplitude = np.ones((8, 8, 1), np.float32)
    kept = np.asarray(spectral.replace_amplitude(images, amplitude))
    np.testing.assert_allclose(kept.mean((1, 2)), images.mean((1, 2)), rtol=1e-5)
    replaced = np.asarray(spectral.replace_amplitude(images, amplitude, include_dc=True))
    np.testing.assert_allclose(replaced.mean((1, 2)), 1 / 8, rtol=1e-5)  # 1/√n


def test_coefficients_at_rounding_get_phase_zero_not_the_phase_of_noise():
    ones = np.ones((31, 31, 1), np.float32)
    constant, delta = np.float32(0.3) * ones[:8, :8], 0 * ones[:8, :8]
    delta[0, 0] = 8.0
    found = spectral.replace_amplitude(constant, ones[:8, :8], include_dc=True)
    np.testing.assert_allclose(found, delta, atol=1e-5)
    wave = np.float32(np.cos(2 * np.pi * np.arange(31) / 31))[None, :, None] * ones
    found = np.asarray(spectral.replace_amplitude(wave, ones, include_dc=True))
    assert np.sum(found**2) == pytest.approx(31**2, rel=1e-4)  # none lost to an imaginary part


def test_mean_amplitude_is_symmetric_and_averages_moduli(rng):
    images = rng.standard_normal((2, 3, 6, 7, 2), np.float32)
    found = spectral.mean_amplitude(images)
    assert fourier.is_symmetric_mask(np.moveaxis(np.asarray(found), -1, 0), tolerance=0)
    np.testing.assert_allclose(
        found, np.abs(spectral.fft2(images)).mean((0, 1)), rtol=1e-4, atol=1e-5
    )


# Permuting the Fourier basis.


@pytest.mark.parametrize("shape", [(8, 6), (7, 7), (1, 1), (2, 2)])
@pytest.mark.parametrize("include_dc", [False, True])
def test_the_permutation_commutes_with_negation_of_frequencies(key, shape, include_dc):
    source = spectral.fourier_permutation(key, shape, include_dc=include_dc).source
    source = np.asarray(source)
    n = shape[0] * shape[1]
    assert sorted(source.ravel()) == list(range(n))
    negative = fourier.negate_frequencies(np.arange(n).reshape(shape)).ravel()
    np.testing.assert_array_equal(
        fourier.negate_frequencies(source).ravel(), negative[source.ravel()]
    )
    if not include_dc:
        assert source[0, 0] == 0


def test_the_dc_moves_only_when_asked():
    keys = jax.random.split(jax.random.key(0), 40)
    drawn = jax.vmap(lambda key: filters.fourier_permutation(key, (4, 4), include_dc=True))(keys)
    assert set(np.asarray(drawn.source)[:, 0, 0].tolist()) == {
        0,
        2,
        8,
        10,
    }  # the four self-conjugate frequencies


@pytest.mark.parametrize(("shape", "include_dc"), [((6, 6), True), ((7, 6), False)])
def test_permuting_is_orthogonal_real_and_invertible(shape, include_dc, x64):
    """The map as a matrix, on the basis of pixels: real, Q^T Q = 1, Q^-1 = Q^T."""
    permutation = spectral.fourier_permutation(jax.random.key(3), shape, include_dc=include_dc)
    n = shape[0] * shape[1]
    pixels = np.eye(n).reshape(n, *shape, 1)
    matrix = np.asarray(spectral.permute_spectrum(pixels, permutation)).reshape(n, n).T
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(n), atol=1e-13)
    assert np.linalg.norm(matrix - np.eye(n)) > 1  # and it does something
    inverse = spectral.invert_permutation(permutation)
    back = np.asarray(spectral.permute_spectrum(pixels, inverse)).reshape(n, n).T
    np.testing.assert_allclose(back, matrix.T, atol=1e-13)


@each_shape
def test_the_power_moves_as_permute_power_says(rng, shape):
    images = rng.standard_normal((3, *shape, 2), np.float32)
    permutation = spectral.fourier_permutation(jax.random.key(1), shape)
    moved = spectral.power_spectrum(spectral.permute_spectrum(images, permutation))
    power = spectral.power_spectrum(images)
    said = spectral.permute_power(power, permutation)
    np.testing.assert_allclose(moved, said, rtol=1e-3, atol=1e-5)
    back = spectral.permute_power(said, spectral.invert_permutation(permutation))
    np.testing.assert_array_equal(back, power)
    np.testing.assert_allclose(spectral.entropy(moved, domain="power"),
                               spectral.entropy(power, domain="power"), rtol=1e-4)  # fmt: skip


def test_it_is_the_exact_control_rotation_equivariant_learners_follow_convolutions_do_not(x64, rng):
    """Gradient descent on a linear model from a given start follows; a convolution cannot."""
    shape, n = (6, 6), 36
    data, start, kernel = (rng.standard_normal((size, *shape, 1)) for size in (12, 1, 1))
    targets = np.sign(data.reshape(12, n) @ np.linspace(-1, 1, n))
    permutation = spectral.fourier_permutation(jax.random.key(5), shape)

    def train(images, beta):
        images, beta = np.asarray(images).reshape(12, n), np.asarray(beta).reshape(n)
        for _ in range(50):
            beta = beta - 0.01 * images.T @ (images @ beta - targets)
        return beta.reshape(*shape, 1)

    there = spectral.permute_spectrum
    learned = train(data, start)
    np.testing.assert_allclose(
        train(there(data, permutation), there(start, permutation)),
        there(learned, permutation),
        atol=1e-10,
    )

    def convolve(images):
        return np.fft.ifft2(
            np.fft.fft2(images, axes=(-3, -2)) * np.fft.fft2(kernel, axes=(-3, -2)),
            axes=(-3, -2),
        ).real

    assert not np.allclose(
        convolve(there(data, permutation)), there(convolve(data), permutation), atol=0.1
    )


def test_permutations_are_jittable_vmappable_and_drawn_by_key(key, rng):
    keys = jax.random.split(key, 3)
    batch = jax.jit(jax.vmap(lambda k: filters.fourier_permutation(k, (5, 6))))(keys)
    assert batch.source.shape == (3, 5, 6)
    one = filters.fourier_permutation(keys[1], (5, 6))
    first, second, _ = np.asarray(batch.source)
    np.testing.assert_array_equal(second, one.source)
    assert not np.array_equal(first, second)
    images = rng.standard_normal((3, 2, 5, 6, 1), np.float32)
    moved = np.asarray(jax.jit(jax.vmap(spectral.permute_spectrum))(images, batch))
    np.testing.assert_allclose(moved[1], spectral.permute_spectrum(images[1], one), atol=1e-6)


IMAGES = np.ones((4, 4, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: spectral.low_pass(IMAGES, 0.0), ValueError, "cutoff"),
        (lambda: spectral.low_pass(IMAGES, 0.2, kind="box"), ValueError, "kind"),
        (lambda: spectral.low_pass(IMAGES, 0.2, kind="butterworth", order=0), ValueError, "order"),
        (lambda: spectral.low_pass(IMAGES[0], 0.2), ValueError, "images"),
        (lambda: spectral.band_pass(IMAGES, 0.3, 0.2), ValueError, "low"),
        (lambda: spectral.apply_transfer(IMAGES, np.ones((4, 3))), ValueError, "transfer"),
        (lambda: spectral.replace_amplitude(IMAGES, -IMAGES), ValueError, "negative"),
        (lambda: spectral.replace_amplitude(IMAGES, IMAGES[:3]), ValueError, "amplitude"),
        (
            lambda: spectral.replace_amplitude(IMAGES, IMAGES + 2 * np.eye(4, 1, -1)[None]),
            ValueError,
            "symmetric",
        ),
        (
            lambda: spectral.permute_spectrum(
                IMAGES, spectral.fourier_permutation(jax.random.key(0), (5, 5))
            ),
            ValueError,
            "permutation",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()

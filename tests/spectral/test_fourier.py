"""Which coefficient is which frequency, and what keeps images real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.spectral import fourier

SHAPES = [(8, 6), (7, 7), (1, 5)]


def _noise(rng, shape, *, channels=2, lead=(3,)):
    return rng.standard_normal((*lead, *shape, channels), np.float32)


def test_a_cosine_sits_at_its_two_frequencies_and_nowhere_else():
    y, x = np.mgrid[:8, :12]
    image = np.cos(2 * np.pi * (2 * y / 8 - 3 * x / 12)).astype(np.float32)[..., None]
    power = np.abs(np.asarray(fourier.fft2(image))[..., 0]) ** 2
    fy, fx = fourier.frequency_grid((8, 12), unit="cycles/image")
    on = {(int(fy[k]), int(fx[k])) for k in np.ndindex(8, 12) if power[k] > 1e-6}
    assert on == {(2, -3), (-2, 3)}
    np.testing.assert_allclose(power[2, -3], 96 / 4, rtol=1e-5)  # amplitude √n/2, orthonormal


def test_a_delta_is_flat():
    image = np.zeros((7, 6, 1), np.float32)
    image[2, 3] = 1
    np.testing.assert_allclose(np.abs(fourier.fft2(image)), 1 / np.sqrt(42), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval_needs_no_factor(rng, shape):
    images = _noise(rng, shape)
    spectrum = np.asarray(fourier.fft2(images))
    np.testing.assert_allclose(
        np.sum(np.abs(spectrum) ** 2, (-3, -2, -1)), np.sum(images**2, (-3, -2, -1)), rtol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_half_plane_with_weights_is_the_full_plane(rng, shape):
    images = _noise(rng, shape)
    full = np.abs(fourier.fft2(images)) ** 2
    half = np.abs(fourier.rfft2(images)) ** 2
    weights = fourier.half_plane_weights(shape)
    assert weights.sum() == shape[0] * shape[1]
    weighted = np.sum(half * weights[:, :, None], (1, 2))
    np.testing.assert_allclose(weighted, np.sum(full, (1, 2)), rtol=1e-5)
    mirrored = fourier.full_plane(np.moveaxis(half, -1, 0), shape[1])
    np.testing.assert_allclose(mirrored, np.moveaxis(full, -1, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_inverses_return_the_images(rng, shape):
    images = _noise(rng, shape)
    back = fourier.ifft2(fourier.fft2(images))
    assert back.dtype == jnp.float32
    np.testing.assert_allclose(back, images, atol=1e-5)
    np.testing.assert_allclose(fourier.irfft2(fourier.rfft2(images), shape), images, atol=1e-5)


def test_float64_stays_float64(rng, x64):
    images = rng.standard_normal((5, 6, 1))
    assert fourier.fft2(images).dtype == jnp.complex128
    np.testing.assert_allclose(fourier.ifft2(fourier.fft2(images)), images, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_grids_are_fftfreq_and_the_radius_is_the_same_for_k_and_minus_k(shape):
    fy, fx = fourier.frequency_grid(shape)
    np.testing.assert_allclose(fy[:, 0], np.fft.fftfreq(shape[0]))
    np.testing.assert_allclose(fx[0], np.fft.fftfreq(shape[1]))
    radius = fourier.radius_grid(shape)
    np.testing.assert_allclose(radius, np.hypot(fy, fx))
    assert radius[0, 0] == 0.0
    np.testing.assert_array_equal(radius, fourier.negate_frequencies(radius))
    np.testing.assert_array_equal(radius.T, fourier.radius_grid(shape[::-1]))


def test_radii_at_ties_are_exact():
    radius = fourier.radius_grid((28, 28))
    assert radius[3, 4] == radius[5, 0] == radius[0, -5] == 5 / 28
    assert fourier.radius_grid((28, 28), unit="cycles/image")[3, 4] == 5.0


@pytest.mark.parametrize("shape", SHAPES)
def test_bands_cut_the_plane_into_disjoint_symmetric_parts(shape):
    bands = [fourier.band_mask(shape, *b) for b in [(0, 0.2), (0.2, 0.5), (0.5, np.inf)]]
    np.testing.assert_array_equal(np.sum(bands, axis=0), 1)
    assert bands[0][0, 0]
    assert all(fourier.is_symmetric_mask(band) for band in bands)


def test_a_band_of_traced_limits_is_the_band_of_numbers():
    traced = jax.jit(lambda low, high: fourier.band_mask((9, 8), low, high))
    for band in [(0.0, 0.25), (0.125, 0.5)]:
        np.testing.assert_array_equal(traced(*band), fourier.band_mask((9, 8), *band))


def test_a_mask_over_minus_l_to_l_minus_one_is_not_symmetric_and_would_lose_energy(rng):
    mask = np.zeros((8, 8))
    index = np.arange(-2, 2)
    mask[np.ix_(index, index)] = 1
    assert not fourier.is_symmetric_mask(mask)
    symmetric = np.zeros((8, 8))
    index = np.arange(-2, 3)
    symmetric[np.ix_(index, index)] = 1
    assert fourier.is_symmetric_mask(symmetric)
    spectrum = np.asarray(fourier.fft2(_noise(rng, (8, 8), lead=(), channels=1)))
    lossy = spectrum * np.float32(mask)[..., None]
    assert np.abs(np.fft.ifft2(lossy, axes=(0, 1)).imag).max() > 1e-3
    with pytest.raises(ValueError, match="Hermitian"):
        fourier.ifft2(lossy)
    fourier.ifft2(spectrum * np.float32(symmetric)[..., None])


def test_a_complex_transfer_is_symmetric_if_it_is_hermitian():
    fy, _ = fourier.frequency_grid((7, 5))
    shift = np.exp(-2j * np.pi * fy)
    assert fourier.is_symmetric_mask(shift)
    assert not fourier.is_symmetric_mask(1j * np.abs(fy))


def test_transform_commutes_with_jit_and_vmap(rng):
    images = _noise(rng, (6, 7))
    np.testing.assert_allclose(
        jax.jit(jax.vmap(fourier.fft2))(images), fourier.fft2(images), atol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fourier.fft2(np.zeros((4, 4), np.float32)), ValueError, "images must be"),
        (lambda: fourier.fft2(np.zeros((4, 4, 1), np.uint8)), TypeError, "images must be float"),
        (lambda: fourier.fft2(np.zeros((0, 4, 1), np.float32)), ValueError, "got shape"),
        (lambda: fourier.ifft2(np.zeros((4, 4, 1), np.float32)), TypeError, "complex"),
        (lambda: fourier.ifft2(np.zeros((4, 4), np.complex64)), ValueError, "spectrum"),
        (lambda: fourier.irfft2(np.zeros((4, 4, 1), np.complex64), (4, 4)), ValueError, "half"),
        (lambda: fourier.full_plane(np.zeros((4, 4)), 9), ValueError, "columns"),
        (lambda: fourier.radius_grid((4, 4), unit="hertz"), ValueError, "unit"),
        (lambda: fourier.radius_grid((4,)), ValueError, "shape"),
        (lambda: fourier.radius_grid((4, 0)), ValueError, "shape"),
        (lambda: fourier.band_mask((4, 4), 0.3, 0.2), ValueError, "low=0.3"),
        (lambda: fourier.is_symmetric_mask(np.zeros(4)), ValueError, "mask"),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()

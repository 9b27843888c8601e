"""From images to one spectrum: what is summed, normalised and averaged, and in which order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.spectral import fourier, profile

SHAPES = [(8, 8), (7, 7), (6, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_power_is_the_squared_transform_summed_over_channels(rng, shape):
    images = rng.standard_normal((3, *shape, 2), np.float32)
    power = np.asarray(profile.power_spectrum(images))
    reference = np.sum(np.abs(np.fft.fft2(np.float64(images), axes=(1, 2))) ** 2, -1)
    np.testing.assert_allclose(power, reference / np.prod(shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sum(power, (1, 2)), np.sum(images**2, (1, 2, 3)), rtol=1e-5)


def test_opposite_colours_do_not_cancel():
    wave = np.tile(np.cos(2 * np.pi * np.arange(8, dtype=np.float32) / 8), (8, 1))
    images = np.stack([wave, -wave], axis=-1)  # grey: zero everywhere
    p = np.asarray(profile.normalized_power(images))
    assert p[0, 1] == pytest.approx(0.5, abs=1e-6)


def test_raw_images_are_transformed_not_their_absolute_value():
    wave = np.tile(np.cos(2 * np.pi * 2 * np.arange(16, dtype=np.float32) / 16), (16, 1))
    p = np.asarray(profile.normalized_power(wave[..., None]))
    np.testing.assert_allclose(p[0, 2] + p[0, -2], 1, atol=1e-6)
    np.testing.assert_allclose(p[0, 4], 0, atol=1e-6)  # |cos| has its power at 4


def test_normalised_power_is_a_distribution_with_or_without_dc(rng):
    images = np.float32(0.5) + rng.standard_normal((4, 6, 7, 3), np.float32)
    for include_dc in (False, True):
        p = np.asarray(profile.normalized_power(images, include_dc=include_dc))
        np.testing.assert_allclose(p.sum((1, 2)), 1, rtol=1e-6)
        assert np.all((p[:, 0, 0] > 0) == include_dc)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 3.0, 1e30])
def test_the_scale_of_an_image_does_not_matter_even_where_its_power_underflows(rng, scale):
    images = rng.standard_normal((6, 6, 1), np.float32)
    np.testing.assert_allclose(
        profile.normalized_power(images * np.float32(scale)),
        profile.normalized_power(images),
        rtol=1e-4,
    )


def test_each_image_counts_alike_in_the_mean_whatever_its_norm(rng):
    images = rng.standard_normal((2, 8, 8, 1), np.float32)
    images[1] *= 100
    p = np.asarray(profile.normalized_power(images))
    np.testing.assert_allclose(profile.mean_spectrum(images, axis=0), (p[0] + p[1]) / 2, atol=1e-6)


def test_images_without_power_are_left_out_of_the_mean(rng):
    one = rng.standard_normal((8, 8, 1), np.float32)
    none = [np.zeros_like(one), np.full_like(one, 0.3)]
    mean = profile.mean_spectrum(np.stack([one, *none]), axis=0)
    np.testing.assert_allclose(mean, profile.normalized_power(one), atol=1e-7)
    with_bad = np.stack([one, *none, np.full_like(one, np.nan)])
    mean = jax.jit(lambda x: profile.mean_spectrum(x, axis=0))(with_bad)
    np.testing.assert_allclose(mean, profile.normalized_power(one), atol=1e-7)


def test_the_spectrum_of_nothing_is_nan_and_its_slope_zero():
    none = np.zeros((2, 6, 5, 1), np.float32)
    none[1] = 0.3
    for found in (
        profile.normalized_power(none),
        jax.jit(profile.normalized_power)(none),
        profile.mean_spectrum(none, axis=0),
        profile.radial_profile(profile.normalized_power(none)).mean,
    ):
        assert np.isnan(found).all()
    slope = jax.jit(jax.grad(lambda x: jnp.sum(profile.mean_spectrum(x, axis=0))))(none)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 2), (3, 64), (5, 13), (31, 32), (2, 3)])
def test_no_bin_is_empty(shape):
    assert profile.radial_profile(np.ones(shape, np.float32)).count.min() >= 1


def test_the_mean_is_per_seed(rng):
    images = rng.standard_normal((3, 5, 6, 7, 2), np.float32)
    mean = np.asarray(profile.mean_spectrum(images, axis=1))
    assert mean.shape == (3, 6, 7)
    each = [profile.mean_spectrum(seed, axis=0) for seed in images]
    np.testing.assert_allclose(mean, np.stack(each), atol=1e-7)
    np.testing.assert_allclose(
        profile.mean_spectrum(images, axis=-4), mean, atol=1e-7
    )  # negative axes count from the end of images
    both = profile.mean_spectrum(images, axis=(0, 1))
    np.testing.assert_allclose(both, mean.mean(0), atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_profile_sums_to_the_total_and_is_flat_on_flat_power(rng, shape):
    power = rng.random((2, *shape), np.float32)
    frequency, mean, count = jax.device_get(profile.radial_profile(power))
    assert count.sum() == np.prod(shape)
    np.testing.assert_allclose(np.sum(count * mean[0]), np.sum(power[0]), rtol=1e-5)
    assert mean.shape == (2, frequency.size)
    flat = profile.radial_profile(np.ones(shape, np.float32)).mean
    np.testing.assert_allclose(np.asarray(flat)[count > 0], 1, rtol=1e-6)


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize("k", [1, 5, 15])
def test_k_and_minus_k_share_a_bin_and_dc_has_its_own(size, k):
    def profile_at(place):
        power = np.zeros((size, size), np.float32)
        power[place] = 1
        return profile.radial_profile(power)

    for sign in (1, -1):
        for place in [(0, sign * k), (sign * k, 0)]:
            assert np.flatnonzero(profile_at(place).mean).tolist() == [k]
    dc = profile_at((0, 0))
    assert np.flatnonzero(dc.mean).tolist() == [0]
    assert dc.count[0] == 1
    np.testing.assert_allclose(dc.frequency[k], k / size)


def test_transposing_an_image_leaves_its_profile(rng):
    images = rng.standard_normal((6, 9, 1), np.float32)
    there = profile.radial_profile(profile.power_spectrum(images)).mean
    back = profile.radial_profile(profile.power_spectrum(np.swapaxes(images, 0, 1))).mean
    np.testing.assert_allclose(there, back, rtol=1e-4)


@pytest.mark.parametrize("size", [15])
def test_white_noise_is_flat_within_its_own_error(rng, size):
    images = rng.standard_normal((2000, size, size, 1), np.float32)
    _, mean, count = jax.device_get(profile.radial_profile(profile.power_spectrum(images)))
    error = np.std(mean, axis=0) / np.sqrt(2000)
    assert count.min() >= 1
    assert np.all(np.abs(np.mean(mean, axis=0) - 1) < 4.5 * error)


def test_profile_under_jit_and_vmap(rng):
    power = rng.random((3, 6, 6), np.float32)
    mean = jax.jit(jax.vmap(lambda p: profile.radial_profile(p).mean))(power)
    np.testing.assert_allclose(mean, profile.radial_profile(power).mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: profile.mean_spectrum(np.ones((2, 4, 4, 1), np.float32), axis=1),
            ValueError,
            "axis",
        ),
        (lambda: profile.mean_spectrum(np.ones((4, 4, 1), np.float32), axis=0), ValueError, "axis"),
        (lambda: profile.radial_profile(-np.ones((4, 4), np.float32)), ValueError, "negative"),
        (lambda: profile.radial_profile(np.ones(4, np.float32)), ValueError, "power must be"),
        (lambda: profile.radial_profile(np.ones((4, 4), int)), TypeError, "power"),
        (lambda: profile.power_spectrum(np.ones((4, 4), np.float32)), ValueError, "images"),
        (
            lambda: profile.power_spectrum(np.full((4, 4, 1), np.nan, np.float32)),
            ValueError,
            "finite",
        ),
        (
            lambda: profile.mean_spectrum(np.full((2, 4, 4, 1), np.inf, np.float32), axis=0),
            ValueError,
            "images must be finite",
        ),
        (lambda: profile.normalized_power(np.full((4, 4, 1), np.nan)), ValueError, "finite"),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_power_of_a_band_is_what_the_mask_selects(rng):
    power = np.asarray(profile.power_spectrum(rng.standard_normal((8, 8, 1), np.float32)))
    low, high = (fourier.band_mask((8, 8), *band) for band in [(0, 0.25), (0.25, np.inf)])
    parts = np.sum(power[low]) + np.sum(power[high])
    np.testing.assert_allclose(parts, np.sum(power), rtol=1e-5)

"""From images to one spectrum: what is summed, normalised and averaged, and in which order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.spectral import fourier, profile

SHAPES = [(8, 8), (7, 7), (6, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_power_is_the_squared_transform_summed_over_channels(key, shape):
    images = jax.random.normal(key, (3, *shape, 2))
    power = profile.power_spectrum(images)
    reference = np.sum(np.abs(np.fft.fft2(np.asarray(images, float), axes=(1, 2))) ** 2, -1)
    np.testing.assert_allclose(power, reference / np.prod(shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(power, (1, 2)), jnp.sum(images**2, (1, 2, 3)), rtol=1e-5)


def test_opposite_colours_do_not_cancel():
    wave = jnp.cos(2 * jnp.pi * jnp.arange(8) / 8)[None, :] * jnp.ones((8, 1))
    images = jnp.stack([wave, -wave], axis=-1)  # grey: zero everywhere
    assert float(profile.normalized_power(images)[0, 1]) == pytest.approx(0.5, abs=1e-6)


def test_raw_images_are_transformed_not_their_absolute_value():
    wave = jnp.cos(2 * jnp.pi * 2 * jnp.arange(16) / 16)[None, :, None] * jnp.ones((16, 1, 1))
    p = profile.normalized_power(wave)
    np.testing.assert_allclose(p[0, 2] + p[0, -2], 1, atol=1e-6)
    np.testing.assert_allclose(p[0, 4], 0, atol=1e-6)  # |cos| has its power at 4


def test_normalised_power_is_a_distribution_with_or_without_dc(key):
    images = 0.5 + jax.random.normal(key, (4, 6, 7, 3))
    for include_dc in (False, True):
        p = profile.normalized_power(images, include_dc=include_dc)
        np.testing.assert_allclose(jnp.sum(p, (1, 2)), 1, rtol=1e-6)
        assert bool(jnp.all((p[:, 0, 0] > 0) == include_dc))


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 3.0, 1e30])
def test_the_scale_of_an_image_does_not_matter_even_where_its_power_underflows(key, scale):
    images = jax.random.normal(key, (6, 6, 1))
    np.testing.assert_allclose(
        profile.normalized_power(images * scale), profile.normalized_power(images), rtol=1e-4
    )


def test_each_image_counts_alike_in_the_mean_whatever_its_norm(key):
    images = jax.random.normal(key, (2, 8, 8, 1)) * jnp.array([1.0, 100.0])[:, None, None, None]
    p = profile.normalized_power(images)
    np.testing.assert_allclose(profile.mean_spectrum(images, axis=0), (p[0] + p[1]) / 2, atol=1e-6)


def test_images_without_power_are_left_out_of_the_mean(key):
    one = jax.random.normal(key, (8, 8, 1))
    none = [jnp.zeros_like(one), jnp.full_like(one, 0.3)]
    mean = profile.mean_spectrum(jnp.stack([one, *none]), axis=0)
    np.testing.assert_allclose(mean, profile.normalized_power(one), atol=1e-7)
    with_bad = jnp.stack([one, *none, jnp.full_like(one, jnp.nan)])
    mean = jax.jit(lambda x: profile.mean_spectrum(x, axis=0))(with_bad)
    np.testing.assert_allclose(mean, profile.normalized_power(one), atol=1e-7)


def test_the_spectrum_of_nothing_is_nan_and_its_slope_zero():
    none = jnp.stack([jnp.zeros((6, 5, 1)), jnp.full((6, 5, 1), 0.3)])
    for found in (
        profile.normalized_power(none),
        jax.jit(profile.normalized_power)(none),
        profile.mean_spectrum(none, axis=0),
        profile.radial_profile(profile.normalized_power(none)).mean,
    ):
        assert np.isnan(found).all()
    slope = jax.grad(lambda x: jnp.sum(profile.mean_spectrum(x, axis=0)))(none)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 2), (3, 64), (5, 13), (31, 32), (2, 3)])
def test_no_bin_is_empty(shape):
    assert profile.radial_profile(jnp.ones(shape)).count.min() >= 1


def test_the_mean_is_per_seed(key):
    images = jax.random.normal(key, (3, 5, 6, 7, 2))
    mean = profile.mean_spectrum(images, axis=1)
    assert mean.shape == (3, 6, 7)
    each = [profile.mean_spectrum(seed, axis=0) for seed in images]
    np.testing.assert_allclose(mean, jnp.stack(each), atol=1e-7)
    np.testing.assert_allclose(
        profile.mean_spectrum(images, axis=-4), mean, atol=1e-7
    )  # negative axes count from the end of images
    both = profile.mean_spectrum(images, axis=(0, 1))
    np.testing.assert_allclose(both, jnp.mean(mean, 0), atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_profile_sums_to_the_total_and_is_flat_on_flat_power(key, shape):
    power = jax.random.uniform(key, (2, *shape))
    frequency, mean, count = profile.radial_profile(power)
    assert count.sum() == np.prod(shape)
    np.testing.assert_allclose(
        jnp.sum(jnp.asarray(count, jnp.float32) * mean[0]), jnp.sum(power[0]), rtol=1e-5
    )
    assert mean.shape == (2, frequency.size)
    flat = profile.radial_profile(jnp.ones(shape)).mean
    np.testing.assert_allclose(np.asarray(flat)[count > 0], 1, rtol=1e-6)


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize("k", [1, 5, 15])
def test_k_and_minus_k_share_a_bin_and_dc_has_its_own(size, k):
    for sign in (1, -1):
        for place in [(0, sign * k), (sign * k, 0)]:
            mean = profile.radial_profile(jnp.zeros((size, size)).at[place].set(1.0)).mean
            assert np.flatnonzero(mean).tolist() == [k]
    dc = profile.radial_profile(jnp.zeros((size, size)).at[0, 0].set(1.0))
    assert np.flatnonzero(dc.mean).tolist() == [0]
    assert dc.count[0] == 1
    np.testing.assert_allclose(dc.frequency[k], k / size)


def test_transposing_an_image_leaves_its_profile(key):
    images = jax.random.normal(key, (6, 9, 1))
    there = profile.radial_profile(profile.power_spectrum(images)).mean
    back = profile.radial_profile(profile.power_spectrum(jnp.swapaxes(images, 0, 1))).mean
    np.testing.assert_allclose(there, back, rtol=1e-4)


@pytest.mark.parametrize("size", [15])
def test_white_noise_is_flat_within_its_own_error(key, size):
    images = jax.random.normal(key, (2000, size, size, 1))
    _, mean, count = profile.radial_profile(profile.power_spectrum(images))
    error = jnp.std(mean, axis=0) / np.sqrt(2000)
    assert count.min() >= 1
    assert bool(jnp.all(jnp.abs(jnp.mean(mean, axis=0) - 1) < 4.5 * error))


def test_profile_under_jit_and_vmap(key):
    power = jax.random.uniform(key, (3, 6, 6))
    mean = jax.jit(jax.vmap(lambda p: profile.radial_profile(p).mean))(power)
    np.testing.assert_allclose(mean, profile.radial_profile(power).mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: profile.mean_spectrum(jnp.ones((2, 4, 4, 1)), axis=1), ValueError, "axis"),
        (lambda: profile.mean_spectrum(jnp.ones((4, 4, 1)), axis=0), ValueError, "axis"),
        (lambda: profile.radial_profile(-jnp.ones((4, 4))), ValueError, "negative"),
        (lambda: profile.radial_profile(jnp.ones(4)), ValueError, "power must be"),
        (lambda: profile.radial_profile(jnp.ones((4, 4), int)), TypeError, "power"),
        (lambda: profile.power_spectrum(jnp.ones((4, 4))), ValueError, "images"),
        (lambda: profile.power_spectrum(jnp.full((4, 4, 1), jnp.nan)), ValueError, "finite"),
        (
            lambda: profile.mean_spectrum(jnp.full((2, 4, 4, 1), jnp.inf), axis=0),
            ValueError,
            "images must be finite",
        ),
        (lambda: profile.normalized_power(np.full((4, 4, 1), np.nan)), ValueError, "finite"),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_power_of_a_band_is_what_the_mask_selects(key):
    power = profile.power_spectrum(jax.random.normal(key, (8, 8, 1)))
    low, high = (fourier.band_mask((8, 8), *band) for band in [(0, 0.25), (0.25, np.inf)])
    parts = jnp.sum(power[low]) + jnp.sum(power[high])
    np.testing.assert_allclose(parts, jnp.sum(power), rtol=1e-5)

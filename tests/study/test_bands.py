"""The bands of a course: white noise reads the same in each, a wave only in its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import schema
from freqbias.study import bands


@pytest.mark.parametrize("channels", [1, 3])
def test_white_noise_has_the_same_amplitude_in_every_band(key, channels):
    noise = 0.3 * jax.random.normal(key, (2, 200, 20, 20, channels))
    found = bands.band_rms(noise)
    assert found.shape == (2, 8)
    np.testing.assert_allclose(found, 0.3 * np.sqrt(channels), rtol=0.1)


def test_a_wave_is_in_its_band_and_the_mean_in_none():
    """cos(2 pi 5 x / 16) has its energy, 128, in two coefficients at 5/16."""
    wave = jnp.cos(2 * jnp.pi * 5 * jnp.arange(16) / 16)[None, :, None] * jnp.ones((16, 1, 1))
    found = np.asarray(bands.band_rms(7 + wave[None, None]))[0]
    fy, fx = np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16), indexing="ij")
    radius = np.hypot(fy, fx)
    count = int(((radius >= 5 / 16) & (radius < 6 / 16)).sum())
    expected = np.zeros(8)
    expected[0] = np.nan  # the lowest frequency of 16 pixels is 1/16
    expected[5] = np.sqrt(128 / count)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_bands_hold_every_coefficient_but_the_mean(key):
    """The mean square over bands, weighted by their counts, is Parseval's."""
    images = jax.random.normal(key, (1, 3, 20, 24, 2))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(20), np.fft.fftfreq(24), indexing="ij"))
    counts = [
        int(((radius >= low) & (radius < high)).sum())
        for low, high in zip(schema.BAND_EDGES, (*schema.BAND_EDGES[1:], 1), strict=True)
    ]
    counts[0] -= 1
    total = float(np.asarray(bands.band_rms(images))[0] ** 2 @ np.array(counts))
    centred = images - images.mean(axis=(2, 3), keepdims=True)
    assert total == pytest.approx(float((centred**2).sum()) / 3, rel=1e-5)


def test_a_band_without_coefficients_is_nan(key):
    found = np.asarray(bands.band_rms(jax.random.normal(key, (1, 2, 8, 8, 1))))[0]
    assert np.isnan(found[0])  # the lowest frequency of 8 pixels is 1/8
    assert np.isfinite(found[2])


def test_nothing_to_measure_is_nan():
    assert np.isnan(list(bands.columns(schema.DISTANCE, None, 3).values())).all()

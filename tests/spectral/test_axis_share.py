"""Power on the axes: waves, white noise, and the cross of images that do not wrap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import spectral


def test_waves_lie_on_an_axis_or_not():
    y, x = np.mgrid[:8, :8]
    along, across = np.cos(2 * np.pi * 2 * x / 8), np.cos(2 * np.pi * (x + 3 * y) / 8)
    images = jnp.asarray(np.stack([along, across, 3 * along + across]), jnp.float32)[..., None]
    found = spectral.axis_share(spectral.power_spectrum(images))
    np.testing.assert_allclose(found, [1, 0, 0.9], atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (7, 10)])
def test_white_noise_has_its_share(shape):
    noise = jax.random.normal(jax.random.key(0), (4000, *shape, 1))
    height, width = shape
    found = float(spectral.axis_share(spectral.power_spectrum(noise)).mean())
    assert found == pytest.approx((height + width - 2) / (height * width - 1), rel=0.02)


def test_a_ramp_has_a_cross_and_nothing_has_no_share():
    ramp = jnp.asarray(np.add.outer(np.arange(16.0), np.arange(16.0)), jnp.float32)[..., None]
    assert float(spectral.axis_share(spectral.power_spectrum(ramp))) == pytest.approx(1, abs=1e-5)
    assert np.isnan(spectral.axis_share(jnp.zeros((4, 4))))
    with_dc = spectral.axis_share(spectral.power_spectrum(ramp + 100), include_dc=True)
    assert float(with_dc) == pytest.approx(1, abs=1e-5)

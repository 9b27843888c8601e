"""The share of energy where the data do not vary: by hand, and two routes to the directions."""

import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import data, spectral
from freqbias.study import measures


def test_shares_by_hand():
    """Images that vary in their first pixel alone: of (3, 4) a share of 16 / 25 lies outside."""
    basis = np.eye(4)[:, :1].astype(np.float32)
    delta = jnp.asarray([3.0, 4, 0, 0]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(measures.white_share(delta, basis), [16 / 25], rtol=1e-6)
    assert float(measures.white_share(2 * delta, basis)[0]) == pytest.approx(16 / 25)
    assert np.isnan(measures.white_share(jnp.zeros((1, 2, 2, 1)), basis)).all()


def test_the_part_inside_is_what_the_share_leaves():
    """Of two waves, one within the directions: its energy, and its frequency."""
    pixels = np.arange(16)
    low, high = (np.cos(2 * np.pi * k * pixels / 16)[None] * np.ones((16, 1)) for k in (2, 7))
    basis = (low / np.linalg.norm(low)).reshape(-1, 1).astype(np.float32)
    delta = jnp.asarray(low + 2 * high, jnp.float32)[None, None, :, :, None]
    inside = measures.part_inside(delta, basis)
    np.testing.assert_allclose(inside[0, 0, :, :, 0], low, atol=1e-5)
    np.testing.assert_allclose(measures.white_share(delta, basis), 0.8, rtol=1e-5)
    np.testing.assert_allclose(spectral.mean_frequency(inside), 2 / 16, rtol=1e-4)
    np.testing.assert_allclose(spectral.mean_frequency(delta), (2 + 4 * 7) / 5 / 16, rtol=1e-4)


def test_the_basis_holds_the_share_of_the_variance_and_no_direction_more():
    images = np.random.default_rng(0).uniform(size=(300, 4, 4, 1)) * np.geomspace(
        1, 1e-3, 16
    ).reshape(4, 4, 1)
    dataset = data.from_arrays(
        images, np.arange(300) % 2, images[:8], np.arange(8) % 2, name="ramp"
    )
    basis = measures.variance_basis(dataset)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-5)
    flat = images.reshape(300, -1) - images.reshape(300, -1).mean(axis=0)
    num, total = basis.shape[1], np.sum(flat**2)
    held = [np.sum((flat @ basis[:, :kept]) ** 2) / total for kept in (num - 1, num)]
    assert held[0] < 0.99 <= held[1]
    assert measures.variance_basis(dataset) is basis  # kept


def test_a_block_of_directions_finds_what_all_of_them_find(monkeypatch):
    """Where there are too many to compute all; on images whose spectrum falls."""
    rng = np.random.default_rng(1)
    flat = (rng.normal(size=(1500, 40)) @ rng.normal(size=(40, 1200))).astype(np.float32)
    flat *= np.geomspace(1, 0.05, 1200).astype(np.float32)
    energy = 0.99 * float(np.sum(flat.astype(np.float64) ** 2))
    block = measures._leading(flat, energy)
    monkeypatch.setattr(measures, "_DENSE", 2000)
    whole = measures._leading(flat, energy)
    assert block.shape == whole.shape
    np.testing.assert_allclose(np.linalg.svd(block.T @ whole)[1], 1, atol=1e-3)


def test_white_noise_has_the_share_of_the_directions():
    """Energy of white noise lies outside in proportion to the number of directions there."""
    dataset = data.load("digits")
    basis = measures.variance_basis(dataset)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(4000, 8, 8, 1)), jnp.float32)
    expected = 1 - basis.shape[1] / 64
    assert float(measures.white_share(noise, basis).mean()) == pytest.approx(expected, abs=0.01)

"""The end of the course of linear networks: reached by long training, or proved not to be there."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import data, schema, spectral, theory
from freqbias.study import limits, networks
from freqbias.study.setting import Asked, Budget, Setting


@pytest.fixture(scope="module")
def noisy():
    """Labels that images say little of, and a pixel that never varies: nothing separates them."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(1000, 6, 6, 1)).astype(np.float32)
    images[:, 0, 0] = 0.5
    labels = (images[:, 2, 3, 0] + 2 * rng.uniform(size=1000) > 1.5).astype(np.int32)
    return data.from_arrays(images, labels, images[:8], labels[:8], name="noisy")


BUDGET = Budget(
    seeds=(0, 1), num_images=1000, epochs=40, batch_size=500, learning_rate=0.05, num_attacked=8,
    num_steps=2, rate_halvings=0, num_tested=8,
)  # fmt: skip


def test_networks_come_nearer_to_the_end(noisy):
    setting = Setting("noisy", "linear", "fc", 1)
    asked = Asked(checkpoints=2, limit=True)
    rows, _ = networks.run_setting(setting, noisy, BUDGET, asked)
    course = [row for row in rows if row["seed"] == 0]
    distances = [row["limit_distance"] for row in course]
    assert np.all(np.diff(distances) < 0)
    assert distances[-1] < 0.25
    end = limits.limit_of(noisy)
    classes = jnp.asarray(np.moveaxis(end.weights, -1, 0), jnp.float32)
    for row in course:
        assert row["limit_separable"] == 0
        assert row["limit_gradient_norm"] == pytest.approx(end.gradient_norm)
        assert row["limit_mean_frequency"] == pytest.approx(
            float(spectral.mean_frequency(classes).mean()), rel=1e-5
        )


def test_the_distance_of_the_end_is_zero_whatever_lies_outside_the_data(noisy):
    end = limits.limit_of(noisy)
    elsewhere = np.zeros_like(end.weights)
    flat = np.asarray(noisy.train.images, float).reshape(1000, -1)
    still = np.flatnonzero(np.ptp(flat, axis=0) == 0)
    elsewhere.reshape(36, -1)[still] = 5.0
    weights = np.stack([end.weights, end.weights + elsewhere + 3.0, 0 * end.weights])
    found = limits.columns(end, noisy, weights)["limit_distance"]
    assert len(still) == 1
    np.testing.assert_allclose(found, [0, 0, 1], atol=1e-7)


def test_what_is_separable_has_no_end():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(20, 6, 6, 1)).astype(np.float32)
    few = data.from_arrays(images, np.arange(20) % 2, images, np.arange(20) % 2, name="few")
    found = limits.columns(limits.limit_of(few), few, np.zeros((2, 6, 6, 1, 2)))
    assert found["limit_separable"].tolist() == [1, 1]
    for name in schema.LIMIT[1:]:
        assert np.isnan(found[name]).all()


@pytest.mark.parametrize(
    ("regime", "limit", "num_images"),
    [("relu", True, 1000), ("linear", False, 1000), ("linear", True, 500)],
)
def test_of_others_nothing_is_told(noisy, regime, limit, num_images, monkeypatch):
    monkeypatch.setattr(theory, "maximum_likelihood", None)
    budget = dataclasses.replace(BUDGET, num_images=num_images, epochs=1)
    rows, _ = networks.run_setting(
        Setting("noisy", regime, "fc", 1), noisy, budget, Asked(limit=limit)
    )
    assert all(row[name] is None or np.isnan(row[name]) for row in rows for name in schema.LIMIT)

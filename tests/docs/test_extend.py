"""The page on how to add one runs as printed, and what it adds does what it says."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import freqbias as fb

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extend.md"


@pytest.fixture(scope="module")
def added():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def network():
    return fb.attacks.example()


def test_what_the_table_points_to_is_there():
    table = PAGE.read_text().partition("## A norm")[0]
    for path in re.findall(r"`((?:freqbias|tests)/[\w./]+)`", table):
        assert (ROOT / path).exists(), path
    assert (ROOT / "freqbias" / "data" / "mapping.py").exists()


def test_the_norm_keeps_pixels_of_small_width(added, network, key):
    found = added.uneven(*network, key)
    left, right = jnp.abs(found.delta[:, :, :4]), jnp.abs(found.delta[:, :, 4:])
    assert float(left.max()) <= 0.02 + 1e-6 < 0.1 < float(right.max()) <= 0.2 + 1e-6
    assert bool((found.distance <= 0.2 * (1 + 1e-5)).all())


def test_the_smoothed_attack_finds_low_frequencies(added, network, key):
    plain = fb.attacks.pgd(fb.attacks.L2(), epsilon=0.5, num_steps=10)(*network, key)
    found = added.smoothed(*network, key)
    low, usual = (fb.spectral.mean_frequency(one.delta).mean() for one in (found, plain))
    assert float(low) < 0.7 * float(usual)
    assert bool((found.distance <= 0.5 * (1 + 1e-5)).all())
    apply_fn, params, images, labels = network
    clean, moved = (
        fb.attacks.margin(apply_fn(params, x), labels) for x in (images, images + found.delta)
    )
    assert bool((moved > clean).all())  # it goes uphill


@pytest.mark.parametrize("driver", ["scan", "host"])
def test_the_attack_by_corners_raises_the_margin_and_more_queries_more(added, network, key, driver):
    apply_fn, params, images, labels = network
    gained = [jnp.min(fb.attacks.margin(apply_fn(params, images), labels))]
    for num_queries in (1, 50):
        attack = added.Corners(epsilon=0.2, num_queries=num_queries, driver=driver)
        found = attack(*network, key)
        assert bool((found.distance <= 0.2 + 1e-6).all())
        perturbed = images + found.delta
        assert float(perturbed.min()) >= 0
        assert float(perturbed.max()) <= 1
        gained.append(jnp.mean(fb.attacks.margin(apply_fn(params, perturbed), labels)))
        assert int(found.gradient_evaluations.sum()) == 0
    assert float(gained[1]) < float(gained[2])


def test_the_statistic_and_its_null(added):
    wave = np.cos(2 * np.pi * np.arange(8) * 2 / 8) * np.ones((8, 1))
    for image, share in ((wave, 1), (wave.T, 0)):
        power = fb.spectral.normalized_power(jnp.asarray(image, jnp.float32)[..., None])
        np.testing.assert_allclose(added.horizontal_share(power), share, atol=1e-6)
    fy, fx = np.abs(fb.spectral.frequency_grid((8, 8)))
    expected = (fx > fy).sum() / 63  # of white noise, each frequency counts alike
    assert float(added.null.mean) == pytest.approx(expected, abs=0.03)


def test_the_measurement_gives_a_column_per_network(added):
    delta = jax.random.normal(jax.random.key(0), (3, 5, 8, 8, 1))
    of = SimpleNamespace(found=SimpleNamespace(delta=delta))
    (column,) = fb.study.measures.columns([added.measurement], of).values()
    power = fb.spectral.normalized_power(delta)
    np.testing.assert_allclose(column, added.horizontal_share(power).mean(1), rtol=1e-5)
    assert added.measurements[-1] is added.measurement


def test_the_data_set_is_one(added):
    assert added.data.image_shape == (8, 8, 1)
    assert added.data.num_classes == 2
    stripes = added.data.train.images[added.data.train.labels == 1]
    assert float(stripes[:, :, ::2].mean() - stripes[:, :, 1::2].mean()) > 0.1

"""Families of networks compared: over what the interval is, and what the sentence says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import freqbias as fb
from freqbias import analysis, attacks, inference
from freqbias.ensemble import stack

SHAPE = (6, 5, 2)
STEP = {"FGSM": attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)}
IMAGES = np.asarray(jax.random.uniform(jax.random.key(9), (16, *SHAPE)))
LABELS = np.arange(16) % 2


def network(params, images):
    """Two classes told apart by the images' own label, whatever the weights: never wrong."""
    first, second = params
    values = jnp.tanh(images.reshape(len(images), -1) @ first) @ second
    return 0.01 * jnp.stack([-values, values], -1) + own(images)


def own(images):
    """1 for the label; no gradient."""
    near = jnp.abs(jax.lax.stop_gradient(images)[:, None] - IMAGES[None]).sum((2, 3, 4)).argmin(1)
    return jax.nn.one_hot(jnp.asarray(LABELS)[near], 2)


def params(seed, *, waves):
    """Weights of plane waves along the columns: their gradient lives where these do."""
    rng = np.random.default_rng(seed)
    along = np.cos(2 * np.pi * np.outer(waves, np.arange(6)) + rng.uniform(0, 6, (len(waves), 1)))
    first = np.broadcast_to(along[:, :, None, None], (len(waves), *SHAPE)).reshape(len(waves), -1)
    return jnp.asarray(first.T / 8, jnp.float32), jnp.asarray(rng.uniform(0.5, 1, len(waves)))


LOW, HIGH = (1 / 6, 1 / 6), (1 / 2, 1 / 2)
MIXED = (1 / 6, 1 / 2)


def quiet(networks, **options):
    options = {"attacks": STEP, "key": jax.random.key(0), "progress": False} | options
    return fb.analyze(networks, images=IMAGES, labels=LABELS, **options)


@pytest.fixture(scope="module")
def four():
    waves = {"low0": (1 / 6, 1 / 2), "low1": (1 / 6, 1 / 3), "high0": (1 / 3, 1 / 2),
             "high1": (1 / 2, 1 / 2)}  # fmt: skip
    made = {name: (network, params(0, waves=given)) for name, given in waves.items()}
    return quiet(made, families={name: name[:-1] for name in made})


def test_of_several_networks_each_there_is_an_interval_over_networks_too(four):
    row = four.by_family().set_index(["attack", "over"]).loc["FGSM", "networks"]
    assert (row["first"], row["second"], row.num_networks) == ("low", "high", 4)
    means = [
        four.measured.found[f"{kind}{seed}"]["FGSM"].statistics["mean_frequency"].mean()
        for kind in ("low", "high")
        for seed in (0, 1)
    ]
    expected = scipy.stats.ttest_ind(means[:2], means[2:], equal_var=False).confidence_interval()
    np.testing.assert_allclose([row.low, row.high], [expected.low, expected.high], rtol=1e-4)
    paired = four.by_family().set_index(["attack", "over"]).loc["FGSM", "images"]
    assert paired.estimate == pytest.approx(row.estimate, rel=1e-6)
    assert row.low < paired.low < paired.high < row.high
    said = four.verdict()
    assert said.startswith("high is attacked in higher frequencies than low (at least FGSM: +0.")
    assert "Of other networks of these families: whether low or high" in said
    assert said.endswith("(intervals of 95 % over 4 networks of each two families).")
    own = float(fb.spectral.mean_frequency(IMAGES).mean())
    assert row.relative_low == pytest.approx(row.low / own, rel=1e-4)
    assert list(four.table()["family"].unique()) == ["", "low", "high"]


def test_of_one_network_each_it_is_over_images_and_the_sentence_says_which_is_above():
    found = quiet({"smooth": (network, params(0, waves=LOW)),
                   "mixed": (network, params(1, waves=MIXED)),
                   "rough": (network, params(2, waves=HIGH))})  # fmt: skip
    table = found.by_family()
    assert set(table["over"]) == {"images"}
    apart = (
        found.measured.found["smooth"]["FGSM"].statistics["mean_frequency"]
        - found.measured.found["mixed"]["FGSM"].statistics["mean_frequency"]
    )[0]
    expected = inference.mean_interval(apart, over="images", confidence=1 - 0.05 / 3)
    row = table[(table["attack"] == "FGSM") & (table["second"] == "mixed")].iloc[0]
    np.testing.assert_allclose([row.low, row.high], [expected.low, expected.high], rtol=1e-4)
    said = found.verdict()
    assert "mixed is attacked in higher frequencies than smooth (at least FGSM: +0." in said
    assert "rough is attacked in higher frequencies than smooth" in said
    assert "(intervals of 98.3 %, 95 % for all 3 pairs at once, over 16 images, of these" in said
    assert "Of other networks" not in said
    assert said in found.page().replace("&#39;", "'")


def test_what_attacks_do_not_agree_on_is_not_decided():
    twins = {name: (network, params(0, waves=MIXED)) for name in ("one", "other")}
    said = quiet(twins).verdict()
    assert said.startswith("Whether one or other is attacked in higher frequencies is not decided")
    assert "FGSM: +0.000 [+0.000, +0.000] cycles/pixel" in said
    pair = {"one": (network, params(0, waves=LOW)), "other": (network, params(1, waves=MIXED))}
    found = quiet(pair, attacks={"A": STEP["FGSM"], "B": STEP["FGSM"]})
    assert found.verdict().startswith("other is attacked in higher frequencies than one")
    of = found.measured.found
    crossed = {name: of[name] | {"B": of[twin]["B"]}
               for name, twin in (("one", "other"), ("other", "one"))}  # fmt: skip
    measured = dataclasses.replace(found.measured, found=crossed)
    said = dataclasses.replace(found, measured=measured).verdict()
    assert "is not decided (A: -0." in said
    assert "; B: +0." in said


def test_seeds_of_an_ensemble_count_as_networks():
    many = stack([params(seed, waves=MIXED) for seed in range(3)])
    nets = fb.Ensemble(many, jnp.zeros(3, jnp.int32), None, (0, 1, 2), network)
    others = stack([params(seed, waves=HIGH) for seed in range(3)])
    rest = fb.Ensemble(others, jnp.zeros(3, jnp.int32), None, (0, 1, 2), network)
    rows = quiet({"nets": nets, "rest": rest}).by_family().set_index(["attack", "over"])
    assert rows.loc["FGSM", "networks"].num_networks == 6


def test_images_of_which_a_network_is_wrong_do_not_count(four):
    labels = np.where(np.arange(16) < 15, 1 - LABELS, LABELS)  # one alone is right
    pair = {"a": (network, params(0, waves=LOW)), "b": (network, params(1, waves=HIGH))}
    found = fb.analyze(pair, images=IMAGES, labels=labels, attacks=STEP, key=jax.random.key(0),
                       progress=False)  # fmt: skip
    row = found.by_family().iloc[0]
    assert row.num_images == 1
    assert np.isnan(row.low)
    assert "not decided (FGSM: nothing to compare)" in found.verdict()


def test_the_overview_has_the_numbers_of_the_table(four):
    row = four.overview().set_index(["network", "attack"]).loc["low0", "FGSM"]
    table = four.table()
    table = table[(table["network"] == "low0") & (table["attack"] == "FGSM")]
    table = table[(table["statistic"] == "mean_frequency") & (table["perturbations"] == "all")]
    assert float(row.frequency) == pytest.approx(table["estimate"].item(), abs=5e-4)
    assert float(row.relative) == pytest.approx(table["relative"].item(), abs=5e-3)
    assert row["flipped of correct"].endswith(" of 16")


def test_families_must_be_those_of_the_networks(four):
    with pytest.raises(ValueError, match="families must name that of each network"):
        quiet({"a": (network, params(0, waves=LOW))}, families={"b": "B"})
    with pytest.raises(ValueError, match="a verdict needs two families"):
        quiet({"a": (network, params(0, waves=LOW))}).verdict()
    assert analysis.Analysis.by_family.__doc__

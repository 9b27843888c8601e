"""The range of an effect over sources, values that share seeds, associations within arms."""

import numpy as np
import pytest
from scipy import stats

from freqbias import inference
from freqbias.inference import Estimate


def sigma(rate, num):
    return np.sqrt(rate * (1 - rate) / num)


def point(effect, error, df=14.0):
    return Estimate(effect, error, df, effect, effect, 0.95, 16)


def effects_of(rng, truth, sds, num_seeds=8):
    return [
        inference.difference_interval(
            t + sd * rng.normal(size=num_seeds), rng.normal(size=num_seeds)
        )
        for t, sd in zip(truth, sds, strict=True)
    ]


def test_two_limits_by_hand():
    found = inference.effect_range([point(0.0, 3.0), point(10.0, 4.0), point(5.0, 0.0)], 1.0)
    df = 25**2 / (81 / 14 + 256 / 14)
    assert found.range == 10.0
    assert found.high == pytest.approx(10 + 5 * stats.t.isf(0.025, df))
    assert found.low == max(0.0, 10 - 5 * stats.t.isf(0.025 / 6, df))
    assert (found.lowest, found.highest) == (0, 1)


@pytest.mark.parametrize(
    "effects, error, word",
    [
        ([0.030, 0.032, 0.028], 0.001, "supported"),
        ([0.030, 0.0385, 0.0385], 0.0001, "supported"),
        ([0.030, 0.042, 0.036], 0.0001, "opposite"),  # 0.006 from the mean, 0.012 apart
        ([*[0.0] * 10, 0.015], 0.001, "inconclusive"),
        ([0.030, 0.040, 0.020], 0.020, "inconclusive"),
        ([0.030, 0.090], 0.001, "not decided"),
    ],
)
def test_verdicts_read_the_range(effects, error, word):
    found = inference.effect_range([point(e, error) for e in effects], 0.01)
    assert found.verdict == word


@pytest.mark.parametrize("sds", [[1.0] * 5, [0.2, 0.5, 1.0, 2.0, 4.0]])
@pytest.mark.parametrize("truth", [[0.0] * 5, [0.0, 1.0, 1.0, 2.0, 3.0]])
def test_the_range_is_covered(rng, truth, sds):
    num, missed = 300, 0
    for _ in range(num):
        found = inference.effect_range(effects_of(rng, truth, sds), 1.0)
        missed += not found.low <= np.ptp(truth) <= found.high
    assert missed / num <= 0.05 + 3 * sigma(0.05, num)


@pytest.mark.parametrize("truth", [[0.0, 0.5, 1.0], [0.0, 0.0, 1.0]])
def test_a_range_on_the_margin_is_rarely_judged(rng, truth):
    num = 400
    words = [
        inference.effect_range(effects_of(rng, truth, [1.0] * 3, 30), 1.0).verdict
        for _ in range(num)
    ]
    assert np.mean([w != "inconclusive" for w in words]) <= 0.05 + 3 * sigma(0.05, num)


def cosines(rng, num_seeds, concentration=1.0, size=20):
    vectors = rng.normal(size=(num_seeds, size))
    vectors[:, 0] += concentration * np.sqrt(size)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def test_the_jackknife_covers_where_plain_differences_do_not(rng):
    large = cosines(rng, 3000)
    truth = 1 - (large.sum() - 3000) / (3000 * 2999)
    num, plain, jackknife = 800, 0, 0
    for _ in range(num):
        c = cosines(rng, 8)
        differences = np.diagonal(c) - (c.sum(axis=1) - np.diagonal(c)) / 7
        values = inference.own_minus_others(c)
        assert values.mean() == pytest.approx(differences.mean())
        for_plain = inference.mean_interval(differences)
        found = inference.mean_interval(values)
        plain += for_plain.low <= truth <= for_plain.high
        jackknife += found.low <= truth <= found.high
    assert plain / num < 0.85
    assert 0.95 - 4 * sigma(0.95, num) < jackknife / num < 0.99


def test_jackknife_values_are_those_of_leaving_out(rng):
    c = rng.normal(size=(5, 5))

    def theta(m):
        n = len(m)
        return np.trace(m) / n - (m.sum() - np.trace(m)) / (n * (n - 1))

    left = [theta(np.delete(np.delete(c, s, 0), s, 1)) for s in range(5)]
    np.testing.assert_allclose(inference.own_minus_others(c), 5 * theta(c) - 4 * np.array(left))


def test_each_centred_arm_costs_a_degree_of_freedom(rng):
    """Eight arms of three without association: their means taken off, then ranked together."""
    num, missed, before = 1500, 0, 0
    for _ in range(num):
        x, y = (a - a.mean(axis=1, keepdims=True) for a in rng.normal(size=(2, 8, 3)))
        found = inference.rank_association(x.ravel(), y.ravel(), num_arms=8)
        free = inference.rank_association(x.ravel(), y.ravel())
        missed += not found.low <= 0 <= found.high
        before += not free.low <= 0 <= free.high
    assert missed / num <= 0.05 + 3 * sigma(0.05, num)
    assert before / num > 0.05 + 3 * sigma(0.05, num)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: inference.effect_range([point(0, 1)], 0.1), "at least 2 sources; got 1"),
        (lambda: inference.effect_range([point(0, 1)] * 3, 0.0), "margin must be positive"),
        (lambda: inference.own_minus_others(np.eye(2)), "S >= 3"),
        (lambda: inference.own_minus_others(np.full((3, 3), np.nan)), "values must be finite"),
        (lambda: inference.rank_association(range(4), range(4), num_arms=2), "one length >= 5"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def rng():
    """The generator of a test."""
    return np.random.default_rng(0)

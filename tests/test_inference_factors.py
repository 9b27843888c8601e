"""Variance over networks, shared out: textbook sums of squares, sharing alike, honest intervals."""

import numpy as np
import pytest

from freqbias import inference


def crossed(effects_a, effects_b, errors, interaction=0.0):
    """A balanced two-way design: values, factors and settings, one seed per entry of ``errors``."""
    values, factors, settings = [], {"a": [], "b": []}, []
    for i, a in enumerate(effects_a):
        for j, b in enumerate(effects_b):
            for error in errors:
                values.append(a + b + interaction * (-1) ** (i + j) + error)
                factors["a"].append(f"a{i}")
                factors["b"].append(j)
                settings.append((i, j))
    return np.array(values), factors, settings


def test_a_balanced_design_gives_the_omega_squared_of_the_textbook():
    a, b, errors = np.array([0.0, 1.0]), np.array([0.0, 2.0, 4.0]), np.array([-0.5, 0.0, 0.5])
    values, factors, settings = crossed(a, b, errors, interaction=0.25)
    shares = inference.variance_shares(values, factors, settings)
    cells, n = 6, 3
    mean_square = cells * np.sum(errors**2) / (cells * (n - 1))
    # Level means over a balanced design; the interaction's pattern averages to +-1/12 over j.
    table = values.reshape(2, 3, 3).mean(axis=2)
    ss_a = 3 * n * np.sum((table.mean(1) - table.mean()) ** 2)
    ss_b = 2 * n * np.sum((table.mean(0) - table.mean()) ** 2)
    ss_i = n * np.sum((table - table.mean()) ** 2) - ss_a - ss_b
    total = np.sum((values - values.mean()) ** 2) + mean_square
    expected = [
        ss_a - mean_square,
        ss_b - 2 * mean_square,
        ss_i - 2 * mean_square,
        18 * mean_square,
    ]
    assert [share.name for share in shares] == ["a", "b", "interactions", "seeds"]
    np.testing.assert_allclose([s.share for s in shares], np.array(expected) / total, rtol=1e-10)
    np.testing.assert_allclose([s.degrees_of_freedom for s in shares], [1, 2, 2, 12])
    assert shares[1].spread == pytest.approx(4.0)
    assert (shares[1].lowest, shares[1].highest) == (0, 2)
    assert np.isnan(shares[-1].spread)


def test_one_factor_at_a_time_gives_each_its_own_effect_however_often_it_was_run():
    """Three settings: a reference, one that differs in a (run more often), one in b."""
    runs = {("0", "0"): (0.0, 2), ("1", "0"): (3.0, 8), ("0", "1"): (-4.0, 4)}
    values, settings = [], []
    for setting, (mean, n) in runs.items():
        values += [mean - 0.1, mean + 0.1] * (n // 2)
        settings += [setting] * n
    factors = {"a": [a for a, _ in settings], "b": [b for _, b in settings]}
    a, b, interactions, seeds = inference.variance_shares(values, factors, settings)
    mean_square = 14 * 0.1**2 / 11
    variances = np.array([
        3**2 / 4 - mean_square * (1 / 2 + 1 / 8) / 4,  # two levels: a quarter of the difference^2
        4**2 / 4 - mean_square * (1 / 2 + 1 / 4) / 4,
        0,
        mean_square,
    ])  # fmt: skip
    found = [part.share for part in (a, b, interactions, seeds)]
    np.testing.assert_allclose(found, variances / variances.sum(), atol=1e-12)
    assert (a.spread, a.lowest, a.highest) == (pytest.approx(3), "0", "1")
    assert (b.spread, b.lowest, b.highest) == (pytest.approx(4), "1", "0")


def test_factors_that_vary_together_are_named_not_guessed():
    values, factors, settings = crossed([0, 1, 3], [0, 1], [0.0, 0.1])
    factors["twin of a"] = [level + "!" for level in factors["a"]]
    assert inference.confounded(factors, settings) == ("a", "twin of a")
    with pytest.raises(ValueError, match=r"vary apart .* \('a', 'twin of a'\) do not"):
        inference.variance_shares(values, factors, settings)
    del factors["twin of a"]
    assert inference.confounded(factors, settings) == ()


def test_where_a_factor_does_not_apply_its_level_says_nothing():
    """Kernel size in conv nets, none in FC: the family's effect is not the kernel's."""
    errors = np.array([-0.01, 0.01])
    effects = {("fc", None): 0.0, ("conv", 3): 5.0, ("conv", 7): 5.0}
    values = np.concatenate([effect + errors for effect in effects.values()])
    settings = [key for key in effects for _ in errors]
    factors = {"family": [f for f, _ in settings], "kernel": [k for _, k in settings]}
    family, kernel, *_ = parts = inference.variance_shares(values, factors, settings)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert kernel.share == pytest.approx(0, abs=1e-4)
    assert family.spread == pytest.approx(5)
    assert family.share > 0.999


def test_shares_are_unbiased_and_intervals_cover_them():
    rng = np.random.default_rng(1)
    a, b, sigma, n = np.array([0.0, 1.0, 2.0]), np.zeros(4), 1.0, 6
    truth = np.array([a.var(), 0.0, 0.0, sigma**2]) / (a.var() + sigma**2)
    _, factors, settings = crossed(a, b, np.zeros(n))
    means = np.repeat(a, b.size * n)
    found = [
        inference.variance_shares(
            means + sigma * rng.normal(size=means.size), factors, settings,
            num_resamples=199, seed=k, confidence=0.9,
        )
        for k in range(200)
    ]  # fmt: skip
    table = np.array([[share[1:4] for share in shares] for shares in found])
    assert table[..., 0].mean(axis=0) == pytest.approx(truth, abs=0.02)
    covered = (table[..., 1] <= truth) & (truth <= table[..., 2])
    assert np.all(covered.mean(axis=0) > 0.83)  # of 0.90, less 3 standard errors of 200 draws
    values = means + rng.normal(size=means.size)
    one, two = (inference.variance_shares(values, factors, settings) for _ in range(2))
    assert one[0] == two[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": {}}, "at least one factor; got none"),
        ({"factors": {"a": ["x"] * 4}}, r"factors\['a'\] must have at least two levels"),
        ({"factors": {"a": ["x", "y", "y", "y"]}}, "one level for each of settings"),
        ({"factors": {"a": ["x", "y"]}}, "one level per value; got 2"),
        ({"settings": [0, 1]}, r"one per value \(4\); got 2"),
        ({"settings": range(4)}, "at least one setting with 2 seeds"),
        ({"values": [1.0, 2.0, 3.0, np.nan]}, "values must be finite"),
        ({"values": [0.3] * 4}, "values must vary"),
    ],
)
def test_designs_that_cannot_be_shared_out_are_refused(change, message):
    good = {
        "values": [1.0, 2.0, 3.0, 5.0],
        "factors": {"a": ["x", "x", "y", "y"]},
        "settings": [0, 0, 1, 1],
    }
    assert len(inference.variance_shares(**good)) == 3
    with pytest.raises(ValueError, match=message):
        inference.variance_shares(**(good | change))

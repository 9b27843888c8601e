"""Intervals cover, verdicts are rarely false, and both agree with closed forms and with SciPy.

Simulated rates are compared with their bound plus k sigma of their own sampling error.
"""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from freqbias import inference
from freqbias.inference import Estimate, Fitness, Verdict

ALPHA = 0.05
LEVEL = 0.025


def sigma(rate, num):
    """Standard error of a simulated rate."""
    return np.sqrt(rate * (1 - rate) / num)


def point(effect, standard_error=0.0, df=14.0):
    """An estimate with a given effect and spread, on the identity scale."""
    half = stats.t.isf(LEVEL, df) * standard_error
    return Estimate(effect, standard_error, df, effect - half, effect + half, 0.95, 16)


# --- Intervals: closed forms and peers ------------------------------------------------------------


def test_mean_interval_is_scipys_t_interval(rng):
    values = rng.normal(0.2, 0.01, 8)
    out = inference.mean_interval(values, confidence=0.9)
    low, high = stats.t.interval(0.9, 7, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([out.low, out.high], [low, high], rtol=1e-12)
    assert (out.num_seeds, out.degrees_of_freedom, out.population) == (8, 7, "seeds")


def test_mean_interval_takes_the_seed_axis_of_a_jax_array():
    values = jnp.asarray([0.25, 0.5, 0.75], jnp.float32)
    assert inference.mean_interval(values) == inference.mean_interval([0.25, 0.5, 0.75])


@pytest.mark.parametrize("num_a, num_b, ratio", [(8, 8, 1.0), (5, 12, 7.0)])
def test_difference_is_welchs_test(rng, num_a, num_b, ratio):
    a, b = rng.normal(0.3, 1, num_a), rng.normal(0, ratio, num_b)
    out = inference.difference_interval(a, b)
    peer = stats.ttest_ind(a, b, equal_var=False)
    interval = peer.confidence_interval(0.95)
    np.testing.assert_allclose(out.degrees_of_freedom, peer.df, rtol=1e-12)
    np.testing.assert_allclose([out.low, out.high], [interval.low, interval.high], rtol=1e-12)


def test_trend_is_ordinary_least_squares_times_the_range(rng):
    x = [3.0, 7.0, 28.0]
    groups = [rng.normal(level / 100, 0.02, 8) for level in x]
    out = inference.trend_interval(groups, x)
    slope = stats.linregress(x, [group.mean() for group in groups]).slope
    np.testing.assert_allclose(out.estimate, 25 * slope, rtol=1e-12)
    # By hand: the means enter with weights (x_i - mean) / Sxx times the range.
    weights = 25 * (np.array(x) - np.mean(x)) / np.sum((np.array(x) - np.mean(x)) ** 2)
    variance = sum(w**2 * g.var(ddof=1) / 8 for w, g in zip(weights, groups, strict=True))
    np.testing.assert_allclose(out.standard_error, np.sqrt(variance), rtol=1e-12)


def test_trend_of_two_levels_is_their_difference_whatever_the_levels(rng):
    a, b = rng.normal(size=8), rng.normal(size=9)
    trend = inference.trend_interval([a, b], [3, 28])
    np.testing.assert_allclose(trend[:5], inference.difference_interval(b, a)[:5], rtol=1e-12)


def test_factorial_contrasts_recover_planted_main_effects_and_interaction():
    """Exact arms: sharing adds 2, locality adds 3, both together 1 more."""
    noise = np.array([-1.0, 0.0, 1.0])
    arms = [mean + noise for mean in (2 + 3 + 1.0, 3.0, 2.0, 0.0)]
    sharing = inference.contrast_interval(arms, [0.5, -0.5, 0.5, -0.5])
    locality = inference.contrast_interval(arms, [0.5, 0.5, -0.5, -0.5])
    interaction = inference.contrast_interval(arms, [1, -1, -1, 1])
    assert [e.estimate for e in (sharing, locality, interaction)] == [2.5, 3.5, 1.0]
    np.testing.assert_allclose(interaction.standard_error, 2 * sharing.standard_error)
    assert sharing.degrees_of_freedom == pytest.approx(4 * 2)  # equal variances: dofs add


def test_arms_without_variance_give_a_point_and_no_nan(rng):
    flat = inference.difference_interval([1.0] * 4, [0.25] * 3)
    assert (flat.estimate, flat.standard_error, flat.degrees_of_freedom) == (0.75, 0.0, 5.0)
    assert flat.low == flat.high == 0.75
    values = rng.normal(size=6)
    half = inference.difference_interval(values, [0.0] * 9)
    np.testing.assert_allclose(half[:5], inference.mean_interval(values)[:5], rtol=1e-12)


def test_degrees_of_freedom_survive_tiny_units(rng):
    a, b = rng.normal(size=8), rng.normal(size=8)
    tiny = inference.difference_interval(a * 1e-90, b * 1e-90)
    expected = inference.difference_interval(a, b).degrees_of_freedom
    assert tiny.degrees_of_freedom == pytest.approx(expected)


# --- Intervals: coverage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scales, sizes, weights",
    [
        ((1.0,), (8,), (1.0,)),
        ((1.0, 4.0), (8, 8), (1.0, -1.0)),
        ((1.0, 0.2, 3.0, 1.0), (8, 6, 8, 5), (1.0, -1.0, -1.0, 1.0)),
    ],
)
def test_contrasts_cover_at_their_nominal_rate(rng, scales, sizes, weights):
    num = 2000
    groups = [
        scale * rng.normal(size=(num, size)) for scale, size in zip(scales, sizes, strict=True)
    ]
    intervals = [inference.contrast_interval(arms, weights) for arms in zip(*groups, strict=True)]
    coverage = np.mean([e.low <= 0 <= e.high for e in intervals])
    # Satterthwaite's approximation is good to about a percent at these sizes.
    assert abs(coverage - 0.95) < 0.01 + 3 * sigma(0.95, num)


def test_percentile_bootstrap_of_five_seeds_covers_about_84_percent(rng):
    """Why the intervals here are t intervals: all 5^5 resamples, so no noise but the data's."""
    resamples = np.array(list(itertools.product(range(5), repeat=5)))
    counts = (resamples[..., None] == np.arange(5)).mean(axis=1)  # [3125, 5]
    num = 2000
    low, high = np.quantile(rng.normal(size=(num, 5)) @ counts.T, [0.025, 0.975], axis=1)
    coverage = np.mean((low <= 0) & (high >= 0))
    assert coverage == pytest.approx(0.84, abs=0.015 + 3 * sigma(0.84, num))


def crossed_values(rng, num_seeds, image, seed_sd=1.0, residual_sd=1.0):
    """Seed effect + image effect + residual [S, N]."""
    noise = rng.normal(size=(num_seeds, image.size))
    return seed_sd * rng.normal(size=(num_seeds, 1)) + image[None] + residual_sd * noise


def test_crossed_interval_is_the_variance_of_resampling_both_axes(rng):
    """Two routes: the closed form against drawing seeds and images with replacement.

    Resampling has population divisors (S - 1) / S and an extra residual term e^2 / (S N).
    """
    values = crossed_values(rng, 12, rng.normal(size=40))
    drawn = np.empty(20_000)
    for i in range(drawn.size):
        seeds, images = rng.integers(12, size=12), rng.integers(40, size=40)
        drawn[i] = values[np.ix_(seeds, images)].mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    residual = values - rows[:, None] - columns[None] + values.mean()
    expected = rows.var() / 12 + columns.var() / 40 + residual.var() / (12 * 40)
    np.testing.assert_allclose(drawn.var(), expected, rtol=4 * np.sqrt(2 / drawn.size))
    out = inference.crossed_interval([values], [1.0])
    unbiased = rows.var(ddof=1) / 12 + columns.var(ddof=1) / 40
    np.testing.assert_allclose(out.standard_error, np.sqrt(unbiased), rtol=1e-12)
    np.testing.assert_allclose(out.estimate, values.mean(), rtol=1e-12)
    assert out.population == "seeds x images"


def test_crossed_interval_covers_where_the_seed_interval_does_not(rng):
    """When images are drawn anew too, an interval over seeds alone is far too short."""
    num, crossed, seeds_only = 1500, 0, 0
    for _ in range(num):
        values = crossed_values(rng, 8, 3 * rng.normal(size=20), seed_sd=0.5)
        both = inference.crossed_interval([values], [1.0])
        one = inference.mean_interval(values.mean(axis=1))
        crossed += both.low <= 0 <= both.high
        seeds_only += one.low <= 0 <= one.high
    assert abs(crossed / num - 0.95) < 0.015 + 3 * sigma(0.95, num)
    assert seeds_only / num < 0.7


def test_crossed_contrast_cancels_the_images_both_arms_share(rng):
    image = 10 * rng.normal(size=30)
    arms = [crossed_values(rng, 8, image), crossed_values(rng, 8, image)]
    both = inference.crossed_interval(arms, [1.0, -1.0])
    alone = inference.crossed_interval(arms[:1], [1.0])
    assert both.standard_error < 1.0 < alone.standard_error
    assert both.num_seeds == 16


def test_rank_association_is_spearmans_and_covers(rng):
    n, num, correlation = 24, 2000, 0.6
    truth = 6 / np.pi * np.arcsin(correlation / 2)  # Spearman's rho of a binormal pair
    x = rng.normal(size=(num, n))
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=(num, n))
    intervals = [inference.rank_association(*pair) for pair in zip(x, y, strict=True)]
    assert intervals[0].estimate == pytest.approx(stats.spearmanr(x[0], y[0]).statistic)
    coverage = np.mean([e.low <= truth <= e.high for e in intervals])
    assert abs(coverage - 0.95) < 0.015 + 3 * sigma(0.95, num)


def test_rank_association_stays_inside_one_for_a_perfect_order(rng):
    x = np.arange(8.0)
    out = inference.rank_association(x, np.exp(x))
    assert out.estimate == pytest.approx(1 - 6 / 504)
    assert 0 < out.low < out.high < 1
    assert inference.rank_association(x, -x).estimate == -out.estimate


# --- Multiplicity ---------------------------------------------------------------------------------


def test_holm_by_hand():
    """0.01 x 4; 0.02 x 3; 0.03 x 2; 0.04 x 1 raised to 0.06, the largest before it."""
    np.testing.assert_allclose(inference.holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(inference.holm([0.6, 0.7]), [1.0, 1.0])
    assert inference.holm([]).shape == (0,)


@pytest.mark.parametrize(
    "effect, words",
    [
        (0.05, ("supported", "opposite")),
        (-0.05, ("opposite", "supported")),
        (0.002, ("equivalent", "equivalent")),
        (0.012, ("inconclusive", "inconclusive")),
    ],
)
def test_a_family_of_one_reads_the_interval_against_the_margin(effect, words):
    for direction, word in zip(("greater", "less"), words, strict=True):
        (out,) = inference.verdicts([point(effect, 0.003)], 0.01, direction=direction)
        assert out.verdict == word


def test_a_family_of_one_agrees_with_its_interval_everywhere(rng):
    """Two routes to one verdict: p-values, and the 95 % interval."""
    for _ in range(300):
        values = rng.normal(rng.uniform(-0.05, 0.05), 0.02, 6)
        e = inference.mean_interval(values)
        (out,) = inference.verdicts([e], 0.01, direction="greater")
        by_interval = "inconclusive"
        if e.low > 0.01:
            by_interval = "supported"
        elif e.high < -0.01:
            by_interval = "opposite"
        elif e.low > -0.01 and e.high < 0.01:
            by_interval = "equivalent"
        assert out.verdict == by_interval


def test_rank_verdicts_read_correlations_against_the_interval(rng):
    x = rng.normal(size=40)
    e = inference.rank_association(x, x + 0.5 * rng.normal(size=40))
    for margin, word in [(e.low - 1e-6, "supported"), (e.low + 1e-6, "inconclusive")]:
        (out,) = inference.verdicts([e], margin, direction="greater")
        assert out.verdict == word


def test_effects_without_spread_are_decided_by_their_value():
    effects = [0.011, 0.01, 0.0, -0.02]
    words = ["supported", "inconclusive", "equivalent", "opposite"]
    out = inference.verdicts([point(e) for e in effects], 0.01, direction="greater")
    assert [d.verdict for d in out] == words


def test_holm_runs_within_each_family_only():
    """p = 0.02 passes 0.025 alone, and not beside a p of 0.5."""
    borderline = point(stats.t.isf(0.02, 14), 1.0)
    members = [borderline, borderline, point(0.0, 1.0)]
    out = inference.verdicts(members, 0.0, direction="greater", families=["a", "b", "b"])
    assert [d.verdict for d in out] == ["supported", "inconclusive", "inconclusive"]
    np.testing.assert_allclose([d.adjusted_p_value for d in out[:2]], [0.02, 0.04])


def false_verdict_rate(rng, truth, margin, shared_arm, num=800):
    """Share of families with a false verdict; `truth` [M] effects, unit arms of 8 seeds."""
    failures = 0
    for _ in range(num):
        baseline = rng.normal(size=8)
        estimates = [
            inference.difference_interval(
                effect + rng.normal(size=8), baseline if shared_arm else rng.normal(size=8)
            )
            for effect in truth
        ]
        words = inference.verdicts(estimates, margin, direction="greater")
        true_words = np.select(
            [truth > margin, truth < -margin, np.abs(truth) < margin],
            ["supported", "opposite", "equivalent"],
            "none",  # on the margin every definite verdict is false
        )
        failures += any(
            d.verdict not in ("inconclusive", true)
            for d, true in zip(words, true_words, strict=True)
        )
    return failures / num


@pytest.mark.parametrize("shared_arm", [False, True])
@pytest.mark.parametrize(
    "truth, margin",
    [
        ([0.0] * 4, 0.0),
        ([0.0] * 4, 0.5),
        ([0.5] * 4, 0.5),
        ([0.5, -0.5, 0.55, 3.0], 0.5),
    ],
)
def test_familywise_false_verdicts_stay_below_five_percent(rng, truth, margin, shared_arm):
    num = 800
    rate = false_verdict_rate(rng, np.array(truth), margin, shared_arm, num)
    assert rate <= ALPHA + 3 * sigma(ALPHA, num)


def test_without_holm_the_same_family_errs_more(rng):
    """The simulation above can fail: four families of one make about 1 - 0.95^4 = 19 % errors."""
    num = 400
    errors = 0
    for _ in range(num):
        estimates = [
            inference.difference_interval(rng.normal(size=8), rng.normal(size=8)) for _ in range(4)
        ]
        words = inference.verdicts(estimates, 0.0, direction="greater", families=range(4))
        errors += any(d.verdict != "inconclusive" for d in words)
    assert errors / num > ALPHA + 4 * sigma(ALPHA, num)


# --- The final word -------------------------------------------------------------------------------

LIVE = Fitness(num_seeds=8, num_live=8, accuracy=0.8, accuracy_floor=0.5)


@pytest.mark.parametrize(
    "verdict, others, word",
    [
        ("supported", ("supported",), "supported"),
        ("supported", (), "supported"),
        ("supported", ("opposite",), "init-dependent"),
        ("equivalent", ("supported",), "init-dependent"),
        ("supported", ("inconclusive",), "inconclusive"),
        ("inconclusive", ("opposite",), "inconclusive"),
        ("inconclusive", ("inconclusive",), "inconclusive"),
        ("supported", ("supported", "supported"), "supported"),
        ("supported", ("inconclusive", "opposite"), "init-dependent"),
        ("inconclusive", ("supported", "opposite"), "init-dependent"),
        ("supported", ("supported", "inconclusive"), "inconclusive"),
    ],
)
def test_init_scales_must_agree(verdict, others, word):
    assert inference.decide(Verdict(verdict), list(map(Verdict, others)), [LIVE]) == word


@pytest.mark.parametrize(
    "arm, word",
    [
        (LIVE._replace(num_live=6), "not decided"),  # 75 %
        (LIVE._replace(num_live=7), "supported"),
        (LIVE._replace(num_seeds=10, num_live=8), "supported"),  # exactly 80 %
        (LIVE._replace(accuracy=0.49), "not decided"),
        (LIVE._replace(accuracy=float("nan")), "not decided"),
        (LIVE._replace(num_live=0, accuracy=float("nan")), "not decided"),
    ],
)
def test_dead_or_untrained_arms_decide_nothing(arm, word):
    assert inference.decide(Verdict.SUPPORTED, [Verdict.SUPPORTED], [LIVE, arm]) == word


# --- Data sets ------------------------------------------------------------------------------------


def test_heterogeneity_of_two_data_sets_by_hand():
    """e = (0, 2), s = 1: Q = 2, and Q(sd) = 2 / (1 + sd^2) = 1 at sd = 1."""
    out = inference.heterogeneity([point(0.0, 1.0), point(2.0, 1.0)], 0.5)
    assert (out.q, out.degrees_of_freedom) == (pytest.approx(2.0), 1)
    assert out.p_value == pytest.approx(stats.chi2.sf(2, 1))
    assert out.sd == pytest.approx(1.0)
    assert out.sd_low == 0.0
    assert out.sd_high == pytest.approx(np.sqrt(2 / stats.chi2.ppf(LEVEL, 1) - 1))
    first, second = out.deviations
    assert (first.estimate, second.estimate) == (-1.0, 1.0)
    assert first.standard_error == pytest.approx(np.sqrt(0.5))
    assert out.verdict == "inconclusive"


@pytest.mark.parametrize(
    "effects, spread, word",
    [
        ([0.030, 0.032, 0.028], 0.001, "supported"),
        ([0.030, 0.031, 0.090], 0.001, "opposite"),
        ([0.030, 0.040, 0.020], 0.020, "inconclusive"),
    ],
)
def test_independence_of_the_data_set_is_shown_and_not_assumed(effects, spread, word):
    out = inference.heterogeneity([point(e, spread) for e in effects], 0.01)
    assert out.verdict == word


def test_heterogeneity_interval_covers_the_sd_between_data_sets(rng):
    num, sd = 400, 1.0
    covered = 0
    for _ in range(num):
        effects = sd * rng.normal(size=5)
        estimates = [point(e + 0.5 * rng.normal(), 0.5, 1e6) for e in effects]
        out = inference.heterogeneity(estimates, 0.1)
        covered += out.sd_low <= sd <= out.sd_high
    assert abs(covered / num - 0.95) < 3 * sigma(0.95, num)


# --- Power and false positives --------------------------------------------------------------------


def test_detectable_effect_is_found_in_eighty_percent(rng):
    """Equal arms of 8 unit normals: se = 1/2, df = 14."""
    margin, num = 0.5, 2000
    effect = inference.detectable_effect(0.5, 14, margin=margin)
    a, b = effect + rng.normal(size=(num, 8)), rng.normal(size=(num, 8))
    found = [inference.difference_interval(*arms).low > margin for arms in zip(a, b, strict=True)]
    assert abs(np.mean(found) - 0.8) < 0.01 + 3 * sigma(0.8, num)


def test_detectable_effect_limits():
    normal = stats.norm.isf(LEVEL) + stats.norm.ppf(0.8)
    assert inference.detectable_effect(1.0, np.inf) == pytest.approx(normal)
    assert inference.detectable_effect(1.0, 1e6) == pytest.approx(normal, rel=1e-4)
    assert inference.detectable_effect(0.0, 14, margin=0.01) == 0.01


def test_relabelled_arms_rarely_differ(rng):
    a, b = rng.normal(0.2, 0.01, 8), rng.normal(0.2, 0.01, 8)
    rates = [inference.relabelling_rate(a, b, margin, seed=0, num=4000) for margin in (0, 0.01)]
    assert 0.01 < rates[0] <= ALPHA + 0.01 + 3 * sigma(ALPHA, 4000)  # permuted, not normal
    assert rates[1] < 0.01
    assert rates[0] == inference.relabelling_rate(a, b, 0, seed=0, num=4000)


def test_a_planted_shift_is_found_beyond_the_margin_and_not_on_it(rng):
    a, b = rng.normal(0.2, 0.004, 8), rng.normal(0.2, 0.004, 8)
    on_margin, beyond = (
        inference.planted_shift_power(a, b, shift, 0.01, seed=0) for shift in (0.01, 0.02)
    )
    assert on_margin <= LEVEL + 0.01 + 3 * sigma(LEVEL, 1000)
    assert beyond > 0.9


@pytest.mark.parametrize("shift", [0.1, 0.2, 0.35])
def test_the_predicted_power_of_many_seeds_is_the_noncentral_t(shift):
    """With many seeds the spread is known, and Welch's degrees of freedom are the pooled ones."""
    found = inference.predicted_shift_power(1.0, (200, 200), shift, 0.0)
    expected = stats.nct.sf(stats.t.isf(LEVEL, 398), 398, shift / np.sqrt(2 / 200))
    assert found == pytest.approx(expected, abs=3 * sigma(0.5, 20_000))


def test_the_predicted_power_of_few_seeds_is_what_dealing_finds(rng):
    """Mean over normal samples of eight, four in each arm; a noncentral t of 6 says much more."""
    samples = rng.normal(0.2, 0.01, (400, 8))
    found = [
        inference.planted_shift_power(s[:4], s[4:], 0.02, 0.0, seed=0, num=100) for s in samples
    ]
    predicted = [inference.predicted_shift_power(s.std(ddof=1), (4, 4), 0.02, 0.0) for s in samples]
    assert np.mean(found) == pytest.approx(np.mean(predicted), abs=0.015)
    pooled = [
        stats.nct.sf(stats.t.isf(LEVEL, 6), 6, 2**0.5 * 0.02 / s.std(ddof=1)) for s in samples
    ]
    assert np.mean(pooled) > np.mean(predicted) + 0.02


def test_a_shift_on_the_margin_is_predicted_at_the_level():
    assert inference.predicted_shift_power(0.01, (8, 8), 0.01, 0.01) == pytest.approx(
        LEVEL, abs=3 * sigma(LEVEL, 20_000)
    )
    assert inference.predicted_shift_power(0.0, (4, 4), 0.02, 0.01) == 1
    assert inference.predicted_shift_power(0.0, (4, 4), 0.01, 0.01) == 0


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: inference.predicted_shift_power(np.nan, (4, 4), 0.0, 0.0),
            "spread must be a number; got NaN",
        ),
        (
            lambda: inference.predicted_shift_power(1.0, (4, 1), 0.0, 0.0),
            r"num_seeds must be two numbers of at least 2; got \(4, 1\)",
        ),
        (lambda: inference.mean_interval([1.0]), "values must hold at least 2 seeds; got 1"),
        (lambda: inference.mean_interval([[1.0, 2.0]]), "values must hold one number per seed"),
        (lambda: inference.mean_interval([1.0, np.nan]), "values must be finite"),
        (lambda: inference.mean_interval([1.0, 2.0], confidence=95), "confidence must lie in"),
        (lambda: inference.difference_interval([1.0, 2.0], [3.0]), "b must hold at least 2"),
        (lambda: inference.contrast_interval([[1, 2], [3]], [1, -1]), r"groups\[1\] must hold"),
        (lambda: inference.contrast_interval([[1, 2]], [1, -1]), "weights must hold one finite"),
        (lambda: inference.contrast_interval([[1, 2]], [0]), "weights .* not all zero"),
        (lambda: inference.trend_interval([[1, 2], [3, 4]], [3]), "x must hold one finite level"),
        (lambda: inference.trend_interval([[1, 2], [3, 4]], [3, 3]), "x must .* distinct levels"),
        (
            lambda: inference.crossed_interval([np.ones((2, 3)), np.ones((2, 4))], [1, -1]),
            "groups must share one image axis",
        ),
        (lambda: inference.rank_association([1, 2, 3], [1, 2, 3]), "one length >= 4; got 3"),
        (lambda: inference.rank_association([1, 2, 3, 4], [1] * 4), "y must not be constant"),
        (lambda: inference.holm([0.5, 1.5]), "p_values must be a vector"),
        (lambda: inference.verdicts([point(0)], -1.0, direction="greater"), "margins must be"),
        (lambda: inference.verdicts([point(0)], [1, 2], direction="less"), "margins must be one"),
        (lambda: inference.verdicts([point(0)], 1.0, direction="up"), "direction must be one of"),
        (lambda: inference.decide(Verdict.SUPPORTED, (), []), "arms must not be empty"),
        (lambda: inference.decide(Verdict.NOT_DECIDED, (), [LIVE]), "verdict must be one of"),
        (
            lambda: inference.decide(Verdict.SUPPORTED, (), [LIVE._replace(num_live=9)]),
            "num_live <= num_seeds",
        ),
        (lambda: inference.heterogeneity([point(0, 1)], 0.1), "at least 2 data sets; got 1"),
        (lambda: inference.heterogeneity([point(0)] * 2, 0.1), "standard errors > 0"),
        (lambda: inference.heterogeneity([point(0, 1)] * 2, 0.0), "margin must be positive"),
        (lambda: inference.detectable_effect(1.0, 0), "degrees_of_freedom must be positive"),
        (lambda: inference.detectable_effect(-1.0, 5), "standard_error must be"),
        (lambda: inference.detectable_effect(1.0, 5, power=0.2), "power must lie in"),
        (lambda: inference.relabelling_rate([1, 2], [1, 2], 0, seed=0, num=0), "num must be"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_values_that_are_no_numbers_are_type_errors():
    with pytest.raises(TypeError, match="values must be real numbers"):
        inference.mean_interval(["0.1", "0.2"])


@pytest.fixture
def rng():
    """The generator of a test."""
    return np.random.default_rng(0)

"""From numbers per seed to an effect, an interval over seeds and a verdict on a claim.

The unit of replication is the seed: each number that enters here is one trained network's. Means,
differences, trends, main effects and interactions are all contrasts of independent arm means with
Welch-Satterthwaite degrees of freedom (`contrast_interval`). NumPy in float64; takes any array.
"""

import enum
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import optimize, special, stats

from freqbias import _checks

Direction: TypeAlias = Literal["greater", "less"]
"""What a claim says of its effect: above zero (and the margin) or below."""


class Estimate(NamedTuple):
    """An effect with its interval, and what the interval is about."""

    estimate: float
    standard_error: float  # on the scale of `link`
    degrees_of_freedom: float  # infinity: normal reference
    low: float
    high: float
    confidence: float
    num_seeds: int  # networks used, all arms together
    population: str = "seeds"  # what would be drawn anew in a repetition of the study
    link: Literal["identity", "arctanh"] = "identity"  # scale on which the interval is symmetric


class Verdict(enum.StrEnum):
    """What the rows say of a claim."""

    SUPPORTED = "supported"
    OPPOSITE = "opposite"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    INIT_DEPENDENT = "init-dependent"
    NOT_DECIDED = "not decided"


class Decision(NamedTuple):
    """A member's verdict within its family."""

    verdict: Verdict
    p_value: float  # one-sided, of the best supported of the three statements
    adjusted_p_value: float  # by Holm over the family


class Arm(NamedTuple):
    """Whether an arm of a comparison is fit to be compared."""

    num_seeds: int
    num_live: int  # seeds with status ok
    accuracy: float  # mean over the live seeds
    accuracy_floor: float


class Heterogeneity(NamedTuple):
    """How an effect differs between data sets."""

    q: float  # Cochran's Q
    degrees_of_freedom: int
    p_value: float  # of "all effects are equal"
    sd: float  # between-data-set standard deviation (Paule-Mandel)
    sd_low: float
    sd_high: float
    deviations: tuple[Estimate, ...]  # of each data set's effect from the plain mean of all
    verdict: Verdict  # supported: independent of the data set; opposite: depends on it


# --- Intervals ------------------------------------------------------------------------------------


def mean_interval(values: Any, *, confidence: float = 0.95) -> Estimate:
    """Student's t interval for a mean over seeds: mean +- t_{S-1} s / sqrt(S).

    Args:
      values: one number per seed [S], S >= 2, finite.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The mean as an `Estimate`; population: seeds.

    Raises:
      ValueError: fewer than 2 seeds, not a vector, or not finite.
      TypeError: not numbers.

    Example:
      >>> mean_interval([0.20, 0.22, 0.21, 0.23]).estimate
      0.215
    """
    values = _sample("values", values)
    return contrast_interval([values], [1.0], confidence=confidence)


def contrast_interval(
    groups: Sequence[Any], weights: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Interval for a linear contrast of the means of independent arms.

    With mean m_i, variance s_i^2 (divisor S_i - 1) and v_i = w_i^2 s_i^2 / S_i,

        estimate = sum_i w_i m_i,   se^2 = sum_i v_i,   df = se^4 / sum_i v_i^2 / (S_i - 1).

    Arms that do not vary add nothing to se and df; if none varies, se is 0, the interval is a
    point and df = sum_i (S_i - 1).

    Args:
      groups: one vector [S_i] per arm, S_i >= 2, finite.
      weights: one weight per arm, not all zero. Differences and main effects sum to zero.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The contrast as an `Estimate`; population: seeds.

    Raises:
      ValueError: an arm has fewer than 2 seeds, is no vector or not finite, or the weights do not
        fit.

    Example:
      Sharing and locality, arms (conv, locally connected, scattered, scattered unshared):

      >>> sharing = contrast_interval(arms, [0.5, -0.5, 0.5, -0.5])
      >>> locality = contrast_interval(arms, [0.5, 0.5, -0.5, -0.5])
      >>> interaction = contrast_interval(arms, [1, -1, -1, 1])

    Reference:
      Welch, "The generalization of Student's problem", Biometrika 34 (1947); Satterthwaite,
      "An approximate distribution of estimates of variance components", Biometrics 2 (1946).
    """
    samples = [_sample(f"groups[{i}]", group) for i, group in enumerate(groups)]
    weights = _weights(weights, len(samples))
    estimate, standard_error, df = _contrast(samples, weights)
    num_seeds = sum(sample.size for sample in samples)
    return _interval(estimate, standard_error, df, confidence=confidence, num_seeds=num_seeds)


def difference_interval(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    """Welch's interval for mean(a) - mean(b), two independent arms.

    Args:
      a: one number per seed [S_a].
      b: one number per seed [S_b]. Equal seed integers do not pair two architectures.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The difference as an `Estimate`; population: seeds.

    Raises:
      ValueError: an arm has fewer than 2 seeds, is no vector or not finite.
    """
    samples = [_sample("a", a), _sample("b", b)]
    return contrast_interval(samples, [1.0, -1.0], confidence=confidence)


def trend_interval(
    groups: Sequence[Any], x: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Interval for the fitted change of the arm means from the lowest to the highest level.

    Ordinary least squares on the arm means, times the range of the levels, so that the effect and
    its margin keep the unit of the values (cycles per pixel):

        effect = (max x - min x) sum_i (x_i - mean x) m_i / sum_i (x_i - mean x)^2.

    A contrast of the m_i. It reads the linear part only: a curve that rises and falls has none.

    Args:
      groups: one vector [S_i] per level.
      x: the levels (kernel size, depth, or their logarithms), at least two of them distinct.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The fitted change as an `Estimate`; population: seeds.

    Raises:
      ValueError: an arm is too small or not finite, or the levels do not fit.
    """
    levels = np.asarray(x, dtype=np.float64)
    if levels.shape != (len(groups),) or not np.all(np.isfinite(levels)):
        raise ValueError(f"x must hold one finite level per group ({len(groups)}); got {x!r}.")
    if levels.size < 2 or np.ptp(levels) == 0:
        raise ValueError(f"x must hold at least two distinct levels; got {x!r}.")
    centred = levels - levels.mean()
    weights = np.ptp(levels) * centred / np.sum(centred**2)
    return contrast_interval(groups, list(weights), confidence=confidence)


def crossed_interval(
    groups: Sequence[Any], weights: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Interval for a contrast of arms when new seeds *and* new images are drawn.

    All arms see the same images; seeds are independent between arms. With y_i [S_i, N], its means
    over images r_i [S_i], and the contrast per image c [N] = sum_i w_i mean_s y_i,

        estimate = mean c,   se^2 = sum_i w_i^2 var(r_i) / S_i + var(c) / N,

    with Satterthwaite's degrees of freedom over these terms (S_i - 1 and N - 1). This is the
    variance that crossed ("pigeonhole") resampling of seeds and of images gives, in closed form
    and with unbiased divisors, less its product term: nothing is drawn. It counts the seed x image
    residual twice, hence covers too much rather than too little. A t reference replaces the
    percentiles, which cover too little at 8 seeds.

    Args:
      groups: one array [S_i, N] per arm, S_i >= 2, N >= 2, finite, the same images in each.
      weights: one weight per arm; ``[1.0]`` for the mean of one arm.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The contrast as an `Estimate`; population: seeds and images.

    Raises:
      ValueError: shapes or weights do not fit, or a value is not finite.

    Reference:
      Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), section 4.
    """
    samples = [_sample(f"groups[{i}]", group, rank=2) for i, group in enumerate(groups)]
    weights = _weights(weights, len(samples))
    num_images = {sample.shape[1] for sample in samples}
    if len(num_images) > 1 or min(num_images) < 2:
        raise ValueError(
            f"groups must share one image axis of length >= 2; got shapes "
            f"{[sample.shape for sample in samples]}."
        )
    per_seed = [sample.mean(axis=1) for sample in samples]
    per_image = sum(w * sample.mean(axis=0) for w, sample in zip(weights, samples, strict=True))
    # The image term enters as one more independent arm, of weight 1.
    terms = [*per_seed, np.asarray(per_image)]
    _, standard_error, df = _contrast(terms, [*weights, 1.0])
    return _interval(
        np.mean(per_image),
        standard_error,
        df,
        confidence=confidence,
        num_seeds=sum(len(sample) for sample in samples),
        population="seeds and images",
    )


def rank_association(x: Any, y: Any, *, confidence: float = 0.95) -> Estimate:
    """Spearman's rank correlation with a Fisher-z interval.

        rho = Pearson(rank x, rank y),   arctanh rho +- z sqrt((1 + rho^2 / 2) / (n - 3)).

    Spearman because a monotone relation is claimed, of unknown shape; the interval is symmetric
    on the arctanh scale, on which verdicts are also taken (margins stay correlations). |rho| is
    kept half a step of the statistic below 1, at 1 - 6 / (n^3 - n), where arctanh is finite.

    Args:
      x: one number per network [n], n >= 4, not constant. Pairs must be independent.
      y: the other number per network [n].
      confidence: two-sided coverage, in (0, 1).

    Returns:
      rho as an `Estimate` with link arctanh; population: seeds.

    Raises:
      ValueError: lengths differ, n < 4, a value is not finite, or an argument is constant.

    Reference:
      Bonett & Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
      correlations", Psychometrika 65 (2000), equation 3.
    """
    x, y = _sample("x", x), _sample("y", y)
    if x.shape != y.shape or x.size < 4:
        raise ValueError(f"x and y must have one length >= 4; got {x.size} and {y.size}.")
    for name, values in (("x", x), ("y", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} must not be constant; every entry is {values[0]}.")
    n = x.size
    bound = 1 - 6 / (n**3 - n)
    rho = np.clip(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1], -bound, bound)
    standard_error = np.sqrt((1 + rho**2 / 2) / (n - 3))
    return _interval(
        rho, standard_error, np.inf, confidence=confidence, num_seeds=n, link="arctanh"
    )


# --- Multiplicity and verdicts --------------------------------------------------------------------


def holm(p_values: Any) -> np.ndarray:
    """Holm's adjusted p-values: max over j <= i of min(1, (M - j + 1) p_(j)).

    Args:
      p_values: the p-values of one family [M], each in [0, 1].

    Returns:
      Adjusted p-values [M], in the order given; compare them with the family's level.

    Raises:
      ValueError: not a vector of numbers in [0, 1].

    Reference:
      Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p_values must be a vector of numbers in [0, 1]; got {p_values!r}.")
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, np.arange(p.size, 0, -1) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def verdicts(
    estimates: Sequence[Estimate],
    margins: float | Sequence[float],
    *,
    direction: Direction | Sequence[Direction],
    families: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> list[Decision]:
    """Verdicts on the members of families of claims, false in at most 5 % of families.

    Let theta be a member's effect, signed so that the claim is theta > 0. Each of three statements
    has a one-sided p-value from the t reference:

        supported    theta >  margin        opposite    theta < -margin
        equivalent  |theta| < margin        (the larger of its two one-sided p-values)

    The smallest of the three is the member's p and names its candidate. Holm runs over the
    family's p at level a = (1 - confidence) / 2; candidates not reached are inconclusive. In a
    family of one: supported iff the interval lies beyond the margin, equivalent iff inside.

    Why at most 2a (5 %) of families hold a false verdict. *Settled* members, those whose *true*
    statement has p <= a, can get no false verdict; when the first false one falls at rank j the
    j - 1 before it are settled, so it has p <= a / (M - j + 1) <= a / |V|, V the unsettled
    members. A false verdict at level b puts theta outside the 1 - 2b interval, and for t
    statistics P(false at b) <= 2 b P(member in V) for b <= a, so for independent members the sum
    over members is at most 2a E[sum_i 1(i in V) / |V|] <= 2a. (With every |theta| on its margin V
    is everything, and this is Holm's argument under any dependence; members that share an arm and
    lie off the margin are checked by simulation, not proved.)

    Args:
      estimates: one `Estimate` per member.
      margins: smallest effect that matters, >= 0, one for all or one each, in the unit of the
        estimate (correlations for `rank_association`).
      direction: what is claimed, one for all or one each.
      families: a family name per member; None puts all into one family.
      confidence: 1 - 2a; the familywise error of each family is at most 1 - confidence.

    Returns:
      One `Decision` per member, in order.

    Raises:
      ValueError: lengths do not fit, a margin is negative, or a direction is unknown.

    Reference:
      Shaffer, "Control of directional errors with stagewise multiple test procedures", Annals of
      Statistics 8 (1980), for margin 0; Schuirmann (1987) for the two one-sided tests.
    """
    level = _level(confidence)
    num = len(estimates)
    margins = _one_each("margins", margins, num)
    directions = _one_each("direction", direction, num)
    families = [None] * num if families is None else _one_each("families", families, num)

    p_values, candidates = np.empty(num), []
    for i, (estimate, margin, side) in enumerate(zip(estimates, margins, directions, strict=True)):
        evidence = _evidence(estimate, margin, side)
        candidates.append(min(evidence, key=evidence.__getitem__))
        p_values[i] = evidence[candidates[-1]]

    adjusted = np.empty(num)
    for family in set(families):
        members = [i for i, name in enumerate(families) if name == family]
        adjusted[members] = holm(p_values[members])
    return [
        Decision(candidate if q <= level else Verdict.INCONCLUSIVE, float(p), float(q))
        for candidate, p, q in zip(candidates, p_values, adjusted, strict=True)
    ]


def decide(
    verdict: Verdict,
    half_scale_verdict: Verdict | None,
    arms: Sequence[Arm],
    *,
    min_live: float = 0.8,
) -> Verdict:
    """The final word on a claim, from its verdicts at init scale 1 and 1/2 and its arms.

    In this order:

    1. not decided: an arm (at either scale) has fewer than ``min_live`` live seeds, or an accuracy
       below its floor. An arm that does not learn says nothing of what architectures learn.
    2. init-dependent: both verdicts are definite (supported, opposite, equivalent) and differ.
    3. the common verdict, where both agree.
    4. inconclusive: one is definite, the other inconclusive. The claim is then shown neither to
       hold at both scales nor to change between them; more seeds decide.

    Without a second scale (None) the first verdict stands. A definite word is false only where
    the verdict at scale 1 is, so its error rate is that of `verdicts`; "init-dependent" is false
    only where one of the two is, so at most twice that.

    Args:
      verdict: at init scale 1, by `verdicts`.
      half_scale_verdict: at init scale 1/2, or None where that was not run.
      arms: every arm of the comparison, at every scale used.
      min_live: smallest share of live seeds.

    Returns:
      The final verdict.

    Raises:
      ValueError: no arms, an arm without seeds, or a verdict that `verdicts` does not give.
    """
    given = (Verdict.SUPPORTED, Verdict.OPPOSITE, Verdict.EQUIVALENT, Verdict.INCONCLUSIVE)
    _checks.one_of("verdict", verdict, given)
    _checks.one_of("half_scale_verdict", half_scale_verdict, (*given, None))
    if not arms:
        raise ValueError("arms must not be empty.")
    for arm in arms:
        if not 0 <= arm.num_live <= arm.num_seeds or arm.num_seeds < 1:
            raise ValueError(f"arms must have 0 <= num_live <= num_seeds, >= 1 seed; got {arm}.")
        # "not >=" and not "<": the accuracy of an arm without live seeds is NaN.
        if arm.num_live < min_live * arm.num_seeds or not arm.accuracy >= arm.accuracy_floor:
            return Verdict.NOT_DECIDED
    if half_scale_verdict is None or half_scale_verdict == verdict:
        return Verdict(verdict)
    if Verdict.INCONCLUSIVE in (verdict, half_scale_verdict):
        return Verdict.INCONCLUSIVE
    return Verdict.INIT_DEPENDENT


def heterogeneity(
    estimates: Sequence[Estimate], margin: float, *, confidence: float = 0.95
) -> Heterogeneity:
    """Whether an effect depends on the data set (claim C4).

    With effects e_i, standard errors s_i and weights w_i(t) = 1 / (s_i^2 + t^2),

        Q(t) = sum_i w_i (e_i - sum_j w_j e_j / sum_j w_j)^2,

    Cochran's Q is Q(0), the between-data-set sd solves Q(sd) = k - 1, and its interval solves
    Q = chi^2_{k-1} quantiles. The verdict reads the deviations d_i = e_i - mean_j e_j, which are
    contrasts, at one-sided level a = (1 - confidence) / 2:

    * supported ("independent of the data set"): every d_i is shown to lie within the margin;
      all must pass, so no correction is due (intersection-union test) and the error is <= a.
    * opposite ("depends on it"): some d_i is shown to lie beyond the margin, at level a / k
      (Bonferroni), error <= 2a.
    * inconclusive: else.

    The population is the data sets at hand, with new seeds; the sd speaks of data sets like them.

    Args:
      estimates: one independent effect per data set, at least 2, standard errors > 0.
      margin: the largest deviation that still counts as independent, > 0.
      confidence: of every interval.

    Returns:
      A `Heterogeneity`.

    Raises:
      ValueError: fewer than 2 estimates, one without spread or on another scale, or a margin that
        is not positive.

    Reference:
      Cochran (1954); Paule & Mandel (1982); Viechtbauer, "Confidence intervals for the amount of
      heterogeneity in meta-analysis", Statistics in Medicine 26 (2007), for the Q profile.
    """
    level = _level(confidence)
    _checks.positive("margin", margin)
    k = len(estimates)
    if k < 2:
        raise ValueError(f"estimates must hold at least 2 data sets; got {k}.")
    if any(e.link != "identity" or not e.standard_error > 0 for e in estimates):
        raise ValueError(
            "estimates must be on the identity scale with standard errors > 0; got "
            f"{[(e.link, e.standard_error) for e in estimates]}."
        )
    effects = np.array([e.estimate for e in estimates])
    variances = np.array([e.standard_error for e in estimates]) ** 2
    dofs = np.array([e.degrees_of_freedom for e in estimates])

    def q_statistic(sd: float) -> float:
        weights = 1 / (variances + sd**2)
        return float(np.sum(weights * (effects - np.sum(weights * effects) / weights.sum()) ** 2))

    def sd_where(target: float) -> float:
        """Solves Q(sd) = target; 0 where even Q(0), its largest value, is below."""
        if q_statistic(0.0) <= target:
            return 0.0
        # Q(sd) <= sum (e - mean e)^2 / sd^2, which is below the target here:
        upper = np.sqrt(np.sum((effects - effects.mean()) ** 2) / target) * (1 + 1e-9)
        return float(optimize.brentq(lambda sd: q_statistic(sd) - target, 0.0, upper))

    deviations = []
    for i in range(k):
        contrast = np.eye(k)[i] - 1 / k
        standard_error, df = _satterthwaite(contrast**2 * variances, dofs)
        num_seeds = sum(e.num_seeds for e in estimates)
        deviations.append(
            _interval(
                contrast @ effects, standard_error, df, confidence=confidence, num_seeds=num_seeds
            )
        )
    evidence = [_evidence(deviation, margin, "greater") for deviation in deviations]
    beyond = min(min(e[Verdict.SUPPORTED], e[Verdict.OPPOSITE]) for e in evidence)
    if max(e[Verdict.EQUIVALENT] for e in evidence) <= level:
        verdict = Verdict.SUPPORTED
    elif beyond <= level / k:
        verdict = Verdict.OPPOSITE
    else:
        verdict = Verdict.INCONCLUSIVE
    q = q_statistic(0.0)
    low, high = stats.chi2.ppf([1 - level, level], k - 1)
    return Heterogeneity(
        q=q,
        degrees_of_freedom=k - 1,
        p_value=float(stats.chi2.sf(q, k - 1)),
        sd=sd_where(k - 1),
        sd_low=sd_where(low),
        sd_high=sd_where(high),
        deviations=tuple(deviations),
        verdict=verdict,
    )


# --- Power and false positives --------------------------------------------------------------------


def detectable_effect(
    standard_error: float,
    degrees_of_freedom: float,
    *,
    margin: float = 0.0,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float:
    """Smallest true effect whose interval lies beyond the margin with the given power.

    Solves P(T > t_crit) = power for the noncentrality (effect - margin) / se of a noncentral t.

    Args:
      standard_error: of the estimate, taken as the true one, >= 0.
      degrees_of_freedom: > 0, may be infinite.
      margin: the margin to be exceeded.
      confidence: two-sided; for the first step of Holm over M members, 1 - 0.05 / M.
      power: in (0.5, 1).

    Returns:
      The effect, in the unit of the standard error.

    Raises:
      ValueError: an argument is out of range.
    """
    critical = _critical(_level(confidence), degrees_of_freedom)
    if not (np.isfinite(standard_error) and standard_error >= 0):
        raise ValueError(f"standard_error must be finite and >= 0; got {standard_error}.")
    if not 0.5 < power < 1:
        raise ValueError(f"power must lie in (0.5, 1); got {power}.")
    if np.isinf(degrees_of_freedom):
        noncentrality = critical + stats.norm.ppf(power)
    else:
        noncentrality = special.nctdtrinc(degrees_of_freedom, 1 - power, critical)
    return float(margin + standard_error * noncentrality)


def relabelling_rate(
    a: Any, b: Any, margin: float, *, seed: int, num: int = 1000, confidence: float = 0.95
) -> float:
    """False positive rate of the whole rule on two arms that do not differ.

    Pools two arms of one architecture with disjoint seeds, deals them out anew ``num`` times, and
    counts the deals whose Welch interval lies beyond the margin on either side (supported or
    opposite; equivalent is the truth here, and no error).

    Args:
      a: one number per seed [S_a].
      b: one number per seed [S_b], the same architecture.
      margin: >= 0, in the unit of the values.
      seed: of the deals.
      num: number of deals.
      confidence: of the intervals.

    Returns:
      The rate, in [0, 1]; at most 1 - confidence up to its own sqrt(rate / num) noise.

    Raises:
      ValueError: an arm is too small or not finite, or the margin is negative.
    """
    low, high = _relabelled_intervals(a, b, shift=0.0, seed=seed, num=num, confidence=confidence)
    margin = _margin(margin)
    return float(np.mean((low > margin) | (high < -margin)))


def planted_shift_power(
    a: Any,
    b: Any,
    shift: float,
    margin: float,
    *,
    seed: int,
    num: int = 1000,
    confidence: float = 0.95,
) -> float:
    """Rate at which a planted shift is found (supported) between relabelled arms.

    As `relabelling_rate`, with ``shift`` added to the first arm of each deal. A shift equal to the
    margin is on the boundary of "beyond the margin" and must *not* be found (<= 2.5 %): to ask for
    an effect one margin beyond it, plant twice the margin.

    Args:
      a: one number per seed [S_a].
      b: one number per seed [S_b], the same architecture.
      shift: what is planted, in the unit of the values.
      margin: >= 0, what the interval must exceed.
      seed: of the deals.
      num: number of deals.
      confidence: of the intervals.

    Returns:
      The rate of "supported", in [0, 1].

    Raises:
      ValueError: an arm is too small or not finite, or the margin is negative.
    """
    low, _ = _relabelled_intervals(a, b, shift=shift, seed=seed, num=num, confidence=confidence)
    return float(np.mean(low > _margin(margin)))


# --- The one estimator, and what it needs ---------------------------------------------------------


def _contrast(groups: Sequence[np.ndarray], weights: Sequence[float]):
    """Estimate, standard error and df of a contrast of groups [..., S_i]; each [...]."""
    estimate = sum(w * g.mean(axis=-1) for w, g in zip(weights, groups, strict=True))
    variances = [
        w**2 * g.var(axis=-1, ddof=1) / g.shape[-1] for w, g in zip(weights, groups, strict=True)
    ]
    dofs = np.array([g.shape[-1] - 1 for g in groups], dtype=np.float64)
    return estimate, *_satterthwaite(np.stack(variances, axis=-1), dofs)


def _satterthwaite(variances: np.ndarray, dofs: np.ndarray):
    """Standard error and df of a sum of independent terms with variances [..., k], dofs [k]."""
    total = variances.sum(axis=-1)
    # Shares cannot underflow when squared. Without any variance all terms count alike, sum of dofs:
    # shares in proportion to dofs give 1 / sum(share^2 / dof) = sum(dof).
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = variances / total[..., None]
        df = 1 / np.sum(shares**2 / dofs, axis=-1)
    return np.sqrt(total), np.where(total > 0, df, dofs.sum())


def _interval(
    estimate: Any,
    standard_error: Any,
    df: Any,
    *,
    confidence: float,
    num_seeds: int,
    population: str = "seeds",
    link: Literal["identity", "arctanh"] = "identity",
) -> Estimate:
    """The symmetric t interval on the link's scale, mapped back."""
    half = _critical(_level(confidence), df) * standard_error
    centre = _to_link(estimate, link)
    low, high = centre - half, centre + half
    if link == "arctanh":
        low, high = np.tanh(low), np.tanh(high)
    return Estimate(
        estimate=float(estimate),
        standard_error=float(standard_error),
        degrees_of_freedom=float(df),
        low=float(low),
        high=float(high),
        confidence=confidence,
        num_seeds=num_seeds,
        population=population,
        link=link,
    )


def _evidence(estimate: Estimate, margin: float, direction: str) -> dict[Verdict, float]:
    """One-sided p-values of the three statements."""
    _checks.one_of("direction", direction, ("greater", "less"))
    sign = 1.0 if direction == "greater" else -1.0
    bound = _to_link(_margin(margin), estimate.link)
    effect = sign * _to_link(estimate.estimate, estimate.link)

    def p_value(excess: float) -> float:
        """Of "the effect is beyond a bound", which the estimate exceeds by ``excess``."""
        if estimate.standard_error == 0:
            return float(excess <= 0)
        return float(stats.t.sf(excess / estimate.standard_error, estimate.degrees_of_freedom))

    return {
        Verdict.SUPPORTED: p_value(effect - bound),
        Verdict.OPPOSITE: p_value(-bound - effect),
        Verdict.EQUIVALENT: max(p_value(effect + bound), p_value(bound - effect)),
    }


def _relabelled_intervals(a, b, *, shift, seed, num, confidence):
    """Lower and upper limits [num] of Welch intervals between relabelled arms."""
    a, b = _sample("a", a), _sample("b", b)
    _checks.positive_int("num", num)
    pooled = np.tile(np.concatenate([a, b]), (num, 1))
    dealt = np.random.default_rng(seed).permuted(pooled, axis=1)
    arms = [dealt[:, : a.size] + shift, dealt[:, a.size :]]
    estimate, standard_error, df = _contrast(arms, [1.0, -1.0])
    half = _critical(_level(confidence), df) * standard_error
    return estimate - half, estimate + half


def _to_link(value: Any, link: str) -> Any:
    return np.arctanh(value) if link == "arctanh" else value


def _critical(level: float, df: Any) -> Any:
    """The t quantile that is exceeded with probability ``level``."""
    if not np.all(np.asarray(df) > 0):
        raise ValueError(f"degrees_of_freedom must be positive; got {df}.")
    return stats.t.isf(level, df)


def _level(confidence: float) -> float:
    """The one-sided level of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}.")
    return (1 - confidence) / 2


def _margin(margin: float) -> float:
    if not (np.isfinite(margin) and margin >= 0):
        raise ValueError(f"margins must be finite and >= 0; got {margin}.")
    return float(margin)


def _sample(name: str, values: Any, rank: int = 1) -> np.ndarray:
    """``values`` as float64, leading axis seeds, checked."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.")
    _checks.rank(name, array, rank)
    if array.shape[0] < 2:
        raise ValueError(f"{name} must hold at least 2 seeds; got {array.shape[0]}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"{name} must be finite; leave out dead and diverged seeds, and count them."
        )
    return array.astype(np.float64)


def _weights(weights: Sequence[float], num: int) -> list[float]:
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (num,) or not np.all(np.isfinite(array)) or not np.any(array):
        raise ValueError(
            f"weights must hold one finite weight per group ({num}), not all zero; got {weights!r}."
        )
    return array.tolist()


def _one_each(name: str, value: Any, num: int) -> list[Any]:
    """``value`` repeated, or as a list of the right length."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return [value] * num
    if len(value) != num:
        raise ValueError(f"{name} must be one value or one per estimate ({num}); got {len(value)}.")
    return list(value)

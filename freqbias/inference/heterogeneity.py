"""How an effect differs between data sets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.inference.estimates import Estimate, one_sided_level, satterthwaite, t_interval
from freqbias.inference.verdicts import Verdict, evidence_for


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


@checked
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
    level = one_sided_level(confidence)
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
        return float(scipy.optimize.brentq(lambda sd: q_statistic(sd) - target, 0.0, upper))

    deviations = []
    for i in range(k):
        contrast = np.eye(k)[i] - 1 / k
        standard_error, df = satterthwaite(contrast**2 * variances, dofs)
        num_seeds = sum(e.num_seeds for e in estimates)
        deviations.append(
            t_interval(
                contrast @ effects, standard_error, df, confidence=confidence, num_seeds=num_seeds
            )
        )
    evidence = [evidence_for(deviation, margin, "greater") for deviation in deviations]
    beyond = min(min(e[Verdict.SUPPORTED], e[Verdict.OPPOSITE]) for e in evidence)
    if max(e[Verdict.EQUIVALENT] for e in evidence) <= level:
        verdict = Verdict.SUPPORTED
    elif beyond <= level / k:
        verdict = Verdict.OPPOSITE
    else:
        verdict = Verdict.INCONCLUSIVE
    q = q_statistic(0.0)
    low, high = scipy.stats.chi2.ppf([1 - level, level], k - 1)
    return Heterogeneity(
        q=q,
        degrees_of_freedom=k - 1,
        p_value=float(scipy.stats.chi2.sf(q, k - 1)),
        sd=sd_where(k - 1),
        sd_low=sd_where(low),
        sd_high=sd_where(high),
        deviations=tuple(deviations),
        verdict=verdict,
    )

"""Whether an effect is the same on every source of data: its range over sources."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.inference.estimates import (
    Estimate,
    critical_value,
    one_sided_level,
    satterthwaite,
)
from freqbias.inference.verdicts import Verdict

MIN_SOURCES = 3
"""Fewer sources of data decide nothing."""


class EffectRange(NamedTuple):
    """The largest less the smallest effect over sources."""

    range: float  # of the estimates; larger than the true one in the mean
    low: float  # of the true range, >= 0
    high: float
    lowest: int  # which source has the smallest effect
    highest: int
    verdict: Verdict  # supported: alike on all sources; opposite: not


@checked
def effect_range(
    estimates: Sequence[Estimate], margin: float, *, confidence: float = 0.95
) -> EffectRange:
    """How far the effects of independent sources lie apart, max - min (claim C4).

    With d_ij = |e_i - e_j|, standard error s_ij and Welch's degrees of freedom n_ij of each of the
    k (k - 1) / 2 pairs, and a = (1 - confidence) / 2,

        low = max(0, max_ij d_ij - t(a / (k (k - 1)), n_ij) s_ij),
        high = max_ij d_ij + t(a, n_ij) s_ij,

    t(a, n) being exceeded with probability a. Below: Bonferroni over all pairs and signs, so that
    the pair may be chosen by its size. Above: the pair that is truly furthest apart is one of
    those in the maximum, so no correction is due. Each limit errs at rate <= a. Bonferroni, and not
    the studentised range of Games and Howell: where spreads differ the latter errs up to twice as
    often, and its interval is only a few per cent shorter.

    Supported ("alike"): high < margin. Opposite ("depends on the source"): low > margin. Not
    decided: fewer than three sources. Else inconclusive. A range, unlike deviations from the mean,
    does not depend on where the other sources lie.

    Args:
      estimates: one independent effect per source, at least 2, standard errors >= 0.
      margin: the largest range that still counts as alike, > 0.
      confidence: of the interval.

    Returns:
      An `EffectRange`.

    Raises:
      ValueError: fewer than 2 estimates, one on another scale, or a margin that is not positive.

    Example:
      >>> from freqbias.inference import mean_interval
      >>> sources = [[0.20, 0.21, 0.19], [0.30, 0.31, 0.29], [0.25, 0.26, 0.24]]
      >>> found = effect_range([mean_interval(values) for values in sources], margin=0.01)
      >>> str(found.verdict), found.highest
      ('opposite', 1)

    Reference:
      Dunnett, "Pairwise multiple comparisons in the unequal variance case", Journal of the American
      Statistical Association 75 (1980); Berger, "Multiparameter hypothesis testing", Technometrics
      24 (1982), for the upper limit.
    """
    level = one_sided_level(confidence)
    _checks.positive("margin", margin)
    k = len(estimates)
    if k < 2:
        raise ValueError(f"estimates must hold at least 2 sources; got {k}.")
    if any(e.link != "identity" for e in estimates):
        raise ValueError("estimates must be on the identity scale.")
    effects = np.array([e.estimate for e in estimates])
    variances = np.array([e.standard_error for e in estimates]) ** 2
    dofs = np.array([e.degrees_of_freedom for e in estimates])
    low, high = 0.0, 0.0
    for i in range(k):
        for j in range(i):
            pair = [i, j]
            error, df = satterthwaite(variances[pair], dofs[pair])
            apart = abs(effects[i] - effects[j])
            low = max(low, apart - float(critical_value(level / (k * (k - 1)), df)) * error)
            high = max(high, apart + float(critical_value(level, df)) * error)
    if k < MIN_SOURCES:
        verdict = Verdict.NOT_DECIDED
    elif high < margin:
        verdict = Verdict.SUPPORTED
    else:
        verdict = Verdict.OPPOSITE if low > margin else Verdict.INCONCLUSIVE
    return EffectRange(
        range=float(np.ptp(effects)),
        low=float(low),
        high=float(high),
        lowest=int(np.argmin(effects)),
        highest=int(np.argmax(effects)),
        verdict=verdict,
    )

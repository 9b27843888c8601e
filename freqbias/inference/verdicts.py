"""From estimates and margins to words: Holm over families, and what overrules a verdict."""

import enum
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import OR_NAN, check_fields, checked
from freqbias.inference.estimates import Estimate, one_sided_level, to_link
from freqbias.typing import Numbers

Direction: TypeAlias = Literal["greater", "less"]
"""What a claim says of its effect: above zero (and the margin) or below."""


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


class Fitness(NamedTuple):
    """Whether an arm of a comparison is fit to be compared."""

    num_seeds: int
    num_live: int  # seeds with status ok
    accuracy: Annotated[float, OR_NAN]  # mean over the live seeds; NaN if there are none
    accuracy_floor: float


@checked
def holm(p_values: Numbers) -> np.ndarray:
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


@checked
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

    Why at most 2a (5 %) of families hold a false verdict:

    1. Call a member settled if its *true* statement has p <= a. A settled member can get no false
       verdict. Let V be the members that are not settled.
    2. Holm goes through the members in the order of their p. If the first false verdict is at rank
       j, the j - 1 members before it are settled. So its p is at most a / (M - j + 1) <= a / |V|.
    3. A false verdict at level b puts theta outside the 1 - 2b interval. For t statistics and
       b <= a, P(false at b) <= 2 b P(member in V).
    4. So for independent members the sum over members is at most 2a E[sum_i 1(i in V) / |V|] <= 2a.

    If every |theta| lies on its margin, V is everything, and this is Holm's argument, under any
    dependence. For members that share an arm and lie off the margin it is not proved, but checked
    by simulation.

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
    level = one_sided_level(confidence)
    num = len(estimates)
    margins = _one_each("margins", margins, num)
    directions = _one_each("direction", direction, num)
    families = [None] * num if families is None else _one_each("families", families, num)

    p_values, candidates = np.empty(num), []
    for i, (estimate, margin, side) in enumerate(zip(estimates, margins, directions, strict=True)):
        evidence = evidence_for(estimate, margin, side)
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


@checked
def decide(
    verdict: Verdict,
    other_verdicts: Sequence[Verdict],
    arms: Sequence[Fitness],
    *,
    min_live: float = 0.8,
) -> Verdict:
    """The final word on a claim, from its verdicts at each init scale and its arms.

    In this order:

    1. not decided: an arm (at any scale) has fewer than ``min_live`` live seeds, or an accuracy
       below its floor. An arm that does not learn says nothing of what architectures learn.
    2. init-dependent: two verdicts are definite (supported, opposite, equivalent) and differ.
    3. the common verdict, where all agree.
    4. inconclusive: some are definite, others inconclusive. The claim is then shown neither to
       hold at all scales nor to change between them; more seeds decide.

    Without another scale the first verdict stands. A definite word is false only where the verdict
    at scale 1 is, so its error rate is that of `verdicts`; "init-dependent" is false only where
    one of them is, so at most as many times that as there are scales.

    Args:
      verdict: at init scale 1, by `verdicts`.
      other_verdicts: at each of the other scales; may be empty.
      arms: every arm of the comparison, at every scale used.
      min_live: smallest share of live seeds.

    Returns:
      The final verdict.

    Raises:
      ValueError: no arms, an arm without seeds, or a verdict that `verdicts` does not give.
    """
    given = (Verdict.SUPPORTED, Verdict.OPPOSITE, Verdict.EQUIVALENT, Verdict.INCONCLUSIVE)
    _checks.one_of("verdict", verdict, given)
    for other in other_verdicts:
        _checks.one_of("other_verdicts", other, given)
    if not arms:
        raise ValueError("arms must not be empty.")
    for arm in arms:
        check_fields(arm)
        if not 0 <= arm.num_live <= arm.num_seeds or arm.num_seeds < 1:
            raise ValueError(f"arms must have 0 <= num_live <= num_seeds, >= 1 seed; got {arm}.")
        # "not >=" and not "<": the accuracy of an arm without live seeds is NaN.
        if arm.num_live < min_live * arm.num_seeds or not arm.accuracy >= arm.accuracy_floor:
            return Verdict.NOT_DECIDED
    found = {Verdict(verdict), *map(Verdict, other_verdicts)}
    if len(found - {Verdict.INCONCLUSIVE}) > 1:
        return Verdict.INIT_DEPENDENT
    return Verdict(verdict) if len(found) == 1 else Verdict.INCONCLUSIVE


def evidence_for(estimate: Estimate, margin: float, direction: str) -> dict[Verdict, float]:
    """One-sided p-values of the three statements."""
    _checks.one_of("direction", direction, ("greater", "less"))
    sign = 1.0 if direction == "greater" else -1.0
    bound = to_link(checked_margin(margin), estimate.link)
    effect = sign * to_link(estimate.estimate, estimate.link)

    def p_value(excess: float) -> float:
        """Of "the effect is beyond a bound", which the estimate exceeds by ``excess``."""
        if estimate.standard_error == 0:
            return float(excess <= 0)
        t = excess / estimate.standard_error
        return float(scipy.special.stdtr(estimate.degrees_of_freedom, -t))

    return {
        Verdict.SUPPORTED: p_value(effect - bound),
        Verdict.OPPOSITE: p_value(-bound - effect),
        Verdict.EQUIVALENT: max(p_value(effect + bound), p_value(bound - effect)),
    }


def checked_margin(margin: float) -> float:
    """A margin as a float, finite and not negative."""
    if not (np.isfinite(margin) and margin >= 0):
        raise ValueError(f"margins must be finite and >= 0; got {margin}.")
    return float(margin)


def _one_each(name: str, value: Any, num: int) -> list[Any]:
    """``value`` repeated, or as a list of the right length."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return [value] * num
    if len(value) != num:
        raise ValueError(f"{name} must be one value or one per estimate ({num}); got {len(value)}.")
    return list(value)

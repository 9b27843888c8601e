"""What the rules find: detectable effects, false positives, planted shifts."""

import functools

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.inference.estimates import (
    checked_sample,
    critical_value,
    one_sided_level,
    welch_contrast,
)
from freqbias.inference.verdicts import checked_margin
from freqbias.typing import Numbers


@checked
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
    critical = critical_value(one_sided_level(confidence), degrees_of_freedom)
    if not (np.isfinite(standard_error) and standard_error >= 0):
        raise ValueError(f"standard_error must be finite and >= 0; got {standard_error}.")
    if not 0.5 < power < 1:
        raise ValueError(f"power must lie in (0.5, 1); got {power}.")
    if np.isinf(degrees_of_freedom):
        noncentrality = critical + scipy.stats.norm.ppf(power)
    else:
        noncentrality = scipy.special.nctdtrinc(degrees_of_freedom, 1 - power, critical)
    return float(margin + standard_error * noncentrality)


@checked
def relabelling_rate(
    a: Numbers, b: Numbers, margin: float, *, seed: int, num: int = 1000, confidence: float = 0.95
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
      TypeError: not numbers.
      ValueError: an arm is too small or not finite, or the margin is negative.
    """
    low, high = _relabelled_intervals(a, b, shift=0.0, seed=seed, num=num, confidence=confidence)
    margin = checked_margin(margin)
    return float(np.mean((low > margin) | (high < -margin)))


@checked
def planted_shift_power(
    a: Numbers,
    b: Numbers,
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
      TypeError: not numbers.
      ValueError: an arm is too small or not finite, or the margin is negative.
    """
    low, _ = _relabelled_intervals(a, b, shift=shift, seed=seed, num=num, confidence=confidence)
    return float(np.mean(low > checked_margin(margin)))


@checked
def predicted_shift_power(
    spread: float,
    num_seeds: tuple[int, int],
    shift: float,
    margin: float,
    *,
    confidence: float = 0.95,
    num: int = 20_000,
) -> float:
    """What `planted_shift_power` gives on average for normal values of a given spread.

    Samples of a normal population, each scaled to exactly this spread (of a normal sample, spread
    and t statistic are independent), are dealt into two arms and judged by the same Welch interval.

    Args:
      spread: standard deviation (ddof = 1) of both arms together before the shift, >= 0.
      num_seeds: (S_a, S_b), of each arm, at least 2.
      shift: what is planted, in the unit of the spread.
      margin: >= 0, what the interval must exceed.
      confidence: of the intervals.
      num: samples drawn, always the same; the standard error is at most 0.5 / sqrt(num).

    Returns:
      The rate of "supported", in [0, 1].

    Raises:
      TypeError: ``num`` is no int.
      ValueError: an argument is out of range.
    """
    if not (np.isfinite(spread) and spread >= 0):
        raise ValueError(f"spread must be finite and >= 0; got {spread}.")
    if len(num_seeds) != 2 or min(num_seeds) < 2:
        raise ValueError(f"num_seeds must be two numbers of at least 2; got {num_seeds}.")
    _checks.positive_int("num", num)
    excess = shift - checked_margin(margin)
    if spread == 0:
        return float(excess > 0)
    return float(np.mean(_unit_lower_limits(*num_seeds, confidence, num) > -excess / spread))


@functools.cache
def _unit_lower_limits(first: int, second: int, confidence: float, num: int) -> np.ndarray:
    """Lower limits [num] of Welch intervals between two parts of normal samples of spread one."""
    values = np.random.default_rng(0).standard_normal((num, first + second))
    values /= values.std(axis=1, ddof=1, keepdims=True)
    estimate, standard_error, df = welch_contrast(
        [values[:, :first], values[:, first:]], [1.0, -1.0]
    )
    return estimate - critical_value(one_sided_level(confidence), df) * standard_error


def _relabelled_intervals(a, b, *, shift, seed, num, confidence):
    """Lower and upper limits [num] of Welch intervals between relabelled arms."""
    a, b = checked_sample("a", a), checked_sample("b", b)
    _checks.positive_int("num", num)
    pooled = np.tile(np.concatenate([a, b]), (num, 1))
    _checks.seeds([seed])
    dealt = np.random.default_rng(seed).permuted(pooled, axis=1)
    arms = [dealt[:, : a.size] + shift, dealt[:, a.size :]]
    estimate, standard_error, df = welch_contrast(arms, [1.0, -1.0])
    half = critical_value(one_sided_level(confidence), df) * standard_error
    return estimate - half, estimate + half

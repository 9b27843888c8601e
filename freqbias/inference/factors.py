"""Which factor of a design moves a number most: its variance over networks, shared out."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from freqbias import _checks
from freqbias.inference.estimates import checked_sample, one_sided_level

INTERACTIONS, SEEDS = "interactions", "seeds"
"""The names of the two parts that are no factor."""


class VarianceShare(NamedTuple):
    """The part of the variance over networks that one factor accounts for."""

    name: str
    share: float  # of 1; an unbiased share of nothing is as often below 0 as above
    low: float
    high: float
    degrees_of_freedom: float
    spread: float  # highest less lowest level, all else equal, unit of the values; NaN: unknown
    lowest: Hashable  # the level that gives the lowest values
    highest: Hashable


def variance_shares(
    values: Any,
    factors: Mapping[str, Sequence[Hashable]],
    settings: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[VarianceShare, ...]:
    """Shares the variance of ``values`` out between factors, their interactions and seeds.

    With the sum of squares explained by additive effects of a set A of factors, SS(A), a factor's
    own is its gain averaged over all orders of entry,

        SS_f = mean over orders of SS(A + f) - SS(A),   A: the factors before f,

    so that the SS_f sum to SS(all) in designs that are not balanced too, and factors that vary
    only together share alike; in balanced designs it is the textbook's. df_f is the same of ranks.
    Interactions are what differs between settings beyond additive effects, seeds what differs
    within settings, with mean square MS. Seeds alone would give each part df MS, so that is moved:

        share = (SS_f - df_f MS) / (SS_total + MS)   (omega squared),   seeds: N MS / (...),

    which sum to 1. The shares describe the networks at hand: a factor that was varied more, or
    further, explains more. ``spread`` does not depend on how often a level was run.

    Intervals: percentiles over resamples of the seeds within each setting, residuals inflated to
    an unbiased variance; the noise that resampling adds to a sum of squares is taken off.
    They speak of new seeds in the same settings.

    Args:
      values: one number per network [N], finite.
      factors: for each factor the level of each network [N]; None where it does not apply (the
        kernel size of a net without kernels), which then counts as the most common level. 1 to
        10 factors, each with at least two levels.
      settings: what each network is one seed of [N]; a setting has one level of each factor.
      confidence: of the intervals, in (0, 1).
      num_resamples: of the seeds.
      seed: of the resamples.

    Returns:
      One `VarianceShare` per factor, in order, then interactions and seeds.

    Raises:
      ValueError: lengths differ, the values or a factor do not vary, a setting has two levels of a
        factor, or no setting has two seeds.

    Reference:
      Lindeman, Merenda & Gold (1980), and Groemping, "Estimators of relative importance in linear
      regression based on variance decomposition", American Statistician 61 (2007), for averaging
      over orders; Hays (1963) for omega squared.
    """
    values = checked_sample("values", values)
    if np.ptp(values) == 0:
        raise ValueError(f"values must vary; every entry is {values[0]}.")
    level = one_sided_level(confidence)
    _checks.positive_int("num_resamples", num_resamples)
    where, counts, columns = _design(values.size, factors, settings)
    dummies = {name: _dummies(name, column) for name, column in columns.items()}
    within_df = values.size - counts.size
    if within_df == 0:
        raise ValueError("settings must hold at least one setting with 2 seeds; got none.")

    means = np.bincount(where, values) / counts
    residuals = values - means[where]
    mean_square = float(residuals @ residuals / within_df)
    drawn = _resampled(residuals, where, counts, num_resamples, np.random.default_rng(seed))
    noise = np.stack([np.bincount(where, row, counts.size) for row in drawn]) / counts
    rest = drawn - noise[:, where]
    mean_squares = np.concatenate([[mean_square], np.sum(rest**2, axis=1) / within_df])

    weighted = np.concatenate([means[None], means + noise]) * np.sqrt(counts)
    explained, df = _averaged_over_orders(weighted, list(dummies.values()), counts)
    between = np.sum(weighted**2, axis=1) - _projected(weighted, np.sqrt(counts)[:, None])[0]
    explained = np.column_stack([explained, between - explained.sum(axis=1)])
    df = np.append(df, counts.size - 1 - df.sum())
    # A resample's means hold the noise of seeds twice: their own, and that of resampling.
    unbiased = explained - df * mean_squares[:, None]
    unbiased[1:] -= df * mean_square
    parts = np.column_stack([unbiased, values.size * mean_squares])
    shares = parts / parts.sum(axis=1, keepdims=True)
    low, high = np.quantile(shares[1:], [level, 1 - level], axis=0)

    described = _spreads(means, counts, columns, dummies)
    described += [(float("nan"), None, None)] * 2
    return tuple(
        VarianceShare(name, *map(float, numbers), *words)
        for name, *numbers, words in zip(
            (*columns, INTERACTIONS, SEEDS),
            shares[0],
            low,
            high,
            (*df, within_df),
            described,
            strict=True,
        )
    )


def _design(
    num: int, factors: Mapping[str, Sequence[Hashable]], settings: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray, dict[str, list[Hashable]]]:
    """The setting of each network [N], networks per setting [C], levels per factor [C]."""
    if not 1 <= len(factors) <= 10:
        raise ValueError(f"factors must hold 1 to 10 factors; got {len(factors)}.")
    if len(settings) != num:
        raise ValueError(f"settings must hold one per value ({num}); got {len(settings)}.")
    names = list(dict.fromkeys(settings))
    index = {name: i for i, name in enumerate(names)}
    where = np.array([index[setting] for setting in settings])
    columns = {}
    for name, levels in factors.items():
        if len(levels) != num:
            raise ValueError(f"factors[{name!r}] must hold one level per value; got {len(levels)}.")
        column: list[Hashable] = [None] * len(names)
        for i, value in zip(where[::-1], levels[::-1], strict=True):
            column[i] = value
        for i, value in zip(where, levels, strict=True):
            if column[i] != value:
                raise ValueError(
                    f"factors[{name!r}] must have one level per setting; setting "
                    f"{names[i]!r} has {value!r} and {column[i]!r}."
                )
        columns[name] = column
    return where, np.bincount(where).astype(np.float64), columns


def _levels(column: Sequence[Hashable]) -> list[Hashable]:
    """The levels that occur, the most common one first."""
    occurring = [value for value in column if value is not None]
    return sorted(dict.fromkeys(occurring), key=lambda value: -occurring.count(value))


def _dummies(name: str, column: Sequence[Hashable]) -> np.ndarray:
    """Indicators [C, L - 1] of all levels but the most common, which None counts as."""
    levels = _levels(column)
    if len(levels) < 2:
        raise ValueError(f"factors[{name!r}] must have at least two levels; got {levels}.")
    return np.array([[float(value == other) for other in levels[1:]] for value in column])


def _resampled(
    residuals: np.ndarray, where: np.ndarray, counts: np.ndarray, num: int, rng: Any
) -> np.ndarray:
    """Residuals [num, N] drawn with replacement within settings, inflated by sqrt(n / (n - 1))."""
    out = np.zeros((num, residuals.size))
    for i, count in enumerate(counts):
        if count > 1:
            (members,) = np.nonzero(where == i)
            picks = rng.integers(members.size, size=(num, members.size))
            out[:, members] = residuals[members][picks] * np.sqrt(count / (count - 1))
    return out


def _projected(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, int]:
    """Squared length of rows [R, C] projected on the span of columns [C, p], and its rank."""
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis[:, sizes > 1e-9 * sizes[0]]
    return np.sum((rows @ basis) ** 2, axis=1), basis.shape[1]


def _averaged_over_orders(
    rows: np.ndarray, dummies: Sequence[np.ndarray], counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares [R, F] and degrees of freedom [F] of each factor."""
    num = len(dummies)
    found = {}
    for size in range(num + 1):
        for chosen in combinations(range(num), size):
            columns = [np.ones((counts.size, 1)), *(dummies[f] for f in chosen)]
            found[chosen] = _projected(rows, np.hstack(columns) * np.sqrt(counts)[:, None])
    squares, df = np.zeros((len(rows), num)), np.zeros(num)
    for chosen, (before, rank) in found.items():
        share = (
            factorial(len(chosen)) * factorial(num - len(chosen) - 1) if len(chosen) < num else 0
        )
        for f in set(range(num)) - set(chosen):
            after, larger = found[tuple(sorted((*chosen, f)))]
            squares[:, f] += share / factorial(num) * (after - before)
            df[f] += share / factorial(num) * (larger - rank)
    return squares, df


def _spreads(
    means: np.ndarray,
    counts: np.ndarray,
    columns: Mapping[str, Sequence[Hashable]],
    dummies: Mapping[str, np.ndarray],
) -> list[tuple[float, Hashable, Hashable]]:
    """(highest less lowest level, lowest, highest) of each factor, in the additive model."""
    root = np.sqrt(counts)
    design = np.hstack([np.ones((counts.size, 1)), *dummies.values()]) * root[:, None]
    effects, _, rank, _ = np.linalg.lstsq(design, means * root)
    out: list[tuple[float, Hashable, Hashable]] = []
    first = 1
    for name, column in dummies.items():
        last = first + column.shape[1]
        others = np.delete(design, np.s_[first:last], axis=1)
        if rank - np.linalg.matrix_rank(others) < column.shape[1]:  # some level is not identified
            out.append((float("nan"), None, None))
        else:
            of_levels = np.concatenate([[0.0], effects[first:last]])
            levels = _levels(columns[name])
            low, high = int(np.argmin(of_levels)), int(np.argmax(of_levels))
            out.append((float(of_levels[high] - of_levels[low]), levels[low], levels[high]))
        first = last
    return out

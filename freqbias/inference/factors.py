"""Which factor of a design moves a number most: its variance over networks, shared out."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.inference.estimates import checked_sample, one_sided_level
from freqbias.typing import Numbers

INTERACTIONS, SEEDS = "interactions", "seeds"
"""The names of the two parts that are no factor."""


class VarianceShare(NamedTuple):
    """The part of the variance over networks that one factor accounts for."""

    name: str
    share: float  # of 1; without an effect it scatters around 0, and can be negative
    low: float
    high: float
    degrees_of_freedom: int
    spread: float  # highest less lowest level, all else equal, unit of the values; NaN: no factor
    lowest: Hashable  # the level that gives the lowest values
    highest: Hashable


@checked
def variance_shares(
    values: Numbers,
    factors: Mapping[str, Sequence[Hashable]],
    settings: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[VarianceShare, ...]:
    """Shares the variance of ``values`` out between factors, their interactions and seeds.

    Additive effects b of the levels are fitted to all N networks at once, so that each factor is
    seen with the others held fixed, also in designs that vary one factor at a time. With MS the
    mean square of seeds within settings, and L_f levels,

        V_f = mean over levels of (b - mean b)^2, less what noise gives: MS tr(cov b) / L_f,
        V_interactions = (SS between settings not additive - df MS) / N,    V_seeds = MS,

    and share = V / sum of all V: the variance over networks whose levels are drawn evenly and
    independently of each other. So it does not matter how often a level was run, but which levels
    were. In a balanced crossed design it is omega squared, (SS_f - df MS) / (SS_total + MS).

    Intervals: percentiles over resamples of the seeds within each setting, residuals inflated to
    an unbiased variance; the noise that resampling adds is taken off. They speak of new seeds in
    the same settings.

    Args:
      values: one number per network [N], finite.
      factors: for each factor the level of each network [N]; None where it does not apply (the
        kernel size of a net without kernels), which then counts as the most common level. At least
        one factor, each with at least two levels.
      settings: what each network is one seed of [N]; a setting has one level of each factor.
      confidence: of the intervals, in (0, 1).
      num_resamples: of the seeds.
      seed: of the resamples.

    Returns:
      One `VarianceShare` per factor, in order, then interactions and seeds.

    Raises:
      TypeError: not numbers.
      ValueError: lengths differ, the values or a factor do not vary, a setting has two levels of a
        factor, no setting has two seeds, or factors are `confounded`.

    Reference:
      Hays, "Statistics for Psychologists" (1963), for omega squared; Searle, Speed & Milliken,
      "Population marginal means in the linear model", American Statistician 34 (1980), for levels
      compared as if the design were balanced.
    """
    values = checked_sample("values", values)
    if np.ptp(values) == 0:
        raise ValueError(f"values must vary; every entry is {values[0]}.")
    level = one_sided_level(confidence)
    _checks.positive_int("num_resamples", num_resamples)
    where, counts, columns = _design(factors, settings, values.size)
    within_df = values.size - counts.size
    if within_df == 0:
        raise ValueError("settings must hold at least one setting with 2 seeds; got none.")
    apart = _confounded(columns)
    if apart:
        raise ValueError(f"factors must vary apart from each other; {apart} do not.")

    means = np.bincount(where, values) / counts
    residuals = values - means[where]
    mean_square = float(residuals @ residuals / within_df)
    _checks.seeds([seed])
    drawn = _resampled(residuals, where, counts, num_resamples, np.random.default_rng(seed))
    noise = np.stack([np.bincount(where, row, counts.size) for row in drawn]) / counts
    mean_squares = np.concatenate([
        [mean_square], np.sum((drawn - noise[:, where]) ** 2, axis=1) / within_df
    ])  # fmt: skip
    # A resample's means hold the noise of seeds twice: their own, and that of resampling.
    to_remove = mean_squares + np.where(np.arange(len(mean_squares)) > 0, mean_square, 0.0)
    all_means = np.concatenate([means[None], means + noise])

    design = np.hstack([np.ones((counts.size, 1)), *map(_dummies, columns.values())])
    fit = np.linalg.pinv(design * np.sqrt(counts)[:, None]) * np.sqrt(counts)  # [p, C]
    parts, described, first = [], [], 1
    for column in columns.values():
        levels = _levels(column)
        rows = np.vstack([np.zeros(counts.size), fit[first : first + len(levels) - 1]])
        first += len(levels) - 1
        centred = rows - rows.mean(axis=0)  # [L, C], from means of settings to effects
        effects = all_means @ centred.T
        bias = np.mean(np.sum(centred**2 / counts, axis=1))
        parts.append(np.mean(effects**2, axis=1) - bias * to_remove)
        low, high = int(np.argmin(effects[0])), int(np.argmax(effects[0]))
        spread = float(effects[0, high] - effects[0, low])
        described.append((len(levels) - 1, spread, levels[low], levels[high]))
    between_df = counts.size - first
    unexplained = all_means - all_means @ (design @ fit).T
    squares = np.sum(counts * unexplained**2, axis=1)
    parts.append((squares - between_df * to_remove) / values.size)
    described.append((between_df, float("nan"), None, None))
    parts.append(mean_squares)
    described.append((within_df, float("nan"), None, None))

    variances = np.stack(parts, axis=1)
    shares = variances / variances.sum(axis=1, keepdims=True)
    ends = np.quantile(shares[1:], [level, 1 - level], axis=0)
    return tuple(
        VarianceShare(name, float(share), float(low), float(high), *words)
        for name, share, low, high, words in zip(
            (*columns, INTERACTIONS, SEEDS), shares[0], *ends, described, strict=True
        )
    )


@checked
def confounded(
    factors: Mapping[str, Sequence[Hashable]], settings: Sequence[Hashable]
) -> tuple[str, ...]:
    """The factors whose effects cannot be told from those of the others in this design.

    Args:
      factors: as in `variance_shares`.
      settings: as in `variance_shares`.

    Returns:
      Their names, in order; none, or at least two.

    Raises:
      ValueError: lengths differ, a factor does not vary, or a setting has two levels of one.

    Example:
      >>> confounded({"family": ["fc", "conv"], "optimizer": ["adam", "sgd"]}, [0, 1])
      ('family', 'optimizer')
    """
    return _confounded(_design(factors, settings, len(settings))[2])


def _confounded(columns: Mapping[str, Sequence[Hashable]]) -> tuple[str, ...]:
    dummies = {name: _dummies(column) for name, column in columns.items()}
    constant = np.ones((len(next(iter(columns.values()))), 1))

    def rank(names: Sequence[str]) -> int:
        return int(np.linalg.matrix_rank(np.hstack([constant, *(dummies[n] for n in names)])))

    whole = rank(list(dummies))
    return tuple(
        name
        for name, of_name in dummies.items()
        if whole - rank([other for other in dummies if other != name]) < of_name.shape[1]
    )


def _design(
    factors: Mapping[str, Sequence[Hashable]], settings: Sequence[Hashable], num: int
) -> tuple[np.ndarray, np.ndarray, dict[str, list[Hashable]]]:
    """The setting of each network [N], networks per setting [C], levels per factor [C]."""
    if not factors:
        raise ValueError("factors must hold at least one factor; got none.")
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
                    f"factors[{name!r}] must have one level for each of settings; "
                    f"{names[i]!r} has {value!r} and {column[i]!r}."
                )
        if len(_levels(column)) < 2:
            raise ValueError(
                f"factors[{name!r}] must have at least two levels; got {_levels(column)}."
            )
        columns[name] = column
    return where, np.bincount(where).astype(np.float64), columns


def _levels(column: Sequence[Hashable]) -> list[Hashable]:
    """The levels that occur, the most common one first."""
    occurring = [value for value in column if value is not None]
    return sorted(dict.fromkeys(occurring), key=lambda value: -occurring.count(value))


def _dummies(column: Sequence[Hashable]) -> np.ndarray:
    """Indicators [C, L - 1] of all levels but the most common, which None counts as."""
    levels = _levels(column)
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

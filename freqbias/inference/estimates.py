"""Effects with intervals over seeds, all of them contrasts of independent arm means."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import Numbers

Population: TypeAlias = Literal["seeds", "images", "seeds x images"]
"""What would be drawn anew in a repetition of the study that an interval speaks of."""


class Estimate(NamedTuple):
    """An effect with its interval, and whom the interval speaks of; ``print`` shows both."""

    estimate: float
    standard_error: float  # on the scale of `link`
    degrees_of_freedom: float  # infinity: normal reference
    low: float
    high: float
    confidence: float
    num_seeds: int  # networks used, all arms together
    population: Population = "seeds"
    link: Literal["identity", "arctanh"] = "identity"  # scale on which the interval is symmetric
    num_images: int = 0  # of each network, where new images are part of the population

    def __str__(self) -> str:
        numbers = f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"
        over = {
            "seeds": f"{self.num_seeds} seeds",
            "images": f"{self.num_images} images of one network",
            "seeds x images": f"{self.num_seeds} seeds x {self.num_images} images",
        }[self.population]
        return f"{numbers}, {100 * self.confidence:.3g} % interval over {over}"


@checked
def mean_interval(
    values: Numbers, *, over: Literal["seeds", "images"] = "seeds", confidence: float = 0.95
) -> Estimate:
    """Student's t interval for a mean: mean +- t_{S-1} s / sqrt(S).

    Args:
      values: one number per seed [S], S >= 2, finite; of many images, the mean over them
        (`image_means`). With ``over="images"`` one number per image of one network [N].
      over: what the values are drawn from. Images of one network say nothing of other seeds; for
        new seeds and new images there is `crossed_interval`.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The mean as an `Estimate`; its population is ``over``.

    Raises:
      ValueError: fewer than 2 values, not a vector, or not finite; or an unknown ``over``.
      TypeError: not numbers.

    Example:
      >>> print(mean_interval([0.20, 0.22, 0.21, 0.23]))
      0.215 [0.194, 0.236], 95 % interval over 4 seeds
    """
    _checks.one_of("over", over, ("seeds", "images"))
    values = checked_sample("values", values, of=over)
    found = contrast_interval([values], [1.0], confidence=confidence)
    if over == "images":
        return found._replace(population="images", num_seeds=1, num_images=values.size)
    return found


@checked
def contrast_interval(
    groups: Sequence[Numbers], weights: Sequence[float], *, confidence: float = 0.95
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
      TypeError: not numbers.
      ValueError: an arm has fewer than 2 seeds, is no vector or not finite, or the weights do not
        fit.

    Example:
      Sharing and locality, arms (conv, locally connected, scattered, scattered unshared):

      >>> arms = [[0.31, 0.33], [0.27, 0.28], [0.28, 0.27], [0.29, 0.28]]
      >>> sharing = contrast_interval(arms, [0.5, -0.5, 0.5, -0.5])
      >>> locality = contrast_interval(arms, [0.5, 0.5, -0.5, -0.5])
      >>> interaction = contrast_interval(arms, [1, -1, -1, 1])
      >>> print(interaction)
      0.055 [0.00873, 0.101], 95 % interval over 8 seeds

    Reference:
      Welch, "The generalization of Student's problem", Biometrika 34 (1947); Satterthwaite,
      "An approximate distribution of estimates of variance components", Biometrics 2 (1946).
    """
    samples = [checked_sample(f"groups[{i}]", group) for i, group in enumerate(groups)]
    weights = _weights(weights, len(samples))
    estimate, standard_error, df = welch_contrast(samples, weights)
    num_seeds = sum(sample.size for sample in samples)
    return t_interval(estimate, standard_error, df, confidence=confidence, num_seeds=num_seeds)


@checked
def difference_interval(a: Numbers, b: Numbers, *, confidence: float = 0.95) -> Estimate:
    """Welch's interval for mean(a) - mean(b), two independent arms.

    Args:
      a: one number per seed [S_a].
      b: one number per seed [S_b]. Equal seed integers do not pair two architectures.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The difference as an `Estimate`; population: seeds.

    Raises:
      TypeError: not numbers.
      ValueError: an arm has fewer than 2 seeds, is no vector or not finite.
    """
    samples = [checked_sample("a", a), checked_sample("b", b)]
    return contrast_interval(samples, [1.0, -1.0], confidence=confidence)


@checked
def trend_interval(
    groups: Sequence[Numbers], x: Sequence[float], *, confidence: float = 0.95
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
      TypeError: not numbers.
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


@checked
def crossed_interval(
    groups: Sequence[Numbers], weights: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Interval for a contrast of arms when new seeds *and* new images are drawn.

    All arms see the same images; seeds are independent between arms. With y_i [S_i, N], its means
    over images r_i [S_i], and the contrast per image c [N] = sum_i w_i mean_s y_i,

        estimate = mean c,   se^2 = sum_i w_i^2 var(r_i) / S_i + var(c) / N,

    with Satterthwaite's degrees of freedom over these terms (S_i - 1 and N - 1). Nothing is drawn:
    this is, in closed form, the variance that resampling both seeds and images gives (the
    "pigeonhole bootstrap"), with unbiased divisors and without its product term. What is left
    between seeds and images, the residual of their table, is counted twice. So the interval covers
    too much rather than too little. It is a t interval, since percentiles cover too little at 8
    seeds.

    Args:
      groups: one array [S_i, N] per arm, S_i >= 2, N >= 2, finite, the same images in each.
      weights: one weight per arm; ``[1.0]`` for the mean of one arm.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      The contrast as an `Estimate`; population: seeds x images.

    Raises:
      TypeError: not numbers.
      ValueError: shapes or weights do not fit, or a value is not finite.

    Reference:
      Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), section 4.
    """
    samples = [checked_sample(f"groups[{i}]", group, rank=2) for i, group in enumerate(groups)]
    weights = _weights(weights, len(samples))
    num_images = {sample.shape[1] for sample in samples}
    if len(num_images) > 1 or min(num_images) < 2:
        raise ValueError(
            f"groups must share one image axis of length >= 2; got shapes "
            f"{[sample.shape for sample in samples]}."
        )
    per_seed = [sample.mean(axis=1) for sample in samples]
    per_image = np.sum(
        [w * sample.mean(axis=0) for w, sample in zip(weights, samples, strict=True)], axis=0
    )
    # The image term enters as one more independent arm, of weight 1.
    terms = [*per_seed, per_image]
    _, standard_error, df = welch_contrast(terms, [*weights, 1.0])
    return t_interval(
        np.mean(per_image),
        standard_error,
        df,
        confidence=confidence,
        num_seeds=sum(len(sample) for sample in samples),
        population="seeds x images",
        num_images=per_image.size,
    )


@checked
def rank_association(
    x: Numbers, y: Numbers, *, num_arms: int = 1, confidence: float = 0.95
) -> Estimate:
    """Spearman's rank correlation with a Fisher-z interval.

        rho = Pearson(rank x, rank y),
        arctanh rho +- z sqrt((1 + rho^2 / 2) / (n - 2 - num_arms)).

    Spearman's, because a monotone relation of unknown shape is claimed. The interval is symmetric
    on the arctanh scale, and verdicts are taken on this scale too; margins are given as
    correlations. |rho| is kept at or below 1 - 6 / (n^3 - n), half a step of the statistic below
    1, so that arctanh is finite.

    Args:
      x: one number per network [n], n >= 4, not constant. Pairs must be independent.
      y: the other number per network [n].
      num_arms: number of arms whose means were subtracted from x and y before; each after the first
        costs a degree of freedom, n >= 3 + num_arms.
      confidence: two-sided coverage, in (0, 1).

    Returns:
      rho as an `Estimate` with link arctanh; population: seeds.

    Raises:
      TypeError: not numbers.
      ValueError: lengths differ, n < 3 + num_arms, a value is not finite, or an argument is
        constant.

    Reference:
      Bonett & Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
      correlations", Psychometrika 65 (2000), equation 3.
    """
    _checks.positive_int("num_arms", num_arms)
    x, y, least = checked_sample("x", x), checked_sample("y", y), 3 + num_arms
    if x.shape != y.shape or x.size < least:
        raise ValueError(f"x and y must have one length >= {least}; got {x.size} and {y.size}.")
    for name, values in (("x", x), ("y", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} must not be constant; every entry is {values[0]}.")
    n = x.size
    bound = 1 - 6 / (n**3 - n)
    ranks = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
    rho = np.clip(np.corrcoef(*ranks)[0, 1], -bound, bound)
    standard_error = np.sqrt((1 + rho**2 / 2) / (n - 2 - num_arms))
    return t_interval(
        rho, standard_error, np.inf, confidence=confidence, num_seeds=n, link="arctanh"
    )


# --- Shared within the package -------------------------------------------------------------------


def welch_contrast(groups: Sequence[np.ndarray], weights: Sequence[float]):
    """Estimate, standard error and df of a contrast of groups [..., S_i]; each [...]."""
    estimate = sum(w * g.mean(axis=-1) for w, g in zip(weights, groups, strict=True))
    variances = [
        w**2 * g.var(axis=-1, ddof=1) / g.shape[-1] for w, g in zip(weights, groups, strict=True)
    ]
    dofs = np.array([g.shape[-1] - 1 for g in groups], dtype=np.float64)
    return estimate, *satterthwaite(np.stack(variances, axis=-1), dofs)


def satterthwaite(variances: np.ndarray, dofs: np.ndarray):
    """Standard error and df of a sum of independent terms with variances [..., k], dofs [k]."""
    total = variances.sum(axis=-1)
    # Shares cannot underflow when squared. Without any variance all terms count alike, sum of dofs:
    # shares in proportion to dofs give 1 / sum(share^2 / dof) = sum(dof).
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = variances / total[..., None]
        df = 1 / np.sum(shares**2 / dofs, axis=-1)
    return np.sqrt(total), np.where(total > 0, df, dofs.sum())


def t_interval(
    estimate: Any,
    standard_error: Any,
    df: Any,
    *,
    confidence: float,
    num_seeds: int,
    population: Population = "seeds",
    link: Literal["identity", "arctanh"] = "identity",
    num_images: int = 0,
) -> Estimate:
    """The symmetric t interval on the link's scale, mapped back."""
    half = critical_value(one_sided_level(confidence), df) * standard_error
    centre = to_link(estimate, link)
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
        num_images=num_images,
    )


def to_link(value: Any, link: str) -> Any:
    """A value on the scale on which its interval is symmetric."""
    return np.arctanh(value) if link == "arctanh" else value


def critical_value(level: float, df: Any) -> Any:
    """The t quantile that is exceeded with probability ``level``."""
    if not np.all(np.asarray(df) > 0):
        raise ValueError(f"degrees_of_freedom must be positive; got {df}.")
    return -scipy.special.stdtrit(df, level)  # as scipy.stats.t.isf, in a fiftieth of the time


def one_sided_level(confidence: float) -> float:
    """The one-sided level of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}.")
    return (1 - confidence) / 2


def checked_sample(
    name: str, values: Numbers, rank: int = 1, *, of: Literal["seeds", "images"] = "seeds"
) -> np.ndarray:
    """``values`` as float64, leading axis seeds (or images), checked."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.")
    if rank == 1 and array.ndim != 1:
        axis = "N" if of == "images" else "S"
        raise ValueError(
            f"{name} must hold one number per {of[:-1]} [{axis}]; got shape {array.shape}. Of "
            "[S, N], seeds and images, take image_means(...).mean (population: seeds) or "
            "crossed_interval (seeds x images)."
        )
    _checks.rank(name, array, rank)
    if array.shape[0] < 2:
        raise ValueError(f"{name} must hold at least 2 {of}; got {array.shape[0]}.")
    if not np.all(np.isfinite(array)):
        missing = "dead and diverged seeds" if of == "seeds" else "images without a value"
        raise ValueError(f"{name} must be finite; leave out {missing}, and count them.")
    return array.astype(np.float64)


def _weights(weights: Sequence[float], num: int) -> list[float]:
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (num,) or not np.all(np.isfinite(array)) or not np.any(array):
        raise ValueError(
            f"weights must hold one finite weight per group ({num}), not all zero; got {weights!r}."
        )
    return array.tolist()

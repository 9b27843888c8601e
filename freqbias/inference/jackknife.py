"""Statistics of pairs of seeds: one value per seed that a t interval may be taken of."""

import numpy as np

from freqbias._checked import checked
from freqbias.typing import Numbers


@checked
def own_minus_others(values: Numbers) -> np.ndarray:
    """Jackknife values of "own minus others", one per seed, fit for a t interval.

    c[s, t] compares seed s with seed t; for example, it is the cosine of the perturbation of s with
    the feature of t. The estimate theta is the mean of c[s, s] less the mean of c[s, t], t != s.

    The S differences c[s, s] - mean_t c[s, t] are not independent, since each holds all other
    seeds: a t interval of them covers about 70 % instead of 95 %. The jackknife's values have the
    same mean, and a t interval of them is right:

        p_s = S theta - (S - 1) theta without seed s
            = c[s, s] - (O / (S - 1) - (O - R_s - C_s) / (S - 2)),

    where O is the sum off the diagonal, and R_s and C_s are those of row s and of column s.

    Args:
      values: [S, S], finite, S >= 3.

    Returns:
      [S], float64; for `mean_interval`, `contrast_interval` and their like.

    Raises:
      ValueError: not square, not finite, or fewer than 3 seeds.

    Example:
      >>> own_minus_others(np.eye(4))
      array([1., 1., 1., 1.])

    Reference:
      Arvesen, "Jackknifing U-statistics", Annals of Mathematical Statistics 40 (1969).
    """
    c = np.asarray(values, dtype=np.float64)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or len(c) < 3:
        raise ValueError(f"values must be [S, S] with S >= 3; got shape {c.shape}.")
    if not np.all(np.isfinite(c)):
        raise ValueError("values must be finite; leave out dead and diverged seeds.")
    num, own = len(c), np.diagonal(c)
    rows, columns = c.sum(axis=1) - own, c.sum(axis=0) - own
    total = rows.sum()
    return own - (total / (num - 1) - (total - rows - columns) / (num - 2))

"""Values of one seed that hold other seeds' too: how to make them fit for an interval."""

from typing import Any

import numpy as np


def own_minus_others(values: Any) -> np.ndarray:
    """Jackknife values of "own minus others", one per seed, fit for a t interval.

    For c [S, S], c[s, t] of seed s with seed t (e.g. the cosine of its perturbation with the
    feature of t), the mean of c[s, s] less that of c[s, t], t != s, estimates own minus others. The
    differences c[s, s] - mean_t c[s, t] share the seeds t: a t interval of them covers about 70 %
    instead of 95 %. Of the same mean, and fit for it, are the jackknife's values

        p_s = S theta - (S - 1) theta without seed s
            = c[s, s] - (O / (S - 1) - (O - R_s - C_s) / (S - 2)),

    O the sum off the diagonal, R_s and C_s those of row and column s off the diagonal.

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

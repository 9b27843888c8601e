"""What is read off the training curve of each network: at a common accuracy, and how early."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from freqbias.data import titles

NETWORK = ["dataset", "regime", "arm", "init_scale", "attack", "seed"]
"""The columns that name one network under one attack."""

COLUMNS = ("frequency_at_floor", "minimal_log_change", "minimal_early_share")


def floor_of(accuracy_floor: Mapping[str, float], dataset: str) -> float:
    """The floor of a data set: its own, else that of its kind, else the default."""
    kinds = ("shuffled", "power_law")  # labels that mean nothing say more of a set than its images
    names = (dataset, *(kind for kind in kinds if kind in titles.kinds(dataset)), "default")
    return next(accuracy_floor[name] for name in names if name in accuracy_floor)


def with_curves(rows: pd.DataFrame, accuracy_floor: Mapping[str, float]) -> pd.DataFrame:
    """Adds what is read off the training curve, one number per network and attack.

    * ``checkpoints``: recorded steps before the end.
    * ``frequency_at_floor``: mean frequency where test accuracy first reaches the floor of the data
      set, registered before the run: architectures at a common accuracy. Between recorded steps
      frequency is linear in accuracy. NaN if the floor is never reached, or before the first
      recorded step.
    * ``minimal_log_change``: ln of the relative smallest perturbation at the end over that at
      initialisation.
    * ``minimal_early_share``: the share of that change made at a tenth of the steps (linear in the
      logarithm of the step between recorded steps), less 1/2. NaN where the change is below 5 %.

    Args:
      rows: the table of a run, of all recorded steps.
      accuracy_floor: by data set, with a ``default``.

    Returns:
      The rows with these columns; the others are NaN where there are no checkpoints.
    """
    values = pd.DataFrame(np.nan, index=rows.index, columns=list(COLUMNS))
    values["checkpoints"] = (
        (~rows["final"]).groupby([rows[name] for name in NETWORK]).transform("sum")
    )
    recorded = rows[~rows.groupby(NETWORK)["final"].transform("all")].sort_values("step")
    for (dataset, *_), curve in recorded.groupby(NETWORK, sort=False):
        floor = floor_of(accuracy_floor, str(dataset))
        step, accuracy, frequency, distance = (
            curve[name].to_numpy(float)
            for name in ("step", "test_accuracy", "mean_frequency", "minimal_relative_distance")
        )
        values.loc[curve.index, list(COLUMNS)] = [
            _first_passage(accuracy, frequency, floor),
            *_emergence(step, distance),
        ]
    return rows.assign(**values)


def _first_passage(accuracy: np.ndarray, frequency: np.ndarray, floor: float) -> float:
    """The frequency where the accuracy, linear between its values, first reaches the floor."""
    known = np.isfinite(accuracy) & np.isfinite(frequency)
    accuracy, frequency = accuracy[known], frequency[known]
    reached = np.flatnonzero(accuracy >= floor)
    if not len(reached) or reached[0] == 0:
        return float("nan")
    ends = slice(reached[0] - 1, reached[0] + 1)
    return float(np.interp(floor, accuracy[ends], frequency[ends]))


def _emergence(step: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """ln(end / start), and the share of it made at a tenth of the steps less 1/2."""
    if len(step) < 3 or step[0] != 0 or not (np.isfinite(distance) & (distance > 0)).all():
        return float("nan"), float("nan")
    change = np.log(distance / distance[0])
    early = np.interp(np.log(max(step[-1] / 10, 1)), np.log(step[1:]), change[1:])
    total = float(change[-1])
    return total, float(early / total - 0.5) if abs(total) > 0.05 else float("nan")

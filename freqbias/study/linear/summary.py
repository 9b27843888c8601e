"""From the rows of the linear study to clocks, differences between arms, and words.

Training time can be read on three clocks: the step; the step over that of a seed's own separation;
and the loss reached. A difference between two arms is taken at equal readings of one clock, with
Welch's 95 % interval over seeds.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from freqbias import inference
from freqbias.plotting import UNKNOWN, Drawn

Clock: TypeAlias = Literal["step", "separation", "loss"]
"""``step``; ``separation``: step / the seed's separation step; ``loss``: log10 of the mean loss."""

WORDS = {1: "above", 0: "not distinguishable", -1: "below"}
_MIN_SHARE = 0.8  # of seeds that must have a reading, in both arms


class Cell(NamedTuple):
    """A part of the table in which only arm, seed and step vary."""

    dataset: str
    num_train: int
    init_scale: float
    step_size: float


def cells(rows: pd.DataFrame) -> list[Cell]:
    """Every cell, in the order of data sets, sample sizes, step sizes and falling scales."""
    found = rows[list(Cell._fields)].drop_duplicates().itertuples(index=False)
    datasets = list(dict.fromkeys(rows["dataset"]))
    key = {name: index for index, name in enumerate(datasets)}
    return sorted(
        (Cell(str(c[0]), int(c[1]), float(c[2]), float(c[3])) for c in found),
        key=lambda c: (key[c.dataset], c.num_train, c.step_size, -c.init_scale),
    )


def small_step(rows: pd.DataFrame) -> float:
    """The step size of the main runs, the smaller of the two."""
    return float(rows["step_size"].min())


class Results:
    """What a run found, as figures, tables and words read it.

    Attributes:
      rows: the table, one row per task, arm, sample size, initial scale, step size, seed and step.
      limits: maximum margins (`limits.solve_limits`), each with its ``task``.
      looks: how the arms are drawn.
      tasks: the names of the tasks, in order.
      cells: every cell, in order.
      recorded: the recorded steps, rising.
      small_step: the smaller step size.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        limits: Sequence[Mapping[str, Any]] = (),
        titles: Mapping[str, str] | None = None,
        looks: Drawn = UNKNOWN,
    ):
        self.rows, self.limits, self.looks = rows, limits, looks.with_arms(rows["arm"])
        self.tasks = [str(task) for task in dict.fromkeys(rows["dataset"])]
        self.cells = cells(rows)
        self.recorded = [int(step) for step in sorted(rows["step"].unique())]
        self.small_step = small_step(rows)
        self._titles = titles or {}
        ordered = rows.sort_values(["seed", "step"], kind="stable")
        self._parts = dict(iter(ordered.groupby([*Cell._fields, "arm"], sort=False)))

    def title(self, task: str) -> str:
        """A task as people write it."""
        return self._titles.get(task, task)

    def present(self, arms: Iterable[str]) -> list[str]:
        """Those of the arms that were run."""
        there = set(self.rows["arm"])
        return [arm for arm in arms if arm in there]

    def steps_in_words(self, cell: Cell) -> str:
        """``small`` or ``large``."""
        return "small" if cell.step_size == self.small_step else "large"

    def at_scale(self, task: str, init_scale: float, steps: str = "small") -> list[Cell]:
        """The cells of a task at one initial scale and step size, by sample size."""
        return [
            cell
            for cell in self.cells
            if (cell.dataset, cell.init_scale) == (task, init_scale)
            and self.steps_in_words(cell) == steps
        ]

    def table(self, cell: Cell, arm: str, column: str) -> np.ndarray:
        """Values [S, T] by seed and recorded step; [0, 0] if the arm was not run."""
        part = self._parts.get((*cell, arm))
        if part is None:
            return np.zeros((0, 0))
        # Every seed has a row at every recorded step.
        return part[column].to_numpy(dtype=np.float64).reshape(-1, len(self.steps(cell, arm)))

    def steps(self, cell: Cell, arm: str) -> np.ndarray:
        """The recorded steps [T]."""
        part = self._parts.get((*cell, arm))
        return np.zeros(0) if part is None else part["step"].unique().astype(float)

    def separation(self, cell: Cell, arm: str) -> np.ndarray:
        """Each seed's first recorded step at which its sample is separated, [S]; NaN if none."""
        found = self.table(cell, arm, "separation_step")
        return found[:, 0] if found.size else np.zeros(0)

    def at(
        self, cell: Cell, arm: str, column: str, clock: Clock, grid: Sequence[float]
    ) -> np.ndarray:
        """A column at readings of a clock, [S, len(grid)].

        Between recorded steps values are interpolated, linearly in the logarithm of the step or
        in the log loss; outside of what was recorded they are NaN.
        """
        values, steps = self.table(cell, arm, column), self.steps(cell, arm)
        if not values.size:
            return np.zeros((0, len(grid)))
        time = np.log(np.maximum(steps, 0.5))
        if clock == "step":
            readings = np.broadcast_to(time, values.shape)
            wanted = np.broadcast_to(np.log(np.maximum(grid, 0.5)), (len(values), len(grid)))
        elif clock == "separation":
            readings = time - np.log(np.maximum(self.separation(cell, arm), 0.5))[:, None]
            wanted = np.broadcast_to(np.log(grid), (len(values), len(grid)))
        else:
            loss = self.table(cell, arm, "log_loss") / np.log(10)
            readings = -np.minimum.accumulate(loss, axis=1)  # rises with training
            wanted = np.broadcast_to(-np.asarray(grid, float), (len(values), len(grid)))
        return np.stack(
            [_interpolated(w, r, v) for w, r, v in zip(wanted, readings, values, strict=True)]
        )


def _interpolated(wanted: np.ndarray, readings: np.ndarray, values: np.ndarray) -> np.ndarray:
    """np.interp with NaN outside and where a neighbour is NaN."""
    if np.isnan(readings).any():
        return np.full(len(wanted), np.nan)
    readings, index = np.unique(readings, return_index=True)
    slack = 1e-9
    inside = (wanted >= readings[0] - slack) & (wanted <= readings[-1] + slack)
    return np.where(inside, np.interp(wanted, readings, values[index]), np.nan)


class Difference(NamedTuple):
    """An arm minus another at each reading of a clock; NaN where too few seeds have one."""

    estimate: np.ndarray  # [G]
    low: np.ndarray
    high: np.ndarray

    @property
    def sign(self) -> np.ndarray:
        """1 or -1 where the interval lies above or below 0, 0 where it includes it, else NaN."""
        sign = np.where(self.low > 0, 1.0, np.where(self.high < 0, -1.0, 0.0))
        return np.where(np.isnan(self.estimate), np.nan, sign)


def difference(
    results: Results,
    cell: Cell,
    arms: tuple[str, str],
    column: str,
    *,
    clock: Clock,
    grid: Sequence[float],
) -> Difference:
    """First arm minus second at equal readings of the clock, with 95 % intervals over seeds."""
    first, second = (results.at(cell, arm, column, clock, grid) for arm in arms)
    out = np.full((3, len(grid)), np.nan)
    for g in range(len(grid)):
        groups = [values[:, g][np.isfinite(values[:, g])] for values in (first, second)]
        sizes = [max(2, _MIN_SHARE * len(values)) for values in (first, second)]
        if all(len(group) >= size for group, size in zip(groups, sizes, strict=True)):
            found = inference.difference_interval(*groups)
            out[:, g] = found.estimate, found.low, found.high
    return Difference(*out)


def runs_of(sign: np.ndarray, steps: Sequence[float]) -> str:
    """Signs along the steps in words, e.g. "not distinguishable to step 5; below from 10"."""
    known = [(s, int(v)) for s, v in zip(steps, sign, strict=True) if np.isfinite(v)]
    parts = []
    for value, group in itertools.groupby(known, key=lambda pair: pair[1]):
        ends = [step for step, _ in group]
        span = f"at step {ends[0]:g}" if len(ends) == 1 else f"steps {ends[0]:g} to {ends[-1]:g}"
        parts.append(f"{WORDS[value]} {span}")
    return "; ".join(parts) or "no estimate"


def word_table(results: Results, arms: tuple[str, str]) -> list[list[str]]:
    """When, where and at which N the first arm is above, below or not distinguishable: rows."""
    out = []
    for cell in results.cells:
        steps = list(results.steps(cell, arms[0]))
        if not steps:
            continue
        found = difference(results, cell, arms, "mean_frequency", clock="step", grid=steps)
        last = (
            f"{found.estimate[-1]:+.3f} [{found.low[-1]:+.3f}, {found.high[-1]:+.3f}]"
            if np.isfinite(found.estimate[-1])
            else "none"
        )
        separated = [median_separation(results, cell, arm) for arm in arms]
        out.append(
            [
                results.title(cell.dataset),
                str(cell.num_train),
                f"{cell.init_scale:g}",
                results.steps_in_words(cell),
                " / ".join("never" if at is None else f"{at:g}" for at in separated),
                runs_of(found.sign, steps),
                last.replace("-", "\N{MINUS SIGN}"),
            ]
        )
    return out


WORD_COLUMNS = (
    *("task", "N", "init scale", "steps", "half of the seeds separated at step"),
    *("conv K=3 against FC", "difference at the last step"),
)


def median_separation(results: Results, cell: Cell, arm: str) -> float | None:
    """The recorded step by which half of the seeds are separated; None if fewer are."""
    at = np.sort(np.nan_to_num(results.separation(cell, arm), nan=np.inf))
    if not at.size:
        return None
    middle = float(at[(len(at) - 1) // 2])
    return middle if np.isfinite(middle) else None


def both_separated(results: Results, cell: Cell, arms: Sequence[str]) -> float | None:
    """The recorded step by which half of the seeds of every arm are separated; None if never."""
    at = [median_separation(results, cell, arm) for arm in arms]
    known = [step for step in at if step is not None]
    return max(known) if len(known) == len(at) else None


class Tally(NamedTuple):
    """Readings of a task (cell x recorded step > 0) by what their interval says."""

    above: int
    below: int
    neither: int
    where: tuple[Cell, ...]  # the cells that are above at some step

    def __str__(self) -> str:
        return f"{self.above} / {self.below} / {self.neither}"


def tally(
    results: Results,
    arms: tuple[str, str],
    task: str,
    column: str = "mean_frequency",
    *,
    steps: str | None = None,
    separated: bool | None = None,
) -> Tally:
    """Counts of above, below and not distinguishable.

    Args:
      results: of a run.
      arms: the first against the second.
      task: its name.
      column: the statistic.
      steps: only cells with ``small`` or ``large`` steps; None for all.
      separated: only readings at which half of the seeds of both arms are separated, or only the
        others; None for all.
    """
    total, where = {1: 0, -1: 0, 0: 0}, []
    for cell in results.cells:
        if cell.dataset != task or steps not in (None, results.steps_in_words(cell)):
            continue
        both = both_separated(results, cell, arms)
        read = [
            step
            for step in results.steps(cell, arms[0])
            if step > 0 and separated in (None, both is not None and step >= both)
        ]
        found = difference(results, cell, arms, column, clock="step", grid=read)
        for value in total:
            total[value] += int(np.sum(found.sign == value))
        if np.any(found.sign == 1):
            where.append(cell)
    return Tally(total[1], total[-1], total[0], tuple(where))


def tally_table(results: Results, arms: tuple[str, str]) -> list[list[str]]:
    """Above / below / not distinguishable before and after separation, by task and step size."""
    statistics = {"beta": "mean_frequency", "learned": "learned_mean_frequency"}
    return [
        [
            results.title(task),
            what,
            steps,
            *(
                str(tally(results, arms, task, column, steps=steps, separated=separated))
                for separated in (False, True)
            ),
        ]
        for task in results.tasks
        for what, column in statistics.items()
        for steps in ("small", "large")
    ]


TALLY_COLUMNS = ("task", "of", "steps", "before separation", "after separation")


def sentences(results: Results, arms: tuple[str, str], names: tuple[str, str]) -> list[str]:
    """One sentence per task on where the first arm is above the second."""
    out = []
    for task in results.tasks:
        found = tally(results, arms, task)
        text = (
            f"{results.title(task)}: {names[0]} lies above {names[1]} in {found.above} of "
            f"{found.above + found.below + found.neither} readings, below in {found.below}, "
            f"not distinguishable in {found.neither}."
        )
        if found.where:
            where = [
                f"N = {c.num_train}, init scale {c.init_scale:g}, {results.steps_in_words(c)} steps"
                for c in found.where
            ]
            text += f" Above at some step: {'; '.join(where)}."
        out.append(text)
    return out


def final_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that claims are judged on: last step, small steps, one data set per task and N.

    A seed whose sample is not separated by then has status ``not_separated`` and is not live.
    """
    final = rows[rows["final"] & (rows["step_size"] == small_step(rows))].copy()
    unseparated = (final["status"] == "ok") & ~final["separated"].astype(bool)
    final["status"] = final["status"].where(~unseparated, "not_separated")
    sizes = final["num_train"].astype(str)
    final["dataset"] = final["dataset"] + ", N=" + sizes
    return final

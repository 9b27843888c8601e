"""Readings of a claim: at the end of training, at equal training loss, along the course.

At the end, networks may differ in how far they were trained. At equal loss each arm is read where
its training loss first falls to a level that the slowest arm of the claim still reaches. Along the
course, the claim is judged at every recorded step, and the step is found from which the verdict is
that of the end. And, of mean frequencies, at the end but of the part of each perturbation in the
directions in which the training images vary: a verdict that is another there, by an effect of less
than half the size, rests on what training has left over, the white share. All go through the one
judge.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from freqbias import _checks, schema
from freqbias._checked import checked
from freqbias.inference import Verdict
from freqbias.schema import FREQUENCY, IN_DATA, Rows
from freqbias.study.claims.judge import judge
from freqbias.study.claims.registry import Claim, Registry

_OF_NETWORK = [*schema.NETWORK, "attack"]
_MEMBER = ("id", "dataset", "regime", "attack")


@checked
def readings(rows: Rows, registry: Registry) -> list[dict[str, Any]]:
    """The readings of each claim on a column of the course, where its arms have one.

    Args:
      rows: the table of a run with all recorded steps; columns ``step``, ``final``, ``train_loss``.
      registry: the claims; only contrasts and trends of columns that every step has are read.

    Returns:
      One JSON-ready mapping per member: ``end`` and ``equal_loss`` (verdict, estimate, low, high,
      reason; of the latter also the ``loss``); ``in_data``, the same where the training images
      vary, None where that was not measured; and ``course``: ``steps``, the ``verdicts`` and
      effects at each, and ``holds_from``, the first step from which on every verdict is that of the
      end; None where the last step stands alone; ``moving``: of claims on the mean frequency, the
      arms whose course has not come to its end, see `moving`. Members without a course are left
      out.
    """
    recorded = rows[rows["geometry"].map(lambda name: schema.geometry(name).role) == "primary"]
    counts = recorded.groupby(_OF_NETWORK)["step"].transform("nunique")
    recorded = recorded[counts > 1]
    out = []
    for claim in registry.claims:
        if claim.kind not in ("contrast", "trend") or claim.statistic not in ON_COURSE:
            continue
        alone = registry._replace(claims=(claim,))
        of_claim = recorded[recorded["arm"].isin(claim.arms)]
        ends = _by_member(judge(of_claim[of_claim["final"]], alone)) if len(of_claim) else {}
        level = at_equal_loss(of_claim, claim, registry.min_live)
        equal = _by_member(judge(level, alone)) if len(level) else {}
        course = _course(of_claim, alone)
        inside = _in_data(of_claim, claim, registry)
        for member, end in ends.items():
            loss = _level_of(level, member)
            here = _at_scale_one(of_claim, member)
            out.append(
                {
                    **dict(zip(_MEMBER, member, strict=True)),
                    "title": claim.title,
                    "end": _reading(end),
                    "equal_loss": {**_reading(equal.get(member)), "loss": loss},
                    "in_data": _reading(inside[member]) if member in inside else None,
                    "course": course[member],
                    "moving": moving(here, claim.margin) if claim.statistic == FREQUENCY else {},
                }
            )
    return out


ON_COURSE = (FREQUENCY, "test_accuracy", "white_share", "beta_mean_frequency")
"""The columns that are measured at every recorded step and read on the course."""


def _in_data(
    rows: pd.DataFrame, claim: Claim, registry: Registry
) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """By member, the claim on what of the perturbations lies where the training images vary."""
    if claim.statistic != FREQUENCY or IN_DATA not in rows:
        return {}
    final = rows[rows["final"]]
    if not final[IN_DATA].notna().any():
        return {}
    inside = registry._replace(claims=(claim._replace(statistic=IN_DATA),))
    return _by_member(judge(final, inside))


def at_equal_loss(rows: pd.DataFrame, claim: Claim, min_live: float) -> pd.DataFrame:
    """One row per network, read where its training loss first falls to the level of its claim.

    The level of a data set, regime and initial scale is the lowest loss that a share ``min_live``
    of the live seeds of every arm reach. Between recorded steps the statistic is linear in the
    logarithm of the loss. A network that does not reach the level has NaN there and is not live.

    Args:
      rows: of the arms of one claim, all recorded steps.
      claim: its statistic is read; the other columns are those of the end.
      min_live: in (0, 1].

    Returns:
      The final rows with the statistic at the level, and the level in ``train_loss``.
    """
    if rows.empty:
        return rows
    values, levels = {}, {}
    for where, group in rows.groupby(["dataset", "regime", "init_scale", "attack"], sort=False):
        live = group[group["status"] == "ok"].groupby(["arm", "seed"])["train_loss"].min()
        reached = live.groupby("arm").quantile(min_live, interpolation="higher")
        levels[where] = float(reached.max())
        for (arm, seed), course in group.groupby(["arm", "seed"], sort=False):
            course = course.sort_values("step")  # noqa: PLW2901
            values[(*where, arm, seed)] = _read_at(
                course["train_loss"].to_numpy(float),
                course[claim.statistic].to_numpy(float),
                levels[where],
            )
    final = rows[rows["final"]]
    keys = list(
        zip(*(final[n] for n in ("dataset", "regime", "init_scale", "attack")), strict=True)
    )
    networks = zip(keys, final["arm"], final["seed"], strict=True)
    return final.assign(
        **{claim.statistic: [values[(*where, arm, seed)] for where, arm, seed in networks]},
        train_loss=[levels[where] for where in keys],
    )


def _read_at(loss: np.ndarray, values: np.ndarray, level: float) -> float:
    """The value where the running minimum of the loss first falls to the level."""
    known = np.isfinite(loss) & np.isfinite(values) & (loss > 0)
    loss, values = np.minimum.accumulate(loss[known]), values[known]
    reached = np.flatnonzero(loss <= level * (1 + 1e-9))
    if not len(reached):
        return float("nan")
    index = int(reached[0])
    if index == 0 or loss[index] == loss[index - 1]:
        return float(values[index])
    ends = slice(index - 1, index + 1)
    return float(np.interp(-np.log(level), -np.log(loss[ends]), values[ends]))


@checked
def moving(rows: Rows, margin: float, column: str = "mean_frequency") -> dict[str, float]:
    """Arms whose course is not flat: the change from half of the steps to the end, by arm.

    Args:
      rows: of one data set, regime, attack and initial scale, all recorded steps.
      margin: changes of the mean over seeds that matter.
      column: read on the course, linear in the logarithm of the step between recorded ones.

    Returns:
      arm -> mean over live seeds of f(T) - f(T / 2), of the arms where it is at least the margin.
    """
    for name in ("step", column):
        _checks.one_of("column", name, rows.columns)
    out = {}
    for arm, of_arm in rows[rows["status"] == "ok"].groupby("arm", sort=False):
        changes = []
        for _, course in of_arm.groupby("seed"):
            course = course.sort_values("step")  # noqa: PLW2901
            step, value = (course[name].to_numpy(float) for name in ("step", column))
            if len(step) > 1 and step[-1] > 1:
                half = np.interp(np.log(step[-1] / 2), np.log(np.maximum(step, 0.5)), value)
                changes.append(value[-1] - half)
        change = float(np.mean(changes)) if changes else float("nan")
        if np.isfinite(change) and abs(change) >= margin:
            out[str(arm)] = change
    return out


@checked
def settled(
    records: Sequence[Mapping[str, Any]], read: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Verdicts at the end, but for those that training on would undo: these are not decided.

    An effect e(T) has changed by d = e(T) - e(T / 2) in the second half of the steps. Where the
    same change once more, in the next doubling, brings the effect back within its margin (or out of
    it, where the verdict is equivalent), the networks have not come to an end that can be judged.

    Args:
      records: of `judge`, on the last step.
      read: of `readings`, on the same rows; e between recorded steps is linear in log step.

    Returns:
      Both, with these verdicts replaced and their reason.
    """
    courses = {_member(entry): entry["course"] for entry in read}
    moved = {}
    for record in records:
        course = courses.get(_member(record))
        if course is not None and (reason := _undone(record, course)):
            moved[_member(record)] = {"verdict": str(Verdict.NOT_DECIDED), "reason": reason}
    settled_read = []
    for entry in read:
        change = moved.get(_member(entry), {})
        course = entry["course"]
        if change:
            verdicts = [*course["verdicts"][:-1], change["verdict"]]
            holds_from = _holds_from(course["steps"], verdicts)
            course = {**course, "verdicts": verdicts, "holds_from": holds_from}
        settled_read.append({**entry, "end": {**entry["end"], **change}, "course": course})
    return [{**record, **moved.get(_member(record), {})} for record in records], settled_read


def _member(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in _MEMBER)


def _undone(record: Mapping[str, Any], course: Mapping[str, Any]) -> str:
    """Why a verdict does not last, or nothing."""
    steps = np.asarray(course["steps"], float)
    effects = np.array([effect[0] for effect in course["effects"]], float)  # None: NaN
    known = np.isfinite(effects)
    steps, effects = steps[known], effects[known]
    if len(steps) < 2 or steps[-1] < 2:
        return ""
    end = effects[-1]
    half = np.interp(np.log(steps[-1] / 2), np.log(np.maximum(steps, 0.5)), effects)
    after, margin = 2 * end - half, record["margin"]
    lasts = {
        str(Verdict.SUPPORTED): np.sign(end) * after >= margin,
        str(Verdict.OPPOSITE): np.sign(end) * after >= margin,
        str(Verdict.EQUIVALENT): abs(after) < margin,
    }.get(record["verdict"], True)
    if lasts:
        return ""
    return (
        f"moving: {half:+.3f} after half of the steps, {end:+.3f} at the end; as much again would "
        f"undo {record['verdict']}"
    )


def _course(rows: pd.DataFrame, registry: Registry) -> dict[tuple[str, ...], dict[str, Any]]:
    """By member: steps, verdicts and effects at each, and from which on the last verdict holds.

    On the way networks need not fit their training images yet; at the end they must.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    if "fitted_at" in rows:
        rows = rows.assign(fitted_at=rows["fitted_at"].where(rows["final"]))
    for step in sorted(rows["step"].unique()):
        for member, record in _by_member(judge(rows[rows["step"] == step], registry)).items():
            course = found.setdefault(member, {"steps": [], "verdicts": [], "effects": []})
            course["steps"].append(int(step))
            course["verdicts"].append(str(record["verdict"]))
            course["effects"].append([record[name] for name in ("estimate", "low", "high")])
    for course in found.values():
        course["holds_from"] = _holds_from(course["steps"], course["verdicts"])
    return found


def _holds_from(steps: Sequence[int], verdicts: Sequence[str]) -> int | None:
    """The first step from which every verdict is the last; None if the last stands alone."""
    if verdicts[-1] == str(Verdict.NOT_DECIDED):  # what is not decided holds nowhere
        return None
    same = [verdict == verdicts[-1] for verdict in verdicts]
    first = len(same) - next((n for n, equal in enumerate(reversed(same)) if not equal), len(same))
    return steps[first] if first < len(steps) - 1 else None


def _by_member(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    return {_member(record): record for record in records}


def _reading(record: Mapping[str, Any] | None) -> dict[str, Any]:
    names = ("verdict", "estimate", "low", "high", "reason")
    if record is None:
        return {**dict.fromkeys(names), "verdict": "not decided", "reason": "no course"}
    return {name: record[name] for name in names}


def _level_of(rows: pd.DataFrame, member: tuple[str, ...]) -> float | None:
    """The level of the loss at initial scale 1."""
    here = _at_scale_one(rows, member)
    return float(here["train_loss"].iloc[0]) if len(here) else None


def _at_scale_one(rows: pd.DataFrame, member: tuple[str, ...]) -> pd.DataFrame:
    _, dataset, regime, geometry = member
    return rows[
        (rows["dataset"] == dataset)
        & (rows["regime"] == regime)
        & (rows["geometry"] == geometry)
        & (rows["init_scale"] == 1.0)
    ]

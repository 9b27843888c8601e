"""From rows to verdicts: registered claims, evaluated and never typed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from freqbias import inference
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.inference import Estimate, Fitness, Verdict
from freqbias.schema import Rows
from freqbias.study import courses
from freqbias.study.claims.registry import Claim, Registry


@checked
def judge(rows: Rows, registry: Registry) -> list[dict[str, Any]]:
    """The verdict on every claim, wherever its arms were run: data set, regime and geometry.

    Each member is estimated at initial scale 1 and at every other scale of which there are rows;
    Holm runs over the members of one claim, geometry and scale; `freqbias.inference.decide` has the
    last word.

    Args:
      rows: the table of a run, of trained networks only.
      registry: the claims.

    Returns:
      One JSON-ready mapping per member; effects are None where nothing can be estimated.
    """
    cells = _Cells(rows)
    members = [
        (claim, dataset, regime, geometry)
        for claim in registry.claims
        for dataset in rows["dataset"].unique()
        for regime in claim.regimes
        for geometry in claim.geometries
        if _was_asked(cells, claim, dataset, regime, geometry)
    ]
    others = sorted(set(rows["init_scale"]) - {1.0}, reverse=True)
    by_scale = {s: _judge_scale(cells, members, registry, s) for s in (1.0, *others)}
    records = [
        _record(cells, member, registry, {scale: of[index] for scale, of in by_scale.items()})
        for index, member in enumerate(members)
    ]
    return [
        _after(record, claim, records) for record, (claim, *_) in zip(records, members, strict=True)
    ]


def _after(
    record: dict[str, Any], claim: Claim, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Supported only where the claim that it stands on is: else there is nothing to speak of."""
    where = ("dataset", "regime", "attack")
    held = any(
        other["id"] == claim.after
        and all(other[name] == record[name] for name in where)
        and other["verdict"] == Verdict.SUPPORTED
        for other in records
    )
    if not claim.after or held or record["verdict"] != Verdict.SUPPORTED:
        return record
    reason = f"{claim.after} is not supported here"
    return {**record, "verdict": str(Verdict.NOT_DECIDED), "reason": reason}


@checked
def judge_independence(
    records: Sequence[Mapping[str, Any]], registry: Registry
) -> list[dict[str, Any]]:
    """Whether effects depend on the data, by `freqbias.inference.effect_range` over sources.

    A set, its parts and its transforms are one source (`freqbias.data.titles.source`), which
    speaks by the first of its sets, one as it is before a transformed one. Supported: the effects
    of all sources are shown to lie within the margin of each other; opposite: two are shown to lie
    further apart; fewer than three sources: not decided. Data sets on which the claim is not
    decided do not take part. Standard deviation and deviations speak of all data sets.

    Args:
      records: what `judge` returned.
      registry: the claims.

    Returns:
      One JSON-ready mapping per claim, regime and geometry with at least two data sets: the
      standard deviation between data sets with its interval, the deviation of each, the verdict.
    """
    out = []
    for entry in registry.independence:
        members: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for record in records:
            usable = record["id"] == entry.of and record["standard_error"]
            if usable and record["verdict"] != Verdict.NOT_DECIDED:
                members.setdefault((record["regime"], record["attack"]), []).append(record)
        for (regime, geometry), group in members.items():
            if len(group) < 2:
                continue
            found = inference.heterogeneity(
                [_as_estimate(record, registry.confidence) for record in group],
                entry.margin,
                confidence=registry.confidence,
            )
            of_source: dict[str, Mapping[str, Any]] = {}
            for record in sorted(group, key=lambda r: titles.is_derived(r["dataset"])):
                of_source.setdefault(titles.source(record["dataset"]), record)
            if len(of_source) < 2:
                continue
            apart = inference.effect_range(
                [_as_estimate(record, registry.confidence) for record in of_source.values()],
                entry.margin,
                confidence=registry.confidence,
            )
            out.append(
                {
                    **entry._asdict(),
                    "regime": regime,
                    "attack": geometry,
                    "sd": found.sd,
                    "sd_low": found.sd_low,
                    "sd_high": found.sd_high,
                    "q": found.q,
                    "p_value": found.p_value,
                    "range": apart.range,
                    "range_low": apart.low,
                    "range_high": apart.high,
                    "sources": list(of_source),
                    "verdict": str(apart.verdict),
                    "deviations": {
                        record["dataset"]: [deviation.estimate, deviation.low, deviation.high]
                        for record, deviation in zip(group, found.deviations, strict=True)
                    },
                }
            )
    return out


class _Result(NamedTuple):
    """One member at one initial scale."""

    estimate: Estimate | None
    verdict: Verdict | None
    p_value: float | None  # adjusted
    reason: str


_MINIMAL = "minimal_relative_distance"
Member = tuple[Claim, str, str, str]


class _Cells:
    """The rows of each data set, regime, geometry and initial scale; where there are none, none."""

    def __init__(self, rows: pd.DataFrame) -> None:
        keys = ["dataset", "regime", "geometry", "init_scale"]
        self._found = dict(list(rows.groupby(keys, sort=False, observed=True)))
        self._none = rows.iloc[:0]

    def __getitem__(self, key: tuple[str, str, str, float]) -> pd.DataFrame:
        return self._found.get(key, self._none)


def _was_asked(cells: _Cells, claim: Claim, dataset: str, regime: str, geometry: str) -> bool:
    """Whether every arm of the claim was attacked so, and recorded in training if it has to be."""
    if claim.data and not set(claim.data) & set(titles.kinds(dataset)):
        return False
    here = cells[dataset, regime, geometry, 1.0]
    if "checkpoints" in claim.needs:
        here = here[here["checkpoints"] > 0]
    if {"minimal", "minimal_in_training"} & set(claim.needs) and _MINIMAL in here:
        here = here[here[_MINIMAL].notna() | (here["status"] != "ok")]
    return set(here["arm"]) >= set(claim.arms)


def _arm_rows(cell: pd.DataFrame, claim: Claim) -> list[pd.DataFrame]:
    return [cell[cell["arm"] == arm] for arm in claim.arms]


def _live(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    columns = [claim.statistic, *([claim.x] if claim.kind == "association" else [])]
    return rows[(rows["status"] == "ok") & rows[columns].notna().all(axis=1)]


def _was_measured(arm: pd.DataFrame, claim: Claim) -> bool:
    """Whether the claim's statistic was asked of an arm: a network that died has none anyway."""
    ok = arm[arm["status"] == "ok"]
    return ok.empty or bool(ok[claim.statistic].notna().any())


def _judge_scale(
    cells: _Cells, members: Sequence[Member], registry: Registry, scale: float
) -> list[_Result]:
    estimates = []
    for claim, dataset, regime, geometry in members:
        cell = cells[dataset, regime, geometry, scale]
        estimates.append(_estimate(claim, _arm_rows(cell, claim), registry.confidence))
    known = [i for i, (estimate, _) in enumerate(estimates) if estimate is not None]
    decisions = inference.verdicts(
        [estimate for estimate, _ in estimates if estimate is not None],
        [members[i][0].margin for i in known],
        direction=[members[i][0].direction for i in known],
        families=[(members[i][0].id, members[i][3]) for i in known],
        confidence=registry.confidence,
    )
    results = [_Result(None, None, None, reason) for _, reason in estimates]
    for i, decision in zip(known, decisions, strict=True):
        results[i] = _Result(
            estimates[i][0], decision.verdict, decision.adjusted_p_value, reason=""
        )
    return results


def _estimate(
    claim: Claim, arms: Sequence[pd.DataFrame], confidence: float
) -> tuple[Estimate | None, str]:
    """The estimate, or None and why there is none."""
    live = [_live(arm, claim) for arm in arms]
    for name, arm, alive in zip(claim.arms, arms, live, strict=True):
        if arm.empty:
            return None, f"arm {name} was not run"
        if len(alive) < 2:
            return None, f"arm {name} has {len(alive)} live seeds"
    if claim.kind == "association":
        x, y = (np.concatenate(column) for column in _within_arms(claim, live))
        few = len(x) < 3 + len(live)
        if few or min(np.ptp(x), np.ptp(y)) == 0:
            return None, "too few live seeds to rank" if few else "all ranks are equal"
        found = inference.rank_association(x, y, num_arms=len(live), confidence=confidence)
        return found, ""
    groups = [arm[claim.statistic].to_numpy(float) for arm in live]
    if claim.kind == "trend":
        levels = [float(arm[claim.x].iloc[0]) for arm in live]
        if claim.x == "kernel_size":
            levels = np.log2(levels).tolist()
        return inference.trend_interval(groups, levels, confidence=confidence), ""
    weights = claim.weights or [1 / len(groups)] * len(groups)
    return inference.contrast_interval(groups, weights, confidence=confidence), ""


def _within_arms(claim: Claim, live: Sequence[pd.DataFrame]) -> list[list[np.ndarray]]:
    """For x and y: per arm, ranks relative to the arm's mean rank, so that arms do not confound."""
    return [
        [_centred_ranks(arm[column].to_numpy(float)) for arm in live]
        for column in (claim.x, claim.statistic)
    ]


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    ranks = scipy.stats.rankdata(values)
    return ranks - ranks.mean()


def _record(
    cells: _Cells, member: Member, registry: Registry, by_scale: Mapping[float, _Result]
) -> dict[str, Any]:
    """One member, from what was found at each initial scale, of which the first is 1."""
    claim, dataset, regime, geometry = member
    floor = courses.floor_of(registry.accuracy_floor, dataset)
    fitness, reasons, not_trained = [], [], False
    for scale in by_scale:
        for name, arm in zip(
            claim.arms,
            _arm_rows(cells[dataset, regime, geometry, scale], claim),
            strict=True,
        ):
            if arm.empty or (scale != 1 and not _was_measured(arm, claim)):
                continue
            live = _live(arm, claim)
            accuracy = float(live["test_accuracy"].mean()) if len(live) else float("nan")
            fitness.append(Fitness(len(arm), len(live), accuracy, floor))
            reasons += _unfit(name, scale, fitness[-1], registry.min_live)
            reasons += (unfitted := _unfitted(name, scale, live))
            not_trained |= bool(unfitted)
    full, *_ = by_scale.values()
    others = {s: of for s, of in by_scale.items() if s != 1 and of.verdict is not None}
    if full.verdict is None:
        verdict, reasons = Verdict.NOT_DECIDED, [full.reason]
    else:
        found = [of.verdict for of in others.values() if of.verdict is not None]
        verdict = inference.decide(full.verdict, found, fitness, min_live=registry.min_live)
        verdict = Verdict.NOT_DECIDED if not_trained else verdict
        undecided = (Verdict.INIT_DEPENDENT, Verdict.INCONCLUSIVE)
        if verdict in undecided and set(found) - {full.verdict}:
            at_others = (f"{of.verdict} at {scale:.2g}" for scale, of in others.items())
            reasons = [", ".join((f"{full.verdict} at initial scale 1", *at_others))]
    at_one = cells[dataset, regime, geometry, 1.0]
    arms = pd.concat(_arm_rows(at_one, claim))
    return {
        "id": claim.id,
        "title": claim.title,
        "statement": claim.statement,
        "dataset": dataset,
        "regime": regime,
        "attack": geometry,
        "statistic": claim.statistic,
        "unit": claim.unit,
        "direction": claim.direction,
        **_effect(full.estimate),
        "margin": claim.margin,
        "p_holm": full.p_value,
        "verdict": str(verdict),
        "reason": "; ".join(reasons),
        "seeds": len(arms),
        "live_seeds": len(_live(arms, claim)),
        "other_scales": [
            {"init_scale": scale, **_effect(of.estimate), "verdict": str(of.verdict)}
            for scale, of in others.items()
        ],
        "detectable_effect": _detectable(full.estimate, registry.confidence),
        "arms": list(claim.arms),
        "by_dataset": any(entry.of == claim.id for entry in registry.independence),
        **({"of": claim.of, "stage": claim.stage} if claim.of else {}),
    }


def _as_estimate(record: Mapping[str, Any], confidence: float) -> Estimate:
    names = ("estimate", "standard_error", "degrees_of_freedom", "low", "high")
    values: Any = {name: record[name] if record[name] is not None else np.inf for name in names}
    return Estimate(**values, confidence=confidence, num_seeds=record["live_seeds"])


def _unfit(name: str, scale: float, arm: Fitness, min_live: float) -> list[str]:
    where = f"{name} at initial scale {scale:g}"
    if arm.num_live < min_live * arm.num_seeds:
        return [f"{where}: {arm.num_live} of {arm.num_seeds} seeds live"]
    if not arm.accuracy >= arm.accuracy_floor:
        return [f"{where}: accuracy {arm.accuracy:.2f} below the floor {arm.accuracy_floor:g}"]
    return []


def _unfitted(name: str, scale: float, live: pd.DataFrame) -> list[str]:
    """Why an arm is not trained: live seeds whose mean train accuracy is below what is asked."""
    if "fitted_at" not in live or live.empty or not live["fitted_at"].notna().all():
        return []
    accuracy, asked = float(live["train_accuracy"].mean()), float(live["fitted_at"].iloc[0])
    if accuracy >= asked:
        return []
    return [f"{name} at initial scale {scale:g}: not fitted, train accuracy {accuracy:.4f} "
            f"below {asked:g}"]  # fmt: skip


def _effect(estimate: Estimate | None) -> dict[str, float | None]:
    names = ("estimate", "low", "high", "standard_error", "degrees_of_freedom")
    if estimate is None:
        return dict.fromkeys(names)
    values = {name: float(getattr(estimate, name)) for name in names}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _detectable(estimate: Estimate | None, confidence: float) -> float | None:
    """Smallest effect found with 80 % power by as many seeds with this spread."""
    if estimate is None or estimate.link != "identity":
        return None
    return float(
        inference.detectable_effect(
            estimate.standard_error, estimate.degrees_of_freedom, confidence=confidence
        )
    )

"""From rows to verdicts: the claims registered in ``claims.toml``, evaluated and never typed.

python -m experiments.claims --run=results/quick      # judge the rows of a finished run again
"""

import os
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from absl import flags
from scipy import stats

from experiments import common, curves
from freqbias import _checks, inference, plotting, runs
from freqbias.inference import Arm, Estimate, Verdict

REGISTRY = Path(__file__).with_name("claims.toml")
KINDS = ("contrast", "trend", "mean", "association")


class Claim(NamedTuple):
    """One registered claim; the fields are explained at the head of ``claims.toml``."""

    id: str
    title: str
    statement: str
    statistic: str
    unit: str
    margin: float
    direction: inference.Direction
    regimes: tuple[str, ...]
    geometries: tuple[str, ...]
    kind: str  # one of KINDS
    arms: tuple[str, ...]
    weights: tuple[float, ...] = ()  # of a contrast
    x: str = ""  # column of a trend or an association
    needs: tuple[str, ...] = ()  # what must be asked of the arms, fields of `study.Asked`


class Independence(NamedTuple):
    """That the effect of a claim does not depend on the data set (C4)."""

    id: str
    title: str
    statement: str
    of: str  # id of the claim
    margin: float  # largest deviation from the mean over data sets that does not matter


class Registry(NamedTuple):
    """All claims and the rules that hold for each."""

    claims: tuple[Claim, ...]
    confidence: float
    min_live: float
    accuracy_floor: Mapping[str, float]
    independence: tuple[Independence, ...] = ()


def load_registry(path: Path = REGISTRY) -> Registry:
    """Reads and checks the registry.

    Raises:
      ValueError: a claim repeats an id or does not say exactly one kind of estimate.
    """
    with open(path, "rb") as file:
        content = tomllib.load(file)
    claims = tuple(_parse(entry) for entry in content["claim"])
    ids = [claim.id for claim in claims]
    if len(set(ids)) != len(ids):
        raise ValueError(f"claim ids must not repeat; got {ids}.")
    independence = tuple(Independence(**entry) for entry in content.get("independence", ()))
    return Registry(
        claims,
        accuracy_floor=content["accuracy_floor"],
        independence=independence,
        **content["rules"],
    )


def select(registry: Registry, ids: Iterable[str]) -> Registry:
    """The registry with only the claims named, by id ("C2-trend") or by number ("C2").

    Raises:
      ValueError: an unknown name; the message lists the valid ones.
    """
    wanted = list(ids)
    known = sorted({name for c in registry.claims for name in (c.id, _number(c))})
    for name in wanted:
        _checks.one_of("claims", name, known)
    chosen = [c for c in registry.claims if c.id in wanted or _number(c) in wanted]
    return registry._replace(claims=tuple(chosen))


def with_arms(registry: Registry, arms: Mapping[str, Collection[str]]) -> Registry:
    """The registry with only the claims that a design can decide.

    Args:
      registry: the claims.
      arms: of the design, each with the names of what is asked of it (`Claim.needs`).
    """

    def there(claim: Claim) -> bool:
        return all(arm in arms and set(claim.needs) <= set(arms[arm]) for arm in claim.arms)

    return registry._replace(claims=tuple(claim for claim in registry.claims if there(claim)))


def registry_of(run: str | os.PathLike) -> Registry:
    """The registry with the claims for which a run was made."""
    ids = runs.read_config(run)["config"]["claims"]
    registry = load_registry()
    return registry._replace(claims=tuple(claim for claim in registry.claims if claim.id in ids))


def judge(rows: pd.DataFrame, registry: Registry) -> list[dict[str, Any]]:
    """The verdict on every claim, wherever its arms were run: data set, regime and geometry.

    Each member is estimated at initial scale 1 and, where there are rows, at 1/2; Holm runs over
    the members of one claim, geometry and scale; `freqbias.inference.decide` has the last word.

    Args:
      rows: the table of a run, of trained networks only.
      registry: the claims.

    Returns:
      One JSON-ready mapping per member; effects are None where nothing can be estimated.
    """
    rows = rows.assign(geometry=rows["attack"].str.rsplit("_", n=1).str[-1])
    members = [
        (claim, dataset, regime, geometry)
        for claim in registry.claims
        for dataset in rows["dataset"].unique()
        for regime in claim.regimes
        for geometry in claim.geometries
        if _was_asked(rows, claim, dataset, regime, geometry)
    ]
    by_scale = {scale: _judge_scale(rows, members, registry, scale) for scale in (1.0, 0.5)}
    return [
        _record(rows, member, registry, *(by_scale[scale][index] for scale in (1.0, 0.5)))
        for index, member in enumerate(members)
    ]


def judge_independence(
    records: Sequence[Mapping[str, Any]], registry: Registry
) -> list[dict[str, Any]]:
    """Whether effects depend on the data set, by `freqbias.inference.heterogeneity`.

    Supported: every data set's effect is shown to lie within the margin of their mean; opposite:
    some is shown to lie beyond. Data sets on which the claim is not decided do not take part.

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
                    "verdict": str(found.verdict),
                    "deviations": {
                        record["dataset"]: [deviation.estimate, deviation.low, deviation.high]
                        for record, deviation in zip(group, found.deviations, strict=True)
                    },
                }
            )
    return out


def as_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The claims as a table for the terminal."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:+.4f}"

    table = pd.DataFrame(
        {
            "claim": [r["id"] for r in records],
            "data set": [r["dataset"] for r in records],
            "regime": [r["regime"] for r in records],
            "attack": [r["attack"] for r in records],
            "effect": [number(r["estimate"]) for r in records],
            "95 % interval": [f"[{number(r['low'])}, {number(r['high'])}]" for r in records],
            "margin": [f"{r['margin']:g}" for r in records],
            "live": [f"{r['live_seeds']}/{r['seeds']}" for r in records],
            "verdict": [r["verdict"] for r in records],
        }
    )
    return table.to_string(index=False)


def independence_table(found: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Dependence on the data set as a table, for the terminal or in Markdown."""
    columns = {
        "claim": [f["id"] for f in found],
        "regime": [f["regime"] for f in found],
        "attack": [f["attack"] for f in found],
        "data sets": [len(f["deviations"]) for f in found],
        "sd between": [f"{f['sd']:.4f}" for f in found],
        "95 % interval": [f"[{f['sd_low']:.4f}, {f['sd_high']:.4f}]" for f in found],
        "margin": [f"{f['margin']:g}" for f in found],
        "verdict": [f["verdict"] for f in found],
    }
    if markdown:
        return _markdown_table(list(columns), zip(*columns.values(), strict=True))
    return pd.DataFrame(columns).to_string(index=False)


def as_markdown(records: Sequence[Mapping[str, Any]], datasets: Sequence[str] | None = None) -> str:
    """Claims by data set and regime, for the primary attack (L2), as a Markdown table.

    Args:
      records: from `judge`.
      datasets: those with columns of their own; verdicts on the others are counted in a last one.
        Default: all.
    """
    primary = [r for r in records if r["attack"] == "l2"]
    members = {(r["id"], r["dataset"], r["regime"]): r for r in primary}
    own = {r["dataset"] for r in primary} if datasets is None else {*datasets}
    columns = sorted({(r["dataset"], r["regime"]) for r in primary if r["dataset"] in own})
    others = {r["dataset"] for r in primary} - own
    heads = ["claim", *(f"{dataset}, {regime}" for dataset, regime in columns)]
    if others:
        heads.append(f"{len(others)} other sets")
    lines = []
    for name, title in {r["id"]: r["title"] for r in primary}.items():
        cells = [_markdown_cell(members.get((name, *column))) for column in columns]
        if others:
            verdicts = Counter(
                r["verdict"] for r in primary if r["id"] == name and r["dataset"] in others
            )
            cells.append(", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()))
        lines.append([f"{name} {title}", *cells])
    return _markdown_table(heads, lines)


def _markdown_table(heads: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [f"| {' | '.join(str(cell) or '-' for cell in row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def _markdown_cell(record: Mapping[str, Any] | None) -> str:
    if record is None or record["estimate"] is None:
        return record["verdict"] if record else ""
    low, high = record["low"], record["high"]
    return f"{record['verdict']}: {record['estimate']:+.3f} [{low:+.3f}, {high:+.3f}]"


class _Result(NamedTuple):
    """One member at one initial scale."""

    estimate: Estimate | None
    verdict: Verdict | None
    p_value: float | None  # adjusted
    reason: str


Member = tuple[Claim, str, str, str]


def _parse(entry: Mapping[str, Any]) -> Claim:
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(
            f"claim {entry['id']!r} must have exactly one of {', '.join(KINDS)}; got {kinds}."
        )
    kind, value = kinds[0], entry[kinds[0]]
    fields = {key: value for key, value in entry.items() if key not in KINDS}
    fields |= {name: tuple(fields.get(name, ())) for name in ("regimes", "geometries", "needs")}
    _checks.one_of("direction", fields["direction"], ("greater", "less"))
    if kind == "contrast":
        return Claim(**fields, kind=kind, arms=tuple(value), weights=tuple(value.values()))
    if kind == "mean":
        return Claim(**fields, kind=kind, arms=tuple(value))
    return Claim(**fields, kind=kind, arms=tuple(value["arms"]), x=value["x"])


def _number(claim: Claim) -> str:
    return claim.id.split("-")[0]


def _cell(
    rows: pd.DataFrame, dataset: str, regime: str, geometry: str, scale: float
) -> pd.DataFrame:
    return rows[
        (rows["dataset"] == dataset)
        & (rows["regime"] == regime)
        & (rows["geometry"] == geometry)
        & (rows["init_scale"] == scale)
    ]


def _was_asked(rows: pd.DataFrame, claim: Claim, dataset: str, regime: str, geometry: str) -> bool:
    """Whether every arm of the claim was attacked so, and recorded in training if it has to be."""
    here = _cell(rows, dataset, regime, geometry, 1.0)
    if "checkpoints" in claim.needs:
        here = here[here["checkpoints"] > 0]
    return set(here["arm"]) >= set(claim.arms)


def _arm_rows(cell: pd.DataFrame, claim: Claim) -> list[pd.DataFrame]:
    return [cell[cell["arm"] == arm] for arm in claim.arms]


def _live(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    columns = [claim.statistic, *([claim.x] if claim.kind == "association" else [])]
    return rows[(rows["status"] == "ok") & rows[columns].notna().all(axis=1)]


def _judge_scale(
    rows: pd.DataFrame, members: Sequence[Member], registry: Registry, scale: float
) -> list[_Result]:
    estimates = []
    for claim, dataset, regime, geometry in members:
        cell = _cell(rows, dataset, regime, geometry, scale)
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
        if min(np.ptp(x), np.ptp(y)) == 0:
            return None, "all ranks are equal"
        return inference.rank_association(x, y, confidence=confidence), ""
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
    ranks = stats.rankdata(values)
    return ranks - ranks.mean()


def _record(
    rows: pd.DataFrame, member: Member, registry: Registry, full: _Result, half: _Result
) -> dict[str, Any]:
    claim, dataset, regime, geometry = member
    floor = curves.floor_of(registry.accuracy_floor, dataset)
    fitness, reasons = [], []
    for scale in (1.0, 0.5):
        for name, arm in zip(
            claim.arms,
            _arm_rows(_cell(rows, dataset, regime, geometry, scale), claim),
            strict=True,
        ):
            if arm.empty:
                continue
            live = _live(arm, claim)
            accuracy = float(live["test_accuracy"].mean()) if len(live) else float("nan")
            fitness.append(Arm(len(arm), len(live), accuracy, floor))
            reasons += _unfit(name, scale, fitness[-1], registry.min_live)
    if full.verdict is None:
        verdict, reasons = Verdict.NOT_DECIDED, [full.reason]
    else:
        verdict = inference.decide(full.verdict, half.verdict, fitness, min_live=registry.min_live)
        undecided = (Verdict.INIT_DEPENDENT, Verdict.INCONCLUSIVE)
        if verdict in undecided and half.verdict not in (None, full.verdict):
            reasons = [f"{full.verdict} at initial scale 1, {half.verdict} at 1/2"]
    at_one = _cell(rows, dataset, regime, geometry, 1.0)
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
        "half_scale": None if half.estimate is None else _effect(half.estimate),
        "detectable_effect": _detectable(full.estimate, registry.confidence),
        "arms": list(claim.arms),
    }


def _as_estimate(record: Mapping[str, Any], confidence: float) -> Estimate:
    names = ("estimate", "standard_error", "degrees_of_freedom", "low", "high")
    values: Any = {name: record[name] if record[name] is not None else np.inf for name in names}
    return Estimate(**values, confidence=confidence, num_seeds=record["live_seeds"])


def _unfit(name: str, scale: float, arm: Arm, min_live: float) -> list[str]:
    where = f"{name} at initial scale {scale:g}"
    if arm.num_live < min_live * arm.num_seeds:
        return [f"{where}: {arm.num_live} of {arm.num_seeds} seeds live"]
    if not arm.accuracy >= arm.accuracy_floor:
        return [f"{where}: accuracy {arm.accuracy:.2f} below the floor {arm.accuracy_floor:g}"]
    return []


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


_MARKDOWN = flags.DEFINE_bool(
    "markdown",
    False,
    "Print the L2 verdicts as a Markdown table: in full on the main data sets, on others counted.",
)


class Plan(NamedTuple):
    """A checked request."""

    rows: pd.DataFrame
    registry: Registry


def prepare() -> Plan:
    """Reads the rows of a finished run and the claims it was made for."""
    registry = registry_of(common.RUN.value)
    rows = runs.read_rows(common.RUN.value)
    return Plan(curves.with_curves(rows, registry.accuracy_floor), registry)


def execute(plan: Plan) -> None:
    """Prints the verdicts."""
    records = judge(plan.rows[plan.rows["final"]], plan.registry)
    found = judge_independence(records, plan.registry)
    if _MARKDOWN.value:
        print(as_markdown(records, plotting.main_datasets(plan.rows)))
    else:
        print(as_table(records))
    if found:
        print("\n" + independence_table(found, markdown=_MARKDOWN.value))


if __name__ == "__main__":
    common.run(prepare, execute)

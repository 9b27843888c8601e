"""Verdicts as tables, for the terminal and in Markdown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

from freqbias._checked import checked


class Verdicts(TypedDict):
    """The contents of ``claims.json``."""

    claims: list[dict[str, Any]]  # from `judge`
    independence: list[dict[str, Any]]  # from `judge_independence`
    readings: list[dict[str, Any]]  # from `readings`


@checked
def as_text(
    found: Verdicts, *, markdown: bool = False, datasets: Sequence[str] | None = None
) -> str:
    """All verdicts as tables, for the terminal or in Markdown.

    Args:
      found: the verdicts.
      markdown: in Markdown, then of the primary attack only.
      datasets: as in `as_markdown`.
    """
    records = found["claims"]
    if not records:
        return "no claim is decided by these settings"
    tables = [as_markdown(records, datasets) if markdown else as_table(records)]
    if found["independence"]:
        tables.append(independence_table(found["independence"], markdown=markdown))
    if found["readings"]:
        tables.append(readings_table(found["readings"], markdown=markdown))
    return "\n\n".join(tables)


@checked
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


@checked
def readings_table(found: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """The readings side by side, for the terminal or in Markdown."""

    def reading(one: Mapping[str, Any]) -> str:
        if one["estimate"] is None:
            return str(one["verdict"])
        interval = f"[{one['low']:+.3f}, {one['high']:+.3f}]"
        return f"{one['verdict']}: {one['estimate']:+.3f} {interval}"

    def along(course: Mapping[str, Any]) -> str:
        start = course["holds_from"]
        return "not before the end" if start is None else f"as at the end from step {start:,}"

    def moving(arms: Mapping[str, float]) -> str:
        moves = ", ".join(f"{arm} {change:+.3f}" for arm, change in arms.items())
        return f" (moving: {moves})" if moves else ""

    columns = {
        "claim": [f["id"] for f in found],
        "data set": [f["dataset"] for f in found],
        "regime": [f["regime"] for f in found],
        "at the end": [reading(f["end"]) + moving(f["moving"]) for f in found],
        "at equal training loss": [reading(f["equal_loss"]) for f in found],
        "along the course": [along(f["course"]) for f in found],
    }
    inside = [f.get("in_data") for f in found]
    if any(inside):
        columns["where the images vary"] = [reading(one) if one else "-" for one in inside]
    if markdown:
        return _markdown_table(list(columns), zip(*columns.values(), strict=True))
    return pd.DataFrame(columns).to_string(index=False)


@checked
def independence_table(found: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Dependence on the data set as a table, for the terminal or in Markdown."""
    columns = {
        "claim": [f["id"] for f in found],
        "regime": [f["regime"] for f in found],
        "attack": [f["attack"] for f in found],
        "data sets": [len(f["deviations"]) for f in found],
        "sources": [len(f["sources"]) for f in found],
        "range over sources": [f"{f['range']:.4f}" for f in found],
        "95 % interval": [f"[{f['range_low']:.4f}, {f['range_high']:.4f}]" for f in found],
        "margin": [f"{f['margin']:g}" for f in found],
        "verdict": [f["verdict"] for f in found],
    }
    if markdown:
        return _markdown_table(list(columns), zip(*columns.values(), strict=True))
    return pd.DataFrame(columns).to_string(index=False)


@checked
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

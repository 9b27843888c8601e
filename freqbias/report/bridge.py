"""The way from the authors' protocol to this study's own: where a verdict changes, and by what."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from freqbias import plotting, schema
from freqbias.data import titles
from freqbias.plotting import Drawn
from freqbias.plotting.panels import in_panel, live_values, panel_order
from freqbias.plotting.style import regime_name
from freqbias.report.claims import Claim, Panel, panel_head
from freqbias.report.figures import COURSE, ReportFigure, course_figure
from freqbias.report.markup import bold, chip, effect, joined, number, signed, soft
from freqbias.report.page import Block, Bullets, Cell, Row, Section, Table

AUTHORS = "authors"  # in the name of the figure of the first stage's course
_LATER = ("l2", schema.FREQUENCY)  # attack and statistic from the second stage on


class Split(NamedTuple):
    """A run without the stages, and the claims at the stages."""

    rows: pd.DataFrame
    claims: dict[str, Any]
    staged: list[Claim]  # in the order of the stages; empty without a bridge


class _Reading(NamedTuple):
    """A line of the way: a stage, read in one way."""

    title: str
    stage: str
    attack: str
    statistic: str


def split(rows: pd.DataFrame, claims: Mapping[str, Any]) -> Split:
    """What the rest of the page shows, and what this section does.

    Arms under the protocol of a stage are left to this section, unless there are no others: then
    the page shows those of the first stage, with their claims.

    Args:
      rows: of all recorded steps.
      claims: the contents of ``claims.json``.
    """
    listed = list(claims.get("claims", ()))
    staged = [claim for claim in listed if claim.get("of")]
    if not staged:
        return Split(rows, dict(claims), [])
    arms = {arm for claim in staged for arm in claim["arms"]}
    protocols = [name for name in rows.loc[rows["arm"].isin(arms), "protocol"].unique() if name]
    shown = rows[~rows["protocol"].isin(protocols)]
    kept = [claim for claim in listed if not claim.get("of")]
    if shown.empty:
        first = [claim for claim in staged if claim["stage"] == staged[0]["stage"]]
        arms = set(_arms_at(staged, str(staged[0]["stage"])))
        shown = rows[rows["protocol"].isin(rows.loc[rows["arm"].isin(arms), "protocol"])]
        kept = first
    ids = {claim["id"] for claim in kept}
    read = [entry for entry in claims.get("readings", ()) if entry["id"] in ids]
    return Split(shown, {**claims, "claims": kept, "readings": read}, staged)


def bridge(rows: pd.DataFrame, staged: Sequence[Claim], looks: Drawn) -> Section | None:
    """The section; None without a bridge.

    Args:
      rows: of all recorded steps.
      staged: the claims at the stages, in their order.
      looks: how arms are drawn.
    """
    stages = list(dict.fromkeys(str(claim["stage"]) for claim in staged))
    if not stages:
        return None
    panels = panel_order((str(claim["dataset"]), str(claim["regime"])) for claim in staged)
    way = _way(staged, stages)
    content: list[Block] = [
        "From the authors' protocol to this study's, one change at a time; what is changed stays "
        "changed. Their statistic is the mean log amplitude of the grey perturbation beyond 1/4 "
        "cycle/pixel less that below (nats), over images whose attack succeeds; the first line is "
        "their attack, too. The order of the changes matters: one that shows only together with "
        "another shows at the second.",
        _changes(staged, way, panels),
        _figure(staged),
    ]
    first = rows[rows["arm"].isin(_arms_at(staged, stages[0]))]
    if first["step"].nunique() > 1:
        title = f"The course of training, {stages[0]}"
        content.append(course_figure(first, 1.0, looks, f"{COURSE}_{AUTHORS}", title))
    for of in dict.fromkeys(str(claim["of"]) for claim in staged):
        content.append(_table([claim for claim in staged if claim["of"] == of], of, way, panels))
    content.append(_arms(rows, staged, stages, looks, panels))
    title = "From the authors' protocol to ours"
    return Section("bridge", title, content, short="Authors' protocol")


def _arms_at(staged: Sequence[Claim], stage: str) -> list[str]:
    """The arms of the claims at a stage."""
    return list(dict.fromkeys(arm for c in staged if c["stage"] == stage for arm in c["arms"]))


def _way(staged: Sequence[Claim], stages: Sequence[str]) -> list[_Reading]:
    """The lines: the first stage in the authors' way, then in ours, then every other in ours."""
    there = {(str(c["stage"]), str(c["attack"]), str(c["statistic"])) for c in staged}
    first = stages[0]
    readings = (
        _Reading(f"{first}, statistic and attack", first, "linf-long", schema.LOG_TILT),
        _Reading("fewer steps and images of the attack", first, "linf", schema.LOG_TILT),
        _Reading("mean frequency: power, colour, all images", first, "linf", schema.FREQUENCY),
        _Reading("L2 instead of L∞", first, *_LATER),
        *(_Reading(stage, stage, *_LATER) for stage in stages[1:]),
    )
    return [one for one in readings if (one.stage, one.attack, one.statistic) in there]


def _read(claims: Sequence[Claim], of: str, panel: Panel, one: _Reading) -> Claim | None:
    where = (of, *panel, one.stage, one.attack, one.statistic)
    names = ("of", "dataset", "regime", "stage", "attack", "statistic")
    found = [claim for claim in claims if tuple(claim[name] for name in names) == where]
    return found[0] if found else None


def _changes(claims: Sequence[Claim], way: Sequence[_Reading], panels: Sequence[Panel]) -> Bullets:
    """One sentence per claim and panel: the verdict at either end, and each change on the way."""
    items = []
    for of in dict.fromkeys(str(claim["of"]) for claim in claims):
        for panel in panels:
            found = [(one, _read(claims, of, panel, one)) for one in way]
            known = [(one, claim) for one, claim in found if claim is not None]
            if not known:
                continue
            told = [f"{_said(known[0][1])} under the {known[0][0].stage}"]
            for (_, before), (one, claim) in itertools.pairwise(known):
                if claim["verdict"] != before["verdict"]:
                    told.append(f"{_said(claim)} with {one.title}")
            if len(told) == 1:
                told.append("the same all the way")
            where = f"{titles.title(panel[0])}, {regime_name(panel[1])}"
            items.append(joined([bold(of), f" on {where}: {'; '.join(told)}."]))
    return Bullets(items, "findings")


def _said(claim: Claim) -> str:
    if claim["estimate"] is None:
        return str(claim["verdict"])
    unit = " nats" if claim["unit"] == "nats" else ""
    return f"{claim['verdict']} ({signed(claim['estimate'])}{unit})"


def _figure(staged: Sequence[Claim]) -> ReportFigure:
    return ReportFigure(
        "bridge",
        "C1 and C2 from the authors' protocol to ours",
        "Effects at each stage, from the authors' protocol, above, to this study's own; every line "
        "changes one more thing. In cycles/pixel: mean frequency, filled: L2, hollow: L∞. In nats: "
        "the authors' statistic under L∞, filled: the longest attack at that stage. Bars: 95 % "
        "intervals over live seeds; colours and markers: verdicts.",
        "Effects of two claims by stage, a column per data set and regime.",
        plotting.bridge(staged),
        "claims.json",
    )


def _table(
    claims: Sequence[Claim], of: str, way: Sequence[_Reading], panels: Sequence[Panel]
) -> Table:
    """The way of one claim; below each effect the authors' statistic, where another is read."""
    rows = []
    for one in way:
        theirs = _Reading("", one.stage, "linf", schema.LOG_TILT)
        cells = [
            _cell(
                _read(claims, of, panel, one),
                _read(claims, of, panel, theirs) if one[2:] == _LATER else None,
            )
            for panel in panels
        ]
        rows.append((one.title, *cells))
    return Table(
        f"{of} on the way: effect with its 95 % interval and verdict (cycles/pixel; in the first "
        "lines nats). Small: the authors' statistic, under L∞, of the same networks.",
        ["Changed", *(panel_head(*panel) for panel in panels)],
        rows,
    )


def _cell(claim: Claim | None, theirs: Claim | None) -> str:
    if claim is None:
        return soft("not run")
    parts: list[Any] = [chip(str(claim["verdict"]), str(claim.get("reason") or "")), " "]
    parts.append(effect(claim))
    if theirs is not None and theirs["estimate"] is not None:
        said = f"log amplitude {signed(theirs['estimate'])}, {theirs['verdict']}"
        parts += ["\n", soft(said, "live")]
    return joined(parts)


def _arms(
    rows: pd.DataFrame,
    staged: Sequence[Claim],
    stages: Sequence[str],
    looks: Drawn,
    panels: Sequence[Panel],
) -> Table:
    """Every arm of a stage: our statistic beside theirs, and how well it is fitted."""
    named = [arm for stage in stages for arm in _arms_at(staged, stage)]
    protocols = {name for name in rows.loc[rows["arm"].isin(named), "protocol"] if name}
    others = set(rows.loc[rows["protocol"].isin(protocols), "arm"]) - set(named)
    final = rows[rows["final"]]
    lines: list[Row] = [
        (
            looks[arm].label,
            *(_of_arm(in_panel(*panel)(final[final["arm"] == arm])) for panel in panels),
        )
        for arm in (*named, *looks.in_order(others))
    ]
    return Table(
        "Means over live seeds: mean frequency under L2 and L∞ (cycles/pixel), the authors' "
        "statistic under L∞ (nats), train accuracy and learning rate.",
        ["Arm", *(panel_head(*panel) for panel in panels)],
        lines,
        folded=f"Both statistics of all {len(lines)} arms",
        wide=True,
    )


def _of_arm(rows: pd.DataFrame) -> Cell:
    def mean(geometry: str, column: str, digits: int) -> str:
        here = rows[rows["geometry"] == geometry]
        values = live_values(here, column)
        return number(float(values.mean()) if len(values) else None, digits)

    if rows.empty:
        return Cell(soft("not run"), "")
    parts = [
        mean("l2", schema.FREQUENCY, 3),
        mean("linf", schema.FREQUENCY, 3),
        mean("linf", schema.LOG_TILT, 2),
        mean("l2", "train_accuracy", 3),
        mean("l2", "learning_rate", 4),
    ]
    return Cell(" · ".join(parts), "")

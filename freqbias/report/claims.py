"""Claims on a page: verdicts counted, effects with their intervals, all numbers.

``claims`` are the mappings of ``claims.json``. A panel is a data set in a regime.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from freqbias import schema
from freqbias.data import titles
from freqbias.plotting.style import regime_name
from freqbias.report.figures import second_opinions
from freqbias.report.markup import (
    bold,
    chip,
    counted,
    effect,
    interval,
    intervals,
    joined,
    limits_of,
    line_break,
    link,
    number,
    signed,
    soft,
    tag,
)
from freqbias.report.page import LONG, Aside, Block, Bullets, Cell, Group, Row, Table

Claim: TypeAlias = Mapping[str, Any]
Panel: TypeAlias = tuple[str, str]
_MOST_DEVIATIONS = 4  # that stand in one cell
_MANY_PANELS = 4  # more than these leave no column for what is claimed
_UNDECIDED = ("not decided", "init-dependent")  # verdicts that have their reason beside them


def panel_head(dataset: str, regime: str) -> str:
    """A panel as the head of a column."""
    name = soft(regime_name(regime), "regime")
    return joined([titles.title(dataset), line_break(), name])


def tally(claims: Sequence[Claim]) -> Bullets:
    """How many tests gave which verdict: under L2, each second opinion, the other box."""
    attacks = sorted({str(claim["attack"]) for claim in claims}, key=schema.attack_rank)
    kinds = {
        kind: [attack for attack in attacks if schema.geometry(attack).role == kind]
        for kind in ("primary", "second", "box")
    }
    items = []
    for name, members in (
        ("L2 attack (primary)", kinds["primary"]),
        *((f"{schema.attack_label(a)} attack (second opinion)", [a]) for a in kinds["second"]),
        ("L2 attack, box changed", kinds["box"]),
    ):
        tests = {
            (claim["id"], claim["dataset"], claim["regime"]): str(claim["verdict"])
            for claim in claims
            if claim["attack"] in members
        }
        if tests:
            total = f"{name}, {len(tests)} test{'' if len(tests) == 1 else 's'}:"
            items.append(joined([soft(total, "name"), counted(list(tests.values()))], " "))
    return Bullets(items, "tally")


def claims_table(claims: Sequence[Claim], panels: Sequence[Panel], *, others: bool) -> Table:
    """One row per claim, one cell per panel.

    Args:
      claims: those shown.
      panels: the columns.
      others: whether claims on further data sets stand elsewhere.
    """
    second = ", ".join(second_opinions(claims))
    many = len(panels) > _MANY_PANELS
    rows: list[Row] = []
    for name in dict.fromkeys(str(claim["id"]) for claim in claims):
        members = [claim for claim in claims if str(claim["id"]) == name]
        cells = [_claim_cell(members, panel) for panel in panels]
        if many:
            rows += [Group(_named(members[0]), "claim"), cells]
        else:
            rows.append([_named(members[0]), *cells])
    return Table(
        "Effect with its 95 % interval over seeds. Plots: dot, estimate "
        f"({f'hollow: {second}; ' if second else ''}grey: box changed); line, interval; shaded, "
        "effects within the margin; one scale per row. Verdicts: Holm over the claim's family; the "
        f"interval shown is not widened for it.{' Further data sets: below.' if others else ''}",
        [*(() if many else ("Claim",)), *(panel_head(*panel) for panel in panels)],
        rows,
        kind="claims many" if many else "claims",
        headed=not many,
    )


def claims_by_dataset(
    claims: Sequence[Claim],
    *,
    caption: str,
    folded: str = "",
    title: Callable[[str], str] = titles.title,
    first: str = "Data set",
) -> Table:
    """One row per claim and data set, under the name of the claim and the regime.

    Args:
      claims: under one attack each, in the order of the data sets.
      caption: of the table.
      folded: as in `Table`.
      title: from a data set to its name.
      first: the head of the first column.
    """
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((str(claim["id"]), str(claim["regime"])), []).append(claim)
    rows: list[Row] = []
    for (name, regime), members in groups.items():
        of = members[0]
        head = [bold(name), " ", of.get("title") or "", ", ", bold(regime_name(regime))]
        if of.get("margin") is not None:
            head += [" ", soft(f"({_margin(of)})")]
        rows.append(Group(joined(head)))
        limits = limits_of(members)
        for claim in members:
            reason = str(claim.get("reason") or "")
            because = soft(reason, "because") if _needs_reason(claim) and reason else ""
            rows.append(
                (
                    title(str(claim["dataset"])),
                    effect(claim),
                    intervals([claim], limits),
                    joined([chip(claim["verdict"]), because]),
                    _live(claim),
                )
            )
    heads = (first, "Effect [95 % interval]", soft("Interval"), "Verdict", "Live")
    return Table(caption, heads, rows, kind="minor", folded=folded)


def independence_table(entries: Sequence[Claim]) -> Table:
    """Whether effects depend on the data set; of many deviations, the two furthest apart."""
    rows = []
    for entry in entries:
        ordered = sorted(entry["deviations"].items(), key=lambda item: -item[1][0])
        shown = list(entry["deviations"].items())
        if len(ordered) > _MOST_DEVIATIONS:
            shown = [ordered[0], ordered[-1]]
        said: Any = "; ".join(f"{titles.title(name)} {_deviation(d)}" for name, d in shown)
        if len(shown) < len(ordered):
            all_numbers = link("#numbers", "all numbers")
            note = [f"(largest and smallest of {len(ordered)}; all under ", all_numbers, ")"]
            said = joined([said, " ", soft(joined(note))])
        rows.append(
            (
                f"{entry['id']} {entry['title']}",
                _where(entry),
                chip(entry["verdict"]),
                f"{number(entry['range'])} "
                f"[{number(entry['range_low'])}, {number(entry['range_high'])}]",
                str(len(entry["sources"])),
                number(entry["margin"]),
                Cell(said, "text"),
            )
        )
    return Table(
        "Does an effect depend on the data? How far the effects of the sources lie apart, largest "
        "minus smallest, with its 95 % interval (a set, its parts and its transforms are one "
        "source), and how far each data set lies from the mean of all (cycles/pixel). Supported: "
        "all sources are shown to lie within the margin of each other; opposite: two are shown to "
        "lie further apart; fewer than three sources decide nothing.",
        (
            *("Claim", "Regime, attack", "Verdict", "Range over sources", "Sources", "Margin"),
            "Deviation of each data set",
        ),
        rows,
    )


def readings_table(entries: Sequence[Claim]) -> Table:
    """The readings of each claim side by side."""
    inside = any(entry.get("in_data") for entry in entries)
    rows = []
    for entry in entries:
        course = entry["course"]
        start = course["holds_from"]
        along = "only at the last step" if start is None else f"from step {start:,} on"
        moving = [f"{arm} {signed(change)}" for arm, change in entry["moving"].items()]
        rows.append(
            (
                f"{entry['id']} {entry['title']}",
                f"{titles.title(str(entry['dataset']))}, {regime_name(str(entry['regime']))}",
                *(
                    part
                    for reading in (
                        *(entry["end"], entry["equal_loss"]),
                        *((entry.get("in_data"),) if inside else ()),
                    )
                    for part in (
                        (chip(str(reading["verdict"])), _effect_of(reading))
                        if reading
                        else ("\N{EN DASH}", "\N{EN DASH}")
                    )
                ),
                joined([along, "\n", soft(_changes(course), "live")]),
                ", ".join(moving) or "none",
            )
        )
    return Table(
        "Readings of the claims of which training was recorded (L2): at the end; where each "
        "arm first falls to one training loss, the lowest that four seeds in five of every arm "
        "reach; "
        + (
            "at the end, but of the part of each perturbation in the directions that hold 99 % of "
            "the training images' variance, since what lies elsewhere is left over from the "
            "initial weights; "
            if inside
            else ""
        )
        + "and along the course, from which step on the verdict is that of the end, and where it "
        "changed. Moving: arms whose mean "
        "frequency changed by the margin or more in the second half of the steps.",
        (
            *("Claim", "Data, regime", "At the end", "Effect", "At equal loss", "Effect"),
            *(("Where images vary", "Effect") if inside else ()),
            *("Along the course", "Moving"),
        ),
        rows,
    )


def _changes(course: Claim) -> str:
    """The verdicts along the course, each with the step at which it begins."""
    told, last = [], None
    for step, verdict in zip(course["steps"], course["verdicts"], strict=True):
        if verdict != last:
            told.append(f"{step:,}: {verdict}")
        last = verdict
    return ", ".join(told)


def _effect_of(reading: Claim) -> str:
    if reading["estimate"] is None:
        return "\N{EN DASH}"
    return f"{signed(reading['estimate'])} {interval(reading)}"


def all_tests(claims: Sequence[Claim]) -> list[Block]:
    """Every test with its numbers, folded."""
    rows = []
    for claim in claims:
        rows.append(
            (
                str(claim["id"]),
                titles.title(str(claim["dataset"])),
                regime_name(str(claim["regime"])),
                schema.attack_label(str(claim["attack"])),
                str(claim["verdict"]),
                signed(claim.get("estimate"), 4),
                interval(claim, 4),
                number(claim.get("standard_error"), 4),
                number(claim.get("degrees_of_freedom"), 1),
                number(claim.get("margin")),
                number(claim.get("p_holm"), 4),
                "; ".join(_at_scale(other, 4) for other in claim.get("other_scales") or ()),
                number(claim.get("detectable_effect"), 4),
                _live(claim),
                Cell(claim.get("reason") or "", "text"),
            )
        )
    heads = (
        *("Claim", "Data", "Regime", "Attack", "Verdict", "Effect", "95 % interval", "SE", "df"),
        *("Margin", "p (Holm)", "At other init scales", "Detectable", "Live", "Reason"),
    )
    line = (
        f"{len(rows)} tests with standard errors, adjusted p-values, and the effect at the other "
        "init scales"
    )
    where = joined([f"{len(rows)} tests: in ", tag("code", "claims.json"), " beside this page."])
    asides = [Aside(where)] if len(rows) > LONG else []
    return [*asides, Table("", heads, rows, folded=line, wide=True)]


def all_deviations(entries: Sequence[Claim], datasets: Sequence[str]) -> list[Block]:
    """Every deviation of the tests of independence that show only two of them; folded."""
    many = [entry for entry in entries if len(entry["deviations"]) > _MOST_DEVIATIONS]
    if not many:
        return []
    heads = [
        joined([str(entry["id"]), line_break(), soft(_where(entry), "regime")]) for entry in many
    ]
    rows = [
        (
            titles.title(name),
            *(
                _deviation(entry["deviations"][name]) if name in entry["deviations"] else ""
                for entry in many
            ),
        )
        for name in datasets
    ]
    line = f"The deviation of every data set from the mean effect, for {len(many)} tests of " \
           "independence"  # fmt: skip
    return [Table("", ["Data set", *heads], rows, folded=line)]


def _claim_cell(members: Sequence[Claim], panel: Panel) -> Cell:
    """Under every attack verdict and effect; below the first the plot of all."""
    here = [claim for claim in members if (claim["dataset"], claim["regime"]) == panel]
    here.sort(key=lambda claim: schema.attack_rank(claim["attack"]))
    if not here:
        return Cell(soft("not tested"), "empty")
    estimated = any(claim.get("estimate") is not None for claim in here)
    plot = intervals(here, limits_of(members)) if estimated else ""
    dataset, regime = panel
    parts: list[Any] = [
        soft(f"{titles.title(dataset)}, {regime_name(regime)}", "panel-name"),
    ]
    for index, claim in enumerate(here):
        live = f" · {_live(claim)} live"
        said = live if index == 0 or _live(claim) != _live(here[0]) else ""
        parts.append(
            tag(
                "div",
                soft(f"{schema.attack_label(str(claim['attack']))}{said}", "attack"),
                chip(claim["verdict"], str(claim.get("reason") or "")),
                soft(effect(claim), "value"),
                _because(claim, first=index == 0),
                class_="entry",
            )
        )
        if index == 0:
            parts.append(plot)
    return Cell(joined(parts, "\n"), "")


def _because(claim: Claim, *, first: bool) -> str:
    """Why a claim is not decided, or what it is at the other initial scales."""
    others, reason = claim.get("other_scales") or (), str(claim.get("reason") or "")
    if claim["verdict"] == "init-dependent" and others:
        found = "; ".join(f"{_at_scale(other)} ({other['verdict']})" for other in others)
        return soft(f"at init scale {found}", "because")
    if claim["verdict"] == "not decided" and reason and first:
        return soft(reason, "because")
    return ""


def _at_scale(other: Mapping[str, Any], digits: int = 3) -> str:
    """The effect at one of the other initial scales."""
    effect_there = f"{signed(other['estimate'], digits)} {interval(other, digits)}"
    return f"{other['init_scale']:.2g}: {effect_there}"


def _named(claim: Claim) -> str:
    """What is claimed, with its margin."""
    title = joined([soft(claim["id"], "id"), " ", claim.get("title") or ""])
    parts = [soft(title, "title")]
    if claim.get("statement"):
        parts.append(soft(claim["statement"], "statement"))
    if claim.get("margin") is not None:
        parts.append(soft(_margin(claim), "margin"))
    return joined(parts)


def _margin(claim: Claim) -> str:
    return f"margin ±{number(claim['margin'])} {claim.get('unit') or ''}"


def _needs_reason(claim: Claim) -> bool:
    return claim["verdict"] in _UNDECIDED


def _where(entry: Claim) -> str:
    return f"{regime_name(entry['regime'])}, {schema.attack_label(entry['attack'])}"


def _deviation(found: Sequence[float]) -> str:
    return f"{signed(found[0])} [{signed(found[1])}, {signed(found[2])}]"


def _live(claim: Claim) -> str:
    return f"{_count(claim.get('live_seeds'))}/{_count(claim.get('seeds'))}"


def _count(value: Any) -> str:
    """A number of seeds, given as the number, as a list of seeds or per arm."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, Mapping):
        return str(sum(int(_count(part)) for part in value.values()))
    return str(len(value)) if isinstance(value, list | tuple) else str(int(value))

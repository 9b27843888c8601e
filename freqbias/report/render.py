"""From the contents of a run to one HTML page: tables, small interval plots, figures, settings."""

import base64
import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from freqbias import inference, plotting, runs, schema
from freqbias.data import titles
from freqbias.plotting import UNKNOWN, Drawn
from freqbias.plotting.style import regime_name
from freqbias.report.figures import (
    EFFECTS_BY_DATASET,
    FACTORS,
    OwnFigure,
    ReportFigure,
    make_figures,
    second_opinions,
)

_GLYPHS = {
    "supported": "✓",
    "opposite": "✗",
    "equivalent": "=",
    "inconclusive": "?",
    "init-dependent": "±",
    "not decided": "\N{EN DASH}",
}
MEANINGS = {
    "supported": "the interval lies beyond the margin, in the claimed direction",
    "opposite": "the interval lies beyond the margin, in the other direction",
    "equivalent": "the interval lies within the margin: no effect that matters",
    "inconclusive": "the interval reaches over the margin: more seeds decide",
    "init-dependent": "the verdict changes when the initial weights are halved",
    "not decided": "too few live seeds in an arm, or an arm below its accuracy floor",
}
_DOTS = {"primary": "e", "second": "o", "box": "b"}  # classes of style.css
_MOST_DEVIATIONS = 4  # that stand in one cell
_LONG = 60  # rows of a folded table that is not printed
_MOST_SHOWN = 12  # entries of one setting that the page lists


def build_report(
    rows: pd.DataFrame,
    claims: Mapping[str, Any],
    spectra: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    looks: Drawn = UNKNOWN,
    own: Sequence[OwnFigure] = (),
) -> str:
    """The report of a study as one self-contained HTML page.

    Args:
      rows: one row per seed, setting and attack (`freqbias.plotting` names the columns).
      claims: the contents of ``claims.json``: ``{"claims": [...]}``.
      spectra: the arrays of ``spectra.npz``.
      config: the contents of ``config.json``.
      looks: how the arms are drawn, and what they differ in.
      own: measurements that have a figure of their own.

    Returns:
      The page. The same inputs give the same page.

    Raises:
      ValueError: ``rows`` is empty or lacks a column that the report needs.
    """
    _check_rows(rows)
    looks = looks.with_arms(rows["arm"])
    figures = make_figures(rows, claims, spectra, looks, own)
    rows = _trained(rows)
    pictures = [plotting.png_bytes(item.figure, dpi=plotting.DPI) for item in figures]
    return _page(rows, claims, config, figures, pictures, looks=looks)


def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes ``figures/*.png``, ``figures/*.pdf`` and ``report.html`` into a run's folder.

    Args:
      run_dir: a run (`freqbias.runs`) that holds rows, ``claims.json``, ``spectra.npz`` and
        ``study.json``: a mapping with "drawn", how the arms are drawn (`Drawn.as_json`), and
        "figures", the fields of each `OwnFigure`.

    Returns:
      The path of ``report.html``.

    Raises:
      FileNotFoundError: ``run_dir`` holds no run, or the run lacks one of these.
      FileExistsError: a file that the run did not write is in the way.
      ValueError: the rows lack a column that the report needs, or ``study.json`` a part.
    """
    rows = runs.read_rows(run_dir)
    _check_rows(rows)
    claims = runs.load_json(run_dir, "claims.json")
    study = runs.load_json(run_dir, "study.json")
    missing = [name for name in ("drawn", "figures") if name not in study]
    if missing:
        raise ValueError(f"study.json must have 'drawn' and 'figures'; missing: {missing}.")
    looks = Drawn.from_json(study["drawn"]).with_arms(rows["arm"])
    own = [OwnFigure(*figure) for figure in study["figures"]]
    figures = make_figures(rows, claims, runs.load_arrays(run_dir, "spectra"), looks, own)
    pictures = list(save_figures(run_dir, figures).values())
    page = _page(_trained(rows), claims, runs.read_config(run_dir), figures, pictures, looks=looks)
    target = runs.output_file(run_dir, "report.html")
    target.write_text(page, encoding="utf-8")
    return target


def save_figures(run_dir: str | os.PathLike, figures: Sequence[ReportFigure]) -> dict[str, bytes]:
    """Writes the figures of a run as PNG and PDF; returns the PNG of each by name."""
    pictures = {}
    for item in figures:
        png = runs.output_file(run_dir, f"figures/{item.name}.png")
        runs.output_file(run_dir, f"figures/{item.name}.pdf")
        plotting.save(item.figure, png.with_suffix(""), dpi=plotting.DPI)
        pictures[item.name] = png.read_bytes()
    return pictures


def environment() -> jinja2.Environment:
    """The templates beside this module, with their filters."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {"signed": _signed, "number": _number, "percent": _percent}
    return found


def _page(
    rows: pd.DataFrame,
    claims: Mapping[str, Any],
    config: Mapping[str, Any],
    figures: Sequence[ReportFigure],
    pictures: Sequence[bytes],
    *,
    looks: Drawn,
) -> str:
    listed = list(claims.get("claims", ()))
    main = plotting.main_datasets(rows)
    shown = rows[rows["dataset"].isin(main)]
    minor = plotting.grouped_datasets([d for d in rows["dataset"] if d not in main])
    panels = list(dict.fromkeys(zip(shown["dataset"], shown["regime"], strict=True)))
    tables = [claim for claim in listed if claim["dataset"] not in minor]
    tested = [(str(claim["dataset"]), str(claim["regime"])) for claim in tables]
    claim_panels = list(dict.fromkeys([*panels, *tested]))  # some claims are about all data sets
    numbered: list[dict[str, Any]] = [
        {
            "number": number,
            "item": item,
            "png": base64.b64encode(png).decode(),
            "width": css_width(png),
        }
        for number, (item, png) in enumerate(zip(figures, pictures, strict=True), start=1)
    ]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=_summary(rows, config),
            main=[titles.title(name) for name in main],
            minor=[titles.title(name) for name in minor],
            tally=_tally(tables),
            second=", ".join(second_opinions(tables)),
            panels=[_panel(*panel) for panel in panels],
            claim_panels=[_panel(*panel) for panel in claim_panels],
            claim_rows=_claim_rows(tables, claim_panels),
            minor_claims=_minor_claims(listed, rows, minor),
            independence=[_independence_row(entry) for entry in claims.get("independence", ())],
            independence_chip=lambda entry: verdict_chip(str(entry["verdict"])),
            regime_name=regime_name,
            attack_name=schema.attack_label,
            data_name=titles.title,
            long=_LONG,
            datasets=plotting.grouped_datasets(list(rows["dataset"])),
            all_claims=[_claim_entry(claim) for claim in listed],
            meanings=[_Chip(word, _GLYPHS[word], meaning) for word, meaning in MEANINGS.items()],
            figures=[f for f in numbered if f["item"].name not in (FACTORS, EFFECTS_BY_DATASET)],
            claim_figures=[f for f in numbered if f["item"].name == EFFECTS_BY_DATASET],
            factor_figures=[f for f in numbered if f["item"].name == FACTORS],
            factors=_factor_table(rows, looks) if any(f.name == FACTORS for f in figures) else {},
            networks=_networks(shown, panels, looks),
            failures=_failures(rows, looks),
            attacks=_attack_settings(shown),
            minor_attacks=_attack_settings(rows[rows["dataset"].isin(minor)]),
            settings=setting_tables(config),
            command=command_line(config),
        )
    )


def _check_rows(rows: pd.DataFrame) -> None:
    missing = [column for column in schema.REQUIRED if column not in rows]
    if missing:
        raise ValueError(f"rows must have the columns {list(schema.REQUIRED)}; missing: {missing}.")
    if rows.empty:
        raise ValueError("rows must not be empty.")


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["final"]]


# --- Claims ---------------------------------------------------------------------------------------


class _Chip(NamedTuple):
    """A verdict: word, sign, and what is said of it on hovering."""

    verdict: str
    glyph: str
    note: str


def verdict_chip(verdict: str, note: str = "") -> _Chip:
    """A verdict as the templates show it."""
    return _Chip(str(verdict), _GLYPHS.get(verdict, "·"), note)


def _chip(claim: Mapping[str, Any]) -> _Chip:
    return verdict_chip(str(claim["verdict"]), str(claim.get("reason") or ""))


def _tally(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many tests gave which verdict: under L2, each second opinion, the other box."""
    attacks = sorted({str(claim["attack"]) for claim in claims}, key=schema.attack_rank)
    kinds = {
        kind: [attack for attack in attacks if schema.geometry(attack).role == kind]
        for kind in ("primary", "second", "box")
    }
    out = []
    for name, counted in (
        ("L2 attack (primary)", kinds["primary"]),
        *((f"{schema.attack_label(a)} attack (second opinion)", [a]) for a in kinds["second"]),
        ("L2 attack, box changed", kinds["box"]),
    ):
        tests = {
            (claim["id"], claim["dataset"], claim["regime"]): str(claim["verdict"])
            for claim in claims
            if claim["attack"] in counted
        }
        counts = Counter(tests.values())
        order = [*_GLYPHS, *(word for word in counts if word not in _GLYPHS)]
        chips = [
            (counts[word], _Chip(word, _GLYPHS.get(word, "·"), ""))
            for word in order
            if counts[word]
        ]
        if tests:
            out.append({"name": name, "total": len(tests), "chips": chips})
    return out


def _minor_claims(
    claims: Sequence[Mapping[str, Any]], rows: pd.DataFrame, minor: Sequence[str]
) -> list[dict[str, Any]]:
    """Per claim and regime the tests on minor data sets (L2), where all of its arms were run."""
    there = {tuple(found) for found in rows[["dataset", "regime", "arm"]].drop_duplicates().values}
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for claim in claims:
        where = (claim["dataset"], claim["regime"])
        run = all((*where, arm) in there for arm in claim.get("arms") or ())
        if claim["dataset"] in minor and run and schema.geometry(claim["attack"]).role == "primary":
            groups.setdefault((str(claim["id"]), str(claim["regime"])), []).append(claim)
    out = []
    for (_, regime), members in groups.items():
        members.sort(key=lambda claim: minor.index(claim["dataset"]))
        limits = _limits(members)
        entries = [
            {**_claim_entry(claim), "plot": _intervals_svg([claim], limits) if limits else ""}
            for claim in members
        ]
        out.append({"first": members[0], "regime": regime_name(regime), "entries": entries})
    return out


def _independence_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the dependence on the data set: of many deviations, the two furthest apart."""
    ordered = sorted(entry["deviations"].items(), key=lambda item: -item[1][0])
    shown = list(entry["deviations"].items())
    if len(ordered) > _MOST_DEVIATIONS:
        shown = [ordered[0], ordered[-1]]
    return {**entry, "shown": shown, "all": ordered, "left_out": len(ordered) - len(shown)}


def _claim_rows(
    claims: Sequence[Mapping[str, Any]], panels: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """One row per claim, one cell per data set and regime."""
    rows = []
    for name in dict.fromkeys(str(claim["id"]) for claim in claims):
        members = [claim for claim in claims if str(claim["id"]) == name]
        limits = _limits(members)
        cells = []
        for dataset, regime in panels:
            here = [c for c in members if (c["dataset"], c["regime"]) == (dataset, regime)]
            here.sort(key=lambda claim: schema.attack_rank(claim["attack"]))
            estimated = any(claim.get("estimate") is not None for claim in here)
            cells.append(
                {
                    "panel": _panel(dataset, regime),
                    "entries": [_claim_entry(claim) for claim in here],
                    "plot": _intervals_svg(here, limits) if limits and estimated else "",
                }
            )
        rows.append({"id": name, "first": members[0], "cells": cells})
    return rows


def _claim_entry(claim: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "claim": claim,
        "chip": _chip(claim),
        "panel": _panel(str(claim["dataset"]), str(claim["regime"])),
        "attack": schema.attack_label(str(claim["attack"])),
        "live": f"{_count(claim.get('live_seeds'))}/{_count(claim.get('seeds'))}",
        "half": claim.get("half_scale") or {},
    }


def _count(value: Any) -> str:
    """A number of seeds, given as the number, as a list of seeds or per arm."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, Mapping):
        return str(sum(int(_count(part)) for part in value.values()))
    return str(len(value)) if isinstance(value, list | tuple) else str(int(value))


def _limits(members: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """A range for the small plots of one claim: zero, the margins and all intervals."""
    ends = [0.0]
    for claim in members:
        margin = claim.get("margin") or 0.0
        numbers = [claim.get("low"), claim.get("high"), margin, -margin]
        ends += [float(number) for number in numbers if number is not None]
    ends = [end for end in ends if np.isfinite(end)]
    low, high = min(ends), max(ends)
    if low == high:
        return None
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _intervals_svg(claims: Sequence[Mapping[str, Any]], limits: tuple[float, float]) -> Markup:
    """Effects with their intervals on the claim's scale, one line per attack, margin shaded."""
    width, pitch = 168.0, 11.0
    height = pitch * len(claims) + 3
    low, high = limits

    def x(value: float) -> float:
        return round(width * (value - low) / (high - low), 1)

    parts = []
    margin = claims[0].get("margin") if claims else None
    if margin:
        span = x(margin) - x(-margin)
        parts.append(f'<rect x="{x(-margin)}" width="{span:.1f}" height="{height:g}" class="m"/>')
    parts.append(f'<line x1="{x(0)}" x2="{x(0)}" y2="{height:g}" class="z"/>')
    for line, claim in enumerate(claims):
        y = 1.5 + pitch * (line + 0.5)
        if claim.get("low") is not None and claim.get("high") is not None:
            ends = f'x1="{x(claim["low"])}" x2="{x(claim["high"])}" y1="{y:g}" y2="{y:g}"'
            parts.append(f'<line {ends} class="i"/>')
        if claim.get("estimate") is not None:
            kind = _DOTS[schema.geometry(claim["attack"]).role]
            parts.append(f'<circle cx="{x(claim["estimate"])}" cy="{y:g}" r="3" class="{kind}"/>')
    drawing = "".join(parts)
    return Markup(  # numbers only: nothing to escape
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'aria-hidden="true" focusable="false">{drawing}</svg>'
    )


# --- Networks, failures, settings -----------------------------------------------------------------


def _summary(rows: pd.DataFrame, config: Mapping[str, Any]) -> dict[str, Any]:
    networks = _one_row_per_network(rows)
    images = sorted(set(rows["num_images"].dropna().astype(int)))
    return {
        "regimes": [regime_name(regime) for regime in dict.fromkeys(rows["regime"])],
        "num_arms": rows["arm"].nunique(),
        "num_seeds": rows["seed"].nunique(),
        "scales": [f"{scale:g}" for scale in sorted(set(rows["init_scale"]), reverse=True)],
        "num_networks": len(networks),
        "num_live": int((networks["status"] == "ok").sum()),
        "images": " or ".join(map(str, images)),
        "started": str(config.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        "preset": str(config.get("config", config).get("preset", "")),
    }


def _one_row_per_network(rows: pd.DataFrame) -> pd.DataFrame:
    """A network's worst row: one attack that failed makes the network count as failed."""
    ordered = rows.assign(_ok=rows["status"] == "ok").sort_values("_ok", kind="stable")
    return ordered.drop_duplicates(list(schema.NETWORK)).sort_index()


def _networks(
    rows: pd.DataFrame, panels: Sequence[tuple[str, str]], looks: Drawn
) -> dict[str, Any]:
    """Per arm and panel, at the largest init scale: accuracies, parameters, live seeds."""
    scale = float(rows["init_scale"].max())
    at_scale = rows[rows["init_scale"] == scale]
    out = []
    for arm in looks.in_order(at_scale["arm"]):
        cells = []
        for dataset, regime in panels:
            here = at_scale[
                (at_scale["arm"] == arm)
                & (at_scale["dataset"] == dataset)
                & (at_scale["regime"] == regime)
            ]
            networks = _one_row_per_network(here)
            live = networks[networks["status"] == "ok"]
            primary = here["geometry"].map(lambda name: schema.geometry(name).role).eq("primary")
            l2 = here[primary & here["status"].eq("ok")]
            cells.append(
                {
                    "panel": _panel(dataset, regime),
                    "run": len(networks) > 0,
                    "live": f"{len(live)}/{len(networks)}",
                    "all_live": len(live) == len(networks),
                    "test": _range(live, "test_accuracy"),
                    "robust": _range(l2, "robust_accuracy"),
                    "parameters": int(here["num_parameters"].iloc[0])
                    if "num_parameters" in here and len(here)
                    else None,
                }
            )
        style = looks[arm]
        out.append({"label": style.label, "color": style.color, "arm": arm, "cells": cells})
    return {"rows": out, "scale": f"{scale:g}"}


def _factor_table(rows: pd.DataFrame, looks: Drawn) -> dict[str, Any]:
    """Shares of the variance by factor and panel, the largest mean share first."""
    shares = plotting.variance_shares(rows, looks)
    by_name: dict[str, dict[tuple[str, str], Any]] = {}
    for panel, parts in shares.items():
        for part in parts:
            by_name.setdefault(part.name, {})[panel] = part
    rest = (inference.INTERACTIONS, inference.SEEDS)

    def rank(name: str) -> tuple[int, float, str]:
        mean = float(np.mean([part.share for part in by_name[name].values()]))
        return (rest.index(name) + 1 if name in rest else 0, -mean, name)

    table = []
    for name in sorted(by_name, key=rank):
        cells = []
        for here in (by_name[name].get(panel) for panel in shares):
            ends = (here.lowest, here.highest) if here else ()
            levels = " → ".join(map(_level, ends)) if name not in rest else ""
            cells.append({**here._asdict(), "levels": levels} if here else {})
        table.append({"name": name, "cells": cells})
    return {"panels": [_panel(*panel) for panel in shares], "rows": table}


def _level(level: Any) -> str:
    """A level of a factor in words."""
    return f"{level:g}" if isinstance(level, int | float) else str(level)


def _range(rows: pd.DataFrame, column: str) -> dict[str, float] | None:
    values = rows[column].dropna() if column in rows else pd.Series(dtype=float)
    if values.empty:
        return None
    return {"mean": values.mean(), "low": values.min(), "high": values.max()}


def _failures(rows: pd.DataFrame, looks: Drawn) -> list[dict[str, Any]]:
    """Every arm with a network that is not ``ok``, with the number of each status."""
    networks = _one_row_per_network(rows)
    out = []
    keys = ["dataset", "regime", "arm", "init_scale"]
    for (dataset, regime, arm, scale), group in networks.groupby(keys, sort=False):
        counts = Counter(group["status"])
        if set(counts) != {"ok"}:
            failed = ", ".join(f"{n} {status}" for status, n in counts.items() if status != "ok")
            out.append(
                {
                    "panel": _panel(str(dataset), str(regime)),
                    "arm": looks[str(arm)].label,
                    "scale": f"{scale:g}",
                    "live": f"{counts['ok']}/{len(group)}",
                    "failed": failed,
                }
            )
    return out


def _attack_settings(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Per data set, regime and attack: budget, box, images and how many flipped."""
    out = []
    names = ["dataset", "regime", "geometry", "method"]
    for (dataset, regime, geometry, method), group in rows.groupby(names, sort=False):
        box = set(group["box"].astype(bool)) if "box" in group else set()
        live = group[group["status"] == "ok"]
        flipped = ""
        if "num_flipped" in live and live["num_flipped"].notna().any():
            low, high = live["num_flipped"].min(), live["num_flipped"].max()
            flipped = f"{low:.0f} to {high:.0f}" if low != high else f"{low:.0f}"
        epsilons = sorted(set(group["epsilon"].dropna())) if "epsilon" in group else []
        images = sorted(set(group["num_images"].dropna().astype(int)))
        out.append(
            {
                "panel": _panel(str(dataset), str(regime)),
                "attack": schema.attack_label(str(geometry), str(method)),
                "epsilon": ", ".join(f"{e:.4g}" for e in epsilons) or "\N{EN DASH}",
                "box": " and ".join({True: "[0, 1]", False: "none"}[b] for b in sorted(box)),
                "images": ", ".join(map(str, images)),
                "flipped": flipped or "\N{EN DASH}",
            }
        )
    return out


def setting_tables(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The config in sections; without sections all of it is flags."""
    flags = config.get("config")
    sections = {"Flags": flags if isinstance(flags, Mapping) else config}
    if isinstance(flags, Mapping):
        sections |= {"Data checksums": config.get("data", {})}
        sections |= {"Versions": config.get("versions", {}), "Device": config.get("device", {})}
        known = ("config", "data", "versions", "device", "command", "started")
        sections |= {"Other": {k: v for k, v in config.items() if k not in known}}
    return [
        {"title": title, "items": [(key, _plain(value)) for key, value in section.items()]}
        for title, section in sections.items()
        if section
    ]


def command_line(config: Mapping[str, Any]) -> str:
    """The command that made the run; empty if it is not known."""
    command = config.get("command") or ""
    return command if isinstance(command, str) else shlex.join(map(str, command))


# --- Words and numbers ----------------------------------------------------------------------------


def _panel(dataset: str, regime: str) -> dict[str, str]:
    return {"dataset": titles.title(dataset), "regime": regime_name(regime)}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping) and len(value) > _MOST_SHOWN:
        return f"{len(value)} entries, in config.json"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign (a true minus), or a dash for none."""
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float | None, digits: int = 0) -> str:
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{100 * value:.{digits}f}\u202f%".replace("-", "\N{MINUS SIGN}")


def css_width(png: bytes) -> int:
    """The width in CSS pixels at which the picture has its printed size times 1.3."""
    pixels = int.from_bytes(png[16:20], "big")
    return round(1.3 * 96 * pixels / plotting.DPI)

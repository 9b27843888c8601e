"""Tables of a suite: its CSV of all repeats, and what is read off it in Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks import convolution
from benchmarks.harness import LIBRARIES, OURS, PRODUCTS, TORCH, Suite, cores

TARGETS = {  # ratios to the best torch peer that are aimed at; nothing was measured for this table
    "pgd": {
        "fc_1x64": 4,
        "conv_3_3x16": 2.5,
        "conv_7_3x16": 5,
        "conv_9_3x16": 6,
        "conv_15_3x16": 40,
        "conv_28_3x16": 100,
    },
    "training": {
        "fc_1x256": 3,
        "conv_3_1x8": 2.5,
        "conv_7_1x8": 3,
        "conv_9_1x8": 4,
        "conv_15_1x8": 8,
        "conv_28_1x8": 15,
        "conv_3_3x8": 2,
        "conv_7_3x8": 3,
        "conv_9_3x8": 4,
        "conv_15_3x8": 15,
        "conv_28_3x8": 40,
    },
    "autoattack": {"auto_attack_linf": 2, "auto_attack_l2": 2},
    "minimal": {"ddn_l2": 3, "fmn_l2": 3, "fmn_linf": 3, "carlini_wagner_l2": 3},
}
_REACHED = "first_seconds", "loss", "robust_accuracy", "distance"


def columns(suite: Suite) -> list[str]:
    """Of its CSV."""
    return [*suite.keys, "library", "repeat", *suite.values]


def as_frame(suite: Suite, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows with the columns of the suite; ValueError for a column it does not have."""
    if unknown := {name for row in rows for name in row} - set(columns(suite)):
        raise ValueError(f"rows must have columns of suite {suite.name}; got {sorted(unknown)}.")
    return pd.DataFrame(rows, columns=columns(suite))


def save(suite: Suite, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Writes rows in place of what the file had of the same cases and libraries; returns all."""
    if path.exists():
        old, names = pd.read_csv(path), [*suite.keys, "library"]
        again = pd.MultiIndex.from_frame(old[names]).isin(pd.MultiIndex.from_frame(table[names]))
        table = pd.concat([old[~again], table], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6g")
    return pd.read_csv(path)


def ratios(suite: Suite, table: pd.DataFrame) -> pd.DataFrame:
    """One line for each case: freqbias' rate over the best torch peer's, repeat by repeat.

    Columns: those of the case; the median rate of each library; ``peer``, of those of torch that
    did not fail the one of the highest; ``ratio``, the median over repeats, and its smallest and
    largest value; the target, if there is one; ``bound``, the ratio that the matrix products alone
    would have; and what both reached.
    """
    lines = []
    for key, case in table.groupby(list(suite.keys), sort=False):
        rates = case.pivot_table(index="repeat", columns="library", values="rate")
        rates = rates[[name for name in LIBRARIES if name in rates]]
        medians = rates.median()
        line = dict(zip(suite.keys, key, strict=True)) | medians.to_dict()
        peers = medians[medians.index.isin(TORCH) & ~medians.index.isin(_failed(case))]
        if len(peers) and OURS in medians:
            peer = peers.idxmax()
            ratio = (rates[OURS] / rates[peer]).dropna()
            line |= {"peer": peer, "ratio": ratio.median()}
            line |= {"lowest": ratio.min(), "highest": ratio.max()}
            line |= {"target": _target(suite.name, line)}
            if PRODUCTS in medians:
                line |= {"bound": (rates[PRODUCTS] / rates[peer]).dropna().median()}
            line |= _reached(case, peer)
        lines.append(line)
    return pd.DataFrame(lines)


def _failed(case: pd.DataFrame) -> set[str]:
    """Libraries that broke less than half of the images, or the rules of the attack."""
    measured = [name for name in ("robust_accuracy", "distance") if name in case]
    measured = [name for name in measured if case[name].notna().any()]
    return set(case["library"][~np.isfinite(case[measured]).all(axis=1)])


def _reached(case: pd.DataFrame, peer: str) -> dict[str, float]:
    """What freqbias and the peer reached, and their first calls; both after as much work."""
    first = case.drop_duplicates("library").set_index("library")
    found: dict[str, float] = {}
    for name in _REACHED:
        if name in first and first[name].notna().any():
            fair = f"{name}_{OURS}"
            ours = first.loc[peer, fair] if fair in first else first.loc[OURS, name]
            found |= {name: ours, f"{name} of peer": first.loc[peer, name]}
    return found


def _target(suite: str, line: dict[str, Any]) -> float:
    found = TARGETS.get(suite, {})
    return found.get(line.get("attack", line.get("network")), np.nan)


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Of log cost on log of what grows, by least squares on the medians over repeats.

    Over all of an axis, and on both sides of where it should bend: numbers of networks at the
    number of cores, kernels at K = 9.
    """
    bends, lines = {"seeds": cores(), "kernel_size": 9}, []
    medians = table.groupby(["task", "axis", "library", "at"])["cost"].median().reset_index()
    for (task, axis, library), points in medians.groupby(["task", "axis", "library"], sort=False):
        parts = {"all": points}
        if axis in bends:
            parts[f"up to {bends[axis]}"] = points[points["at"] <= bends[axis]]
            parts[f"from {bends[axis]}"] = points[points["at"] >= bends[axis]]
        for part, some in parts.items():
            if len(some) >= 2:
                slope = np.polyfit(np.log(some["at"]), np.log(some["cost"]), 1)[0]
                line = {"task": task, "axis": axis, "library": library, "part": part}
                lines.append(line | {"slope": slope})
    return pd.DataFrame(lines)


def medians(suite: Suite, table: pd.DataFrame) -> pd.DataFrame:
    """Of every measured column, one line for each case and library."""
    keys = [*suite.keys, "library"]
    return table.groupby(keys, sort=False)[list(suite.values)].median().reset_index()


def as_markdown(suite: Suite, table: pd.DataFrame, machine: dict[str, Any]) -> str:
    """A page: what it was made by and on, ratios, slopes or medians."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    about = f"{machine['processor']}, {machine['cores']} cores; device {machine['device']}"
    lines = [f"# {suite.name}: {suite.title}", "", f"    {machine['command']}", ""]
    lines += [f"{machine['date']}; {about}; {versions}.", ""]
    if "rate" in table:
        lines += [
            "Medians over repeats; the ratio is to the best torch peer, with its smallest and "
            "largest value. Where a slow peer did less of the work (`seeds_run`, `steps_run` in "
            "the CSV), both losses are after as much.",
            "",
            markdown(ratios(suite, table)),
        ]
    elif suite.name == "routes":
        lines += [
            "Medians over repeats; `to_best` is the time of the route that `choose_method` takes "
            "over that of the fastest.",
            "",
            markdown(convolution.chosen(table, jax.default_backend())),
        ]
    else:
        lines += [markdown(medians(suite, table))]
    if suite.name == "scaling":
        lines += ["", "Slopes of log cost:", "", markdown(slopes(table))]
    return "\n".join([*lines, ""])


def markdown(table: pd.DataFrame) -> str:
    """Three digits, a dash for what there is not."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return "-" if np.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
        return str(value)

    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [[text(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write(suite: Suite, rows: Sequence[dict[str, Any]], folder: Path, machine: dict) -> str:
    """Writes SUITE.csv, SUITE.json (the machine) and SUITE.md; returns the latter."""
    table = save(suite, as_frame(suite, rows), folder / f"{suite.name}.csv")
    (folder / f"{suite.name}.json").write_text(json.dumps(machine, indent=2) + "\n")
    page = as_markdown(suite, table, machine)
    (folder / f"{suite.name}.md").write_text(page)
    return page

"""The claims' effects beside their margins."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import schema
from freqbias._checked import checked
from freqbias.plotting.panels import (
    grid_of_panels,
    laid_out,
    panel_order,
)
from freqbias.plotting.style import (
    GREY,
    INK,
    STYLE,
    panel_name,
)

VERDICT_COLORS = {
    "supported": "#00664a",
    "opposite": "#a33b00",
    "equivalent": "#00558a",
    "inconclusive": "#595959",
    "init-dependent": "#7a3d74",
    "not decided": "#595959",
}


@checked
@mpl.rc_context(STYLE)
def claim_forest(claims: Sequence[Mapping[str, Any]]) -> Figure:
    """Effects with their intervals, a panel per claim, against the claim's margin (shaded).

    Filled: L2 attack; hollow: second opinions, a line each. The verdict stands beside each
    interval.
    """
    claims = [claim for claim in claims if schema.geometry(claim["attack"]).role != "box"]
    ids = list(dict.fromkeys(str(claim["id"]) for claim in claims))
    panels = panel_order((str(claim["dataset"]), str(claim["regime"])) for claim in claims)
    geometries = sorted({str(claim["attack"]) for claim in claims}, key=schema.attack_rank)
    lines = [(panel, geometry) for panel in panels for geometry in geometries]
    num_cols = min(3, max(1, len(ids)))
    figure, axes = grid_of_panels(len(ids), num_cols, height=0.75 + 0.13 * len(lines), sharey=True)
    for ax, name in zip(axes, ids, strict=False):
        members = [claim for claim in claims if claim["id"] == name]
        _forest_panel(ax, members, lines)
        ax.set_yticks(
            [np.mean([y for y, (p, _) in enumerate(lines) if p == panel]) for panel in panels],
            [panel_name(*panel) for panel in panels],
        )
    return laid_out(
        figure,
        [
            *(Line2D([], [], color=INK, markersize=4, **_point(geometry, geometries, INK),
                     label=f"{schema.geometry(geometry).label} attack")
              for geometry in geometries),
            Line2D([], [], color="#cfd6dd", linewidth=6, label="within the margin"),
        ],
    )  # fmt: skip


def _forest_panel(
    ax: Axes, members: Sequence[Mapping[str, Any]], lines: Sequence[tuple[tuple[str, str], str]]
) -> None:
    """One claim: a line per data set, regime and geometry, empty where it was not tested."""
    first = members[0]
    margin = number(first.get("margin"))
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color="#dfe5ea", linewidth=0, zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.7, zorder=1)
    geometries = list(dict.fromkeys(geometry for _, geometry in lines))
    for y, (panel, geometry) in enumerate(lines):
        here = [
            claim
            for claim in members
            if (claim["dataset"], claim["regime"], claim["attack"]) == (*panel, geometry)
        ]
        for claim in here[:1]:
            color = VERDICT_COLORS.get(claim["verdict"], INK)
            ax.text(1.02, y, claim["verdict"], color=color, fontsize=7, va="center",
                    transform=ax.get_yaxis_transform())  # fmt: skip
            estimate, low, high = (number(claim.get(k)) for k in ("estimate", "low", "high"))
            if np.isfinite(estimate):
                ax.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
                ax.plot(estimate, y, color=color, markersize=4, linestyle="none",
                        **_point(geometry, geometries, color))  # fmt: skip
    ax.set_ylim(len(lines) - 0.3, -0.7)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=3, steps=[1, 2, 5, 10])
    ax.spines["left"].set_visible(False)
    title = textwrap.fill(f"{first['id']}: {first.get('title') or ''}", 34)
    ax.set_title(title, loc="left", fontweight="bold", fontsize=7)
    ax.set_xlabel(f"effect ({first.get('unit') or 'no unit'})", fontsize=7, labelpad=1)


def _point(geometry: str, geometries: Sequence[str], color: str) -> dict[str, Any]:
    """Marker and filling of a geometry: hollow for second opinions, each with its own marker."""
    second = [name for name in geometries if schema.geometry(name).role == "second"]
    if geometry not in second:
        return {"marker": "o", "markerfacecolor": color}
    return {"marker": "os^Dv"[second.index(geometry) % 5], "markerfacecolor": "white"}


def number(value: Any) -> float:
    """A number of a claim, NaN where it has none."""
    return np.nan if value is None else float(value)

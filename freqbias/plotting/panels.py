"""What the panels of several figures share: layout, points with intervals, selection."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from freqbias import inference, schema
from freqbias.plotting.style import DPI, GREY, INK, PAGE_WIDTH, Style


def grid_of_panels(
    num: int, num_cols: int, *, height: float, **share: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of ``num`` panels, row by row; `laid_out` keeps them from overlapping."""
    num_rows = max(1, -(-num // num_cols))
    width = PAGE_WIDTH if num > 1 else 4.0
    # Text is wider or narrower by a few per cent at other resolutions: lay out at that of the PNG.
    figure = Figure(figsize=(width, height * num_rows + 0.45), dpi=DPI)
    axes = list(figure.subplots(num_rows, num_cols, squeeze=False, **share).ravel())
    for ax in axes[num:] if num else axes:
        ax.set_axis_off()
    return figure, axes


def columns_for(num: int) -> int:
    """Columns of a page on which ``num`` panels stand, at most three."""
    return 2 if num == 4 else min(3, max(1, num))


def laid_out(figure: Figure, handles: Sequence[Line2D]) -> Figure:
    """Adds the legend and settles the layout, once for all files.

    The figure keeps no layout engine: with one, matplotlib draws it twice for each file.
    """
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        num_cols = int(np.clip(figure.get_figwidth() / (0.45 + 0.058 * longest), 1, 4))
        num_rows = -(-len(handles) // num_cols)
        figure.set_figheight(figure.get_figheight() + 0.15 * max(0, num_rows - 2))
        figure.legend(handles=handles, loc="outside upper left", ncols=num_cols)
    ConstrainedLayoutEngine().execute(figure)
    return figure


def arm_handle(style: Style, *, line: bool = False) -> Line2D:
    """The legend's entry of an arm, as a marker or as a line."""
    return Line2D(
        [],
        [],
        color=style.color,
        label=style.label,
        linestyle=style.linestyle if line else "none",
        marker=None if line else style.marker,
        markersize=5,
    )


def null_handle() -> Line2D:
    """The legend's entry of `null_line`."""
    return Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="white noise")


def geometry_handles(rows: pd.DataFrame, color: str = INK, name: str = "") -> list[Line2D]:
    """The legend's entries of the attacks that were run."""
    handles = []
    if any(schema.geometry(name).role == "primary" for name in rows["geometry"]):
        handles.append(Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1,
                              label=f"{name}L2 attack"))  # fmt: skip
    if second := second_opinion(rows):
        handles.append(Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1,
                              markerfacecolor="white", linestyle=(0, (3, 2)),
                              label=f"{name}{second} attack"))  # fmt: skip
    return handles


def geometries(panel: pd.DataFrame) -> list[tuple[str, bool, float]]:
    """(attack, filled, offset) of the primary attack shown and of the second, where run."""
    found: dict[str, list[str]] = {"primary": [], "second": [], "box": []}
    names = dict.fromkeys(zip(panel["geometry"], panel["method"], panel["attack"], strict=True))
    for geometry, _, attack in sorted(names, key=lambda name: schema.attack_rank(*name[:2])):
        found[schema.geometry(geometry).role].append(attack)
    both = bool(found["primary"] and found["second"])
    out = [(attack, True, -0.14 * both) for attack in found["primary"][:1]]
    return out + [(attack, False, 0.16 * both) for attack in found["second"][:1]]


def second_opinion(rows: pd.DataFrame) -> str:
    """The geometry that is shown beside L2 (hollow), in words; empty if there is none.

    Where several were run, each panel shows the first in the order of `schema.attack_rank`.
    """
    shown: dict[str, None] = {}
    for panel in panels_of(rows):
        here = in_panel(*panel)(rows)
        for attack, filled, _ in geometries(here):
            if not filled:
                shown |= dict.fromkeys(here.loc[here["attack"] == attack, "geometry"])
    return " or ".join(schema.geometry(name).label for name in shown)


def draw_point(
    ax: Axes, style: Style, values: np.ndarray, at: float, *, filled: bool, vertical: bool
) -> float:
    """A mean with its interval at ``at``; returns the mean."""
    mean, low, high = seed_interval(values)
    bar = ([at, at], [low, high]) if vertical else ([low, high], [at, at])
    point = (at, mean) if vertical else (mean, at)
    ax.plot(*bar, color=style.color, linewidth=1.2, solid_capstyle="butt")
    ax.plot(*point, marker=style.marker, color=style.color, markersize=4.5 if filled else 4,
            markerfacecolor=style.color if filled else "white", markeredgewidth=0.9,
            linestyle="none")  # fmt: skip
    return mean


def null_line(ax: Axes, panel: pd.DataFrame, *, vertical: bool) -> None:
    """What white noise of the same shape gives, across the panel."""
    if "null_mean_frequency" in panel and panel["null_mean_frequency"].notna().any():
        draw = ax.axvline if vertical else ax.axhline
        draw(panel["null_mean_frequency"].mean(), color=GREY, linestyle=":", linewidth=1.2)


def say(ax: Axes, text: str) -> None:
    """A word in the middle of an empty panel."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=7,
            color=GREY)  # fmt: skip


def arrays_of_field(
    spectra: Mapping[str, np.ndarray], field: str, init_scale: float
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(dataset, regime) -> arm -> array, of one field at one init scale."""
    out: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, array in spectra.items():
        key = schema.parse_array_key(name)
        if key and key.field == field and np.isclose(key.init_scale, init_scale):
            out.setdefault((key.dataset, key.regime), {})[key.arm] = array
    return out


def panels_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The (dataset, regime) of the rows, one panel each."""
    return panel_order(zip(rows["dataset"], rows["regime"], strict=True))


def panel_order(panels: Any) -> list[tuple[str, str]]:
    """Distinct (dataset, regime), data sets as they come, linear before ReLU."""
    distinct = list(dict.fromkeys(panels))
    datasets = list(dict.fromkeys(dataset for dataset, _ in distinct))
    return sorted(distinct, key=lambda panel: (datasets.index(panel[0]), panel[1]))


def in_panel(dataset: str, regime: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Selects the rows of one panel."""
    return lambda rows: rows[(rows["dataset"] == dataset) & (rows["regime"] == regime)]


def live_values(rows: pd.DataFrame, column: str = "mean_frequency") -> np.ndarray:
    """One number per live seed that has one."""
    rows = rows[(rows["status"] == "ok") & rows[column].notna()]
    return rows[column].to_numpy(dtype=np.float64)


def primary_attack(panel: pd.DataFrame) -> pd.DataFrame:
    """The rows of the L2 attack shown in one panel."""
    attacks = [attack for attack, filled, _ in geometries(panel) if filled]
    return panel[panel["attack"].isin(attacks)]


def seed_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and its 95 % t interval over seeds (NaN for a single seed)."""
    if len(values) < 2:
        return float(values[0]), np.nan, np.nan
    estimate = inference.mean_interval(values)
    return estimate.estimate, estimate.low, estimate.high

"""What the panels of several figures share: layout, points with intervals, selection."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

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


def laid_out(figure: Figure, handles: Sequence[Artist]) -> Figure:
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


def draw_course(
    ax: Axes,
    steps: Sequence[float],
    values: Sequence[np.ndarray],
    style: Style,
    *,
    marker: Any = None,
    log: bool = False,
) -> dict[float, float]:
    """A line of means over steps, with the band of their 95 % t intervals over seeds.

    Args:
      ax: the panel.
      steps: where the line has points.
      values: of each step the seeds' values; what is not finite is left out, and steps of which
        nothing is left.
      style: colour and line.
      marker: at every step; None for none.
      log: geometric means, of the values above 0.

    Returns:
      The mean at each step that has one.
    """
    shown, bands = [], []
    for step, seeds in zip(steps, values, strict=True):
        finite = np.asarray(seeds, np.float64)[np.isfinite(seeds)]
        finite = np.log(finite[finite > 0]) if log else finite
        if len(finite):
            shown.append(float(step))
            bands.append(seed_interval(finite))
    if not shown:
        return {}
    mean, low, high = np.exp(np.transpose(bands)) if log else np.transpose(bands)
    ax.plot(shown, mean, color=style.color, linestyle=style.linestyle, marker=marker, markersize=3,
            markeredgewidth=0)  # fmt: skip
    ax.fill_between(shown, low, high, color=style.color, alpha=0.18, linewidth=0)
    return dict(zip(shown, mean.tolist(), strict=True))


def step_axis(axes: Sequence[Axes], steps: Sequence[int], *, stacked: bool = False) -> None:
    """Training steps on every axis: 0, then a log scale; the label on the lowest panel.

    Args:
      axes: the panels of one column, the lowest last.
      steps: what is shown; the last of them is named too.
      stacked: many narrow panels in a column: numbers on the lowest only, powers of ten.
    """
    most = max(steps)
    powers = [10**k for k in range(10) if 10**k * (1 if stacked else 2) <= most]
    ticks = [0, *powers] if stacked else [0, *powers, most]
    for ax in axes:
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        labels = [_step_label(tick, short=stacked) for tick in ticks]
        ax.set_xticks(ticks, labels if ax is axes[-1] or not stacked else [])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(-0.15, most * 1.15)
    axes[-1].set_xlabel("training step")


def _step_label(step: int, *, short: bool) -> str:
    return f"$10^{{{len(str(step)) - 1}}}$" if short and step > 1000 else f"{step:,}"


def null_line(
    ax: Axes, panel: pd.DataFrame, *, vertical: bool, column: str = "mean_frequency"
) -> None:
    """What white noise of the same shape gives for a column, across the panel."""
    null = panel.get(f"null_{column}")
    if null is not None and null.notna().any():
        draw = ax.axvline if vertical else ax.axhline
        draw(null.mean(), color=GREY, linestyle=":", linewidth=1.2)


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

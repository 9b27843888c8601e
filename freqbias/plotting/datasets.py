"""Effects and frequencies by data set: what depends on the data, and what does not."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import schema
from freqbias._checked import checked, columns
from freqbias.data import titles
from freqbias.plotting.claims import VERDICT_COLORS, number
from freqbias.plotting.panels import (
    arm_handle,
    grid_of_panels,
    in_panel,
    laid_out,
    live_values,
    null_handle,
    null_line,
    panels_of,
    primary_attack,
    say,
    seed_interval,
)
from freqbias.plotting.style import (
    GREY,
    INK,
    PALE,
    STYLE,
    UNKNOWN,
    Drawn,
    panel_name,
    regime_name,
)
from freqbias.schema import Rows


@checked
def grouped_datasets(datasets: Sequence[str]) -> list[str]:
    """Distinct data sets, each followed by what was derived from it, in the order they come."""
    distinct = list(dict.fromkeys(datasets))
    bases = list(dict.fromkeys(map(titles.base, distinct)))
    return sorted(
        distinct, key=lambda name: (bases.index(titles.base(name)), titles.is_derived(name))
    )


@checked
def main_datasets(
    rows: Annotated[pd.DataFrame, columns("dataset", "arm")], *, most: int = 4
) -> list[str]:
    """The data sets that every figure can show; the others are minor: few arms were run on them.

    A set is main if at least half as many arms were run on it as on the set with the most. If these
    are more than ``most``, sets that are not derived from others come first.
    """
    num_arms = rows.groupby("dataset", sort=False)["arm"].nunique()
    large = [str(name) for name in num_arms.index if 2 * num_arms[name] >= num_arms.max()]
    if len(large) <= most:
        return large
    chosen = sorted(large, key=lambda n: titles.is_derived(n) or titles.is_synthetic(n))[:most]
    return [name for name in large if name in chosen]


@checked
@mpl.rc_context(STYLE)
def effects_by_dataset(claims: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> Figure:
    """Effects (L2) with their intervals, a line per data set, a panel per claim and regime.

    Derived data sets stand indented below the set they come from. Shaded: within the margin.
    """
    shown = [
        claim
        for claim in claims
        if claim["id"] in ids and schema.geometry(claim["attack"]).role == "primary"
    ]
    datasets = grouped_datasets([str(claim["dataset"]) for claim in shown])
    panels = list(dict.fromkeys((str(claim["id"]), str(claim["regime"])) for claim in shown))
    panels.sort(key=lambda panel: (list(ids).index(panel[0]), panel[1]))
    num_cols = min(4, max(1, len(panels)))
    figure, axes = grid_of_panels(
        len(panels), num_cols, height=0.8 + 0.16 * len(datasets), sharey=True
    )
    for ax, (name, regime) in zip(axes, panels, strict=False):
        here = [claim for claim in shown if (claim["id"], claim["regime"]) == (name, regime)]
        margin = number(here[0].get("margin"))
        if np.isfinite(margin):
            ax.axvspan(-margin, margin, color="#dfe5ea", linewidth=0, zorder=0)
        ax.axvline(0, color=GREY, linewidth=0.7, zorder=1)
        for claim in here:
            estimate, low, high = (number(claim.get(key)) for key in ("estimate", "low", "high"))
            color = VERDICT_COLORS.get(str(claim["verdict"]), INK)
            y = datasets.index(str(claim["dataset"]))
            if np.isfinite(estimate):
                ax.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
                ax.plot(estimate, y, "o", color=color, markersize=4)
        title = textwrap.fill(str(here[0].get("title") or ""), 96 // num_cols)
        ax.set_title(f"{name}, {regime_name(regime)}\n{title}", loc="left", fontsize=7,
                     fontweight="bold")  # fmt: skip
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=PALE, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.locator_params(axis="x", nbins=3, steps=[1, 2, 5, 10])
        ax.set_xlabel(f"effect\n({here[0].get('unit') or 'no unit'})")
    axes[0].set_ylim(len(datasets) - 0.4, -0.6)
    axes[0].set_yticks(range(len(datasets)), [_line_name(name, datasets) for name in datasets])
    for tick, dataset in zip(axes[0].yaxis.get_major_ticks(), datasets, strict=True):
        tick.label1.set_fontweight("normal" if titles.is_derived(dataset) else "bold")
    verdicts = dict.fromkeys(str(claim["verdict"]) for claim in shown)
    return laid_out(
        figure,
        [
            *(Line2D([], [], color=color, marker="o", markersize=4, label=verdict)
              for verdict, color in VERDICT_COLORS.items() if verdict in verdicts),
            Line2D([], [], color="#cfd6dd", linewidth=6, label="within the margin"),
        ],
    )  # fmt: skip


def _line_name(dataset: str, datasets: Sequence[str]) -> str:
    """What was done to a set, where the set itself stands above; else the full name."""
    below = titles.is_derived(dataset) and titles.base(dataset) in datasets
    return titles.transforms_title(dataset) if below else titles.title(dataset)


@checked
def arms_of_all(rows: Rows, looks: Drawn = UNKNOWN) -> list[str]:
    """The arms that were run on every data set of the rows."""
    datasets = rows["dataset"].nunique()
    counts = rows.groupby("arm")["dataset"].nunique()
    return looks.in_order(str(arm) for arm in counts.index[counts == datasets])


@checked
@mpl.rc_context(STYLE)
def follows_the_data(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """Mean frequency of the perturbations (L2) against that of the data, a number per data set.

    A row per regime, a column per arm that was run on all data sets; bars: 95 % t intervals over
    live seeds. On the diagonal perturbations have the frequency of the images; dotted: white noise.
    The key of the numbers stands below.
    """
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    looks = looks.with_arms(rows["arm"])
    datasets, arms = grouped_datasets(list(rows["dataset"])), arms_of_all(rows, looks)
    regimes = sorted(set(rows["regime"]))
    num_cols = max(1, len(arms))
    figure, axes = grid_of_panels(
        len(regimes) * num_cols, num_cols, height=2.5, sharex=True, sharey=True
    )
    numbers = []
    for index, ax in enumerate(axes[: len(regimes) * len(arms)]):
        regime, arm = regimes[index // num_cols], arms[index % num_cols]
        here = rows[(rows["regime"] == regime) & (rows["arm"] == arm)]
        null_line(ax, here, vertical=False)
        ax.axline((0, 0), slope=1, color=GREY, linewidth=0.7, zorder=0)
        found = list(_by_dataset(here, datasets))
        style = looks[arm]
        for _, x, (mean, low, high) in found:
            ax.plot([x, x], [low, high], color=style.color, linewidth=1.0, solid_capstyle="butt")
            ax.plot(x, mean, marker=style.marker, linestyle="none", color=style.color, markersize=3)
        numbers.append((ax, [(name, x, mean) for name, x, (mean, _, _) in found]))
        if not found:
            say(ax, "no live\nnetwork")
        if index < num_cols:
            ax.set_title(style.label, loc="left", fontweight="bold")
        if index % num_cols == 0:
            ax.set_ylabel(f"{regime_name(regime)}\nperturbations (cycles/pixel)")
        if index >= (len(regimes) - 1) * num_cols:
            ax.set_xlabel("images (cycles/pixel)")
    limits = [x for _, points in numbers for _, x, _ in points]
    if limits:
        axes[0].set_xlim(0, 1.08 * max(limits))
        axes[0].set_ylim(bottom=0)
    key = [
        Line2D([], [], linestyle="none", label=f"{place}  {titles.title(name)}")
        for place, name in enumerate(datasets, start=1)
    ]
    num_keys = 3 if max((len(titles.title(name)) for name in datasets), default=0) < 36 else 2
    figure.set_figheight(figure.get_figheight() + 0.15 * (-(-len(key) // num_keys)))
    figure.legend(handles=key, loc="outside lower left", ncols=num_keys, handlelength=0)
    equal = Line2D([], [], color=GREY, linewidth=0.7, label="as the images")
    laid_out(figure, [equal, null_handle()])
    for ax, points in numbers:
        _label_points(ax, [(str(datasets.index(name) + 1), x, y) for name, x, y in points])
    return figure


def _by_dataset(
    rows: pd.DataFrame, datasets: Sequence[str]
) -> Iterator[tuple[str, float, tuple[float, float, float]]]:
    """(data set, its mean frequency, that of the perturbations with interval), where live."""
    for name in datasets:
        here = primary_attack(rows[rows["dataset"] == name])
        values = live_values(here)
        if len(values) and here["data_mean_frequency"].notna().any():
            yield name, float(here["data_mean_frequency"].mean()), seed_interval(values)


def _label_points(ax: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """A text beside each point, where it covers no point and no other text.

    Places are tried from near to far; a text that stands off is joined to its point by a line.
    """
    scale = ax.figure.dpi / 72  # type: ignore[union-attr]
    size = np.array([4.6, 7.0]) * scale  # of one character
    centres = [ax.transData.transform((x, y)) for _, x, y in points]
    taken = [(centre, np.array([5.0, 5.0]) * scale) for centre in centres]
    area = ax.get_window_extent()
    angles = np.pi / 4 * np.array([0, 4, 1, 3, 7, 5, 2, 6])
    for (text, x, y), centre in zip(points, centres, strict=True):
        box = size * [len(text), 1]
        best, fewest = centre, np.inf
        for radius in scale * np.array([7.0, 11.0, 16.0, 22.0, 30.0, 40.0]):
            for angle in angles:
                at = centre + radius * np.array([np.cos(angle), np.sin(angle)])
                inside = area.x0 < at[0] - box[0] / 2 and at[0] + box[0] / 2 < area.x1
                inside = inside and area.y0 < at[1] - box[1] / 2 and at[1] + box[1] / 2 < area.y1
                covered = sum(
                    bool(np.all(np.abs(at - other) < (box + extent) / 2)) for other, extent in taken
                ) + 100 * (not inside)
                if covered < fewest:
                    best, fewest = at, covered
            if not fewest:
                break
        taken.append((best, box))
        far = np.hypot(*(best - centre)) > 9 * scale
        offset = (best - centre) / scale
        ax.annotate(text, (x, y), xytext=offset,
                    textcoords="offset points", ha="center", va="center", fontsize=7,
                    arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4,
                                "shrinkA": 2.5, "shrinkB": 1.5} if far else None)  # fmt: skip


@checked
@mpl.rc_context(STYLE)
def box_effect(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """Mean frequency of L2 perturbations that stay in the box against those that need not, by arm.

    A panel per data set and regime; bars: 95 % t intervals over live seeds. On the diagonal the box
    makes no difference.
    """
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    looks = looks.with_arms(rows["arm"])
    other = rows["geometry"].map(lambda name: schema.geometry(name).role == "box").astype(bool)
    panels = panels_of(rows[other])
    num_cols = min(4, max(1, len(panels)))
    figure, axes = grid_of_panels(len(panels), num_cols, height=2.55, sharex=True, sharey=True)
    drawn: list[str] = []
    limits: list[float] = []
    for ax, panel in zip(axes, panels, strict=False):
        here, twins = (in_panel(*panel)(part) for part in (rows, rows[other]))
        for arm in dict.fromkeys(twins["arm"]):
            twin = twins[twins["arm"] == arm]
            pair = [primary_attack(here[here["arm"] == arm]), twin]
            if bool(twin["box"].iloc[0]):
                free, boxed = map(live_values, pair)
            else:
                boxed, free = map(live_values, pair)
            if not (len(free) and len(boxed)):
                continue
            (x, *x_range), (y, *y_range) = seed_interval(free), seed_interval(boxed)
            style = looks[str(arm)]
            ax.plot(x_range, [y, y], color=style.color, linewidth=0.9)
            ax.plot([x, x], y_range, color=style.color, linewidth=0.9)
            ax.plot(x, y, marker=style.marker, linestyle="none", color=style.color, markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
            drawn.append(str(arm))
            limits += [x, y, *x_range, *y_range]
        ax.axline((0, 0), slope=1, color=GREY, linewidth=0.7, zorder=0)
        ax.locator_params(nbins=4, steps=[1, 2, 5, 10])
        ax.set_title(panel_name(*panel, "\n"), loc="left", fontweight="bold")
        ax.set_xlabel("without the box\n(cycles/pixel)")
    if limits:
        low, high = np.nanmin(limits), np.nanmax(limits)
        pad = 0.06 * (high - low) + 1e-3
        axes[0].set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
    for ax in axes[::num_cols]:
        ax.set_ylabel("mean frequency\nin the box [0, 1]")
    return laid_out(figure, [arm_handle(looks[arm]) for arm in looks.in_order(drawn)])

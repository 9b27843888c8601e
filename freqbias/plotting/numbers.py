"""Mean frequency against architecture, kernel size, depth and initial scale."""

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import _checks
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting.panels import (
    arm_handle,
    columns_for,
    draw_point,
    geometries,
    geometry_handles,
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
    Style,
    panel_name,
    regime_name,
)
from freqbias.schema import Rows


@checked
@mpl.rc_context(STYLE)
def arm_overview(
    rows: Rows,
    *,
    init_scale: float = 1.0,
    looks: Drawn = UNKNOWN,
    column: str = "mean_frequency",
    label: str = "mean frequency (cycles/pixel)",
) -> Figure:
    """Mean frequency, or another column, of every arm, a panel per data set and regime.

    Filled: L2 attack; hollow: the second opinion (L-inf). Bars: 95 % t intervals over live seeds;
    dotted: white noise, for frequencies. The share of live seeds stands at the right where some
    are not.
    """
    _checks.one_of("column", column, rows.columns)
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    looks = looks.with_arms(rows["arm"])
    arms = looks.in_order(rows["arm"])
    panels = panels_of(rows)
    most = 2 if len(arms) <= 20 else 4  # tall panels stand in one row
    num_cols = min(most, max(1, len(panels)))
    figure, axes = grid_of_panels(
        len(panels), num_cols, height=0.55 + 0.2 * len(arms), sharex=True, sharey=True
    )
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        panel = rows[(rows["dataset"] == dataset) & (rows["regime"] == regime)]
        if column == "mean_frequency":
            null_line(ax, panel, vertical=True)
        for y, arm in enumerate(arms):
            style = looks[arm]
            for attack, filled, offset in geometries(panel):
                seeds = panel[(panel["arm"] == arm) & (panel["attack"] == attack)]
                values = live_values(seeds, column)
                if len(values):
                    draw_point(ax, style, values, y + offset, filled=filled, vertical=False)
                if filled and len(seeds) and len(values) < len(seeds):
                    text = f"{len(values)}/{len(seeds)} live"
                    ax.text(0.99, y, text, fontsize=7, ha="right", va="center",
                            transform=ax.get_yaxis_transform())  # fmt: skip
        if most == 2:
            name = panel_name(dataset, regime)
        else:
            name = f"{textwrap.fill(titles.title(dataset), 15)}\n{regime_name(regime)}"
        ax.set_title(name, loc="left", fontweight="bold")
        ax.set_yticks(range(len(arms)), [looks[arm].label for arm in arms])
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=PALE, linewidth=0.8)
        ax.set_axisbelow(True)
    for ax in axes[-num_cols:]:
        ax.set_xlabel(label.replace(" (", "\n(") if most > 2 else label)
    null = [null_handle()] if column == "mean_frequency" else []
    return laid_out(figure, [*geometry_handles(rows), *null])


@checked
@mpl.rc_context(STYLE)
def frequency_against(
    rows: Rows,
    axis: Literal["kernel_size", "depth"],
    *,
    init_scale: float = 1.0,
    looks: Drawn = UNKNOWN,
) -> Figure:
    """Mean frequency of the swept family (convolutional nets) against kernel size or depth.

    The other factor stays at the level with the most arms; so do architecture, padding, optimizer
    and channels, where rows have them (in doubt the first of ``looks.swept``, circular and SGD).
    Filled: L2 attack, with every seed as a small dot; hollow: the second opinion (L-inf). Bars:
    95 % t intervals over seeds; black line and band: the baseline, fully connected (of the same
    depth where depth is fixed, by the same optimizer); dotted: white noise.

    Raises:
      ValueError: ``axis`` is neither.
    """
    if axis not in ("kernel_size", "depth"):
        raise ValueError(f"axis must be 'kernel_size' or 'depth'; got {axis!r}.")
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    fixed = "depth" if axis == "kernel_size" else "kernel"
    looks = looks.with_arms(rows["arm"])
    conv = rows[rows["architecture"].isin(looks.swept)]
    fully = rows[rows["architecture"].isin(looks.baseline)]
    if len(conv):
        conv, fully = _alike(conv, fully, looks)
        conv = conv[conv[fixed] == conv.groupby(fixed)[axis].nunique().idxmax()]
        depths = sorted(set(conv["depth"]))
        fully = fully[fully["depth"] == (depths[0] if depths[0] in set(fully["depth"]) else 1)]
    panels = panels_of(rows)
    figure, axes = grid_of_panels(len(panels), min(4, max(1, len(panels))), height=2.1, sharey=True)
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        here = in_panel(dataset, regime)
        null_line(ax, here(rows), vertical=False)
        _reference_band(ax, here(fully))
        _sweep(ax, here(conv), axis, looks)
        ax.set_title(panel_name(dataset, regime, "\n"), loc="left", fontweight="bold")
        ax.set_xlabel("kernel size K (pixels)" if axis == "kernel_size" else "hidden layers")
        ax.margins(y=0.12)
    for ax in axes[:: min(4, max(1, len(panels)))]:
        ax.set_ylabel("mean frequency\n(cycles/pixel)")
    handles = [*geometry_handles(rows, _line_color(conv, looks), "convolutional, "), null_handle()]
    if len(fully):
        handles.insert(-1, Line2D([], [], color="black", label="fully connected, L2"))
    return laid_out(figure, handles)


def _line_color(swept: pd.DataFrame, looks: Drawn) -> str:
    """The colour of the line through the swept arms: that of the first of them."""
    arms = looks.in_order(swept["arm"])
    return looks[arms[0]].color if arms else INK


def _alike(
    conv: pd.DataFrame, fully: pd.DataFrame, looks: Drawn
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the architecture, padding, optimizer and channels that most arms have.

    Of the baseline, which has neither padding nor channels, its own architecture, same optimizer.
    """
    conv, _ = _most(conv, "architecture", *looks.swept)
    fully, _ = _most(fully, "architecture", *looks.baseline)
    for column, usual in (("padding", ("circular",)), ("optimizer", ("sgd",)), ("channels", ())):
        if column in conv:
            conv, level = _most(conv, column, *usual)
            if column == "optimizer":
                fully = fully[fully[column] == level]
    return conv, fully


def _most(rows: pd.DataFrame, column: str, *usual: str) -> tuple[pd.DataFrame, Any]:
    """The rows at the level that most arms have, and the level; in doubt the first usual one."""
    arms = rows.groupby(column, sort=False)["arm"].nunique()
    most = list(arms.index[arms == arms.max()])
    level = next((level for level in (*usual, *most) if level in most), None)
    return rows[rows[column] == level], level


def _sweep(ax: Axes, panel: pd.DataFrame, axis: str, looks: Drawn) -> None:
    """Points of one panel over the levels of ``axis``, joined."""
    levels = sorted(set(panel[axis]))
    for attack, filled, _ in geometries(panel):
        line: list[tuple[float, float]] = []
        for level in levels:
            seeds = panel[(panel[axis] == level) & (panel["attack"] == attack)]
            values = live_values(seeds)
            if not len(values):
                continue
            style = looks[seeds["arm"].iloc[0]]
            if filled:
                beside = level * 1.12 if axis == "kernel_size" else level + 0.1
                ax.plot(np.full(len(values), beside), values, ".", color=style.color, alpha=0.4,
                        markersize=3.5, markeredgewidth=0)  # fmt: skip
            mean = draw_point(ax, style, values, level, filled=filled, vertical=True)
            line.append((level, mean))
        if line:
            ax.plot(*zip(*line, strict=True), color=_line_color(panel, looks), zorder=1,
                    linewidth=1.0, linestyle="-" if filled else (0, (3, 2)), alpha=0.7)  # fmt: skip
    if not levels:
        say(ax, "not run")
        return
    if axis == "kernel_size":
        names = dict(zip(panel["kernel_size"], panel["kernel"], strict=True))
        ax.set_xscale("log", base=2)
        ax.set_xlim(min(levels) / 1.4, max(levels) * 1.4)
        labels = [f"full\n({k:g})" if names[k] == "full" else f"{k:g}" for k in levels]
        for place in range(1, len(levels) - 1):  # of two that stand too close, the first
            if levels[place] < 1.3 * levels[place - 1] and labels[place - 1]:
                labels[place] = ""
        ax.set_xticks(levels, labels)
    else:
        ax.set_xlim(min(levels) - 0.4, max(levels) + 0.4)
        ax.set_xticks(levels)
    ax.minorticks_off()


def _reference_band(ax: Axes, panel: pd.DataFrame) -> None:
    """The fully connected net's mean and interval under L2, across the panel."""
    values = live_values(primary_attack(panel))
    if len(values):
        mean, low, high = seed_interval(values)
        ax.axhline(mean, color="black", linewidth=1.0, zorder=0.5)
        if np.isfinite(low):
            ax.axhspan(low, high, color="black", alpha=0.12, linewidth=0, zorder=0.4)


@checked
@mpl.rc_context(STYLE)
def init_scale_effect(
    rows: Rows, scales: tuple[float, float] = (1.0, 0.5), *, looks: Drawn = UNKNOWN
) -> Figure:
    """Mean frequency (L2) of every arm at one init scale against that at another.

    Bars: 95 % t intervals over seeds. An arm on the diagonal does not depend on the scale.
    """
    panels = panels_of(rows)
    num_cols = min(4, max(1, len(panels)))
    figure, axes = grid_of_panels(len(panels), num_cols, height=2.55, sharex=True, sharey=True)
    limits: list[float] = []
    looks = looks.with_arms(rows["arm"])
    drawn: dict[str, Style] = {}
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        panel = in_panel(dataset, regime)(rows)
        panel = primary_attack(panel)
        none = True
        for arm in dict.fromkeys(panel["arm"]):
            of_arm = panel[panel["arm"] == arm]
            values = [live_values(of_arm[np.isclose(of_arm["init_scale"], s)]) for s in scales]
            if min(map(len, values)) == 0:
                continue
            (x, *x_range), (y, *y_range) = map(seed_interval, values)
            style = drawn[arm] = looks[arm]
            ax.plot(x_range, [y, y], color=style.color, linewidth=0.9)
            ax.plot([x, x], y_range, color=style.color, linewidth=0.9)
            ax.plot(x, y, marker=style.marker, linestyle="none", color=style.color, markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
            limits += [x, y, *x_range, *y_range]
            none = False
        if none:
            say(ax, "no two scales")
        ax.axline((0, 0), slope=1, color=GREY, linewidth=0.7, zorder=0)
        ax.locator_params(nbins=4, steps=[1, 2, 5, 10])
        ax.set_title(panel_name(dataset, regime, "\n"), loc="left", fontweight="bold")
        ax.set_xlabel(f"at init scale {scales[0]:.2g}\n(cycles/pixel)")
    if limits:
        low, high = np.nanmin(limits), np.nanmax(limits)
        pad = 0.06 * (high - low) + 1e-3
        axes[0].set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
    for ax in axes[::num_cols]:
        ax.set_ylabel(f"mean frequency\nat init scale {scales[1]:.2g}")
    return laid_out(figure, [arm_handle(drawn[arm]) for arm in looks.in_order(drawn)])


_ALL = float(np.sqrt(0.5))  # cycles/pixel: a low-pass here passes everything


@checked
@mpl.rc_context(STYLE)
def frequencies_used(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """Accuracy on filtered images against the cutoff, beside the frequency that is attacked.

    A panel per data set and regime. Filled, solid: accuracy on low-passed images, at the right on
    all of the image; hollow, dashed: on high-passed ones (the mean of the image is kept in both).
    Above: mean frequency of the L2 perturbations of each arm, on the same axis. Bars: 95 % t
    intervals over live seeds.
    """
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    low_passed = [str(name) for name in rows.filter(like="accuracy_low_")]
    cutoffs = sorted(float(name.removeprefix("accuracy_low_")) for name in low_passed)
    names = [f"accuracy_{kind}_{cutoff:g}" for cutoff in cutoffs for kind in ("low", "high")]
    rows = rows[rows[names].notna().all(axis=1)] if names else rows[:0]
    panels = panels_of(rows)
    looks = looks.with_arms(rows["arm"])
    arms = looks.in_order(rows["arm"])
    num_cols = columns_for(len(panels))
    num_blocks = max(1, -(-len(panels) // num_cols))
    strip = 0.06 + 0.045 * len(arms)
    figure, axes = grid_of_panels(
        2 * num_blocks * num_cols, num_cols, height=0.5 * (2.1 + 2.1 * strip),
        height_ratios=[strip, 1.0] * num_blocks, sharex=True, sharey="row",
    )  # fmt: skip
    grid = np.reshape(np.array(axes, dtype=object), (num_blocks, 2, num_cols)).swapaxes(1, 2)
    pairs = grid.reshape(-1, 2)
    if not panels:
        say(axes[-1], "not measured")
    for ax in pairs[len(panels) :].flat:
        ax.set_axis_off()
    for index, (panel, (above, below)) in enumerate(zip(panels, pairs, strict=False)):
        here = primary_attack(in_panel(*panel)(rows))
        for y, arm in enumerate(arms):
            of_arm = here[here["arm"] == arm]
            values = live_values(of_arm)
            if len(values):
                draw_point(above, looks[arm], values, y, filled=True, vertical=False)
                _filtered(below, of_arm, looks[arm], cutoffs)
        null_line(above, here, vertical=True)
        above.set_ylim(len(arms) - 0.4, -0.6)
        above.set_yticks([])
        above.spines["left"].set_visible(False)
        above.tick_params(axis="x", labelbottom=False)
        above.set_title(panel_name(*panel), loc="left", fontweight="bold")
        below.set_xlabel("cutoff, and mean frequency\n(cycles/pixel)")
        below.set_xscale("log", base=2)
        below.set_xlim(min(cutoffs) / 1.25, _ALL * 1.12)
        below.set_xticks([*cutoffs, _ALL], [*(f"{cutoff:.3g}" for cutoff in cutoffs), "all"])
        below.tick_params(axis="x", labelbottom=True)
        below.minorticks_off()
        if index % num_cols == 0:
            above.set_ylabel("attacked\nat", rotation=0, ha="right", va="center")
            below.set_ylabel("test accuracy (%)")
    low = Line2D([], [], color=INK, marker="o", markersize=4.5, label="low-passed images")
    high = Line2D([], [], color=INK, marker="o", markersize=4.5, markerfacecolor="white",
                  linestyle=(0, (3, 2)), label="high-passed images")  # fmt: skip
    handles = [arm_handle(looks[arm]) for arm in arms]
    return laid_out(figure, [*handles, low, high, null_handle()] if handles else [])


def _filtered(ax: Axes, of_arm: pd.DataFrame, style: Style, cutoffs: Sequence[float]) -> None:
    """Accuracy of one arm on low- and on high-passed images."""
    for kind, filled in (("low", True), ("high", False)):
        columns = [f"accuracy_{kind}_{cutoff:g}" for cutoff in cutoffs]
        at = [*cutoffs, _ALL] if filled else list(cutoffs)
        line = [
            draw_point(ax, style, 100 * live_values(of_arm, column), x, filled=filled,
                       vertical=True)
            for x, column in zip(at, [*columns, "test_accuracy"], strict=False)
        ]  # fmt: skip
        ax.plot(at, line, color=style.color, zorder=1, linewidth=1.0,
                linestyle="-" if filled else (0, (3, 2)))  # fmt: skip

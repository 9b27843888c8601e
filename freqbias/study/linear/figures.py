"""Figures of the linear study, from its rows; files and captions are the report's business."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats

from freqbias.plotting import PAGE_WIDTH, STYLE
from freqbias.study.linear.presets import STYLES
from freqbias.study.linear.summary import (
    Cell,
    Clock,
    Difference,
    Reader,
    cells,
    difference,
    median_separation,
    small_step,
)

_GREY = "#6b6b6b"
_MAP = "RdBu_r"  # red: the first arm is higher; safe for colour-blind readers
_NORMS = {  # norm -> (name, arm whose colour it takes)
    "l2": ("l2 (support vectors)", "fc_d1"),
    "fourier": ("l1 of the DFT", "conv_full_d1"),
    "kernel_3": ("R₃", "conv_k3_d1"),
    "locally_connected_3": ("3x3 windows", "locally_connected_k3_d1"),
}
_EMPTY: Mapping[Clock, str] = {
    "step": "no estimate",
    "separation": "too few seeds\nseparated",
    "loss": "loss not reached",
}
CLOCK_LABELS: Mapping[str, str] = {
    "step": "training step",
    "separation": "step / step of separation",
    "loss": "log₁₀ of the training loss",
}


@mpl.rc_context(STYLE)
def curves(
    rows: pd.DataFrame,
    column: str,
    arms: Sequence[str],
    titles: Mapping[str, str],
    *,
    label: str,
    init_scale: float,
    large_steps: bool = False,
    limits: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """A column against training step, a row of panels per task and a column per sample size.

    Lines: mean over seeds; bands: 95 % t intervals; open markers: the step by which half of the
    seeds are separated; dashed: maximum margins where they are certified.
    """
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    chosen = _cells_of(rows, init_scale, large_steps)
    num_cols = max(len(chosen[task]) for task in tasks)
    figure, axes = _panels(len(tasks), num_cols, height=1.32, sharey=True)
    for row, task in zip(axes, tasks, strict=True):
        for ax, cell in zip(row, chosen[task], strict=False):
            for arm in arms:
                _curve(ax, reader, cell, arm, column)
            missing = _limit_lines(ax, limits, task, cell.num_train)
            if missing:
                ax.text(0.02, 0.03, missing, transform=ax.transAxes, fontsize=5.5, color=_GREY)
        _titles(row, titles[task], [f"N = {cell.num_train}" for cell in chosen[task]])
    _step_axes(axes, sorted(rows["step"].unique()))
    figure.supylabel(label, fontsize=8)
    handles = [_line_handle(arm) for arm in arms]
    handles.append(_separation_handle())
    shown = [norm for norm in _NORMS if any(_usable(limit, norm) for limit in limits)]
    handles += [
        Line2D([], [], color=STYLES[_NORMS[norm][1]].color, linestyle=(0, (4, 2)), linewidth=0.9,
               label=f"max margin in {_NORMS[norm][0]}")
        for norm in shown
    ]  # fmt: skip
    return _finished(figure, handles)


def _curve(ax: Axes, reader: Reader, cell: Cell, arm: str, column: str) -> None:
    values, steps = reader.table(cell, arm, column), reader.steps(cell, arm)
    if not values.size:
        return
    style, x = STYLES[arm], _position(steps)
    mean, low, high = _bands(values)
    ax.plot(x, mean, color=style.color, linestyle=style.linestyle, linewidth=1.1)
    ax.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0)
    at = median_separation(reader, cell, arm)
    if at is not None and np.isfinite(mean[steps == at]).all():
        ax.plot(_position(at), mean[steps == at], style.marker, color=style.color, markersize=3.6,
                markerfacecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip


def _bands(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [T] and 95 % t interval over seeds of [S, T]; NaN where too few seeds have a value."""
    count = np.isfinite(values).sum(axis=0)
    safe = np.where(np.isfinite(values), values, 0.0)
    mean = np.where(count > 0, safe.sum(axis=0) / np.maximum(count, 1), np.nan)
    spread = np.where(np.isfinite(values), (values - mean) ** 2, 0.0).sum(axis=0)
    error = np.sqrt(spread / np.maximum(count - 1, 1) / np.maximum(count, 1))
    half = np.where(count > 1, stats.t.ppf(0.975, np.maximum(count - 1, 1)) * error, np.nan)
    return mean, mean - half, mean + half


def _usable(limit: Mapping[str, Any], norm: str) -> bool:
    return limit["norm"] == norm and limit["mean_frequency"] is not None


def _limit_lines(ax: Axes, limits: Sequence[Mapping[str, Any]], task: str, num_train: int) -> str:
    """Horizontal lines at the limits of one panel; returns what to say of those without one."""
    missing = []
    for norm, (name, arm) in _NORMS.items():
        here = [
            limit
            for limit in limits
            if (limit["task"], limit["num_train"], limit["norm"]) == (task, num_train, norm)
        ]
        values = [limit["mean_frequency"] for limit in here if _usable(limit, norm)]
        if values:
            ax.axhline(float(np.mean(values)), color=STYLES[arm].color, linestyle=(0, (4, 2)),
                       linewidth=0.8, alpha=0.85, zorder=0.5)  # fmt: skip
        elif here:
            missing.append(f"{name}: {here[0]['status'].replace('_', ' ')}")
    return "; ".join(missing)


# --- Maps -----------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def difference_map(
    rows: pd.DataFrame,
    arms: tuple[str, str],
    titles: Mapping[str, str],
    *,
    column: str = "mean_frequency",
    clock: Clock = "step",
    grid: Sequence[float],
) -> Figure:
    """First arm minus second over training time (x), initial scale (y) and sample size (columns).

    Hatched: the 95 % interval includes 0; white: too few seeds have a reading. The black edge is
    the first reading at which half of the seeds of both arms are separated.
    """
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    by_task = {
        task: sorted({cell.num_train for cell in cells(rows) if cell.dataset == task})
        for task in tasks
    }
    num_cols = max(map(len, by_task.values()))
    settings = _scales(rows)
    found = {
        cell: difference(reader, cell, arms, column, clock=clock, grid=grid) for cell in cells(rows)
    }
    norm = _symmetric(found.values())
    figure, axes = _panels(len(tasks), num_cols, height=0.34 + 0.19 * len(settings))
    for row, task in zip(axes, tasks, strict=True):
        for ax, num_train in zip(row, by_task[task], strict=False):
            here = [Cell(task, num_train, *setting) for setting in settings]
            _map_panel(ax, [found.get(cell) for cell in here], norm, _EMPTY[clock])
            for y, cell in enumerate(here):
                if clock == "step" and cell in found:
                    at = [median_separation(reader, cell, arm) for arm in arms]
                    _separation_edge(ax, y, at, grid)
            _map_axes(ax, len(settings), grid, clock, last=row is axes[-1])
            ax.set_yticks(np.arange(len(settings)) + 0.5)
            ax.set_yticklabels(_scale_names(settings) if ax is row[0] else [])
        _titles(row, titles[task], [f"N = {num_train}" for num_train in by_task[task]])
    figure.supylabel("initial scale", fontsize=8)
    return _finished_map(figure, axes, norm, arms, separated=clock == "step")


@mpl.rc_context(STYLE)
def contrast_map(
    rows: pd.DataFrame,
    contrasts: Mapping[str, tuple[str, str]],
    titles: Mapping[str, str],
    *,
    column: str = "mean_frequency",
    init_scale: float = 1.0,
    large_steps: bool = False,
) -> Figure:
    """Several differences between arms (columns) over training step (x) and sample size (y)."""
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    chosen = _cells_of(rows, init_scale, large_steps)
    grid = [float(step) for step in sorted(rows["step"].unique())]
    found = {
        (name, cell): difference(reader, cell, arms, column, clock="step", grid=grid)
        for name, arms in contrasts.items()
        for task in tasks
        for cell in chosen[task]
    }
    norm = _symmetric(found.values())
    most = max(map(len, chosen.values()))
    figure, axes = _panels(len(tasks), len(contrasts), height=0.34 + 0.19 * most)
    for row, task in zip(axes, tasks, strict=True):
        for ax, (name, arms) in zip(row, contrasts.items(), strict=True):
            panel = [found[name, cell] for cell in chosen[task]]
            _map_panel(ax, panel, norm, _EMPTY["step"])
            for y, cell in enumerate(chosen[task]):
                at = [median_separation(reader, cell, arm) for arm in arms]
                _separation_edge(ax, y, at, grid)
            _map_axes(ax, len(chosen[task]), grid, "step", last=row is axes[-1])
            ax.set_yticks(np.arange(len(chosen[task])) + 0.5)
            names = [f"N = {cell.num_train}" for cell in chosen[task]]
            ax.set_yticklabels(names if ax is row[0] else [])
        _titles(row, titles[task], _headings(contrasts, row is axes[0]), heading="above")
    return _finished_map(figure, axes, norm, ("first arm", "second"), separated=True)


def _map_panel(ax: Axes, found: Sequence[Difference | None], norm: Normalize, empty: str) -> None:
    """Colours the cells of a panel, a row per difference, and hatches those that include 0."""
    width = max((len(d.estimate) for d in found if d is not None), default=0)
    blank = np.full(width, np.nan)
    values = np.stack([blank if d is None else d.estimate for d in found])
    signs = np.stack([blank if d is None else d.sign for d in found])
    if not np.isfinite(signs).any():
        ax.text(0.5, 0.5, empty, transform=ax.transAxes, ha="center", va="center", fontsize=6.5,
                color=_GREY)  # fmt: skip
        return
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=_MAP, norm=norm, rasterized=True)
    corners = [[(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)] for y, x in np.argwhere(signs == 0)]
    ax.add_collection(PolyCollection(corners, facecolors="none", hatch="//////", linewidths=0,
                                     edgecolors="#4a4a4a", alpha=0.55))  # fmt: skip


def _separation_edge(ax: Axes, y: int, steps: Sequence[float | None], grid: Any) -> None:
    """A bar before the first step of the grid at which all arms are separated."""
    known = [step for step in steps if step is not None]
    if len(known) == len(steps):
        x = int(np.searchsorted(grid, max(known)))
        ax.plot([x, x], [y + 0.04, y + 0.96], color="black", linewidth=1.5, zorder=4,
                solid_capstyle="butt", clip_on=False)  # fmt: skip


def _map_axes(ax: Axes, height: int, grid: Sequence[float], clock: Clock, *, last: bool) -> None:
    ax.set_xlim(0, len(grid))
    ax.set_ylim(height, 0)
    ax.set_facecolor("white")
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)
    ax.tick_params(length=2, pad=1.5)
    keep = [i for i, value in enumerate(grid) if _labelled(value, clock)]
    ax.set_xticks([i + 0.5 for i in keep])
    ax.set_xticklabels([f"{grid[i]:g}" for i in keep] if last else [], fontsize=6)
    if last:
        ax.set_xlabel(CLOCK_LABELS[clock], fontsize=7, labelpad=1)


def _labelled(value: float, clock: Clock) -> bool:
    """Powers of ten and zero on logarithmic clocks; few of the loss's."""
    if clock == "loss":
        return value in (-0.1, -0.5, -1, -2, -4)
    return value == 0 or float(np.log10(value)).is_integer()


def _symmetric(found: Any) -> Normalize:
    """One scale for all panels, centred on 0."""
    values = np.concatenate([np.abs(d.estimate) for d in found])
    values = values[np.isfinite(values)]
    most = float(np.quantile(values, 0.98)) if values.size else 0.01
    return Normalize(-max(most, 1e-3), max(most, 1e-3))


def _scales(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """(init scale, step size), large steps first, then falling scales."""
    pairs = {
        (float(a), float(b)) for a, b in zip(rows["init_scale"], rows["step_size"], strict=True)
    }
    return sorted(pairs, key=lambda pair: (-pair[1], -pair[0]))


def _scale_names(settings: Sequence[tuple[float, float]]) -> list[str]:
    small = min(step for _, step in settings)
    return [f"{scale:g}" + ("" if step == small else ", large steps") for scale, step in settings]


def _finished_map(
    figure: Figure,
    axes: Sequence[Sequence[Axes]],
    norm: Normalize,
    arms: Sequence[str],
    *,
    separated: bool,
) -> Figure:
    names = [STYLES[arm].label for arm in arms]
    mappable = mpl.cm.ScalarMappable(norm, _MAP)
    bar = figure.colorbar(
        mappable, ax=[ax for row in axes for ax in row], fraction=0.025, pad=0.015, aspect=45,
        extend="both",
    )  # fmt: skip
    bar.set_label(f"{names[0]} \N{MINUS SIGN} {names[1]} (cycles/pixel)", fontsize=7)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    bar.ax.tick_params(length=2, labelsize=6)
    handles: list[Any] = [
        Patch(facecolor="white", edgecolor="#4a4a4a", hatch="//////", linewidth=0.4,
              label="95 % interval includes 0")
    ]  # fmt: skip
    if separated:
        handles.append(Line2D([], [], color="black", linewidth=1.5, marker="|", markersize=7,
                              linestyle="none", markeredgewidth=1.5,
                              label="from here, half of the seeds of both separated"))  # fmt: skip
    return _finished(figure, handles)


# --- C7 and C8 ------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def columns_over_time(
    rows: pd.DataFrame,
    columns: Mapping[str, str],
    arms: Sequence[str],
    titles: Mapping[str, str],
    *,
    num_train: Mapping[str, int],
    logarithmic: Sequence[str] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
    nulls: Mapping[str, float] | None = None,
    init_scale: float = 1.0,
) -> Figure:
    """Several columns (panels of a row) against training step, a row per task, at one N each.

    Args:
      rows: the table.
      columns: column -> axis label.
      arms: what to draw.
      titles: of the tasks.
      num_train: the sample size shown of each task.
      logarithmic: columns on a logarithmic axis.
      ranges: column -> range of its axis.
      nulls: column -> value of white noise, dotted.
      init_scale: the initial scale shown.
    """
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    figure, axes = _panels(len(tasks), len(columns), height=1.25, sharey="col")
    small = small_step(rows)
    for row, task in zip(axes, tasks, strict=True):
        cell = Cell(task, num_train[task], init_scale, small)
        for ax, column in zip(row, columns, strict=True):
            for arm in arms:
                _curve(ax, reader, cell, arm, column)
            if nulls and column in nulls:
                ax.axhline(nulls[column], color=_GREY, linestyle=":", linewidth=1)
            if column in logarithmic and (rows[column] > 0).any():
                ax.set_yscale("log")
            if ranges and column in ranges:
                ax.set_ylim(ranges[column])
        name = f"{titles[task]}, N = {num_train[task]}"
        _titles(row, name, _headings(columns.values(), row is axes[0]), heading="above")
    _step_axes(axes, sorted(rows["step"].unique()))
    handles = [_line_handle(arm) for arm in arms]
    handles.append(_separation_handle())
    if nulls:
        handles.append(Line2D([], [], color=_GREY, linestyle=":", label="white noise"))
    return _finished(figure, handles)


@mpl.rc_context(STYLE)
def slack_curves(
    rows: pd.DataFrame,
    layers: Mapping[str, tuple[str, str]],
    titles: Mapping[str, str],
    *,
    init_scale: float = 1.0,
) -> Figure:
    """Trained minus initial slack of kernels, a column per layer, a line per sample size.

    Args:
      rows: the table.
      layers: panel title -> (arm, column).
      titles: of the tasks.
      init_scale: the initial scale shown.
    """
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    chosen = _cells_of(rows, init_scale, large_steps=False)
    figure, axes = _panels(len(tasks), len(layers), height=1.2, sharey=True)
    for row, task in zip(axes, tasks, strict=True):
        for ax, (arm, column) in zip(row, layers.values(), strict=True):
            ax.axhline(0, color=_GREY, linewidth=0.7, zorder=0)
            for index, cell in enumerate(chosen[task]):
                values, steps = reader.table(cell, arm, column), reader.steps(cell, arm)
                if not values.size:
                    continue
                mean, low, high = _bands(values)
                x = _position(steps)
                look = _sample_look(index)
                ax.plot(x, mean, linewidth=1.1, label=f"N = {cell.num_train}", **look)
                ax.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
        _titles(row, titles[task], _headings(layers, row is axes[0]), heading="above")
    _step_axes(axes, sorted(rows["step"].unique()))
    figure.supylabel(
        "slack above the bound, trained \N{MINUS SIGN} initial (cycles/pixel)", fontsize=8
    )
    return _finished(figure, [])


@mpl.rc_context(STYLE)
def slack_scatter(
    rows: pd.DataFrame, arms: Sequence[str], titles: Mapping[str, str], *, init_scale: float = 1.0
) -> Figure:
    """Mean frequency of beta against the slack of the first layer's kernel, at the last step.

    One point per seed; colour and size of the sample; shape of the arm.
    """
    reader, tasks = Reader(rows), list(dict.fromkeys(rows["dataset"]))
    chosen = _cells_of(rows, init_scale, large_steps=False)
    num_cols = min(3, len(tasks))
    figure, axes = _panels(
        -(-len(tasks) // num_cols), num_cols, height=1.7, sharey=True, sharex=True
    )
    flat = [ax for row in axes for ax in row]
    for ax in flat[len(tasks) :]:
        ax.set_axis_off()
    for ax, task in zip(flat, tasks, strict=False):
        for index, cell in enumerate(chosen[task]):
            for arm in arms:
                x, y = (
                    reader.table(cell, arm, name) for name in ("kernel_slack", "mean_frequency")
                )
                if x.size:
                    ax.plot(x[:, -1], y[:, -1], "D" if "k7" in arm else "o", markersize=3.4,
                            color=_sample_look(index)["color"], markeredgecolor="white",
                            markeredgewidth=0.4)  # fmt: skip
        sizes = ", ".join(str(cell.num_train) for cell in chosen[task])
        ax.set_title(f"{titles[task]}\nN = {sizes}", loc="left", fontsize=7)
    for ax in flat[max(0, len(tasks) - num_cols) : len(tasks)]:
        ax.set_xlabel("kernel slack (cycles/pixel)", fontsize=7)
        ax.tick_params(labelbottom=True)
    figure.supylabel("mean frequency of beta (cycles/pixel)", fontsize=8)
    marker: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    handles = [
        Line2D([], [], marker="D" if "k7" in arm else "o", color=_GREY, label=STYLES[arm].label,
               **marker)
        for arm in arms
    ]  # fmt: skip
    most = max(map(len, chosen.values()))
    handles += [
        Line2D([], [], marker="s", color=_sample_look(k)["color"], **marker,
               label=f"N: {('smallest', 'second', 'third', 'fourth')[min(k, 3)]} of the task's")
        for k in range(most)
    ]  # fmt: skip
    return _finished(figure, handles)


# --- Parts ----------------------------------------------------------------------------------------


def _cells_of(rows: pd.DataFrame, init_scale: float, large_steps: bool) -> dict[str, list[Cell]]:
    """The cells of each task at one scale and step size, by sample size."""
    small = small_step(rows)
    return {
        task: [
            cell
            for cell in cells(rows)
            if cell.dataset == task
            and cell.init_scale == init_scale
            and (cell.step_size == small) != large_steps
        ]
        for task in dict.fromkeys(rows["dataset"])
    }


def _sample_look(index: int) -> dict[str, Any]:
    """From pale and thin to dark: samples from small to large."""
    colors = ("#8fb8de", "#2f78b7", "#0b3c6f", "#000000")
    return {"color": colors[min(index, 3)], "linestyle": ("-", "--", "-.", ":")[min(index, 3)]}


def _panels(num_rows: int, num_cols: int, *, height: float, **share: Any) -> tuple[Figure, Any]:
    size = (PAGE_WIDTH, height * num_rows + 0.85)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.08, hspace=0.02, wspace=0.02)  # type: ignore
    axes = figure.subplots(num_rows, num_cols, squeeze=False, **share)
    return figure, axes.tolist()


def _titles(row: Sequence[Axes], task: str, panels: Sequence[str], heading: str = "") -> None:
    """The name of a row of panels over its first, and each panel's own title.

    Args:
      row: the panels.
      task: name of the row.
      panels: one title per panel; with ``heading`` they stand above the name, else below.
      heading: "above", or empty.
    """
    for ax, text in zip(row, panels, strict=False):
        title = text or " " if heading else f"\n{text}"
        ax.set_title(title, loc="left", pad=14 if heading else 3, fontsize=7, linespacing=1.25)
    # The name may be wider than its panel: the layout knows only the lines kept free for it.
    name = row[0].annotate(task, (0, 1), xycoords="axes fraction", xytext=(0, 3 if heading else 13),
                           textcoords="offset points", fontsize=7.5, fontweight="bold", va="bottom",
                           annotation_clip=False)  # fmt: skip
    name.set_in_layout(False)


def _headings(names: Iterable[str], shown: bool) -> list[str]:
    """Titles of the panels of a first row; empty ones, which keep the place, of others."""
    return [name if shown else "" for name in names]


def _position(steps: Any) -> Any:
    """Place of steps on the logarithmic axis; 0 stands half a step before 1."""
    return np.log10(np.maximum(steps, 0.5))


def _step_axes(axes: Sequence[Sequence[Axes]], steps: Sequence[int]) -> None:
    """A logarithmic axis of steps, 0 included, with numbers under the last row only."""
    powers = [10**k for k in range(8) if 10**k <= max(steps)]
    for row in axes:
        for ax in row:
            ax.set_xlim(_position(0.45) - 0.04, _position(max(steps)) + 0.06)
            last = row is axes[-1]
            labels = ["0", *map(_power, powers)] if last else []
            ax.set_xticks(_position([0, *powers]), labels)
            if last:
                ax.set_xlabel("training step", fontsize=7, labelpad=1)


def _power(value: int) -> str:
    return f"{value:g}" if value <= 1000 else f"$10^{{{round(np.log10(value))}}}$"


def _line_handle(arm: str) -> Line2D:
    style = STYLES[arm]
    return Line2D([], [], color=style.color, linestyle=style.linestyle, marker=style.marker,
                  markersize=3.6, markerfacecolor="white", markeredgewidth=0.8,
                  label=style.label)  # fmt: skip


def _separation_handle() -> Line2D:
    return Line2D([], [], color=_GREY, marker="o", markerfacecolor="white", linestyle="none",
                  markersize=4, label="half of the seeds separated")  # fmt: skip


def _finished(figure: Figure, handles: Sequence[Any]) -> Figure:
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=6.5)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    return figure

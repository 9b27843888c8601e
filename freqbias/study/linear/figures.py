"""Figures of the linear study, from its results; files and captions are the report's business."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from freqbias.plotting import STYLE, Style
from freqbias.plotting.panels import (
    arm_handle,
    columns_for,
    draw_course,
    grid_of_panels,
    laid_out,
    null_handle,
    null_line,
    say,
    step_axis,
)
from freqbias.plotting.style import GREY
from freqbias.study.linear.summary import (
    Cell,
    Clock,
    Difference,
    Results,
    both_separated,
    difference,
    median_separation,
)

_TITLES_HEIGHT = 0.4  # inches that a figure of few rows would lack
_MAP = "RdBu_r"  # red: the first arm is higher; safe for colour-blind readers
_HATCHED: Any = {"hatch": "//////", "edgecolor": "#4a4a4a"}
_DASHED: Any = {"linestyle": (0, (4, 2)), "linewidth": 0.9}
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
_SAMPLES = (  # samples from small to large: from pale to dark
    Style("N: smallest of the task's", "#8fb8de", "s", "-"),
    Style("N: second of the task's", "#2f78b7", "s", "--"),
    Style("N: third of the task's", "#0b3c6f", "s", "-."),
    Style("N: fourth of the task's", "#000000", "s", ":"),
)


# --- Courses --------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def curves(
    results: Results,
    column: str,
    arms: Sequence[str],
    *,
    label: str,
    init_scale: float,
    steps: str = "small",
) -> Figure:
    """A column against training step, a row of panels per task and a column per sample size.

    Lines: mean over seeds; bands: 95 % t intervals; open markers: the step by which half of the
    seeds are separated; dashed: maximum margins where they are certified.
    """
    chosen = {task: results.at_scale(task, init_scale, steps) for task in results.tasks}
    most = max(map(len, chosen.values()))
    figure, axes = _grid(len(chosen), most, height=1.32, sharey=True)
    for row, (task, cells) in zip(axes, chosen.items(), strict=True):
        for ax, cell in zip(row, cells, strict=False):
            for arm in arms:
                _curve(ax, results, cell, arm, column)
            missing = _limit_lines(ax, results, cell)
            if missing:
                ax.text(0.02, 0.03, missing, transform=ax.transAxes, fontsize=5.5, color=GREY)
        _titles(row, results.title(task), [f"N = {cell.num_train}" for cell in cells])
    _step_axes(axes, results)
    figure.supylabel(label, fontsize=8)
    handles = [arm_handle(results.looks[arm], line=True) for arm in arms]
    handles.append(_separation_handle())
    shown = [norm for norm in _NORMS if any(_usable(limit, norm) for limit in results.limits)]
    handles += [
        Line2D([], [], color=results.looks[_NORMS[norm][1]].color, **_DASHED,
               label=f"max margin in {_NORMS[norm][0]}")
        for norm in shown
    ]  # fmt: skip
    return laid_out(figure, handles)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the rows as a figure shows it.

    Attributes:
      name: in the rows.
      label: above its panels.
      log: whether on a logarithmic axis.
      limits: of the axis; None: those of the values.
    """

    name: str
    label: str
    log: bool = False
    limits: tuple[float, float] | None = None


@mpl.rc_context(STYLE)
def columns_over_time(
    results: Results,
    columns: Sequence[Column],
    arms: Sequence[str],
    *,
    num_train: Mapping[str, int],
    init_scale: float = 1.0,
) -> Figure:
    """Several columns (panels of a row) against training step, a row per task, at one N each.

    Args:
      results: of a run.
      columns: what is shown; dotted: what white noise gives, where the rows say so.
      arms: what to draw.
      num_train: the sample size shown of each task.
      init_scale: the initial scale shown.
    """
    figure, axes = _grid(len(results.tasks), len(columns), height=1.25, sharey="col")
    for row, task in zip(axes, results.tasks, strict=True):
        cell = Cell(task, num_train[task], init_scale, results.small_step)
        for ax, column in zip(row, columns, strict=True):
            for arm in arms:
                _curve(ax, results, cell, arm, column.name)
            null_line(ax, results.rows, vertical=False, column=column.name)
            if column.log and (results.rows[column.name] > 0).any():
                ax.set_yscale("log")
            if column.limits:
                ax.set_ylim(column.limits)
        name = f"{results.title(task)}, N = {num_train[task]}"
        heads = _headings([column.label for column in columns], row is axes[0])
        _titles(row, name, heads, heading="above")
    _step_axes(axes, results)
    handles = [arm_handle(results.looks[arm], line=True) for arm in arms]
    handles.append(_separation_handle())
    if any(f"null_{column.name}" in results.rows for column in columns):
        handles.append(null_handle())
    return laid_out(figure, handles)


@mpl.rc_context(STYLE)
def slack_curves(
    results: Results, layers: Mapping[str, tuple[str, str]], *, init_scale: float = 1.0
) -> Figure:
    """Trained minus initial slack of kernels, a column per layer, a line per sample size.

    Args:
      results: of a run.
      layers: panel title -> (arm, column).
      init_scale: the initial scale shown.
    """
    figure, axes = _grid(len(results.tasks), len(layers), height=1.2, sharey=True)
    for row, task in zip(axes, results.tasks, strict=True):
        cells = results.at_scale(task, init_scale)
        for ax, (arm, column) in zip(row, layers.values(), strict=True):
            ax.axhline(0, color=GREY, linewidth=0.7, zorder=0)
            for index, cell in enumerate(cells):
                values = results.table(cell, arm, column)
                draw_course(ax, list(results.steps(cell, arm)), list(values.T), _sample(index))
        handles = [
            arm_handle(_sample(index)._replace(label=f"N = {cell.num_train}"), line=True)
            for index, cell in enumerate(cells)
        ]
        row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
        _titles(row, results.title(task), _headings(layers, row is axes[0]), heading="above")
    _step_axes(axes, results)
    figure.supylabel("slack, trained \N{MINUS SIGN} initial (cycles/pixel)", fontsize=8)
    return laid_out(figure, [])


@mpl.rc_context(STYLE)
def slack_scatter(results: Results, arms: Sequence[str], *, init_scale: float = 1.0) -> Figure:
    """Mean frequency of beta against the slack of the first layer's kernel, at the last step.

    One point per seed; colour: the size of the sample; shape: the arm.
    """
    shapes = dict(zip(arms, ("o", "D", "^", "v"), strict=False))
    num_cols = columns_for(len(results.tasks))
    figure, axes = grid_of_panels(
        len(results.tasks), num_cols, height=1.7 + _TITLES_HEIGHT, sharey=True, sharex=True
    )
    most = 0
    for ax, task in zip(axes, results.tasks, strict=False):
        cells = results.at_scale(task, init_scale)
        most = max(most, len(cells))
        for index, cell in enumerate(cells):
            for arm, shape in shapes.items():
                x, y = (
                    results.table(cell, arm, name) for name in ("kernel_slack", "mean_frequency")
                )
                if x.size:
                    ax.plot(x[:, -1], y[:, -1], shape, markersize=3.4, color=_sample(index).color,
                            markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
        sizes = ", ".join(str(cell.num_train) for cell in cells)
        ax.set_title(f"{results.title(task)}\nN = {sizes}", loc="left", fontsize=7)
    for ax in axes[max(0, len(results.tasks) - num_cols) : len(results.tasks)]:
        ax.set_xlabel("kernel slack (cycles/pixel)", fontsize=7)
        ax.tick_params(labelbottom=True)
    figure.supylabel("mean frequency of beta (cycles/pixel)", fontsize=8)
    handles = [
        arm_handle(results.looks[arm]._replace(marker=shape, color=GREY))
        for arm, shape in shapes.items()
    ]
    handles += [arm_handle(_sample(index)) for index in range(most)]
    return laid_out(figure, handles)


def _curve(ax: Axes, results: Results, cell: Cell, arm: str, column: str) -> None:
    style = results.looks[arm]
    values = results.table(cell, arm, column)
    mean = draw_course(ax, list(results.steps(cell, arm)), list(values.T), style)
    at = median_separation(results, cell, arm)
    if at is not None and at in mean:
        ax.plot(at, mean[at], style.marker, color=style.color, markersize=3.6,
                markerfacecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip


def _usable(limit: Mapping[str, Any], norm: str) -> bool:
    return limit["norm"] == norm and limit["mean_frequency"] is not None


def _limit_lines(ax: Axes, results: Results, cell: Cell) -> str:
    """Horizontal lines at the limits of one panel; returns what to say of those without one."""
    missing = []
    for norm, (name, arm) in _NORMS.items():
        here = [
            limit
            for limit in results.limits
            if (limit["task"], limit["num_train"], limit["norm"])
            == (cell.dataset, cell.num_train, norm)
        ]
        values = [limit["mean_frequency"] for limit in here if _usable(limit, norm)]
        if values:
            ax.axhline(float(np.mean(values)), color=results.looks[arm].color, alpha=0.85,
                       zorder=0.5, **_DASHED)  # fmt: skip
        elif here:
            missing.append(f"{name}: {here[0]['status'].replace('_', ' ')}")
    return "; ".join(missing)


def _sample(index: int) -> Style:
    return _SAMPLES[min(index, len(_SAMPLES) - 1)]


# --- Maps -----------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def difference_map(
    results: Results,
    arms: tuple[str, str],
    *,
    column: str = "mean_frequency",
    clock: Clock = "step",
    grid: Sequence[float],
) -> Figure:
    """First arm minus second over training time (x), initial scale (y) and sample size (columns).

    Hatched: the 95 % interval includes 0; white: too few seeds have a reading. The black edge is
    the first reading at which half of the seeds of both arms are separated.
    """
    sizes = {
        task: sorted({cell.num_train for cell in results.cells if cell.dataset == task})
        for task in results.tasks
    }
    scales = _scales(results)
    found = {
        cell: difference(results, cell, arms, column, clock=clock, grid=grid)
        for cell in results.cells
    }
    norm = _symmetric(found.values())
    most = max(map(len, sizes.values()))
    figure, axes = _grid(len(sizes), most, height=0.34 + 0.19 * len(scales))
    for row, (task, of_task) in zip(axes, sizes.items(), strict=True):
        for ax, num_train in zip(row, of_task, strict=False):
            here = [Cell(task, num_train, *scale) for scale in scales]
            _map_panel(ax, [found.get(cell) for cell in here], norm, _EMPTY[clock])
            for y, cell in enumerate(here):
                if clock == "step" and cell in found:
                    _separation_edge(ax, y, both_separated(results, cell, arms), grid)
            _map_axes(ax, _scale_names(scales), grid, clock)
        _outer_labels(row, clock, last=row is axes[-1])
        _titles(row, results.title(task), [f"N = {num_train}" for num_train in of_task])
    figure.supylabel("initial scale", fontsize=8)
    _color_bar(figure, axes, norm, [results.looks[arm].label for arm in arms])
    return laid_out(figure, _map_handles(separated=clock == "step"))


@mpl.rc_context(STYLE)
def contrast_map(
    results: Results,
    contrasts: Mapping[str, tuple[str, str]],
    *,
    column: str = "mean_frequency",
    init_scale: float = 1.0,
) -> Figure:
    """Several differences between arms (columns) over training step (x) and sample size (y)."""
    chosen = {task: results.at_scale(task, init_scale) for task in results.tasks}
    grid = [float(step) for step in results.recorded]
    found = {
        (name, cell): difference(results, cell, arms, column, clock="step", grid=grid)
        for name, arms in contrasts.items()
        for cells in chosen.values()
        for cell in cells
    }
    norm = _symmetric(found.values())
    most = max(map(len, chosen.values()))
    figure, axes = _grid(len(chosen), len(contrasts), height=0.34 + 0.19 * most)
    for row, (task, cells) in zip(axes, chosen.items(), strict=True):
        for ax, (name, arms) in zip(row, contrasts.items(), strict=True):
            _map_panel(ax, [found[name, cell] for cell in cells], norm, _EMPTY["step"])
            for y, cell in enumerate(cells):
                _separation_edge(ax, y, both_separated(results, cell, arms), grid)
            _map_axes(ax, [f"N = {cell.num_train}" for cell in cells], grid, "step")
        _outer_labels(row, "step", last=row is axes[-1])
        heads = _headings(contrasts, row is axes[0])
        _titles(row, results.title(task), heads, heading="above")
    _color_bar(figure, axes, norm, ("first arm", "second"))
    return laid_out(figure, _map_handles(separated=True))


def _map_panel(ax: Axes, found: Sequence[Difference | None], norm: Normalize, empty: str) -> None:
    """Colours the cells of a panel, a row per difference, and hatches those that include 0."""
    width = max((len(d.estimate) for d in found if d is not None), default=0)
    blank = np.full(width, np.nan)
    values = np.stack([blank if d is None else d.estimate for d in found])
    signs = np.stack([blank if d is None else d.sign for d in found])
    if not np.isfinite(signs).any():
        say(ax, empty)
        return
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=_MAP, norm=norm, rasterized=True)
    corners = [[(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)] for y, x in np.argwhere(signs == 0)]
    ax.add_collection(
        PolyCollection(corners, facecolors="none", linewidths=0, alpha=0.55, **_HATCHED)
    )


def _separation_edge(ax: Axes, y: int, step: float | None, grid: Sequence[float]) -> None:
    """A bar before the first step of the grid at which the arms are separated."""
    if step is not None:
        x = int(np.searchsorted(grid, step))
        ax.plot([x, x], [y + 0.04, y + 0.96], color="black", linewidth=1.5, zorder=4,
                solid_capstyle="butt", clip_on=False)  # fmt: skip


def _map_axes(ax: Axes, names: Sequence[str], grid: Sequence[float], clock: Clock) -> None:
    """A frame, a row for each name and a tick for readings with a round number."""
    ax.set(xlim=(0, len(grid)), ylim=(len(names), 0), facecolor="white")
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)
    ax.tick_params(length=2, pad=1.5)
    keep = [i for i, value in enumerate(grid) if _labelled(value, clock)]
    ax.set_xticks([i + 0.5 for i in keep], [f"{grid[i]:g}" for i in keep], fontsize=6)
    ax.set_yticks(np.arange(len(names)) + 0.5, list(names))


def _outer_labels(row: Sequence[Axes], clock: Clock, *, last: bool) -> None:
    """Names on the first panel of a row of maps, readings of the clock under the last row."""
    for ax in row:
        ax.tick_params(labelleft=ax is row[0], labelbottom=last)
        if last:
            ax.set_xlabel(CLOCK_LABELS[clock], fontsize=7, labelpad=1)


def _labelled(value: float, clock: Clock) -> bool:
    """Powers of ten and zero on logarithmic clocks; few of the loss's."""
    if clock == "loss":
        return value in (-0.1, -0.5, -1, -2, -4)
    return value == 0 or float(np.log10(value)).is_integer()


def _symmetric(found: Iterable[Difference]) -> Normalize:
    """One scale for all panels, centred on 0."""
    values = np.concatenate([np.abs(d.estimate) for d in found])
    values = values[np.isfinite(values)]
    most = float(np.quantile(values, 0.98)) if values.size else 0.01
    return Normalize(-max(most, 1e-3), max(most, 1e-3))


def _scales(results: Results) -> list[tuple[float, float]]:
    """(init scale, step size), large steps first, then falling scales."""
    pairs = {(cell.init_scale, cell.step_size) for cell in results.cells}
    return sorted(pairs, key=lambda pair: (-pair[1], -pair[0]))


def _scale_names(scales: Sequence[tuple[float, float]]) -> list[str]:
    small = min(step for _, step in scales)
    return [f"{scale:g}" + ("" if step == small else ", large steps") for scale, step in scales]


def _color_bar(
    figure: Figure, axes: Sequence[Sequence[Axes]], norm: Normalize, names: Sequence[str]
) -> None:
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, _MAP), ax=[ax for row in axes for ax in row], fraction=0.025,
        pad=0.015, aspect=45, extend="both", use_gridspec=False,
    )  # fmt: skip
    bar.set_label(f"{names[0]} \N{MINUS SIGN} {names[1]} (cycles/pixel)", fontsize=7)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    bar.ax.tick_params(length=2, labelsize=6)


def _map_handles(*, separated: bool) -> list[Any]:
    handles: list[Any] = [
        Patch(facecolor="white", linewidth=0.4, label="95 % interval includes 0", **_HATCHED)
    ]
    if separated:
        handles.append(Line2D([], [], color="black", linewidth=1.5, marker="|", markersize=7,
                              linestyle="none", markeredgewidth=1.5,
                              label="from here, half of the seeds of both separated"))  # fmt: skip
    return handles


# --- Parts ----------------------------------------------------------------------------------------


def _grid(
    num_rows: int, num_cols: int, *, height: float, **share: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Rows of panels, one per task; the titles of panels and rows have lines of their own."""
    height += _TITLES_HEIGHT / num_rows
    figure, axes = grid_of_panels(num_rows * num_cols, num_cols, height=height, **share)
    return figure, [axes[first : first + num_cols] for first in range(0, len(axes), num_cols)]


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


def _step_axes(axes: Sequence[Sequence[Axes]], results: Results) -> None:
    """Training steps under every column of panels."""
    for column in zip(*axes, strict=True):
        step_axis(column, results.recorded, stacked=True)
        column[-1].set_xlabel("training step", fontsize=7, labelpad=1)


def _separation_handle() -> Line2D:
    return Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none",
                  markersize=4, label="half of the seeds separated")  # fmt: skip

"""What changes during training: frequency and the size of perturbations at recorded steps."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from freqbias import schema
from freqbias._checked import checked
from freqbias.plotting.panels import (
    arm_handle,
    columns_for,
    draw_course,
    grid_of_panels,
    in_panel,
    laid_out,
    live_values,
    null_handle,
    null_line,
    panels_of,
    primary_attack,
    say,
    step_axis,
)
from freqbias.plotting.style import GREY, INK, STYLE, UNKNOWN, Drawn, Style, panel_name
from freqbias.schema import Rows

_OF_DATA = "data_mean_frequency"
_LIMIT = schema.LIMIT[2]
DISTANCE = "minimal_relative_distance"
"""Column: smallest L2 perturbation that changes the prediction, over the image's norm; median."""


def recorded_steps(rows: pd.DataFrame, *, init_scale: float = 1.0) -> pd.DataFrame:
    """The rows, under L2, of settings of which more than one step was recorded."""
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    steps = rows.groupby(["dataset", "regime", "arm"])["step"].transform("nunique")
    rows = rows[steps > 1]
    kept = [primary_attack(in_panel(*panel)(rows)) for panel in panels_of(rows)]
    return pd.concat(kept) if kept else rows


@checked
@mpl.rc_context(STYLE)
def over_training(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """Mean frequency, and the smallest relative perturbation, against the training step.

    Above: mean frequency of perturbations of a fixed L2 norm; dotted: white noise; dash-dotted: the
    images, if ``rows`` have ``data_mean_frequency``. Below, where it was measured: the smallest L2
    perturbation that changes the prediction, relative to the norm of the image (median over images,
    geometric mean over seeds, log scale). A panel per data set and regime, a line per arm; bands:
    95 % t intervals over live seeds. Steps: 0, then a log scale. A bar at the right end: the mean
    frequency of the predictor of least cross-entropy, where it was solved for and there is one.
    """
    rows = recorded_steps(rows, init_scale=init_scale)
    looks = looks.with_arms(rows["arm"])
    panels = panels_of(rows)
    measured = DISTANCE in rows and bool(rows[DISTANCE].notna().any())
    num_cols = columns_for(len(panels))
    height = 1 + measured
    num_blocks = max(1, -(-len(panels) // num_cols))
    figure, axes = grid_of_panels(num_blocks * height * num_cols, num_cols, height=1.7)
    grid = np.reshape(np.array(axes, dtype=object), (num_blocks, height, num_cols))
    if not panels:
        say(axes[0], "no steps recorded")
    columns = grid.swapaxes(1, 2).reshape(-1, height)  # one per panel
    for ax in columns[len(panels) :].flat:
        ax.set_axis_off()
    ended = False
    for index, (panel, (above, *below)) in enumerate(zip(panels, columns, strict=False)):
        here = in_panel(*panel)(rows)
        if index:
            above.sharey(columns[0, 0])
        null_line(above, here, vertical=False)
        _data_line(above, here)
        ended |= _limit_line(above, here)
        _lines(above, here, looks, "mean_frequency")
        above.set_title(panel_name(*panel), loc="left", fontweight="bold")
        if below:
            _lines(below[0], here, looks, DISTANCE, log=True)
        step_axis([above, *below], sorted(set(here["step"])))
        if index % num_cols == 0:
            above.set_ylabel("mean frequency\n(cycles/pixel)")
            for ax in below:
                ax.set_ylabel("smallest perturbation\n(relative to the image)")
    handles = [arm_handle(looks[arm], line=True) for arm in looks.in_order(rows["arm"])]
    if handles:
        handles.append(null_handle())
        handles += [_data_handle()] if _OF_DATA in rows else []
        handles += [_limit_handle()] if ended else []
    return laid_out(figure, handles)


def _data_line(ax: Axes, panel: pd.DataFrame) -> None:
    """The mean frequency of the images, across the panel."""
    if _OF_DATA in panel and panel[_OF_DATA].notna().any():
        ax.axhline(panel[_OF_DATA].mean(), color=GREY, linestyle="-.", linewidth=1.2)


def _limit_line(ax: Axes, panel: pd.DataFrame) -> bool:
    """The predictor at which cross-entropy is least, at the right end; whether there is one."""
    known = panel[_LIMIT].dropna() if _LIMIT in panel else panel["step"][:0]
    if known.empty:
        return False
    ax.plot([0.88, 1], [known.mean()] * 2, transform=ax.get_yaxis_transform(), color=INK,
            linewidth=2.2, solid_capstyle="butt", zorder=4)  # fmt: skip
    return True


def _limit_handle() -> Line2D:
    return Line2D([], [], color=INK, linewidth=2.2, label="least cross-entropy (right end)")


def _data_handle() -> Line2D:
    return Line2D([], [], color=GREY, linestyle="-.", linewidth=1.2, label="images")


def _lines(ax: Axes, panel: pd.DataFrame, looks: Drawn, column: str, *, log: bool = False) -> None:
    """A line with its band for every arm of a panel."""
    drawn = False
    for arm, of_arm in panel.groupby("arm", sort=False):
        steps = sorted(set(of_arm["step"]))
        values = [live_values(of_arm[of_arm["step"] == step], column) for step in steps]
        style = looks[str(arm)]
        drawn |= bool(draw_course(ax, steps, values, style, marker=style.marker, log=log))
    if log and drawn:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    if not drawn:
        say(ax, "not measured" if log else "no live\nnetwork")


@checked
@mpl.rc_context(STYLE)
def frequency_against_accuracy(
    rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN
) -> Figure:
    """Mean frequency (L2) against test accuracy along training, a line per arm.

    A panel per data set and regime. Line: means over live seeds at each recorded step, the large
    marker at the last; small dots: single networks. Dotted: white noise. Where lines are compared
    at one accuracy, training longer does not pass for an architecture's effect.
    """
    rows = recorded_steps(rows, init_scale=init_scale)
    looks = looks.with_arms(rows["arm"])
    panels = panels_of(rows)
    num_cols = columns_for(len(panels))
    figure, axes = grid_of_panels(len(panels), num_cols, height=2.2, sharey=True)
    if not panels:
        say(axes[0], "no steps recorded")
    for ax, panel in zip(axes, panels, strict=False):
        here = in_panel(*panel)(rows)
        null_line(ax, here, vertical=False)
        for arm, of_arm in here.groupby("arm", sort=False):
            _path(ax, of_arm, looks[str(arm)])
        ax.set_title(panel_name(*panel), loc="left", fontweight="bold")
        ax.set_xlabel("test accuracy (%)")
    for ax in axes[::num_cols]:
        ax.set_ylabel("mean frequency\n(cycles/pixel)")
    handles = [arm_handle(looks[arm]) for arm in looks.in_order(rows["arm"])]
    return laid_out(figure, [*handles, null_handle()] if handles else [])


def _path(ax: Axes, of_arm: pd.DataFrame, style: Style) -> None:
    live = of_arm[(of_arm["status"] == "ok") & of_arm["mean_frequency"].notna()]
    if live.empty:
        return
    points = live[["test_accuracy", "mean_frequency"]].to_numpy(float) * [100, 1]
    ax.plot(*points.T, ".", color=style.color, alpha=0.45, markersize=4, markeredgewidth=0)
    mean = live.groupby("step")[["test_accuracy", "mean_frequency"]].mean()
    path = mean.to_numpy(float) * [100, 1]
    ax.plot(*path.T, color=style.color, linestyle=style.linestyle)
    ax.plot(*path[-1], marker=style.marker, color=style.color, markersize=6, linestyle="none",
            markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip

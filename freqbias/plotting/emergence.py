"""The order in which bands of frequencies are learnt, and how far each has to go."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from freqbias import schema
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting.panels import (
    arm_handle,
    columns_for,
    draw_course,
    grid_of_panels,
    in_panel,
    laid_out,
    panels_of,
    say,
)
from freqbias.plotting.style import STYLE, UNKNOWN, Drawn, panel_name
from freqbias.plotting.trajectories import recorded_steps
from freqbias.schema import Rows

_MOST_MISSING = 0.2  # share of seeds in which a band that is drawn may never have doubled


@checked
def doubling_steps(
    rows: Rows, *, init_scale: float = 1.0, times_rate: bool = False
) -> pd.DataFrame:
    """When each network reads each band twice as strongly as it did at initialisation.

    The first step at which the root mean square of the margin's gradient over the band
    (`freqbias.schema.GRADIENT`) is twice that of step 0; between recorded steps its logarithm is
    linear in that of the step.

    Args:
      rows: of all recorded steps.
      init_scale: of the networks.
      times_rate: steps times the network's initial learning rate, since arms differ in theirs.

    Returns:
      One row per live network: dataset, regime, arm, seed, and a column per band, by its number;
      NaN where the band never doubles. Empty where nothing was recorded.
    """
    rows = recorded_steps(rows, init_scale=init_scale)
    names = ["dataset", "regime", "arm", "seed"]
    if not set(schema.GRADIENT) <= set(rows.columns):
        return pd.DataFrame(columns=[*names, *range(len(schema.BAND_EDGES))])
    found = []
    for network, course in rows[rows["status"] == "ok"].groupby(names, sort=False):
        course = course.sort_values("step")  # noqa: PLW2901
        step = np.log(np.maximum(course["step"].to_numpy(float), 0.5))
        if course["step"].iloc[0] != 0:
            continue
        read = course[list(schema.GRADIENT)].to_numpy(float).T
        unit = float(course["learning_rate"].iloc[0]) if times_rate else 1.0
        found.append([*network, *(unit * _first_doubled(step, of_band) for of_band in read)])
    return pd.DataFrame(found, columns=[*names, *range(len(schema.BAND_EDGES))])


def _first_doubled(log_step: np.ndarray, values: np.ndarray) -> float:
    if not np.isfinite(values[0]) or values[0] <= 0:
        return float("nan")
    with np.errstate(divide="ignore"):
        octaves = np.log2(values / values[0])
    above = np.flatnonzero(octaves >= 1)
    if not len(above):
        return float("nan")
    ends = slice(above[0] - 1, above[0] + 1)
    return float(np.exp(np.interp(1.0, octaves[ends], log_step[ends])))


@checked
@mpl.rc_context(STYLE)
def order_of_learning(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """The step at which each band has doubled against its frequency, a line per arm.

    A panel per data set and regime; log scale of steps; bands: 95 % t intervals over live seeds, of
    the logarithm. A band that has not doubled in a fifth of the seeds or more is a gap: the mean of
    the others would make it look earlier than it is. Where arms differ in their learning rate there
    is a second block of panels, of steps times the rate.
    """
    steps = doubling_steps(rows, init_scale=init_scale)
    looks = looks.with_arms(steps["arm"])
    panels = panels_of(steps) if len(steps) else []
    blocks = [("step at which the\nband has doubled", steps)]
    if len(steps) and rates_differ(rows, init_scale=init_scale):
        by_rate = doubling_steps(rows, init_scale=init_scale, times_rate=True)
        blocks.append(
            ("learning rate \N{MULTIPLICATION SIGN} step at\nwhich it has doubled", by_rate)
        )
    num_cols = columns_for(len(panels))
    num_slots = num_cols * max(1, -(-len(panels) // num_cols))  # of a block
    height = 2.1 if len(blocks) == 1 else 1.75
    figure, axes = grid_of_panels(len(blocks) * num_slots, num_cols, height=height, sharex=True)
    if not panels:
        say(axes[0], "no steps recorded")
    for index, (label, read) in enumerate(blocks):
        block = axes[index * num_slots : (index + 1) * num_slots]
        for ax, panel in zip(block, panels, strict=False):
            _order_panel(ax, in_panel(*panel)(read), looks)
            ax.set_title(panel_name(*panel), loc="left", fontweight="bold")
            ax.set_xlabel("frequency (cycles/pixel)")
        for ax in block[len(panels) :]:
            ax.set_axis_off()
        for ax in block[::num_cols]:
            ax.set_ylabel(label)
    return laid_out(
        figure, [arm_handle(looks[arm], line=True) for arm in looks.in_order(steps["arm"])]
    )


def rates_differ(rows: pd.DataFrame, *, init_scale: float = 1.0) -> bool:
    """Whether the arms of some data set and regime were trained at different rates."""
    if "learning_rate" not in rows:
        return False
    rows = recorded_steps(rows, init_scale=init_scale)
    return bool((rows.groupby(["dataset", "regime"])["learning_rate"].nunique() > 1).any())


def _order_panel(ax: Axes, here: pd.DataFrame, looks: Drawn) -> None:
    centres = np.array(schema.BAND_EDGES) + schema.BAND_EDGES[1] / 2
    drawn = False
    for arm in looks.in_order(here["arm"]):
        of_arm = here[here["arm"] == arm][list(range(len(centres)))].to_numpy(float)
        known = np.isfinite(of_arm).mean(axis=0) > 1 - _MOST_MISSING
        style = looks[arm]
        drawn |= bool(
            draw_course(ax, centres[known], of_arm.T[known], style, marker=style.marker, log=True)
        )
    if drawn:
        _log_axis(ax)
    else:
        say(ax, "no band\nhas doubled")


def _log_axis(ax: Axes, subs: tuple[float, ...] = (1.0,)) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


@mpl.rc_context(STYLE)
@checked
def distance_by_band(rows: Rows, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN) -> Figure:
    """How far the predictor of linear networks still has to go in each band, in the course of time.

    The root mean square of beta - beta_T over the band (`freqbias.schema.DISTANCE`), beta_T that of
    the last step, relative to what it was at step 0. A row of panels per data set, columns from low
    bands to high, a line per arm; geometric means over live seeds with their 95 % t intervals. Time
    is learning rate times step, both axes are logarithmic; the last step, where nothing is left,
    and the first are not shown.
    """
    rows = distances(rows, init_scale=init_scale)
    looks = looks.with_arms(rows["arm"])
    datasets = list(dict.fromkeys(rows["dataset"]))
    num = max(1, len(datasets) * len(_SHOWN))
    figure, axes = grid_of_panels(num, len(_SHOWN), height=1.75, sharex=True, sharey="row")
    if rows.empty:
        say(axes[0], "no steps recorded")
    for index, ax in enumerate(axes[: len(datasets) * len(_SHOWN)]):
        dataset, band = datasets[index // len(_SHOWN)], _SHOWN[index % len(_SHOWN)]
        here = rows[rows["dataset"] == dataset]
        for arm in looks.in_order(here["arm"]):
            by_time = here[here["arm"] == arm].groupby("time")[schema.DISTANCE[band]]
            values = [of_time.to_numpy(float) for _, of_time in by_time]
            draw_course(
                ax, list(by_time.groups), values, looks[arm], marker=looks[arm].marker, log=True
            )
        _log_axis(ax, subs=(1, 2, 5))
        ax.set_xscale("log")
        ax.set_title(f"{titles.title(dataset)}\n{_band_name(band)}", loc="left", fontsize=7)
        ax.set_xlabel("learning rate \N{MULTIPLICATION SIGN} step")
    for ax in axes[:: len(_SHOWN)]:
        ax.set_ylabel("distance to the end\n(relative to the start)")
    return laid_out(
        figure, [arm_handle(looks[arm], line=True) for arm in looks.in_order(rows["arm"])]
    )


_SHOWN = (0, 2, 4, len(schema.BAND_EDGES) - 1)  # the bands that have a panel


def _band_name(band: int) -> str:
    edges = [f"{edge:.3g}" for edge in schema.BAND_EDGES]
    if band == len(edges) - 1:
        return f"from {edges[-1]} cycles/pixel"
    return f"{edges[band]} to {edges[band + 1]} cycles/pixel"


def distances(rows: pd.DataFrame, *, init_scale: float = 1.0) -> pd.DataFrame:
    """The rows of live linear networks between the first step and the last, and their ``time``.

    Distances are relative to step 0; time is the step times the initial learning rate.
    """
    if not {"learning_rate", *schema.DISTANCE} <= set(rows.columns):
        return rows[:0]
    rows = recorded_steps(rows, init_scale=init_scale)
    rows = rows[(rows["status"] == "ok") & (rows["regime"] == "linear")]
    columns, network = list(schema.DISTANCE), ["dataset", "arm", "seed"]
    start = rows[rows["step"] == 0].set_index(network)[columns].add_suffix("_start")
    joined = rows[~rows["final"] & (rows["step"] > 0)].join(start, on=network, how="inner")
    relative = joined[columns].to_numpy(float) / joined[list(start.columns)].to_numpy(float)
    times = joined["step"] * joined["learning_rate"]
    return joined.assign(time=times, **dict(zip(columns, relative.T, strict=True)))

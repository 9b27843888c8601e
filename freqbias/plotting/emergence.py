"""The order in which bands of frequencies are learnt."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from freqbias import schema
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

_MOST_MISSING = 0.2  # share of seeds in which a band that is drawn may never have doubled


def doubling_steps(rows: pd.DataFrame, *, init_scale: float = 1.0) -> pd.DataFrame:
    """When each network reads each band twice as strongly as it did at initialisation.

    The first step at which the root mean square of the margin's gradient over the band
    (`freqbias.schema.GRADIENT`) is twice that of step 0; between recorded steps its logarithm is
    linear in that of the step.

    Args:
      rows: of all recorded steps.
      init_scale: of the networks.

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
        found.append([*network, *(_first_doubled(step, of_band) for of_band in read)])
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


@mpl.rc_context(STYLE)
def order_of_learning(
    rows: pd.DataFrame, *, init_scale: float = 1.0, looks: Drawn = UNKNOWN
) -> Figure:
    """The step at which each band has doubled against its frequency, a line per arm.

    A panel per data set and regime; log scale of steps; bands: 95 % t intervals over live seeds, of
    the logarithm. A band that has not doubled in a fifth of the seeds or more is a gap: the mean of
    the others would make it look earlier than it is.
    """
    steps = doubling_steps(rows, init_scale=init_scale)
    looks = looks.with_arms(steps["arm"])
    panels = panels_of(steps) if len(steps) else []
    num_cols = columns_for(len(panels))
    figure, axes = grid_of_panels(max(1, len(panels)), num_cols, height=2.1, sharex=True)
    if not panels:
        say(axes[0], "no steps recorded")
    width = schema.BAND_EDGES[1]
    centres = np.array(schema.BAND_EDGES) + width / 2
    for ax, panel in zip(axes, panels, strict=False):
        here = in_panel(*panel)(steps)
        drawn = False
        for arm in looks.in_order(here["arm"]):
            of_arm = here[here["arm"] == arm][list(range(len(centres)))].to_numpy(float)
            known = np.isfinite(of_arm).mean(axis=0) > 1 - _MOST_MISSING
            style = looks[arm]
            drawn |= bool(
                draw_course(
                    ax, centres[known], of_arm.T[known], style, marker=style.marker, log=True
                )
            )
        ax.set_title(panel_name(*panel), loc="left", fontweight="bold")
        ax.set_xlabel("frequency (cycles/pixel)")
        if drawn:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_locator(NullLocator())
        else:
            say(ax, "no band\nhas doubled")
    for ax in axes[::num_cols]:
        ax.set_ylabel("step at which the\nband has doubled")
    return laid_out(
        figure, [arm_handle(looks[arm], line=True) for arm in looks.in_order(steps["arm"])]
    )

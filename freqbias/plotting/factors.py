"""Which factor of the design moves the frequency most, per data set and regime and over all."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from freqbias import inference
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.inference import VarianceShare
from freqbias.plotting.datasets import main_datasets
from freqbias.plotting.panels import (
    grid_of_panels,
    in_panel,
    laid_out,
    panels_of,
    primary_attack,
    say,
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

Shares = Mapping[tuple[str, str], Sequence[VarianceShare]]
"""(dataset, regime) -> the shares of every factor that varies there, interactions and seeds."""

_ORDER = (  # of the factors of arms; any others follow
    *("architecture family", "kernel size", "depth", "weight sharing", "place of the taps"),
    *("channels", "padding", "optimizer", "weight decay"),
)


def factor_levels(rows: pd.DataFrame, looks: Drawn = UNKNOWN) -> dict[str, list[Hashable]]:
    """The level of each factor in each row; None where a factor does not apply.

    What the arms differ in is said by ``looks.factors``. An arm that it does not describe is an
    architecture family of its own; where it describes none, the only factor is the arm itself.
    """
    alone = _ORDER[0] if set(rows["arm"]) & set(looks.factors) else "arm"
    described = [looks.factors.get(arm) or {alone: looks[arm].label} for arm in rows["arm"]]
    found = dict.fromkeys(name for levels in described for name in levels)
    names = [*(n for n in _ORDER if n in found), *(n for n in found if n not in _ORDER)]
    levels: dict[str, list[Hashable]] = {
        name: [row.get(name) for row in described] for name in names
    }
    return levels | {
        "init scale": list(rows["init_scale"]),
        "data set": [titles.title(name) for name in rows["dataset"]],
        "regime": [regime_name(name) for name in rows["regime"]],
    }


@checked
def variance_shares(
    rows: Rows, looks: Drawn = UNKNOWN
) -> dict[tuple[str, str], tuple[VarianceShare, ...]]:
    """How the variance of mean frequency over trained networks is shared out (L2 attack).

    Live networks at the end of training, of all arms and initial scales. Each main data set and
    regime is a panel; so are all main sets and regimes together, and all sets, with the arms and
    scales that were run on each of them: there data set and regime are factors, too. Factors that
    the design cannot tell apart count as one. Panels in which no factor varies, or no setting has
    two live seeds, are left out. See `inference.variance_shares`.

    Args:
      rows: as `freqbias.plotting` describes them.
      looks: what the arms differ in.

    Returns:
      Per (data set, regime) one `VarianceShare` per factor that varies, then interactions, seeds.
    """
    rows = rows[(rows["status"] == "ok") & rows["mean_frequency"].notna()]
    if "final" in rows:
        rows = rows[rows["final"]]
    main = rows[rows["dataset"].isin(main_datasets(rows))] if len(rows) else rows
    panels = {panel: primary_attack(in_panel(*panel)(main)) for panel in panels_of(main)}
    for of in (main, rows):
        if len(panels_of(of)) > 1:
            num = of["dataset"].nunique()
            regimes = of["regime"].unique()
            panels |= {
                (
                    f"{num} data sets" if num > 1 else of["dataset"].iloc[0],
                    "both regimes" if len(regimes) > 1 else regimes[0],
                ): _run_everywhere(of)
            }
    shares = {panel: _shares(here, looks) for panel, here in panels.items()}
    return {panel: found for panel, found in shares.items() if found}


def _run_everywhere(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows under the primary attack of the arms and scales that every data set and regime has."""
    parts = [primary_attack(in_panel(*panel)(rows)) for panel in panels_of(rows)]
    settings = [set(zip(part["arm"], part["init_scale"], strict=True)) for part in parts]
    common = set.intersection(*settings)
    together = pd.concat(parts)
    kept = [key in common for key in zip(together["arm"], together["init_scale"], strict=True)]
    return together[kept]


def _shares(rows: pd.DataFrame, looks: Drawn) -> tuple[VarianceShare, ...]:
    """The shares of what varies in the rows; none if nothing does."""
    levels = {
        name: column
        for name, column in factor_levels(rows, looks).items()
        if len(set(column) - {None}) > 1
    }
    names = ("dataset", "regime", "arm", "init_scale")
    settings = list(zip(*(rows[name] for name in names), strict=True))
    values = rows["mean_frequency"].to_numpy(dtype=np.float64)
    if not levels or len(set(settings)) == len(settings) or np.ptp(values) == 0:
        return ()
    return inference.variance_shares(values, _told_apart(levels, settings), settings)


def _told_apart(
    levels: Mapping[str, list[Hashable]], settings: Sequence[Hashable]
) -> dict[str, list[Hashable]]:
    """The factors, those of them that the design cannot tell apart joined to one."""
    out = dict(levels)
    while names := inference.confounded(out, settings):
        joint: list[Hashable] = [
            " ".join(str(level) for level in row if level is not None)
            for row in zip(*(out.pop(name) for name in names), strict=True)
        ]
        out[" with ".join(names)] = joint
    return out


@checked
@mpl.rc_context(STYLE)
def factors(shares: Shares) -> Figure:
    """Share of the variance of mean frequency of each factor, a panel per data set and regime.

    Dots: shares (omega squared; 0 for a factor without effect, on average); bars: 95 % intervals
    over seeds; grey: what no factor explains alone. The factors stand in the order of their mean
    share; where one did not vary, its line is empty.
    """
    panels = list(shares)
    found: dict[str, list[float]] = {}
    for part in (part for panel in panels for part in shares[panel]):
        found.setdefault(part.name, []).append(part.share)
    rest = [name for name in (inference.INTERACTIONS, inference.SEEDS) if name in found]
    names = sorted(set(found) - set(rest), key=lambda name: (-np.mean(found[name]), name)) + rest
    lines = [textwrap.fill(name, 32) for name in names]
    height = 0.6 + 0.19 * len(lines) + 0.12 * sum(line.count("\n") for line in lines)
    num_cols = min(2, max(1, len(panels)))
    figure, axes = grid_of_panels(len(panels), num_cols, height=height, sharex=True, sharey=True)
    if not panels:
        say(axes[0], "no factor varied")
    for ax, panel in zip(axes, panels, strict=False):
        ax.axvline(0, color=GREY, linewidth=0.7, zorder=0)
        for part in shares[panel]:
            y, color = names.index(part.name), GREY if part.name in rest else INK
            ax.barh(y, 100 * part.share, height=0.55, color=color, alpha=0.15, linewidth=0)
            ax.plot([100 * part.low, 100 * part.high], [y, y], color=color, linewidth=1.4,
                    solid_capstyle="butt")  # fmt: skip
            ax.plot(100 * part.share, y, "o", color=color, markersize=4.5)
        ax.set_title(panel_name(*panel), loc="left", fontweight="bold")
        ax.set_yticks(range(len(lines)), lines)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=PALE, linewidth=0.8)
        ax.set_axisbelow(True)
    for ax in axes[max(0, len(panels) - num_cols) : len(panels)]:
        ax.set_xlabel("share of the variance of mean frequency (%)")
        ax.tick_params(axis="x", labelbottom=True)
    return laid_out(figure, [])

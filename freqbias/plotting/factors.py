"""Which factor of the design moves the frequency most, per data set and regime and over all."""

from collections.abc import Hashable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from freqbias import inference
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
    BLOCKS,
    FAMILIES,
    GREY,
    INK,
    PALE,
    STYLE,
    dataset_name,
    panel_name,
)

Shares = Mapping[tuple[str, str], Sequence[VarianceShare]]
"""(dataset, regime) -> the shares of every factor that varies there, interactions and seeds."""

_SHARING = {
    "conv": "shared",
    "scattered": "shared",
    "locally_connected": "unshared",
    "scattered_unshared": "unshared",
    "locally_connected_tied": "unshared, tied init",
}
_TAPS = {name: "scattered" if "scattered" in name else "local" for name in _SHARING}

_PADDING = {"circular": "circular", "SAME": "zeros", "VALID": "none"}
_OPTIMIZER = {"sgd": "SGD", "adam": "Adam"}
_REGIMES = {"linear": "linear", "relu": "ReLU"}


def factor_levels(rows: pd.DataFrame) -> dict[str, list[Hashable]]:
    """The level of each factor in each row; None where a factor does not apply.

    Convolutional, locally connected and scattered networks are one family, within which sharing and
    the place of the taps vary. The number of hidden layers, and of channels, is that of networks
    not built of blocks; the padding that of plain convolutions.
    """
    architecture = rows["architecture"]
    plain, conv = ~architecture.isin(BLOCKS), architecture == "conv"
    size = rows["kernel_size"].map("K={:g}".format)
    columns = {
        "architecture family": architecture.map(
            lambda name: "Conv, unshared, scattered" if name in _SHARING else FAMILIES[name][0]
        ),
        "kernel size": size.where(rows["kernel"] != "full", "full width").where(
            rows["kernel_size"] > 0
        ),
        "depth": rows["depth"].where(plain),
        "weight sharing": architecture.map(_SHARING.get),
        "place of the taps": architecture.map(_TAPS.get),
        "channels": rows["channels"].where(conv) if "channels" in rows else None,
        "padding": rows["padding"].replace(_PADDING).where(conv) if "padding" in rows else None,
        "optimizer": rows["optimizer"].replace(_OPTIMIZER) if "optimizer" in rows else None,
        "weight decay": rows.get("weight_decay"),
        "init scale": rows["init_scale"],
        "data set": rows["dataset"].map(dataset_name),
        "regime": rows["regime"].replace(_REGIMES),
    }
    return {
        name: [None if pd.isna(level) else level for level in column]
        for name, column in columns.items()
        if column is not None
    }


def variance_shares(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[VarianceShare, ...]]:
    """How the variance of mean frequency over trained networks is shared out (L2 attack).

    Live networks at the end of training, of all arms and initial scales. Each main data set and
    regime is a panel; so are all main sets and regimes together, and all sets, with the arms and
    scales that were run on each of them: there data set and regime are factors, too. Factors that
    the design cannot tell apart count as one. Panels in which no factor varies, or no setting has
    two live seeds, are left out. See `inference.variance_shares`.

    Args:
      rows: as `freqbias.plotting` describes them.

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
    shares = {panel: _shares(here) for panel, here in panels.items()}
    return {panel: found for panel, found in shares.items() if found}


def _run_everywhere(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows under the primary attack of the arms and scales that every data set and regime has."""
    parts = [primary_attack(in_panel(*panel)(rows)) for panel in panels_of(rows)]
    settings = [set(zip(part["arm"], part["init_scale"], strict=True)) for part in parts]
    common = set.intersection(*settings)
    together = pd.concat(parts)
    kept = [key in common for key in zip(together["arm"], together["init_scale"], strict=True)]
    return together[kept]


def _shares(rows: pd.DataFrame) -> tuple[VarianceShare, ...]:
    """The shares of what varies in the rows; none if nothing does."""
    levels = {
        name: column
        for name, column in factor_levels(rows).items()
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
    num_cols = min(2, max(1, len(panels)))
    figure, axes = grid_of_panels(
        len(panels), num_cols, height=0.6 + 0.19 * len(names), sharex=True, sharey=True
    )
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
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=PALE, linewidth=0.8)
        ax.set_axisbelow(True)
    for ax in axes[max(0, len(panels) - num_cols) : len(panels)]:
        ax.set_xlabel("share of the variance of mean frequency (%)")
        ax.tick_params(axis="x", labelbottom=True)
    return laid_out(figure, [])

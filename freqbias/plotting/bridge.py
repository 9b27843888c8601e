"""Effects along the way from one protocol to another."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import schema
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting.claims import VERDICT_COLORS, number
from freqbias.plotting.panels import grid_of_panels, laid_out, panel_order
from freqbias.plotting.style import GREY, INK, STYLE, regime_name

_MARKERS = {"supported": "^", "opposite": "v", "equivalent": "s"}  # of others: a circle


@mpl.rc_context(STYLE)
@checked
def bridge(claims: Sequence[Mapping[str, Any]]) -> Figure:
    """Effects at every stage between two protocols, from the first, above, to the last.

    A column per data set and regime; a row per claim and statistic. Filled: L2 attack, or the
    longest of the others where there is none; hollow: L-inf. Bars: 95 % intervals; shaded: effects
    within the claim's margin; colours and markers: verdicts.

    Args:
      claims: of ``claims.json``, those at a stage ("of", "stage"), in the order of the stages.

    Returns:
      The figure.
    """
    stages = list(dict.fromkeys(str(claim["stage"]) for claim in claims))
    asked = list(dict.fromkeys((str(c["of"]), str(c["statistic"]), str(c["unit"])) for c in claims))
    panels = panel_order((str(claim["dataset"]), str(claim["regime"])) for claim in claims)
    height = 0.55 + 0.14 * len(stages)
    num_cols = max(1, len(panels))
    figure, axes = grid_of_panels(len(asked) * num_cols, num_cols, height=height, sharey=True)
    for index, ax in enumerate(axes[: len(asked) * num_cols]):
        (of, statistic, unit), panel = asked[index // num_cols], panels[index % num_cols]
        here = [
            claim
            for claim in claims
            if (claim["of"], claim["statistic"], claim["dataset"], claim["regime"])
            == (of, statistic, *panel)
        ]
        _panel(ax, here, stages)
        if index < num_cols:
            name = f"{titles.title(panel[0])},\n{regime_name(panel[1])}"
            ax.set_title(name, loc="left", fontweight="bold", fontsize=7)
        ax.set_xlabel(f"{of} ({unit})", fontsize=7, labelpad=1)
    return laid_out(figure, _handles(claims))


def _panel(ax: Axes, claims: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> None:
    ax.axvline(0, color=GREY, linewidth=0.7, zorder=1)
    if claims:
        margin = float(claims[0]["margin"])
        ax.axvspan(-margin, margin, color="#dfe5ea", linewidth=0, zorder=0)
    for y, stage in enumerate(stages):
        here = [claim for claim in claims if claim["stage"] == stage]
        here.sort(key=lambda claim: schema.attack_rank(str(claim["attack"])))
        if schema.geometry(str(here[0]["attack"])).role == "second" if here else False:
            here.reverse()  # the longest attack first
        for place, claim in enumerate(here[:2]):
            _effect(ax, claim, y + 0.28 * place, filled=place == 0)
    ax.set_yticks(range(len(stages)), stages)
    ax.set_ylim(len(stages) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=3, steps=[1, 2, 5, 10])
    ax.spines["left"].set_visible(False)


def _effect(ax: Axes, claim: Mapping[str, Any], y: float, *, filled: bool) -> None:
    estimate, low, high = (number(claim.get(name)) for name in ("estimate", "low", "high"))
    color = VERDICT_COLORS.get(str(claim["verdict"]), INK)
    ax.plot([low, high], [y, y], color=color, linewidth=1.1, solid_capstyle="butt")
    marker = _MARKERS.get(str(claim["verdict"]), "o")
    ax.plot(estimate, y, marker=marker, color=color, markersize=4, linestyle="none",
            markerfacecolor=color if filled else "white")  # fmt: skip


def _handles(claims: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    """The verdicts that there are, and the attacks."""
    found = {str(claim["verdict"]) for claim in claims}
    verdicts = [
        Line2D([], [], color=color, marker=_MARKERS.get(name, "o"), markersize=4,
               linestyle="none", label=name)
        for name, color in VERDICT_COLORS.items()
        if name in found
    ]  # fmt: skip
    box = Line2D([], [], color="#cfd6dd", linewidth=6, label="within the margin")
    return [*verdicts, box]

"""Where linear networks go: the least cross-entropy, certified, or a separation without end."""

from typing import Any

import numpy as np
import pandas as pd

from freqbias import schema
from freqbias.data import titles
from freqbias.plotting import Drawn
from freqbias.plotting.panels import live_values, primary_attack
from freqbias.report.markup import number
from freqbias.report.page import Block, Row, Section, Table


def ends(rows: pd.DataFrame, looks: Drawn) -> Section | None:
    """The section; None where no end was solved for.

    Args:
      rows: of all recorded steps.
      looks: how arms are drawn.
    """
    separable, gradient, frequency, distance = schema.LIMIT
    if separable not in rows or not rows[separable].notna().any():
        return None
    known = primary_attack(rows[rows[separable].notna() & rows["final"]])
    content: list[Block] = []
    lines: list[Row] = []
    for dataset, of_set in known.groupby("dataset", sort=False):
        name = titles.title(str(dataset))
        if of_set[separable].max() > 0:
            content.append(
                f"{name}: a linear predictor is right on every training image, so cross-entropy "
                "has no minimum, predictors grow for ever, and where they point to is a maximum "
                "margin in each architecture's own norm (of two classes followed by linear_bias)."
            )
            continue
        content.append(
            f"{name}: cross-entropy has one minimum, at which every linear architecture that can "
            "express it ends; no linear predictor is right on every training image."
        )
        for arm in looks.in_order(of_set["arm"]):
            here = of_set[of_set["arm"] == arm]
            values: list[Any] = [float(here[c].mean()) for c in (gradient, frequency)]
            lines.append(
                (
                    f"{name}, {looks[arm].label}",
                    f"{values[0]:.1e}",
                    number(values[1]),
                    number(_mean(here, "beta_mean_frequency")),
                    number(_mean(here, distance)),
                )
            )
    if lines:
        caption = (
            "The predictor of least cross-entropy over the training images (norm of the gradient, "
            "images made white: 0 at the minimum), its mean frequency and that of trained networks "
            "(cycles/pixel, mean over classes), and how far these are from it: the distance of "
            "their logits relative to the size of its logits, over the training images."
        )
        heads = ["Arm", "Gradient norm", "Frequency at the end", "Frequency reached", "Distance"]
        content.append(Table(caption, heads, lines))
    return Section("ends", "Where linear networks go", content, short="Ends")


def _mean(rows: pd.DataFrame, column: str) -> float:
    values = live_values(rows, column)
    return float(values.mean()) if len(values) else float(np.nan)

"""Families of networks compared: CNN beside ViT beside MLP-Mixer, each of one or several."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from freqbias import inference
from freqbias.analysis.batch import JACOBIAN
from freqbias.analysis.networks import Subject
from freqbias.analysis.tables import own_frequency

if TYPE_CHECKING:
    import pandas as pd

    from freqbias.analysis.result import Analysis

Over: TypeAlias = Literal["networks", "images"]
CONFIDENCE = 0.95
"""That the intervals of all pairs of families hold at once, under one attack."""


class Apart(NamedTuple):
    """Mean frequency of one family less that of another, under one attack, in cycles/pixel."""

    first: str
    second: str
    attack: str
    estimate: float
    low: float  # NaN where fewer than two values are there
    high: float
    confidence: float  # of this interval: 1 - (1 - CONFIDENCE) / number of pairs
    over: Over
    num_networks: int  # of both families; seeds of an ensemble count as networks
    num_images: int  # that all of these networks predict correctly when clean

    @property
    def side(self) -> int:
        """1: the first lies above, -1: below, 0: the interval holds zero, or there is none."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        if not np.isfinite(self.low):
            return f"{self.attack}: nothing to compare"
        interval = f"{self.estimate:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.attack}: {interval} cycles/pixel"


def members(analysis: "Analysis") -> dict[str, list[Subject]]:
    """The subjects of each family; each is its own where none are named."""
    found: dict[str, list[Subject]] = {}
    for subject in analysis.subjects:
        family = subject.name if analysis.families is None else analysis.families[subject.name]
        found.setdefault(family, []).append(subject)
    return found


def differences(analysis: "Analysis") -> list[Apart]:
    """Every pair of families under every attack and of the input Jacobian, on the same images.

    An image counts where every network of the two families is right about it when clean and every
    perturbation has a spectrum. Over images, paired, an interval speaks of these networks alone;
    where each family has several networks, there is one over networks too (Welch), which speaks of
    the families.
    """
    families = members(analysis)
    pairs = list(itertools.combinations(families, 2))
    confidence = 1 - (1 - CONFIDENCE) / max(len(pairs), 1)
    return [
        apart
        for pair in pairs
        for attack in (*analysis.attacks, JACOBIAN)
        for apart in _apart(analysis, pair, families, attack, confidence)
    ]


def _apart(
    analysis: "Analysis",
    names: tuple[str, str],
    families: dict[str, list[Subject]],
    attack: str,
    confidence: float,
) -> list[Apart]:
    first, second = (_frequencies(analysis, families[name], attack) for name in names)  # [U, N]
    used = np.isfinite(first).all(0) & np.isfinite(second).all(0)
    first, second = first[:, used], second[:, used]
    number, num_images = len(first) + len(second), int(used.sum())
    estimate = float(first.mean() - second.mean()) if num_images else np.nan
    found: dict[Over, inference.Estimate] = {}
    if num_images > 1:
        apart = first.mean(0) - second.mean(0)
        found["images"] = inference.mean_interval(apart, over="images", confidence=confidence)
    if num_images and min(len(first), len(second)) > 1:
        found["networks"] = inference.difference_interval(
            first.mean(1), second.mean(1), confidence=confidence
        )
    bounds: dict[Over, tuple[float, float]] = {"images": (np.nan, np.nan)}
    bounds |= {over: (one.low, one.high) for over, one in found.items()}
    return [
        Apart(*names, attack, estimate, low, high, confidence, over, number, num_images)
        for over, (low, high) in bounds.items()
    ]


def _frequencies(analysis: "Analysis", subjects: Sequence[Subject], attack: str) -> np.ndarray:
    """Mean frequency [U, N] of the perturbations of U networks; NaN where one is not correct."""
    found = [analysis.measured.found[subject.name][attack] for subject in subjects]
    return np.concatenate([
        np.where(one.correct, one.statistics["mean_frequency"], np.nan).astype(np.float64)
        for one in found
    ])  # fmt: skip


def table(analysis: "Analysis") -> "pd.DataFrame":
    """`differences` as a table, also divided by the mean frequency of the images themselves.

    Columns: those of `Apart`, then relative, relative_low, relative_high.
    """
    import pandas as pd  # noqa: PLC0415  (importing freqbias must stay cheap)

    found = pd.DataFrame(differences(analysis), columns=Apart._fields)
    scale = own_frequency(analysis.measured).estimate
    for name, column in (("relative", "estimate"), ("relative_low", "low"),
                         ("relative_high", "high")):  # fmt: skip
        found[name] = found[column] / scale
    return found


def verdict(analysis: "Analysis") -> str:
    """Which family is attacked in higher frequencies, or that it is not decided, in a sentence.

    A pair is decided where the interval lies on the same side of zero under every attack. Where
    families have several networks, a second sentence says it of other networks of the kind.

    Raises:
      ValueError: there is but one family.
    """
    if len(members(analysis)) < 2:
        raise ValueError("a verdict needs two families or networks; this analysis has one.")
    scale = own_frequency(analysis.measured).estimate
    found = [one for one in differences(analysis) if one.attack != JACOBIAN]
    told = _sentence([one for one in found if one.over == "images"], scale)
    more = [one for one in found if one.over == "networks"]
    if more:
        told += f" Of other networks of these families: {_sentence(more, scale)}"
    return told[:1].upper() + told[1:] if told.startswith("whether") else told


def _sentence(found: Sequence[Apart], scale: float) -> str:
    told = []
    for (first, second), group in itertools.groupby(found, lambda one: one[:2]):
        under = list(group)
        sides = {one.side for one in under}
        if sides in ({1}, {-1}):
            above, below = (first, second) if sides == {1} else (second, first)
            least = _turned(min(under, key=lambda one: min(abs(one.low), abs(one.high))), above)
            told.append(
                f"{above} is attacked in higher frequencies than {below} (at least {least}, "
                f"{least.estimate / scale:+.2f} times the images' mean frequency)"
            )
        else:
            told.append(
                f"whether {first} or {second} is attacked in higher frequencies is not decided "
                f"({'; '.join(map(str, under))})"
            )
    return f"{'; '.join(told)} ({_intervals(found)})."


def _turned(apart: Apart, above: str) -> Apart:
    if apart.first == above:
        return apart
    return apart._replace(estimate=-apart.estimate, low=-apart.high, high=-apart.low)


def _intervals(found: Sequence[Apart]) -> str:
    """What the intervals are over, in words."""
    level = f"{100 * found[0].confidence:.3g} %"
    pairs = len({one[:2] for one in found})
    at_once = f", {100 * CONFIDENCE:.3g} % for all {pairs} pairs at once," if pairs > 1 else ""
    over_images = found[0].over == "images"
    counts = [one.num_images if over_images else one.num_networks for one in found]
    span = " to ".join(dict.fromkeys((str(min(counts)), str(max(counts)))))
    whom = "images, of these networks alone" if over_images else "networks of each two families"
    return f"intervals of {level}{at_once} over {span} {whom}"

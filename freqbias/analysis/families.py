"""Families of networks compared: CNN beside ViT beside MLP-Mixer, each of one or several."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from freqbias import inference
from freqbias.analysis.batch import JACOBIAN
from freqbias.analysis.networks import Subject
from freqbias.analysis.tables import own_frequency

if TYPE_CHECKING:
    import pandas as pd

    from freqbias.analysis.result import Analysis

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
    over: Literal["networks", "images"]
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
    perturbation has a spectrum. Where each family has several networks, the interval is over
    networks (Welch), and speaks of the families; else over images, paired, and speaks of these
    networks alone.
    """
    families = members(analysis)
    pairs = list(itertools.combinations(families, 2))
    confidence = 1 - (1 - CONFIDENCE) / max(len(pairs), 1)
    return [
        _apart(analysis, (first, second), families, attack, confidence)
        for first, second in pairs
        for attack in (*analysis.attacks, JACOBIAN)
    ]


def _apart(
    analysis: "Analysis",
    names: tuple[str, str],
    families: dict[str, list[Subject]],
    attack: str,
    confidence: float,
) -> Apart:
    first, second = (_frequencies(analysis, families[name], attack) for name in names)  # [U, N]
    used = np.isfinite(first).all(0) & np.isfinite(second).all(0)
    first, second = first[:, used], second[:, used]
    over: Literal["networks", "images"] = "networks" if min(map(len, (first, second))) > 1 else (
        "images")  # fmt: skip
    estimate = low = high = np.nan
    if used.any():
        estimate = float(first.mean() - second.mean())
    if over == "networks" and used.any():
        found = inference.difference_interval(first.mean(1), second.mean(1), confidence=confidence)
        low, high = found.low, found.high
    elif over == "images" and used.sum() > 1:
        found = inference.mean_interval(
            first.mean(0) - second.mean(0), over="images", confidence=confidence
        )
        low, high = found.low, found.high
    number = len(first) + len(second)
    return Apart(*names, attack, estimate, low, high, confidence, over, number, int(used.sum()))


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
    """One sentence: which family is attacked in higher frequencies, or that it is not decided.

    A pair is decided where the interval lies on the same side of zero under every attack.

    Raises:
      ValueError: there is but one family.
    """
    if len(members(analysis)) < 2:
        raise ValueError("a verdict needs two families or networks; this analysis has one.")
    scale = own_frequency(analysis.measured).estimate
    told = []
    found = [one for one in differences(analysis) if one.attack != JACOBIAN]
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
    return f"{_capital('; '.join(told))}. {_intervals(found)}"


def _turned(apart: Apart, above: str) -> Apart:
    if apart.first == above:
        return apart
    return apart._replace(estimate=-apart.estimate, low=-apart.high, high=-apart.low)


def _intervals(found: Sequence[Apart]) -> str:
    """What the intervals are over, in words."""
    level = f"{100 * found[0].confidence:.3g} %"
    pairs = len({one[:2] for one in found})
    at_once = f" ({100 * CONFIDENCE:.3g} % for all {pairs} pairs at once)" if pairs > 1 else ""
    kinds: dict[str, Any] = {"images": "images, of these networks alone", "networks": "networks"}
    over = []
    for kind, words in kinds.items():
        counts = [one.num_images if kind == "images" else one.num_networks
                  for one in found if one.over == kind]  # fmt: skip
        if counts:
            span = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to " + (
                f"{max(counts)}")  # fmt: skip
            over.append(f"{span} {words}")
    return f"Intervals of {level}{at_once} over {' and '.join(over)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("whether") else text

"""Why, in frequency: what a kernel's size forces, and in which order frequencies are learnt."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from freqbias import plotting, theory
from freqbias.data import titles
from freqbias.plotting import Drawn
from freqbias.plotting.panels import in_panel, live_values, panels_of, primary_attack
from freqbias.plotting.style import regime_name
from freqbias.report.claims import Panel, panel_head
from freqbias.report.figures import BY_BAND, ORDER, ReportFigure
from freqbias.report.markup import signed
from freqbias.report.page import Bullets, Section, Table


class _Arms(NamedTuple):
    """What is compared: the smallest kernel, the widest, and no kernel at all."""

    small: str
    wide: str
    baseline: str


class _Frequencies(NamedTuple):
    """The same of each: mean frequency of perturbations, cycles per pixel."""

    small: float
    wide: float
    baseline: float


class _Facts(NamedTuple):
    """Of one panel; means over live seeds."""

    size: int  # taps of the small kernel along each axis
    bound: float  # lowest mean frequency of a kernel of that size, cycles per pixel
    initial: float  # mean frequency of the small kernel before and after training
    trained: float
    frequency: _Frequencies
    doubled: Mapping[str, tuple[float, float]]  # arm -> median step of the lowest, highest band
    rates: Mapping[str, float]  # arm -> learning rate; NaN where rows do not tell


def why(
    rows: pd.DataFrame,
    spectra: Mapping[str, np.ndarray],
    looks: Drawn,
    figures: Sequence[ReportFigure],
) -> Section | None:
    """The section, where a small kernel, a wide one and a baseline were recorded in training.

    Args:
      rows: of all recorded steps, of the main data sets.
      spectra: the arrays of ``spectra.npz``, for the shapes of images.
      looks: how arms are drawn and compared.
      figures: of the report.
    """
    figure = [figure for figure in figures if figure.name in (ORDER, BY_BAND)]
    scale = float(rows["init_scale"].max())
    arms = _compared(rows, looks)
    if arms is None or not figure:
        return None
    doubled = plotting.doubling_steps(rows, init_scale=scale)
    facts: dict[Panel, _Facts] = {}
    for panel in panels_of(rows):
        here = primary_attack(in_panel(*panel)(rows))
        here = here[here["final"] & np.isclose(here["init_scale"], scale)]
        example = spectra.get(f"{panel[0]}.example_images")
        if example is not None and all(len(live_values(here[here["arm"] == a])) for a in arms):
            shape = example.shape[1:3]
            facts[panel] = _facts(here, arms, shape, in_panel(*panel)(doubled))
    if not facts:
        return None
    said = Bullets(_sentences(facts, arms, looks), "why")
    return Section("why", "Why, in frequency", [said, *figure, _table(facts, arms, looks)])


def _compared(rows: pd.DataFrame, looks: Drawn) -> _Arms | None:
    """Of the first group of arms: the swept ones of least and most taps, and a baseline."""
    groups = list(looks.groups_of(rows["arm"]).values())
    first = rows[rows["arm"].isin(groups[0])] if groups else rows[:0]
    swept = first[first["architecture"].isin(looks.swept)]
    baseline = first[first["architecture"].isin(looks.baseline)]
    if swept["kernel_size"].nunique() < 2 or baseline.empty or "kernel_slack" not in rows:
        return None
    order = swept.sort_values("kernel_size", kind="stable")["arm"]
    return _Arms(str(order.iloc[0]), str(order.iloc[-1]), str(baseline["arm"].iloc[0]))


def _facts(here: pd.DataFrame, arms: _Arms, shape: Sequence[int], doubled: pd.DataFrame) -> _Facts:
    of_small = here[here["arm"] == arms.small]
    size = int(of_small["kernel_size"].iloc[0])
    bound = float(theory.mean_frequency_range((size, size), tuple(shape)).minimum)
    steps = {}
    for arm in arms:
        of_arm = doubled[doubled["arm"] == arm].drop(columns=["dataset", "regime", "arm", "seed"])
        filled = of_arm.fillna(np.inf).to_numpy(float)  # never
        there = of_arm.notna().any(axis=0).to_numpy()
        median = np.median(filled, axis=0) if len(filled) else np.full(len(there), np.nan)
        steps[arm] = (float(median[0]), float(median[-1]))
    return _Facts(
        size=size,
        bound=bound,
        initial=bound + float(live_values(of_small, "kernel_slack_init").mean()),
        trained=bound + float(live_values(of_small, "kernel_slack").mean()),
        frequency=_Frequencies(
            *(float(live_values(here[here["arm"] == arm]).mean()) for arm in arms)
        ),
        doubled=steps,
        rates={arm: _rate(here[here["arm"] == arm]) for arm in arms},
    )


def _rate(of_arm: pd.DataFrame) -> float:
    return float(of_arm["learning_rate"].mean()) if "learning_rate" in of_arm else float("nan")


def _sentences(facts: Mapping[Panel, _Facts], arms: _Arms, looks: Drawn) -> list[str]:
    small, wide, none = (looks[arm].label for arm in arms)
    one = next(iter(facts.values()))
    bounds = sorted({round(f.bound, 3) for f in facts.values()})
    slack = [f.trained - f.bound for f in facts.values()]
    change = [f.trained - f.initial for f in facts.values()]
    by_size = {p: f.frequency.small - f.frequency.wide for p, f in facts.items()}
    by_sharing = {p: f.frequency.wide - f.frequency.baseline for p, f in facts.items()}
    ordered = [low < high for f in facts.values() for low, high in f.doubled.values()]
    later = {p: (f.doubled[arms.small], f.doubled[arms.wide]) for p, f in facts.items()}
    sooner = [p for p, (a, b) in later.items() if a[1] < b[1]]
    return [
        f"What the uncertainty principle says: a kernel of {one.size} x {one.size} taps cannot "
        f"have a mean frequency below {' or '.join(f'{b:.3f}' for b in bounds)} cycles/pixel, one "
        "as wide as the image can have any. Trained kernels lie "
        f"{_range(slack, signed)} above that bound, which is {_range(change, signed)} from where "
        "they began: it binds the layer, and a readout as wide as the image can undo it.",
        f"What it goes with: perturbations of {small} lie above those of {wide} on "
        f"{_places(by_size, positive=True)}, and below on {_places(by_size, positive=False)}.",
        f"What it does not explain: {wide} has no such bound, nor has {none}; the difference "
        f"between these two, convolution without locality, is "
        f"{_places(by_sharing)}.",
        f"The order: the lowest band doubles before the highest, if that doubles at all, in "
        f"{sum(ordered)} of {len(ordered)} arms and panels of the table. The highest band doubles "
        f"sooner in {small} than in {wide} in {len(sooner)} of {len(later)} panels."
        + "".join(_by_rate(facts, arms, looks)),
    ]


def _by_rate(facts: Mapping[Panel, _Facts], arms: _Arms, looks: Drawn) -> list[str]:
    """How much later than in the small kernel the highest band doubles, rates taken out."""
    found = []
    for arm in (arms.wide, arms.baseline):
        times = [[f.rates[a] * f.doubled[a][1] for a in (arm, arms.small)] for f in facts.values()]
        ratios = [late / early for late, early in times if np.isfinite([late, early]).all()]
        if ratios:
            found.append(f"{_range(ratios, '{:.2g}'.format)} times as late in {looks[arm].label}")
    if not found:
        return []
    return [
        f" Arms differ in their learning rate: in steps times the rate that band doubles "
        f"{' and '.join(found)} as in {looks[arms.small].label}, where both do."
    ]


def _range(values: Sequence[float], text: Any) -> str:
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"


def _places(differences: Mapping[Panel, float], *, positive: bool | None = None) -> str:
    """The panels, with the difference in each; all, or those of one sign."""
    kept = [
        f"{titles.title(dataset)}, {regime_name(regime)} ({signed(value)})"
        for (dataset, regime), value in differences.items()
        if positive is None or (value > 0) == positive
    ]
    return "; ".join(kept) or "none"


def _table(facts: Mapping[Panel, _Facts], arms: _Arms, looks: Drawn) -> Table:
    small = looks[arms.small].label

    def line(name: str, of: Any) -> tuple[str, ...]:
        return (name, *(of(found) for found in facts.values()))

    def steps(arm: str) -> Any:
        return lambda found: " → ".join(_step(step) for step in found.doubled[arm])

    lines = [
        line("Lowest mean frequency that its size allows", lambda f: f"{f.bound:.3f}"),
        line(f"Mean frequency of the kernels of {small}, initial → trained",
             lambda f: f"{f.initial:.3f} → {f.trained:.3f}"),
        *(
            line(f"Perturbations of {looks[arm].label}",
                 lambda f, at=index: f"{f.frequency[at]:.3f}")
            for index, arm in enumerate(arms)
        ),
        *(line(f"Step of doubling, lowest → highest band, {looks[arm].label}", steps(arm))
          for arm in arms),
    ]  # fmt: skip
    return Table(
        "What kernels can do, what they do, and when each band is learnt. Frequencies in "
        "cycles/pixel, means over live seeds; steps are medians over seeds, a dash where the band "
        "does not double in most.",
        ["", *(panel_head(*panel) for panel in facts)],
        lines,
    )


def _step(step: float) -> str:
    return f"{step:.0f}" if np.isfinite(step) else "\N{EN DASH}"

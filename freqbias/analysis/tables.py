"""Means with intervals from numbers per image: tidy tables of an analysis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from freqbias import inference
from freqbias.analysis.batch import ALL, FLIPPED, GROUPS, IMAGES, JACOBIAN, NOT_FLIPPED, Found
from freqbias.analysis.measure import Measured
from freqbias.analysis.networks import Subject
from freqbias.typing import Status

if TYPE_CHECKING:
    import pandas as pd

UNITS: Mapping[str, str] = {
    "mean_frequency": "cycles/pixel",
    "mean_frequency_disc": "cycles/pixel",
    "half_power_frequency": "cycles/pixel",
    "high_fraction": "share of power above 1/4 cycle/pixel",
    "entropy": "nats",
    "participation_ratio": "frequencies",
    "hoyer": "0 to 1",
    "relative_norm": "L2 norm / contrast of the image",
}
"""The statistics of a perturbation, and their units."""


class Interval(NamedTuple):
    """A mean with its 95 % interval, and what that is over."""

    estimate: float
    low: float  # NaN where fewer than two values are there
    high: float
    over: Literal["images", "seeds", ""]  # "": there is no interval
    num_images: int  # with a value; of an ensemble the fewest of any seed
    num_seeds: int  # with a value

    def __str__(self) -> str:
        if not np.isfinite(self.estimate):
            return "nothing to measure"
        if not np.isfinite(self.low):
            single = f"a single {self.over[:-1]}" if self.over else "nothing to vary over"
            return f"{self.estimate:.3f} (no interval: {single})"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: Any, where: np.ndarray, *, ensemble: bool) -> Interval:
    """Mean of some images' values: over images of one network, or over the seeds of an ensemble.

    Args:
      values: [S, N]; NaN where there is no value.
      where: bool [S, N], the images asked for.
      ensemble: whether the interval is over seeds, of each the mean over its images; else S is 1.

    Returns:
      An `Interval`.
    """
    per_seed = inference.image_means(values, where=where)
    alive = per_seed.num_images > 0
    fewest = int(per_seed.num_images[alive].min()) if alive.any() else 0
    if ensemble:
        sample, over = per_seed.mean[alive], "seeds"
    else:
        sample, over = np.asarray(values)[0][where[0] & ~np.isnan(values[0])], "images"
    return _interval(sample, over, fewest, int(alive.sum()))


def _interval(sample: np.ndarray, over: Any, num_images: int, num_seeds: int) -> Interval:
    sample = np.asarray(sample, np.float64)
    if sample.size < 2:
        mean = float(sample[0]) if sample.size else np.nan
        return Interval(mean, np.nan, np.nan, over, num_images, num_seeds)
    found = inference.mean_interval(sample, over=over)
    return Interval(found.estimate, found.low, found.high, over, num_images, num_seeds)


def difference(first: Found, second: Found, statistic: str, group: str, kinds: Sequence[bool]):
    """Mean of the first less that of the second, on the same images.

    Of two single networks the interval is over images, paired: of each image that has a value in
    both, the difference. Of two ensembles it is over seeds (Welch), of each the mean over its
    images. Of one network beside an ensemble there is none.

    Args:
      first: of the first subject.
      second: of the second, on the same images.
      statistic: a name of `UNITS`.
      group: of `GROUPS`; an image counts where it belongs to the group in both.
      kinds: of each whether it is an ensemble.

    Returns:
      An `Interval`.
    """
    a, b = first.statistics[statistic], second.statistics[statistic]
    if not any(kinds):
        both = first.where(group)[0] & second.where(group)[0] & ~np.isnan(a[0]) & ~np.isnan(b[0])
        apart = a[0][both].astype(np.float64) - b[0][both]
        return _interval(apart, "images", int(both.sum()), 2)
    means = [
        inference.image_means(values, where=of.where(group))
        for values, of in ((a, first), (b, second))
    ]
    samples = [found.mean[found.num_images > 0] for found in means]
    fewest = min(int(f.num_images[f.num_images > 0].min(initial=10**9)) for f in means)
    num_seeds = sum(map(len, samples))
    if not all(map(len, samples)):
        return Interval(np.nan, np.nan, np.nan, "", 0, num_seeds)
    apart = float(samples[0].mean() - samples[1].mean())
    if not all(kinds) or min(map(len, samples)) < 2:
        return Interval(apart, np.nan, np.nan, "", fewest, num_seeds)
    estimate = inference.difference_interval(*samples)
    return Interval(apart, estimate.low, estimate.high, "seeds", fewest, num_seeds)


def statistics_table(subjects: Sequence[Subject], measured: Measured) -> "pd.DataFrame":
    """One row per network, attack, group of perturbations and statistic.

    Columns: network, attack (or "input Jacobian"; "the images" with network ""), perturbations
    (`GROUPS`), statistic, unit, estimate, low, high (95 %), over ("images": new images of the same
    kind, this network; "seeds": new networks), num_images, num_seeds, white_noise (mean of the
    statistic over white noise), images (that of the clean images), relative (estimate / images).
    """
    import pandas as pd  # noqa: PLC0415  (importing freqbias must stay cheap)

    own = _of_images(measured)
    rows = [_row("", IMAGES, ALL, name, found, measured, own) for name, found in own.items()]
    for subject in subjects:
        for attack, found in measured.found[subject.name].items():
            for group in (ALL,) if attack == JACOBIAN else GROUPS:
                where = found.where(group)
                rows += [
                    _row(subject.name, attack, group, name,
                         interval(values, where, ensemble=subject.seeds is not None), measured, own)
                    for name, values in found.statistics.items()
                ]  # fmt: skip
    return pd.DataFrame(rows)


def overview(subjects: Sequence[Subject], measured: Measured) -> "pd.DataFrame":
    """The main numbers, for the eye: of the images, white noise, and each network and attack.

    Columns: network, attack, flipped of correct (of the Jacobian only the latter), frequency
    (mean, cycles/pixel), interval (95 %), over, relative (to the mean frequency of the images).
    """
    import pandas as pd  # noqa: PLC0415

    own = own_frequency(measured)
    white = Interval(measured.null["mean_frequency"], np.nan, np.nan, "", 0, 0)
    rows = [("the images", "", "", own), ("white noise", "", "", white)]
    for subject in subjects:
        for attack, found in measured.found[subject.name].items():
            ensemble = subject.seeds is not None
            values = found.statistics["mean_frequency"]
            told = interval(values, found.where(ALL), ensemble=ensemble)
            fallen = "" if attack == JACOBIAN else f"{int(found.where(FLIPPED).sum())} of "
            rows.append((subject.name, attack, f"{fallen}{int(found.correct.sum())}", told))
    return pd.DataFrame([
        {
            "network": network,
            "attack": attack,
            "flipped of correct": flipped,
            "frequency": f"{told.estimate:.3f}",
            "interval": f"[{told.low:.3f}, {told.high:.3f}]" if np.isfinite(told.low) else "",
            "over": told.over if np.isfinite(told.low) else "",
            "relative": f"{told.estimate / own.estimate:.2f}" if own.estimate else "",
        }
        for network, attack, flipped, told in rows
    ])  # fmt: skip


def own_frequency(measured: Measured) -> Interval:
    """Mean frequency of the images themselves."""
    images = measured.images
    return interval(images.statistics["mean_frequency"], images.correct, ensemble=False)


def _of_images(measured: Measured) -> dict[str, Interval]:
    """The statistics of the clean images."""
    return {
        name: interval(values, measured.images.correct, ensemble=False)
        for name, values in measured.images.statistics.items()
    }


def _row(  # noqa: PLR0917 (a row's parts)
    network: str,
    attack: str,
    group: str,
    statistic: str,
    found: Interval,
    measured: Measured,
    own: Mapping[str, Interval],
) -> dict[str, Any]:
    images = own[statistic].estimate if statistic in own else np.nan
    return {
        "network": network,
        "attack": attack,
        "perturbations": group,
        "statistic": statistic,
        "unit": UNITS[statistic],
        **found._asdict(),
        "white_noise": measured.null.get(statistic, np.nan),
        "images": images,
        "relative": found.estimate / images if images else np.nan,
    }


def differences_table(subjects: Sequence[Subject], measured: Measured) -> "pd.DataFrame":
    """One row per pair of networks, attack, group and statistic: the first less the second.

    Columns as in `statistics_table`, with first and second for network; ``relative``,
    ``relative_low``, ``relative_high``: divided by the statistic of the images themselves. Empty
    for one network.
    """
    import pandas as pd  # noqa: PLC0415

    scales = _of_images(measured)
    rows = []
    for index, first in enumerate(subjects):
        for second in subjects[index + 1 :]:
            kinds = [first.seeds is not None, second.seeds is not None]
            for attack, found in measured.found[first.name].items():
                other = measured.found[second.name][attack]
                for group in (ALL,) if attack == JACOBIAN else (ALL, FLIPPED):
                    for name in found.statistics:
                        apart = difference(found, other, name, group, kinds)
                        scale = scales[name].estimate if name in scales else np.nan
                        rows.append({
                            "first": first.name,
                            "second": second.name,
                            "attack": attack,
                            "perturbations": group,
                            "statistic": name,
                            "unit": UNITS[name],
                            **apart._asdict(),
                            "relative": apart.estimate / scale,
                            "relative_low": apart.low / scale,
                            "relative_high": apart.high / scale,
                        })  # fmt: skip
    return pd.DataFrame(rows)


def outcomes_table(subjects: Sequence[Subject], measured: Measured) -> "pd.DataFrame":
    """One row per network, seed and attack: what became of the images.

    Columns: network, seed (-1 for one network), attack, num_images, correct (predicted correctly
    when clean), flipped and not_flipped (of those), no_gradient (status DEAD), not_finite (status
    DIVERGED), no_spectrum (correct when clean, and the perturbation is zero or constant),
    median_distance (of the flipped, in the attack's norm).
    """
    import pandas as pd  # noqa: PLC0415

    rows = []
    for subject in subjects:
        for attack, found in measured.found[subject.name].items():
            empty = np.isnan(found.statistics["mean_frequency"])
            for index, seed in enumerate(subject.seeds or (-1,)):
                flipped = found.where(FLIPPED)[index]
                distance = found.distance[index][flipped]
                rows.append({
                    "network": subject.name,
                    "seed": seed,
                    "attack": attack,
                    "num_images": found.correct.shape[1],
                    "correct": int(found.correct[index].sum()),
                    "flipped": int(flipped.sum()),
                    "not_flipped": int(found.where(NOT_FLIPPED)[index].sum()),
                    "no_gradient": int((found.status[index] == Status.DEAD).sum()),
                    "not_finite": int((found.status[index] == Status.DIVERGED).sum()),
                    "no_spectrum": int((empty & found.correct)[index].sum()),
                    "median_distance": float(np.median(distance)) if distance.size else np.nan,
                })  # fmt: skip
    return pd.DataFrame(rows)

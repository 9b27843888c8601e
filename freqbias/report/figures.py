"""Which figures a report shows, in which order, and what their captions state."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from freqbias import plotting, schema
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting import UNKNOWN, Drawn
from freqbias.plotting.emergence import distances, rates_differ
from freqbias.plotting.panels import second_opinion
from freqbias.plotting.trajectories import DISTANCE, recorded_steps
from freqbias.schema import Rows

COURSE = "over_training"
"""The name of the figure that stands with the findings."""
ORDER = "order_of_learning"
"""The name of the figure that says why, with sentences of its own."""
BY_BAND = "distance_by_band"
"""The name of the figure that stands with it."""
FACTORS = "factors"
"""The name of the figure that stands in a section of its own."""
EFFECTS_BY_DATASET = "effects_by_dataset"
"""The name of the figure that stands among the claims."""
_NULL = "Dotted: what white noise of the same shape gives."
_GROUPS_IN_A_ROW = 3
_SIGNED = schema.geometry("linf").label  # the attack that takes the sign of the gradient


class ReportFigure(NamedTuple):
    """A figure with its words."""

    name: str  # file stem
    title: str  # what the figure lets one see
    caption: str  # what is plotted, units, seeds, what bars and bands are
    alt: str  # for those who do not see it
    figure: Figure
    source: str = "rows.csv"  # the file of the run whose numbers are drawn


class OwnFigure(NamedTuple):
    """A column of the rows that has a figure of its own."""

    column: str
    title: str
    unit: str


@checked
def make_figures(
    rows: Rows,
    claims: Mapping[str, Any],
    spectra: Mapping[str, np.ndarray],
    looks: Drawn = UNKNOWN,
    own: Sequence[OwnFigure] = (),
) -> list[ReportFigure]:
    """All figures for which the inputs hold anything, in the report's order.

    Args:
      rows: one row per seed, setting and attack.
      claims: the contents of ``claims.json``.
      spectra: the arrays of ``spectra.npz``.
      looks: how the arms are drawn, and what they differ in.
      own: of measurements that have a figure of their own.

    Returns:
      The figures with captions. Formats are described in `freqbias.plotting`.
    """
    check_rows(rows)
    looks = looks.with_arms(rows["arm"])
    main = plotting.main_datasets(rows)
    of_all = rows[rows["final"]]
    recorded = rows[rows["dataset"].isin(main)]
    rows = recorded[recorded["final"]]
    all_spectra, spectra = spectra, _of_datasets(spectra, main)
    listed = list(claims.get("claims", ()))
    minor = set(of_all["dataset"]) - set(main)
    main_claims = [claim for claim in listed if claim["dataset"] not in minor]
    scale = 1.0 if np.isclose(rows["init_scale"], 1.0).any() else float(rows["init_scale"].max())
    seeds = f"{_seeds(rows)}, init scale {scale:g}"
    bars = f"Bars: 95 % t intervals over live seeds ({seeds})."
    attack, second = _attack(rows), second_opinion(rows)
    hollow = _hollow(second)
    null = _NULL
    out = _dataset_figures(of_all, listed, main, scale, looks)
    left_out = f" Data sets on which fewer arms were run: {_titled(out)}." if minor else ""
    out.append(
        ReportFigure(
            "arm_overview",
            "Where the perturbations of each architecture live",
            f"Mean spatial frequency of the perturbations (cycles/pixel, zero frequency left out; "
            f"mean over {_images(rows)} images, then over seeds). Filled: {attack}{hollow}"
            f"{', whose sign whitens the spectrum' if second == _SIGNED else ''}. {bars} {null} "
            "Where some seeds are dead or diverged, the number of live ones is given."
            f"{left_out}",
            "Dot plot of mean frequency by architecture, a panel per data set and regime.",
            plotting.arm_overview(rows, init_scale=scale, looks=looks),
        )
    )
    groups = list(plotting.profile_groups(spectra, init_scale=scale, looks=looks).items())
    for first in range(0, len(groups), _GROUPS_IN_A_ROW):
        shown = dict(groups[first : first + _GROUPS_IN_A_ROW])
        out.append(
            ReportFigure(
                "radial_profiles" + (f"_{first // _GROUPS_IN_A_ROW + 1}" if first else ""),
                "How their power is spread over frequency"
                + (f": {', '.join(shown).lower()}" if len(groups) > _GROUPS_IN_A_ROW else ""),
                "Power of the L2 perturbations by radius in the frequency plane, per frequency and "
                "relative to white noise (log scale), so that the line at 1 is white. Lines: "
                f"geometric mean over live seeds ({seeds}); bands: its 95 % t interval. Dashed: "
                "the images themselves. Shaded: beyond ½ cycle/pixel only the corners of "
                "the plane remain.",
                "Radial power profiles of perturbations against spatial frequency, a row per data "
                f"set and regime; columns compare arms by: {', '.join(shown).lower()}.",
                plotting.radial_profiles(spectra, init_scale=scale, groups=shown, looks=looks),
                "spectra.npz",
            )
        )
    dots = "Small dots: single seeds. Black line and band: the fully connected net (L2)."
    conv = rows[rows["architecture"].isin(looks.swept)]
    if conv["kernel_size"].nunique() > 1:
        out.append(
            ReportFigure(
                "kernel_size",
                "Frequency against kernel size",
                "Mean frequency of the perturbations of convolutional nets (cycles/pixel) against "
                f"kernel size (log scale), at one depth. Filled: {attack}{hollow}. "
                f"{bars} {dots} {null}",
                "Mean frequency against kernel size, a panel per data set and regime.",
                plotting.frequency_against(rows, "kernel_size", init_scale=scale, looks=looks),
            )
        )
    if conv["depth"].nunique() > 1:
        out.append(
            ReportFigure(
                "depth",
                "Frequency against depth",
                "Mean frequency of the perturbations of convolutional nets (cycles/pixel) against "
                "the number of hidden layers (the readout does not count), at one kernel size. "
                f"Filled: {attack}{hollow}. {bars} {dots} {null}",
                "Mean frequency against depth, a panel per data set and regime.",
                plotting.frequency_against(rows, "depth", init_scale=scale, looks=looks),
            )
        )
    for dataset in dict.fromkeys(rows["dataset"]):
        out += _image_figures(spectra, dataset, scale, seeds, looks)
    scales = sorted(rows["init_scale"].unique(), reverse=True)
    if len(scales) > 1:
        other = float(scales[-1])
        out.append(
            ReportFigure(
                "init_scale",
                f"Does it depend on the initialisation? Init scale {scale:g} against {other:.2g}",
                "Mean frequency of the L2 perturbations (cycles/pixel) of each arm at the two "
                f"scales of the initial weights. Bars: 95 % t intervals over live seeds "
                f"({_seeds(rows)}). On the diagonal the scale makes no difference.",
                "Scatter plot of mean frequency at one init scale against the other, by arm.",
                plotting.init_scale_effect(rows, scales=(scale, other), looks=looks),
            )
        )
    out += _box_figure(rows, scale, looks)
    out += _training_figures(recorded, scale, looks)
    out += _own_figures(rows, own, scale, looks)
    if rows.filter(like="accuracy_low_").notna().any(axis=None):
        out.append(
            ReportFigure(
                "frequencies_used",
                "Which frequencies the networks use, and at which they are attacked",
                "Test accuracy on filtered images against the cutoff (cycles/pixel, log scale). "
                "Filled: low-passed images, at the right the whole image; hollow: high-passed "
                "images; both keep the mean of the image. Above, on the same axis: mean frequency "
                f"of the L2 perturbations. {bars} {null}",
                "Accuracy on low- and high-passed images against the cutoff, with the mean "
                "frequency of the perturbations above, a panel per data set and regime.",
                plotting.frequencies_used(rows, init_scale=scale, looks=looks),
            )
        )
    out += _wave_figures(spectra, all_spectra, scale, seeds, looks)
    if main_claims:
        out.append(
            ReportFigure(
                "claim_effects",
                "Every effect beside its margin",
                "Effects with their 95 % intervals over live seeds, in the unit on each axis; "
                "shaded: effects within the claim's margin. Filled: L2 attack"
                f"{_hollow(', '.join(second_opinions(main_claims)))}. Words: verdicts after Holm's "
                "correction; an interval alone does not decide. Empty lines: not tested.",
                "Forest plot of the claims' effects with intervals, margins and verdicts.",
                plotting.claim_forest(main_claims),
                "claims.json",
            )
        )
    shares = plotting.variance_shares(of_all, looks)
    if shares:
        out.append(
            ReportFigure(
                FACTORS,
                "Share of each factor in the variance of mean frequency",
                "Variance of the mean frequency of L2 perturbations over live trained networks of "
                f"all initial scales ({_seeds(rows)}), shared out between what was varied; as if "
                "the levels of all factors had been drawn evenly and independently (a factor's own "
                "effects, others held fixed; unbiased, so that a share can fall below 0). Grey: "
                "what factors do only together (interactions), and what seeds do. Bars: 95 % "
                "bootstrap intervals over seeds. Empty lines: not varied. Over several data sets "
                "or both regimes: architectures and scales that were run on each.",
                "Bar chart of the share of the variance of mean frequency by factor, a panel per "
                "data set and regime.",
                plotting.factors(shares),
            )
        )
    return out


def _training_figures(rows: pd.DataFrame, scale: float, looks: Drawn) -> list[ReportFigure]:
    """The figures of all recorded steps; none where only trained networks were measured."""
    if rows["final"].all():
        return []
    rows = recorded_steps(rows, init_scale=scale)
    if rows.empty:
        return []
    out = []
    for index, (title, arms) in enumerate(looks.groups_of(rows["arm"]).items()):
        here = rows[rows["arm"].isin(arms)]
        if index == 0:
            more: list[ReportFigure] = [
                course_figure(here, scale, looks, COURSE, "Perturbations in the course of training")
            ]
            more += _order_figure(here, scale, looks)
            more += _band_figure(here, scale, looks)
        else:
            name = f"The course of training: {title[:1].lower()}{title[1:]}"
            more = [course_figure(here, scale, looks, f"{COURSE}_{index}", name)]
        # At equal accuracy: where architectures differ in more than a kernel.
        if index == 0 or not set(here["architecture"]) <= {*looks.swept, *looks.baseline}:
            suffix = f"_{index}" if index else ""
            more.append(_accuracy_figure(here, scale, looks, suffix, title))
        out += more
    return out


def _order_figure(rows: pd.DataFrame, scale: float, looks: Drawn) -> list[ReportFigure]:
    """When each band is learnt, if that was measured."""
    if plotting.doubling_steps(rows, init_scale=scale).empty:
        return []
    below = "; below, the same in steps times that rate" if rates_differ(rows) else ""
    return [
        ReportFigure(
            ORDER,
            "The order in which frequencies are learnt",
            "The first training step (log scale) at which the gradient of the margin with respect "
            "to the image is, in a band of frequencies, twice as strong as at initialisation, "
            "against the middle of the band (cycles/pixel; the last holds all beyond 7/16). Of "
            "linear networks that gradient is the predictor. Steps are those of each arm's own "
            f"learning rate{below}. Geometric means over live seeds "
            f"({_seeds(rows)}, init scale {scale:g}); bands: 95 % t intervals. Gaps: bands that "
            "have not doubled in a fifth of the seeds or more.",
            "The step at which each frequency band has doubled, a line per architecture, a panel "
            "per data set and regime.",
            plotting.order_of_learning(rows, init_scale=scale, looks=looks),
        )
    ]


def _band_figure(rows: pd.DataFrame, scale: float, looks: Drawn) -> list[ReportFigure]:
    """How far linear networks have to go in each band, if that was measured."""
    if distances(rows, init_scale=scale).empty:
        return []
    return [
        ReportFigure(
            BY_BAND,
            "How far each band has to go",
            "The distance of the predictor of linear networks from what it is at the last step, "
            "band by band (root mean square over the band), relative to the distance at "
            "initialisation, against learning rate times step; both scales are logarithmic. Bands "
            "from low to high: a line that falls early is a band that is learnt early. Above 1: it "
            "goes astray first. "
            f"Geometric means over live seeds ({_seeds(rows)}, init scale {scale:g}); bands: 95 % "
            "t intervals. The last step, where nothing is left, is not shown.",
            "Distance to the final predictor against time, a line per architecture, a panel per "
            "data set and frequency band.",
            plotting.distance_by_band(rows, init_scale=scale, looks=looks),
        )
    ]


def course_figure(
    rows: pd.DataFrame, scale: float, looks: Drawn, name: str, title: str
) -> ReportFigure:
    """The course of training of some arms."""
    seeds = f"{_seeds(rows)}, init scale {scale:g}"
    below = ""
    if DISTANCE in rows and rows[DISTANCE].notna().any():
        below = (
            " Below (log scale): the smallest L2 perturbation that changes the prediction, as a "
            "fraction of the norm of the image (median over images, geometric mean over seeds)."
        )
    return ReportFigure(
        name,
        title,
        "Mean frequency of L2 perturbations of a fixed size (cycles/pixel) against the "
        f"training step (0, then a log scale).{below} Lines: means over live seeds ({seeds}); "
        f"bands: 95 % t intervals. {_NULL} Dash-dotted: the images themselves.",
        "Mean frequency and smallest perturbation against the training step, a line per "
        "architecture, a panel per data set and regime.",
        plotting.over_training(rows, init_scale=scale, looks=looks),
    )


def _accuracy_figure(
    rows: pd.DataFrame, scale: float, looks: Drawn, suffix: str, group: str
) -> ReportFigure:
    named = f": {group[:1].lower()}{group[1:]}" if suffix else ""
    return ReportFigure(
        f"frequency_against_accuracy{suffix}",
        f"Frequency at equal accuracy{named}",
        "Mean frequency of the L2 perturbations (cycles/pixel) against test accuracy, along "
        "training. Lines: means over live seeds at each recorded step "
        f"({_seeds(rows)}, init scale {scale:g}), the large marker at the last; small dots: single "
        f"networks, no interval is drawn. {_NULL}",
        "Mean frequency against test accuracy during training, a line per architecture, a "
        "panel per data set and regime.",
        plotting.frequency_against_accuracy(rows, init_scale=scale, looks=looks),
    )


def _own_figures(
    rows: pd.DataFrame, own: Sequence[OwnFigure], scale: float, looks: Drawn
) -> list[ReportFigure]:
    """A dot plot by arm of each measurement that asks for one."""
    hollow = _hollow(second_opinion(rows))
    return [
        ReportFigure(
            f"own_{of.column}",
            of.title,
            f"{of.title} ({of.unit}) of trained networks, by arm. Filled: {_attack(rows)}{hollow}. "
            f"Bars: 95 % t intervals over live seeds ({_seeds(rows)}, init scale {scale:g}).",
            f"Dot plot of {of.title} by architecture, a panel per data set and regime.",
            plotting.arm_overview(
                rows,
                init_scale=scale,
                looks=looks,
                column=of.column,
                label=f"{of.title}\n({of.unit})",
            ),
        )
        for of in own
        if of.column in rows and rows[of.column].notna().any()
    ]


def _of_datasets(
    spectra: Mapping[str, np.ndarray], datasets: Sequence[str]
) -> dict[str, np.ndarray]:
    """The arrays of some data sets, under ``DATASET/...`` and ``DATASET.field``."""
    fields = ("frequency", "data_profile", "example_images")
    own = {f"{dataset}.{field}" for dataset in datasets for field in fields}
    out = {}
    for name, array in spectra.items():
        key = schema.parse_array_key(name)
        if name in own or (key and key.dataset in datasets):
            out[name] = array
    return out


def _has(spectra: Mapping[str, np.ndarray], scale: float, dataset: str, *fields: str) -> bool:
    """Whether there is an array of one of these fields, of a data set ("": any) at a scale."""
    keys = filter(None, map(schema.parse_array_key, spectra))
    return any(
        key.field in fields and key.init_scale == scale and dataset in ("", key.dataset)
        for key in keys
    )


def _titled(figures: Sequence[ReportFigure]) -> str:
    """Where figures stand, by their titles."""
    return " and ".join(f"\u201c{item.title}\u201d" for item in figures) or "under All numbers"


def _dataset_figures(
    rows: pd.DataFrame,
    claims: Sequence[Mapping[str, Any]],
    main: Sequence[str],
    scale: float,
    looks: Drawn,
) -> list[ReportFigure]:
    """What depends on the data set: where there are more of them than a panel each can show."""
    if set(rows["dataset"]) <= set(main) and len(main) < 3:
        return []
    seeds, out = f"{_seeds(rows)}, init scale {scale:g}", []
    ids = list(dict.fromkeys(str(c["id"]) for c in claims if c.get("by_dataset")))
    if ids:
        out.append(
            ReportFigure(
                EFFECTS_BY_DATASET,
                "The effects on every data set",
                f"Effects of {' and '.join(ids)} under the L2 attack with their 95 % intervals "
                "over live seeds; shaded: effects within the claim\u2019s margin. Colour: verdict "
                "after Holm\u2019s correction. What is derived from a set stands below it.",
                "Forest plot of effects by data set, a panel per claim and regime.",
                plotting.effects_by_dataset(claims, ids),
                "claims.json",
            )
        )
    measured = "data_mean_frequency" in rows and bool(rows["data_mean_frequency"].notna().any())
    if measured and plotting.arms_of_all(rows):
        out.append(
            ReportFigure(
                "follows_the_data",
                "Does the perturbation follow the data?",
                "Mean frequency of the L2 perturbations against that of the images (cycles/pixel), "
                "a numbered point per data set; the arms that were run on all sets. Bars: 95 % t "
                f"intervals over live seeds ({seeds}). On the diagonal perturbations have the mean "
                f"frequency of the images. {_NULL}",
                "Scatter plots of the mean frequency of perturbations against that of the images, "
                "a row per regime, a column per architecture.",
                plotting.follows_the_data(rows, init_scale=scale, looks=looks),
            )
        )
    return out


def _box_figure(rows: pd.DataFrame, scale: float, looks: Drawn) -> list[ReportFigure]:
    """The effect of the box, where the primary attack was run with and without it."""
    here = rows[np.isclose(rows["init_scale"], scale)]
    if not any(schema.geometry(name).role == "box" for name in here["geometry"]):
        return []
    return [
        ReportFigure(
            "box",
            "Does the box [0, 1] make the frequency?",
            "Mean frequency of the L2 perturbations (cycles/pixel) that keep the image within "
            "[0, 1], against those that need not, by arm. Bars: 95 % t intervals over live seeds "
            f"({_seeds(rows)}, init scale {scale:g}). On the diagonal the box makes no difference.",
            "Scatter plot of mean frequency with against without the box, by architecture.",
            plotting.box_effect(rows, init_scale=scale, looks=looks),
        )
    ]


def _wave_figures(
    spectra: Mapping[str, np.ndarray],
    all_spectra: Mapping[str, np.ndarray],
    scale: float,
    seeds: str,
    looks: Drawn,
) -> list[ReportFigure]:
    """Heat maps of plane waves; and the exact control, for which minor sets are used too."""
    out = []
    if _has(spectra, scale, "", "heat_map"):
        out.append(
            ReportFigure(
                "heat_maps",
                "Which plane waves break each network",
                "Error rate on test images to which one plane wave of a fixed L2 norm is added, by "
                f"its frequency (mean over seeds; {seeds}; cycles/pixel, zero frequency in the "
                "centre). Random signs per image and channel, within the box [0, 1]. In the "
                "titles: the mean over all frequencies with its 95 % t interval over seeds.",
                "Heat maps of the error rate over the plane of frequencies, by architecture.",
                plotting.heat_maps(spectra, init_scale=scale, looks=looks),
                "spectra.npz",
            )
        )
    if plotting.has_exact_control(all_spectra, scale):
        out.append(
            ReportFigure(
                "exact_control",
                "The exact control: what if the frequencies of the data are permuted?",
                "Each dot is a frequency: power of the L2 perturbations on the plain set (across) "
                "and, on the same set after an orthogonal permutation of its Fourier basis, at the "
                f"place to which the frequency was taken (up), relative to white noise ({seeds}; "
                "mean over images and seeds). The law of a fully connected net's perturbations, "
                "without a box, moves with the data: its dots lie on the diagonal up to what "
                "differs between seeds. r: correlation of the logarithms.",
                "Scatter plots of the power of perturbations, plain against permuted set.",
                plotting.exact_control(all_spectra, init_scale=scale, looks=looks),
                "spectra.npz",
            )
        )
    return out


def _image_figures(
    spectra: Mapping[str, np.ndarray], dataset: str, scale: float, seeds: str, looks: Drawn
) -> list[ReportFigure]:
    """The two figures that show pictures, for one data set."""
    name = titles.title(dataset)
    colour = (
        "Spectra: power relative to white noise on a log scale (red: more, blue: less), zero "
        "frequency in the centre and left out, axes in cycles/pixel."
    )
    out = []
    if _has(spectra, scale, dataset, "examples"):
        out.append(
            ReportFigure(
                f"perturbations_{dataset}",
                f"{name}: one image, its perturbations and their spectra",
                "L2 perturbations of one test image by seed 0 of typical arms (grey: no change; "
                "each scaled to its own largest value), the power spectrum of that perturbation, "
                f"and the mean spectrum over all images and live seeds ({seeds}; for the images: "
                f"over the stored examples). {colour}",
                f"Example perturbations of {name} with two-dimensional spectra, by architecture.",
                plotting.perturbation_gallery(spectra, dataset, init_scale=scale, looks=looks),
                "spectra.npz",
            )
        )
    if _has(spectra, scale, dataset, "kernels", "beta"):
        out.append(
            ReportFigure(
                f"kernels_{dataset}",
                f"{name}: what the networks learned",
                "First-layer kernels of seed 0 (up to nine output channels, on one scale per arm; "
                "grey: zero) with the mean spectrum of all of them, and the effective linear "
                "predictor beta of the linear nets: its first class less the mean over classes, "
                f"with the mean spectrum over classes. One network each; no interval. {colour}",
                f"Learned kernels and effective predictors on {name} with their spectra.",
                plotting.kernels_and_predictors(spectra, dataset, init_scale=scale, looks=looks),
                "spectra.npz",
            )
        )
    return out


def _seeds(rows: pd.DataFrame) -> str:
    counts = rows.groupby(["dataset", "regime", "arm"])["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    return f"{high} seeds per arm" if low == high else f"{low} to {high} seeds per arm"


def _images(rows: pd.DataFrame) -> str:
    counts = sorted(set(rows["num_images"].dropna().astype(int)))
    return " or ".join(map(str, counts)) or "the attacked"


def second_opinions(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """The geometries beside L2 under which claims were tested, in words."""
    attacks = sorted({str(claim["attack"]) for claim in claims}, key=schema.attack_rank)
    return [schema.attack_label(a) for a in attacks if schema.geometry(a).role == "second"]


def _hollow(second: str) -> str:
    return f"; hollow: {second} attack" if second else ""


def _attack(rows: pd.DataFrame) -> str:
    """The L2 attacks that are shown as filled."""
    primary = rows[rows["geometry"].map(lambda name: schema.geometry(name).role) == "primary"]
    if {"closed_form", "pgd"} <= set(primary["method"]):
        return "L2 attack (closed form where the net is affine, else PGD)"
    return "L2 attack"


def check_rows(rows: pd.DataFrame) -> None:
    """Raises ValueError unless there are rows with the columns that a report needs."""
    missing = [column for column in schema.REQUIRED if column not in rows]
    if missing:
        raise ValueError(f"rows must have the columns {list(schema.REQUIRED)}; missing: {missing}.")
    if rows.empty:
        raise ValueError("rows must not be empty.")

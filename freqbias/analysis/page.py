"""The page of an analysis: one self-contained HTML file, by the template of all reports."""

from typing import TYPE_CHECKING, Any

import numpy as np

from freqbias import report, runs
from freqbias.analysis import figures, tables, words
from freqbias.analysis.batch import ALL, FLIPPED, JACOBIAN, NOT_FLIPPED
from freqbias.analysis.budget import describe
from freqbias.analysis.families import members
from freqbias.report.markup import joined, number, percent, signed, tag
from freqbias.report.page import Block, Bullets, Section, Table

if TYPE_CHECKING:
    from freqbias.analysis.result import Analysis

_SHOWN = ("mean_frequency", "half_power_frequency", "high_fraction", "relative_norm")
_HEADS = ("Mean frequency", "Half of the power below", "Power above 1/4", "Norm / contrast")


def build(analysis: "Analysis") -> str:
    """The page as HTML; the same analysis gives the same page.

    Args:
      analysis: what `freqbias.analyze` returned.
    """
    several = len(analysis.subjects) > 1
    sections = [
        _found(analysis),
        Section("spectra", "Their spectra", _spectra(analysis), "Spectra"),
        *([_compared(analysis)] if several else []),
        Section("examples", "Examples", (figures.examples(analysis),)),
        _trusted(analysis),
        _measured(analysis),
    ]
    page = report.Page(
        "Frequencies of adversarial perturbations",
        _lead(analysis),
        sections,
        alone=True,
    )
    return report.build_page(page, _config(analysis))


def _lead(analysis: "Analysis") -> list[str]:
    names = [f"{subject.name} ({subject.kind})" for subject in analysis.subjects]
    height, width, channels = analysis.example_images.shape[1:]
    given = (
        f" of the {analysis.num_given:,} given" if analysis.num_given > analysis.num_images else ""
    )
    if [subject.name for subject in analysis.subjects] == ["network"]:
        names = [analysis.subjects[0].kind.capitalize()]
    return [
        f"{', '.join(names)}; {analysis.num_images:,} images{given}, {height} x {width} pixels, "
        f"{channels} channel{'s' if channels > 1 else ''}. Frequencies are in cycles per pixel, "
        f"from 0 to 1/2 along an axis. Bars and brackets: {figures.bars(analysis)}."
    ]


def _found(analysis: "Analysis") -> Section:
    content: list[Block] = []
    warned = [
        f"{subject.name}: {text}" if len(analysis.subjects) > 1 else text[0].upper() + text[1:]
        for subject in analysis.subjects
        for text in words.warnings(analysis, subject)
    ]
    if warned:
        content += [tag("span", "Read this first.", class_="warn"), Bullets(warned)]
    if len(members(analysis)) > 1:
        content.append(tag("p", analysis.verdict()))
    content += [Bullets(words.findings(analysis)), figures.mean_frequencies(analysis)]
    return Section("found", "What was found", content, "Found")


def _spectra(analysis: "Analysis") -> list[Block]:
    content: list[Block] = [
        figures.profiles(analysis),
        figures.mean_spectra(analysis),
        _statistics(analysis),
    ]
    waves = figures.plane_waves(analysis)
    return content if waves is None else [*content, waves]


def _statistics(analysis: "Analysis") -> Table:
    rows: list[Any] = []
    own = analysis.measured.images
    shown = [_cell(tables.interval(own.statistics[name], own.correct, ensemble=False))
             if name in own.statistics else "\N{EN DASH}" for name in _SHOWN]  # fmt: skip
    rows.append(["the images", "", str(own.correct.shape[1]), *shown])
    null = analysis.measured.null
    rows.append(["white noise", "", "", *(number(null.get(name)) for name in _SHOWN)])
    for subject in analysis.subjects:
        if len(analysis.subjects) > 1:
            rows.append(report.page.Group(f"{subject.name}, {subject.kind}"))
        for attack, found in analysis.measured.found[subject.name].items():
            for group in (ALL,) if attack == JACOBIAN else (ALL, FLIPPED, NOT_FLIPPED):
                where = found.where(group)
                if group == NOT_FLIPPED and not where.any():
                    continue
                told = [
                    tables.interval(
                        found.statistics[name], where, ensemble=subject.seeds is not None
                    )
                    if name in found.statistics
                    else None
                    for name in _SHOWN
                ]
                count = 0 if told[0] is None else told[0].num_images
                rows.append([attack, group, str(count), *(_cell(one) for one in told)])
    return Table(
        f"Means with {figures.bars(analysis)}. Frequencies in cycles/pixel. Images: those with a "
        "spectrum (of an ensemble, of the seed with the fewest). Norm / contrast: L2 norm of the "
        "perturbation over that of the image about its mean.",
        ["", "Perturbations", "Images", *_HEADS],
        rows,
        kind="minor",
    )


def _cell(told: tables.Interval | None) -> str:
    if told is None or not np.isfinite(told.estimate):
        return "\N{EN DASH}"
    if not np.isfinite(told.low):
        return number(told.estimate)
    return f"{number(told.estimate)} [{number(told.low)},\N{NO-BREAK SPACE}{number(told.high)}]"


def _compared(analysis: "Analysis") -> Section:
    rows = []
    found = analysis.differences()
    found = found[(found["statistic"] == "mean_frequency")]
    for _, row in found.iterrows():
        bracket = "\N{EN DASH}"
        relative = signed(row["relative"], 2)
        if np.isfinite(row["low"]):
            bracket = f"[{signed(row['low'])}, {signed(row['high'])}]"
            relative += f" [{signed(row['relative_low'], 2)}, {signed(row['relative_high'], 2)}]"
        rows.append([
            f"{row['first']} \N{MINUS SIGN} {row['second']}", row["attack"], row["perturbations"],
            str(row["num_images"]), signed(row["estimate"]), bracket, relative,
        ])  # fmt: skip
    return Section(
        "compared",
        "The networks compared",
        (
            "Every network saw the same images, under the same attacks of the same budget.",
            *_families(analysis),
            Table(
                "Differences in mean frequency (cycles/pixel), and divided by the mean frequency "
                "of the images. Of two single networks the interval is over images, paired: an "
                "image counts where both have a perturbation of this kind. Of two ensembles it is "
                "over seeds.",
                ["Difference", "Attack", "Perturbations", "Images", "Mean", "95 % interval",
                 "In units of the images'"],
                rows,
                kind="minor",
            ),
        ),
        "Compared",
    )  # fmt: skip


def _families(analysis: "Analysis") -> list[Block]:
    """How families differ; where none are named, how networks do."""
    families = members(analysis)
    if analysis.families is None or len(families) < 2:
        return [Bullets(words.comparisons(analysis))]
    rows = [
        [
            f"{row['first']} \N{MINUS SIGN} {row['second']}", row["attack"],
            f"{row['num_networks']} networks, {row['num_images']} images", row["over"],
            signed(row["estimate"]), f"[{signed(row['low'])}, {signed(row['high'])}]",
            f"{signed(row['relative'], 2)} [{signed(row['relative_low'], 2)}, "
            f"{signed(row['relative_high'], 2)}]",
        ]
        for _, row in analysis.by_family().iterrows()
    ]  # fmt: skip
    listed = "; ".join(
        f"{name}: {', '.join(subject.name for subject in of)}" for name, of in families.items()
    )
    return [
        Table(
            f"Families of networks ({listed}): differences in mean frequency (cycles/pixel) on the "
            "images that all networks of both predict correctly, and divided by the mean frequency "
            "of the images. Over images, paired, an interval speaks of these networks alone; over "
            "networks, where each family has several, it speaks of the families.",
            ["Difference", "Attack", "Of", "Interval over", "Mean", "Interval",
             "In units of the images'"],
            rows,
            kind="minor",
        ),
    ]  # fmt: skip


def _trusted(analysis: "Analysis") -> Section:
    outcomes = [
        [
            row["network"] + (f", seed {row['seed']}" if row["seed"] >= 0 else ""),
            row["attack"],
            *(str(row[name]) for name in ("num_images", "correct", "flipped", "not_flipped",
                                          "no_gradient", "not_finite", "no_spectrum")),
            number(row["median_distance"], 4),
        ]
        for _, row in analysis.outcomes().iterrows()
        if row["attack"] != JACOBIAN
    ]  # fmt: skip
    content: list[Block] = [
        Table(
            "What became of the images. Distance: median over the flipped ones, in the attack's "
            "norm.",
            ["Network", "Attack", "Images", "Correct", "Flipped", "Not flipped", "No gradient",
             "Not finite", "No spectrum", "Distance"],
            outcomes,
            folded="All seeds" if len(outcomes) > 24 else "",
        )
    ]  # fmt: skip
    flags = []
    for subject in analysis.subjects:
        for attack, diagnosis in analysis.measured.diagnoses[subject.name].items():
            shares = {name: float(np.nanmax(np.append(share, np.nan)))
                      if np.isfinite(share).any() else np.nan
                      for name, share in diagnosis.shares.items()}  # fmt: skip
            words_of = words.flag_words(list(diagnosis.failed()))
            flags.append([
                subject.name,
                attack,
                str(diagnosis.correct.shape[-1]),
                *(percent(shares[name]) for name in ("no_gradient", "no_progress", "no_ascent",
                                                     "black_box_wins", "stands_unbounded")),
                "; ".join(words_of) or "no sign of failure",
            ])  # fmt: skip
    if flags:
        content.append(
            Table(
                "Signs that an attack failed, which would mean nothing about the network: share of "
                "the correct ones among the first images (of an ensemble, of the worst seed).",
                ["Network", "Attack", "Images", "No gradient", "Margin not raised",
                 "Short step does not ascend", "Black box wins", "Stands unbounded", "In words"],
                flags,
            )
        )  # fmt: skip
    minimal = [name for name in analysis.attacks if not any(
        name in found for found in analysis.measured.diagnoses.values())]  # fmt: skip
    if minimal:
        content.append(
            f"Not diagnosed, since without a radius: {', '.join(minimal)}."
            " What a minimal attack does not find has an infinite distance and is not flipped."
        )
    return Section("trusted", "Can it be trusted?", content, "Trust")


def _measured(analysis: "Analysis") -> Section:
    items = [
        joined([tag("b", name), ": ", describe(attack), "; image + perturbation within [0, 1]."])
        if getattr(attack, "bounds", None) == (0.0, 1.0)
        else joined([tag("b", name), ": ", describe(attack), "."])
        for name, attack in analysis.attacks.items()
    ]
    return Section(
        "method",
        "How it was measured",
        (
            Bullets(items),
            "Epsilons are in units of intensity of images in [0, 1]; standardisation, if any, "
            "happens inside the network. The power of a perturbation is that of its orthonormal "
            "Fourier transform, summed over channels, normalised image by image without zero "
            "frequency, and then averaged, so that each image counts alike. A perturbation of zero "
            "has no spectrum and is in no mean.",
            "The input Jacobian is that of the logits with their mean over classes taken away: its "
            "power is summed over classes (estimated from random signs if there are many). It says "
            "what the network is sensitive to before any attack.",
            "Of one network, intervals say what other images of the same kind would give; they say "
            "nothing of another training of it. For that, analyze an ensemble of seeds.",
            f"It took {analysis.measured.seconds:.0f} s, of which "
            f"{analysis.measured.seconds_first_batch:.0f} s for the first "
            f"{min(analysis.batch_size, analysis.num_images)} images, compilation included.",
        ),
        "Method",
    )


def _config(analysis: "Analysis") -> dict[str, Any]:
    return {
        "config": {
            "budget": analysis.budget,
            "images": analysis.num_images,
            "batch_size": analysis.batch_size,
            "attacks": {name: describe(attack) for name, attack in analysis.attacks.items()},
            "networks": {
                subject.name: f"{subject.kind}, {subject.num_parameters:,} parameters seen by JAX"
                for subject in analysis.subjects
            },
            "classes": dict(analysis.num_classes),
        },
        "versions": runs.folder.versions(),
        "device": runs.folder.this_device(),
    }

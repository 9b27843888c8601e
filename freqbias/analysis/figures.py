"""The figures of an analysis, with their captions."""

from typing import TYPE_CHECKING

import numpy as np

from freqbias.analysis import tables
from freqbias.analysis.batch import (
    ALL,
    FLIPPED,
    IMAGES,
    JACOBIAN,
    NOT_FLIPPED,
    Found,
)
from freqbias.analysis.networks import Subject
from freqbias.analysis.words import frequency
from freqbias.plotting import Drawn, single
from freqbias.plotting.style import distinct_styles
from freqbias.report import ReportFigure

if TYPE_CHECKING:
    from freqbias.analysis.result import Analysis


def looks_of(analysis: "Analysis") -> Drawn:
    """A look for each network, told apart whatever they are called."""
    names = [subject.name for subject in analysis.subjects]
    styles = distinct_styles(names)
    return Drawn(styles={name: styles[name]._replace(label=name) for name in names})


def bars(analysis: "Analysis") -> str:
    """What the intervals are over, for a caption."""
    kinds = {subject.seeds is None for subject in analysis.subjects}
    if kinds == {True}:
        return "95 % intervals over images, of one network each: another training may differ"
    if kinds == {False}:
        return "95 % intervals over the seeds of each ensemble"
    return "95 % intervals, of single networks over images, of ensembles over seeds"


def mean_frequencies(analysis: "Analysis") -> ReportFigure:
    """Where the perturbations live, in one number each."""
    points = []
    for subject in analysis.subjects:
        for attack, found in analysis.measured.found[subject.name].items():
            groups = (ALL,) if attack == JACOBIAN else (FLIPPED, NOT_FLIPPED)
            for group in groups:
                told = frequency(subject, found, group)
                row = attack if group == ALL else f"{attack}, {group}"
                if found.where(group).any() or group != NOT_FLIPPED:
                    hollow = group == NOT_FLIPPED
                    points.append(single.Point(subject.name, row, *told[:3], hollow))
    return ReportFigure(
        "mean_frequencies",
        "Where the perturbations live",
        "Mean frequency (zero frequency left out), of the images predicted correctly when clean. "
        f"Hollow: perturbations that did not change the prediction. Bars: {bars(analysis)}. "
        "Dashed: the images themselves; dotted: white noise of their shape.",
        "Dot plot of mean frequency by attack, for perturbations that flipped the prediction and "
        "those that did not.",
        single.mean_frequencies(
            points,
            images=tables.own_frequency(analysis.measured).estimate,
            white_noise=analysis.measured.null["mean_frequency"],
            looks=looks_of(analysis),
        ),
    )


def profiles(analysis: "Analysis") -> ReportFigure:
    """How their power is spread over the radius."""
    names = [*analysis.attacks, JACOBIAN]
    bands = {
        attack: {
            subject.name: _band(subject, analysis.measured.found[subject.name][attack])
            for subject in analysis.subjects
        }
        for attack in names
    }
    images = analysis.measured.images.profile[0]
    with_power = ~np.isnan(images[:, -1])
    own = images[with_power].mean(0) if with_power.any() else np.full(images.shape[-1], np.nan)
    return ReportFigure(
        "profiles",
        "How their power is spread over frequency",
        "Power per frequency by radius in the frequency plane, relative to white noise (log "
        "scale): the line at 1 is white. Lines: mean over the images predicted correctly when "
        f"clean, each normalised by itself; bands: {bars(analysis)}. Dashed: the images "
        "themselves. Shaded: beyond 1/2 cycle/pixel only the corners of the plane remain.",
        "Radial power profiles against spatial frequency, a panel for each attack and one for the "
        "input Jacobian.",
        single.profiles(bands, analysis.measured.frequency, own, looks=looks_of(analysis)),
    )


def _band(subject: Subject, found: Found) -> single.Band:
    """Mean profile with its interval at each radius."""
    rings = np.moveaxis(found.profile, -1, 0)  # [R, S, N]
    told = [
        tables.interval(ring, found.where(ALL), ensemble=subject.seeds is not None)
        for ring in rings
    ]
    mean, low, high = (np.array([one[index] for one in told]) for index in range(3))
    return single.Band(mean, low, high)


def mean_spectra(analysis: "Analysis") -> ReportFigure:
    """The whole plane of frequencies."""
    columns = [IMAGES, *analysis.attacks, JACOBIAN]
    own = analysis.measured.images.spectra[ALL][0]
    spectra = {
        subject.name: {
            IMAGES: own,
            **{
                attack: _mean_over_seeds(found.spectra[ALL])
                for attack, found in analysis.measured.found[subject.name].items()
            },
        }
        for subject in analysis.subjects
    }
    return ReportFigure(
        "mean_spectra",
        "The same over the plane of frequencies",
        "Mean power spectra, log10 relative to white noise; zero frequency is in the centre and "
        "left out, horizontal frequency to the right. A cross along the axes is what opposite "
        "sides that differ make.",
        "Two-dimensional mean power spectra of images, perturbations and input Jacobian.",
        single.mean_spectra(spectra, columns),
    )


def _mean_over_seeds(spectra: np.ndarray) -> np.ndarray:
    alive = np.isfinite(spectra).all((1, 2))
    return spectra[alive].mean(0) if alive.any() else np.full(spectra.shape[1:], np.nan)


def examples(analysis: "Analysis") -> ReportFigure:
    """Some images and what was added to them."""

    def named(label: int) -> str:
        known = analysis.class_names is not None and 0 <= label < len(analysis.class_names)
        return str(analysis.class_names[label]) if known else str(label)  # type: ignore[index]

    several = len(analysis.subjects) > 1
    found = {
        (f"{subject.name}: {attack}" if several else attack): (
            one.examples,
            [named(int(answer)) for answer in one.answers],
        )
        for subject in analysis.subjects
        for attack, one in analysis.measured.found[subject.name].items()
        if attack != JACOBIAN
    }
    first = any(subject.seeds is not None for subject in analysis.subjects)
    return ReportFigure(
        "examples",
        "Examples",
        f"The first {len(analysis.example_images)} images with their labels, and what each attack "
        "adds to them: grey is nothing, each scaled to its own largest value. In the corner: what "
        f"is predicted of the perturbed image.{' Of ensembles the first seed.' if first else ''}",
        "Images and their perturbations.",
        single.examples(
            analysis.example_images, [named(int(label)) for label in analysis.example_labels], found
        ),
    )


def plane_waves(analysis: "Analysis") -> ReportFigure | None:
    """The heat map of plane waves, if it was asked for."""
    maps = analysis.measured.heat_maps
    if not maps:
        return None
    told = {}
    for subject in analysis.subjects:
        errors = maps[subject.name]
        told[subject.name] = errors.mean(0), f"mean {errors.mean():.2f}"
    return ReportFigure(
        "plane_waves",
        "Which single waves break it",
        "Error rate under a plane wave of each frequency, of L2 norm "
        f"{analysis.measured.wave_norm:.3g} in each channel and random signs, clipped to [0, 1] "
        "(Yin et al. 2019); zero frequency is in the centre.",
        "Heat maps of error rate over the plane of frequencies.",
        single.plane_waves(told),
    )

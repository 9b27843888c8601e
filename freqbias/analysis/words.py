"""An analysis in sentences, made from its numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from freqbias.analysis.batch import ALL, FLIPPED, JACOBIAN, NOT_FLIPPED, Found
from freqbias.analysis.budget import describe
from freqbias.analysis.networks import Subject
from freqbias.analysis.tables import Interval, difference, interval, own_frequency
from freqbias.typing import Status

if TYPE_CHECKING:
    from freqbias.analysis.result import Analysis

UNIT = "cycles/pixel"
_ENOUGH = 0.05  # share of images from which on something broken is said first


def summary(analysis: "Analysis") -> str:
    """What ``print`` shows: the images, the null, then each network and attack, on short lines."""
    lines = [
        f"{analysis.num_images} images; mean frequency in cycles/pixel with 95 % intervals",
        f"  {'the images':24}{own_frequency(analysis.measured)}",
        f"  {'white noise':24}{analysis.measured.null['mean_frequency']:.3f}",
    ]
    for subject in analysis.subjects:
        lines.append(f"{subject.name} ({subject.kind}, interval over {over(subject)}):")
        for attack, found in analysis.measured.found[subject.name].items():
            told = frequency(subject, found)
            number, asked = shares(found)
            fallen = "" if attack == JACOBIAN else f"; flipped {number} of {asked}"
            lines.append(f"  {attack:24}{told}{fallen}")
        lines += [f"  ! {warning}" for warning in warnings(analysis, subject)]
    lines += [f"attack {name}: {describe(attack)}" for name, attack in analysis.attacks.items()]
    return "\n".join(lines)


def over(subject: Subject) -> str:
    """What the intervals of a subject are over."""
    return "images" if subject.seeds is None else "seeds"


def frequency(subject: Subject, found: Found, group: str = ALL) -> Interval:
    """Mean frequency of a group of perturbations."""
    values = found.statistics["mean_frequency"]
    return interval(values, found.where(group), ensemble=subject.seeds is not None)


def shares(found: Found) -> tuple[int, int]:
    """How many perturbations flipped the prediction, and of how many, all seeds together."""
    return int(found.where(FLIPPED).sum()), int(found.correct.sum())


def findings(analysis: "Analysis") -> list[str]:
    """What was found, a sentence or two for each attack."""
    if len(analysis.subjects) == 1:
        return [_alone(analysis, attack) for attack in analysis.attacks]
    null, own = analysis.measured.null["mean_frequency"], own_frequency(analysis.measured).estimate
    out = []
    for attack in analysis.attacks:
        told = []
        for subject in analysis.subjects:
            found = analysis.measured.found[subject.name][attack]
            number, asked = shares(found)
            told.append(f"{subject.name} {frequency(subject, found)} (flips {number} of {asked})")
        out.append(
            f"{attack}: mean frequency {'; '.join(told)} {UNIT}. The images have {own:.3f}, white "
            f"noise {null:.3f}."
        )
    return out


def _alone(analysis: "Analysis", attack: str) -> str:
    """What an attack found on the only network."""
    null, own = analysis.measured.null["mean_frequency"], own_frequency(analysis.measured).estimate
    (subject,) = analysis.subjects
    found = analysis.measured.found[subject.name][attack]
    told, (number, asked) = frequency(subject, found), shares(found)
    fell = f"{attack} flips {number} of {asked} predictions that were correct"
    if not np.isfinite(told.estimate):
        return f"{fell}; no perturbation has a spectrum."
    return (
        f"{fell}. Mean frequency of its perturbations: {told} {UNIT}, {_times(told, own)}"
        f"{_against(told, null)} white noise ({null:.3f})."
        f"{_groups(subject, found)}"
    )


def _times(told: Interval, own: float) -> str:
    return f"{told.estimate / own:.2g} times that of the images ({own:.3f}), " if own > 0 else ""


def _against(told: Interval, value: float) -> str:
    if np.isfinite(told.low) and told.low <= value <= told.high:
        return "not distinguishable from"
    return "below" if told.estimate < value else "above"


def _groups(subject: Subject, found: Found) -> str:
    """The flipped ones beside those that did not flip, where there are enough of both."""
    flipped, stood = (frequency(subject, found, group) for group in (FLIPPED, NOT_FLIPPED))
    if not (np.isfinite(flipped.low) and np.isfinite(stood.low)):
        return ""
    return f" Those that flip the prediction: {flipped}; those that do not: {stood}."


def comparisons(analysis: "Analysis") -> list[str]:
    """Pairs of networks under each attack, those that have an interval."""
    own = own_frequency(analysis.measured).estimate
    out, bare = [], set()
    for index, first in enumerate(analysis.subjects):
        for second in analysis.subjects[index + 1 :]:
            kinds = [first.seeds is not None, second.seeds is not None]
            for attack, found in analysis.measured.found[first.name].items():
                other = analysis.measured.found[second.name][attack]
                apart = difference(found, other, "mean_frequency", ALL, kinds)
                if not np.isfinite(apart.estimate):
                    out.append(f"{attack}: {first.name} and {second.name} have nothing to compare.")
                elif not np.isfinite(apart.low):
                    bare.add(f"{first.name} and {second.name}")
                else:
                    by = f"{apart.estimate:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}] {UNIT}"
                    out.append(
                        f"{attack}: {first.name} lies {_side(apart)} {second.name}: {by}, "
                        f"{apart.estimate / own:+.2f} times the images' mean frequency (95 % "
                        f"interval over {_pairs(apart)})."
                    )
    if bare:
        out.append(
            f"Without an interval: {'; '.join(sorted(bare))}. One network beside an ensemble, or "
            "too few images or seeds: nothing tells how the difference varies."
        )
    return out


def _side(apart: Interval) -> str:
    if apart.low > 0:
        return "above"
    return "below" if apart.high < 0 else "where it cannot be told from"


def _pairs(apart: Interval) -> str:
    return {
        "images": f"{apart.num_images} images, paired",
        "seeds": f"{apart.num_seeds} seeds",
    }[apart.over]


def warnings(analysis: "Analysis", subject: Subject) -> list[str]:
    """What should be read before any number: broken networks, failed attacks, wrong labels."""
    found = analysis.measured.found[subject.name]
    jacobian = found[JACOBIAN]
    out = []
    accuracy, num_classes = jacobian.correct.mean(), int(analysis.num_classes[subject.name])
    broken = (jacobian.status == Status.DIVERGED).mean()
    if broken > _ENOUGH:
        out.append(f"{_percent(broken)} of the logits or gradients are not finite.")
    elif accuracy < 1.5 / num_classes or accuracy == 0:
        out.append(
            f"it predicts {_percent(accuracy)} of the clean images as labelled, about what chance "
            f"gives of {num_classes} classes. Do the labels, the order of channels, mean, std and "
            "pixel_max fit the network?"
        )
    dead = (jacobian.status == Status.DEAD).mean()
    if dead > _ENOUGH:
        out.append(
            f"at {_percent(dead)} of the images its input gradient is exactly zero: no attack sees "
            "where to go there, and nothing is proven about its robustness."
        )
    for attack, one in found.items():
        silent = int((np.isnan(one.statistics["mean_frequency"]) | ~one.correct).all(1).sum())
        if subject.seeds is not None and silent:
            verb = "has" if silent == 1 else "have"
            out.append(
                f"{attack}: {silent} of {subject.num_seeds} seeds {verb} no spectrum; no mean "
                f"contains {'it' if silent == 1 else 'them'}."
            )
        if attack == JACOBIAN:
            continue
        empty = one.correct & np.isnan(one.statistics["mean_frequency"])
        if empty.any():
            out.append(
                f"{attack}: {int(empty.sum())} of {int(one.correct.sum())} perturbations are zero "
                "or constant and have no spectrum; no mean contains them."
            )
    for attack, diagnosis in analysis.measured.diagnoses[subject.name].items():
        flags = [flag for flag in diagnosis.failed() if flag != "correct"]
        if flags:
            out.append(f"{attack} may have failed: {', '.join(flag_words(flags))}.")
    return out


def flag_words(flags: Sequence[str]) -> list[str]:
    """The flags of `freqbias.attacks.Diagnosis` in words."""
    words = {
        "correct": "no image is correct when clean",
        "no_gradient": "it saw no gradient",
        "not_finite": "logits or gradients are not finite",
        "no_progress": "it does not raise the margin",
        "no_ascent": "a short step along the gradient does not raise the margin",
        "black_box_wins": "an attack without gradients finds what it does not",
        "stands_unbounded": "it fails even without a bound",
    }
    return [words[flag] for flag in flags]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

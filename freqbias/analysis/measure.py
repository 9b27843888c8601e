"""From networks and images to numbers per image: attacks, Jacobians, spectra, batch by batch."""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from freqbias import attacks, spectral
from freqbias.analysis.batch import (
    JACOBIAN,
    Batch,
    Collected,
    Found,
    contrast_of,
    joined,
    keys_of,
    named,
    of_attack,
    of_images,
    of_jacobian,
    seconds_of,
)
from freqbias.analysis.budget import Budget, describe, has_radius
from freqbias.analysis.networks import Subject
from freqbias.typing import Key, Status

_WAVE_NORM = 4.0  # of a plane wave in each channel, at 32 x 32 pixels (Yin et al. 2019)


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that is measured, before any interval.

    Attributes:
      images: statistics [N], profile [N, R] and mean spectrum [H, W] of the images themselves, as
        a `Found` of one seed.
      found: name of the subject -> name of the attack, or `JACOBIAN` -> `Found`.
      diagnoses: name of the subject -> name of the attack -> `freqbias.attacks.Diagnosis`.
      heat_maps: name of the subject -> error rates [S, H, W]; empty if not asked for.
      wave_norm: L2 norm of a plane wave in each channel.
      frequency: [R], radii of the profiles, cycles per pixel.
      null: of each statistic, its mean over white noise of the same shape.
      contrast: [N], L2 norm of each image about its mean.
      seconds_first_batch: of all subjects and attacks on the first batch, compilation included.
      seconds: of everything.
    """

    images: Found
    found: Mapping[str, Mapping[str, Found]]
    diagnoses: Mapping[str, Mapping[str, attacks.Diagnosis]]
    heat_maps: Mapping[str, np.ndarray]
    wave_norm: float
    frequency: np.ndarray
    null: Mapping[str, float]
    contrast: np.ndarray
    seconds_first_batch: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is done to which images."""

    networks: Sequence[Subject]
    images: np.ndarray
    labels: np.ndarray
    attacked: Mapping[str, attacks.Attack]
    key: Key
    budget: Budget
    size: int  # images at once

    @property
    def diagnosed(self) -> list[str]:
        """The attacks that can be diagnosed."""
        return [name for name, attack in self.attacked.items() if has_radius(attack)]

    @property
    def wave_norm(self) -> float:
        """L2 norm of a plane wave in each channel."""
        return _WAVE_NORM * float(np.sqrt(np.prod(self.images.shape[1:3]) / 1024))

    def batches(self) -> list[Batch]:
        """All images in batches of one size, the last one padded."""
        num_images = len(self.images)
        out = []
        for first in range(0, num_images, self.size):
            rows = np.minimum(np.arange(first, first + self.size), num_images - 1)
            kept = min(self.size, num_images - first)
            out.append(Batch(self.images[rows], self.labels[rows], rows, kept))
        return out

    def num_jobs(self) -> int:
        """Steps of the bar."""
        per_batch = len(self.networks) * (len(self.attacked) + 1)
        after = len(self.networks) * (len(self.diagnosed) + (self.budget.num_waved > 0))
        return per_batch * -(-len(self.images) // self.size) + after


def measure(
    networks: Sequence[Subject],
    images: np.ndarray,
    labels: np.ndarray,
    attacked: Mapping[str, attacks.Attack],
    *,
    key: Key,
    budget: Budget,
    batch_size: int,
    progress: bool,
) -> Measured:
    """Measures all networks on the same images, in batches of exactly one size.

    The last batch is padded, so that one shape is compiled for each network and attack. Of a batch
    only numbers per image, sums over images, and the examples are kept.

    Args:
      networks: what is analysed.
      images: [N, H, W, C] in [0, 1].
      labels: int32 [N].
      attacked: name -> attack.
      key: image n of seed s is attacked with ``fold_in(fold_in(key, s), n)`` as everywhere; of one
        network with ``fold_in(key, n)``.
      budget: what is spent.
      batch_size: images at once, of each network.
      progress: whether a bar and the expected time are shown on stderr.

    Returns:
      A `Measured`.
    """
    from tqdm import tqdm  # noqa: PLC0415  (importing freqbias must stay cheap)

    started = time.monotonic()
    plan = _Plan(networks, images, labels, attacked, key, budget, min(batch_size, len(images)))
    if progress:
        for name, attack in attacked.items():
            print(f"{name}: {describe(attack)}", file=sys.stderr)
    with tqdm(total=plan.num_jobs(), unit="job", disable=not progress) as bar:
        clean, found, first = _all_batches(plan, bar)
        diagnoses, heat_maps = _afterwards(plan, found, bar)
    height, width, channels = images.shape[1:]
    null = spectral.null((height, width), key=jax.random.key(0), channels=channels, num_draws=64)
    profile = spectral.radial_profile(np.ones((height, width), np.float32))
    return Measured(
        images=clean,
        found=found,
        diagnoses=diagnoses,
        heat_maps=heat_maps,
        wave_norm=plan.wave_norm,
        frequency=profile.frequency,
        null={name: float(value) for name, value in named(null.mean).items()},
        contrast=contrast_of(images),
        seconds_first_batch=first,
        seconds=time.monotonic() - started,
    )


def _all_batches(plan: _Plan, bar: Any) -> tuple[Found, dict[str, dict[str, Found]], float]:
    """Every network and attack on every batch; and the seconds of the first batch."""
    started, first = time.monotonic(), 0.0
    keys = {subject.name: keys_of(subject, plan.key, len(plan.images)) for subject in plan.networks}
    clean: list[Collected] = []
    parts: dict[tuple[str, str], list[Collected]] = {
        (subject.name, name): [] for subject in plan.networks for name in (JACOBIAN, *plan.attacked)
    }
    batches = plan.batches()
    for batch in batches:
        clean.append(of_images(batch))
        for subject in plan.networks:
            own, probes = keys[subject.name], plan.budget.num_probes
            bar.set_description(f"{subject.name}: {JACOBIAN}")
            parts[subject.name, JACOBIAN].append(of_jacobian(subject, batch, own, probes))
            bar.update()
            if batch is batches[0] and subject is plan.networks[0] and not bar.disable:
                once = seconds_of(subject, batch, own, probes, ())
                bar.write(_expected(plan, once / probes), file=sys.stderr)
            for name, attack in plan.attacked.items():
                bar.set_description(f"{subject.name}: {name}")
                parts[subject.name, name].append(of_attack(subject, attack, batch, own))
                bar.update()
        if batch is batches[0]:
            first = time.monotonic() - started
            if not bar.disable and len(batches) > 1:
                once = sum(
                    seconds_of(subject, batch, keys[subject.name], plan.budget.num_probes,
                               [parts[subject.name, name][0] for name in plan.attacked])
                    for subject in plan.networks
                )  # fmt: skip
                rest = max(1.0, (len(batches) - 1) * once)
                bar.write(
                    f"Compiled and done with {plan.size} of {len(plan.images)} images in "
                    f"{first:.0f} s; about {rest:.0f} s for the others"
                    f"{', then the diagnosis' if plan.diagnosed else ''}.",
                    file=sys.stderr,
                )
    found = {
        subject.name: {
            name: joined(parts[subject.name, name]) for name in (JACOBIAN, *plan.attacked)
        }
        for subject in plan.networks
    }
    return joined(clean), found, first


def _expected(plan: _Plan, seconds: float) -> str:
    """What the plan takes once compiled, where a gradient of a batch takes some seconds.

    A forward pass is taken for a third of a gradient, and the other networks to be like the first.
    """
    steps = {
        name: (getattr(attack, "num_steps", None) or 1) * getattr(attack, "num_restarts", 1)
        for name, attack in plan.attacked.items()
    }
    attacks_take = sum(steps.values()) * -(-len(plan.images) // plan.size)
    checks_take = sum(2 * steps[name] + plan.budget.num_queries / 3 for name in plan.diagnosed)
    height, width = plan.images.shape[1:3]
    waves_take = plan.budget.num_waved * height * width / 2 / plan.size / 3
    parts = {"attacks": attacks_take, "diagnosis": checks_take, "plane waves": waves_take}
    told = [f"{max(1, len(plan.networks) * seconds * passes):.0f} s of {name}"
            for name, passes in parts.items() if passes]  # fmt: skip
    return f"Expected, once compiled: about {', '.join(told)}."


def _afterwards(
    plan: _Plan, found: Mapping[str, Mapping[str, Found]], bar: Any
) -> tuple[dict[str, dict[str, attacks.Diagnosis]], dict[str, np.ndarray]]:
    """What is done once: diagnoses, and heat maps if asked for."""
    diagnoses: dict[str, dict[str, attacks.Diagnosis]] = {}
    heat_maps: dict[str, np.ndarray] = {}
    for subject in plan.networks:
        own = diagnoses[subject.name] = {}
        for name in plan.diagnosed:
            bar.set_description(f"{subject.name}: diagnosis of {name}")
            if not (found[subject.name][name].status == Status.DIVERGED).all():
                own[name] = _diagnosed(plan, subject, plan.attacked[name])
            bar.update()
        if plan.budget.num_waved:
            bar.set_description(f"{subject.name}: plane waves")
            heat_maps[subject.name] = _waved(plan, subject)
            bar.update()
    return diagnoses, heat_maps


def _diagnosed(plan: _Plan, subject: Subject, attack: Any) -> attacks.Diagnosis:
    """The diagnosis of the first images, padded to the shape that is compiled already."""
    num = min(plan.size, plan.budget.num_diagnosed)
    rows = np.minimum(np.arange(plan.size), num - 1)
    black_box = None
    if attacks.norms.defines(attack.norm, "windows"):
        black_box = attacks.square(
            attack.norm,
            epsilon=attack.epsilon,
            num_steps=plan.budget.num_queries,
            bounds=attack.bounds,
        )
    found = attacks.diagnose(
        attack, subject.apply_fn, subject.params, plan.images[rows], plan.labels[rows], plan.key,
        black_box=black_box, batch_size=plan.size, seeds=subject.seeds,
    )  # fmt: skip
    return jax.tree.map(lambda flags: flags[..., :num], found)


def _waved(plan: _Plan, subject: Subject) -> np.ndarray:
    """Error rates [S, H, W] under plane waves of random signs."""
    num = plan.budget.num_waved
    errors = attacks.heat_map(
        subject.apply_fn, subject.params, plan.images[:num], plan.labels[:num], plan.key,
        epsilon=plan.wave_norm, epsilon_per="channel", batch_size=plan.size,
        ensemble=subject.seeds is not None,
    )  # fmt: skip
    return errors if subject.seeds is not None else errors[None]

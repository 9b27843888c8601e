"""One batch of images: attacked, and reduced to numbers per image and sums of power over groups."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from freqbias import _checks, attacks, interop, spectral
from freqbias.analysis.jacobian import jacobian_power
from freqbias.analysis.networks import Subject
from freqbias.attacks.evaluate import logits_in_batches
from freqbias.attacks.protocol import on_device, pick_keys, predict
from freqbias.ensemble import attack_each, perturb_fn, seed_keys
from freqbias.typing import Array, Key, Keys

ALL, FLIPPED, NOT_FLIPPED = "all", "flipped", "not flipped"
GROUPS = (ALL, FLIPPED, NOT_FLIPPED)
"""Which perturbations: of the images predicted correctly when clean all, those whose prediction
changed, and those whose prediction did not."""
JACOBIAN, IMAGES = "input Jacobian", "the images"
NUM_EXAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Found:
    """What one attack found on one subject, or its input Jacobian: S seeds (1 of one network).

    Attributes:
      correct: bool [S, N], predicted correctly when clean.
      adversarial: bool [S, N], predicted wrongly when perturbed; of a Jacobian False.
      status: int32 [S, N], a `Status`.
      distance: [S, N], in the attack's norm; infinity where a minimal attack found nothing; of a
        Jacobian NaN.
      statistics: name -> [S, N], of each perturbation; NaN where it is zero.
      profile: [S, N, R], power by radius relative to white noise; NaN where it is zero.
      spectra: group -> [S, H, W], mean normalised power; NaN where the group is empty.
      examples: [n, H, W, C], perturbations of the examples by the first network; of a Jacobian
        none.
      answers: int [n], what the first network predicts of the perturbed examples.
    """

    correct: np.ndarray
    adversarial: np.ndarray
    status: np.ndarray
    distance: np.ndarray
    statistics: Mapping[str, np.ndarray]
    profile: np.ndarray
    spectra: Mapping[str, np.ndarray]
    examples: np.ndarray
    answers: np.ndarray

    def where(self, group: str) -> np.ndarray:
        """Which images belong to a group, bool [S, N]."""
        groups = _groups(self.correct, self.adversarial)
        _checks.one_of("group", group, groups)
        return groups[group]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some images, always as many."""

    images: np.ndarray  # [B, H, W, C]
    labels: np.ndarray  # int32 [B]
    rows: np.ndarray  # int [B], positions in the data set; the last one is repeated as padding
    kept: int  # how many of them are no padding


@dataclasses.dataclass(frozen=True)
class Collected:
    """Of one batch: numbers per image, and sums of power over each group."""

    correct: Any = None
    adversarial: Any = None
    status: Any = None
    distance: Any = None
    statistics: Any = None
    profile: Any = None
    sums: Any = None  # group -> [S, H, W]
    counts: Any = None  # group -> [S]
    num_gradients: int = 0  # spent on each image, the mean over the batch
    examples: Any = None
    answers: Any = None


def keys_of(subject: Subject, key: Key, num_images: int) -> Key:
    """Keys [N] of one network, [S, N] of an ensemble: those of `freqbias.attacks.evaluate`."""
    if subject.seeds is None:
        return attacks.image_keys(key, num_images)
    each = partial(attacks.image_keys, num_images=num_images)
    return jax.vmap(each)(seed_keys(key, subject.seeds))


def of_images(batch: Batch) -> Collected:
    """The images themselves."""
    power = spectral.power_spectrum(batch.images)[None]
    yes = np.ones((1, batch.kept), bool)
    nan = np.full((1, batch.kept), np.nan)
    no, ok = np.zeros_like(yes), np.zeros((1, batch.kept), np.int32)
    return _collected(power, batch, yes, no, ok, nan, batch.images, None)


def of_jacobian(subject: Subject, batch: Batch, keys: Keys, num_probes: int) -> Collected:
    """The input Jacobian of a subject."""
    found = jacobian_power(
        subject.apply_fn,
        subject.params,
        on_device(batch.images),
        pick_keys(keys, batch.rows),
        num_probes=num_probes,
        ensemble_of=None if subject.seeds is None else len(subject.seeds),
    )
    power, predicted, status = found if subject.seeds is not None else _with_seed_axis(found)
    correct = (np.asarray(predicted) == batch.labels)[:, : batch.kept]
    return _collected(
        power, batch, correct, np.zeros_like(correct), np.asarray(status)[:, : batch.kept],
        np.full(correct.shape, np.nan), None, np.asarray(predicted)[0],
    )  # fmt: skip


def seconds_of(
    subject: Subject, batch: Batch, keys: Keys, num_probes: int, done: Sequence[Collected]
) -> float:
    """How long a batch takes once all is compiled: by the Jacobian's time for each gradient."""
    started = time.monotonic()
    of_jacobian(subject, batch, keys, num_probes)
    seconds = time.monotonic() - started
    num_classes = interop.check_network(subject.apply_fn, subject.first, batch.images)
    gradients = sum(of.num_gradients for of in done)
    return seconds * (1 + gradients / min(num_probes, num_classes))


def of_attack(subject: Subject, attack: attacks.Attack, batch: Batch, keys: Keys) -> Collected:
    """What an attack finds on a subject; a broken network has a status, and raises nothing."""
    arguments = on_device(batch.images), on_device(batch.labels), pick_keys(keys, batch.rows)
    if subject.seeds is None:
        found = _with_seed_axis(perturb_fn(attack)(subject.apply_fn, subject.params, *arguments))
    else:
        found = attack_each(attack, subject.apply_fn, subject.params, *arguments)
    power = spectral.profile.rescaled_power(found.delta)
    answers, delta = None, np.asarray(found.delta)
    if batch.rows[0] == 0:
        moved = batch.images + delta[0]
        logits = logits_in_batches(subject.apply_fn, subject.first, moved, batch_size=len(moved))
        answers = np.asarray(predict(logits))
    kept = slice(batch.kept)
    return _collected(
        power,
        batch,
        np.asarray(found.clean_correct)[:, kept],
        np.asarray(found.is_adversarial)[:, kept],
        np.asarray(found.status)[:, kept],
        np.asarray(found.distance)[:, kept],
        delta[0, :NUM_EXAMPLES] if batch.rows[0] == 0 else None,
        answers,
        norm=np.sqrt(np.square(delta.astype(np.float64)).sum((2, 3, 4)))[:, kept],
        contrast=contrast_of(batch.images)[kept],
        num_gradients=int(np.mean(np.asarray(found.gradient_evaluations))),
    )


def _collected(  # noqa: PLR0917 (what is known of a batch)
    power: Array,
    batch: Batch,
    correct: np.ndarray,
    adversarial: np.ndarray,
    status: np.ndarray,
    distance: np.ndarray,
    examples: np.ndarray | None,
    answers: np.ndarray | None,
    *,
    norm: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    num_gradients: int = 0,
) -> Collected:
    """Reduces power [S, B, H, W] to statistics, profiles and sums over groups."""
    reduced = jax.tree.map(lambda leaf: np.asarray(leaf)[:, : batch.kept], _reduced(power))
    summary, profile, values = reduced
    statistics = named(summary)
    if norm is not None and contrast is not None:
        of_image = np.where(contrast > 0, contrast, np.nan)
        statistics["relative_norm"] = np.where(norm > 0, norm, np.nan) / of_image
    valid = ~np.isnan(values[..., 0, 0])
    sums, counts = {}, {}
    for group, where in _groups(correct, adversarial).items():
        used = where & valid
        sums[group] = np.where(used[..., None, None], values, 0).sum(1, dtype=np.float64)
        counts[group] = used.sum(1)
    is_first = batch.rows[0] == 0
    return Collected(
        correct, adversarial, status, distance, statistics, profile, sums, counts, num_gradients,
        examples[:NUM_EXAMPLES] if is_first and examples is not None else None,
        answers[:NUM_EXAMPLES] if is_first and answers is not None else None,
    )  # fmt: skip


@jax.jit
def _reduced(power: Array) -> tuple[spectral.SpectralSummary, Array, Array]:
    """Statistics [S, B], profiles [S, B, R] relative to white noise, and shares [S, B, H, W]."""
    shares, _ = spectral.profile.normalize(power, spectral.profile.dc_mask(power.shape[-2:], False))
    others = power.shape[-2] * power.shape[-1] - 1  # frequencies, without zero
    profile = spectral.radial_profile(shares).mean * others
    return spectral.summarize(power, domain="power"), profile, shares


def _groups(correct: np.ndarray, adversarial: np.ndarray) -> dict[str, np.ndarray]:
    return {ALL: correct, FLIPPED: correct & adversarial, NOT_FLIPPED: correct & ~adversarial}


def joined(parts: Sequence[Collected]) -> Found:
    """All batches of one attack."""

    def along_images(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=1)

    counts = {group: sum(part.counts[group] for part in parts) for group in GROUPS}
    spectra = {
        group: np.where(
            counts[group][:, None, None] > 0,
            sum(part.sums[group] for part in parts) / np.maximum(counts[group], 1)[:, None, None],
            np.nan,
        )
        for group in GROUPS
    }
    first, nothing = parts[0], np.zeros((0, 1, 1, 1), np.float32)
    return Found(
        correct=along_images("correct"),
        adversarial=along_images("adversarial"),
        status=along_images("status"),
        distance=along_images("distance"),
        statistics={
            name: np.concatenate([part.statistics[name] for part in parts], axis=1)
            for name in first.statistics
        },
        profile=along_images("profile"),
        spectra=spectra,
        examples=nothing if first.examples is None else first.examples,
        answers=np.zeros(0, int) if first.answers is None else first.answers,
    )


@jax.jit
def _with_seed_axis(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def named(summary: spectral.SpectralSummary) -> dict[str, Any]:
    """The statistics of a summary by name."""
    return {name: value for name, value in summary._asdict().items() if name != "valid"}


def contrast_of(images: np.ndarray) -> np.ndarray:
    """L2 norm [N] of each image about its mean in each channel."""
    about = images - images.mean(axis=(1, 2), keepdims=True)
    return np.sqrt(np.square(about.astype(np.float64)).sum((1, 2, 3)))

"""What an iterative attack remembers: of each image the best perturbation so far, and its cost."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias.attacks.levels import largest
from freqbias.attacks.norms import Norm
from freqbias.attacks.protocol import Perturbation, predict
from freqbias.typing import Array, Status


class Record(NamedTuple):
    """What every iterative attack remembers of each of its N images."""

    clean_correct: Array  # bool [N]
    delta: Array  # [N, H, W, C], the best so far; at first 0
    score: Array  # [N], its loss (budget attacks) or minus its distance (minimal attacks)
    is_adversarial: Array  # bool [N], whether it is adversarial
    finite: Array  # bool [N], all logits and gradients so far
    alive: Array  # bool [N], some gradient was finite and not exactly zero
    gradient_evaluations: Array  # int32 [N]


def judge(logits: Array, labels: Array, targets: Array | None) -> tuple[Array, Array]:
    """Whether images of these logits are adversarial, and whether the logits are finite; bool [N].

    Logits that are not finite are no prediction, and so never adversarial.
    """
    prediction = predict(logits)
    finite = prediction >= 0
    adversarial = prediction != labels if targets is None else prediction == targets
    return finite & adversarial, finite


def start(
    images: Array, labels: Array, targets: Array | None, logits: Array, score: Array | None = None
) -> Record:
    """The record of delta = 0.

    Args:
      images: [N, H, W, C].
      labels: int32 [N].
      targets: int32 [N] of a targeted attack, or None.
      logits: [N, K] on the clean images.
      score: loss [N] of a budget attack; of a minimal attack None, which is 0 where the clean image
        is adversarial and -inf elsewhere.

    Returns:
      The record.
    """
    num_images = images.shape[0]
    adversarial, finite = judge(logits, labels, targets)
    if score is None:
        score = jnp.zeros(num_images, images.dtype)
        score = jnp.where(adversarial, score, -jnp.inf)
    return Record(
        clean_correct=predict(logits) == labels,
        delta=jnp.zeros_like(images),
        score=jnp.where(finite, score, -jnp.inf),
        is_adversarial=adversarial,
        finite=finite,
        alive=jnp.zeros(num_images, bool),
        gradient_evaluations=jnp.zeros(num_images, jnp.int32),
    )


def keep_loss(  # noqa: PLR0917 (a candidate and what is known of it)
    record: Record,
    delta: Array,
    loss: Array,
    logits: Array,
    labels: Array,
    targets: Array | None,
) -> Record:
    """Keeps delta where it is better for a budget attack: adversarial ones first, then by loss.

    Args:
      record: so far.
      delta: [N, H, W, C], candidates.
      loss: [N] of them; never taken where not finite.
      logits: [N, K] at them.
      labels: int32 [N].
      targets: int32 [N] of a targeted attack, or None.

    Returns:
      The record.
    """
    adversarial, finite = judge(logits, labels, targets)
    finite &= jnp.isfinite(loss)
    tied = (adversarial == record.is_adversarial) & (loss > record.score)
    better = finite & ((adversarial & ~record.is_adversarial) | tied)
    return _replace(record, better, delta, loss, adversarial)._replace(
        finite=record.finite & finite
    )


def keep_nearest(  # noqa: PLR0917 (a candidate and what is known of it)
    record: Record,
    delta: Array,
    distance: Array,
    logits: Array,
    labels: Array,
    targets: Array | None,
) -> Record:
    """Keeps delta where it is better for a minimal attack: adversarial, and nearer.

    Args:
      record: so far.
      delta: [N, H, W, C], candidates.
      distance: [N], their norm.
      logits: [N, K] at them.
      labels: int32 [N].
      targets: int32 [N] of a targeted attack, or None.

    Returns:
      The record.
    """
    adversarial, finite = judge(logits, labels, targets)
    better = adversarial & (-distance > record.score)
    return _replace(record, better, delta, -distance, adversarial)._replace(
        finite=record.finite & finite
    )


def take_gradients(
    record: Record, gradients: Array, *, used: Array | None = None
) -> tuple[Record, Array]:
    """Counts gradients; those that are not finite become zero.

    Args:
      record: so far.
      gradients: [N, H, W, C] or [N, k, H, W, C], which counts k evaluations.
      used: bool [N], where to count them; by default everywhere.

    Returns:
      The record, and the finite gradients.
    """
    size = jax.vmap(largest)(gradients)
    finite = jnp.isfinite(size)
    gradients = jnp.where(jnp.expand_dims(finite, range(1, gradients.ndim)), gradients, 0)
    count = 1 if gradients.ndim == 4 else gradients.shape[1]
    used = jnp.ones_like(finite) if used is None else used
    record = record._replace(
        finite=record.finite & (finite | ~used),
        alive=record.alive | used & finite & (size > 0),
        gradient_evaluations=record.gradient_evaluations + jnp.where(used, count, 0),
    )
    return record, gradients


def nearest_distance(record: Record) -> Array:
    """Distance [N] of the best perturbation of a minimal attack; infinity where there is none."""
    return -record.score


def result(record: Record, norm: Norm, *, minimal: bool = False) -> Perturbation:
    """The record as a `Perturbation`.

    Args:
      record: at the end.
      norm: in which ``distance`` is measured.
      minimal: whether the attack looks for the smallest perturbation: ``distance`` is then infinity
        where it found none.

    Returns:
      The perturbation.
    """
    status = jnp.where(record.alive, Status.OK, Status.DEAD)
    distance = jax.vmap(norm.value)(record.delta)
    if minimal:
        distance = jnp.where(record.is_adversarial, distance, jnp.inf)
    return Perturbation(
        delta=record.delta,
        clean_correct=record.clean_correct,
        is_adversarial=record.is_adversarial,
        flipped=record.clean_correct & record.is_adversarial,
        distance=distance,
        gradient_evaluations=record.gradient_evaluations,
        status=jnp.where(record.finite, status, Status.DIVERGED).astype(jnp.int32),
    )


def _replace(
    record: Record, better: Array, delta: Array, score: Array, adversarial: Array
) -> Record:
    return record._replace(
        delta=jnp.where(better[:, None, None, None], delta, record.delta),
        score=jnp.where(better, score, record.score),
        is_adversarial=jnp.where(better, adversarial, record.is_adversarial),
    )

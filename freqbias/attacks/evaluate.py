"""An attack over a whole data set and an ensemble, in batches of bounded memory."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias.attacks.protocol import Attack, Perturbation, fold_keys
from freqbias.typing import ApplyFn, ArrayLike, Key, Params, Status


class Evaluation(NamedTuple):
    """Outcome of an attack on N images; with an ensemble, every leaf leads with [S].

    Attributes:
      perturbation: the `Perturbation` of every image, leaves [N, ...], on the host.
      clean_accuracy: share of images predicted correctly when clean.
      robust_accuracy: share predicted correctly when clean and, by an attack of status OK, not made
        adversarial. A DEAD or DIVERGED image proves nothing and never counts as robust.
      num_flipped: images predicted correctly when clean and made adversarial.
      num_dead: images without an input gradient.
      num_diverged: images with a logit or gradient that is not finite.
    """

    perturbation: Perturbation
    clean_accuracy: np.ndarray
    robust_accuracy: np.ndarray
    num_flipped: np.ndarray
    num_dead: np.ndarray
    num_diverged: np.ndarray


def evaluate(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Key,
    *,
    targets: ArrayLike | None = None,
    batch_size: int = 256,
    ensemble: bool = False,
) -> Evaluation:
    """Attacks every image, batch by batch; the last batch is padded, so that one shape compiles.

    The result does not depend on ``batch_size`` (but for the rounding of the network's own batched
    products): every image has its own key.

    Args:
      attack: the attack.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``ensemble``, leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      key: one key; with ``ensemble``, one key (folded with the seed's position) or one per seed
        [S], e.g. of `freqbias.ensemble.seed_keys`.
      targets: int [N], for a targeted attack.
      batch_size: images attacked at once.
      ensemble: whether params lead with a seed axis. Seeds are attacked one after the other.

    Returns:
      An `Evaluation`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong.
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    if targets is not None and np.shape(targets) != (num_images,):
        raise ValueError(f"targets must have shape ({num_images},); got shape {np.shape(targets)}.")

    def attack_one(params: Params, key: Key) -> Perturbation:
        attack_fn = partial(attack, apply_fn, params)
        return _in_batches(attack_fn, images, labels, targets, key=key, batch_size=batch_size)

    if not ensemble:
        return summarize(attack_one(params, key))
    num_seeds = _num_seeds(params)
    keys = fold_keys(key, num_seeds, each="seed")
    results = [
        attack_one(jax.tree.map(lambda leaf, seed=seed: leaf[seed], params), keys[seed])
        for seed in range(num_seeds)
    ]
    return summarize(jax.tree.map(lambda *leaves: np.stack(leaves), *results))


def summarize(perturbation: Perturbation) -> Evaluation:
    """The `Evaluation` of a `Perturbation` of leaves [N, ...] or [S, N, ...]."""
    found = jax.tree.map(np.asarray, perturbation)
    robust = found.clean_correct & ~found.is_adversarial & (found.status == Status.OK)
    return Evaluation(
        perturbation=found,
        clean_accuracy=found.clean_correct.mean(axis=-1),
        robust_accuracy=robust.mean(axis=-1),
        num_flipped=found.flipped.sum(axis=-1),
        num_dead=(found.status == Status.DEAD).sum(axis=-1),
        num_diverged=(found.status == Status.DIVERGED).sum(axis=-1),
    )


def _in_batches(
    attack_fn: Callable[..., Perturbation],
    images: ArrayLike,
    labels: ArrayLike,
    targets: ArrayLike | None,
    *,
    key: Key,
    batch_size: int,
) -> Perturbation:
    """Leaves [N, ...] on the host."""
    num_images = images.shape[0]
    batch_size = min(batch_size, num_images)
    keys = fold_keys(key, num_images)
    results = []
    for first in range(0, num_images, batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), num_images - 1)  # pad: last image
        found = attack_fn(
            jnp.asarray(images[rows]),
            jnp.asarray(labels[rows]),
            keys[rows],
            targets=None if targets is None else jnp.asarray(targets[rows]),
        )
        kept = min(batch_size, num_images - first)
        results.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf[:kept]), found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


def _num_seeds(params: Params) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            "params must lead with one seed axis [S, ...] on every leaf for an ensemble; "
            f"got leading axes {sorted(sizes)}."
        )
    return sizes.pop()[0]

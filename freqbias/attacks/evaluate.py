"""An attack over a whole data set and an ensemble, in batches of bounded memory.

`evaluate` at one radius, `robustness_curve` at several, `transfer` from network to network.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias.attacks.driver import forward, query
from freqbias.attacks.norms import Scalar
from freqbias.attacks.protocol import Attack, Perturbation, fold_keys, predict
from freqbias.ensemble import STRATEGIES, AttackNetwork, Strategy, map_seeds, select
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, Params, Status


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
    strategy: Strategy = "auto",
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
      batch_size: images attacked at once, of each network.
      ensemble: whether params lead with a seed axis.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Evaluation`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong.
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.one_of("strategy", strategy, STRATEGIES)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    if targets is not None and np.shape(targets) != (num_images,):
        raise ValueError(f"targets must have shape ({num_images},); got shape {np.shape(targets)}.")

    if ensemble:
        keys = _image_keys(key, _num_seeds(params), num_images)
        attack_fn = partial(_attack_each, attack, apply_fn, params, strategy=strategy)
    else:
        keys = fold_keys(key, num_images)
        attack_fn = partial(attack, apply_fn, params)
    size = min(batch_size, num_images)
    return summarize(in_batches(attack_fn, images, labels, targets, keys=keys, batch_size=size))


def _attack_each(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Key,
    *,
    targets: Array | None,
    strategy: Strategy,
) -> Perturbation:
    """The attack on every network of an ensemble, leaves [S, N, ...]; keys [S, N]."""
    per_seed, shared = (params, keys, None), (attack, images, labels, targets)
    return map_seeds(AttackNetwork(apply_fn), per_seed, shared, strategy=strategy, jit=False)


class RobustnessCurve(NamedTuple):
    """Robust accuracy at E radii; with an ensemble, every leaf but ``epsilons`` leads with [S].

    Attributes:
      epsilons: [E], ascending.
      clean_accuracy: scalar, as in `Evaluation`.
      robust_accuracy: [E], as in `Evaluation`; an image that fell at a smaller radius has fallen.
      radius: [N], the smallest radius tried at which an image fell (of a minimal attack, its
        distance): 0 if misclassified when clean, infinity if it never fell.
    """

    epsilons: np.ndarray
    clean_accuracy: np.ndarray
    robust_accuracy: np.ndarray
    radius: np.ndarray


def robustness_curve(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Key,
    *,
    epsilons: Sequence[float],
    batch_size: int = 256,
    ensemble: bool = False,
) -> RobustnessCurve:
    """Robust accuracy at each of several radii, in one compilation.

    A budget attack is run at each radius (see `at_epsilon`), in ascending order, on the images that
    have not fallen yet; a minimal attack once.

    Args:
      attack: untargeted; its own epsilon only sets the ratio of step size to epsilon.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``ensemble``, leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      key: as in `evaluate`.
      epsilons: radii, in pixel units, ascending.
      batch_size: images attacked at once.
      ensemble: whether params lead with a seed axis.

    Returns:
      A `RobustnessCurve`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong.
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    radii = np.asarray(epsilons, float)
    _checks.rank("epsilons", radii, 1)
    _checks.positive("epsilons", radii)
    if not radii.size or (np.diff(radii) <= 0).any():
        raise ValueError(f"epsilons must ascend, and be at least one; got {epsilons}.")
    budget = getattr(attack, "epsilon", None) is not None

    def attack_one(params: Params, keys: Key) -> tuple[Any, Any, Any]:
        def on(attack: Attack, rows: np.ndarray) -> Perturbation:
            return in_batches(
                partial(attack, apply_fn, params),
                images,
                labels,
                None,
                keys=keys,
                batch_size=min(batch_size, num_images),
                rows=rows,
            )

        everywhere = np.arange(num_images)
        if not budget:
            found = on(attack, everywhere)
            radius = np.where(found.is_adversarial, found.distance, np.inf)
            proven = np.repeat((found.status == Status.OK)[None], len(radii), axis=0)
            return found.clean_correct, radius, proven
        radius = np.full(num_images, np.inf)
        correct: Any = np.zeros(num_images, bool)
        proven = np.zeros((len(radii), num_images), bool)
        for index, epsilon in enumerate(radii):
            rows = np.flatnonzero(np.isinf(radius))
            if not rows.size:
                break
            found = on(at_epsilon(attack, epsilon), rows)
            radius[rows[found.is_adversarial]] = epsilon
            proven[index, rows] = found.status == Status.OK
            if index == 0:
                correct = found.clean_correct
                radius[~correct & found.is_adversarial] = 0
        return correct, radius, proven

    correct, radius, proven = each_network(attack_one, params, key, num_images, ensemble=ensemble)
    stands = correct[..., None, :] & (radius[..., None, :] > radii[:, None]) & proven
    return RobustnessCurve(radii, correct.mean(-1), stands.mean(-1), radius)


def at_epsilon(attack: Attack, epsilon: Scalar) -> Attack:
    """The same attack at another radius, its step size in proportion.

    Args:
      attack: with a field ``epsilon``; of a composed attack, its ``attacks`` follow.
      epsilon: in pixel units.

    Returns:
      The attack; nothing compiles anew.

    Raises:
      ValueError: the attack has no epsilon.
    """
    if not _has_epsilon(attack):
        raise ValueError(f"attack must have an epsilon; got {attack}.")
    changes: dict[str, Any] = {"epsilon": epsilon}
    if hasattr(attack, "step_size"):
        changes["step_size"] = attack.step_size * (epsilon / attack.epsilon)  # type: ignore[attr-defined]
    if hasattr(attack, "attacks"):
        changes["attacks"] = tuple(
            at_epsilon(one, epsilon) if _has_epsilon(one) else one for one in attack.attacks
        )
    return dataclasses.replace(attack, **changes)  # type: ignore[type-var]


def _has_epsilon(attack: Attack) -> bool:
    return getattr(attack, "epsilon", None) is not None


class Transfer(NamedTuple):
    """Perturbations of each network tried on each network, leaves [source, target].

    Attributes:
      accuracy: share of the perturbed images that the target predicts correctly.
      flip_rate: of those that it predicts correctly when clean, the share that it does not predict
        correctly when perturbed; NaN if there are none.
    """

    accuracy: np.ndarray
    flip_rate: np.ndarray


def transfer(
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    delta: ArrayLike,
    *,
    counted: ArrayLike | None = None,
    batch_size: int = 256,
) -> Transfer:
    """Tries the perturbations found on each network on every network of an ensemble.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      delta: [R, N, H, W, C], of R sources; usually R = S.
      counted: bool [R, N], which of them to count, e.g. ``flipped`` of the attack; None is all.
      batch_size: images at once.

    Returns:
      A `Transfer`, leaves [R, S].

    Raises:
      ValueError: a shape or range is wrong.
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    if np.shape(delta)[1:] != np.shape(images):
        raise ValueError(f"delta must be [R, {images.shape}]; got shape {np.shape(delta)}.")
    counted = np.ones(np.shape(delta)[:2], bool) if counted is None else np.asarray(counted)
    if counted.shape != np.shape(delta)[:2]:
        raise ValueError(f"counted must be {np.shape(delta)[:2]}; got shape {counted.shape}.")
    images, labels, delta = np.asarray(images), np.asarray(labels), np.asarray(delta)
    num_targets = _num_seeds(params)
    accuracy = np.full((len(delta), num_targets), np.nan)
    flip_rate = np.full((len(delta), num_targets), np.nan)

    def right(network: Params, images: np.ndarray) -> np.ndarray:
        size = min(batch_size, num_images)
        logits = logits_in_batches(apply_fn, network, images, batch_size=size)
        return np.asarray(predict(logits)) == labels

    for target in range(num_targets):
        network = jax.tree.map(lambda leaf, target=target: leaf[target], params)
        clean = right(network, images)
        for source in range(len(delta)):
            correct = right(network, images + delta[source])
            rows, known = counted[source], counted[source] & clean
            if rows.any():
                accuracy[source, target] = correct[rows].mean()
            if known.any():
                flip_rate[source, target] = 1 - correct[known].mean()
    return Transfer(accuracy, flip_rate)


def logits_in_batches(
    apply_fn: ApplyFn, params: Params, images: ArrayLike, *, batch_size: int
) -> Array:
    """Logits [N, K], batch by batch, the last one padded."""
    out = []
    for first in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), len(images) - 1)
        batch = jnp.asarray(images[rows])
        answer = query(forward, apply_fn, params, batch, jnp.zeros_like(batch), ())
        out.append(answer.logits)
    return jnp.concatenate(out)[: len(images)]


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


def in_batches(
    attack_fn: Callable[..., Perturbation],
    images: ArrayLike,
    labels: ArrayLike,
    targets: ArrayLike | None,
    *,
    keys: Key,
    batch_size: int,
    rows: np.ndarray | None = None,
) -> Perturbation:
    """An attack on N images in batches of exactly ``batch_size``, the last one padded.

    No shape depends on how many images there are, nor on how many rows: nothing compiles anew.

    Args:
      attack_fn: (images, labels, keys, targets=) -> `Perturbation`, led by the axes of keys.
      images: [N, H, W, C].
      labels: int [N].
      targets: int [N], or None.
      keys: [N], or [S, N].
      batch_size: images at once; the padding repeats the last image.
      rows: int [R], the images to attack, at least one; None is all.

    Returns:
      Leaves [N, ...], or [S, N, ...], on the host; with ``rows``, of R images.
    """
    rows, axis = np.arange(images.shape[0]) if rows is None else rows, keys.ndim - 1
    results = []
    for first in range(0, len(rows), batch_size):
        batch = rows[np.minimum(np.arange(first, first + batch_size), len(rows) - 1)]
        found = attack_fn(
            jnp.asarray(images[batch]),
            jnp.asarray(labels[batch]),
            keys[..., batch],
            targets=None if targets is None else jnp.asarray(targets[batch]),
        )
        kept = np.arange(min(batch_size, len(rows) - first))
        results.append(
            jax.tree.map(lambda leaf, kept=kept: np.take(np.asarray(leaf), kept, axis), found)
        )
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *results)


def each_network(
    run: Callable[[Params, Key], Any],
    params: Params,
    key: Key,
    num_images: int,
    *,
    ensemble: bool,
) -> Any:
    """``run(params, keys [N])`` of one network, or stacked over the seeds of an ensemble.

    Args:
      run: (params of one network, keys [N]) -> a pytree of arrays.
      params: of one network; with ``ensemble``, leaves [S, ...].
      key: one key; with ``ensemble``, one key or one per seed [S].
      num_images: N.
      ensemble: whether params lead with a seed axis.

    Returns:
      What ``run`` returns; with ``ensemble``, every leaf leads with [S].
    """
    if not ensemble:
        return run(params, fold_keys(key, num_images))
    num_seeds = _num_seeds(params)
    keys = _image_keys(key, num_seeds, num_images)
    with _checks.one_of_many():
        results = [run(select(params, seed), keys[seed]) for seed in range(num_seeds)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def _image_keys(key: Key, num_seeds: int, num_images: int) -> Key:
    """Keys [S, N] of one key, or of one per seed [S]."""
    keys = fold_keys(key, num_seeds, each="seed")
    return jax.vmap(lambda key: fold_keys(key, num_images))(keys)


def _num_seeds(params: Params) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            "params must lead with one seed axis [S, ...] on every leaf for an ensemble; "
            f"got leading axes {sorted(sizes)}."
        )
    return sizes.pop()[0]

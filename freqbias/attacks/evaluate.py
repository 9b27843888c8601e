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
from freqbias._checked import checked
from freqbias.attacks.driver import forward, query
from freqbias.attacks.levels import Scalar
from freqbias.attacks.protocol import (
    Attack,
    Perturbation,
    check_network,
    image_keys,
    on_device,
    pick_keys,
    predict,
)
from freqbias.ensemble import (
    STRATEGIES,
    Strategy,
    attack_each,
    map_seeds,
    perturb_fn,
    seed_keys,
)
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, Keys, Params, Status


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


@checked
def evaluate(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Keys,
    *,
    targets: ArrayLike | None = None,
    batch_size: int = 256,
    seeds: Sequence[int] | None = None,
    strategy: Strategy = "auto",
) -> Evaluation:
    """Attacks every image, batch by batch; the last batch is padded, so that one shape compiles.

    Every image has its own key, so the result does not depend on ``batch_size``, but for how the
    network's products over another batch are rounded.

    Args:
      attack: the attack.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``seeds``, leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      key: one key; image n draws with ``fold_in(key, n)``, network s of an ensemble with
        ``fold_in(fold_in(key, s), n)``, as in ``Ensemble.attack``. Of one network also keys [N].
      targets: int [N], for a targeted attack.
      batch_size: images attacked at once, of each network.
      seeds: of an ensemble, S distinct ints, e.g. ``nets.seeds``; None for one network.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Evaluation`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong; or a network that is attacked by itself is
        broken: its parameters are finite, but none of its logits is.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> network, key = attacks.example(), jax.random.key(0)
      >>> attack = attacks.pgd(attacks.L2(), epsilon=0.2, num_steps=3)
      >>> attacks.evaluate(attack, *network, key).perturbation.delta.shape
      (4, 8, 8, 1)
      >>> nets, (_, _, images, labels) = network.nets, network
      >>> result = attacks.evaluate(
      ...     attack, nets.apply_fn, nets.params, images, labels, key, seeds=nets.seeds
      ... )
      >>> result.robust_accuracy.shape
      (2,)
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.one_of("strategy", strategy, STRATEGIES)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    if targets is not None and np.shape(targets) != (num_images,):
        raise ValueError(f"targets must have shape ({num_images},); got shape {np.shape(targets)}.")

    keys = _image_keys(key, seeds, params, num_images)
    attack_fn = _on_networks(attack, apply_fn, params, None if seeds is None else strategy)
    size = min(batch_size, num_images)
    found = in_batches(attack_fn, images, labels, targets, keys=keys, batch_size=size)
    if seeds is None:
        check_network(apply_fn, params, images, found.status, batch_size=size)
    return summarize(found)


def _on_networks(
    attack: Attack, apply_fn: ApplyFn, params: Params, strategy: Strategy | None
) -> Callable[..., Perturbation]:
    """The attack on one network (strategy None), or on each of an ensemble, for `in_batches`."""
    if strategy is None:
        return partial(perturb_fn(attack), apply_fn, params)
    return partial(attack_each, attack, apply_fn, params, strategy=strategy)


class RobustnessCurve(NamedTuple):
    """Robust accuracy at E radii; with an ensemble, every leaf but ``epsilons`` leads with [S].

    Attributes:
      epsilons: [E], ascending.
      clean_accuracy: scalar, as in `Evaluation`.
      robust_accuracy: [E], as in `Evaluation`; an image that fell at a smaller radius has fallen.
      radius: [N], the smallest radius tried at which an image fell (of a minimal attack, its
        distance): 0 if misclassified when clean, infinity if it never fell, and NaN if it never
        fell but the attack on it was not OK either (DEAD, DIVERGED), at the largest radius.
    """

    epsilons: np.ndarray
    clean_accuracy: np.ndarray
    robust_accuracy: np.ndarray
    radius: np.ndarray


@checked
def robustness_curve(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Keys,
    *,
    epsilons: Sequence[float],
    batch_size: int = 256,
    seeds: Sequence[int] | None = None,
    strategy: Strategy = "auto",
) -> RobustnessCurve:
    """Robust accuracy at each of several radii, in one compilation.

    A budget attack is run at each radius (see `at_epsilon`), in ascending order, on the images that
    still stand; in an ensemble, on those that still stand on some network. A minimal attack is run
    once.

    Args:
      attack: untargeted; its own epsilon only sets the ratio of step size to epsilon.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``seeds``, leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      key: as in `evaluate`.
      epsilons: radii, in pixel units, ascending.
      batch_size: images attacked at once, of each network.
      seeds: of an ensemble, S distinct ints, e.g. ``nets.seeds``; None for one network.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      A `RobustnessCurve`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong, or as in `evaluate`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> curve = attacks.robustness_curve(
      ...     attacks.ddn(num_steps=5), *attacks.example(), jax.random.key(0), epsilons=[0.01, 4.0]
      ... )
      >>> curve.robust_accuracy.tolist()
      [1.0, 0.0]
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
    _checks.one_of("strategy", strategy, STRATEGIES)
    keys, size = _image_keys(key, seeds, params, num_images), min(batch_size, num_images)

    def on(attack: Attack, rows: np.ndarray) -> Any:
        attack_fn = _on_networks(attack, apply_fn, params, None if seeds is None else strategy)
        found = in_batches(attack_fn, images, labels, None, keys=keys, batch_size=size, rows=rows)
        if seeds is None and len(rows) == num_images:
            check_network(apply_fn, params, images, found.status, batch_size=size)
        return found

    everywhere, shape = np.arange(num_images), keys.shape  # [N], or [S, N]
    if not _has_epsilon(attack):
        found = on(attack, everywhere)
        correct = found.clean_correct
        radius = np.where(found.is_adversarial, found.distance, np.inf)
        proven = np.repeat((found.status == Status.OK)[None], len(radii), axis=0)
    else:
        correct, radius = np.zeros(shape, bool), np.full(shape, np.inf)
        proven = np.zeros((len(radii), *shape), bool)
        for index, epsilon in enumerate(radii):
            stands = np.isinf(radius)
            rows = np.flatnonzero(stands.reshape(-1, num_images).any(axis=0))
            if not rows.size:
                break
            found, stands = on(at_epsilon(attack, epsilon), rows), stands[..., rows]
            if index == 0:
                correct = found.clean_correct
            fell = np.where(correct[..., rows], epsilon, 0)
            radius[..., rows] = np.where(stands & found.is_adversarial, fell, radius[..., rows])
            proven[index][..., rows] = stands & (found.status == Status.OK)
    radius = np.where(np.isinf(radius) & ~proven[-1], np.nan, radius)
    robust = correct[None] & (radius[None] > radii.reshape(-1, *(1,) * radius.ndim)) & proven
    return RobustnessCurve(radii, correct.mean(-1), np.moveaxis(robust.mean(-1), 0, -1), radius)


@checked
def at_epsilon(attack: Attack, epsilon: Scalar) -> Attack:
    """The same attack at another radius, its step size in proportion.

    Args:
      attack: with a field ``epsilon``; the ``attacks`` of a composed attack follow.
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
    """Perturbations of each network tried on each network.

    Attributes:
      accuracy: [source, target], share of the images counted that the target predicts correctly
        when perturbed; NaN if none is counted.
      flip_rate: [source, target], of those that it predicts correctly when clean, the share that it
        does not predict correctly when perturbed; NaN if there are none.
      num_counted: [source], images counted.
      num_known: [source, target], those of them that the target predicts correctly when clean.
    """

    accuracy: np.ndarray
    flip_rate: np.ndarray
    num_counted: np.ndarray
    num_known: np.ndarray


@checked
def transfer(
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    delta: ArrayLike,
    *,
    counted: ArrayLike | None = None,
    batch_size: int = 256,
    strategy: Strategy = "auto",
) -> Transfer:
    """Tries the perturbations found on each network on every network of an ensemble.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      delta: [R, N, H, W, C], of R sources; usually R = S.
      counted: bool [R, N], which of them to count, e.g. ``flipped`` of the attack; by default those
        that are not zero everywhere (where an attack found nothing, there is nothing to transfer).
      batch_size: images at once, of each network.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      A `Transfer` of R sources and S targets.

    Raises:
      ValueError: a shape or range is wrong, or delta is not finite.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> network = attacks.example()
      >>> nets, (_, _, images, labels) = network.nets, network
      >>> attack = attacks.pgd(attacks.L2(), epsilon=1.0, num_steps=3)
      >>> found = nets.attack(attack, images, labels, key=jax.random.key(0))
      >>> tried = attacks.transfer(nets.apply_fn, nets.params, images, labels, found.delta)
      >>> tried.flip_rate.shape  # [source, target]
      (2, 2)
    """
    _checks.positive_int("batch_size", batch_size)
    _checks.images(images, unit_range=False)
    num_images = images.shape[0]
    _checks.labels(labels, num_examples=num_images)
    if np.shape(delta)[1:] != np.shape(images):
        raise ValueError(f"delta must be [R, {images.shape}]; got shape {np.shape(delta)}.")
    if _checks.is_concrete(delta) and not np.isfinite(delta).all():
        raise ValueError("delta must be finite; found NaN or infinity.")
    if counted is None:
        counted = np.any(np.asarray(delta) != 0, axis=(2, 3, 4))
    counted = np.asarray(counted)
    if counted.shape != np.shape(delta)[:2]:
        raise ValueError(f"counted must be {np.shape(delta)[:2]}; got shape {counted.shape}.")
    _checks.one_of("strategy", strategy, STRATEGIES)
    images, labels, delta = np.asarray(images), np.asarray(labels), np.asarray(delta)
    num_targets = _num_seeds(params)

    def right(images: np.ndarray) -> np.ndarray:  # [T, N]
        size = min(batch_size, num_images)
        logits = logits_in_batches(apply_fn, params, images, batch_size=size, strategy=strategy)
        return np.asarray(predict(logits)) == labels

    clean = right(images)
    accuracy, flip_rate = np.full((2, len(delta), num_targets), np.nan)
    num_known = np.zeros((len(delta), num_targets), int)
    for source, rows in enumerate(counted):
        if rows.any():
            correct, known = right(images + delta[source])[:, rows], clean[:, rows]
            accuracy[source], num_known[source] = correct.mean(-1), known.sum(-1)
            flips = (known & ~correct).sum(-1)
            flip_rate[source] = flips / np.where(known.any(-1), known.sum(-1), np.nan)
    return Transfer(accuracy, flip_rate, counted.sum(-1), num_known)


def logits_in_batches(
    apply_fn: ApplyFn,
    params: Params,
    images: np.ndarray,
    *,
    batch_size: int,
    strategy: Strategy | None = None,
) -> Array:
    """Logits, batch by batch, the last one padded.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``strategy``, leaves [S, ...].
      images: [N, H, W, C]; with ``strategy`` also [S, N, H, W, C], each network its own.
      batch_size: images at once.
      strategy: of the seed axis of an ensemble; None for one network.

    Returns:
      [N, K]; with ``strategy`` [S, N, K].
    """

    def ask(batch: Array) -> Array:
        if strategy is None:
            return query(forward, apply_fn, params, batch, jnp.zeros_like(batch), ()).logits
        if own:
            return map_seeds(apply_fn, (params, batch), strategy=strategy)
        return map_seeds(apply_fn, (params,), (batch,), strategy=strategy)

    own, out = np.ndim(images) == 5, []
    num_images = np.shape(images)[-4]
    for first in range(0, num_images, batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), num_images - 1)
        out.append(ask(on_device(images[..., rows, :, :, :])))
    return jnp.concatenate(out, axis=-2)[..., :num_images, :]


@checked
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
    keys: Keys,
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
            on_device(images[batch]),
            on_device(labels[batch]),
            pick_keys(keys, batch),
            targets=None if targets is None else on_device(targets[batch]),
        )
        kept = np.arange(min(batch_size, len(rows) - first))
        results.append(
            jax.tree.map(lambda leaf, kept=kept: np.take(np.asarray(leaf), kept, axis), found)
        )
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *results)


def _image_keys(key: Keys, seeds: Sequence[int] | None, params: Params, num_images: int) -> Key:
    """Keys [N] of one network, of one key or one per image; of an ensemble [S, N], of one key."""
    if seeds is None:
        return image_keys(key, num_images)
    if len(seeds) != _num_seeds(params):
        raise ValueError(f"seeds must be {_num_seeds(params)}, as params has; got {len(seeds)}.")
    return jax.vmap(partial(image_keys, num_images=num_images))(seed_keys(key, seeds))


def _num_seeds(params: Params) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            "params must lead with one seed axis [S, ...] on every leaf for an ensemble; "
            f"got leading axes {sorted(sizes)}."
        )
    return sizes.pop()[0]

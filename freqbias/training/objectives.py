"""What training descends, and how: losses, optimisers, schedules; see `freqbias.training`."""

from collections.abc import Mapping
from functools import lru_cache

import jax
import jax.numpy as jnp
import optax

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import Array, LossFn


def _class_margins(logits: Array, labels: Array) -> tuple[Array, Array]:
    """``logits[y] - logits[j]`` [N, K] and the mask of j != y [N, K]."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    others = jnp.arange(logits.shape[1])[None] != labels[:, None]
    return own - logits, others


def cross_entropy(logits: Array, labels: Array) -> Array:
    """``log(1 + sum_{j != y} exp(logits[j] - logits[y]))`` [N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def exponential(logits: Array, labels: Array) -> Array:
    """``sum_{j != y} exp(-(logits[y] - logits[j]))`` [N]; the exponential loss if K = 2."""
    margins, others = _class_margins(logits, labels)
    return jnp.sum(jnp.where(others, jnp.exp(-jnp.where(others, margins, 0)), 0), axis=1)


def logistic(logits: Array, labels: Array) -> Array:
    """``sum_{j != y} log(1 + exp(-(logits[y] - logits[j])))`` [N]; equals CE if K = 2."""
    margins, others = _class_margins(logits, labels)
    return jnp.sum(jnp.where(others, jax.nn.softplus(-margins), 0), axis=1)


LOSSES: Mapping[str, LossFn] = {
    "cross_entropy": cross_entropy,
    "exponential": exponential,
    "logistic": logistic,
}


def _positive_rate(learning_rate: float | optax.Schedule) -> None:
    if not callable(learning_rate):
        _checks.positive("learning_rate", learning_rate)


@checked
@lru_cache
def sgd(
    learning_rate: float | optax.Schedule = 0.05,
    momentum: float = 0.9,
    clip: float | None = None,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD with momentum: v <- momentum v + clip(grad) + weight_decay w, w <- w - learning_rate v.

    Cached: equal settings give the same object, hence no new compilation.

    Args:
      learning_rate: a number > 0, or a function of the number of steps (the same object each time).
      momentum: in [0, 1).
      clip: the largest global norm of a gradient; None does not clip.
      weight_decay: of all parameters, finite, >= 0.

    Raises:
      ValueError: a number is out of range.
    """
    _positive_rate(learning_rate)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1); got {momentum}.")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay must be finite and at least 0; got {weight_decay}.")
    parts = [] if clip is None else [optax.clip_by_global_norm(clip)]
    parts += [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    descent = optax.sgd(learning_rate, momentum=momentum or None)
    return optax.chain(*parts, descent) if parts else descent


@lru_cache
def adam(
    learning_rate: float | optax.Schedule = 0.001, clip: float | None = None
) -> optax.GradientTransformation:
    """Adam, with the global gradient norm clipped to ``clip`` if given; cached as `sgd`."""
    _positive_rate(learning_rate)
    descent = optax.adam(learning_rate)
    return descent if clip is None else optax.chain(optax.clip_by_global_norm(clip), descent)


@lru_cache
def staircase(learning_rate: float, factor: float, every: int) -> optax.Schedule:
    """``learning_rate * factor ** (step // every)``; cached, so that it can be given to `sgd`."""
    _checks.positive("learning_rate", learning_rate)
    _checks.positive("factor", factor)
    _checks.positive_int("every", every)
    return optax.exponential_decay(learning_rate, every, factor, staircase=True)

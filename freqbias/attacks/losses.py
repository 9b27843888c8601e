"""Losses an attack ascends, per example: ``loss_fn(logits [N, K], labels [N]) -> losses [N]``.

All are differences of logits, so that they neither under- nor overflow at logits of 1e4, and their
gradient does not vanish where the softmax saturates.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from freqbias.typing import Array, LossFn


def _split(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Logit of the label [N], and the logits with that entry at minus infinity [N, K]."""
    is_label = jnp.arange(logits.shape[-1])[None, :] == labels[:, None]
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return true, jnp.where(is_label, -jnp.inf, logits)


def margin(logits: Array, labels: Array) -> Array:
    """Largest other logit minus the label's: max_{j != y} z_j - z_y; negative while correct.

    Args:
      logits: [N, K], K >= 2.
      labels: int32 [N].

    Returns:
      Losses [N].

    Reference:
      Carlini and Wagner, 1608.04644, section V.A, f_6.
    """
    true, others = _split(logits, labels)
    return jnp.max(others, axis=-1) - true


def log_odds(logits: Array, labels: Array) -> Array:
    """Log odds against the label: log sum_{j != y} exp z_j - z_y = log(expm1(cross-entropy)).

    A strictly increasing function of the cross-entropy: same maximiser, same gradient direction,
    so the same steepest-ascent steps. Its gradient does not underflow: the cross-entropy's carries
    a factor 1 - p_y, which is exactly zero in float32 once the margin passes about 17.

    Args:
      logits: [N, K], K >= 2.
      labels: int32 [N].

    Returns:
      Losses [N].
    """
    true, others = _split(logits, labels)
    return jax.nn.logsumexp(others, axis=-1) - true


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy, -log softmax(z)_y, as softplus(log_odds).

    Args:
      logits: [N, K], K >= 2.
      labels: int32 [N].

    Returns:
      Losses [N], accurate down to the smallest positive float.
    """
    return jax.nn.softplus(log_odds(logits, labels))


@lru_cache
def targeted_fn(loss_fn: Callable[[Array, Array], Array]) -> LossFn:
    """The loss whose ascent leads to a target: (logits, targets) -> -loss_fn(logits, targets).

    Cached, so that one loss gives one object, and one compilation.
    """

    def loss(logits: Array, labels: Array) -> Array:
        return -loss_fn(logits, labels)

    return loss

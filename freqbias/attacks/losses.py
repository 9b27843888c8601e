"""Losses an attack ascends, per example: ``loss_fn(logits [N, K], labels [N]) -> losses [N]``.

`named_loss` has them by name. What is ascended is a difference of logits or a ratio of differences;
"cross_entropy" is ascended by way of `log_odds`. So nothing under- or overflows at logits of 1e4,
and no gradient vanishes where the softmax saturates.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import Array, LossFn


def _check(logits: Array, labels: Array, name: str = "labels") -> None:
    """Raises unless there are floating logits [N, K], K >= 2, and labels of theirs [N]."""
    _checks.rank("logits", logits, 2)
    if not jnp.issubdtype(jnp.result_type(logits), jnp.floating) or jnp.shape(logits)[1] < 2:
        raise TypeError(
            f"logits must be floats [N, K], K >= 2; got {jnp.result_type(logits)}, "
            f"shape {jnp.shape(logits)}."
        )
    num_examples, num_classes = jnp.shape(logits)
    _checks.labels(labels, num_examples=num_examples, num_classes=num_classes, name=name)


def _split(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Logit of the label [N], and the logits with that entry at minus infinity [N, K]."""
    is_label = jnp.arange(logits.shape[-1])[None, :] == labels[:, None]
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return true, jnp.where(is_label, -jnp.inf, logits)


@checked
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
    _check(logits, labels)
    true, others = _split(logits, labels)
    return jnp.max(others, axis=-1) - true


@checked
def log_odds(logits: Array, labels: Array) -> Array:
    """Log odds against the label, log sum_{j != y} exp z_j - z_y; the loss "cross_entropy".

    With the cross-entropy c = -log softmax(z)_y it is log(exp(c) - 1), a strictly increasing
    function of c. So it has the same maximiser and the same direction of the gradient, and steepest
    ascent takes the same steps. The gradient of the cross-entropy has a factor 1 - p_y, which is
    exactly zero in float32 once z_y exceeds all other logits by about 17; the gradient of the log
    odds has no such factor.

    Args:
      logits: [N, K], K >= 2.
      labels: int32 [N].

    Returns:
      Losses [N].
    """
    _check(logits, labels)
    true, others = _split(logits, labels)
    return jax.nn.logsumexp(others, axis=-1) - true


@checked
def dlr(logits: Array, labels: Array) -> Array:
    """Difference of logits ratio: (max_{j != y} z_j - z_y) / (z_(1) - z_(3)), z_(i) in descent.

    The margin in units of the spread of the three largest logits: it does not change when the
    logits are scaled or shifted. Where the label's logit is the third largest, the ratio is 1
    whatever the logits are. There this returns the constant 1, whose gradient is exactly zero; the
    gradient of the ratio as computed would be zero or a rounding error, depending on the program.

    Args:
      logits: [N, K], K >= 3.
      labels: int32 [N].

    Returns:
      Losses [N], negative while correct. The denominator is at least one rounding error of the
      logits' range, and 1 where all logits are equal.

    Raises:
      ValueError: fewer than three classes.

    Reference:
      Croce and Hein, 2003.01690, section 4.1, eq. 6.
    """
    _check(logits, labels)
    if logits.shape[-1] < 3:
        raise ValueError(f"logits must have at least 3 classes; got {logits.shape[-1]}.")
    top, order = jax.lax.top_k(logits, 3)
    flat = (order[:, 2] == labels) & (top[:, 0] > top[:, 2])
    margins, spread = margin(logits, labels), _spread(logits, top[:, 0] - top[:, 2])
    return jnp.where(flat, 1, margins) / jnp.where(flat, 1, spread)


@checked
def targeted_dlr(logits: Array, labels: Array, targets: Array) -> Array:
    """Targeted `dlr`: (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2), ascended towards the target t.

    Args:
      logits: [N, K], K >= 4.
      labels: int32 [N].
      targets: int32 [N].

    Returns:
      Losses [N], positive only where not y is predicted; denominators as in `dlr`.

    Raises:
      ValueError: fewer than four classes.

    Reference:
      Croce and Hein, 2003.01690, section 4.2, eq. 7.
    """
    _check(logits, labels)
    _check(logits, targets, "targets")
    if logits.shape[-1] < 4:
        raise ValueError(
            f"targeted 'dlr' needs logits of at least 4 classes; got {logits.shape[-1]}."
        )
    top, _ = jax.lax.top_k(logits, 4)
    true, _ = _split(logits, labels)
    target, _ = _split(logits, targets)
    return (target - true) / _spread(logits, top[:, 0] - (top[:, 2] + top[:, 3]) / 2)


def _spread(logits: Array, spread: Array) -> Array:
    """A spread of logits [N] as a denominator: at least a rounding error of their range, or 1."""
    span = jnp.max(logits, axis=-1) - jnp.min(logits, axis=-1)
    least = jnp.where(span > 0, jnp.finfo(logits.dtype).eps * span, 1)
    return jnp.maximum(spread, jax.lax.stop_gradient(least))


# The cross-entropy is ascended through its log odds: the same steps, without underflow.
_LOSSES: dict[str, LossFn] = {"cross_entropy": log_odds, "margin": margin, "dlr": dlr}


def check_loss(loss: str | LossFn) -> None:
    """Raises ValueError unless ``loss`` is a function or the name of one."""
    if not callable(loss):
        _checks.one_of("loss", loss, _LOSSES)


@checked
@lru_cache
def named_loss(loss: str | LossFn, *, targeted: bool = False) -> Callable[..., Array]:
    """The function an attack ascends; the same object for the same arguments.

    Args:
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`.
      targeted: towards a class instead of away from the label.

    Returns:
      (logits [N, K], labels [N]) -> losses [N]; if targeted,
      (logits [N, K], labels [N], targets [N]) -> losses [N].
    """
    check_loss(loss)
    if loss == "dlr" and targeted:
        return targeted_dlr
    loss_fn = loss if callable(loss) else _LOSSES[loss]
    if not targeted:
        return loss_fn

    def towards(logits: Array, labels: Array, targets: Array) -> Array:
        del labels
        return -loss_fn(logits, targets)

    return towards

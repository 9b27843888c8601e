"""How far any predictor is from the maximum margin in any norm, without solving for it.

    min_n y_n <beta, x_n> / Norm(beta)  <=  Norm*( sum_n q_n y_n x_n )   for every q in the simplex,

by Hoelder's inequality: the right side is an upper bound on the left for every beta, so one q
bounds the margin of all predictors at once. A trained network supplies its own q, the softmax of
its negative margins.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.theory.precision import full_precision
from freqbias.theory.regularizers import Regularizer, dual_norm
from freqbias.typing import ArrayLike


class Certificate(NamedTuple):
    """A normalised margin and an upper bound on everyone's."""

    margin: Any  # []: min_n y_n <beta, x_n> / Norm(beta); negative if beta does not separate
    bound: Any  # []: no predictor's normalised margin exceeds it
    gap: Any  # []: 1 - margin / bound


@checked
@full_precision
def certificate(
    beta: ArrayLike,
    images: ArrayLike,
    labels: ArrayLike,
    regularizer: Regularizer,
    *,
    norm: Any = None,
    dual_weights: ArrayLike | None = None,
    members: ArrayLike | None = None,
) -> Certificate:
    """Certifies the normalised margin of ``beta`` by duality.

    q is ``dual_weights`` normalised, if given, else the best of softmax(-s margins) over a
    range of scales s. All of them are valid, so the least bound is.

    Args:
      beta: [H, W, C], of any scale.
      images: [N, H, W, C], as for ``max_margin``.
      labels: int [N], 0 or 1.
      regularizer: the norm.
      norm: Norm(beta) or an upper bound on it; by default it is computed.
      dual_weights: [N], non-negative and not all zero.
      members: bool [N], the images that count, as for ``train_direction``; all by default.

    Returns:
      The certificate. In JAX arrays, under ``vmap`` over seeds too, for norms in closed form.

    Raises:
      TypeError, ValueError: arguments are not as stated.
    """
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=np.shape(images)[0], num_classes=2)
    if np.shape(beta) != np.shape(images)[1:]:
        raise ValueError(f"beta must be {np.shape(images)[1:]}; got shape {np.shape(beta)}.")
    xp: Any = jax.numpy if isinstance(beta, jax.Array) else np
    beta = xp.asarray(beta)
    images = xp.asarray(images, dtype=beta.dtype)
    sign = xp.asarray(2 * xp.asarray(labels) - 1, dtype=beta.dtype)
    margins = sign * xp.einsum("nhwc,hwc->n", images, beta)
    if members is None:
        counts = xp.ones_like(margins)
    else:
        _check_one_each("members", members, images)
        counts = xp.asarray(members, dtype=beta.dtype)
    margins = xp.where(counts > 0, margins, xp.max(margins))
    if norm is None:
        norm = regularizer.norm(beta)
    if dual_weights is not None:
        _check_one_each("dual_weights", dual_weights, images)
        weights = xp.asarray(dual_weights, dtype=beta.dtype)[None]
    else:
        below = (margins - margins.min()) / xp.max(xp.abs(margins))
        scale = xp.asarray(2.0 ** np.arange(25), dtype=beta.dtype)
        weights = xp.exp(-scale[:, None] * below[None])
    weights = weights * counts[None]
    weights = weights / weights.sum(axis=1, keepdims=True)
    combined = xp.einsum("tn,nhwc->thwc", weights * sign[None], images)
    bound = dual_norm(regularizer, combined).min()
    margin = margins.min() / norm
    return Certificate(margin, bound, 1 - margin / bound)


def _check_one_each(name: str, values: ArrayLike, images: ArrayLike) -> None:
    if np.shape(values) != np.shape(images)[:1] or jax.numpy.iscomplexobj(values):
        raise ValueError(
            f"{name} must hold one real number for each of the {np.shape(images)[0]} images; "
            f"got shape {np.shape(values)}."
        )

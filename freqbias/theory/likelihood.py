r"""Where cross-entropy leads an affine classifier: maximum likelihood, or separation without end.

If no predictor separates the classes, the loss has one minimum in the directions in which the
images vary, and gradient descent on any affine network that can express it goes there: the
architecture decides the way, not the end. If one does, the loss has no minimum, predictors grow
for ever, and where they point to is a maximum margin in the architecture's own norm (``margins``).
"""

from typing import NamedTuple

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import ArrayLike, Status

_LEAST = 1e-6  # of the largest singular value: directions below are taken to have no variance


class MaximumLikelihood(NamedTuple):
    """The affine predictor of least cross-entropy, or one that separates the classes."""

    weights: np.ndarray  # [H, W, C, K]; logits are images . weights + bias
    bias: np.ndarray  # [K]
    loss: float  # mean cross-entropy, nats
    gradient_norm: float  # of the loss, in coordinates in which the images are white: 0 at the end
    margin: float  # the smallest of f_y - max f_j over images
    separable: bool  # margin > 0: the proof that there is no minimum
    status: Status  # OK, or NOT_CONVERGED: neither a small gradient nor a separation


@checked
def maximum_likelihood(
    images: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
) -> MaximumLikelihood:
    r"""Minimises the mean cross-entropy over all affine predictors, or separates the classes.

    .. math:: \min_{B, c} \frac1N \sum_n \ln \sum_k
        \exp\left( \langle B_k - B_{y_n}, x_n \rangle + c_k - c_{y_n} \right)

    by L-BFGS in float64, on images rotated and scaled to be white. Its end is proved either by the
    norm of the gradient, or by a predictor that is right on every image. Weights sum to 0 over
    classes and have no part in directions in which the images do not vary.

    Args:
      images: [N, H, W, C], any real values.
      labels: int [N].
      num_classes: K, at least 2.
      tolerance: of the gradient norm.
      max_iterations: of L-BFGS.

    Returns:
      The predictor. Of separable classes it is the first one found that separates, which is no
      limit of anything.

    Raises:
      TypeError, ValueError: images or labels are not as stated.

    Example:
      >>> pixels = np.array([0.0, 0, 0, 1, 1, 1]).reshape(6, 1, 1, 1)
      >>> found = maximum_likelihood(pixels, np.array([0, 0, 1, 0, 1, 1]), 2)
      >>> odds = found.weights[0, 0, 0, 1] - found.weights[0, 0, 0, 0]
      >>> bool(abs(odds - np.log(4)) < 1e-4), found.separable  # 2 : 1 against 1 : 2
      (True, False)

    Reference:
      Soudry et al. 2018, "The implicit bias of gradient descent on separable data", for what
      happens where there is no minimum.
    """
    _checks.images(images, unit_range=False)
    _checks.positive_int("num_classes", num_classes)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2; got {num_classes}.")
    _checks.labels(labels, num_examples=np.shape(images)[0], num_classes=num_classes)
    _checks.positive("tolerance", tolerance)
    _checks.positive_int("max_iterations", max_iterations)
    shape, labels = np.shape(images)[1:], np.asarray(labels)
    flat = np.asarray(images, np.float64).reshape(len(labels), -1)
    mean = flat.mean(axis=0)
    whitening = _whitening(flat - mean)
    white = np.hstack([(flat - mean) @ whitening, np.ones((len(flat), 1))])
    own = np.eye(num_classes)[labels]

    def margin(at: np.ndarray) -> float:
        logits = white @ at.reshape(-1, num_classes)
        others = np.where(own > 0, -np.inf, logits).max(axis=1)
        return float((logits[np.arange(len(labels)), labels] - others).min())

    def stop_if_separated(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        if margin(intermediate_result.x) > 0:
            raise StopIteration

    found = scipy.optimize.minimize(
        lambda at: _loss(at, white, own),
        np.zeros(white.shape[1] * num_classes),
        jac=True,
        method="L-BFGS-B",
        callback=stop_if_separated,
        options={"maxiter": max_iterations, "maxfun": 4 * max_iterations, "maxcor": 30,
                 "ftol": 0.0, "gtol": tolerance / np.sqrt(white.shape[1] * num_classes)},
    )  # fmt: skip
    loss, gradient = _loss(found.x, white, own)
    size, least = float(np.linalg.norm(gradient)), margin(found.x)
    at = found.x.reshape(-1, num_classes)
    at = at - at.mean(axis=1, keepdims=True)
    weights = whitening @ at[:-1]
    ended = least > 0 or size <= tolerance
    return MaximumLikelihood(
        weights=weights.reshape(*shape, num_classes),
        bias=at[-1] - mean @ weights,
        loss=float(loss),
        gradient_norm=size,
        margin=least,
        separable=least > 0,
        status=Status.OK if ended else Status.NOT_CONVERGED,
    )


def _whitening(centred: np.ndarray) -> np.ndarray:
    """Columns [D, r] that make the rows of ``centred`` [N, D] white; r directions vary."""
    num, size = centred.shape
    if size <= num:  # the smaller of the two products
        values, directions = np.linalg.eigh(centred.T @ centred)
    else:
        values, rows = np.linalg.eigh(centred @ centred.T)
        directions = centred.T @ rows / np.sqrt(np.maximum(values, np.finfo(float).tiny))
    scale = np.sqrt(np.maximum(values, 0))
    kept = scale > _LEAST * max(scale.max(initial=0.0), np.finfo(float).tiny)
    return directions[:, kept] * np.sqrt(num) / scale[kept]


def _loss(at: np.ndarray, white: np.ndarray, own: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of weights [r K] on rows [N, r] of one-hot classes [N, K]; gradient."""
    logits = white @ at.reshape(-1, own.shape[1])
    log_sum = scipy.special.logsumexp(logits, axis=1, keepdims=True)
    loss = float(np.mean(log_sum[:, 0] - np.sum(logits * own, axis=1)))
    residual = (np.exp(logits - log_sum) - own) / len(white)
    return loss, (white.T @ residual).ravel()

r"""The certified end of the course of linear networks, where cross-entropy has one.

If no affine predictor separates the training images, the loss has one minimum beta* and every
linear architecture that can express it ends there. Its certificate is the norm of the gradient, or
the separating predictor where there is no minimum; both by `theory.maximum_likelihood`. How far a
network is from it is told in its logits, which what lies outside the data does not enter:

.. math:: d = \| X (\beta - \beta^*) \| / \| X \beta^* \|

over the centred training images X, with the mean over classes taken from the weights.
"""

import threading

import jax.numpy as jnp
import numpy as np

from freqbias import schema, spectral, theory
from freqbias.data import Dataset
from freqbias.theory import MaximumLikelihood
from freqbias.typing import Array, ArrayLike, Status

_FOUND: dict[str, MaximumLikelihood] = {}
_SOLVING = threading.Lock()


def limit_of(dataset: Dataset) -> MaximumLikelihood:
    """The end for all training images of a data set; kept by its checksum, and solved for once."""
    with _SOLVING:
        if dataset.checksum not in _FOUND:
            train = dataset.train
            _FOUND[dataset.checksum] = theory.maximum_likelihood(
                np.asarray(train.images), np.asarray(train.labels), dataset.num_classes
            )
    return _FOUND[dataset.checksum]


def columns(
    limit: MaximumLikelihood | None, dataset: Dataset, weights: ArrayLike
) -> dict[str, np.ndarray]:
    """The columns [S] `schema.LIMIT` of networks with predictors of these weights.

    NaN where nothing is known; all but the first where there is no minimum.

    Args:
      limit: of all training images; None if it was not asked for.
      dataset: the training images.
      weights: [S, H, W, C, K]; [S] if there is no limit.
    """
    num_seeds = np.shape(weights)[0]
    values = dict.fromkeys(schema.LIMIT, np.nan)
    distance = np.full(num_seeds, np.nan)
    if limit is not None and limit.status == Status.OK:
        values["limit_separable"] = float(limit.separable)
    if limit is not None and limit.status == Status.OK and not limit.separable:
        values["limit_gradient_norm"] = limit.gradient_norm
        classes = jnp.asarray(np.moveaxis(limit.weights, -1, 0), jnp.float32)
        values["limit_mean_frequency"] = float(spectral.mean_frequency(classes).mean())
        distance = _distance(np.asarray(weights), limit.weights, dataset.train.images)
    out = {name: np.full(num_seeds, value) for name, value in values.items()}
    return out | {"limit_distance": distance}


def _distance(weights: np.ndarray, end: np.ndarray, images: Array | np.ndarray) -> np.ndarray:
    """D of weights [S, H, W, C, K] from those of the end [H, W, C, K], [S]."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    flat = flat - flat.mean(axis=0)
    gram = flat.T @ flat
    weights = weights.reshape(len(weights), -1, weights.shape[-1]).astype(np.float64)
    weights = weights - weights.mean(axis=-1, keepdims=True)
    end = end.reshape(-1, end.shape[-1])
    squares = [np.einsum("...dk,de,...ek->...", x, gram, x, optimize=True)
               for x in (weights - end[None], end)]  # fmt: skip
    return np.sqrt(squares[0] / squares[1])

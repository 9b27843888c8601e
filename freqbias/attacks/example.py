"""A small problem to try attacks on; the examples in the docstrings of this package attack it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias.ensemble import Ensemble, stack
from freqbias.typing import ApplyFn, Array, Params, Status

_SHAPE, _NUM_CLASSES = (8, 8, 1), 4


class Example(NamedTuple):
    """A network and images to attack: the first four arguments of any attack.

    Attributes:
      apply_fn: (params, images) -> logits [N, 4], affine in the images.
      params: (weights [8, 8, 1, 4], bias [4]).
      images: [4, 8, 8, 1], uniform in [0, 1].
      labels: int32 [4], what the network predicts of them.
    """

    apply_fn: ApplyFn
    params: Params
    images: Array
    labels: Array

    @property
    def nets(self) -> Ensemble:
        """Two networks of the same kind, of seeds 0 and 1; the first is the example's."""
        status = jnp.full(2, Status.OK, jnp.int32)
        return Ensemble(stack([_params(0), _params(1)]), status, None, (0, 1), self.apply_fn)


def example() -> Example:
    """An affine network of four classes, and four grey images of 8 x 8 pixels.

    Returns:
      An `Example`, always the same.

    Example:
      >>> from freqbias import attacks
      >>> apply_fn, params, images, labels = attacks.example()
      >>> apply_fn(params, images).shape
      (4, 4)
    """
    images = jax.random.uniform(jax.random.key(2), (4, *_SHAPE))
    labels = jnp.argmax(_affine(_params(0), images), axis=-1).astype(jnp.int32)
    return Example(_affine, _params(0), images, labels)


def _params(seed: int) -> Params:
    weights = jax.random.normal(jax.random.key(seed), (*_SHAPE, _NUM_CLASSES)) / 4
    return weights, jnp.zeros(_NUM_CLASSES)


def _affine(params: Params, images: Array) -> Array:
    weights, bias = params
    return jnp.einsum("nhwc,hwck->nk", images, weights, precision="highest") + bias[None]

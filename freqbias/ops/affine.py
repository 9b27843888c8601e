r"""The effective predictor of a network that is affine in its input.

Any stack of linear layers computes ``f(x) = b + <beta, x>``. Then beta is the input gradient at
zero, one backward pass through the layers on K one-hot rows gives it, and predictions need no
forward pass through the layers at all.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import ApplyFn, Array, DType, Params


class AffinePredictor(NamedTuple):
    """``logits[n, k] = bias[k] + sum_{h, w, c} weights[h, w, c, k] images[n, h, w, c]``."""

    weights: Array  # [H, W, C, K], logit units per unit of intensity
    bias: Array  # [K]

    def __call__(self, images: Array) -> Array:
        """Logits [N, K] of images [N, H, W, C]."""
        pixels = images.reshape(images.shape[0], -1)
        weights = self.weights.reshape(-1, self.weights.shape[-1])
        return jnp.matmul(pixels, weights, precision="highest") + self.bias[None]


@checked
def affine_predictor(
    apply_fn: ApplyFn, params: Params, image_shape: tuple[int, ...], dtype: DType = jnp.float32
) -> AffinePredictor:
    r"""Effective predictor ``beta = grad_x f(0)``, ``b = f(0)`` of an affine network.

    For a network that is not affine this is its linearisation at the black image; see
    `freqbias.theory.check_affine`.

    Args:
      apply_fn: (params, images [N, H, W, C]) -> logits [N, K].
      params: of one network.
      image_shape: (H, W, C).
      dtype: of the images.

    Returns:
      AffinePredictor(weights [H, W, C, K], bias [K]). Differentiable in params.
    """
    image_shape = _checks.sizes("image_shape", image_shape, "HWC")
    bias = apply_fn(params, jnp.zeros((1, *image_shape), dtype))[0]
    # One row per class. The values of this forward pass are not used, so that it compiles to none.
    zeros = jnp.zeros((bias.shape[0], *image_shape), dtype)
    _, pullback = jax.vjp(lambda images: apply_fn(params, images), zeros)
    (rows,) = pullback(jnp.eye(bias.shape[0], dtype=bias.dtype))
    return AffinePredictor(jnp.moveaxis(rows, 0, -1), bias)


@checked
def is_affine(
    apply_fn: ApplyFn, params: Params, image_shape: tuple[int, ...], dtype: DType = jnp.float32
) -> bool:
    """Whether a network is affine in its images, by its operations alone: none is computed.

    A program that is linear in its input, up to constants, can be transposed by JAX, and no other
    can. True holds for all parameters. False says only that some operation is not known to be
    linear: an affine network that rectifies twice and takes the difference is not recognised.
    Conversion to integers and back passes for linear.

    Args:
      apply_fn: (params, images [N, H, W, C]) -> logits [N, K].
      params: of one network, arrays or `jax.ShapeDtypeStruct`.
      image_shape: (H, W, C).
      dtype: of the images.

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import ops
      >>> sums = lambda weights, images: images.sum(axis=(1, 2)) @ weights
      >>> ops.is_affine(sums, jnp.ones((3, 10)), (8, 8, 3))
      True
      >>> ops.is_affine(lambda *network: sums(*network) ** 2, jnp.ones((3, 10)), (8, 8, 3))
      False
    """
    image_shape = _checks.sizes("image_shape", image_shape, "HWC")
    images = jax.ShapeDtypeStruct((1, *image_shape), dtype)
    logits = jax.eval_shape(apply_fn, params, images)

    def transposed(params: Params, rows: Array) -> Any:
        return jax.linear_transpose(lambda images: apply_fn(params, images), images)(rows)

    try:
        jax.eval_shape(transposed, params, logits)
    except Exception:  # each operation has an error of its own
        return False
    return True

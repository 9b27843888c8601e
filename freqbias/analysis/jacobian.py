r"""The spectrum of a network's input Jacobian: what it is sensitive to, whatever the attack.

Of logits z with their mean over classes taken away (which no prediction depends on), the power is

.. math:: P[k] = \sum_j \lvert \mathcal F(\partial z_j / \partial x)[k] \rvert^2,

summed over classes j and channels, orthonormal. With more classes than probes it is estimated
without bias from random signs v, whose products have :math:`E\,v v^T = 1`: :math:`P[k] =
E\,\lvert \mathcal F(v^T \partial z / \partial x)[k] \rvert^2`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias import ensemble, spectral
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.typing import ApplyFn, Array, Keys, Params, Status


class JacobianPower(NamedTuple):
    """Of N images; with an ensemble, every leaf leads with [S]."""

    power: Array  # [N, H, W], per image up to a factor; 0 where the status is not OK
    predicted: Array  # int32 [N], of the clean image; -1 where a logit is not finite
    status: Array  # int32 [N], a `Status`: DEAD where the Jacobian is zero, DIVERGED if not finite


@frozen
class _Measure:
    """The measurement as a function of arrays, hashable by the network and the number."""

    apply_fn: ApplyFn = static()
    num_probes: int = static()

    def __call__(self, params: Params, keys: Keys, images: Array) -> JacobianPower:
        logits, pullback = jax.vjp(lambda x: _centred(self.apply_fn(params, x)), images)
        num_images, num_classes = logits.shape
        if num_classes <= self.num_probes:
            rows = jnp.eye(num_classes, dtype=logits.dtype)[:, None]
            probes = jnp.broadcast_to(rows, (num_classes, num_images, num_classes))
        else:
            shape = (self.num_probes, num_classes)
            draw = partial(jax.random.rademacher, shape=shape, dtype=logits.dtype)
            probes = jnp.swapaxes(jax.vmap(draw)(keys), 0, 1)
        gradients = jax.lax.map(lambda probe: pullback(probe)[0], probes)  # [P, N, H, W, C]
        largest = jnp.max(jnp.abs(gradients), axis=(0, 2, 3, 4))
        finite = jnp.isfinite(largest) & jnp.all(jnp.isfinite(logits), -1)
        alive = finite & (largest > 0)
        scale = jnp.where(alive, largest, 1)[None, :, None, None, None]
        shown = jnp.where(alive[None, :, None, None, None], gradients, 0) / scale
        status = jnp.where(alive, Status.OK, jnp.where(finite, Status.DEAD, Status.DIVERGED))
        predicted = jnp.where(jnp.all(jnp.isfinite(logits), -1), jnp.argmax(logits, -1), -1)
        return JacobianPower(
            jnp.sum(spectral.power_spectrum(shown), axis=0),
            predicted.astype(jnp.int32),
            status.astype(jnp.int32),
        )


@checked
def jacobian_power(
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    keys: Keys,
    *,
    num_probes: int,
    ensemble_of: int | None = None,
) -> JacobianPower:
    """Power of the input Jacobian of each image, over frequencies.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; of an ensemble, leaves [S, ...].
      images: [N, H, W, C].
      keys: [N], or [S, N], of the random signs; not used where K <= num_probes.
      num_probes: backward passes; from K on the result is exact.
      ensemble_of: S, or None for one network.

    Returns:
      A `JacobianPower`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> apply_fn, params, images, _ = attacks.example()
      >>> found = jacobian_power(
      ...     apply_fn, params, images, attacks.image_keys(jax.random.key(0), 4), num_probes=4
      ... )
      >>> found.power.shape
      (4, 8, 8)
    """
    measure = _Measure(apply_fn, num_probes)
    if ensemble_of is None:
        return _applied(measure, params, keys, images)
    return ensemble.map_seeds(measure, (params, keys), (images,))


@partial(jax.jit, static_argnums=0)
def _applied(measure: _Measure, params: Params, keys: Keys, images: Array) -> JacobianPower:
    return measure(params, keys, images)


def _centred(logits: Array) -> Array:
    return logits - jnp.mean(logits, axis=-1, keepdims=True)

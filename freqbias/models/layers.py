r"""What all networks here share: standardisation inside the model, initialisation, activation.

**Initial scale.** Every weight layer l of a network with L hidden layers (so L + 1 weight layers)
is drawn as

.. math:: W_l \sim N(0,\; \alpha^{2/(L+1)}\, g^2 / \text{fan\_in}_l)

with gain g = sqrt(2) before a ReLU or GELU and 1 otherwise, so the network's function at
initialisation is scaled by ``alpha = init_scale`` whatever its depth (Chizat et al. 2019,
"On lazy training", section 1: the output scale). Small alpha is the feature-learning regime.

**Activation.** ``"none"`` makes every family linear, hence affine in its input.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from freqbias import _checks
from freqbias.typing import Array, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": nn.relu,
    "gelu": nn.gelu,
}
_GAINS = {"none": 1.0, "relu": np.sqrt(2.0), "gelu": np.sqrt(2.0)}


def standardize(images: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """``(images - mean) / std`` per channel.

    Args:
      images: [N, H, W, C] in [0, 1].
      mean: C numbers, or one for all channels.
      std: likewise, positive.

    Returns:
      [N, H, W, C].

    Raises:
      TypeError: images are not float.
      ValueError: rank is not 4, wrong number of channels, or std not positive.
    """
    _checks.rank("images", images, 4)
    _checks.floating("images", images)
    _checks.positive("std", std)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise ValueError(
                f"{name} must have one entry or one per channel ({images.shape[-1]}); "
                f"got {len(values)}."
            )
    shape = (1, 1, 1, -1)
    low = jnp.asarray(mean, images.dtype).reshape(shape)
    return (images - low) / jnp.asarray(std, images.dtype).reshape(shape)


def hidden_init(
    *, activation: str, init_scale: float, depth: int, fan_in: int
) -> Callable[..., Array]:
    """Initializer of a hidden layer's weights, whatever their shape; formula in the module."""
    _checks.positive("init_scale", init_scale)
    std = float(init_scale ** (1 / (depth + 1)) * _GAINS[activation] / np.sqrt(fan_in))

    def init_fn(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        # Drawn flat: XLA on CPU compiles a random array of rank 1 four times faster than of rank 4.
        return std * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init_fn


def mirrored(init: Callable[..., Array]) -> Callable[..., Array]:
    """Initializer of pairs of opposite sign along the last axis: [..., w, -w] of half the width."""

    def init_fn(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        half = init(key, (*shape[:-1], shape[-1] // 2), dtype)
        return jnp.concatenate([half, -half], axis=-1)

    return init_fn


class Readout(nn.Module):
    """The last layer: one weight per class, pixel and channel. It does not count as depth."""

    num_classes: int
    init_scale: float
    depth: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Maps features [N, ...] to logits [N, K]."""
        flat = features.reshape(features.shape[0], -1)
        init = hidden_init(
            activation="none", init_scale=self.init_scale, depth=self.depth, fan_in=flat.shape[-1]
        )
        dense = nn.Dense(
            self.num_classes,
            use_bias=self.use_bias,
            kernel_init=init,
            dtype=flat.dtype,
            param_dtype=flat.dtype,
            name="readout",
        )
        return dense(flat)


def keep(module: nn.Module, name: str, value: Array) -> Array:
    """Records ``value`` as an intermediate, read with ``mutable=["intermediates"]``."""
    module.sow("intermediates", name, value)
    return value


def check_common(module: Any) -> None:
    """Raises unless the fields that all networks share make sense."""
    _checks.one_of("activation", module.activation, ACTIVATIONS)
    _checks.positive("init_scale", module.init_scale)
    _checks.positive_int("num_classes", module.num_classes)
    if isinstance(module.depth, bool) or not isinstance(module.depth, int) or module.depth < 0:
        raise ValueError(f"depth must be an int >= 0; got {module.depth!r}.")


def check_taps(module: Any, images: Array) -> None:
    """Raises unless kernels of ``kernel_size`` fit circularly on the images."""
    _checks.positive_int("kernel_size", module.kernel_size)
    _checks.positive_int("channels", module.channels)
    side = min(images.shape[1:3])
    if module.kernel_size > side:
        raise ValueError(
            f"kernel_size must be at most the image side, {side}; got {module.kernel_size}."
        )


def num_parameters(params: Any) -> int:
    """Number of trained numbers in ``params`` of one network."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))

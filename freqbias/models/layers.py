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
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from freqbias import _checked, _checks, ops
from freqbias._checked import checked
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
    """The last layer: one weight per class, pixel and channel. It does not count as depth.

    Attributes:
      num_classes: K.
      init_scale: of the network.
      depth: of the network.
      use_bias: whether there is one.
      images_last: whether features are [..., N] instead of [N, ...].
    """

    num_classes: int
    init_scale: float
    depth: int
    use_bias: bool = True
    images_last: bool = False

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Maps features [N, ...], or [..., N], to logits [N, K]."""
        num = features.shape[-1 if self.images_last else 0]
        fan_in = features.size // num
        init = hidden_init(
            activation="none", init_scale=self.init_scale, depth=self.depth, fan_in=fan_in
        )
        layer: Any = _DenseImagesLast if self.images_last else nn.Dense
        dense = layer(
            self.num_classes,
            use_bias=self.use_bias,
            kernel_init=init,
            dtype=features.dtype,
            param_dtype=features.dtype,
            name="readout",
        )
        return dense(features.reshape((fan_in, num) if self.images_last else (num, fan_in)))


class _DenseImagesLast(nn.Dense):
    """`nn.Dense` from features [D, N] to logits [N, K]."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[0], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        # XLA on CPU would turn the product around, and take three times as long.
        logits = jax.lax.optimization_barrier(jnp.matmul(kernel.T, inputs)).T
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
            logits = logits + bias[None]
        return logits


class Conv(nn.Module):
    """A convolution on this library's routes, with the parameters of Flax's.

    Flax's own is XLA's convolution, which on CPU is many times slower (`freqbias.ops.convolution`).

    Attributes:
      channels: of the output; of a depthwise convolution those of the input.
      kernel_size: taps along each axis; may exceed the image.
      stride: see `freqbias.ops.conv`; 1 where depthwise.
      padding: "SAME" (zeros) or "circular".
      use_bias: whether there is one, initially zero.
      depthwise: a kernel [K, K, 1, channels], one for each channel, instead of [K, K, I, channels].
      kernel_init: initializer.
    """

    channels: int
    kernel_size: int
    stride: int = 1
    padding: str = "SAME"
    use_bias: bool = True
    depthwise: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, H, W, I] to [N, H / stride, W / stride, channels]."""
        _checks.one_of("padding", self.padding, ("SAME", "circular"))
        if self.depthwise and self.stride != 1:
            raise ValueError(f"stride must be 1 if depthwise; got {self.stride}.")
        taps, padding = self.kernel_size, self.padding
        shape = (taps, taps, 1 if self.depthwise else x.shape[-1], self.channels)
        kernel = self.param("kernel", self.kernel_init, shape, x.dtype)
        if padding == "circular" and taps > min(x.shape[1:3]):  # wraps more than once
            margins = [(0, 0), ((taps - 1) // 2, taps // 2), ((taps - 1) // 2, taps // 2), (0, 0)]
            x, padding = jnp.pad(x, margins, mode="wrap"), "VALID"
        if self.depthwise:
            x = ops.depthwise_conv(x, kernel[:, :, 0], padding=padding)  # type: ignore[arg-type]
        else:
            x = ops.conv(x, kernel, stride=self.stride, padding=padding)  # type: ignore[arg-type]
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.channels,), x.dtype)
            x = x + bias.reshape(1, 1, 1, -1)
        return x


class Affine(nn.Module):
    """A factor and an offset of each channel, ``scale x + bias``.

    What batch normalisation is once trained, its statistics folded in.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [..., C] to [..., C]."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), x.dtype)
        shape = (1,) * (x.ndim - 1) + (-1,)
        return x * scale.reshape(shape) + bias.reshape(shape)


def normalization(kind: str, num_groups: int, name: str) -> nn.Module:
    """What stands where published networks have batch normalisation.

    Args:
      kind: "group", over each image's pixels and a group's channels; or "affine".
      num_groups: of the former.
      name: of the layer.

    Raises:
      ValueError: another kind.
    """
    _checks.one_of("normalization", kind, ("group", "affine"))
    return nn.GroupNorm(num_groups=num_groups, name=name) if kind == "group" else Affine(name=name)


def keep(module: nn.Module, name: str, value: Array, *, images_last: bool = False) -> Array:
    """Records ``value`` as an intermediate, images first; read by ``mutable=["intermediates"]``."""
    module.sow("intermediates", name, jnp.moveaxis(value, -1, 0) if images_last else value)
    return value


def check_fields(module: Any, *counts: str) -> None:
    """Raises unless all fields are of their types, and ``num_classes`` and ``counts`` >= 1."""
    _checked.check_fields(module)
    _checks.positive_ints(module, "num_classes", *counts)


def check_common(module: Any) -> None:
    """Raises unless the fields that plain networks share make sense."""
    check_fields(module)
    _checks.one_of("activation", module.activation, ACTIVATIONS)
    _checks.positive("init_scale", module.init_scale)
    if module.depth < 0:
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


@checked
def num_parameters(params: Any) -> int:
    """Numbers that training changes in the variables of one network: those under "params".

    Args:
      params: what ``model.init`` returns; of any other pytree all leaves count.

    Example:
      >>> import jax
      >>> from freqbias import models
      >>> model = models.ConvNet(num_classes=10, kernel_size=3, channels=8)
      >>> images = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
      >>> models.num_parameters(jax.eval_shape(model.init, jax.random.key(0), images))
      62810
    """
    if isinstance(params, Mapping):
        params = params.get("params", params)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

"""Convolutional networks of one resolution, with kernels up to the width of the image."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from freqbias import _checks, ops
from freqbias.models import layers
from freqbias.typing import Array

POOLINGS = (None, "average", "max", "global_average")
NORMALIZATIONS = (None, "layer", "group")


class ConvNet(nn.Module):
    """``depth`` convolutions, then a readout of every pixel and channel.

    With circular padding, no pooling and activation "none" every layer is circulant and the
    network's predictor is a product per frequency (Gunasekar et al. 2018, section 2).

    Attributes:
      num_classes: K.
      depth: convolution layers (the readout does not count).
      kernel_size: taps along each axis, 1 up to the image side ("full width").
      channels: output channels of every convolution.
      activation: "none" (linear), "relu" or "gelu".
      padding: "circular", "SAME" (zeros) or "VALID".
      pooling: None; "average" or "max" (2 x 2, stride 2, after every layer); "global_average"
        (before the readout).
      normalization: None, "layer" (over pixels and channels) or "group" (each channel over its
        pixels), before the activation. Neither keeps running statistics.
      init_scale: output scale at initialisation, see `freqbias.models.layers`.
      use_bias: whether layers have biases (initially zero).
      mirrored: draw the channels of each layer in pairs of opposite sign, so that at every pixel
        one of each pair is active: no ReLU layer is dead at initialisation (Balduzzi et al. 2017,
        "The shattered gradients problem", section 4: looks-linear initialisation).
      method: route of the convolution, see `freqbias.ops.conv`.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.
    """

    num_classes: int
    depth: int = 1
    kernel_size: int = 3
    channels: int = 8
    activation: str = "relu"
    padding: str = "circular"
    pooling: str | None = None
    normalization: str | None = None
    init_scale: float = 1.0
    use_bias: bool = True
    mirrored: bool = False
    method: str = "auto"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    initial_only: ClassVar[Mapping[str, Any]] = {"init_scale": 1.0, "mirrored": False}

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        self._check()
        x = layers.standardize(images, self.mean, self.std)
        x = jnp.moveaxis(x, 0, -1)  # images last, see `freqbias.ops.convolution`
        for index in range(self.depth):
            shape = (self.kernel_size, self.kernel_size, x.shape[2], self.channels)
            init = layers.hidden_init(
                activation=self.activation,
                init_scale=self.init_scale,
                depth=self.depth,
                fan_in=self.kernel_size**2 * x.shape[2],
            )
            if self.mirrored:
                init = layers.mirrored(init)
            kernel = self.param(f"kernel_{index}", init, shape, x.dtype)
            options: dict[str, Any] = {"padding": self.padding, "method": self.method}
            x = ops.conv(x, kernel, images_last=True, **options)
            if self.use_bias:
                bias = self.param(f"bias_{index}", nn.initializers.zeros, shape[-1:], x.dtype)
                x = x + bias.reshape(1, 1, -1, 1)
            x = layers.ACTIVATIONS[self.activation](self._normalize(x, index))
            x = layers.keep(self, f"hidden_{index}", self._pool(x), images_last=True)
        if self.pooling == "global_average":
            x = jnp.mean(x, axis=(0, 1))
        return layers.Readout(
            self.num_classes,
            self.init_scale,
            self.depth,
            self.use_bias,
            images_last=True,
            name="head",
        )(x)

    def _normalize(self, x: Array, index: int) -> Array:
        if self.normalization is None:
            return x
        groups = 1 if self.normalization == "layer" else self.channels
        norm = nn.GroupNorm(num_groups=groups, dtype=x.dtype, name=f"norm_{index}")
        return jnp.moveaxis(norm(jnp.moveaxis(x, -1, 0)), 0, -1)

    def _pool(self, x: Array) -> Array:
        pools = {"average": nn.avg_pool, "max": nn.max_pool}
        if self.pooling not in pools:
            return x
        pooled = pools[self.pooling](jnp.moveaxis(x, -1, 0), (2, 2), (2, 2))
        return jnp.moveaxis(pooled, 0, -1)

    def _check(self) -> None:
        layers.check_common(self)
        _checks.positive_int("kernel_size", self.kernel_size)
        _checks.positive_int("channels", self.channels)
        _checks.one_of("pooling", self.pooling, POOLINGS)
        _checks.one_of("normalization", self.normalization, NORMALIZATIONS)
        if self.mirrored and self.channels % 2:
            raise ValueError(f"channels must be even if mirrored; got {self.channels}.")

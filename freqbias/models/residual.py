"""Deep convolutional networks of shrinking resolution: ResNet and VGG, in the form for CIFAR.

The size of their 3 x 3 kernels is a setting. Instead of batch normalisation they have group
normalisation, with as many parameters and no running statistics: an image's logits do not depend on
its batch, in training or after. With ``normalization="affine"`` they take published weights, whose
batch normalisation is then a factor and an offset of each channel.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from freqbias import _checks
from freqbias.models import layers
from freqbias.typing import Array

VGG_11 = (1, 1, 2, 2, 2)  # convolutions of each stage


class ResNet(nn.Module):
    """Residual network; by default ResNet-18 for images of 32 x 32.

    ResNet-50 of ImageNet is ``blocks=(3, 4, 6, 3), bottleneck=True, stem="large"``.

    Attributes:
      num_classes: K.
      blocks: of each stage; every stage but the first halves the resolution.
      width: channels of the first stage, doubled by each further one.
      bottleneck: whether a block is 1 x 1, 3 x 3, 1 x 1 with four times as many channels at its
        end, rather than two of 3 x 3.
      stem: "small", one convolution; or "large", 7 x 7 and pooling, each of which halves the
        resolution.
      kernel_size: taps along each axis of all convolutions but the 1 x 1 shortcuts.
      padding: "SAME" (zeros, as published) or "circular".
      groups: of the normalisation; divides ``width``.
      normalization: "group", or "affine": see `layers.Affine`.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      He et al. 2016 (1512.03385), sections 4.1 and 4.2; Wu & He 2018 (1803.08494) for the
      normalisation.
    """

    num_classes: int
    blocks: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    bottleneck: bool = False
    stem: str = "small"
    kernel_size: int = 3
    padding: str = "SAME"
    groups: int = 8
    normalization: str = "group"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        _check(self)
        x = layers.standardize(images, self.mean, self.std)
        _checks.one_of("stem", self.stem, ("small", "large"))
        if self.stem == "large":
            stem = _conv(self, self.width, 2, "stem", bias=False, taps=7)
            x = nn.relu(_norm(self, "norm")(stem(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        else:
            x = nn.relu(_norm(self, "norm")(_conv(self, self.width, 1, "stem", bias=False)(x)))
        index = 0
        for stage, blocks in enumerate(self.blocks):
            width = self.width * 2**stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = layers.keep(self, f"hidden_{index}", self._block(x, width, stride, index))
                index += 1
        return nn.Dense(self.num_classes, name="head")(x.mean(axis=(1, 2)))

    def _block(self, x: Array, width: int, stride: int, index: int) -> Array:
        layout: list[tuple[int, int, int | None]]  # channels, stride, taps
        layout = [(width, stride, None), (width, 1, None)]
        if self.bottleneck:
            layout = [(width, 1, 1), (width, stride, None), (4 * width, 1, 1)]
        y = x
        for part, (channels, step, taps) in enumerate(layout):
            y = _conv(self, channels, step, f"conv_{index}_{part}", bias=False, taps=taps)(y)
            y = _norm(self, f"norm_{index}_{part}")(y)
            y = nn.relu(y) if part < len(layout) - 1 else y
        if x.shape != y.shape:
            shortcut = layers.Conv(y.shape[-1], 1, stride, use_bias=False, name=f"shortcut_{index}")
            x = _norm(self, f"norm_shortcut_{index}")(shortcut(x))
        return nn.relu(x + y)


class VGG(nn.Module):
    """Stages of convolutions and 2 x 2 max pooling; by default VGG-11 for images of 32 x 32.

    Attributes:
      num_classes: K.
      convolutions: of each stage.
      width: channels of the first stage, doubled by each further one up to 8 times.
      kernel_size: taps along each axis.
      padding: "SAME" (zeros, as published) or "circular".
      groups: of the normalisation; divides ``width``.
      normalization: "group", or "affine": see `layers.Affine`.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Simonyan & Zisserman 2015 (1409.1556), table 1, with one dense layer at the end.
    """

    num_classes: int
    convolutions: Sequence[int] = VGG_11
    width: int = 64
    kernel_size: int = 3
    padding: str = "SAME"
    groups: int = 8
    normalization: str = "group"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        _check(self)
        x = layers.standardize(images, self.mean, self.std)
        index = 0
        for stage, number in enumerate(self.convolutions):
            for _ in range(number):
                x = _conv(self, self.width * min(2**stage, 8), 1, f"conv_{index}", bias=True)(x)
                x = nn.relu(_norm(self, f"norm_{index}")(x))
                x = layers.keep(self, f"hidden_{index}", x)
                index += 1
            x = nn.max_pool(x, (2, 2), (2, 2), padding="SAME")
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))


def _conv(
    module: ResNet | VGG,
    channels: int,
    stride: int,
    name: str,
    *,
    bias: bool,
    taps: int | None = None,
) -> layers.Conv:
    return layers.Conv(
        channels,
        taps or module.kernel_size,
        stride,
        padding=module.padding,
        use_bias=bias,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )


def _norm(module: ResNet | VGG, name: str) -> nn.Module:
    return layers.normalization(module.normalization, module.groups, name)


def _check(module: ResNet | VGG) -> None:
    layers.check_fields(module, "width", "kernel_size", "groups")
    _checks.one_of("padding", module.padding, ("SAME", "circular"))
    if module.width % module.groups:
        raise ValueError(f"groups must divide width ({module.width}); got {module.groups}.")

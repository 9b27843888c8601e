"""EfficientNet-Lite: inverted bottlenecks without squeeze-and-excitation, clipped ReLU."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax import linen as nn

from freqbias import _checks
from freqbias.models import layers
from freqbias.typing import Array


class Stage(NamedTuple):
    """Blocks of one width."""

    expand: int  # channels within a block over those that enter it
    channels: int
    blocks: int
    stride: int  # of the first block
    kernel_size: int


LITE0 = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite; by default Lite0, for images of 224 x 224.

    Attributes:
      num_classes: K.
      stages: of blocks.
      stem: channels of the first convolution, which halves the resolution.
      head: channels of the last one.
      padding: "tensorflow", as published: of an even number of rows, a stride of 2 keeps the second
        of each two; or "SAME", where it keeps the first.
      groups: of the normalisation; divides all channels.
      normalization: "group", or "affine": see `layers.Affine`.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Tan & Le 2019 (1905.11946), table 1; Liu 2020, "Higher accuracy on vision models with
      EfficientNet-Lite" (TensorFlow blog).
    """

    num_classes: int
    stages: Sequence[Sequence[int]] = LITE0
    stem: int = 32
    head: int = 1280
    padding: str = "tensorflow"
    groups: int = 8
    normalization: str = "group"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "stem", "head", "groups")
        _checks.one_of("padding", self.padding, ("tensorflow", "SAME"))
        x = layers.standardize(images, self.mean, self.std)
        x = self._thinned(self._conv(x, self.stem, 3, "stem"), 2)
        x = jax.nn.relu6(self._norm(x, "norm_stem"))
        index = 0
        for stage in map(Stage._make, self.stages):
            for block in range(stage.blocks):
                x = self._block(x, stage, stage.stride if block == 0 else 1, index)
                x = layers.keep(self, f"hidden_{index}", x)
                index += 1
        x = jax.nn.relu6(self._norm(self._conv(x, self.head, 1, "conv_head"), "norm_head"))
        return nn.Dense(self.num_classes, name="head")(x.mean(axis=(1, 2)))

    def _block(self, x: Array, stage: Stage, stride: int, index: int) -> Array:
        y, wide = x, stage.expand * x.shape[-1]
        if stage.expand > 1:
            y = self._conv(y, wide, 1, f"expand_{index}")
            y = jax.nn.relu6(self._norm(y, f"norm_expand_{index}"))
        y = self._conv(y, wide, stage.kernel_size, f"depthwise_{index}", depthwise=True)
        y = jax.nn.relu6(self._norm(self._thinned(y, stride), f"norm_depthwise_{index}"))
        y = self._conv(y, stage.channels, 1, f"project_{index}")
        y = self._norm(y, f"norm_project_{index}")
        return x + y if x.shape == y.shape else y

    def _conv(
        self, x: Array, channels: int, taps: int, name: str, *, depthwise: bool = False
    ) -> Array:
        init = nn.initializers.he_normal()
        conv = layers.Conv(
            channels, taps, use_bias=False, depthwise=depthwise, kernel_init=init, name=name
        )
        return conv(x)

    def _norm(self, x: Array, name: str) -> Array:
        return layers.normalization(self.normalization, self.groups, name)(x)

    def _thinned(self, x: Array, stride: int) -> Array:
        """The rows and columns that a stride keeps, of outputs of stride 1."""
        if stride == 1:
            return x
        first = [int(self.padding == "tensorflow" and side % 2 == 0) for side in x.shape[1:3]]
        return x[:, first[0] :: stride, first[1] :: stride]

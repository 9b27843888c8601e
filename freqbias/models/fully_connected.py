"""Fully connected networks."""

from collections.abc import Mapping
from typing import Any, ClassVar

from flax import linen as nn

from freqbias.models import layers
from freqbias.typing import Array


class FullyConnected(nn.Module):
    """``depth`` hidden layers of ``width`` units, then the readout.

    Attributes:
      num_classes: K.
      depth: hidden layers; 0 is multinomial logistic regression.
      width: units per hidden layer.
      activation: "none" (linear), "relu" or "gelu".
      init_scale: output scale at initialisation, see `freqbias.models.layers`.
      use_bias: whether layers have biases (initially zero).
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.
    """

    num_classes: int
    depth: int = 1
    width: int = 512
    activation: str = "relu"
    init_scale: float = 1.0
    use_bias: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    initial_only: ClassVar[Mapping[str, Any]] = {"init_scale": 1.0}

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_common(self)
        layers.check_fields(self, "width")
        x = layers.standardize(images, self.mean, self.std).reshape(images.shape[0], -1)
        for index in range(self.depth):
            init = layers.hidden_init(
                activation=self.activation,
                init_scale=self.init_scale,
                depth=self.depth,
                fan_in=x.shape[-1],
            )
            dense = nn.Dense(
                self.width,
                use_bias=self.use_bias,
                kernel_init=init,
                dtype=x.dtype,
                param_dtype=x.dtype,
                name=f"dense_{index}",
            )
            x = layers.keep(self, f"hidden_{index}", layers.ACTIVATIONS[self.activation](dense(x)))
        return layers.Readout(
            self.num_classes, self.init_scale, self.depth, self.use_bias, name="head"
        )(x)

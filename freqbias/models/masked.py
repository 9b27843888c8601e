r"""Circulant networks whose taps are data, so that all kernel sizes share one compilation.

The kernels of a `ConvNet` or a shared `ScatteredConvNet` are laid on the image's torus, zero where
there is no tap, and a mask says where the taps are:

.. math:: y[n, h, w, o] = \sum_{dy, dx, i} M[dy, dx]\, K[dy, dx, i, o]\; x[n, h + dy, w + dx, i].

Shapes do not depend on the kernel size, and the route over frequencies costs the same for all.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from freqbias import ops
from freqbias._checked import checked
from freqbias.models import layers
from freqbias.models.convnet import ConvNet
from freqbias.models.unshared import ScatteredConvNet
from freqbias.typing import Array, Key, Params

_DETACHED = {"parent": None, "name": None}  # Flax's own fields


class MaskedConvNet(nn.Module):
    """The same functions, draws and training as `ConvNet` or `ScatteredConvNet` (circular padding).

    Its variables hold the kernels on the torus under "params" and the masks under "taps", which are
    not trained; outside the masks kernels are zero, and so are their gradients. `tap_params` gives
    the parameters of the network it stands for.

    Attributes:
      num_classes: K.
      depth: convolution layers (the readout does not count).
      kernel_size: taps along each axis, 1 up to the image side; read by ``init`` alone.
      scatter_seed: None: a centred square of taps, as in `ConvNet`; an int: as many taps at the
        offsets that `ScatteredConvNet` draws from it; read by ``init`` alone.
      channels: output channels of every convolution.
      activation: "none" (linear), "relu" or "gelu".
      init_scale: output scale at initialisation, see `freqbias.models.layers`.
      use_bias: whether layers have biases (initially zero).
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.
    """

    num_classes: int
    depth: int = 1
    kernel_size: int = 3
    scatter_seed: int | None = None
    channels: int = 8
    activation: str = "relu"
    init_scale: float = 1.0
    use_bias: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    initial_only: ClassVar[Mapping[str, Any]] = {
        "kernel_size": 1,
        "scatter_seed": None,
        "init_scale": 1.0,
    }

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_common(self)
        layers.check_taps(self, images)
        x = jnp.moveaxis(layers.standardize(images, self.mean, self.std), 0, -1)  # images last
        for index in range(self.depth):
            grid = self.param(f"kernel_{index}", self._draw(index), x.shape, x.dtype)
            taps = self.variable("taps", f"kernel_{index}", self._mask, index, x.shape, x.dtype)
            x = ops.torus_conv(x, grid * taps.value[:, :, None, None], images_last=True)
            if self.use_bias:
                shape = (self.channels,)
                bias = self.param(f"bias_{index}", nn.initializers.zeros, shape, x.dtype)
                x = x + bias.reshape(1, 1, -1, 1)
            x = layers.ACTIVATIONS[self.activation](x)
            x = layers.keep(self, f"hidden_{index}", x, images_last=True)
        return layers.Readout(
            self.num_classes,
            self.init_scale,
            self.depth,
            self.use_bias,
            images_last=True,
            name="head",
        )(x)

    def offsets(self, index: int, shape: Sequence[int]) -> np.ndarray:
        """Offsets (dy, dx) [T, 2] of the taps of a layer on images of shape (H, W)."""
        if self.scatter_seed is None:
            return ops.square_offsets(self.kernel_size, self.kernel_size)
        return ops.scattered_offsets(self.kernel_size**2, shape, self.scatter_seed + index)

    def _draw(self, index: int) -> Any:
        def init_fn(key: Key, input_shape: tuple[int, ...], dtype: Any) -> Array:
            *shape, inputs, _ = input_shape
            num_taps = self.kernel_size**2
            init = layers.hidden_init(
                activation=self.activation,
                init_scale=self.init_scale,
                depth=self.depth,
                fan_in=num_taps * inputs,
            )
            weights = init(key, (num_taps, inputs, self.channels), dtype)
            return ops.on_torus(weights, self.offsets(index, tuple(shape)), tuple(shape))

        return init_fn

    def _mask(self, index: int, input_shape: tuple[int, ...], dtype: Any) -> Array:
        shape = input_shape[:2]
        offsets = self.offsets(index, shape)
        return ops.on_torus(jnp.ones((len(offsets), 1, 1), dtype), offsets, shape)[:, :, 0, 0]


@checked
def as_masked(model: nn.Module) -> MaskedConvNet:
    """The `MaskedConvNet` that starts and trains as ``model`` does.

    Args:
      model: a `ConvNet` with circular padding, without pooling, normalisation and mirrored
        initialisation, or a `ScatteredConvNet` with shared weights.

    Returns:
      The network; `tap_params` leads back.

    Raises:
      ValueError: another model.

    Example:
      >>> from freqbias import models, training
      >>> nets = [
      ...     models.as_masked(models.ConvNet(num_classes=10, kernel_size=size)) for size in (3, 7)
      ... ]
      >>> training.shared_apply_fn(nets[0]) is training.shared_apply_fn(nets[1])  # one program
      True
    """
    plain = isinstance(model, ConvNet) and (
        (model.padding, model.pooling, model.normalization, model.mirrored)
        == ("circular", None, None, False)
    )
    scattered = isinstance(model, ScatteredConvNet) and model.shared
    if not (plain or scattered):
        raise ValueError(
            "model must be a plain circular ConvNet or a shared ScatteredConvNet; "
            f"got {type(model).__name__}."
        )
    names = (field.name for field in dataclasses.fields(MaskedConvNet))
    return MaskedConvNet(
        **{name: getattr(model, name) for name in names if hasattr(model, name)} | _DETACHED
    )


@checked
def tap_params(model: MaskedConvNet, params: Params) -> Params:
    """Parameters of the `ConvNet`, or shared `ScatteredConvNet`, that a `MaskedConvNet` stands for.

    Args:
      model: with its own ``kernel_size`` and ``scatter_seed``.
      params: its variables, leaves [..., as of one network].

    Returns:
      Variables with kernels [..., K, K, I, O], scattered ones [..., T, I, O].
    """
    compact = dict(params["params"])
    for index in range(model.depth):
        grid = compact[f"kernel_{index}"]
        offsets = model.offsets(index, grid.shape[-4:-2])
        weights = grid[..., offsets[:, 0], offsets[:, 1], :, :]
        if model.scatter_seed is None:
            side = (model.kernel_size, model.kernel_size)
            weights = weights.reshape(*grid.shape[:-4], *side, *grid.shape[-2:])
        compact[f"kernel_{index}"] = weights
    return {"params": compact}

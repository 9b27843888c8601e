"""Networks that take away one property of convolution at a time: sharing, locality, or both.

==================  ===========================  =============================
                    local (K x K square)         scattered (K * K taps anywhere)
==================  ===========================  =============================
shared weights      `ConvNet`                    `ScatteredConvNet(shared=True)`
own weights         `LocallyConnectedNet`        `ScatteredConvNet(shared=False)`
==================  ===========================  =============================

All four have the same number of taps per output, the same activations and the same readout.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from freqbias import _checks, ops
from freqbias.models import layers
from freqbias.typing import Array, Key


class LocallyConnectedNet(nn.Module):
    """A `ConvNet` (circular) with weights of its own at every pixel: local, no symmetry.

    Attributes:
      num_classes: K.
      depth: hidden layers.
      kernel_size: taps along each axis, at most the image side.
      channels: output channels of every layer.
      activation: "none", "relu" or "gelu".
      tied_init: start from one kernel at every pixel, i.e. exactly from a convolution; the weights
        are free from the first step on. Otherwise every pixel draws its own.
      init_scale: output scale at initialisation, see `freqbias.models.layers`.
      use_bias: whether layers have biases (initially zero; one per channel and pixel).
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.
    """

    num_classes: int
    depth: int = 1
    kernel_size: int = 3
    channels: int = 8
    activation: str = "relu"
    tied_init: bool = False
    init_scale: float = 1.0
    use_bias: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    initial_only: ClassVar[Mapping[str, Any]] = {"tied_init": False, "init_scale": 1.0}

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "kernel_size")
        offsets = ops.square_offsets(self.kernel_size, self.kernel_size)

        def layer_fn(index: int, x: Array) -> Array:
            weights = _own_weights(self, index, x, tied=self.tied_init)
            return ops.locally_connected(x, weights, offsets, images_last=True)

        return _network(self, images, layer_fn, bias_shape=images.shape[1:3])


class ScatteredConvNet(nn.Module):
    """A network whose ``kernel_size ** 2`` taps lie anywhere in the image: not local.

    Attributes:
      num_classes: K.
      depth: hidden layers.
      kernel_size: the number of taps is its square, as in a `ConvNet` of that size.
      channels: output channels of every layer.
      activation: "none", "relu" or "gelu".
      shared: True: one fixed set of offsets and one set of weights for all pixels, so the layer is
        circulant but not local. False: every pixel has weights and input positions of its own (one
        fixed permutation of the pixels per tap), so there is neither symmetry nor locality.
      scatter_seed: draws the offsets or positions, layer by layer; they are never trained and are
        the same for every seed of an ensemble.
      init_scale: output scale at initialisation, see `freqbias.models.layers`.
      use_bias: whether layers have biases (initially zero).
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.
    """

    num_classes: int
    depth: int = 1
    kernel_size: int = 3
    channels: int = 8
    activation: str = "relu"
    shared: bool = True
    scatter_seed: int = 0
    init_scale: float = 1.0
    use_bias: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    initial_only: ClassVar[Mapping[str, Any]] = {"init_scale": 1.0}

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "kernel_size")
        _checks.seeds([self.scatter_seed], "scatter_seed")
        shape, taps = images.shape[1:3], self.kernel_size**2

        def shared_fn(index: int, x: Array) -> Array:
            offsets = ops.scattered_offsets(taps, shape, self.scatter_seed + index)
            init = _init(self, x)
            weights = self.param(
                f"kernel_{index}", init, (taps, x.shape[2], self.channels), x.dtype
            )
            return ops.scattered_conv(x, weights, offsets, images_last=True)

        def own_fn(index: int, x: Array) -> Array:
            positions = ops.scattered_positions(taps, shape, self.scatter_seed + index)
            weights = _own_weights(self, index, x, tied=False)
            return ops.permuted_connected(x, weights, positions, images_last=True)

        if self.shared:
            return _network(self, images, shared_fn, bias_shape=(1, 1))
        return _network(self, images, own_fn, bias_shape=shape)


def _network(
    module: LocallyConnectedNet | ScatteredConvNet,
    images: Array,
    layer_fn: Callable[[int, Array], Array],
    bias_shape: Sequence[int],
) -> Array:
    """Standardise, ``depth`` times (layer, bias, activation), readout."""
    layers.check_common(module)
    layers.check_taps(module, images)
    x = jnp.moveaxis(layers.standardize(images, module.mean, module.std), 0, -1)  # images last
    for index in range(module.depth):
        x = layer_fn(index, x)
        if module.use_bias:
            shape = (*bias_shape, module.channels)
            bias = module.param(f"bias_{index}", nn.initializers.zeros, shape, x.dtype)
            x = x + bias[..., None]
        x = layers.ACTIVATIONS[module.activation](x)
        x = layers.keep(module, f"hidden_{index}", x, images_last=True)
    return layers.Readout(
        module.num_classes,
        module.init_scale,
        module.depth,
        module.use_bias,
        images_last=True,
        name="head",
    )(x)


def _init(module: LocallyConnectedNet | ScatteredConvNet, x: Array) -> Callable[..., Array]:
    return layers.hidden_init(
        activation=module.activation,
        init_scale=module.init_scale,
        depth=module.depth,
        fan_in=module.kernel_size**2 * x.shape[2],
    )


def _own_weights(
    module: LocallyConnectedNet | ScatteredConvNet, index: int, x: Array, *, tied: bool
) -> Array:
    """Weights [H, W, T, I, O] of one layer; if ``tied``, initially equal at every pixel."""
    init = _init(module, x)
    shape = (*x.shape[:2], module.kernel_size**2, x.shape[2], module.channels)

    def tied_fn(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return jnp.broadcast_to(init(key, (1, 1, *shape[2:]), dtype), shape)

    return module.param(f"kernel_{index}", tied_fn if tied else init, shape, x.dtype)

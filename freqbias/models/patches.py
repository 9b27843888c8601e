"""Networks on patches: vision transformer, MLP-Mixer, ConvMixer.

All cut the image into patches of ``patch_size``, embed each linearly, mix, and read out classes.
They keep no running statistics, so an image's logits do not depend on its batch: where the
published ConvMixer has batch normalisation, this one normalises each image (over pixels and
channels), with as many parameters, or with ``normalization="affine"`` takes published weights.
Initialisation is that of Flax: LeCun normal, zero for biases.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from freqbias import _checks
from freqbias.models import layers
from freqbias.typing import Array


class ViT(nn.Module):
    """Vision transformer: class token, learned positions, pre-norm blocks, GELU.

    The defaults fit small images; ViT-S/16 is ``patch_size=16, depth=12, width=384, heads=6``.

    Attributes:
      num_classes: K.
      patch_size: pixels along each side of a patch; divides the image.
      depth: blocks.
      width: of the embedding, a multiple of ``heads``.
      heads: of the attention.
      mlp_ratio: width of the MLP's hidden layer over ``width``.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Dosovitskiy et al. 2021 (2010.11929), section 3.1.
    """

    num_classes: int
    patch_size: int = 4
    depth: int = 4
    width: int = 64
    heads: int = 4
    mlp_ratio: int = 4
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "heads", "mlp_ratio")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}); got {self.width}.")
        x = embedded_patches(self, images)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width), x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        positions = nn.initializers.normal(0.02)
        x = x + self.param("positions", positions, (1, *x.shape[1:]), x.dtype)
        for index in range(self.depth):
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_attention_{index}")(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads, name=f"attention_{index}")(mixed)
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_mlp_{index}")(x)
            x = x + Mlp(self.width * self.mlp_ratio, name=f"mlp_{index}")(mixed)
            x = layers.keep(self, f"hidden_{index}", x)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.num_classes, name="head")(x[:, 0])


class MLPMixer(nn.Module):
    """MLP-Mixer: MLPs across patches and across channels in turn; a mean over patches.

    Mixer-S/16 is ``patch_size=16, depth=8, width=512, tokens_width=256, channels_width=2048``.

    Attributes:
      num_classes: K.
      patch_size: pixels along each side of a patch; divides the image.
      depth: blocks.
      width: of the embedding.
      tokens_width: hidden units of the MLP across patches.
      channels_width: hidden units of the MLP across channels.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Tolstikhin et al. 2021 (2105.01601), section 2.
    """

    num_classes: int
    patch_size: int = 4
    depth: int = 4
    width: int = 64
    tokens_width: int = 32
    channels_width: int = 256
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "tokens_width", "channels_width")
        x = embedded_patches(self, images)
        x = x.reshape(x.shape[0], -1, self.width)
        for index in range(self.depth):
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_tokens_{index}")(x)
            mixed = Mlp(self.tokens_width, name=f"tokens_{index}")(jnp.swapaxes(mixed, 1, 2))
            x = x + jnp.swapaxes(mixed, 1, 2)
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_channels_{index}")(x)
            x = x + Mlp(self.channels_width, name=f"channels_{index}")(mixed)
            x = layers.keep(self, f"hidden_{index}", x)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean(axis=1))


class ConvMixer(nn.Module):
    """ConvMixer: a depthwise convolution across patches and a dense layer across channels in turn.

    ConvMixer-768/32 is ``patch_size=7, depth=32, width=768, kernel_size=7``.

    Attributes:
      num_classes: K.
      patch_size: pixels along each side of a patch; divides the image.
      depth: blocks.
      width: channels.
      kernel_size: taps along each axis of the depthwise convolution, in patches.
      padding: of the convolution, "SAME" (zeros, as published) or "circular".
      normalization: "group", or "affine": see `layers.Affine`.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Trockman & Kolter 2022 (2201.09792), section 2.
    """

    num_classes: int
    patch_size: int = 2
    depth: int = 4
    width: int = 64
    kernel_size: int = 5
    padding: str = "SAME"
    normalization: str = "group"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "kernel_size")
        _checks.one_of("padding", self.padding, ("SAME", "circular"))

        def activate(x: Array, name: str) -> Array:
            norm = layers.normalization(self.normalization, 1, name)
            return norm(nn.gelu(x, approximate=False))

        x = activate(embedded_patches(self, images), "norm")
        for index in range(self.depth):
            depthwise = layers.Conv(
                self.width,
                self.kernel_size,
                padding=self.padding,
                depthwise=True,
                name=f"depthwise_{index}",
            )
            x = x + activate(depthwise(x), f"norm_depthwise_{index}")
            pointwise = nn.Dense(self.width, name=f"pointwise_{index}")
            x = activate(pointwise(x), f"norm_pointwise_{index}")
            x = layers.keep(self, f"hidden_{index}", x)
        return nn.Dense(self.num_classes, name="head")(x.mean(axis=(1, 2)))


class Mlp(nn.Module):
    """Dense, GELU, dense back to the input's width."""

    hidden: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [..., width] to [..., width]."""
        width = x.shape[-1]
        x = nn.gelu(nn.Dense(self.hidden, name="expand")(x), approximate=False)
        return nn.Dense(width, name="contract")(x)


def embedded_patches(module: Any, images: Array) -> Array:
    """Standardised patches, embedded: [N, H / P, W / P, width].

    Args:
      module: has num_classes, patch_size P, depth, width, mean and std.
      images: [N, H, W, C] in [0, 1].

    Raises:
      ValueError: a number is below 1, or P does not divide the image.
    """
    _checks.positive_ints(module, "num_classes", "patch_size", "depth", "width")
    x = layers.standardize(images, module.mean, module.std)
    size = module.patch_size
    if images.shape[1] % size or images.shape[2] % size:
        raise ValueError(f"patch_size must divide the image {images.shape[1:3]}; got {size}.")
    # One dense layer per patch is a convolution of stride P, without a convolution.
    x = x.reshape(x.shape[0], x.shape[1] // size, size, x.shape[2] // size, size, x.shape[3])
    x = jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(x.shape[0], x.shape[1], x.shape[3], -1)
    return nn.Dense(module.width, name="embedding", parent=module)(x)

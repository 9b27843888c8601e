"""Global filter network: mixing by a learned product in frequency, as wide as the image."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from freqbias.models import layers
from freqbias.models.patches import Mlp, embedded_patches
from freqbias.typing import Array


class GlobalFilterNet(nn.Module):
    r"""GFNet: in turn a product with a learned filter in frequency, and an MLP across channels.

    .. math:: x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(F^{-1}(K \odot F(\mathrm{LN}(x)))))

    The product is a depthwise circular convolution of full width over patches: shared weights, no
    locality. As published, the filter is kept in frequency, as real and imaginary parts
    [h, w // 2 + 1, width, 2] of a half plane, which start as normal draws of deviation 0.02.

    Attributes:
      num_classes: K.
      patch_size: pixels along each side of a patch; divides the image.
      depth: blocks.
      width: channels.
      mlp_ratio: width of the MLP's hidden layer over ``width``.
      mean: of the data per channel, intensity in [0, 1]; subtracted inside the model.
      std: of the data per channel; divided by inside the model.

    Reference:
      Rao et al. 2021 (2107.00645), section 3.
    """

    num_classes: int
    patch_size: int = 2
    depth: int = 4
    width: int = 64
    mlp_ratio: int = 4
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images [N, H, W, C] in [0, 1] to logits [N, K]."""
        layers.check_fields(self, "mlp_ratio")
        x = embedded_patches(self, images)
        for index in range(self.depth):
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_filter_{index}")(x)
            height, width = x.shape[1:3]
            shape = (height, width // 2 + 1, self.width, 2)
            parts = self.param(f"filter_{index}", nn.initializers.normal(0.02), shape, x.dtype)
            kernel = jax.lax.complex(parts[..., 0], parts[..., 1])
            spectrum = jnp.fft.rfft2(mixed, axes=(1, 2), norm="ortho") * kernel[None]
            mixed = jnp.fft.irfft2(spectrum, s=(height, width), axes=(1, 2), norm="ortho")
            mixed = nn.LayerNorm(epsilon=1e-6, name=f"norm_mlp_{index}")(mixed)
            x = x + Mlp(self.width * self.mlp_ratio, name=f"mlp_{index}")(mixed)
            x = layers.keep(self, f"hidden_{index}", x)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean(axis=(1, 2)))

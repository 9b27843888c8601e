r"""What the authors' code looks at: the log amplitude of the grey perturbation.

They show a picture, the mean of ln |DFT| over the images whose attack succeeds. Here it is read as
one number, high against low frequencies. It is no more than a second statistic: a logarithm weighs
a frequency at which nothing is as much as one at which all is, and grey hides chroma.
"""

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import spectral
from freqbias.typing import Array

SPLIT = 0.25  # cycles per pixel
_LEAST = 1e-12  # of the mean power: about what float32 leaves of a coefficient that is zero


@jax.jit
def log_tilt(images: Array) -> Array:
    r"""Mean log amplitude of the grey image beyond 1/4 cycle per pixel, less that below.

    .. math::
        t = \frac{1}{|H|} \sum_{k \in H} \ln |\hat g[k]| - \frac{1}{|L|} \sum_{k \in L}
        \ln |\hat g[k]|, \qquad g = \frac1C \sum_c \delta_c,

    with H the frequencies of radius beyond 1/4 cycle per pixel and L the others but zero.

    Args:
      images: [..., H, W, C].

    Returns:
      [...], in nats, whatever the size of the image; about 0 of white noise. NaN of an image
      without power.
    """
    grey = images.mean(axis=-1, keepdims=True)
    radius = spectral.radius_grid(images.shape[-3:-1])
    high, low = radius > SPLIT, (radius <= SPLIT) & (radius > 0)
    weights = (high / high.sum() - low / low.sum()).astype(np.float32)
    relative = spectral.normalized_power(grey) * (radius.size - 1)  # 0 at frequency 0
    return 0.5 * jnp.einsum("...hw,hw->...", jnp.log(jnp.maximum(relative, _LEAST)), weights)

r"""How strongly a network reads each band of frequencies, and how far its predictor has to go.

The course of these columns shows in which order frequencies are learnt. Bands are rings of radius
1/16 cycle per pixel; the last holds all that is beyond 7/16, the corners too.

Reference: Godfrey et al., "Testing predictions of representation cost theory with CNNs",
arXiv:2210.01257 (2022), who read the input-Jacobian in the Fourier basis; here the gradient of the
margin is read.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import spectral
from freqbias.schema import BAND_EDGES
from freqbias.typing import Array


@jax.jit
def band_rms(images: Array) -> Array:
    r"""Root mean square amplitude per band of the orthonormal DFT, DC left out.

    .. math:: a_b = \left( \frac1M \sum_m \frac1{|b|} \sum_{k \in b} P_m[k] \right)^{1/2}

    Args:
      images: [S, M, H, W, C].

    Returns:
      [S, 8], in units of the images: white noise of variance v per channel has sqrt(C v) in each.
      NaN where images are so small that a band holds no coefficient.
    """
    shape = images.shape[-3:-1]
    band = np.clip(np.digitize(spectral.radius_grid(shape), BAND_EDGES) - 1, 0, len(BAND_EDGES) - 1)
    band[0, 0] = -1
    inside = band.ravel()[:, None] == np.arange(len(BAND_EDGES))  # [H W, 8]
    power = spectral.power_spectrum(images).mean(axis=1).reshape(len(images), -1)
    count = np.where(inside.any(axis=0), inside.sum(axis=0), np.nan)
    return jnp.sqrt(power @ inside / count[None])


def columns(names: tuple[str, ...], images: Array | None, num_seeds: int) -> dict[str, Any]:
    """`band_rms` by name, [S] each; NaN where there are no images."""
    if images is None:
        return dict.fromkeys(names, np.full(num_seeds, np.nan))
    return dict(zip(names, np.asarray(band_rms(images)).T, strict=True))

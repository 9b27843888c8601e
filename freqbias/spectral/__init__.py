"""Spectral statistics of images: transform, power spectra, summaries with their nulls, filters.

Knows arrays only. Images are [..., H, W, C], power spectra [..., H, W] over the full plane in
fftfreq order; the transform is orthonormal; frequencies are in cycles per pixel. Read ``fourier``
(which coefficient is which frequency), ``profile`` (from images to one spectrum), ``summary``
(from a spectrum to a number, and what white noise gives), ``filters`` (changing a spectrum), in
this order.
"""

from freqbias.spectral.filters import FourierPermutation as FourierPermutation
from freqbias.spectral.filters import apply_transfer as apply_transfer
from freqbias.spectral.filters import band_pass as band_pass
from freqbias.spectral.filters import band_pass_transfer as band_pass_transfer
from freqbias.spectral.filters import fourier_permutation as fourier_permutation
from freqbias.spectral.filters import high_pass as high_pass
from freqbias.spectral.filters import invert_permutation as invert_permutation
from freqbias.spectral.filters import low_pass as low_pass
from freqbias.spectral.filters import low_pass_transfer as low_pass_transfer
from freqbias.spectral.filters import mean_amplitude as mean_amplitude
from freqbias.spectral.filters import permute_power as permute_power
from freqbias.spectral.filters import permute_spectrum as permute_spectrum
from freqbias.spectral.filters import replace_amplitude as replace_amplitude
from freqbias.spectral.fourier import band_mask as band_mask
from freqbias.spectral.fourier import fft2 as fft2
from freqbias.spectral.fourier import frequency_grid as frequency_grid
from freqbias.spectral.fourier import full_plane as full_plane
from freqbias.spectral.fourier import half_plane_weights as half_plane_weights
from freqbias.spectral.fourier import ifft2 as ifft2
from freqbias.spectral.fourier import irfft2 as irfft2
from freqbias.spectral.fourier import is_symmetric_mask as is_symmetric_mask
from freqbias.spectral.fourier import negate_frequencies as negate_frequencies
from freqbias.spectral.fourier import radius_grid as radius_grid
from freqbias.spectral.fourier import rfft2 as rfft2
from freqbias.spectral.profile import RadialProfile as RadialProfile
from freqbias.spectral.profile import axis_share as axis_share
from freqbias.spectral.profile import mean_spectrum as mean_spectrum
from freqbias.spectral.profile import normalized_power as normalized_power
from freqbias.spectral.profile import power_spectrum as power_spectrum
from freqbias.spectral.profile import radial_profile as radial_profile
from freqbias.spectral.summary import Null as Null
from freqbias.spectral.summary import SpectralSummary as SpectralSummary
from freqbias.spectral.summary import band_fraction as band_fraction
from freqbias.spectral.summary import entropy as entropy
from freqbias.spectral.summary import half_power_frequency as half_power_frequency
from freqbias.spectral.summary import has_power as has_power
from freqbias.spectral.summary import hoyer as hoyer
from freqbias.spectral.summary import mean_frequency as mean_frequency
from freqbias.spectral.summary import null as null
from freqbias.spectral.summary import participation_ratio as participation_ratio
from freqbias.spectral.summary import summarize as summarize

__all__ = [
    "FourierPermutation",
    "Null",
    "RadialProfile",
    "SpectralSummary",
    "apply_transfer",
    "axis_share",
    "band_fraction",
    "band_mask",
    "band_pass",
    "band_pass_transfer",
    "entropy",
    "fft2",
    "fourier_permutation",
    "frequency_grid",
    "full_plane",
    "half_plane_weights",
    "half_power_frequency",
    "has_power",
    "high_pass",
    "hoyer",
    "ifft2",
    "invert_permutation",
    "irfft2",
    "is_symmetric_mask",
    "low_pass",
    "low_pass_transfer",
    "mean_amplitude",
    "mean_frequency",
    "mean_spectrum",
    "negate_frequencies",
    "normalized_power",
    "null",
    "participation_ratio",
    "permute_power",
    "permute_spectrum",
    "power_spectrum",
    "radial_profile",
    "radius_grid",
    "replace_amplitude",
    "rfft2",
    "summarize",
]

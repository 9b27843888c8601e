"""Figures of a study, from its tables and arrays to matplotlib `Figure` objects.

Pure functions: nothing is shown or written (`save` does that), pyplot is not used, and no global
state is left changed. One arm of a study has one colour and marker in every figure (`arm_style`).

Inputs, as an experiment writes them:

- ``rows``: one row per seed, setting and attack, with columns dataset, regime, arm, architecture,
  kernel, kernel_size, depth, init_scale, seed, attack, box, status, mean_frequency and
  null_mean_frequency (cycles per pixel); where there, step, final, padding, optimizer, channels,
  test_accuracy, minimal_relative_distance, accuracy_low_{cutoff} and accuracy_high_{cutoff}. Rows
  whose status is not ``ok`` are counted, not plotted. Rows of all recorded steps go to the figures
  of ``trajectories``, those of trained networks to the others.
- ``spectra``: arrays under ``{dataset}/{regime}/{arm}/{init_scale:g}.{field}``, fields ``profile``
  [S, R] and ``spectrum`` [H, W] (normalised power, DC out; the profile times the number of
  frequencies, so that white noise is 1), ``examples`` [n, H, W, C], ``kernels`` [K, K, I, O],
  ``beta`` [H, W, C, classes]; and ``{dataset}.frequency`` [R] (cycles per pixel),
  ``{dataset}.data_profile`` [R], ``{dataset}.example_images`` [n, H, W, C].
- ``claims``: the mappings of ``claims.json``.

Settings, arms and numbers that are missing leave a gap, never an error. ``numbers`` has the figures
of mean frequency, ``trajectories`` what changes during training, ``factors`` what moves frequency
most, ``spectra`` profiles and pictures, ``claims`` the effects beside their margins; ``style`` the
look of every arm, ``files`` the way to PNG and PDF.
"""

from freqbias.plotting.claims import claim_forest
from freqbias.plotting.factors import factors, variance_shares
from freqbias.plotting.files import pdf_bytes, png_bytes, save
from freqbias.plotting.numbers import (
    arm_overview,
    frequencies_used,
    frequency_against,
    init_scale_effect,
)
from freqbias.plotting.spectra import (
    kernels_and_predictors,
    perturbation_gallery,
    radial_profiles,
)
from freqbias.plotting.style import (
    L2_ATTACKS,
    PAGE_WIDTH,
    STYLE,
    Style,
    arm_style,
    dataset_name,
    is_linf,
)
from freqbias.plotting.trajectories import frequency_against_accuracy, over_training
from freqbias.plotting.waves import exact_control, has_exact_control, heat_maps

__all__ = [
    "L2_ATTACKS",
    "PAGE_WIDTH",
    "STYLE",
    "Style",
    "arm_overview",
    "arm_style",
    "claim_forest",
    "dataset_name",
    "exact_control",
    "factors",
    "frequencies_used",
    "frequency_against",
    "frequency_against_accuracy",
    "has_exact_control",
    "heat_maps",
    "init_scale_effect",
    "is_linf",
    "kernels_and_predictors",
    "over_training",
    "pdf_bytes",
    "perturbation_gallery",
    "png_bytes",
    "radial_profiles",
    "save",
    "variance_shares",
]

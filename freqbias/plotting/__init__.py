"""Figures of a study, from its tables and arrays to matplotlib `Figure` objects.

Pure functions: nothing is shown or written (`save` does that), pyplot is not used, and no global
state is left changed. How an arm is drawn and named, what it is compared with and what it differs
in is said by whoever names arms, in a `Drawn` that every figure of arms takes as ``looks``; so one
arm has one colour and marker in every figure. Arms that it does not describe are drawn, too.

Inputs, as an experiment writes them:

- ``rows``: one row per seed, setting and attack, with columns dataset, regime, arm, architecture,
  kernel, kernel_size, depth, init_scale, seed, attack, geometry, method, box, status,
  mean_frequency and null_mean_frequency (cycles per pixel); where there, step, final, padding,
  optimizer, channels, test_accuracy, minimal_relative_distance, accuracy_low_{cutoff},
  accuracy_high_{cutoff}, data_mean_frequency and gradient_rms_{band}. Rows whose status is not
  ``ok`` are counted, not plotted. The role of an attack follows from its geometry
  (`freqbias.schema.GEOMETRIES`): the primary one is filled, a second opinion hollow, and the
  primary one with the other box is shown by `box_effect` only. Rows of all recorded steps go to the
  figures of ``trajectories``, those of trained networks to the others.
- ``spectra``: arrays under ``{dataset}/{regime}/{arm}/{init_scale:g}.{field}``
  (`freqbias.schema.ArrayKey`), fields ``profile`` [S, R] and ``spectrum`` [H, W] (normalised
  power, DC out; the profile times the number of frequencies, so that white noise is 1),
  ``examples`` [n, H, W, C], ``kernels`` [K, K, I, O], ``beta`` [H, W, C, classes], ``heat_map``
  [S, H, W]; and ``{dataset}.frequency`` [R] (cycles per pixel), ``{dataset}.data_profile`` [R],
  ``{dataset}.example_images`` [n, H, W, C].
- ``claims``: the mappings of ``claims.json``; ``attack`` is the geometry.

Settings, arms and numbers that are missing leave a gap, never an error. ``numbers`` has the figures
of mean frequency, ``datasets`` what depends on the data, ``trajectories`` what changes during
training, ``emergence`` in which order frequencies are learnt, ``factors`` what moves frequency
most, ``bands`` robustness by frequency, ``spectra`` profiles and pictures, ``waves`` heat maps of
plane waves and the exact control, ``claims`` the effects beside their margins; ``style`` the looks
of arms, ``files`` the way to PNG and PDF.
"""

from freqbias.plotting.bands import band_curve
from freqbias.plotting.bridge import bridge as bridge
from freqbias.plotting.claims import claim_forest
from freqbias.plotting.datasets import (
    arms_of_all,
    box_effect,
    effects_by_dataset,
    follows_the_data,
    grouped_datasets,
    main_datasets,
)
from freqbias.plotting.emergence import distance_by_band, doubling_steps, order_of_learning
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
    profile_groups,
    radial_profiles,
)
from freqbias.plotting.style import DPI, PAGE_WIDTH, STYLE, UNKNOWN, Drawn, Style
from freqbias.plotting.trajectories import frequency_against_accuracy, over_training
from freqbias.plotting.waves import exact_control, has_exact_control, heat_maps

__all__ = [
    "DPI",
    "PAGE_WIDTH",
    "STYLE",
    "UNKNOWN",
    "Drawn",
    "Style",
    "arm_overview",
    "arms_of_all",
    "band_curve",
    "box_effect",
    "bridge",
    "claim_forest",
    "distance_by_band",
    "doubling_steps",
    "effects_by_dataset",
    "exact_control",
    "factors",
    "follows_the_data",
    "frequencies_used",
    "frequency_against",
    "frequency_against_accuracy",
    "grouped_datasets",
    "has_exact_control",
    "heat_maps",
    "init_scale_effect",
    "kernels_and_predictors",
    "main_datasets",
    "order_of_learning",
    "over_training",
    "pdf_bytes",
    "perturbation_gallery",
    "png_bytes",
    "profile_groups",
    "radial_profiles",
    "save",
    "variance_shares",
]

"""Calls on arrays: spectra, operations, inference."""

import jax.numpy as jnp
import numpy as np

from calls.values import (
    CROSSED,
    GROUPS,
    IMAGES,
    KEY,
    POWER,
    SEEDS,
    SHAPE,
    Call,
    named,
    network,
)
from freqbias import (
    inference,
    ops,
    spectral,
)
from freqbias.inference import Estimate, Fitness


def of_arrays() -> dict[str, Call]:
    permutation = spectral.fourier_permutation(KEY, SHAPE)
    of = {"x": IMAGES, "domain": "pixel", "include_dc": False, "max_radius": 0.4}
    pair = {"low": 0.1, "high": 0.3}
    filtered = {"kind": "butterworth", "order": 2}
    offsets = ops.square_offsets(3, 3)
    conv = {"images": IMAGES, "images_last": False}
    return named("freqbias.spectral", spectral, {
        "apply_transfer": {"images": IMAGES, "transfer": np.ones((6, 5), np.float32)},
        "axis_share": {"power": POWER, "include_dc": False},
        "band_fraction": of | pair,
        "band_mask": {"shape": SHAPE} | pair,
        "band_pass": {"images": IMAGES} | pair | filtered,
        "band_pass_transfer": {"shape": SHAPE} | pair | filtered,
        "entropy": of,
        "fft2": {"images": IMAGES},
        "fourier_permutation": {"key": KEY, "shape": SHAPE, "include_dc": False},
        "frequency_grid": {"shape": SHAPE, "unit": "cycles/pixel"},
        "full_plane": {"half": np.ones((4, 6, 3), np.float32), "width": 5},
        "half_plane_weights": {"shape": SHAPE},
        "half_power_frequency": of | {"unit": "cycles/pixel"},
        "has_power": of,
        "high_pass": {"images": IMAGES, "cutoff": 0.2} | filtered,
        "hoyer": of,
        "ifft2": {"spectrum": np.fft.fft2(IMAGES, axes=(1, 2), norm="ortho")},
        "invert_permutation": {"permutation": permutation},
        "irfft2": {"half": np.ones((4, 6, 3, 1), np.complex64), "shape": SHAPE},
        "is_symmetric_mask": {"mask": np.ones(SHAPE, np.float32), "tolerance": 1e-5},
        "low_pass": {"images": IMAGES, "cutoff": 0.2} | filtered,
        "low_pass_transfer": {"shape": SHAPE, "cutoff": 0.2} | filtered,
        "mean_amplitude": {"images": IMAGES},
        "mean_frequency": of | {"unit": "cycles/pixel"},
        "mean_spectrum": {"images": IMAGES, "axis": 0, "include_dc": False},
        "negate_frequencies": {"plane": POWER},
        "normalized_power": {"images": IMAGES, "include_dc": False},
        "null": {
            "shape": SHAPE, "key": KEY, "statistic": jnp.max, "channels": 1,
            "averaged": 1, "num_draws": 4, "include_dc": False, "high": 0.25,
            "unit": "cycles/pixel",
        },
        "participation_ratio": of,
        "permute_power": {"power": POWER, "permutation": permutation},
        "permute_spectrum": {"images": IMAGES, "permutation": permutation},
        "power_spectrum": {"images": IMAGES},
        "radial_profile": {"power": POWER},
        "radius_grid": {"shape": SHAPE, "unit": "cycles/pixel"},
        "replace_amplitude": {
            "images": IMAGES, "amplitude": np.ones((*SHAPE, 1), np.float32), "include_dc": False,
        },
        "rfft2": {"images": IMAGES},
        "summarize": {
            "x": IMAGES, "domain": "pixel", "include_dc": False, "high": 0.25,
            "unit": "cycles/pixel",
        },
    }) | named("freqbias.ops", ops, {
        "affine_predictor": network() | {"image_shape": (6, 5, 1), "dtype": jnp.float32},
        "choose_method": {
            "num_taps": 9, "in_channels": 1, "out_channels": 2, "shape": SHAPE, "backend": "cpu",
            "images_gradient": True,
        },
        "conv": conv | {
            "kernel": np.ones((3, 3, 1, 2), np.float32), "stride": 1, "padding": "circular",
            "method": "im2col",
        },
        "depthwise_conv": conv | {
            "kernel": np.ones((3, 3, 1), np.float32), "padding": "circular", "method": "dft",
        },
        "is_affine": network() | {"image_shape": (6, 5, 1), "dtype": jnp.float32},
        "locally_connected": conv | {
            "weights": np.ones((6, 5, 9, 1, 2), np.float32), "offsets": offsets,
        },
        "on_torus": {
            "weights": np.ones((9, 1, 2), np.float32), "offsets": offsets, "shape": SHAPE,
        },
        "permuted_connected": conv | {
            "weights": np.ones((6, 5, 4, 1, 2), np.float32),
            "positions": ops.scattered_positions(4, SHAPE, 0),
        },
        "scattered_conv": conv | {
            "weights": np.ones((9, 1, 2), np.float32), "offsets": offsets, "method": "im2col",
        },
        "scattered_offsets": {"num_taps": 4, "shape": SHAPE, "seed": 0},
        "scattered_positions": {"num_taps": 4, "shape": SHAPE, "seed": 0},
        "square_offsets": {"height": 3, "width": 3},
        "torus_conv": conv | {"kernel": np.ones((6, 5, 1, 2), np.float32)},
        "views": {"array": IMAGES, "offsets": offsets, "axes": (1, 2)},
    })  # fmt: skip


def estimate(centre=0.1, error=0.02) -> Estimate:
    return inference.mean_interval(centre + error * SEEDS)


def of_statistics() -> dict[str, Call]:
    sure = {"confidence": 0.95}
    settings = [*"ssttuuvv"]
    factors = {"a": [*"xxxxyyyy"], "b": [*"uuvvuuvv"]}
    estimates = [estimate(c) for c in (0.1, 0.2, 0.4)]
    verdict = inference.verdicts(estimates[:1], 0.01, direction="greater")[0].verdict
    return named("freqbias.inference", inference, {
        "confounded": {"factors": factors, "settings": settings},
        "contrast_interval": {"groups": GROUPS, "weights": (1.0, -0.5, -0.5)} | sure,
        "crossed_interval": {"groups": CROSSED, "weights": (1.0, -0.5, -0.5)} | sure,
        "decide": {
            "verdict": verdict, "other_verdicts": [verdict], "min_live": 0.8,
            "arms": [Fitness(8, 8, 0.8, 0.5)],
        },
        "detectable_effect": {
            "standard_error": 0.1, "degrees_of_freedom": 14.0, "margin": 0.01, "power": 0.8,
        } | sure,
        "difference_interval": {"a": SEEDS, "b": SEEDS + 1} | sure,
        "effect_range": {"estimates": estimates, "margin": 0.01} | sure,
        "heterogeneity": {"estimates": estimates, "margin": 0.01} | sure,
        "holm": {"p_values": [0.01, 0.2, 0.5]},
        "image_means": {"values": np.ones((3, 4)), "where": np.ones((3, 4), bool)},
        "mean_interval": {"values": SEEDS, "over": "seeds"} | sure,
        "own_minus_others": {"values": np.arange(9.0).reshape(3, 3) ** 2},
        "planted_shift_power": {
            "a": SEEDS, "b": SEEDS[::-1], "shift": 0.5, "margin": 0.01, "seed": 0, "num": 20,
        } | sure,
        "predicted_shift_power": {
            "spread": 1.0, "num_seeds": (8, 8), "shift": 0.5, "margin": 0.01, "num": 20,
        } | sure,
        "rank_association": {"x": SEEDS, "y": SEEDS**2, "num_arms": 1} | sure,
        "relabelling_rate": {"a": SEEDS, "b": SEEDS + 1, "margin": 0.1, "seed": 0, "num": 20}
        | sure,
        "trend_interval": {"groups": GROUPS, "x": (1.0, 2.0, 3.0)} | sure,
        "variance_shares": {
            "values": SEEDS, "factors": factors, "settings": settings,
            "num_resamples": 5, "seed": 0,
        } | sure,
        "verdicts": {
            "estimates": estimates, "margins": 0.01, "direction": "greater",
            "families": ["f", "f", "g"],
        } | sure,
    })  # fmt: skip

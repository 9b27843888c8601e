"""The table of the fuzz: one valid call of every public function, small and quick."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from PIL import Image
from synthetic_study import ARMS, over_steps, synthetic_study

import freqbias as fb
from freqbias import (
    attacks,
    data,
    ensemble,
    inference,
    interop,
    models,
    ops,
    report,
    runs,
    schema,
    spectral,
    study,
    theory,
)
from freqbias.inference import Estimate, Fitness, Verdict
from freqbias.study import claims, linear
from freqbias.study.claims.registry import CARO2024
from freqbias.study.measures import MEASUREMENTS

PUBLIC = (
    *("freqbias", "freqbias.analysis", "freqbias.attacks", "freqbias.data"),
    *("freqbias.distributed", "freqbias.ensemble", "freqbias.inference", "freqbias.interop"),
    *("freqbias.models", "freqbias.ops", "freqbias.plotting", "freqbias.report", "freqbias.runs"),
    *("freqbias.schema", "freqbias.spectral", "freqbias.study", "freqbias.study.claims"),
    *("freqbias.study.linear", "freqbias.theory", "freqbias.training"),
)


class Call(NamedTuple):
    """A valid call: each argument is made bad in turn, the others stay."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    runs: bool = True  # whether an argument that passes all checks may be run: it is quick


class Reached(Exception):
    """Raised by what a call computes with, where computing would take long."""


LEFT_OUT = {
    "freqbias.frozen": "of a class",
    "freqbias.static": "of a class",
    "freqbias.data.load_idx": "tests/data/test_idx.py",
    "freqbias.data.load_tfds": "needs tensorflow-datasets",
    "freqbias.data.stream_tfds": "needs tensorflow-datasets",
    "freqbias.distributed.from_first": "several processes: tests/test_distributed.py",
    "freqbias.distributed.initialize": "several processes: tests/test_distributed.py",
    "freqbias.interop.from_equinox": "needs Equinox",
    "freqbias.interop.from_haiku": "needs Haiku",
    "freqbias.interop.from_torch": "needs torch",
    "freqbias.interop.from_timm": "needs timm",
    "freqbias.interop.imagenet_labels": "needs timm",
    "freqbias.interop.load_weights": "files of weights: tests/interop",
    "freqbias.interop.read_weights": "files of weights: tests/interop",
    "freqbias.report.write_report": "of a finished study: tests/report",
    "freqbias.study.finish": "of a finished study: tests/study",
    "freqbias.study.load_networks": "of a finished study: tests/study",
    "freqbias.study.register": "changes the table of all",
    "freqbias.study.run_setting": "trains: tests/study",
    "freqbias.study.run": "trains: what a command gives it is in test_flags.py",
    "freqbias.study.linear.finish": "of a finished study: tests/study/linear",
    "freqbias.study.linear.join": "of a finished study: tests/study/linear",
    "freqbias.study.linear.judged_rows": "of a finished study: tests/study/linear",
    "freqbias.study.linear.run": "trains: what a command gives it is in test_flags.py",
    "freqbias.study.linear.verdicts": "of a finished study: tests/study/linear",
}
"""Public functions without a call here, and why."""
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE = (6, 5)
IMAGES = RNG.uniform(size=(4, 6, 5, 1)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1], np.int32)
POWER = (RNG.uniform(size=(4, *SHAPE)) + 0.1).astype(np.float32)
SEEDS = RNG.standard_normal(8)
CROSSED = [RNG.standard_normal((4, 6)) + centre for centre in (0, 1, 2)]
GROUPS = [SEEDS, SEEDS[::-1] + 1, SEEDS**2]
VERDICT = Verdict.SUPPORTED


def linear_fn(params, images):
    return jnp.einsum("nhwc,hwck->nk", images, params)


def reached_fn(params, images):
    raise Reached


def reached_attack(*args, **options):
    raise Reached


class ReachedModule(nn.Module):
    """A network that is asked only after all checks were passed."""

    @nn.compact
    def __call__(self, images):
        raise Reached


class Flat(nn.Module):
    """The smallest network of Linen."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(3)(images.reshape(images.shape[0], -1))


def calls(folder: Path) -> dict[str, Call]:
    """All of the table, by module and name; files lie in ``folder``."""
    found = {}
    for make in (of_arrays, of_statistics, of_networks, of_attacks, of_theory, of_data, of_study):
        found |= make()
    return found | of_files(folder)


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


def network() -> dict[str, Any]:
    weights = RNG.standard_normal((6, 5, 1, 2)).astype(np.float32)
    return {"apply_fn": linear_fn, "params": weights}


def of_networks() -> dict[str, Call]:
    weights = RNG.standard_normal((2, 6, 5, 1, 2)).astype(np.float32)
    keys = ensemble.seed_keys(KEY, (0, 1))
    masked = models.MaskedConvNet(num_classes=2, kernel_size=3, channels=2)
    conv = models.ConvNet(num_classes=2, kernel_size=3, channels=2)
    flat = Flat()
    variables = flat.init(KEY, IMAGES)
    prepared = {
        "mean": (0.5,), "std": (0.25,), "pixel_max": 1.0, "channels_first": False,
        "resize": (6, 5),
    }  # fmt: skip
    dataset = tiny()
    trained = {
        "model": ReachedModule(), "seeds": (0, 1), "key": KEY, "optimizer": fb.sgd(),
        "loss": "cross_entropy", "strategy": "sequential",
    }  # fmt: skip
    found = named("freqbias.ensemble", ensemble, {
        "attack_each": {
            "attack": pgd(), "apply_fn": reached_fn, "params": weights, "images": IMAGES,
            "labels": LABELS, "keys": keys, "targets": None, "strategy": "sequential",
        },
        "choose_strategy": {"strategy": "auto"},
        "map_seeds": {
            "fn": linear_fn, "per_seed": (weights,), "shared": (IMAGES,), "strategy": "vmap",
            "jit": True, "donate": False,
        },
        "perturb_fn": {"attack": pgd()},
        "seed_keys": {"key": KEY, "seeds": (0, 1)},
        "select": {"tree": {"w": weights}, "index": 0},
        "stack": {"trees": [{"w": SEEDS}, {"w": SEEDS}]},
    })  # fmt: skip
    found |= named("freqbias.models", models, {
        "as_masked": {"model": conv},
        "create": {"name": "conv", "num_classes": 2},
        "num_parameters": {"params": {"w": SEEDS}},
        "tap_params": {"model": masked, "params": masked.init(KEY, IMAGES)},
    })  # fmt: skip
    found |= named("freqbias", fb, {
        "analyze": network() | {
            "network": linear_fn, "images": IMAGES, "labels": LABELS, "key": KEY,
            "attacks": {"pgd": reached_attack}, "budget": "quick", "batch_size": 4,
            "class_names": None, "families": None, "progress": False,
        },
        "sgd": {"learning_rate": 0.05, "momentum": 0.9, "clip": 1.0, "weight_decay": 0.0},
        "train": trained | {
            "split": dataset.train, "epochs": 1, "batch_size": 2, "num_images": 4,
            "hyperparameters": None, "max_seconds": None, "checkpoint_steps": (), "until": None,
            "progress": False,
        },
        "train_on_batches": trained | {"batches": [(IMAGES, LABELS)], "progress": False},
    }, runs=False)  # fmt: skip
    del found["freqbias.analyze"].arguments["apply_fn"]
    found |= named("freqbias.interop", interop, {
        "as_images": {"images": IMAGES},
        "as_labels": {"labels": LABELS, "num_images": 4},
        "check_network": network() | {"images": IMAGES},
        "from_function": {"fn": linear_fn, "params": network()["params"]} | prepared,
        "from_linen": {"module": flat, "variables": variables, "arguments": {}} | prepared,
        "from_nnx": {"model": nnx.Linear(3, 2, rngs=nnx.Rngs(0))} | prepared,
        "how_to_adapt": {"model": flat},
        "preprocessing": prepared,
        "refuse_probabilities": {"logits": 9 * np.eye(3, dtype=np.float32)},
    })  # fmt: skip
    return found


def pgd():
    return attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=1, random_start=False)


def of_attacks() -> dict[str, Call]:
    norm = attacks.L2()
    box = {"targeted": False, "bounds": (0.0, 1.0)}
    minimal = {"num_steps": 2, "num_rivals": 1, "driver": "scan"} | box
    images, labels = IMAGES, LABELS
    apply_fn, params = network().values()
    attack = pgd()
    found = attack(apply_fn, params, images, labels, KEY)
    logits = RNG.standard_normal((4, 3)).astype(np.float32)
    attacked = {
        "attack": attack, "apply_fn": reached_fn, "params": params, "images": images,
        "labels": labels, "key": KEY, "batch_size": 4, "seeds": None, "strategy": "sequential",
    }  # fmt: skip
    asked = {"apply_fn": apply_fn, "params": params, "images": images}
    quick = named("freqbias.attacks", attacks, {
        "affine_attack": {"norm": norm, "epsilon": 0.5, "bounds": (0.0, 1.0)},
        "apgd": {
            "norm": norm, "epsilon": 0.5, "num_steps": 2, "num_restarts": 1, "num_targets": None,
            "loss": "cross_entropy", "multi_epsilon": False, "driver": "scan",
        } | box,
        "at_epsilon": {"attack": attack, "epsilon": 0.25},
        "auto_attack": {
            "norm": norm, "epsilon": 0.5, "version": "standard", "attacks": [attack],
            "batch_size": 4,
        } | box,
        "band_limited": {"norm": norm, "mask": np.ones((6, 5), np.float32)},
        "band_masks": {"shape": SHAPE, "edges": (0.0, 0.2, 0.5)},
        "bim": {"norm": norm, "epsilon": 0.5, "num_steps": 2},
        "bisect": {"attack": attack, "num_bisections": 2},
        "brendel_bethge": {"norm": norm, "radius": 1.0, "num_starts": 1} | minimal,
        "carlini_wagner": {"num_search_steps": 1, "step_size": 1.0, "weight": 4.0} | minimal,
        "ddn": {"num_restarts": 1, "step_size": 1.0, "gamma": 0.05} | minimal,
        "deepfool": {"norm": norm, "overshoot": 0.02, "box_aware": None} | minimal,
        "dlr": {"logits": logits, "labels": LABELS},
        "fab": {
            "norm": norm, "num_restarts": 1, "class_by_class": False, "alpha_max": 0.1,
            "eta": 1.05, "beta": 0.9,
        } | minimal,
        "fgsm": {"norm": norm, "epsilon": 0.5, "targeted": False},
        "fmn": {"norm": norm, "num_restarts": 1, "step_size": 10.0, "gamma": 0.05} | minimal,
        "forward": asked | {"goal": (labels,)},
        "frank_wolfe": {"norm": norm, "epsilon": 0.5, "num_steps": 2, "step_size": 1.0},
        "gradient_of": {"loss_fn": attacks.margin},
        "image_keys": {"key": KEY, "num_images": 4},
        "jacobian": asked | {"goal": (np.zeros((4, 1), int),)},
        "log_odds": {"logits": logits, "labels": LABELS},
        "margin": {"logits": logits, "labels": LABELS},
        "mi_fgsm": {"norm": norm, "epsilon": 0.5, "num_steps": 2, "decay": 1.0},
        "momentum": {"decay": 1.0},
        "named_loss": {"loss": "cross_entropy", "targeted": False},
        "optimizer_pgd": {
            "norm": norm, "optimizer": optax.adam(0.1), "epsilon": 0.5, "num_steps": 2,
            "step_size": 1.0,
        },
        "pgd": {
            "norm": norm, "epsilon": 0.5, "num_steps": 2, "step_size": 0.1, "num_restarts": 1,
            "random_start": True, "loss": "cross_entropy", "schedule": None, "transform": None,
            "driver": "scan",
        } | box,
        "query": asked | {
            "oracle": attacks.forward, "delta": jnp.zeros_like(images), "goal": (labels,),
        },
        "smallest_budget": {"norm": norm, "num_radii": 2} | minimal,
        "square": {
            "norm": norm, "epsilon": 0.5, "num_steps": 2, "num_restarts": 1, "first_share": 0.8,
            "driver": "scan",
        } | box,
        "summarize": {"perturbation": found},
        "targeted_dlr": {
            "logits": np.concatenate([logits, logits], 1), "labels": LABELS, "targets": LABELS + 1,
        },
        "unasked": asked | {"goal": (labels,)},
        "universal": {
            "norm": norm, "epsilon": 0.5, "step_size": 0.1, "clamp": 9.0, "num_epochs": 1,
            "batch_size": 4, "loss": "cross_entropy", "driver": "scan",
        } | box,
        "weighted_fourier_l2": {"weights": np.ones((6, 5), np.float32)},
        "worst_case": {"perturbations": [found, found]},
    })  # fmt: skip
    return quick | named("freqbias.attacks", attacks, {
        "diagnose": attacked | {"black_box": None},
        "evaluate": attacked | {"targets": None},
        "evaluate_bands": attacked | {
            "attack": attack,
            "masks": attacks.band_masks(SHAPE, (0.0, 0.2, 0.5)), "targets": None,
        },
        "heat_map": asked | {
            "apply_fn": reached_fn,
            "labels": labels, "key": KEY, "epsilon": 0.5, "epsilon_per": "image",
            "bounds": (0.0, 1.0), "batch_size": 32, "ensemble": False,
        },
        "robustness_curve": attacked | {"epsilons": (0.1, 0.5)},
        "transfer": asked | {
            "apply_fn": reached_fn,
            "labels": labels, "delta": np.asarray(found.delta)[None], "counted": None,
            "batch_size": 4,
            "strategy": "sequential",
        },
    }, runs=False) | named("freqbias.analysis", fb.analysis, {
        "default_attacks": {"image_shape": (6, 5, 1), "budget": "quick"},
        "jacobian_power": asked | {
            "apply_fn": reached_fn, "keys": jax.random.split(KEY, 4), "num_probes": 1,
            "ensemble_of": None,
        },
    })  # fmt: skip


def of_theory() -> dict[str, Call]:
    line = (1, 8, 1)
    beta = RNG.standard_normal(line)
    images = RNG.standard_normal((6, *line))
    labels = np.arange(6, dtype=np.int32) % 2
    task = {"images": images, "labels": labels}
    net = theory.dense_net(line, 1)
    state = theory.init_direction(net, jax.random.split(KEY, 2), 6)
    dynamics = {
        "initial": np.array([0.1, 0.2]), "correlation": np.array([1.0, 2.0]),
        "power": np.array([1.0, 1.0]), "depth": 2,
    }  # fmt: skip
    separating = theory.support_vector_machine(images, labels).weights
    regularizer = theory.l2_regularizer()
    offsets = ops.square_offsets(1, 3)
    kernel = RNG.standard_normal((1, 3, 1, 1)).astype(np.float32)
    ranged = {"kernel_size": (1, 3), "shape": (1, 8), "include_dc": True}
    affine = ops.affine_predictor(linear_fn, network()["params"], (6, 5, 1))
    return named("freqbias.theory", theory, {
        "amplitude_trajectory": {"times": np.array([0.0, 1.0])} | dynamics,
        "band_energy_range": {
            "kernel_size": (1, 3), "shape": (1, 8), "radius": 0.2, "band": "disc",
        },
        "certificate": task | {
            "beta": beta, "regularizer": regularizer, "norm": None,
            "dual_weights": np.ones(6), "members": np.ones(6, bool),
        },
        "check_affine": network() | {"image_shape": (6, 5, 1), "tolerance": 1e-3},
        "contiguous_bound": {"kernel_size": (1, 3), "shape": (1, 8)},
        "conv_cost": {"beta": beta, "depth": 1, "scaled": True},
        "conv_net": {"image_shape": line, "depth": 1, "kernel_size": (1, 3), "channels": 1},
        "conv_predictor": {
            "kernels": [kernel], "readout": np.ones((1, 8, 1, 2)), "padding": "circular",
            "offsets": None,
        },
        "cosine_spread": {"signal": SEEDS},
        "dense_cost": {"beta": beta, "depth": 1},
        "dense_net": {"image_shape": line, "depth": 1, "width": 1},
        "dense_predictor": {"kernels": [RNG.standard_normal((8, 2))], "image_shape": line},
        "donoho_stark_bound": {"support_size": 3, "num_pixels": 8},
        "dual_norm": {"regularizer": regularizer, "y": beta},
        "fourier_problem": {"images": images, "teacher": beta},
        "fourier_stationarity": task | {"beta": separating, "depth": 1, "threshold": 1.05},
        "gradient_descent_amplitude": {"num_steps": 2, "step_size": 0.1} | dynamics,
        "harper_bound": {"size": 8},
        "init_direction": {
            "net": net, "keys": jax.random.split(KEY, 2), "num_images": 6, "init_scale": 1.0,
            "dtype": jnp.float32,
        },
        "kernel_mean_frequency": {"kernel": kernel, "shape": (1, 8), "include_dc": True},
        "kernel_norm": {"beta": beta, "kernel_size": (1, 3), "num_channels": None},
        "kernel_regularizer": {"kernel_size": (1, 3)},
        "kernel_response": {"kernel": kernel, "shape": (1, 8), "offsets": None},
        "kernel_slack": {"kernel": kernel, "shape": (1, 8), "include_dc": True},
        "layer_balance": {
            "first": np.ones((1, 3, 1, 2), np.float32), "second": np.ones((1, 8, 2, 1), np.float32),
            "shape": (1, 8),
        },
        "learning_time": {"final": np.array([0.5, 0.4])} | dynamics,
        "locally_connected_net": {
            "image_shape": line, "depth": 1, "kernel_size": (1, 3), "channels": 1,
        },
        "locally_connected_norm": {"beta": beta, "kernel_size": (1, 3)},
        "locally_connected_predictor": {
            "layers": [RNG.standard_normal((1, 8, 3, 1, 1))], "readout": np.ones((1, 8, 1, 2)),
            "offsets": offsets,
        },
        "locally_connected_regularizer": {"kernel_size": (1, 3)},
        "margin_gradient": network() | {"images": IMAGES, "labels": LABELS},
        "massar_spindel_slack": {"signal": SEEDS},
        "max_margin": task | {
            "regularizer": regularizer, "tolerance": 1e-3, "max_iterations": 20,
        },
        "maximum_likelihood": task | {
            "num_classes": 2, "tolerance": 1e-3, "max_iterations": 5,
        },
        "mean_frequency_range": ranged,
        "pair_margin": {"predictor": affine, "label": 0, "other": 1},
        "parameter_stationarity": {
            "objective_fn": lambda params: jnp.sum(params**2), "params": jnp.ones(3),
        },
        "random_kernel_mean_frequency": ranged | {"num_channels": 1},
        "random_kernel_power": {
            "kernel_size": (1, 3), "shape": (1, 8), "mean": 0.0, "std": 1.0,
        },
        "random_net_power_moment": {"kernel_sizes": [(1, 3), 1], "shape": (1, 8)},
        "read_direction": task | {
            "net": net, "state": state, "loss": "exponential", "members": None,
        },
        "rms_frequency_bound": {"kernel_size": (1, 3), "shape": (1, 8)},
        "spectral_range": {
            "weights": np.abs(np.fft.fftfreq(8))[None], "kernel_size": (1, 3), "include_dc": True,
        },
        "support_vector_machine": task,
        "train_direction": task | {
            "net": net, "state": state, "num_steps": 1, "step_size": 0.02, "decay_steps": 100.0,
            "loss": "exponential", "members": None,
        },
    })  # fmt: skip


@functools.cache
def tiny() -> data.Dataset:
    images = RNG.uniform(size=(8, 6, 6, 1)).astype(np.float32)
    labels = np.arange(8, dtype=np.int32) % 2
    return data.from_arrays(images, labels, images[:4], labels[:4], name="tiny")


class Source(list):
    """Images and labels, as `freqbias.data.stream_source` asks for them."""


def of_data() -> dict[str, Call]:
    dataset = tiny()
    images, labels = dataset.train.images, dataset.train.labels
    source = [{"image": np.uint8(255 * image), "label": label}
              for image, label in zip(images, labels, strict=True)]  # fmt: skip
    band = {"dataset": dataset, "low": 0.1, "high": 0.3}
    return named("freqbias.data", data, {
        "band_pass": band,
        "check_name": {"name": "digits", "argument": "name"},
        "filter_split": {
            "split": dataset.train, "low": 0.1, "high": 0.3, "centre": 0.5, "contrast": 0.5,
        },
        "from_arrays": {
            "train_images": images, "train_labels": labels, "test_images": images,
            "test_labels": labels, "name": "x", "class_names": ("a", "b"), "description": "",
            "source": "", "licence": "",
        },
        "high_pass": {"dataset": dataset, "cutoff": 0.2},
        "label_by_teacher": band | {"key": KEY, "num_classes": 2},
        "label_by_turn": {"dataset": dataset, "key": KEY},
        "load": {"name": "digits"},
        "low_pass": {"dataset": dataset, "cutoff": 0.2},
        "permute_frequencies": {
            "dataset": dataset, "permutation": spectral.fourier_permutation(KEY, (6, 6)),
        },
        "plant_pattern": {"dataset": dataset, "fraction": 0.5, "amplitude": 0.1, "key": KEY},
        "power_law": {
            "key": KEY, "alpha": 1.0, "image_shape": (6, 6, 1), "num_classes": 2,
            "teacher_band": (0.1, 0.3), "num_train": 8, "num_test": 4,
        },
        "replace_spectrum": {"dataset": dataset, "other": dataset},
        "shuffle_labels": {"dataset": dataset, "key": KEY},
        "stream_source": {
            "source": source, "side": 6, "batch_size": 2, "key": KEY, "class_names": ("a", "b"),
        },
        "window": {"dataset": dataset, "taper": 0.5},
    })  # fmt: skip


@functools.cache
def small_study():
    found = synthetic_study(datasets=("natural_patches",), regimes=("relu",), arms=ARMS[:3],
                            num_seeds=3)  # fmt: skip
    return found._replace(rows=over_steps(found.rows))


def of_study() -> dict[str, Call]:
    rows, verdicts, spectra, config, looks = small_study()
    name, stated = "natural_patches", claims.load_registry()
    figure = Figure(figsize=(1, 1))
    scale = {"init_scale": 1.0, "looks": looks}
    table = {"rows": rows} | scale
    arrays = {"spectra": spectra} | scale
    shares = fb.plotting.variance_shares(rows, looks)
    page = report.Page("A", ("B",), (report.Section("first", "First", ("Some.",)),))
    records = verdicts["claims"]
    plots = named("freqbias.plotting", fb.plotting, {
        "arm_overview": table | {"column": "mean_frequency", "label": "x"},
        "arms_of_all": {"rows": rows, "looks": looks},
        "band_curve": {
            "edges": (0.0, 0.2, 0.5), "radii": {"a": np.ones((4, 2))}, "norm": "L2",
            "looks": looks,
        },
        "box_effect": table,
        "claim_forest": {"claims": records},
        "doubling_steps": {"rows": rows, "init_scale": 1.0, "times_rate": False},
        "distance_by_band": table,
        "bridge": {"claims": []},
        "effects_by_dataset": {"claims": records, "ids": ["C1"]},
        "exact_control": arrays,
        "factors": {"shares": shares},
        "follows_the_data": table,
        "frequencies_used": table,
        "frequency_against": table | {"axis": "kernel_size"},
        "frequency_against_accuracy": table,
        "grouped_datasets": {"datasets": [name]},
        "has_exact_control": {"spectra": spectra, "init_scale": 1.0},
        "heat_maps": arrays,
        "init_scale_effect": {"rows": rows, "scales": (1.0, 0.5), "looks": looks},
        "kernels_and_predictors": arrays | {"dataset": name, "max_arms": 2},
        "main_datasets": {"rows": rows, "most": 4},
        "order_of_learning": table,
        "over_training": table,
        "pdf_bytes": {"figure": figure, "dpi": 50},
        "perturbation_gallery": arrays | {"dataset": name, "max_arms": 2},
        "png_bytes": {"figure": figure, "dpi": 50},
        "profile_groups": arrays,
        "radial_profiles": arrays | {"groups": None},
        "variance_shares": {"rows": rows, "looks": looks},
    }, runs=False)  # fmt: skip
    shown = {
        "rows": rows, "claims": verdicts, "spectra": {}, "looks": looks, "own": (),
    }  # fmt: skip
    judged = {
        "rows": rows.assign(train_loss=0.1), "registry": claims.select(stated, ["C1"]),
    }  # fmt: skip
    reports = named("freqbias.report", report, {
        "build_page": {"page": page, "config": config},
        "build_report": shown | {"config": config},
        "make_figures": shown,
    }, runs=False) | named("freqbias.schema", schema, {
        "attack_label": {"geometry_name": "l2", "method": "pgd"},
        "attack_rank": {"geometry_name": "l2", "method": "pgd"},
        "geometry": {"name": "l2"},
        "parse_array_key": {"name": "d/relu/fc_d1/1.profile"},
    }) | named("freqbias.study.claims", claims, {
        "as_content": {"registry": stated},
        "as_markdown": {"records": records, "datasets": [name]},
        "as_table": {"records": records},
        "as_text": {
            "found": {"claims": records, "independence": [], "readings": []}, "markdown": False,
            "datasets": [name],
        },
        "independence_table": {"found": [], "markdown": False},
        "judge": judged,
        "judge_independence": {"records": records, "registry": stated},
        "load_registry": {"path": CARO2024},
        "moving": {"rows": rows, "margin": 0.01, "column": "mean_frequency"},
        "parse_registry": {"content": claims.as_content(stated)},
        "readings": judged,
        "readings_table": {"found": [], "markdown": False},
        "select": {"registry": stated, "ids": ["C1"]},
        "settled": {"records": records, "read": []},
        "with_arms": {"registry": stated, "arms": {"fc": ["fc_d1"]}},
    })  # fmt: skip
    return plots | reports | of_linear_study()


def of_linear_study() -> dict[str, Call]:
    task_plan = linear.TaskPlan("noise", (4,), 8)
    task = linear.make_task(task_plan, {}, 0)
    compared = linear.Comparison((task_plan,), (study.Arm("fc", 0),))
    descent = linear.Descent(seeds=(0, 1), num_steps=1)
    design = study.Design(("digits",), (study.Arm("fc"),))
    budget = study.Budget(seeds=(0, 1), num_images=64, epochs=1, num_attacked=4, num_steps=1)
    setting = study.Setting("digits", "relu", **study.Arm("fc")._asdict(), init_scale=1.0)
    registry = claims.load_registry()
    return named("freqbias.study", study, {
        "configure": {"compilation_cache": None},
        "plan": {
            "name": "x", "designs": [design], "budget": budget, "preset": "", "datasets": None,
            "registry": registry, "measurements": MEASUREMENTS, "save_params": False,
        },
    }, runs=False) | named("freqbias.study.linear", linear, {
        "follow": {"setting": setting, "task": task, "plan": task_plan, "descent": descent},
        "make_task": {"plan": task_plan, "sources": {}, "random_key": 0},
        "plan": {
            "name": "x", "compared": compared, "descent": descent, "preset": "", "tasks": None,
            "registry": None,
        },
        "solve_limits": {
            "task": task, "plans": [linear.LimitPlan("l2", 4, 10)], "seeds": (0,), "random_key": 0,
        },
    }, runs=False)  # fmt: skip


def of_files(folder: Path) -> dict[str, Call]:
    run = runs.open_run(folder / "run", {"x": 1})
    runs.append_rows(run, "s", [{"a": 1}])
    runs.write_rows(run)
    runs.save_json(run, "j", {"x": 1})
    runs.save_arrays(run, "a", x=SEEDS)
    runs.save_params(run, "p", {"w": SEEDS})
    pictures = folder / "pictures"
    for name in ("cat", "dog"):
        (pictures / name).mkdir(parents=True)
        Image.new("L", (8, 8), 100).save(pictures / name / "0.png")
    at = {"path": run}
    page = report.Page("A", ("B",), (report.Section("first", "First", ("Some.",)),))
    return named("freqbias.runs", runs, {
        "append_rows": at | {"setting": "t", "rows": [{"a": 1}]},
        "close_run": {"path": folder / "closed"},
        "finished": at,
        "load_arrays": at | {"name": "a"},
        "load_json": at | {"name": "j"},
        "load_params": at | {"name": "p", "like": {"w": SEEDS}},
        "merge": {
            "paths": [run], "out": folder / "merged", "config": {"y": 1}, "overwrite": True,
        },
        "open_run": {
            "path": folder / "new", "config": {"x": 1}, "data_checksums": {"d": "0"},
            "device": {"kind": "cpu"}, "overwrite": True, "resume": False, "grows": (),
        },
        "read_config": at,
        "read_file": at | {"name": "j"},
        "read_rows": at,
        "save_arrays": at | {"name": "b", "x": SEEDS},
        "save_json": at | {"name": "k", "value": {"x": 1}},
        "save_params": at | {"name": "q", "params": {"w": SEEDS}},
        "write_file": at | {"name": "f.txt", "content": b"x"},
        "write_rows": at,
    }) | named("freqbias.data", data, {
        "load_pictures": {"folder": pictures, "size": 6, "num_images": 2},
    }) | named("freqbias.plotting", fb.plotting, {
        "save": {"figure": Figure(figsize=(1, 1)), "path_stem": folder / "figure", "dpi": 50},
    }) | named("freqbias.report", report, {
        "write_page": {"run_dir": run, "page": page},
    })  # fmt: skip


def named(module_name, module, table, *, runs=True) -> dict[str, Call]:
    return {
        f"{module_name}.{name}": Call(getattr(module, name), arguments, runs)
        for name, arguments in table.items()
    }

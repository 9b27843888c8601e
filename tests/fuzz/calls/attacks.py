"""Calls of attacks and of what attacks for one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import freqbias as fb
from calls.values import IMAGES, KEY, LABELS, RNG, SHAPE, Call, named, network, pgd, reached_fn
from freqbias import (
    attacks,
)


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

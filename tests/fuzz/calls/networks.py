"""Calls on networks and on data sets."""

import numpy as np
from flax import nnx

import freqbias as fb
from calls.values import (
    IMAGES,
    KEY,
    LABELS,
    RNG,
    SEEDS,
    Call,
    Flat,
    ReachedModule,
    linear_fn,
    named,
    network,
    pgd,
    reached_attack,
    reached_fn,
    tiny,
)
from freqbias import (
    data,
    ensemble,
    interop,
    models,
    spectral,
)


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

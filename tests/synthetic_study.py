"""Made-up results of a study in the form that experiments write: inputs for figures and reports.

Perturbations are Gaussian fields with a power law that depends on the arm, so that statistics,
profiles and examples agree with each other. The numbers mean nothing.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from freqbias import inference

SHAPES = {"fashion_mnist_mini": (28, 28, 1), "natural_patches": (32, 32, 3)}
SLOPES = {  # exponent of the amplitude's power law, in radius
    "fc_d1": -0.9,
    "conv_k3_d1": -0.1,
    "conv_k7_d1": -0.45,
    "conv_full_d1": -0.8,
    "conv_k3_d2": 0.1,
    "conv_k3_d3": 0.25,
    "locally_connected_k3_d1": -0.5,
    "locally_connected_tied_k3_d1": -0.35,
    "scattered_k3_d1": -0.4,
    "scattered_unshared_k3_d1": -0.7,
}
ARMS = tuple(SLOPES)
_ATTACKS = {"linear": ("closed_form_l2", "pgd_linf"), "relu": ("pgd_l2", "pgd_linf")}


class Study(NamedTuple):
    """The four inputs of a report."""

    rows: pd.DataFrame
    claims: dict[str, Any]
    spectra: dict[str, np.ndarray]
    config: dict[str, Any]


def synthetic_study(
    datasets=tuple(SHAPES), regimes=("linear", "relu"), arms=ARMS, num_seeds=8, dead=(), seed=0
) -> Study:
    """A study in which every seed of the arms in ``dead`` is dead in the ReLU regime."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    spectra: dict[str, np.ndarray] = {}
    for dataset in datasets:
        shape = SHAPES[dataset]
        images = _field(rng, (4, *shape), -1.3, scale=0.18)
        frequency, data_profile = _profile(_power(images))
        spectra[f"{dataset}.frequency"] = frequency
        spectra[f"{dataset}.data_profile"] = data_profile
        spectra[f"{dataset}.example_images"] = np.clip(images + 0.5, 0, 1).astype(np.float32)
        for regime in regimes:
            for arm in arms:
                for init_scale in (1.0, 0.5):
                    gone = regime == "relu" and arm in dead
                    setting = f"{dataset}/{regime}/{arm}/{init_scale:g}"
                    slope = SLOPES[arm] - 0.3 * (regime == "relu") - 0.08 * (init_scale < 1)
                    slopes = slope + 0.04 * rng.standard_normal(num_seeds)
                    deltas = [_field(rng, (8, *shape), s, scale=0.02) for s in slopes]
                    spectra.update(_arrays(rng, setting, arm, regime, deltas, gone))
                    rows += _rows(rng, dataset, regime, arm, init_scale, slopes, deltas, gone)
    table = pd.DataFrame(rows)
    return Study(table, _claims(table), spectra, _config(num_seeds))


def _field(rng, shape, slope, scale):
    """Gaussian fields [n, H, W, C] with amplitude spectrum r^slope and standard deviation."""
    n, h, w, c = shape
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    transfer = np.where(radius > 0, np.maximum(radius, 0.5 / h) ** slope, 0.0)
    common = rng.standard_normal((n, h, w, 1)) + 0.4 * rng.standard_normal((n, h, w, c))
    field = np.fft.ifft2(np.fft.fft2(common, axes=(1, 2)) * transfer[None, :, :, None], axes=(1, 2))
    return (scale * field.real / field.real.std()).astype(np.float32)


def _power(images):
    """Mean normalised power [H, W] of images [n, H, W, C], without DC."""
    power = (np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2).sum(-1)
    power[:, 0, 0] = 0
    return (power / power.sum((1, 2), keepdims=True)).mean(0)


def _profile(power):
    h, w = power.shape
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    ring = np.rint(radius * h).astype(int)
    counts = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), power.ravel()) / counts
    return np.arange(len(counts)) / h, mean * power.size


def _arrays(rng, setting, arm, regime, deltas, gone):
    powers = [_power(delta) for delta in deltas]
    profile = np.stack([_profile(power)[1] for power in powers])
    h, w, c = deltas[0].shape[1:]
    out = {
        f"{setting}.profile": np.full_like(profile, np.nan) if gone else profile,
        f"{setting}.spectrum": np.full((h, w), np.nan) if gone else np.mean(powers, axis=0),
        f"{setting}.examples": np.zeros((4, h, w, c), np.float32) if gone else deltas[0][:4],
    }
    if arm.startswith("conv"):
        size = {"k3": 3, "k7": 7, "full": h}[arm.split("_")[1]]
        out[f"{setting}.kernels"] = 0.2 * rng.standard_normal((size, size, c, 8))
    if regime == "linear":
        beta = _field(rng, (10, h, w, c), SLOPES[arm] - 0.3, scale=1.0)
        out[f"{setting}.beta"] = np.moveaxis(beta, 0, -1)
    return out


def _rows(rng, dataset, regime, arm, init_scale, slopes, deltas, gone):
    h, w, _ = SHAPES[dataset]
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    null = radius.sum() / (h * w - 1)
    architecture, kernel, depth = _parts(arm)
    for seed, delta in enumerate(deltas):
        frequency = float((_power(delta) * radius).sum())
        for attack in _ATTACKS[regime]:
            value = frequency if attack != "pgd_linf" else 0.5 * (frequency + null)
            yield {
                "dataset": dataset,
                "regime": regime,
                "arm": arm,
                "architecture": architecture,
                "depth": depth,
                "kernel": kernel,
                "kernel_size": {"": 0, "full": h}.get(kernel)
                if kernel in ("", "full")
                else int(kernel),
                "channels": 8,
                "padding": "circular",
                "optimizer": "sgd",
                "init_scale": init_scale,
                "seed": seed,
                "step": 96,
                "final": True,
                "attack": attack,
                "box": regime == "relu",
                "epsilon": 0.5 if attack != "pgd_linf" else 8 / 255,
                "status": "dead" if gone else "ok",
                "num_parameters": 1000 * (depth + 1) + 37 * len(arm),
                "train_accuracy": np.nan if gone else 0.85 + 0.02 * rng.random(),
                "test_accuracy": np.nan if gone else 0.78 + 0.02 * rng.random(),
                "robust_accuracy": np.nan if gone else 0.2 + 0.1 * rng.random(),
                "num_images": 128,
                "num_flipped": 0 if gone else int(rng.integers(60, 100)),
                "mean_frequency": np.nan if gone else value,
                "null_mean_frequency": null,
            }


def varied(rows, arm, shift, /, **columns):
    """The rows of an arm again, as one that differs from it in some columns and is higher."""
    of_arm = rows[rows.arm == arm]
    return of_arm.assign(mean_frequency=of_arm.mean_frequency + shift, **columns)


def over_steps(rows, steps=(0, 3, 24), seed=0):
    """The rows with earlier ones of the same networks, and all that is measured of them.

    Frequency and accuracy rise, and the smallest perturbations shrink, with the steps.
    """
    rng = np.random.default_rng(seed)
    last = int(rows["step"].iloc[0])
    out = []
    for step in (*steps, last):
        done = np.log1p(step) / np.log1p(last)
        at_step = rows.assign(
            step=step,
            final=step == last,
            mean_frequency=rows.mean_frequency * (0.8 + 0.2 * done),
            test_accuracy=0.1 + (rows.test_accuracy - 0.1) * done,
            minimal_relative_distance=np.exp(0.1 * rng.standard_normal(len(rows)) - 2 * done),
        )
        for cutoff, low in ((0.0625, 0.5), (0.125, 0.8), (0.25, 0.95)):
            at_step[f"accuracy_low_{cutoff:g}"] = low * at_step.test_accuracy
            at_step[f"accuracy_high_{cutoff:g}"] = (1.1 - low) * at_step.test_accuracy
        out.append(at_step)
    return pd.concat(out, ignore_index=True)


def _parts(arm):
    head, depth = arm.rsplit("_d", 1)
    for kernel in ("_k3", "_k7", "_full"):
        if head.endswith(kernel):
            return head[: -len(kernel)], kernel.removeprefix("_k").lstrip("_"), int(depth)
    return head, "", int(depth)


def _claims(rows):
    """A few contrasts of the arms that are there, judged by the interval alone."""
    two_arms = {
        "C1": ("Convolution against fully connected", "conv_k3_d1", "fc_d1"),
        "C2-ends": ("Local against full-width kernels", "conv_k3_d1", "conv_full_d1"),
        "C3": ("Three layers against one", "conv_k3_d3", "conv_k3_d1"),
        "C9-conv-lc": ("Shared against unshared weights", "conv_k3_d1", "locally_connected_k3_d1"),
        "C9-locality": ("Local against scattered taps", "conv_k3_d1", "scattered_k3_d1"),
    }
    claims = []
    for name, (title, a, b) in two_arms.items():
        for (dataset, regime, attack), group in rows.groupby(["dataset", "regime", "attack"]):
            if {a, b} <= set(group.arm):
                claims.append(_claim(group, name, title, dataset, regime, attack, a, b))
    return {"claims": claims, "confidence": 0.95, "min_live": 0.8}


def _claim(group, name, title, dataset, regime, attack, a, b):
    def estimate(scale):
        values = [
            group[(group.arm == arm) & (group.init_scale == scale)].mean_frequency.dropna()
            for arm in (a, b)
        ]
        return inference.difference_interval(*values) if min(map(len, values)) > 1 else None

    full, half = estimate(1.0), estimate(0.5)
    margin = 0.01
    gone = [arm for arm in (a, b) if not (group[group.arm == arm].status == "ok").any()]
    verdict, reason = "not decided", f"no seed of {', '.join(gone)} is live"
    if full:
        reason = "interval against the margin, Holm over the family"
        verdict = (
            "supported" if full.low > margin
            else "opposite" if full.high < -margin
            else "equivalent" if abs(full.low) < margin and abs(full.high) < margin
            else "inconclusive"
        )  # fmt: skip
        if name == "C9-locality" and regime == "relu":
            verdict = "init-dependent"
    at_one = group[(group.init_scale == 1.0) & group.arm.isin([a, b])]
    return {
        "id": name,
        "title": title,
        "statement": f"Perturbations of {a} have a higher mean frequency than those of {b}.",
        "dataset": dataset,
        "regime": regime,
        "attack": attack,
        "statistic": "mean_frequency",
        "unit": "cycles/pixel",
        "estimate": full and full.estimate,
        "low": full and full.low,
        "high": full and full.high,
        "standard_error": full and full.standard_error,
        "degrees_of_freedom": full and full.degrees_of_freedom,
        "margin": margin,
        "p_holm": 0.003 if full else None,
        "verdict": verdict,
        "reason": reason,
        "seeds": len(at_one),
        "live_seeds": int((at_one.status == "ok").sum()),
        "half_scale": half and {"estimate": half.estimate, "low": half.low, "high": half.high},
        "detectable_effect": 0.012,
        "arms": [a, b],
    }


def _config(num_seeds):
    return {
        "config": {"preset": "quick", "datasets": ["fashion_mnist_mini", "natural_patches"],
                   "num_seeds": num_seeds, "epochs": 5, "channels": 8, "init_scales": [1.0, 0.5]},
        "data": {"fashion_mnist_mini": "1c2c2a6ff08f", "natural_patches": "44a4956870b8"},
        "versions": {"freqbias": "0.1.0", "jax": "0.10.2", "python": "3.11.7"},
        "device": {"platform": "cpu", "kind": "cpu", "count": 1},
        "command": ["reproduce.py", "--preset=quick", "--out=results/quick"],
        "started": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip

"""Made-up results of a study in the form that experiments write: inputs for figures and reports.

Perturbations are Gaussian fields with a power law that depends on the arm, so that statistics,
profiles and examples agree with each other. The numbers mean nothing.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from freqbias import inference, schema
from freqbias.plotting import Drawn
from freqbias.study import Arm, Budget, Setting
from freqbias.study.arms import as_drawn, family

SHAPES = {"fashion_mnist_mini": (28, 28, 1), "natural_patches": (32, 32, 3)}
SLOPES = {  # exponent of the amplitude's power law, in radius
    Arm("fc"): -0.9,
    Arm("conv", 1, "3"): -0.1,
    Arm("conv", 1, "7"): -0.45,
    Arm("conv", 1, "full"): -0.8,
    Arm("conv", 2, "3"): 0.1,
    Arm("conv", 3, "3"): 0.25,
    Arm("locally_connected", 1, "3"): -0.5,
    Arm("locally_connected_tied", 1, "3"): -0.35,
    Arm("scattered", 1, "3"): -0.4,
    Arm("scattered_unshared", 1, "3"): -0.7,
}
ARMS = tuple(SLOPES)
MINOR = (
    "digits",
    "power_law_1_28x28x1_2",
    *(
        f"{base}+{transform}"
        for base in SHAPES
        for transform in (
            "low_pass_0.125", "high_pass_0.125", "permuted_0", "planted_0.1_0.5",
            "teacher_0.02_0.1", "teacher_0.25_0.35", "shuffled_0", "windowed_0.5",
        )
    ),
)  # fmt: skip
MINOR_ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))
_SAME: Any = {"padding": "SAME", "optimizer": "adam"}
ARMS_OF_BLOCKS = (
    Arm("resnet", 2, "3", **_SAME),
    Arm("resnet", 2, "7", **_SAME),
    Arm("vgg", 2, "3", **_SAME),
    Arm("conv_mixer", 2, "3", **_SAME),
    Arm("conv_mixer", 2, "7", **_SAME),
    Arm("vit", 2, optimizer="adam"),
    Arm("mlp_mixer", 2, optimizer="adam"),
)
MANY_ARMS = (
    *ARMS,
    *(Arm("conv", 1, size) for size in ("5", "9", "11", "15")),
    *(Arm("conv", 4, "3"), Arm("fc", 2), Arm("fc", 3), Arm("fc", 4)),
    *(Arm("conv", 1, size, pad) for size in ("3", "7") for pad in ("SAME", "VALID")),
    *(Arm("conv", 1, "3", channels=channels) for channels in (16, 32)),
    *(Arm("conv", 1, "3", optimizer="adam"), Arm("conv", 2, "3", optimizer="adam")),
    *(Arm("conv", 1, "full", optimizer="adam"), Arm("fc", optimizer="adam")),
    *(Arm("conv", 1, "3", weight_decay=0.0005), Arm("fc", weight_decay=0.0005)),
    Arm("conv", 1, "3", optimizer="adam", weight_decay=0.0005),
    *ARMS_OF_BLOCKS,
)
BUDGET = Budget(channels=8)
_ATTACKS = {  # geometry, method
    "linear": (("l2", "closed_form"), ("linf", "pgd")),
    "relu": (("l2", "pgd"), ("linf", "pgd")),
}


def setting(arm, dataset="digits", regime="relu", init_scale=1.0) -> Setting:
    return Setting(dataset, regime, **arm._asdict(), init_scale=init_scale)


def names(arms) -> list[str]:
    """What rows call the arms."""
    return [setting(arm).arm for arm in arms]


def looks_of(arms) -> Drawn:
    """How a study draws the arms."""
    return as_drawn(map(setting, arms), BUDGET)


class Study(NamedTuple):
    """The inputs of a report."""

    rows: pd.DataFrame
    claims: dict[str, Any]
    spectra: dict[str, np.ndarray]
    config: dict[str, Any]
    looks: Drawn


def synthetic_study(
    datasets=tuple(SHAPES), regimes=("linear", "relu"), arms=ARMS, num_seeds=8, dead=(), seed=0
) -> Study:
    """A study in which every seed of the arms in ``dead`` is dead in the ReLU regime."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    spectra: dict[str, np.ndarray] = {}
    for dataset in datasets:
        shape = _shape(dataset)
        images = _field(rng, (4, *shape), _data_slope(dataset), scale=0.18)
        frequency, data_profile = _profile(_power(images))
        spectra[f"{dataset}.frequency"] = frequency
        spectra[f"{dataset}.data_profile"] = data_profile
        spectra[f"{dataset}.example_images"] = np.clip(images + 0.5, 0, 1).astype(np.float32)
        for regime in regimes:
            for arm in arms:
                for init_scale in (1.0, 0.5):
                    gone = regime == "relu" and arm in dead
                    of = setting(arm, dataset, regime, init_scale)
                    slope = _slope(arm) + 0.2 * (_data_slope(dataset) + 1.3)
                    slope = slope - 0.3 * (regime == "relu") - 0.08 * (init_scale < 1)
                    slopes = slope + 0.04 * rng.standard_normal(num_seeds)
                    deltas = [_field(rng, (8, *shape), s, scale=0.02) for s in slopes]
                    spectra.update(_arrays(rng, of, _slope(arm), deltas, gone))
                    more = _rows(rng, of, deltas, gone)
                    rows += (
                        {**row, "data_mean_frequency": _mean_frequency(images)} for row in more
                    )
    table = pd.DataFrame(rows)
    return Study(table, _claims(table), spectra, _config(num_seeds), looks_of(arms))


def large_study(num_seeds=8, main_arms=MANY_ARMS, minor=MINOR, scales=(1.0, 0.5, 0.1)) -> Study:
    """Two data sets with many arms, recorded steps and more, and many sets with three arms."""
    plain = tuple(arm for arm in main_arms if arm not in ARMS_OF_BLOCKS)
    parts = [
        synthetic_study(regimes=("linear",), arms=plain, num_seeds=num_seeds),
        synthetic_study(regimes=("relu",), arms=main_arms, num_seeds=num_seeds, seed=1),
        synthetic_study(datasets=minor, arms=MINOR_ARMS, num_seeds=num_seeds, seed=2),
    ]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    blocks = rows.architecture.map(lambda name: family(name).blocks)
    rows = rows[~(blocks & (rows.init_scale < 1))]
    third = rows[(rows.init_scale == 0.5) & rows.arm.isin(names(MINOR_ARMS))]
    rows = pd.concat([rows, *(third.assign(init_scale=scale) for scale in scales[2:])])
    recorded = rows.arm.isin(names([*MINOR_ARMS, *ARMS_OF_BLOCKS])) & rows.dataset.isin(SHAPES)
    rows = pd.concat([rows[~recorded], over_steps(rows[recorded])], ignore_index=True)
    rows = pd.concat([rows, other_boxes(rows)], ignore_index=True)
    claims = _claims(rows[rows.final])
    claims["independence"] = _independence(claims["claims"])
    spectra = {key: array for part in reversed(parts) for key, array in part.spectra.items()}
    for key in [key for key in spectra if key.endswith("/1.spectrum")]:
        if key.split("/")[0] in SHAPES and key.split("/")[2] in names([*MINOR_ARMS, ARMS[6]]):
            errors = np.repeat(spectra[key][None] * spectra[key].size / 9, num_seeds, axis=0)
            spectra[key.replace("spectrum", "heat_map")] = errors.clip(0, 1)
    return Study(rows, claims, spectra, _config(num_seeds), looks_of([*main_arms, *MINOR_ARMS]))


def renamed(study, arm, name) -> Study:
    """The study with an arm under a name, and of an architecture, that nobody described."""
    rows, listed = study.rows, study.claims["claims"]
    of_arm = rows.arm == arm
    rows = rows.assign(
        arm=rows.arm.where(~of_arm, name), architecture=rows.architecture.where(~of_arm, name)
    )
    swapped = [{**c, "arms": [name if a == arm else a for a in c["arms"]]} for c in listed]
    spectra = {key.replace(f"/{arm}/", f"/{name}/"): array for key, array in study.spectra.items()}
    looks = looks_of(a for a in MANY_ARMS if setting(a).arm in set(rows.arm))
    return Study(rows, {**study.claims, "claims": swapped}, spectra, study.config, looks)


def other_boxes(rows, arms=(*MINOR_ARMS, ARMS[2], ARMS[4]), datasets=tuple(SHAPES)):
    """Rows of the primary attack with the other box, a little lower in frequency with it."""
    l2 = rows[rows.arm.isin(names(arms)) & rows.dataset.isin(datasets) & rows.geometry.eq("l2")]
    free = l2.box.astype(bool)
    geometry = np.where(free, "l2-free", "l2-boxed")
    return l2.assign(
        attack=np.char.add("pgd_", geometry.astype(str)),
        geometry=geometry,
        method="pgd",
        box=~l2.box.astype(bool),
        mean_frequency=l2.mean_frequency + np.where(free, -0.02, 0.02),
    )


def _independence(claims):
    out = []
    for name in ("C1", "C2-ends"):
        for regime in ("linear", "relu"):
            here = [
                claim for claim in claims
                if (claim["id"], claim["regime"], claim["attack"]) == (name, regime, "l2")
            ]  # fmt: skip
            mean = np.mean([claim["estimate"] for claim in here])
            moved = {c["dataset"]: [c[k] - mean for k in ("estimate", "low", "high")] for c in here}
            out.append(
                {
                    "id": f"C4-{name}",
                    "title": f"{here[0]['title']}, on every data set alike",
                    "of": name,
                    "regime": regime,
                    "attack": "l2",
                    "verdict": "inconclusive",
                    "margin": 0.01,
                    "range": 0.0321,
                    "range_low": 0.02,
                    "range_high": 0.05,
                    "sources": ["fashion_mnist", "natural_patches"],
                    "sd": 0.0213,
                    "sd_low": 0.011,
                    "sd_high": 0.2,
                    "deviations": moved,
                }
            )
    return out


def _shape(dataset):
    return SHAPES.get(dataset.split("+")[0], {"digits": (8, 8, 1)}.get(dataset, (28, 28, 1)))


def _data_slope(dataset):
    base, _, transform = dataset.partition("+")
    own = {"fashion_mnist_mini": -1.3, "natural_patches": -1.3, "digits": -0.9}.get(base, -1.0)
    return own + {"low": -0.8, "high": 1.2, "permuted": 1.0, "windowed": -0.1}.get(
        transform.split("_")[0], 0.0
    )


def _slope(arm):
    """Of arms that have none: higher with depth, lower with kernel size."""
    size = 28 if arm.kernel == "full" else int(arm.kernel or 3)
    usual = -0.1 - 0.25 * np.log2(size / 3) + 0.15 * (arm.depth - 1)
    return SLOPES.get(arm, usual - 0.6 * (arm.architecture in ("fc", "vit", "mlp_mixer")))


def _mean_frequency(images):
    h, w = images.shape[1:3]
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    return float((_power(images) * radius).sum())


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


def _arrays(rng, of, slope, deltas, gone):
    powers = [_power(delta) for delta in deltas]
    profile = np.stack([_profile(power)[1] for power in powers])
    h, w, c = deltas[0].shape[1:]
    out = {
        of.array("profile"): np.full_like(profile, np.nan) if gone else profile,
        of.array("spectrum"): np.full((h, w), np.nan) if gone else np.mean(powers, axis=0),
        of.array("examples"): np.zeros((4, h, w, c), np.float32) if gone else deltas[0][:4],
    }
    if of.architecture == "conv":
        size = of.kernel_size((h, w, c))
        out[of.array("kernels")] = 0.2 * rng.standard_normal((size, size, c, 8))
    if of.regime == "linear":
        beta = _field(rng, (10, h, w, c), slope - 0.3, scale=1.0)
        out[of.array("beta")] = np.moveaxis(beta, 0, -1)
    return out


def _rows(rng, of, deltas, gone):
    h, w, _ = _shape(of.dataset)
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    null = radius.sum() / (h * w - 1)
    for seed, delta in enumerate(deltas):
        frequency = float((_power(delta) * radius).sum())
        for geometry, method in _ATTACKS[of.regime]:
            value = frequency if geometry == "l2" else 0.5 * (frequency + null)
            yield {
                **dataclasses.asdict(of),
                "arm": of.arm,
                "kernel_size": of.kernel_size((h, w)),
                "channels": of.channels or BUDGET.channels,
                "seed": seed,
                "step": 96,
                "final": True,
                "attack": f"{method}_{geometry}",
                "geometry": geometry,
                "method": method,
                "box": of.regime == "relu",
                "epsilon": 0.5 if geometry == "l2" else 8 / 255,
                "status": "dead" if gone else "ok",
                "num_parameters": 1000 * (of.depth + 1) + 37 * len(of.arm),
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
        for (dataset, regime, geometry), group in rows.groupby(["dataset", "regime", "geometry"]):
            if {a, b} <= set(group.arm):
                claims.append(_claim(group, name, title, dataset, regime, geometry, a, b))
    return {"claims": claims, "confidence": 0.95, "min_live": 0.8}


def _claim(group, name, title, dataset, regime, geometry, a, b):
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
        "attack": geometry,
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
        "other_scales": [
            {
                "init_scale": 0.5,
                "estimate": half.estimate,
                "low": half.low,
                "high": half.high,
                "verdict": "opposite",
            }
        ]
        if half
        else [],
        "detectable_effect": 0.012,
        "arms": [a, b],
        "by_dataset": name in ("C1", "C2-ends"),
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


def with_bands(rows):
    """The rows with gradients of which band i doubles at step 2^i, and kernels above their bound.

    Powers of the step, so that what is between recorded steps is known.
    """
    step = np.maximum(rows["step"].to_numpy(float), 0.5)
    read = {name: 0.1 * step ** (1 / (1 + band)) for band, name in enumerate(schema.GRADIENT)}
    return rows.assign(**read, kernel_slack=0.02, kernel_slack_init=0.05)

"""The part of the table that is about classes: one valid instance of every class that is made by
hand, put to its use, and one call of every public method that takes arguments.

A class is asked as a function of its fields: it is made, then used, since some of them say what is
wrong with a field when they are made, others when they are used.
"""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from calls.values import (
    IMAGES,
    KEY,
    LABELS,
    SEEDS,
    SHAPE,
    Call,
    linear_fn,
    network,
    pgd,
    reached_attack,
    reached_fn,
    tiny,
)
from matplotlib.figure import Figure

import freqbias as fb
from freqbias import attacks, data, inference, models, plotting, report, study
from freqbias.study import claims, linear

LEFT_OUT = {
    "results and states, made by the library": """
        freqbias.analysis: Analysis Found JacobianPower Measured Subject
        freqbias.attacks: Answer AutoState Diagnosis Evaluation GradientState MinimalState
            Perturbation RobustnessCurve SquareState Transfer UniversalPerturbation
        freqbias.data: FilteredSplit
        freqbias.inference: Decision EffectRange Estimate Heterogeneity ImageMeans VarianceShare
        freqbias.interop: Network Preprocessing
        freqbias.ops: AffinePredictor
        freqbias.spectral: FourierPermutation Null RadialProfile SpectralSummary
        freqbias.study: Measured Plan
        freqbias.study.claims: Verdicts
        freqbias.study.linear: Plan
        freqbias.theory: Certificate CertifiedNorm DirectionReading DirectionState FourierProblem
            HarperBound LinearNet MaxMargin MaximumLikelihood RandomPrediction Regularizer
            SpectralRange Stationarity
        freqbias: Ensemble
        """,
    "without fields that are given": """
        freqbias: Status
        freqbias.attacks: FourierL1 FourierLinf L2 Linf Example
        freqbias.ensemble: AttackNetwork
        freqbias.inference: Verdict
        freqbias.interop: UnfitError
        freqbias.runs: WriteError
        """,
    "what others are made of, or read as they are": """
        freqbias.analysis: Budget
        freqbias.attacks: Attack CheckedAttack IterativeAttack Loop Norm Phase
        freqbias.report: OwnFigure
        freqbias.schema: ArrayKey Geometry
        """,
}
"""Public classes without a call here, by room, and why."""


class Used:
    """A class as a function of its fields: makes an instance, and puts it to use."""

    def __init__(self, made: type, use: Callable[[Any], Any]):
        self.made, self.use = made, use
        known = inspect.signature(made)
        own = [p for p in known.parameters.values() if p.name not in ("parent", "name")
               or not issubclass(made, models.layers.nn.Module)]  # fmt: skip
        self.__signature__ = known.replace(parameters=own)

    def __call__(self, **fields: Any) -> Any:
        return self.use(self.made(**fields))


def left_out() -> set[str]:
    """The names in `LEFT_OUT`."""
    names, room = set(), ""
    for word in " ".join(LEFT_OUT.values()).split():
        if word.endswith(":"):
            room = word.removesuffix(":")
        else:
            names.add(f"{room}.{word}")
    return names


def made(module_name: str, module: Any, use: Callable[[Any], Any], table: dict, *, runs=False):
    return {
        f"{module_name}.{name}": Call(Used(getattr(module, name), use), fields, runs)
        for name, fields in table.items()
    }


def of_classes(folder: Path) -> dict[str, Call]:
    return of_attack_classes() | of_models() | of_values() | of_study_classes() | of_methods(folder)


def attacked(attack):
    return attack(reached_fn, network()["params"], IMAGES, LABELS, KEY)


def of_attack_classes():
    norm = attacks.L2()
    box = {"targeted": False, "bounds": (0.0, 1.0)}
    driven = box | {"driver": "scan"}
    minimal = {"num_steps": 2, "num_rivals": 1} | driven
    gradient = {
        "norm": norm, "epsilon": 0.5, "step_size": 0.1, "num_steps": 2, "num_restarts": 1,
        "random_start": True, "loss": "cross_entropy", "schedule": None, "transform": None,
    } | driven  # fmt: skip
    auto = {"norm": norm, "epsilon": 0.5, "num_steps": 2, "num_restarts": 1, "num_targets": None,
            "loss": "cross_entropy"} | driven  # fmt: skip
    found = made("freqbias.attacks", attacks, attacked, {
        "AffineAttack": {"norm": norm, "epsilon": 0.5, "bounds": (0.0, 1.0)},
        "AutoAttack": {"norm": norm, "epsilon": 0.5, "attacks": (pgd(),), "batch_size": 4} | box,
        "AutoPGD": auto,
        "Bisection": {"attack": pgd(), "num_bisections": 2},
        "BrendelBethge": {"norm": norm, "radius": 1.0, "starts": None, "num_starts": 1} | minimal,
        "CarliniWagner": {
            "step_size": 1.0, "weight": 4.0, "norm": norm, "num_search_steps": 1,
        } | minimal,
        "DDN": {"step_size": 1.0, "gamma": 0.05, "norm": norm, "num_restarts": 1} | minimal,
        "DeepFool": {"norm": norm, "overshoot": 0.02, "box_aware": True} | minimal,
        "FAB": {
            "norm": norm, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9, "num_restarts": 1,
            "class_by_class": False,
        } | minimal,
        "FMN": {"norm": norm, "step_size": 1.0, "gamma": 0.05, "num_restarts": 1} | minimal,
        "FrankWolfe": gradient,
        "GradientAttack": gradient,
        "OptimizerAttack": gradient | {"transform": None},
        "SmallestBudget": {"norm": norm, "num_radii": 2} | minimal,
        "SparseAutoPGD": auto | {"norm": attacks.L1(), "multi_epsilon": False},
        "SquareAttack": {
            "norm": norm, "epsilon": 0.5, "num_steps": 2, "num_restarts": 1, "first_share": 0.8,
        } | driven,
        "UniversalAttack": {
            "norm": norm, "epsilon": 0.5, "step_size": 0.1, "clamp": 9.0, "num_epochs": 1,
            "batch_size": 4, "loss": "cross_entropy",
        } | driven,
    })  # fmt: skip
    return found | made("freqbias.attacks", attacks, bounded, {
        "BandLimited": {"norm": norm, "mask": np.ones(SHAPE, np.float32)},
        "L0": {"per_pixel": True},
        "L1": {"step_fraction": 0.1},
        "Lp": {"order": 3.0},
        "WeightedFourierL2": {"weights": np.ones(SHAPE, np.float32)},
    }, runs=True)  # fmt: skip


def bounded(norm):
    """An attack in a norm."""
    return attacked(attacks.pgd(norm, epsilon=1.0, num_steps=1, random_start=False))


def of_models():
    shape = {"mean": (0.5,), "std": (0.25,)}
    plain = {"num_classes": 2, "depth": 1, "activation": "relu", "init_scale": 1.0,
             "use_bias": True} | shape  # fmt: skip
    kernel = plain | {"kernel_size": 3, "channels": 2}
    patches = {"num_classes": 2, "patch_size": 2, "depth": 1, "width": 4} | shape
    blocks = {"num_classes": 2, "padding": "SAME", "normalization": "group"} | shape
    return made("freqbias.models", models, initialised, {
        "ConvMixer": patches | {"kernel_size": 3, "padding": "SAME", "normalization": "group"},
        "ConvNet": kernel | {
            "padding": "circular", "pooling": None, "normalization": None, "mirrored": False,
            "method": "auto",
        },
        "EfficientNetLite": blocks | {
            "stages": ((1, 4, 1, 1, 3),), "stem": 4, "head": 8, "groups": 2,
        },
        "FullyConnected": plain | {"width": 4},
        "GlobalFilterNet": patches | {"mlp_ratio": 2},
        "LocallyConnectedNet": kernel | {"tied_init": False},
        "MLPMixer": patches | {"tokens_width": 4, "channels_width": 4},
        "MaskedConvNet": kernel | {"scatter_seed": None},
        "ResNet": blocks | {
            "blocks": (1,), "width": 4, "bottleneck": False, "stem": "small", "kernel_size": 3,
            "groups": 2,
        },
        "ScatteredConvNet": kernel | {"shared": True, "scatter_seed": 0},
        "VGG": blocks | {"convolutions": (1,), "width": 4, "kernel_size": 3, "groups": 2},
        "ViT": patches | {"heads": 2, "mlp_ratio": 2},
    })  # fmt: skip


def initialised(module):
    return jax.eval_shape(module.init, KEY, jnp.ones((1, 6, 6, 1)))


def itself(instance):
    return instance


def decided(fitness):
    verdict = inference.verdicts([inference.mean_interval(SEEDS)], 0.01, direction="greater")[0]
    return inference.decide(verdict.verdict, [], arms=[fitness], min_live=0.8)


def built(section):
    return report.build_page(report.Page("A", ("B",), (section,)), {})


def of_values():
    split = tiny().train
    page = {"title": "A", "lead": ("B",), "sections": (), "attacks": (), "numbers": "rows.csv",
            "alone": True}  # fmt: skip
    style = {"label": "A", "color": "#332288", "marker": "o", "linestyle": "-", "short": ""}
    return made("freqbias.data", data, itself, {
        "Dataset": {
            "name": "x", "train": split, "test": split, "class_names": ("a", "b"),
            "description": "", "source": "", "licence": "", "contrast": 1.0,
        },
        "Split": {"pixels": np.array(split.pixels), "labels": np.array(split.labels)},
        "Stream": {"dataset": [], "steps_per_epoch": 2, "class_names": ("a", "b")},
    }, runs=True) | made("freqbias.inference", inference, decided, {
        "Fitness": {"num_seeds": 8, "num_live": 8, "accuracy": 0.8, "accuracy_floor": 0.5},
    }, runs=True) | made("freqbias.plotting", plotting, itself, {
        "Drawn": {
            "styles": {"a": plotting.Style(**style)}, "groups": {"All": ("a",)},
            "factors": {"a": {"depth": 1}}, "typical": ("a",), "swept": ("conv",),
            "baseline": ("fc",),
        },
    }, runs=True) | made("freqbias.plotting", plotting, drawn, {"Style": style}) | made(
        "freqbias.report", report, lambda page: report.build_page(page, {}), {"Page": page},
    ) | made("freqbias.report", report, built, {
        "Section": {"name": "a", "title": "A", "content": ("B",), "short": ""},
    }) | made("freqbias.report", report, lambda block: built(report.Section("a", "A", (block,))), {
        "ReportFigure": {
            "name": "f", "title": "F", "caption": "C", "alt": "D", "figure": Figure((1, 1)),
            "source": "rows.csv",
        },
        "Table": {
            "caption": "C", "columns": ("a", "b"), "rows": (("1", "2"),), "folded": "", "kind": "",
            "headed": True, "wide": False,
        },
    })  # fmt: skip


def drawn(style):
    return plotting.Drawn(styles={"a": style})


def planned(design):
    return study.plan("x", [design], study.Budget(seeds=(0, 1)))


def of_study_classes():
    arm, asked = study.Arm("fc", weight_decay=0.1), study.Asked()
    design = {"datasets": ("digits",), "arms": (arm,), "regimes": ("relu",), "init_scales": (1.0,),
              "asked": asked}  # fmt: skip
    whole = study.Design(**design)
    family = study.Family("x", "X", "#332288", "o", reached_attack)
    registry = claims.load_registry()
    task = linear.make_task(linear.TaskPlan("noise", (4,), 8), {}, 0)
    plan = linear.TaskPlan("noise", (4,), 8)
    compared = {"tasks": (plan,), "arms": (study.Arm("fc", 0),), "limits": (), "limit_seeds": 1}
    descent = linear.Descent(seeds=(0, 1), num_steps=1)

    def compare(**changed):
        return linear.plan("x", linear.Comparison(**(compared | changed)), descent)

    return made("freqbias.study", study, lambda arm: planned(whole._replace(arms=(arm,))), {
        "Arm": arm._asdict(),
    }) | made("freqbias.study", study, lambda asked: planned(whole._replace(asked=asked)), {
        "Asked": asked._asdict(),
    }) | made("freqbias.study", study, planned, {"Design": design}) | made(
        "freqbias.study", study, itself, {
            "Budget": fields_of(study.Budget(clip=1.0)),
            "Family": fields_of(family),
            "Measurement": {
                "columns": reached_attack, "of": "networks", "figure": ("x", "X", "steps"),
            },
            "Setting": fields_of(study.Setting("digits", "relu", *arm)),
        },
    ) | made("freqbias.study.claims", claims, read_claim, {
        "Claim": registry.claims[0]._asdict(),
    }, runs=True) | made("freqbias.study.claims", claims, read_independence, {
        "Independence": registry.independence[0]._asdict(),
    }, runs=True) | made("freqbias.study.claims", claims, claims.as_content, {
        "Registry": registry._asdict(),
    }, runs=True) | made("freqbias.study.linear", linear, itself, {
        "BinaryTask": fields_of(task), "Descent": fields_of(descent),
    }) | made("freqbias.study.linear", linear, lambda given: compare(**given._asdict()), {
        "Comparison": compared,
    }) | made("freqbias.study.linear", linear, lambda limit: compare(limits=(limit,)), {
        "LimitPlan": {"norm": "l2", "num_train": 4, "max_iterations": 10},
    }) | made("freqbias.study.linear", linear, lambda task: compare(tasks=(task,)), {
        "TaskPlan": plan._asdict(),
    })  # fmt: skip


def fields_of(record):
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def read_claim(claim):
    registry = claims.load_registry()._replace(claims=(claim,))
    return claims.parse_registry(claims.as_content(registry))


def read_independence(independence):
    registry = claims.load_registry()._replace(independence=(independence,))
    return claims.parse_registry(claims.as_content(registry))


def method(of, name, /, **arguments):
    """A call of a method of an instance; by the name of its class and its own."""
    return {f"{type(of).__name__}.{name}": Call(getattr(of, name), arguments)}


def of_methods(folder):
    weights = np.stack([network()["params"]] * 2)
    nets = fb.Ensemble(weights, np.zeros(2, np.int32), None, (0, 1), linear_fn)
    analysis = fb.analyze(linear_fn, network()["params"], IMAGES, LABELS, key=KEY, progress=False,
                          attacks={"pgd": pgd()})  # fmt: skip
    of_images = {"images": IMAGES, "strategy": "sequential"}
    attack = {"images": IMAGES, "labels": LABELS, "key": KEY, "targets": None}
    stated = claims.load_registry()
    looks = plotting.Drawn()
    masked = models.MaskedConvNet(num_classes=2, kernel_size=3, channels=2)
    known = study.Family("x", "X", "#332288", "o", reached_attack)
    setting = study.Setting("digits", "relu", "fc", 1)
    of_network = {"apply_fn": linear_fn, "params": network()["params"]}
    found = {
        "freqbias": method(nets, "logits", **of_images)
        | method(nets, "accuracy", labels=LABELS, **of_images)
        | method(nets, "attack", attack=pgd(), strategy="sequential", **attack),
        "freqbias.analysis": method(analysis, "save", path=folder / "page.html")
        | method(analysis.measured.images, "where", group="all"),
        "freqbias.attacks": method(pgd(), "__call__", **of_network, **attack)
        | method(pgd(), "perturb", **of_network, **attack),
        "freqbias.models": method(masked, "offsets", index=0, shape=(6, 6)),
        "freqbias.plotting": method(looks, "with_arms", arms=["a"])
        | method(looks, "column", arm="a")
        | method(looks, "groups_of", arms=["a"])
        | method(looks, "in_order", arms=["a"])
        | method(looks, "joined", other=looks)
        | {"Drawn.from_json": Call(plotting.Drawn.from_json, {"value": looks.as_json()})},
        "freqbias.study": method(known, "usual_of", name="optimizer")
        | method(setting, "array", field="profile")
        | method(setting, "kernel_size", image_shape=(6, 6, 1)),
        "freqbias.study.claims": method(stated, "joined", other=stated),
    }
    return {f"{room}.{name}": call for room, calls in found.items() for name, call in calls.items()}

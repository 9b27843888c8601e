"""The table of attacks, and the small models they are tried on. A new attack joins `CASES`."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import norm_table
import numpy as np
import optax

from freqbias.attacks import (
    L0,
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    Lp,
    WeightedFourierL2,
    affine_attack,
    apgd,
    auto_attack,
    band_limited,
    bim,
    bisect,
    brendel_bethge,
    carlini_wagner,
    ddn,
    deepfool,
    fab,
    fgsm,
    fmn,
    frank_wolfe,
    mi_fgsm,
    optimizer_pgd,
    pgd,
    smallest_budget,
    square,
    universal,
)
from freqbias.spectral import band_mask

SHAPE = (6, 5, 2)  # H, W, C: no two alike
NUM_IMAGES = 12
NUM_CLASSES = 4
SPARSE_L1 = L1(step_fraction=0.1)
NORMS = norm_table.norms(SHAPE)
WEIGHTED = next(norm for norm in NORMS if isinstance(norm, WeightedFourierL2))
LOW_ORDER = next(norm for norm in NORMS if isinstance(norm, Lp))
LOW_BAND = band_mask(SHAPE[:2], 0, 0.3)


BOX = (0.0, 1.0)
TRACES = []  # one entry each time a model below is traced or called
COMPILATIONS = []  # one entry, the program's name, each time XLA compiles anything


def _note_compilation(event, duration, **details):
    del duration
    if "backend_compile" in event:
        COMPILATIONS.append(details.get("fun_name", event))


jax.monitoring.register_event_duration_secs_listener(_note_compilation)


def affine(params, images):
    """Logits <beta_k, x> + b_k."""
    TRACES.append("affine")
    beta, bias = params
    return jnp.einsum("nhwc,khwc->nk", images, beta, precision="highest") + bias[None, :]


def mlp(params, images):
    """One hidden layer; smooth, so that two routes stay close."""
    TRACES.append("mlp")
    (weight, bias), last = params
    hidden = jnp.tanh(images.reshape(images.shape[0], -1) @ weight + bias[None, :])
    return hidden @ last


def affine_params(key, num_classes=NUM_CLASSES, shape=SHAPE):
    beta_key, bias_key = jax.random.split(key)
    beta = jax.random.normal(beta_key, (num_classes, *shape)) / 4
    return beta, jax.random.normal(bias_key, (num_classes,)) / 4


def mlp_params(key, num_classes=NUM_CLASSES):
    keys = jax.random.split(key, 3)
    weight = jax.random.normal(keys[0], (int(np.prod(SHAPE)), 16)) / 4
    bias = jax.random.normal(keys[1], (16,)) / 4
    return (weight, bias), jax.random.normal(keys[2], (16, num_classes)) / 2


def make_images(key, num_images=NUM_IMAGES, shape=SHAPE):
    return jax.random.uniform(key, (num_images, *shape))


class Model(NamedTuple):
    """A network and data of which it classifies all but the last two images correctly."""

    apply_fn: Callable
    params: object
    images: jax.Array
    labels: jax.Array


def make_model(name, seed=0, num_classes=NUM_CLASSES, bounds=BOX):
    """In other bounds than [0, 1], a tenth of the pixels lies on them."""
    return _make_model(name, seed, num_classes, bounds, jax.dtypes.canonicalize_dtype(float))


@lru_cache
def _make_model(name, seed, num_classes, bounds, dtype):
    """One for each precision in force: ``dtype`` is only a key."""
    del dtype
    apply_fn, params_fn = {"affine": (affine, affine_params), "mlp": (mlp, mlp_params)}[name]
    return Model(apply_fn, *_draw_model(apply_fn, params_fn, seed, num_classes, bounds))


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _draw_model(apply_fn, params_fn, seed, num_classes, bounds):
    key = jax.random.key(seed)
    params = params_fn(key, num_classes)
    images = make_images(jax.random.fold_in(key, 1))
    if bounds != BOX:
        images = jnp.clip(bounds[0] + (1.1 * images - 0.05) * (bounds[1] - bounds[0]), *bounds)
    labels = jnp.argmax(apply_fn(params, images), axis=-1).astype(jnp.int32)
    return params, images, (labels.at[-2:].add(1)) % num_classes


def with_bounds(attack, bounds):
    """The attack, and all that it is composed of, in another box."""
    own = {field.name for field in dataclasses.fields(attack)}
    changes = {"bounds": bounds} if "bounds" in own else {}
    if hasattr(attack, "attack"):
        changes["attack"] = with_bounds(attack.attack, bounds)
    if hasattr(attack, "attacks"):
        changes["attacks"] = tuple(with_bounds(one, bounds) for one in attack.attacks)
    return dataclasses.replace(attack, **changes)


class Case(NamedTuple):
    """One attack: how to make it, and which properties it has.

    On `NUM_CLASSES` classes it spends ``probes + starts * gradients`` gradients on each image.
    """

    name: str
    make: Callable  # (epsilon) -> attack; minimal attacks ignore epsilon
    norm: object
    model: str  # of `make_model`
    gradients: int  # of each start; 0 for a black box
    probes: int = 0  # gradients before the first start
    starts: int = 1
    minimal: bool = False
    random: bool = False
    targeted: bool = False
    restarts: Callable | None = None  # (epsilon, starts) -> attack
    bounds: tuple | None = BOX
    spares: bool = False  # what is misclassified when clean costs nothing
    most: int = 1  # an image costs ``gradients`` so many times, fewer if it falls before
    seed: int = 0  # of the network


def _pgd_case(name, norm, make_attack=pgd, **options):
    def make(epsilon, num_restarts=1):
        starts = {} if make_attack is bim else {"num_restarts": num_restarts}
        return make_attack(norm, epsilon=epsilon, num_steps=6, **starts, **options)

    random = make_attack is not bim
    targeted = options.get("targeted", False)
    restarts = make if random else None
    return Case(name, make, norm, "mlp", 6, random=random, targeted=targeted, restarts=restarts)


def _auto_case(name, norm, num_steps=6, **options):
    def make(epsilon, num_restarts=1):
        return apgd(
            norm, epsilon=epsilon, num_steps=num_steps, num_restarts=num_restarts, **options
        )

    aims = options.get("num_targets", 1)
    targeted = options.get("targeted", False)
    restarts = None if norm == Linf() else make  # there all starts end in the same corner
    return Case(
        name, make, norm, "mlp", num_steps * aims, random=True, targeted=targeted, restarts=restarts
    )


def _square_case(name, norm):
    def make(epsilon, num_restarts=1):
        return square(norm, epsilon=epsilon, num_steps=25, num_restarts=num_restarts)

    return Case(name, make, norm, "mlp", 0, random=True, restarts=make)


def _in_band(make_case, name, norm, **options):
    case = make_case(name, band_limited(norm, LOW_BAND), **options)
    return case._replace(norm=norm)  # which has the same values


def _momentum_case(name, norm):
    return Case(name, lambda epsilon: mi_fgsm(norm, epsilon=epsilon, num_steps=6), norm, "mlp", 6)


def _optimizer_case(name, norm):
    def make(epsilon, num_restarts=1):
        return optimizer_pgd(
            norm, ADAM, epsilon=epsilon, num_steps=6, step_size=0.02, num_restarts=num_restarts
        )

    return Case(name, make, norm, "mlp", 6, random=True, restarts=make)


ADAM = optax.adam(1.0)


def halving(step):
    """A step schedule."""
    return 0.5 ** (step // 3)


def _composed_case(name, norm, *, targeted=False):
    """AutoAttack of two short members, the second without gradients."""

    def make(epsilon):
        options = {"epsilon": epsilon, "targeted": targeted}
        members = pgd(norm, num_steps=2, **options), square(norm, num_steps=10, **options)
        return auto_attack(norm, attacks=members, batch_size=NUM_IMAGES, **options)

    return Case(name, make, norm, "mlp", 2, random=True, targeted=targeted, spares=not targeted)


def _bisection_case(name, norm, largest):
    def make(epsilon):
        return bisect(pgd(norm, epsilon=largest, num_steps=4), num_bisections=2)

    return Case(name, make, norm, "mlp", 4, starts=3, minimal=True, random=True)


def _affine_case(name, norm, *, minimal=False, bounds=BOX):
    def make(epsilon):
        return affine_attack(norm, epsilon=None if minimal else epsilon, bounds=bounds)

    return Case(name, make, norm, "affine", NUM_CLASSES, minimal=minimal, bounds=bounds)


def _minimal_case(name, make_attack, norm, *args, gradients, most=1, **options):
    """Of one start, and no probe."""

    def make(epsilon):
        return make_attack(*args, **options)

    targeted = options.get("targeted", False)
    return Case(name, make, norm, "mlp", gradients, minimal=True, targeted=targeted, most=most)


NUM_RIVALS = NUM_CLASSES - 1
ROUGH = (
    13  # seed of a network on which a later start of a minimal attack ends nearer than the first
)


def _fmn_case(name, norm):
    def make(epsilon, num_restarts=2):
        return fmn(norm, num_steps=6, num_restarts=num_restarts)

    return Case(name, make, norm, "mlp", 6, NUM_RIVALS, starts=2, minimal=True, restarts=make)


def _fab_case(name, norm, num_restarts, *, num_steps, gradients, **options):
    """``gradients`` of each step."""

    def make(epsilon, num_restarts=num_restarts):
        return fab(norm, num_steps=num_steps, num_restarts=num_restarts, **options)

    return Case(
        name,
        make,
        norm,
        "mlp",
        gradients * num_steps,
        starts=num_restarts,
        minimal=True,
        random=num_restarts > 1,
        seed=ROUGH if num_restarts > 1 else 0,
        targeted=options.get("targeted", False),
        restarts=make,
    )


def _brendel_bethge_case(name, norm, num_starts=2):
    """Of each start, 12 gradients seek the boundary and 12 follow it."""

    def make(epsilon, num_starts=num_starts):
        return brendel_bethge(norm, num_steps=12, num_starts=num_starts)

    return Case(
        name,
        make,
        norm,
        "mlp",
        12 + 12,
        NUM_RIVALS,
        starts=num_starts,
        minimal=True,
        random=num_starts > 1,
        seed=ROUGH if num_starts > 1 else 0,
        restarts=make,
    )


def _radius_case(name, norm):
    """Of each of 8 radii, 10 steps and one more gradient."""
    return _minimal_case(
        name, smallest_budget, norm, norm, num_steps=10, gradients=NUM_RIVALS + 8 * (10 + 1)
    )


CASES = [
    Case("fgsm_linf", lambda epsilon: fgsm(Linf(), epsilon=epsilon), Linf(), "mlp", 1),
    _pgd_case("pgd_l2", L2()),
    _pgd_case("pgd_linf_margin", Linf(), loss="margin", schedule=halving),
    _pgd_case("pgd_l2_targeted", L2(), targeted=True),
    _pgd_case("pgd_l1", SPARSE_L1),
    _pgd_case("pgd_fourier_linf", FourierLinf()),
    _pgd_case("bim_linf", Linf(), bim),
    _momentum_case("mi_fgsm_linf", Linf()),
    _optimizer_case("adam_l2", L2()),
    _pgd_case("frank_wolfe_linf", Linf(), frank_wolfe),
    _auto_case("apgd_linf", Linf()),
    _auto_case("apgd_l2_dlr_aimed", L2(), loss="dlr", num_targets=2),
    _auto_case("apgd_l1", L1()),
    _square_case("square_linf", Linf()),
    _composed_case("auto_attack_linf", Linf()),
    _in_band(_pgd_case, "pgd_l2_band", L2(), loss="margin"),
    _affine_case("affine_l2_budget", L2()),
    _affine_case("affine_l2", L2(), minimal=True),
    _affine_case("affine_linf", Linf(), minimal=True),
    _affine_case("affine_l0", L0(), minimal=True),
    _affine_case("affine_fourier_linf", FourierLinf(), minimal=True, bounds=None),
    _minimal_case("ddn_l2", ddn, L2(), num_steps=6, gradients=NUM_RIVALS + 2 * 6),
    _fmn_case("fmn_linf", Linf()),
    _minimal_case(
        "deepfool_l2", deepfool, L2(), L2(), num_steps=10, gradients=NUM_RIVALS + 1, most=10
    ),
    _minimal_case(
        "deepfool_l1", deepfool, L1(), L1(), num_steps=10, gradients=NUM_RIVALS + 1, most=10
    ),
    _fab_case("fab_l2", L2(), 2, num_steps=4, gradients=NUM_RIVALS + 1),
    _minimal_case(
        "carlini_wagner",
        carlini_wagner,
        L2(),
        num_steps=6,
        num_search_steps=2,
        gradients=NUM_RIVALS + 2 * 6,
    ),
    _brendel_bethge_case("brendel_bethge_l2", L2()),
    _bisection_case("bisect_pgd_l2", L2(), 2.0),
]
SLOW_CASES = [  # near relatives of the above
    Case("fgm_l2", lambda epsilon: fgsm(L2(), epsilon=epsilon), L2(), "mlp", 1),
    _pgd_case("pgd_linf", Linf()),
    _pgd_case("pgd_l2_scan", L2(), driver="scan"),
    _momentum_case("mi_fgsm_l2", L2()),
    _pgd_case("frank_wolfe_l2_targeted", L2(), frank_wolfe, targeted=True),
    _auto_case("apgd_l2_dlr", L2(), loss="dlr"),
    _auto_case("apgd_linf_targeted", Linf(), targeted=True),
    _square_case("square_l2", L2()),
    _composed_case("auto_attack_l2", L2()),
    _composed_case("auto_attack_linf_targeted", Linf(), targeted=True),
    _in_band(_pgd_case, "pgd_linf_band", Linf(), loss="margin"),
    _in_band(_pgd_case, "pgd_fourier_linf_band", FourierLinf()),
    # of later iterates, equally good but for rounding, that of another batch may be kept
    _in_band(_auto_case, "apgd_fourier_linf_band", FourierLinf(), num_steps=5),
    _in_band(_auto_case, "apgd_l2_band", L2()),
    _in_band(_auto_case, "apgd_weighted_fourier_l2_band", WEIGHTED),
    _radius_case("smallest_budget_l2", L2()),
    _radius_case("smallest_budget_linf", Linf()),
    _radius_case("smallest_budget_fourier_linf", FourierLinf()),
    _brendel_bethge_case("brendel_bethge_l2_once", L2(), 1),
    _brendel_bethge_case("brendel_bethge_linf", Linf(), 1),
    _brendel_bethge_case("brendel_bethge_l1", L1()),
    _brendel_bethge_case("brendel_bethge_l0", L0(), 1),
    _affine_case("affine_linf_budget", Linf()),
    _pgd_case("pgd_fourier_l1", FourierL1()),
    _pgd_case("pgd_weighted_fourier_l2", WEIGHTED),
    _pgd_case("pgd_lp", LOW_ORDER),
    _affine_case("affine_lp", LOW_ORDER, minimal=True),
    _affine_case("affine_l1", L1(), minimal=True),
    _affine_case("affine_l1_budget", L1()),
    _affine_case("affine_l0_budget", L0()),
    _affine_case("affine_fourier_l1_budget", FourierL1(), bounds=None),
    _affine_case("affine_weighted_fourier_l2", WEIGHTED, minimal=True, bounds=None),
    _minimal_case("ddn_l2_targeted", ddn, L2(), num_steps=20, targeted=True, gradients=1 + 20),
    _fmn_case("fmn_l0", L0()),
    _fmn_case("fmn_l1", L1()),
    _fmn_case("fmn_l2", L2()),
    _minimal_case(
        "deepfool_linf", deepfool, Linf(), Linf(), num_steps=10, gradients=NUM_RIVALS + 1, most=10
    ),
    _minimal_case(
        "deepfool_l2_targeted", deepfool, L2(), L2(), targeted=True, gradients=1, most=30
    ),
    _fab_case("fab_l2_once", L2(), 1, num_steps=4, gradients=NUM_RIVALS + 1),
    _fab_case(
        "fab_linf_targeted", Linf(), 1, num_steps=20, gradients=1, alpha_max=0.01, targeted=True
    ),
    _fab_case("fab_l1_by_class", L1(), 1, num_steps=3, gradients=NUM_RIVALS, class_by_class=True),
    _bisection_case("bisect_pgd_linf", Linf(), 0.3),
]
UNIVERSAL_CASES = [  # one perturbation for all images: only what a call promises
    Case(
        "universal_l2",
        lambda epsilon: universal(L2(), epsilon=epsilon, num_epochs=3, batch_size=5),
        L2(),
        "mlp",
        0,
        random=True,
    ),
]
EPSILON = {  # at which about half of the images fall
    L0(): 1,
    SPARSE_L1: 0.5,
    **{norm: case.epsilon for norm, case in NORMS.items()},
}


def rounding(norm):
    """How far the norm of (image + delta) - image may exceed epsilon, in float32.

    Each pixel of it is off by up to 2^-24; the norm of such an error, and 1e-6 of the radius.
    """
    case = NORMS.get(norm)  # the other is L0, of which a pixel's error changes nothing
    most = 0 if case is None else case.most(*SHAPE, norm_table.weights(SHAPE))
    return 2.0**-24 * most + 1e-6 * EPSILON[norm]

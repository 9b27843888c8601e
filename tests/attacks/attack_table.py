"""The table of attacks, and the small models they are tried on. A new attack joins `CASES`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from freqbias.attacks import (
    L0,
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    affine_attack,
    apgd,
    band_limited,
    brendel_bethge,
    carlini_wagner,
    ddn,
    deepfool,
    fab,
    fgsm,
    fmn,
    mi_fgsm,
    optimizer_pgd,
    pgd,
    smallest_budget,
    square,
    weighted_fourier_l2,
)
from freqbias.spectral import band_mask, radius_grid

SHAPE = (6, 5, 2)  # H, W, C: no two alike
NUM_IMAGES = 12
NUM_CLASSES = 4
SPARSE_L1 = L1(step_fraction=0.1)
WEIGHTED = weighted_fourier_l2(0.5 + 4 * radius_grid(SHAPE[:2]))
LOW_BAND = band_mask(SHAPE[:2], 0, 0.3)


TRACES = []  # one entry each time a model below is traced or called


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


def make_model(name, seed=0):
    key = jax.random.key(seed)
    apply_fn, params_fn = {"affine": (affine, affine_params), "mlp": (mlp, mlp_params)}[name]
    params = params_fn(key)
    images = make_images(jax.random.fold_in(key, 1))
    labels = jnp.argmax(apply_fn(params, images), axis=-1).astype(jnp.int32)
    return Model(apply_fn, params, images, labels.at[-2:].add(1) % NUM_CLASSES)


class Case(NamedTuple):
    """One attack: how to make it, and which properties it has."""

    name: str
    make: Callable  # (epsilon) -> attack; minimal attacks ignore epsilon
    norm: object
    model: str  # of `make_model`
    minimal: bool = False
    random: bool = False
    targeted: bool = False
    restarts: Callable | None = None  # (epsilon, num_restarts) -> attack
    gradients: int = 6  # of each restart; 0 for a black box


def _pgd_case(name, norm, **options):
    def make(epsilon, num_restarts=1):
        return pgd(norm, epsilon=epsilon, num_steps=6, num_restarts=num_restarts, **options)

    random = options.get("random_start", True)
    targeted = options.get("targeted", False)
    restarts = make if random else None
    return Case(name, make, norm, "mlp", random=random, targeted=targeted, restarts=restarts)


def _auto_case(name, norm, **options):
    def make(epsilon, num_restarts=1):
        return apgd(norm, epsilon=epsilon, num_steps=6, num_restarts=num_restarts, **options)

    aims = options.get("num_targets", 1)
    targeted = options.get("targeted", False)
    restarts = None if norm == Linf() else make  # there all starts end in the same corner
    return Case(
        name,
        make,
        norm,
        "mlp",
        random=True,
        targeted=targeted,
        restarts=restarts,
        gradients=6 * aims,
    )


def _square_case(name, norm):
    def make(epsilon, num_restarts=1):
        return square(norm, epsilon=epsilon, num_steps=25, num_restarts=num_restarts)

    return Case(name, make, norm, "mlp", random=True, restarts=make, gradients=0)


def _band_case(name, norm):
    case = _pgd_case(name, band_limited(norm, LOW_BAND), loss="margin")
    return case._replace(norm=norm)  # which has the same values


def _radius_case(name, norm):
    return Case(name, lambda _: smallest_budget(norm, num_steps=10), norm, "mlp", minimal=True)


def _brendel_bethge_case(name, norm):
    def make(epsilon):
        return brendel_bethge(norm, num_steps=12, num_starts=1)

    return Case(name, make, norm, "mlp", minimal=True)


def _momentum_case(name, norm):
    return Case(name, lambda epsilon: mi_fgsm(norm, epsilon=epsilon, num_steps=6), norm, "mlp")


def _optimizer_case(name, norm):
    def make(epsilon, num_restarts=1):
        return optimizer_pgd(
            norm, ADAM, epsilon=epsilon, num_steps=6, step_size=0.02, num_restarts=num_restarts
        )

    return Case(name, make, norm, "mlp", random=True, restarts=make)


ADAM = optax.adam(1.0)


def halving(step):
    """A step schedule."""
    return 0.5 ** (step // 3)


def _affine_case(name, norm, *, minimal=False):
    def make(epsilon):
        return affine_attack(norm, epsilon=None if minimal else epsilon, bounds=(0.0, 1.0))

    return Case(name, make, norm, "affine", minimal=minimal)


def _minimal_case(name, make_attack, norm, *args, **options):
    def make(epsilon):
        return make_attack(*args, **options)

    return Case(name, make, norm, "mlp", minimal=True, targeted=options.get("targeted", False))


CASES = [
    Case("fgsm_linf", lambda epsilon: fgsm(Linf(), epsilon=epsilon), Linf(), "mlp"),
    _pgd_case("pgd_l2", L2()),
    _pgd_case("pgd_linf_margin", Linf(), loss="margin", schedule=halving),
    _pgd_case("pgd_l2_targeted", L2(), targeted=True),
    _pgd_case("pgd_l1", SPARSE_L1),
    _pgd_case("pgd_fourier_linf", FourierLinf()),
    _momentum_case("mi_fgsm_linf", Linf()),
    _auto_case("apgd_linf", Linf()),
    _auto_case("apgd_l2_dlr_aimed", L2(), loss="dlr", num_targets=2),
    _square_case("square_linf", Linf()),
    _band_case("pgd_l2_band", L2()),
    _brendel_bethge_case("brendel_bethge_l2", L2()),
    _affine_case("affine_l2_budget", L2()),
    _affine_case("affine_l2", L2(), minimal=True),
    _affine_case("affine_linf", Linf(), minimal=True),
    _minimal_case("ddn_l2", ddn, L2(), num_steps=6),
    _minimal_case("fmn_linf", fmn, Linf(), Linf(), num_steps=6),
    _minimal_case("deepfool_l2", deepfool, L2(), L2(), num_steps=10),
    _minimal_case("fab_l2", fab, L2(), L2(), num_steps=4),
    _minimal_case("carlini_wagner", carlini_wagner, L2(), num_steps=6, num_search_steps=2),
]
SLOW_CASES = [  # near relatives of the above
    Case("fgm_l2", lambda epsilon: fgsm(L2(), epsilon=epsilon), L2(), "mlp"),
    _pgd_case("pgd_linf", Linf()),
    _pgd_case("pgd_l2_scan", L2(), driver="scan"),
    _pgd_case("bim_linf", Linf(), random_start=False),
    _momentum_case("mi_fgsm_l2", L2()),
    _optimizer_case("adam_l2", L2()),
    _auto_case("apgd_l2_dlr", L2(), loss="dlr"),
    _auto_case("apgd_linf_targeted", Linf(), targeted=True),
    _auto_case("apgd_l1", L1()),
    _square_case("square_l2", L2()),
    _band_case("pgd_linf_band", Linf()),
    _radius_case("smallest_budget_l2", L2()),
    _radius_case("smallest_budget_linf", Linf()),
    _brendel_bethge_case("brendel_bethge_linf", Linf()),
    _brendel_bethge_case("brendel_bethge_l0", L0()),
    _affine_case("affine_linf_budget", Linf()),
    _pgd_case("pgd_fourier_l1", FourierL1()),
    _pgd_case("pgd_weighted_fourier_l2", WEIGHTED),
    _affine_case("affine_l1", L1(), minimal=True),
    _affine_case("affine_l1_budget", L1()),
    _affine_case("affine_l0", L0(), minimal=True),
    _minimal_case("ddn_l2_targeted", ddn, L2(), num_steps=20, targeted=True),
    _minimal_case("fmn_l0", fmn, L0(), L0(), num_steps=6),
    _minimal_case("fmn_l1", fmn, L1(), L1(), num_steps=6),
    _minimal_case("fmn_l2", fmn, L2(), L2(), num_steps=6),
    _minimal_case("deepfool_linf", deepfool, Linf(), Linf(), num_steps=10),
    _minimal_case(
        "fab_linf_targeted", fab, Linf(), Linf(), num_steps=20, alpha_max=0.01, targeted=True
    ),
    _minimal_case("fab_l1_by_class", fab, L1(), L1(), num_steps=3, class_by_class=True),
]
EPSILON = {  # at which about half of the images fall
    L0(): 1,
    L1(): 0.5,
    SPARSE_L1: 0.5,
    L2(): 0.25,
    Linf(): 0.03,
    FourierL1(): 1.0,
    FourierLinf(): 0.03,
    WEIGHTED: 0.3,
}


def rounding(norm):
    """How far the norm of (image + delta) - image may exceed epsilon, in float32.

    Each pixel of it is off by up to 2^-24; the norm of such an error, and 1e-6 of the radius.
    """
    pixels, size = np.prod(SHAPE[:2]), np.prod(SHAPE)
    worst = {
        "l0": 0,
        "l1": size,
        "l2": size**0.5,
        "linf": 1,
        "fourier_l1": size,
        "fourier_linf": pixels**0.5,
        "weighted_fourier_l2": np.max(WEIGHTED.weights) * size**0.5,
    }
    return 2.0**-24 * worst[norm.name] + 1e-6 * EPSILON[norm]

"""The table of attacks, and the small models they are tried on. A new attack joins `CASES`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias.attacks import L2, Linf, affine_attack, fgsm, pgd

SHAPE = (6, 5, 2)  # H, W, C: no two alike
NUM_IMAGES = 12
NUM_CLASSES = 4


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


def _pgd_case(name, norm, **options):
    def make(epsilon, num_restarts=1):
        return pgd(norm, epsilon=epsilon, num_steps=6, num_restarts=num_restarts, **options)

    random = options.get("random_start", True)
    targeted = options.get("targeted", False)
    restarts = make if random else None
    return Case(name, make, norm, "mlp", random=random, targeted=targeted, restarts=restarts)


def halving(step):
    """A step schedule."""
    return 0.5 ** (step // 3)


def _affine_case(name, norm, *, minimal=False):
    def make(epsilon):
        return affine_attack(norm, epsilon=None if minimal else epsilon, bounds=(0.0, 1.0))

    return Case(name, make, norm, "affine", minimal=minimal)


CASES = [
    Case("fgsm_linf", lambda epsilon: fgsm(Linf(), epsilon=epsilon), Linf(), "mlp"),
    _pgd_case("pgd_l2", L2()),
    _pgd_case("pgd_linf_margin", Linf(), loss="margin", schedule=halving),
    _pgd_case("pgd_l2_targeted", L2(), targeted=True),
    _affine_case("affine_l2_budget", L2()),
    _affine_case("affine_l2", L2(), minimal=True),
    _affine_case("affine_linf", Linf(), minimal=True),
]
SLOW_CASES = [  # near relatives of the above
    Case("fgm_l2", lambda epsilon: fgsm(L2(), epsilon=epsilon), L2(), "mlp"),
    _pgd_case("pgd_linf", Linf()),
    _pgd_case("pgd_l2_scan", L2(), driver="scan"),
    _pgd_case("bim_linf", Linf(), random_start=False),
    _affine_case("affine_linf_budget", Linf()),
]
EPSILON = {L2(): 0.25, Linf(): 0.03}  # at which about half of the images fall

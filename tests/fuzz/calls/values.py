"""What the calls of the table are made of."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from freqbias import attacks, data


class Call(NamedTuple):
    """A valid call: each argument is made bad in turn, the others stay."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    runs: bool = True  # whether an argument that passes all checks may be run: it is quick


class Reached(Exception):
    """Raised by what a call computes with, where computing would take long."""


RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE = (6, 5)
IMAGES = RNG.uniform(size=(4, 6, 5, 1)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1], np.int32)
POWER = (RNG.uniform(size=(4, *SHAPE)) + 0.1).astype(np.float32)
SEEDS = RNG.standard_normal(8)
CROSSED = [RNG.standard_normal((4, 6)) + centre for centre in (0, 1, 2)]
GROUPS = [SEEDS, SEEDS[::-1] + 1, SEEDS**2]


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


def network() -> dict[str, Any]:
    weights = RNG.standard_normal((6, 5, 1, 2)).astype(np.float32)
    return {"apply_fn": linear_fn, "params": weights}


@functools.cache
def tiny() -> data.Dataset:
    images = RNG.uniform(size=(8, 6, 6, 1)).astype(np.float32)
    labels = np.arange(8, dtype=np.int32) % 2
    return data.from_arrays(images, labels, images[:4], labels[:4], name="tiny")


def pgd():
    return attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=1, random_start=False)


def named(module_name, module, table, *, runs=True) -> dict[str, Call]:
    return {
        f"{module_name}.{name}": Call(getattr(module, name), arguments, runs)
        for name, arguments in table.items()
    }

"""The product that is given its transpose: derivatives and maps of it are those of a matmul."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from freqbias.ops.product import product

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(2, 3, 4)).astype(np.float32)
STACK = RNG.normal(size=(2, 4, 5)).astype(np.float32)


def _ours(matrix, stack):
    return product(matrix, jnp.swapaxes(matrix, -1, -2), stack)


def _close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_derivatives_of_every_mode_and_order(x64):
    check_grads(jax.jit(_ours), (MATRIX, STACK), order=2, modes=("fwd", "rev"))
    both = (0, 1)

    def total(of):
        return lambda matrix, stack: jnp.sum(jnp.sin(of(matrix, stack)))

    args = MATRIX, STACK
    for ours, matmul in (
        (jax.hessian(total(_ours), both), jax.hessian(total(jnp.matmul), both)),
        (jax.jacfwd(_ours, both), jax.jacrev(jnp.matmul, both)),
    ):
        _close(jax.jit(ours)(*args), jax.jit(matmul)(*args))


@pytest.mark.parametrize("axes", [(None, 0), (None, 1), (0, None), (0, 0), (2, 1)])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: jax.grad(lambda *a: jnp.sum(f(*a)), 1)])
def test_maps_over_either_argument(axes, wrap):
    matrices = np.moveaxis(np.stack([MATRIX, 2 * MATRIX, -MATRIX]), 0, axes[0] or 0)
    stacks = np.moveaxis(np.stack([STACK, STACK + 1, STACK - 2]), 0, axes[1] or 0)
    arguments = MATRIX if axes[0] is None else matrices, STACK if axes[1] is None else stacks
    found = jax.jit(jax.vmap(wrap(_ours), axes))(*arguments)
    _close(found, jax.jit(jax.vmap(wrap(jnp.matmul), axes))(*arguments))

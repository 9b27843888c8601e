"""A matrix product that is given its matrix transposed, too, for the gradient.

The gradient of ``A @ x`` with respect to x is ``A^T @ c``. On CPU, XLA takes up to twice the time
for a product with a transposed operand. JAX has no function that is linear, can be mapped, and has
a transpose of one's own; hence a primitive.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from freqbias.typing import Array


def product(matrix: Array, transposed: Array, stack: Array) -> Array:
    """``matrix @ stack``; its derivatives are those of that product, in every mode.

    Args:
      matrix: [..., M, K].
      transposed: [..., K, M], the same matrices transposed, as a function of what they are of.
      stack: [..., K, N].

    Returns:
      [..., M, N], in full precision on accelerators.
    """
    return _product_p.bind(matrix, transposed, stack)


def _matmul(matrix: Array, transposed: Array, stack: Array) -> Array:
    del transposed
    return jnp.matmul(matrix, stack, precision=jax.lax.Precision.HIGHEST)


def _jvp(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Any]:
    (matrix, transposed, stack), (of_matrix, _, of_stack) = primals, tangents
    out = product(matrix, transposed, stack)
    parts = []
    if not isinstance(of_matrix, ad.Zero):
        parts.append(_matmul(of_matrix, transposed, stack))
    if not isinstance(of_stack, ad.Zero):
        parts.append(product(matrix, transposed, of_stack))
    return out, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(out)


def _transpose(cotangent: Array, matrix: Array, transposed: Array, stack: Any) -> tuple[Any, ...]:
    assert ad.is_undefined_primal(stack)  # it is linear in nothing else
    return None, None, product(transposed, matrix, cotangent)


def _batch(arguments: tuple[Array, ...], axes: tuple[Any, ...]) -> tuple[Array, int]:
    matrix, transposed, stack = arguments
    if axes[:2] == (None, None):  # more columns
        stack = jnp.moveaxis(stack, axes[2], -1)
        wide = stack.reshape(*stack.shape[:-2], -1)
        out = product(matrix, transposed, wide)
        return out.reshape(*out.shape[:-1], *stack.shape[-2:]), out.ndim
    size = next(x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None)
    first = (
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arguments, axes, strict=True)
    )
    return product(*first), 0


_product_p = Primitive("freqbias_product")
_product_p.def_impl(jax.jit(_matmul))
_product_p.def_abstract_eval(
    lambda matrix, transposed, stack: jax.core.ShapedArray(
        (*stack.shape[:-2], matrix.shape[-2], stack.shape[-1]), stack.dtype
    )
)
mlir.register_lowering(_product_p, mlir.lower_fun(_matmul, multiple_results=False))
ad.primitive_jvps[_product_p] = _jvp
ad.primitive_transposes[_product_p] = _transpose
batching.primitive_batchers[_product_p] = _batch

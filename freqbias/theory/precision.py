"""Theory checks are sharper than what accelerators multiply by default: `full_precision`."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(fn: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``fn`` with matrix products of float32 in float32, whatever the device and setting.

    By default GPUs round the factors to 10 bits after the point (TF32) and TPUs to 7 (bfloat16):
    ``python -m benchmarks.linear_training`` shows what that does to a loss, if this is taken away.

    Args:
      fn: a function that runs or traces products; traced under ``jit``, decorate within.

    Returns:
      The function.
    """

    @functools.wraps(fn)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return fn(*args, **kwargs)

    return run

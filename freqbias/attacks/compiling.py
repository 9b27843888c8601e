"""How the programs of attacks are compiled: `compiled`."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from freqbias import _checks

# LLVM's first level of optimisation on CPU. Of each program XLA makes a hundred small kernels, and
# what the second level adds takes a quarter of the time to compile and none off the time to run.
_CPU_OPTIONS = {"xla_backend_optimization_level": 1}


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``jax.jit(function, **options)``, on CPU compiled in three quarters of the time.

    The numbers are the same, bit for bit. Under another transformation (JAX takes such options of
    none but an outermost jit), with JAX's optimisations switched off, and on other backends, it is
    ``jax.jit`` as it stands.

    Args:
      function: a pure function.
      **options: of ``jax.jit``.

    Returns:
      The compiled function; its ``prepare``, of the same arguments, compiles and calls nothing.
    """
    plain = jax.jit(function, **options)
    quick = jax.jit(function, compiler_options=_CPU_OPTIONS, **options)

    def chosen(*args: Any, **kwargs: Any) -> Any:
        return quick if _takes_options(args, kwargs) else plain

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return chosen(*args, **kwargs)(*args, **kwargs)

    def prepare(*args: Any, **kwargs: Any) -> None:
        chosen(*args, **kwargs).lower(*args, **kwargs).compile()

    call.prepare = prepare  # type: ignore[attr-defined]
    return call


def _takes_options(*arguments: Any) -> bool:
    """Whether a call with these arguments compiles for itself, on CPU and with optimisations."""
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return False
    here = jax.device_put(0)  # within jit a tracer, whatever the arguments are
    return all(map(_checks.is_concrete, jax.tree.leaves((here, arguments))))

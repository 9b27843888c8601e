"""Checks of arguments: each names the argument, what came and what was expected.

Shapes, dtypes and options are static and are checked under any transformation. Values (ranges,
NaN) are checked only where they are concrete, i.e. outside ``jit``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_concrete(value: Any) -> bool:
    """True if ``value`` can be read now, i.e. is no tracer."""
    return not isinstance(value, jax.core.Tracer)


def _extremes(array: Any) -> tuple[Any, Any]:
    array = np.asarray(array)  # no compilation, and concrete even inside jit
    return array.min(), array.max()


def one_of(name: str, value: Any, options: Iterable[Any]) -> None:
    """Raises ValueError unless ``value`` is one of ``options``."""
    options = list(options)
    if value not in options:
        valid = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name} must be one of {valid}; got {value!r}.")


def positive(name: str, value: Any) -> None:
    """Raises ValueError unless every entry of ``value`` is finite and > 0."""
    if is_concrete(value):
        array = np.asarray(value)
        if not (np.all(np.isfinite(array)) and np.all(array > 0)):
            raise ValueError(f"{name} must be positive and finite; got {value}.")


def positive_int(name: str, value: Any) -> None:
    """Raises TypeError unless ``value`` is an int, ValueError unless it is >= 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int; got {value!r} of type {type(value).__name__}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}.")


def positive_scalars(holder: Any, *names: str) -> None:
    """Raises ValueError unless these attributes of ``holder`` are finite scalars > 0."""
    for name in names:
        rank(name, getattr(holder, name), 0)
        positive(name, getattr(holder, name))


def positive_ints(holder: Any, *names: str) -> None:
    """Raises TypeError or ValueError unless these attributes of ``holder`` are ints >= 1."""
    for name in names:
        positive_int(name, getattr(holder, name))


def sizes(name: str, value: Sequence[int], axes: str) -> tuple[int, ...]:
    """Returns ``value`` as a tuple of ints >= 1, one for each of ``axes`` ("HW"), or raises."""
    value = tuple(value)
    if len(value) != len(axes):
        raise ValueError(f"{name} must be ({', '.join(axes)}); got {value}.")
    for axis, size in zip(axes, value, strict=True):
        positive_int(f"{name}: {axis}", size)
    return tuple(map(int, value))


def integers(name: str, array: Any, shape: Sequence[int | None]) -> None:
    """Raises unless ``array`` has integers and this shape, where None stands for any size."""
    found = np.shape(array)
    if len(found) != len(shape) or any(
        b not in (None, a) for a, b in zip(found, shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must be [{wanted}]; got shape {found}.")
    if not jnp.issubdtype(jnp.result_type(array), jnp.integer):
        raise TypeError(f"{name} must be integers; got {jnp.result_type(array)}.")


def broadcast(**arrays: Any) -> None:
    """Raises ValueError unless these arrays, by name, can be broadcast together."""
    try:
        np.broadcast_shapes(*map(np.shape, arrays.values()))
    except ValueError as error:
        shapes = ", ".join(f"{name} {np.shape(array)}" for name, array in arrays.items())
        raise ValueError(f"arguments must have shapes that go together; got {shapes}.") from error


def share(name: str, value: Any) -> None:
    """Raises ValueError unless ``value`` is a scalar in (0, 1)."""
    rank(name, value, 0)
    if is_concrete(value) and not 0 < float(value) < 1:
        raise ValueError(f"{name} must lie in (0, 1); got {value}.")


def rank(name: str, array: Any, expected: int | Sequence[int]) -> None:
    """Raises ValueError unless ``array.ndim`` is (one of) ``expected``."""
    allowed = (expected,) if isinstance(expected, int) else tuple(expected)
    if np.ndim(array) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"{name} must have rank {wanted}; got shape {np.shape(array)}.")


def floating(name: str, array: Any) -> None:
    """Raises TypeError unless ``array`` is a float32 or float64 array."""
    dtype = jnp.result_type(array)
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{name} must be float32 or float64; got {dtype}.")


def finite(name: str, array: Any) -> None:
    """Raises ValueError if an entry of ``array`` is NaN or infinite."""
    if not is_concrete(array) or not np.size(array):
        return
    if isinstance(array, jax.Array) and any(d.platform != "cpu" for d in array.devices()):
        with jax.ensure_compile_time_eval():  # where it lies: it may be large
            good = bool(jnp.all(jnp.isfinite(array)))
    else:
        good = bool(np.all(np.isfinite(_extremes(array))))  # NaN propagates to both
    if not good:
        raise ValueError(f"{name} must be finite; found NaN or infinity.")


def images(array: Any, *, name: str = "images", unit_range: bool = True) -> None:
    """Raises unless ``array`` is a batch of images [N, H, W, C], float, finite and in [0, 1].

    Args:
      array: the candidate.
      name: the argument's name, for the message.
      unit_range: whether values must lie in [0, 1].

    Raises:
      TypeError: dtype is not float32 or float64.
      ValueError: rank is not 4, an axis is empty, or a value is NaN, infinite or out of range.
    """
    rank(name, array, 4)
    floating(name, array)
    if 0 in np.shape(array):
        raise ValueError(f"{name} must not be empty; got shape {np.shape(array)}.")
    finite(name, array)
    if unit_range and is_concrete(array):
        low, high = (float(bound) for bound in _extremes(array))
        if low < 0.0 or high > 1.0:
            raise ValueError(f"{name} must lie in [0, 1]; got values in [{low:g}, {high:g}].")


def labels(
    array: Any, *, num_examples: int, num_classes: int | None = None, name: str = "labels"
) -> None:
    """Raises unless ``array`` is integer labels [num_examples] within [0, num_classes)."""
    rank(name, array, 1)
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"{name} must be integers; got {dtype}.")
    if np.shape(array)[0] != num_examples:
        raise ValueError(
            f"{name} must have one entry per image ({num_examples}); got {np.shape(array)[0]}."
        )
    if is_concrete(array) and num_examples:
        low, high = (int(bound) for bound in _extremes(array))
        if low < 0 or (num_classes is not None and high >= num_classes):
            limit = "..." if num_classes is None else num_classes - 1
            raise ValueError(f"{name} must lie in 0..{limit}; got values in {low}..{high}.")


def seeds(values: Iterable[int], name: str = "seeds") -> tuple[int, ...]:
    """Returns ``values`` as a tuple of distinct non-negative ints, or raises."""
    out = tuple(values)
    if not out:
        raise ValueError(f"{name} must not be empty.")
    for value in out:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be ints; got {value!r}.")
        if not 0 <= value < 2**32:
            raise ValueError(f"{name} must lie in [0, 2**32); got {value}.")
    if len(set(out)) != len(out):
        raise ValueError(f"{name} must not repeat; got {list(out)}.")
    return tuple(int(value) for value in out)

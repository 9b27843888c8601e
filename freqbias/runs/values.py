"""Values as rows and JSON keep them: exactly, and without the folders of this machine."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import jax
import numpy as np

_INTEGER = re.compile(r"-?[0-9]+")


def cell(column: str, value: Any) -> tuple[str, str]:
    """A value as the text of its cell, and its kind."""
    value = scalar(value)
    if value is None:
        return "", "number"
    if isinstance(value, str):
        return str.__str__(value), "text"
    if isinstance(value, bool):
        return str(value), "flag"
    if isinstance(value, int):
        return str(int(value)), "number"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value), "number"
    raise TypeError(
        f"rows[...][{column!r}] must be str, bool, int, float or None; got {type(value).__name__}."
    )


def parsed(kind: str, cells: Sequence[str]) -> Any:
    """The cells of a column as values; floats exactly as they were written."""
    if kind == "number":
        if all(_INTEGER.fullmatch(cell) for cell in cells):
            return np.array([int(cell) for cell in cells], dtype=np.int64)
        return np.array([float(cell or "nan") for cell in cells], dtype=np.float64)
    return [cell == "True" for cell in cells] if kind == "flag" else list(cells)


def scalar(value: Any) -> Any:
    """A 0-d array as a Python number, anything else as it is."""
    if isinstance(value, np.ndarray | np.generic | jax.Array) and np.ndim(value) == 0:
        return np.asarray(value).item()
    return value


def kind(column: str, cells: Iterable[tuple[str, str]]) -> str:
    """The kind all cells of a column share."""
    kinds = sorted({kind for _, kind in cells})
    if len(kinds) > 1:
        raise ValueError(
            f"rows must have one kind of value in column {column!r}; got {kinds} "
            '(None is a missing number; empty text is "").'
        )
    return kinds[0]


def plain(name: str, value: Any) -> Any:
    """A value as JSON keeps it, without the folders of this machine."""
    value = scalar(value)
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return portable(str.__str__(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value} (None says missing).")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(f"{name}[{i}]", item) for i, item in enumerate(value)]
    raise TypeError(f"{name} must be a JSON value; got {type(value).__name__}.")


def portable(text: str) -> str:
    """A setting or an argument with absolute paths cut to their last component."""
    flag, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    parts = [PurePath(p).name if PurePath(p).is_absolute() else p for p in value.split(",")]
    return flag + equals + ",".join(parts)

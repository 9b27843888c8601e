"""What is wrong with an argument, and what came of it: the two halves of the fuzz."""

import inspect
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import calls
import jax
import numpy as np
import pandas as pd
from calls import Call, Reached

import freqbias

LIBRARY = str(Path(freqbias.__file__).parent)
CALLERS = Path(calls.__file__).parent
OWN = (ValueError, TypeError, OSError, ImportError)
NOTHING = object()
MISFITS = {"an empty list", "empty", "one too many", "one more axis", "one axis less"}
MISFITS |= {"none of them", "a last axis too long", "junk"}
"""What is wrong only beside another argument, which may be the one that is named."""
NUMBERS = {"NaN": np.nan, "infinity": np.inf, "negative": -1.0, "zero": 0.0, "imaginary": 1j}
OTHERS = {"a number": 3, "a text": "nonsense", "an object": NOTHING, "an empty list": []}


NOT_THERE = {("freqbias.theory.fourier_stationarity", "depth")}
"""Where a result has something at some values of an argument only, and NaN else."""
NOTHING_THERE = {"an empty list", "empty", "none of them"}
"""A statistic of nothing is NaN (design.md)."""


class Offence(NamedTuple):
    """A call that ended as none should."""

    call: str
    argument: str
    given: str  # what was wrong with it
    kind: str  # "foreign traceback", "argument not named", "silent NaN"
    says: str


def wrong_values(value: Any) -> dict[str, Any]:
    """Bad values in place of a valid one, by what is wrong with them."""
    found: dict[str, Any] = {"None": None}
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        found |= OTHERS | {"no typed key": np.zeros(2, np.uint32), "no scalar": value[None, None]}
    elif isinstance(value, np.ndarray | jax.Array):
        found |= OTHERS | _wrong_arrays(np.asarray(value))
    elif isinstance(value, bool):
        found |= OTHERS
    elif isinstance(value, int):
        found |= {"a fraction": 1.5, "a bool": True, "a text of a number": "3"} | OTHERS
        found |= {"NaN": np.nan, "infinity": np.inf, "negative": -1, "zero": 0, "a number": 2.0}
    elif isinstance(value, float):
        found |= OTHERS | {"a text of a number": "0.5", "a bool": True} | NUMBERS
    elif isinstance(value, str):
        found |= OTHERS | {"empty": "", "bytes": b"nonsense"}
    elif isinstance(value, pd.DataFrame):
        found |= OTHERS | {"no rows": value.iloc[:0], "no columns": value[[]]}
    elif isinstance(value, Mapping):
        found |= OTHERS | {"empty": {}, "other entries": {"nonsense": NOTHING}}
    elif isinstance(value, Sequence) and not hasattr(value, "_fields"):
        found |= OTHERS | _wrong_sequences(value)
    elif callable(value):
        found |= OTHERS
    elif value is not None:
        found |= OTHERS | {"a mapping": {}, "another class": Offence}
    return found


def _wrong_arrays(array: np.ndarray) -> dict[str, Any]:
    found = {
        "text": np.full(array.shape, "nonsense"),
        "objects": np.full(array.shape, NOTHING),
        "imaginary": array * 1j,
        "negative": array - 100,
        "one more axis": array[None],
    }
    if array.ndim:
        found |= {
            "one axis less": array[0],
            "none of them": array[:0],
            "one too many": np.concatenate([array, array[-1:]]),
            "a last axis too long": np.concatenate([array, array[..., -1:]], -1),
        }
    if array.dtype.kind == "f":
        found["integers"] = np.ones(array.shape, int)
        for says in ("NaN", "infinity"):
            found[says] = np.full(array.shape, NUMBERS[says], array.dtype)
    else:
        found["fractions"] = array + 0.5
    return found


def _wrong_sequences(values: Sequence[Any]) -> dict[str, Any]:
    found = {"empty": type(values)(), "of texts": ["nonsense"] * len(values)}
    found["of objects"] = [NOTHING] * len(values)
    if len(values):
        found |= {"one too many": [*values, values[-1]], "of None": [None] * len(values)}
    if values and all(isinstance(value, int | float) for value in values):
        found |= {says: [number] * len(values) for says, number in NUMBERS.items()}
        if all(isinstance(value, int) for value in values):
            found["of fractions"] = [value + 0.5 for value in values]
    return found


def cases(call: Call) -> Iterator[tuple[str, str, Any]]:
    """Each argument of a call with each bad value, what is wrong with it between them."""
    parameters = inspect.signature(call.function).parameters
    for name, valid in call.arguments.items():
        if name == "params":  # what a network makes of them is its own affair
            continue
        optional = name not in parameters or parameters[name].default is None or valid is None
        for says, bad in wrong_values(valid).items():
            if not (bad is None and optional) and not same(bad, valid):
                yield name, says, bad


def same(bad: Any, valid: Any) -> bool:
    """Whether a bad value is none: the valid one."""
    return type(bad) is type(valid) and repr(bad) == repr(valid)


def run(call: Call, **changed: Any) -> Any:
    """The call with some arguments changed."""
    arguments = call.arguments | changed
    leading = [
        arguments.pop(p.name)
        for p in inspect.signature(call.function).parameters.values()
        if p.kind is p.POSITIONAL_ONLY
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call.function(*leading, **arguments)


def offence(name: str, call: Call, argument: str, says: str, bad: Any) -> Offence | None:
    """What is wrong with how a call with a bad argument ends; None if nothing is."""
    try:
        result = run(call, **{argument: bad})
    except Reached:
        return None
    except Exception as error:
        kind = _kind(error, argument, says, bad, call.arguments)
        said = f"{type(error).__name__}: {error}".splitlines()[0][:150]
    else:
        documented = (name, argument) in NOT_THERE or says in NOTHING_THERE or not _is_finite(bad)
        silent = not documented and has_nan(result) and not has_nan(run(call))
        kind = "silent NaN" if silent else None
        said = ""
    return kind and Offence(name, argument, says, kind, said)


def _kind(
    error: Exception, argument: str, says: str, bad: Any, others: Iterable[str]
) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    if any(Path(frame.filename).is_relative_to(CALLERS) for frame in frames):
        return None  # in the caller's own function
    raised_in = frames[-1].filename
    if not raised_in.startswith(LIBRARY) or not isinstance(error, OWN):
        return "foreign traceback"
    named = [argument, *(others if says in MISFITS else ())]
    if says.startswith("of "):  # one of a list: "path" for "paths"
        named.append(argument.removesuffix("s"))
    if isinstance(error, OSError):
        named.append(str(bad))
    return None if any(name in str(error) for name in named) else "argument not named"


def has_nan(result: Any) -> bool:
    """Whether there is NaN in any array or number of a result."""
    if isinstance(result, pd.DataFrame):
        return bool(result.select_dtypes("number").isna().any(axis=None))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(result) if _is_number(leaf)]
    return any(np.isnan(leaf).any() for leaf in leaves)


def _is_finite(bad: Any) -> bool:
    """False of arrays with NaN or infinity: data, from which NaN may follow."""
    numbers = isinstance(bad, np.ndarray) and bad.dtype.kind in "fc"
    return not numbers or bool(np.isfinite(bad).all())


def _is_number(leaf: Any) -> bool:
    if not isinstance(leaf, float | np.number | np.ndarray | jax.Array):
        return False
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return False
    return np.asarray(leaf).dtype.kind in "fc"

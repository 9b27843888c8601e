"""`checked`: a function's arguments against its annotations, before it does anything.

`check_fields` is the same for the fields of a record.

Types and options only. Ranges and shapes are each function's own to check (`freqbias._checks`).
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TEXT = (str, bytes)


class Kind(NamedTuple):
    """What an annotation asks for: of itself, or as a mark, ``Annotated[type, Kind(...)]``."""

    accepts: Callable[[Any], bool]
    words: str  # as in "must be ..."
    options: tuple[Any, ...] = ()  # all that may come, where they can be listed


def checked(function: _Function) -> _Function:
    """A function that raises before it does anything if an argument is of the wrong kind.

    Each argument is compared with its annotation: numbers, arrays, options (``Literal``), sequences
    and mappings with what is in them, functions, classes. NaN is no number. An ``int`` is no
    ``float`` that happens to be whole, and no ``bool``. What has no annotation, or one that says
    nothing (``Any``), is not looked at, and neither are defaults.

    Args:
      function: with annotations; whatever else it checks, it checks after this.

    Returns:
      The function, which raises besides:

      TypeError: an argument is of another type.
      ValueError: an argument is NaN, or none of the options.

    Example:
      >>> @checked
      ... def shift(pixels: int, kind: Literal["left", "right"] = "left") -> int:
      ...     return pixels if kind == "right" else -pixels
      >>> shift(1.5)
      Traceback (most recent call last):
      TypeError: pixels must be an int; got 1.5 of type float.
      >>> shift(1, kind="up")
      Traceback (most recent call last):
      ValueError: kind must be one of 'left', 'right'; got 'up'.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = tuple(p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD)
    by_place_only = {p.name for p in parameters if p.kind is p.POSITIONAL_ONLY}

    @functools.lru_cache(maxsize=1)
    def kinds() -> dict[str, Kind]:  # at the first call, when all that annotations name is there
        return {name: _kind(annotation) for name, annotation in _annotations(function).items()}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        expected = kinds()
        named = ((name, value) for name, value in kwargs.items() if name not in by_place_only)
        for name, value in chain(zip(positional, args, strict=False), named):
            if name in expected and not expected[name].accepts(value):
                raise _error(name, value, expected[name])
        return function(*args, **kwargs)

    return typing.cast(_Function, wrapper)


def columns(*names: str) -> Kind:
    """The kind of tables that have these columns."""
    return Kind(
        lambda value: set(names) <= set(getattr(value, "columns", ())),
        f"a table with columns {', '.join(names)}",
    )


def check_fields(record: Any) -> None:
    """Raises as `checked` does, where a field of a record does not fit its annotation.

    Args:
      record: of a dataclass or NamedTuple; so are NamedTuples in its fields.
    """
    for name, kind in _kinds_of_fields(type(record)).items():  # type: ignore[arg-type]
        value = getattr(record, name)
        if not kind.accepts(value):
            raise _error(name, value, kind)
        for member in value if type(value) in (tuple, list) else (value,):
            if isinstance(member, tuple) and hasattr(member, "_fields"):
                check_fields(member)


@functools.cache
def _kinds_of_fields(cls: Any) -> dict[str, Kind]:
    is_tuple = issubclass(cls, tuple)
    fields = cls._fields if is_tuple else {field.name for field in dataclasses.fields(cls)}
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        own = inspect.get_annotations(base).items()
        annotations = {name: annotation for name, annotation in own if name in fields}
        found |= _evaluated(annotations, vars(sys.modules[base.__module__]))
    return {name: _kind(annotation) for name, annotation in found.items()}


def _evaluated(annotations: Mapping[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Annotations without those that are there for type checkers only."""
    found = {}
    for name, annotation in annotations.items():
        with contextlib.suppress(NameError):
            found[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
    return found


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Those that can be read, by argument; of ``**options: Unpack[Options]`` each option's."""
    found: dict[str, Any] = {}
    names = inspect.unwrap(function).__globals__
    parameters = inspect.signature(function).parameters
    given = {name: parameter.annotation for name, parameter in parameters.items()}
    for name, annotation in _evaluated(given, names).items():
        parameter = parameters[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            if typing.get_origin(annotation) is typing.Unpack:
                found |= typing.get_type_hints(typing.get_args(annotation)[0])
        elif annotation is not parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
            found[name] = annotation
    return found


def _error(name: str, value: Any, kind: Kind) -> Exception:
    if kind.options and isinstance(value, tuple(map(type, kind.options))):
        return ValueError(f"{name} must be {kind.words}; got {value!r}.")
    if _is_nan(value):
        return ValueError(f"{name} must be {kind.words}; got NaN.")
    if hasattr(value, "columns"):
        return ValueError(f"{name} must be {kind.words}; got columns {list(value.columns)}.")
    return TypeError(f"{name} must be {kind.words}; got {_shown(value)}.")


def _shown(value: Any) -> str:
    """A value in an error message, never longer than a line."""
    kind = type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype}, shape {tuple(value.shape)}"
    text = repr(value)
    return "None" if value is None else f"{text if len(text) < 60 else 'a value'} of type {kind}"


def _kind(annotation: Any) -> Kind:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    base = origin or annotation
    kind = Kind(lambda value: True, "anything")
    if base in _SIMPLE:
        kind = _SIMPLE[base]
    elif base in (typing.Union, types.UnionType):
        kind = _any_of([_kind(argument) for argument in arguments])
    elif base is typing.Annotated:
        kind = next((mark for mark in annotation.__metadata__ if isinstance(mark, Kind)), kind)
    elif base is Literal:
        kind = _option(arguments)
    elif base is Callable or (_is_protocol(base) and "__call__" in vars(base)):
        kind = _CALLABLE
    elif typing.is_typeddict(base):
        kind = _record(sorted(base.__required_keys__))
    elif origin is not None:
        kind = _container(origin, arguments)
    elif isinstance(base, type) and base not in (Any, object) and not _is_protocol(base):
        kind = Kind(lambda value: isinstance(value, base), _name(base))
    return kind


def _option(options: tuple[Any, ...]) -> Kind:
    same = tuple(map(type, options))
    return Kind(
        lambda value: isinstance(value, same) and value in options,
        f"one of {', '.join(map(repr, options))}",
        options,
    )


def _record(names: Sequence[str]) -> Kind:
    return Kind(
        lambda value: isinstance(value, Mapping) and value.keys() >= set(names),
        f"a mapping with {', '.join(names)}",
    )


def _any_of(kinds: Sequence[Kind]) -> Kind:
    if _SIMPLE[float] in kinds:  # "float | Array": nothing complex
        kinds = [_REALS if kind is _ARRAY else kind for kind in kinds]
    return Kind(
        lambda value: any(kind.accepts(value) for kind in kinds),
        " or ".join(dict.fromkeys(kind.words for kind in kinds)),
        tuple(chain.from_iterable(kind.options for kind in kinds)),
    )


def _container(origin: type, arguments: tuple[Any, ...]) -> Kind:
    if issubclass(origin, Mapping):
        key, value = map(_kind, arguments)
        return Kind(
            lambda given: (
                isinstance(given, Mapping)
                and all(map(key.accepts, given))
                and all(map(value.accepts, given.values()))
            ),
            f"a mapping from {key.words} to {value.words}",
        )
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        kinds = tuple(map(_kind, arguments))
        return Kind(
            lambda given: (
                _is_sequence(given)
                and len(given) == len(kinds)
                and all(kind.accepts(each) for kind, each in zip(kinds, given, strict=True))
            ),
            f"({', '.join(kind.words for kind in kinds)})",
        )
    if issubclass(origin, Iterable):
        return _members(origin, _kind(arguments[0]))
    return Kind(lambda value: isinstance(value, origin), _name(origin))


def _members(origin: type, member: Kind) -> Kind:
    def accepts(given: Any) -> bool:
        if isinstance(given, str | bytes | Mapping):
            return False
        if _is_sequence(given) or isinstance(given, Collection):
            return all(map(member.accepts, given))
        lazy = not issubclass(origin, Collection)  # an iterator can be read once: not here
        return lazy and hasattr(given, "__iter__")

    return Kind(accepts, f"a sequence, each {member.words}")


def _is_protocol(annotation: Any) -> bool:
    return getattr(annotation, "_is_protocol", False)


def _is_sequence(value: Any) -> bool:
    if hasattr(value, "shape"):
        return len(value.shape) > 0
    return isinstance(value, Sequence) and not isinstance(value, _TEXT)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_int(value: Any) -> bool:
    """Whatever counts, but a bool; a traced number does not: it is known too late."""
    if isinstance(value, int | np.integer):
        return not isinstance(value, bool)
    return (
        getattr(value, "shape", None) == ()
        and not isinstance(value, jax.core.Tracer)
        and jnp.issubdtype(value.dtype, jnp.integer)
    )


def _is_float(value: Any) -> bool:
    """A real number that is not NaN, also as an array of rank 0, also traced."""
    if getattr(value, "shape", None) == ():
        if isinstance(value, jax.core.Tracer):
            return not jnp.issubdtype(value.dtype, jnp.complexfloating)
        value = np.asarray(value)[()]
    return isinstance(value, int | float | np.number) and not (
        isinstance(value, bool | np.complexfloating) or np.isnan(value)
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _is_array(value: Any) -> bool:
    """Arrays of numbers or of keys, and numbers, which are as good."""
    if isinstance(value, jax.Array | np.ndarray):
        kinds = (np.number, np.bool_, jax.dtypes.prng_key)
        return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    return isinstance(value, bool | int | float | complex | np.number | np.bool_)


def _is_real(value: Any) -> bool:
    """Arrays of real numbers, and numbers but NaN."""
    if not isinstance(value, jax.Array | np.ndarray):
        return _is_float(value) or _is_bool(value)
    return _is_array(value) and not jnp.issubdtype(value.dtype, jnp.complexfloating)


def _is_numbers(value: Any) -> bool:
    """What becomes an array of real numbers, all of it."""
    if isinstance(value, _TEXT):
        return False
    if _is_array(value):
        return _is_real(value)
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except (ValueError, TypeError):  # ragged
        return False


def _is_dtype(value: Any) -> bool:
    try:
        return value is not None and jnp.issubdtype(jnp.dtype(value), np.number)
    except TypeError:
        return False


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _name(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"


KEY = Kind(lambda value: _is_key(value) and value.ndim == 0, "one, made by jax.random.key")
KEYS = Kind(_is_key, "made by jax.random.key")
_ARRAY = Kind(_is_array, "an array")
DTYPE = Kind(_is_dtype, "a dtype of numbers")
_REALS = Kind(_is_real, "an array")
OR_NAN = Kind(lambda value: _is_float(value) or _is_nan(value), "a number")
NUMBERS = Kind(_is_numbers, "real numbers")
_CALLABLE = Kind(callable, "a function")
_SIMPLE: dict[Any, Kind] = {
    bool: Kind(_is_bool, "a bool"),
    int: Kind(_is_int, "an int"),
    float: Kind(_is_float, "a number"),
    str: Kind(lambda value: isinstance(value, str), "a str"),
    type(None): Kind(lambda value: value is None, "None"),
    jax.Array: _ARRAY,
    np.ndarray: _ARRAY,
    os.PathLike: Kind(lambda value: isinstance(value, os.PathLike), "a path"),
}

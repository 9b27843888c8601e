"""Frozen pytrees that are never taken for one another: `frozen`, the one decorator of all of them.

A jitted function finds its compiled program by the treedef of its arguments. Treedefs of classes
registered by ``jax.tree_util.register_dataclass``, as ``flax.struct.dataclass`` does, compare equal
if their static fields do: in jaxlib 0.10 the class enters their hash alone (in 0.8, both). Classes
of equal static fields then share a program whenever a few bits of their hashes agree; of 60
subclasses of one norm, 4 to 15 ran another's. Here the class itself is part of what is compared.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.tree_util import GetAttrKey

_Class = TypeVar("_Class", bound=type)
_STATIC = "static"
_MARK = "_is_frozen"  # in the __dict__ of a class made here


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """A field that is no leaf but part of the treedef: hashable, and a new value compiles anew."""
    return dataclasses.field(default=default, metadata={_STATIC: True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def frozen(cls: _Class) -> _Class:
    """Makes a class, and every subclass of it, a frozen dataclass and a pytree of its own.

    Fields are leaves (or trees of them), traced by JAX; those of `static` belong to the treedef. No
    two classes share a treedef, whatever their fields, names and parents. A subclass needs no
    decorator of its own: it becomes the same when it is defined, and another decorator of
    dataclasses changes nothing (this one, ``flax.struct.dataclass`` with ``flax.struct.field``) or
    raises (``jax.tree_util.register_dataclass``).

    Two instances are equal if they are of one class, with equal static fields and equal leaves;
    arrays, which have no single truth value, are equal only if they are the same object.
    ``replace(**changes)`` makes another instance.

    Args:
      cls: the class; what methods it has it keeps.

    Returns:
      The class.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> @frozen
      ... class Line:
      ...     slope: float
      ...     name: str = static(default="line")
      >>> line = Line(2.0)
      >>> jax.jit(lambda line, x: line.slope * x)(line, jnp.ones(3)).tolist()
      [2.0, 2.0, 2.0]
      >>> line.replace(slope=3.0)
      Line(slope=3.0, name='line')
    """
    if not is_frozen(cls):
        _make(cls)
        _hook(cls)
        for name, method in _METHODS.items():
            if getattr(cls, name, None) is getattr(object, name, None):
                setattr(cls, name, method)
    return cls


def is_frozen(cls: type) -> bool:
    """Whether a class is one of `frozen`, or became one as a subclass."""
    return _MARK in cls.__dict__


def _hook(cls: Any) -> None:
    """Lets each subclass become frozen when it is defined, after what the class itself asks for."""
    own = cls.__dict__.get("__init_subclass__")

    def __init_subclass__(subclass: type, **options: Any) -> None:  # noqa: N807
        if own is None:
            super(cls, subclass).__init_subclass__(**options)
        else:
            own.__get__(None, subclass)(**options)
        _make(subclass)

    cls.__init_subclass__ = classmethod(__init_subclass__)


def _make(cls: Any) -> None:
    """Makes one class a dataclass and a pytree."""
    dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(cls)
    statics = tuple(field.name for field in fields if _is_static(field))
    traced = tuple(field.name for field in fields if field.name not in statics)
    keys = tuple(map(GetAttrKey, traced))

    def flatten(instance: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        leaves = tuple(getattr(instance, name) for name in traced)
        return leaves, (cls, *(getattr(instance, name) for name in statics))

    def flatten_with_keys(instance: Any) -> tuple[tuple[tuple[Any, Any], ...], tuple[Any, ...]]:
        leaves, meta = flatten(instance)
        return tuple(zip(keys, leaves, strict=True)), meta

    def unflatten(meta: tuple[Any, ...], leaves: Any) -> Any:
        instance = object.__new__(cls)  # leaves may be placeholders, which no __init__ should see
        for name, value in zip((*traced, *statics), (*leaves, *meta[1:]), strict=True):
            object.__setattr__(instance, name, value)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    setattr(cls, _MARK, True)
    cls._flax_dataclass = True  # by which flax.struct.dataclass leaves a class as it is


def _is_static(field: dataclasses.Field[Any]) -> bool:
    """Marked by `static`, or as ``flax.struct.field`` does."""
    return bool(field.metadata.get(_STATIC)) or not field.metadata.get("pytree_node", True)


def _replace(self: Any, **changes: Any) -> Any:
    """Another instance, with some fields changed."""
    return dataclasses.replace(self, **changes)


def _equals(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _comparable(self) == _comparable(other)


def _hash(self: Any) -> int:
    return hash(_comparable(self))


def _comparable(tree: Any) -> tuple[Any, ...]:
    """The treedef and the leaves, of arrays, which have no single truth value, their identities."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, *(leaf if np.isscalar(leaf) else id(leaf) for leaf in leaves)


_METHODS = {"replace": _replace, "__eq__": _equals, "__hash__": _hash}

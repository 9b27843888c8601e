"""What travels to another process and back: tasks, arrays, how to set up, results, exceptions."""

import hashlib
import io
import pickle
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cloudpickle
import jax
import numpy as np

from freqbias import runs
from freqbias.study import engine

ATTEMPTS = 3  # deaths of workers that a task is worth
LARGE = 50_000  # bytes of an array that travels apart

# Of a process' settings of JAX those that bear on numbers.
_ARITHMETIC = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_disable_most_optimizations",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
)


class Setup(NamedTuple):
    """How another process must be set up to give the same numbers as this one."""

    config: tuple[tuple[str, Any], ...]
    versions: tuple[tuple[str, str], ...]


class Payloads:
    """Tasks as bytes, and the large arrays that they name."""

    def __init__(self) -> None:
        self.setup = Setup(
            tuple((name, jax.config.values[name]) for name in _ARITHMETIC),
            tuple(runs.versions().items()),
        )
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[int, tuple[weakref.ref, str]] = {}

    def dumps(self, compute: Callable[[], Any]) -> tuple[bytes, set[str]]:
        """The bytes, and the names of the arrays they need."""
        stream, needed = io.BytesIO(), set()

        class Pickler(cloudpickle.Pickler):
            def persistent_id(pickler, value: Any) -> str | None:  # noqa: N805
                if type(value) is not np.ndarray or value.nbytes < LARGE or value.dtype.hasobject:
                    return None
                name = self._name(value)
                needed.add(name)
                return name

        Pickler(stream).dump(compute)
        return stream.getvalue(), needed

    def _name(self, array: np.ndarray) -> str:
        known = self._names.get(id(array))
        if known is None or known[0]() is not array:
            digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
            known = weakref.ref(array), digest.hexdigest()
            self._names[id(array)] = known
            self.arrays.setdefault(known[1], array)
        return known[1]


class _Unpickler(pickle.Unpickler):
    def __init__(self, payload: bytes, arrays: Mapping[str, np.ndarray]):
        super().__init__(io.BytesIO(payload))
        self._arrays = arrays

    def persistent_load(self, name: str) -> np.ndarray:
        array = self._arrays[name].view()
        array.flags.writeable = False
        return array


_set_up_lock = threading.Lock()
_set_up_as: Setup | None = None


def _set_up(setup: Setup) -> None:
    """Sets this process up, once."""
    global _set_up_as  # noqa: PLW0603
    with _set_up_lock:
        if setup == _set_up_as:
            return
        theirs = runs.versions()
        differing = [
            f"{name} {theirs.get(name)}, not {version}"
            for name, version in setup.versions
            if theirs.get(name) != version
        ]
        if differing:
            raise ValueError(f"a worker must have the same versions; it has {'; '.join(differing)}")
        engine.configure()
        for name, value in setup.config:
            jax.config.update(name, value)
        _set_up_as = setup


def about(setup: Setup) -> dict[str, Any]:
    """What a worker computes on."""
    _set_up(setup)
    return runs.this_device()


def remote(setup: Setup, payload: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Computes a task in another process: its result, or what it raised, as bytes."""
    try:
        _set_up(setup)
        return cloudpickle.dumps((engine.computed(_Unpickler(payload, arrays).load()), None))
    except Exception as error:
        where = f"in a worker:\n{traceback.format_exc()}"
        try:
            raised = cloudpickle.dumps((None, (error, where)))
            pickle.loads(raised)
        except Exception:  # an exception that does not survive the journey
            plain = RuntimeError(f"{type(error).__name__}: {error}")
            raised = cloudpickle.dumps((None, (plain, where)))
        return raised


def result_of(outcome: bytes) -> Any:
    """What `remote` computed; what it raised is raised."""
    found, raised = pickle.loads(outcome)
    if raised is not None:
        error, where = raised
        error.add_note(where)
        raise error
    return found

"""Seeds over the devices of several processes, on one machine or on many.

Every process runs the same program with the same arguments. `freqbias.ensemble.map_seeds` deals the
seeds over the devices of all, and each process gets the whole result. So all must train and attack
the same networks in the same order, and one of them, the first, writes the files.
"""

import atexit
import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from freqbias._checked import checked

_WEEK = 7 * 24 * 3600 * 1000  # milliseconds; the first process may compute for long
_PATIENCE = 10.0  # seconds that a process which has failed waits for the others to hear of it
_PAUSE = 0.5  # seconds between two looks at whether another has failed
_ERROR, _HEARD = "freqbias/error", "freqbias/heard"

_calls = itertools.count()
_failing = threading.Event()  # this process has failed by itself
_leaving = threading.Event()


@checked
def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins this process to the others; returns when all have come.

    To be called before anything is computed. Without arguments the cluster is asked (Slurm, Open
    MPI, Cloud TPU; see ``jax.distributed.initialize``).

    Args:
      coordinator_address: "host:port" of the first process, the same for all.
      num_processes: how many there are.
      process_id: which one this is, 0 to num_processes - 1; process 0 listens at the coordinator's
        port.

    Raises:
      ValueError: some of the arguments are given and others not, one is out of range, or there is
        no cluster to ask.
      RuntimeError: JAX has already computed something, or the others have not come.

    Example:
      Two processes on one machine, each started with its own ``process_id``:
      ``initialize("localhost:1234", num_processes=2, process_id=0)``.
    """
    given = {
        "coordinator_address": coordinator_address,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(f"{', '.join(given)} must be given together; missing {missing}.")
    if not missing:
        host, _, port = str(coordinator_address).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"coordinator_address must be host:port; got {coordinator_address!r}.")
        if not 0 <= process_id < num_processes:  # type: ignore[operator]
            raise ValueError(
                f"process_id must lie in 0..num_processes - 1; got {process_id} of {num_processes}."
            )
    jax.distributed.initialize(coordinator_address, num_processes, process_id)
    if jax.process_count() > 1:
        listening = threading.Thread(target=_listen, daemon=True)
        listening.start()
        atexit.register(listening.join)
        atexit.register(_leaving.set)


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


@checked
def from_first(compute: Callable[[], Any]) -> Any:
    """What ``compute()`` returns on the first process, on all of them.

    Args:
      compute: returns a JSON value; is called on the first process only, the others wait. What it
        raises ends them; see `together`.
    """
    if jax.process_count() == 1:
        return compute()
    name = f"freqbias/from_first/{next(_calls)}"
    if not is_first():
        return json.loads(_client().blocking_key_value_get(name, _WEEK))
    with together():
        found = compute()
    _client().key_value_set(name, json.dumps(found))
    return found


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Where one process fails, all end: they would wait for it forever.

    What is raised within is told to the others; each says so on stderr and ends with status 1.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() > 1 and not _failing.is_set():
            _failing.set()
            _tell_others(f"{type(error).__name__}: {error}")
        raise


def _tell_others(message: str) -> None:
    """Returns when all others have heard, or after a while."""
    told = json.dumps({"process": jax.process_index(), "message": message})
    give_up = time.monotonic() + _PATIENCE
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # of several that fail one is heard
        _client().key_value_set(_ERROR, told)
    for other in range(jax.process_count()):
        left = int(1000 * (give_up - time.monotonic()))
        if other != jax.process_index() and left > 0:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                _client().blocking_key_value_get(f"{_HEARD}/{other}", left)


def _listen() -> None:
    """Ends this process when another says that it has failed."""
    while not _leaving.wait(_PAUSE):
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # NOT_FOUND
            told = json.loads(_client().key_value_try_get(_ERROR))
            _client().key_value_set(f"{_HEARD}/{jax.process_index()}", "")
            if not _failing.is_set():
                _end(told)
            return


def _end(told: Mapping[str, Any]) -> None:
    """Ends this process, whatever it waits for."""
    print(f"error: process {told['process']} has ended: {told['message']}", file=sys.stderr)
    sys.stderr.flush()
    # JAX's processes leave together, or the one that failed waits for those that are gone.
    leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    leaving.start()
    leaving.join(_PATIENCE)
    os._exit(1)


def _client() -> Any:
    """JAX's store of keys and values, which all processes share; there is no public name for it."""
    from jax._src import distributed  # noqa: PLC0415

    return distributed.global_state.client

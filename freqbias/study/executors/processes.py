"""Processes of this machine."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from freqbias import runs
from freqbias.study.engine import Task, WorkerDiedError
from freqbias.study.executors.remote import ATTEMPTS, Payloads, remote, result_of

_THREADS_OF_BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Processes:
    """Processes of this machine, each with its own compiled programs, and one core.

    A script that uses them runs under ``if __name__ == "__main__":``, since each imports it.
    """

    def __init__(self, workers: int):
        self.places = self.most_places = workers
        self._payloads = Payloads()
        self._workers = [_Process(self._payloads) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._changed: dict[str, str] = {}

    def device(self) -> dict[str, Any]:
        """As `engine.Executor` says."""
        return runs.this_device()

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[Task], Any]]:
        """As `engine.Executor` says."""
        worker = self._idle.get()
        try:
            yield worker.compute
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """Kills them."""
        for worker in self._workers:
            worker.kill()

    def __enter__(self) -> "Processes":
        for worker in self._workers:
            self._idle.put(worker)
        # BLAS reads these when it is loaded: too late here, in time for the processes.
        self._changed = {name: "1" for name in _THREADS_OF_BLAS if name not in os.environ}
        os.environ.update(self._changed)
        return self

    def __exit__(self, *error: object) -> None:
        for name in self._changed:
            del os.environ[name]
        for worker in self._workers:
            worker.close()


class _Process:
    """One process that computes; another takes its place when it has died."""

    def __init__(self, payloads: "Payloads"):
        self._payloads = payloads
        self._process: Any = None
        self._connection: Any = None
        self._held: set[str] = set()
        self._stopped = False

    def compute(self, task: Task) -> Any:
        payload, names = self._payloads.dumps(task.compute)
        code: int | None = None
        for _ in range(ATTEMPTS):
            if self._process is None:
                self._start()
            new = {name: self._payloads.arrays[name] for name in names if name not in self._held}
            try:
                self._connection.send((self._payloads.setup, payload, new))
                outcome = self._connection.recv_bytes()
            except (EOFError, OSError):
                code = self._bury()
            else:
                self._held |= set(new)
                return result_of(outcome)
        raise WorkerDiedError(f"{ATTEMPTS} processes ended with exit code {code}")

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # JAX has threads: no fork
        for _ in range(ATTEMPTS):
            if self._stopped:
                raise RuntimeError("stopped")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            try:
                self._connection.recv_bytes()
                return
            except (EOFError, OSError):
                code = self._bury()
        raise RuntimeError(
            f"a worker process ended with exit code {code} before it began (a script that uses "
            'processes must do so under `if __name__ == "__main__":`).'
        )

    def _bury(self) -> int | None:
        self._connection.close()
        self._process.join()
        code = self._process.exitcode
        self._process, self._held = None, set()
        return code

    def kill(self) -> None:
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._connection.close()  # it then ends by itself
            self._process.join(5)
            self._process.kill()
            self._bury()


def _serve(connection: Any) -> None:
    """What a process does: compute what comes, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send_bytes(b"ready")
    held: dict[str, np.ndarray] = {}
    while True:
        try:
            setup, payload, new = connection.recv()
        except EOFError:
            return
        held.update(new)
        connection.send_bytes(remote(setup, payload, held))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

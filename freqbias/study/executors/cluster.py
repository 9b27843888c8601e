"""The workers of a Dask cluster."""

import contextlib
import importlib.util
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from freqbias import runs
from freqbias.study.engine import Task, WorkerDiedError
from freqbias.study.executors.remote import ATTEMPTS, Payloads, about, remote, result_of


class Dask:
    """The workers of a Dask cluster. Each task is one of Dask's; workers may come and go meanwhile.

    As many tasks are given to Dask as the workers have threads: the next task of a job goes then to
    the worker that has just done the last, where their programs are. (Asked for by name, a worker
    that was the only one and died is waited for for ever.)

    Dask blames a death on all tasks that the worker had, also on one that waited there since its
    own worker had died. So the last attempt of a task is made when no other is made again: what
    kills its workers cannot take the task with it then.
    """

    most_places = 1_000

    def __init__(self, workers: int | str):
        """``workers``: of a local cluster, a number; else the address of a scheduler, or a file."""
        if importlib.util.find_spec("distributed") is None:
            raise ImportError(
                "executor 'dask' needs the package distributed: pip install 'freqbias[dask]'"
            )
        self._payloads = Payloads()
        self._stack = contextlib.ExitStack()
        self._local = workers if isinstance(workers, int) else None
        self._client: Any = None
        self._futures: dict[str, Any] = {}
        self._running = 0
        self._freed = threading.Condition()
        self._asked: set[Any] = set()
        self._retries, self._is_last_attempt = 0, False
        self._stopped = False
        if isinstance(workers, str):
            self._client = self._stack.enter_context(_connect(workers))

    def device(self) -> dict[str, Any]:
        """What the workers compute on; waits for the first of them."""
        if self._client is None:
            return runs.this_device()
        if not self._client.nthreads():
            print("waiting for the first worker of the scheduler", flush=True)
            self._client.wait_for_workers(1)
        devices = list(self._client.run(about, self._payloads.setup).values())
        platforms = sorted({device["platform"] for device in devices})
        if len(platforms) > 1:
            raise ValueError(f"scheduler must have workers of one platform; got {platforms}.")
        return devices[0]

    @property
    def places(self) -> int:
        """Threads of all workers that are there."""
        return sum(self._client.nthreads().values())

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[Task], Any]]:
        """As `engine.Executor` says."""
        with self._freed:
            while self._running >= self.places and not self._stopped:
                self._freed.wait(timeout=1)
            self._running += 1
        try:
            yield self._compute
        finally:
            with self._freed:
                self._running -= 1
                self._freed.notify_all()

    def _compute(self, task: Task) -> Any:
        from distributed import KilledWorker  # noqa: PLC0415

        deaths = 0
        while True:
            is_last = deaths >= ATTEMPTS - 1
            try:
                with self._retry(is_last) if deaths else contextlib.nullcontext():
                    return self._attempt(task)
            except KilledWorker as error:
                deaths += error.allowed_failures + 1  # more than one by a scheduler of its own
                if is_last:
                    raise WorkerDiedError(f"{deaths} workers died") from error

    @contextlib.contextmanager
    def _retry(self, is_last: bool) -> Iterator[None]:
        """Waits until a task may be tried again: the last time alone, before beside others."""
        with self._freed:
            self._freed.wait_for(
                lambda: (
                    self._stopped
                    or not self._retries
                    or (not is_last and not self._is_last_attempt)
                )
            )
            self._retries += 1
            self._is_last_attempt = is_last
        try:
            yield
        finally:
            with self._freed:
                self._retries -= 1
                self._is_last_attempt = False
                self._freed.notify_all()

    def _attempt(self, task: Task) -> Any:
        if self._stopped:
            raise RuntimeError("stopped")
        payload, names = self._payloads.dumps(task.compute)
        future = self._client.submit(
            remote,
            self._payloads.setup,
            payload,
            {name: self._sent(name) for name in names},
            key=f"{task.name}-{time.monotonic_ns()}",
            pure=False,
        )
        with self._freed:
            self._asked.add(future)
        try:
            return result_of(future.result())
        finally:
            with self._freed:
                self._asked.discard(future)

    def _sent(self, name: str) -> Any:
        """An array as a task of Dask's, which makes it anew where a worker has died with it."""
        with self._freed:
            if name not in self._futures:
                blob = pickle.dumps(self._payloads.arrays[name], protocol=5)
                self._futures[name] = self._client.submit(pickle.loads, blob, key=f"array-{name}")
            return self._futures[name]

    def stop(self) -> None:
        """Takes back what was asked for; a worker ends what it has begun, unless it is local."""
        self._stopped = True
        with self._freed:
            asked = list(self._asked)
            self._freed.notify_all()
        self._client.cancel(asked)

    def __enter__(self) -> "Dask":
        import dask  # noqa: PLC0415
        from distributed import Client, LocalCluster  # noqa: PLC0415

        self._stack.enter_context(
            dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": 0,  # counted above
                    "distributed.deploy.lost-worker-timeout": "1h",  # it starts anew, if slowly
                    "distributed.admin.large-graph-warning-threshold": "1TB",
                }
            )
        )
        if self._client is None:
            cluster = LocalCluster(
                n_workers=self._local,
                threads_per_worker=1,
                memory_limit=0,  # as for threads: the system's
                dashboard_address=":0",
                silence_logs=logging.ERROR,
            )
            self._stack.enter_context(cluster)
            self._client = self._stack.enter_context(Client(cluster))
        if importlib.util.find_spec("bokeh"):
            print(f"dashboard: {self._client.dashboard_link}", flush=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._futures.clear()
        self._asked.clear()
        self._stack.close()
        self._client = None


def _connect(scheduler: str) -> Any:
    from distributed import Client  # noqa: PLC0415

    where = {"scheduler_file": scheduler} if os.path.exists(scheduler) else {"address": scheduler}
    try:
        return Client(**where, timeout=10)
    except (OSError, ValueError) as error:
        raise OSError(
            "scheduler must be the address of a Dask scheduler, e.g. tcp://host:8786, or the file "
            f"it wrote; got {scheduler!r}: {error}"
        ) from error

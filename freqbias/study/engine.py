"""Runs the tasks of a study side by side, and saves what they give as they end.

Where they are computed is an `Executor`'s: threads, processes of this machine, or the workers of a
Dask cluster (``freqbias.study.executors``). What is saved is saved here, by one thread.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
from tqdm import tqdm

from freqbias import distributed
from freqbias._checked import checked
from freqbias._terminal import Terminal

XLA_FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_multi_thread_eigen=false"

# Linux lets a process map 65,530 pieces of memory (vm.max_map_count), and the programs of a few
# settings take a thousand: a long sweep that kept them all would end in a segmentation fault.
MOST_MAPS = 30_000
_KEPT_FROM = 0.01  # seconds that a program of the cache has taken to compile, at least


@checked
def configure(compilation_cache: str | os.PathLike | None = None) -> None:
    """Sets JAX up for many small programs side by side; call it before JAX makes its first array.

    Short programs spend their time compiling, and XLA's first level of optimisation compiles
    faster. Settings run side by side, one per core, so each keeps to its core: faster than sharing,
    and programs of two threads that queue for XLA's one pool of threads on CPU have waited for each
    other for ever. Accelerators would round the factors of every matrix product: one study, one
    arithmetic. What the environment variables ``XLA_FLAGS`` and ``JAX_DEFAULT_MATMUL_PRECISION``
    say already stands.

    Args:
      compilation_cache: folder in which compiled programs are kept for later runs, of this process
        and of those that it starts; None: as the environment says.
    """
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")
    if compilation_cache is not None:
        kept = {
            "jax_compilation_cache_dir": os.path.abspath(compilation_cache),
            "jax_persistent_cache_min_compile_time_secs": _KEPT_FROM,
        }
        for name, value in kept.items():
            os.environ[name.upper()] = str(value)
            jax.config.update(name, value)


def default_workers() -> int:
    """Tasks to run side by side: one per CPU core; one on an accelerator, or over processes."""
    alone = jax.default_backend() == "cpu" and jax.process_count() == 1
    return (os.cpu_count() or 1) if alone else 1


class Task(NamedTuple):
    """Something to compute, and what saves its result."""

    name: str
    cost: float  # in any unit; for the order and the progress bar only
    compute: Callable[[], Any]  # a partial of a module's function: it may run in another process
    save: Callable[[Any], None]  # runs here, one at a time


class Job(NamedTuple):
    """Tasks that one worker computes one after the other, e.g. as they share compilations."""

    tasks: tuple[Task, ...]

    @property
    def cost(self) -> float:
        """Of all tasks."""
        return sum(task.cost for task in self.tasks)


class WorkerDiedError(RuntimeError):
    """Worker after worker died while it computed one task."""


class Executor(Protocol):
    """Where tasks are computed. It is entered before its first place is taken."""

    @property
    def places(self) -> int:
        """Tasks that can be computed at once, as far as is known."""

    @property
    def most_places(self) -> int:
        """Tasks that may be computed at once later on, when there are more workers."""

    def device(self) -> dict[str, Any]:
        """What it computes on, as ``config.json`` has it; may wait for a worker.

        Raises:
          ValueError: its workers do not compute alike.
        """

    def place(self) -> AbstractContextManager[Callable[[Task], Any]]:
        """Waits until a task can be computed, and gives what computes one task after another.

        That returns what ``task.compute()`` returns, raises what it raises, and WorkerDiedError if
        no worker lives to tell.
        """

    def stop(self) -> None:
        """Ends what is being computed, as far as it can be ended; nothing else is asked for."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> None: ...


def run_jobs(jobs: Sequence[Job], executor: Executor) -> None:
    """Runs jobs side by side, under a progress bar with the time that is left.

    The longest first, so that the workers end together; a job longer than an equal share of the
    whole is split. One thread saves, and each task as soon as it is done; of several processes
    (`freqbias.distributed`) the first saves. What a task raises ends the others and is raised.

    Args:
      jobs: in any order.
      executor: what computes them.

    Raises:
      RuntimeError: workers died while they computed some tasks; all others are done and saved.
    """
    with executor, ThreadPoolExecutor(max_workers=1) as writer, _progress(jobs) as progress:
        jobs = balanced(jobs, executor.places)
        waiting = deque(sorted(jobs, key=lambda job: -job.cost))
        stopping = threading.Event()
        lost: list[str] = []

        def run(compute: Callable[[Task], Any], job: Job) -> None:
            for task in job.tasks:
                if stopping.is_set():
                    return
                try:
                    found = compute(task)
                    if distributed.is_first():
                        writer.submit(task.save, found).result()
                except WorkerDiedError as died:
                    lost.append(f"{task.name} ({died})")
                except BaseException as error:
                    if stopping.is_set():
                        return
                    error.add_note(f"while computing {task.name}")
                    raise
                progress.update(min(task.cost, progress.total - progress.n))  # rounding

        def run_waiting() -> None:
            while waiting and not stopping.is_set():
                with executor.place() as compute:
                    try:
                        job = waiting.popleft()
                    except IndexError:  # another was faster
                        return
                    run(compute, job)

        lanes = max(1, min(len(jobs), executor.most_places))
        with ThreadPoolExecutor(max_workers=lanes) as computing:
            futures = [computing.submit(run_waiting) for _ in range(lanes)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                stopping.set()
                executor.stop()
                raise
    if lost:
        raise RuntimeError(
            f"{len(lost)} of {sum(len(job.tasks) for job in jobs)} tasks are lost, the others are "
            f"saved; resume the run to try again. Lost: {', '.join(lost)}."
        )


def balanced(jobs: Sequence[Job], places: int) -> list[Job]:
    """The same tasks, in jobs that cost at most an equal share of the whole, or are one task."""
    share = (1 + 1e-9) * sum(job.cost for job in jobs) / max(places, 1)
    out: list[Job] = []
    for job in jobs:
        part: tuple[Task, ...] = ()
        for task in job.tasks:
            if part and Job((*part, task)).cost > share:
                out.append(Job(part))
                part = ()
            part = (*part, task)
        out.append(Job(part))
    return out


def left(jobs: Sequence[Job], done: Collection[str]) -> list[Job]:
    """The jobs without the tasks whose names are in ``done``, and without empty ones."""
    found = [Job(tuple(task for task in job.tasks if task.name not in done)) for job in jobs]
    return [job for job in found if job.tasks]


def check_shard(shard: tuple[int, int] | None, num_jobs: int) -> None:
    """Raises ValueError if a study of so many jobs has no such part."""
    if shard and shard[1] > num_jobs:
        raise ValueError(f"shard must be of at most {num_jobs} parts, as many as there are jobs; "
                         f"got {shard[0]}/{shard[1]}.")  # fmt: skip


def shard_of(jobs: Sequence[Job], shard: tuple[int, int] | None) -> list[Job]:
    """Part i of n of the jobs, dealt by cost, so that the parts take about the same time.

    Args:
      jobs: all of them, the same on every machine.
      shard: (i, n) with i in 1..n; None for all jobs.
    """
    part, number = shard or (1, 1)
    return sorted(jobs, key=lambda job: -job.cost)[part - 1 :: number]


def computed(compute: Callable[[], Any]) -> Any:
    """What ``compute`` returns; compiled programs are let go when they are many."""
    found = compute()
    if _num_maps() > MOST_MAPS:
        jax.clear_caches()
    return found


def _progress(jobs: Sequence[Job]) -> tqdm:
    return tqdm(
        total=sum(job.cost for job in jobs),
        desc="settings",
        disable=not jobs or not distributed.is_first(),
        file=Terminal(sys.stderr),
        dynamic_ncols=True,
        smoothing=0,  # costs are right on the whole, not one by one
        bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left",
    )


def _num_maps() -> int:
    """Pieces of memory that this process has mapped; 0 where the system does not tell."""
    maps = Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0

"""Runs the settings of a study side by side, and saves what they give as they end."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

XLA_FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_multi_thread_eigen=false"

# Linux lets a process map 65,530 pieces of memory (vm.max_map_count), and the programs of a few
# settings take a thousand: a long sweep that kept them all would end in a segmentation fault.
MOST_MAPS = 30_000


def configure() -> None:
    """Sets JAX up for many small programs side by side; call it before JAX makes its first array.

    Short programs spend their time compiling, and XLA's first level of optimisation compiles
    faster. Settings run side by side in threads, one per core, so each keeps to its core: faster
    than sharing, and programs of two threads that queue for XLA's one pool of threads on CPU have
    waited for each other for ever. Accelerators would round the factors of every matrix product:
    one study, one arithmetic. What the environment variables ``XLA_FLAGS`` and
    ``JAX_DEFAULT_MATMUL_PRECISION`` say already stands.
    """
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")


def default_workers() -> int:
    """Jobs to run side by side: one per CPU core, one on an accelerator."""
    return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


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


def run_jobs(jobs: Sequence[Job], workers: int) -> None:
    """Runs jobs side by side, under a progress bar with the time that is left.

    The longest first, so that the workers end together. One thread saves, the workers compute. What
    a task raises ends the others and is raised. Compiled programs are let go when they are many.

    Args:
      jobs: in any order.
      workers: jobs at once.
    """
    with (
        ThreadPoolExecutor(max_workers=1) as writer,
        ThreadPoolExecutor(max_workers=workers) as computing,
        tqdm(
            total=sum(job.cost for job in jobs),
            desc="settings",
            disable=not jobs,
            smoothing=0,  # costs are right on the whole, not one by one
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left",
        ) as progress,
    ):

        def run(job: Job) -> None:
            for task in job.tasks:
                writer.submit(task.save, task.compute()).result()
                progress.update(task.cost)
            if _num_maps() > MOST_MAPS:
                jax.clear_caches()

        order = sorted(jobs, key=lambda job: -job.cost)
        futures: list[Future[None]] = [computing.submit(run, job) for job in order]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            computing.shutdown(wait=False, cancel_futures=True)
            raise


def shard_of(jobs: Sequence[Job], shard: tuple[int, int]) -> list[Job]:
    """Part i of n of the jobs, dealt by cost, so that the parts take about the same time.

    Args:
      jobs: all of them, the same on every machine.
      shard: (i, n) with i in 1..n.
    """
    part, number = shard
    return sorted(jobs, key=lambda job: -job.cost)[part - 1 :: number]


def _num_maps() -> int:
    """Pieces of memory that this process has mapped; 0 where the system does not tell."""
    maps = Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0

"""Flags that every experiment shares: one name, one meaning, one help text."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import jax
from absl import app, flags
from tqdm import tqdm

from freqbias import _checks, data

Plan = TypeVar("Plan")

# Read when JAX makes its first array; what is set already stands. Short programs spend their time
# compiling, and XLA's first level of optimisation compiles faster. Settings run side by side in
# threads, one per core, so each keeps to its core: faster than sharing, and programs of two threads
# that queue for XLA's one pool of threads on CPU have waited for each other for ever.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_cpu_multi_thread_eigen=false"
)
jax.config.update("jax_cpu_enable_async_dispatch", False)
# Accelerators would round the factors of every matrix product: one study, one arithmetic.
if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
    jax.config.update("jax_default_matmul_precision", "highest")

PRESET = flags.DEFINE_string("preset", "quick", "Design and budget; the table is in the module.")
SEEDS = flags.DEFINE_list("seeds", None, "Seeds, e.g. 0-7 or 0,1,2; default: the preset's.")
INIT_SCALES = flags.DEFINE_list(
    "init_scales", None, "Output scales at initialisation, e.g. 1,0.5; default: the preset's."
)
RANDOM_KEY = flags.DEFINE_integer("random_key", None, "Root of all randomness; default 0.")
OUT = flags.DEFINE_string("out", None, "Folder of the run; by default one in results/.")
RUN = flags.DEFINE_string("run", "results/quick", "Folder of a finished run, for what reads one.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run that --out holds.")
RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that --out holds.")
WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Settings run side by side, in threads; default: one per CPU core, 1 on an accelerator.",
    lower_bound=1,
)


def num_workers(backend: str) -> int:
    """Settings to run side by side."""
    return WORKERS.value or ((os.cpu_count() or 1) if backend == "cpu" else 1)


# Linux lets a process map 65,530 pieces of memory (vm.max_map_count), and the programs of a few
# settings take a thousand: a long sweep that kept them all would end in a segmentation fault.
MOST_MAPS = 30_000

Part: TypeAlias = tuple[float, Callable[[], object]]
"""The cost of a part of a job that is computed, and what saves its results."""


class Job(NamedTuple):
    """Parts that one worker computes one after the other."""

    cost: float  # of all parts, in any unit; for the order and the progress bar only
    parts: Callable[[], Iterable[Part]]  # computes a part each time the next one is asked for


def run_jobs(jobs: Sequence[Job], workers: int) -> None:
    """Runs jobs side by side, under a progress bar with the time that is left.

    The longest first, so that the workers end together. One thread saves, the workers compute. What
    a job raises ends the others and is raised. Compiled programs are let go when they are many.

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
            for cost, save in job.parts():
                writer.submit(save).result()
                progress.update(cost)
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


def _num_maps() -> int:
    """Pieces of memory that this process has mapped; 0 where the system does not tell."""
    maps = Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0


def parse_ints(name: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Ints from a list flag, each "3" or a range "0-7" (both ends included).

    Raises:
      ValueError: a text that is neither.
    """
    values: list[int] = []
    for text in texts:
        first, dash, last = text.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{name} must be ints like 3 or ranges like 0-7; got {text!r}.")
        values += range(int(first), int(last or first) + 1)
    return tuple(values)


def parse_floats(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    """Positive floats from a list flag.

    Raises:
      ValueError: a text that is none.
    """
    try:
        values = tuple(map(float, texts))
    except ValueError as error:
        raise ValueError(f"{name} must be numbers like 0.5; got {','.join(texts)}.") from error
    for value in values:
        _checks.positive(name, value)
    return values


def load_datasets(names: Sequence[str]) -> dict[str, data.Dataset]:
    """Every data set by name; unknown names raise before anything is loaded."""
    for name in names:
        data.check_name(name, argument="dataset")
    return {name: data.load(name) for name in names}


def run(prepare: Callable[[], Plan], execute: Callable[[Plan], None]) -> None:
    """Runs a binary in two parts, so that bad input is told from a defect.

    Args:
      prepare: checks every flag and loads the data, and writes nothing before all is checked; what
        it raises ends the program with one line on stderr and status 2.
      execute: does the work on what ``prepare`` returned; what it raises is shown with traceback.
    """

    def main(argv: Sequence[str]) -> None:
        for chatty in ("fontTools", "jax"):  # what they log as info is not about the experiment
            logging.getLogger(chatty).setLevel(logging.WARNING)
        try:
            if len(argv) > 1:
                raise ValueError(f"arguments must be flags, --name=value; got {argv[1]!r}.")
            plan = prepare()
        except (ValueError, TypeError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        execute(plan)

    app.run(main)

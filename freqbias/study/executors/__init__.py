"""Where the tasks of a study are computed, each way behind the same face (`engine.Executor`).

=============  =====================================================================================
``threads``    this process; programs compiled once are there for all; the default
``processes``  processes of this machine
``dask``       the workers of a Dask cluster: a local one, or any whose scheduler can be reached
=============  =====================================================================================

Rows do not depend on it. The latter two outlive their workers: one that dies costs the time of the
task it had, which another computes anew; after ``ATTEMPTS`` such deaths the task is given up, and
named when all others are done. (`concurrent.futures` and loky end a whole pool when one of its
processes dies.)

Tasks travel by cloudpickle, so that a model, a measurement or a data set of a script or a notebook
can be used in them. Large arrays travel apart, once to each process: a task names them by their
content.
"""

import jax

from freqbias import _checks
from freqbias.study import engine
from freqbias.study.engine import Executor
from freqbias.study.executors.cluster import Dask as Dask
from freqbias.study.executors.processes import Processes as Processes
from freqbias.study.executors.threads import Threads as Threads

__all__ = ["EXECUTORS", "Dask", "Processes", "Threads", "make"]

EXECUTORS = ("threads", "processes", "dask")


def make(
    executor: str = "threads", *, workers: int | None = None, scheduler: str | None = None
) -> Executor:
    """The executor of that name; connects to the scheduler, and starts nothing else.

    Args:
      executor: "threads", "processes" or "dask".
      workers: tasks at once; default: `engine.default_workers`. A scheduler has workers of its own.
      scheduler: the address of a Dask scheduler, e.g. ``tcp://host:8786``, or a file that it wrote
        (``--scheduler-file``); default: a cluster of ``workers`` processes on this machine.

    Raises:
      ValueError: an unknown name, or arguments that do not go together.
      ImportError: Dask is not installed.
      OSError: there is no scheduler at that address.
    """
    _checks.one_of("executor", executor, EXECUTORS)
    if workers is not None:
        _checks.positive_int("workers", workers)
    if scheduler is None:
        workers = workers or engine.default_workers()
        if jax.process_count() > 1 and (executor != "threads" or workers > 1):
            raise ValueError(
                "executor must be threads with one worker where several processes compute one "
                f"setting after the other; got {executor} with {workers}."
            )
        if executor == "dask":
            return Dask(workers)
        return Processes(workers) if executor == "processes" else Threads(workers)
    if executor != "dask":
        raise ValueError(f"scheduler needs executor 'dask'; got {executor!r}.")
    if workers is not None:
        raise ValueError(f"workers must not be given with a scheduler, which has its own; got "
                         f"{workers}.")  # fmt: skip
    return Dask(scheduler)

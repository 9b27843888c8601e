"""Threads of this process."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from freqbias import runs
from freqbias.study import engine
from freqbias.study.engine import Task


class Threads:
    """Threads of this process."""

    def __init__(self, workers: int):
        self.places = self.most_places = workers

    def device(self) -> dict[str, Any]:
        """As `engine.Executor` says."""
        return runs.this_device()

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[Task], Any]]:
        """As `engine.Executor` says."""
        yield lambda task: engine.computed(task.compute)

    def stop(self) -> None:
        """A thread cannot be ended: each ends its task first."""

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *error: object) -> None:
        pass

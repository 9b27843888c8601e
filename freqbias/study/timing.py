"""What a run took: seconds of the clock, of the processor, and of compiling."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jax

from freqbias import distributed, runs
from freqbias.report.settings import TIMING

_COMPILING = (  # JAX's events of making a program: traced, lowered, compiled
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class _Compiled:
    """Seconds and programs since the process began to listen, over its threads."""

    def __init__(self) -> None:
        self.seconds, self.programs = 0.0, 0
        self._lock = threading.Lock()
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in _COMPILING:
            with self._lock:
                self.seconds += duration_secs
                self.programs += event == _COMPILING[-1]


@cache
def _compiled() -> _Compiled:
    return _Compiled()


@contextmanager
def timed(run: Path) -> Iterator[None]:
    """Writes ``timing.json`` once the work within is done; of several processes the first does.

    Keys: ``seconds`` of the clock, ``cpu_seconds`` of this process and of those it has started and
    waited for, ``compile_seconds`` and ``programs`` of this process (tracing, lowering, compiling;
    summed over threads). Of a resumed run: since it was last started.
    """
    compiled = _compiled()
    before = (time.perf_counter(), _cpu_seconds(), compiled.seconds, compiled.programs)
    yield
    after = (time.perf_counter(), _cpu_seconds(), compiled.seconds, compiled.programs)
    names = ("seconds", "cpu_seconds", "compile_seconds", "programs")
    took = {
        name: round(end - start, 1) for name, start, end in zip(names, before, after, strict=True)
    }
    distributed.from_first(lambda: runs.save_json(run, TIMING, took))


def _cpu_seconds() -> float:
    return sum(os.times()[:4])

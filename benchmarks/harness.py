"""How things are timed: interleaved, compiled beforehand, slow peers with less to do.

A suite is a list of cases; a case is measured to rows, one for each library and repeat.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

OURS = "freqbias"
TORCH = ("torch", "torchattacks", "foolbox (torch)", "adv-lib", "pyautoattack")
PRODUCTS = "products"  # no library: see `benchmarks.products`
LIBRARIES = (OURS, *TORCH, "foolbox (JAX)", "JAX", PRODUCTS)
_PACKAGES = {  # what a library needs installed
    "torch": ("torch",),
    "torchattacks": ("torch", "torchattacks"),
    "foolbox (torch)": ("torch", "foolbox"),
    "adv-lib": ("torch", "adv_lib"),
    "pyautoattack": ("torch", "pyautoattack"),
    "foolbox (JAX)": ("foolbox",),
}


class Settings(NamedTuple):
    """What the flags say."""

    repeats: int = 3
    seconds: float = 5.0  # aimed at for one run of a peer
    smoke: bool = False  # sizes at which nothing is learned but that it works
    networks: tuple[str, ...] = ()  # none: those of the suite
    libraries: tuple[str, ...] = LIBRARIES
    attacks: tuple[str, ...] = ()  # none: those of the suite

    def has(self, library: str) -> bool:
        """Whether it is asked for and installed."""
        return library in self.libraries and installed(library)


class Case(NamedTuple):
    """One line of a table: what is compared, and the function that measures it."""

    key: dict[str, Any]  # column -> value
    measure: Callable[[], list[dict[str, Any]]]  # () -> rows


class Suite(NamedTuple):
    """Cases of one kind."""

    name: str
    title: str
    keys: tuple[str, ...]  # columns that tell cases apart
    values: tuple[str, ...]  # columns that are measured
    cases: Callable[[Settings], list[Case]]
    minutes: float  # of the preset "full" on two cores, about


class Runner(NamedTuple):
    """A library's way to do a case, or part of it."""

    library: str
    run: Callable[[int, int], Any]  # (seeds, steps) -> result
    warm: Callable[[], Any] | None = None  # compiles, for less than a first call takes


class Timed(NamedTuple):
    """One repeat of one library."""

    library: str
    repeat: int
    seeds: int  # that it did
    steps: int
    seconds: float
    first_seconds: float  # of its first call, compilation included
    result: Any

    def row(self, images: int) -> dict[str, Any]:
        """The columns that all suites have, where a step of one network is of so many images."""
        return {
            "library": self.library,
            "repeat": self.repeat,
            "seeds_run": self.seeds,
            "steps_run": self.steps,
            "seconds": self.seconds,
            "rate": self.seeds * self.steps * images / self.seconds,
        }


def installed(library: str) -> bool:
    """Whether what it needs is there."""
    return all(importlib.util.find_spec(name) for name in _PACKAGES.get(library, ()))


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """How long it took, and what it gave."""
    start = time.perf_counter()
    found = jax.block_until_ready(run())
    return time.perf_counter() - start, found


def interleaved(
    runners: Iterable[Runner], *, seeds: int, steps: int, settings: Settings
) -> list[Timed]:
    """Times every library once, then again, as often as there are repeats.

    freqbias does all of the work. A peer of which a probe (one step of one network) says that it
    would take more than twice ``settings.seconds`` does fewer networks one after the other, and
    then fewer steps: rates are per unit of work.
    """
    plans = []
    for runner in runners:
        whole = runner.library in (OURS, PRODUCTS) or seeds == steps == 1
        share = (seeds, steps) if whole else (1, 1)
        first, _ = seconds(runner.warm or partial(runner.run, *share))
        if not whole:
            step = seconds(partial(runner.run, *share))[0]
            share = seeds, steps
            if step * seeds * steps > 2 * settings.seconds:
                fewer = int(np.clip(settings.seconds / (step * steps), 1, seeds))
                share = fewer, int(np.clip(settings.seconds / (step * fewer), 1, steps))
        plans.append((runner, share, first))
    found = []
    for repeat in range(settings.repeats):
        for runner, share, first in plans:
            took, result = seconds(partial(runner.run, *share))
            found.append(Timed(runner.library, repeat, *share, took, first, result))
    return found


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device() -> str:
    """The name of this machine's folder: "cpu-2-cores", "nvidia-h200"."""
    if jax.default_backend() == "cpu":
        return f"cpu-{cores()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def machine(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """What numbers depend on: the processor, its cores, the device, and versions."""
    packages = ("jax", "flax", "torch", "foolbox", "torchattacks", "adv-lib", "pyautoattack")
    versions = {"python": platform.python_version()}
    for package in packages:
        if importlib.util.find_spec(package.replace("-", "_")):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": " ".join(["python -m benchmarks", *(sys.argv[1:] if argv is None else argv)]),
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": cores(),
        "device": jax.devices()[0].device_kind,
        "versions": versions,
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", path.read_text()) if path.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


class Compiled:
    """Seconds that JAX spent on making programs, and how many, from when this is made."""

    _EVENTS = (  # traced, lowered, compiled
        "/jax/core/compile/jaxpr_trace_duration",
        "/jax/core/compile/jaxpr_to_mlir_module_duration",
        "/jax/core/compile/backend_compile_duration",
    )

    def __init__(self) -> None:
        self.seconds, self.programs = 0.0, 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
        if event in self._EVENTS:
            self.seconds += duration_secs
            self.programs += event == self._EVENTS[-1]

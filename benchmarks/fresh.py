"""First calls in processes of their own: seconds, of which compiling, and the peak of memory.

Networks are trained beforehand and handed over, so that a process does nothing but import, load
and call. The peak is the largest resident size of the process, ``loaded_mb`` that before the first
call.
"""

import json
import pickle
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import freqbias as fb
from benchmarks import attacks, networks, training
from benchmarks.harness import Case, Compiled, Runner, Settings, Suite, installed, seconds

ATTACKS = (
    *("pgd_l2", "apgd_l2", "square_l2", "ddn_l2", "fmn_l2", "deepfool_l2", "carlini_wagner_l2"),
    *("fab_l2", "brendel_bethge_l2", "auto_attack_linf", "auto_attack_l2", "auto_attack_l1"),
)
IMAGES = 64


def save(name: str, num_images: int, settings: Settings, folder: Path) -> Path:
    """Trains one network and writes it."""
    path = folder / f"{name}.pkl"
    if not path.exists():
        problem = networks.problem(name, num_images=num_images, correct=True)
        arrays = jax.tree.map(np.array, (problem.nets.params, problem.images, problem.labels))
        path.write_bytes(pickle.dumps((name, *arrays, settings)))
    return path


def load(path: Path) -> tuple[str, networks.Problem, Settings]:
    """What `save` wrote."""
    name, params, images, labels, settings = pickle.loads(path.read_bytes())
    model = networks.named(name)
    params, images, labels = jax.tree.map(jnp.asarray, (params, images, labels))
    nets = fb.Ensemble(params, jnp.zeros(1, jnp.int32), None, (0,), model.apply)
    return name, networks.Problem(model, nets, images, labels), settings


def runners(task: str, path: Path, libraries: tuple[str, ...] | None = None) -> list[Runner]:
    """Of a task, in the libraries that are there."""
    name, problem, settings = load(path)
    if libraries is not None:
        settings = settings._replace(libraries=libraries)
    if task == "training":
        return training.Task(name, num_seeds=1, batch_size=32, num_steps=4).runners(settings)
    (pair,) = (pair for pair in attacks.pairs() if pair.name == task)
    return attacks.runners(pair, problem, settings)


def in_this_process(task: str, library: str, path: Path) -> dict[str, float]:
    """First and second call."""
    made = runners(task, path, (library,))  # what other libraries import is not loaded
    (runner,) = (runner for runner in made if runner.library == library)
    loaded, compiled = peak_mb(), Compiled()
    first, _ = seconds(partial(runner.run, 1, 4))
    found = {"compile_seconds": compiled.seconds, "programs": compiled.programs}
    second, _ = seconds(partial(runner.run, 1, 4))
    sizes = {"loaded_mb": loaded, "peak_mb": peak_mb()}
    return {"first_seconds": first, **found, "second_seconds": second, **sizes}


def peak_mb() -> float:
    """Largest resident size of this process so far, in 2**20 bytes."""
    status = Path("/proc/self/status")
    # What resource says may be the size of the process that started this one.
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(found.group(1)) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def in_a_process(task: str, library: str, path: Path) -> dict[str, float]:
    """As `in_this_process`, in a new one."""
    command = [sys.executable, "-m", "benchmarks.fresh", task, library, str(path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def measure(task: str, make: Callable[[], Path], settings: Settings) -> list[dict[str, Any]]:
    """Rows of one task, each process once."""
    path = make()
    return [
        {"library": runner.library, "repeat": 0, **in_a_process(task, runner.library, path)}
        for runner in runners(task, path, settings.libraries)
    ]


def cases(settings: Settings) -> list[Case]:
    """One for each network and task."""
    spare = {"adv-lib"} | ({"torchattacks"} if installed("pyautoattack") else set())
    settings = settings._replace(libraries=tuple(set(settings.libraries) - spare))
    names = settings.networks or (("fc_1x16",) if settings.smoke else ("conv_3_1x8",))
    tasks = ("training", *(settings.attacks or (ATTACKS[:1] if settings.smoke else ATTACKS)))
    folder, size = Path(_folder().name), 16 if settings.smoke else IMAGES
    return [
        Case({"network": name, "task": task}, partial(measure, task, make, settings))
        for name in names
        for make in [cache(partial(save, name, size, settings, folder))]
        for task in tasks
    ]


@cache
def _folder() -> tempfile.TemporaryDirectory:
    """Of the networks handed over; gone when this process ends."""
    return tempfile.TemporaryDirectory()


SUITE = Suite(
    "compile",
    "first calls in fresh processes",
    ("network", "task"),
    ("first_seconds", "compile_seconds", "programs", "second_seconds", "loaded_mb", "peak_mb"),
    cases,
    minutes=15,
)

if __name__ == "__main__":
    print(json.dumps(in_this_process(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))

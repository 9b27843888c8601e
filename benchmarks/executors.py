r"""One small sweep in threads, in processes and on Dask's workers: settings per minute.

  python -m benchmarks.executors

Each runs in a process of its own, so that no program is compiled beforehand, and its time counts
from the first setting that is asked for to the last that is saved: starting workers is in it,
judging, figures and report are not. The rows of all are compared with the first's, byte by byte.
Processes and Dask's workers compile for themselves, where threads share what was compiled.
"""

import importlib.util
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from absl import app, flags

from freqbias import runs, study
from freqbias.study import engine, executors, sweep

ARRANGEMENTS = flags.DEFINE_list(
    "arrangements",
    ["threads:1", "threads:2", "processes:1", "processes:2", "dask:1", "dask:2"],
    "EXECUTOR:WORKERS, timed in this order; the others are compared with the first.",
)
flags.register_validator(
    "arrangements",
    lambda texts: texts and all(_parsed(text) for text in texts),
    "must be like threads:1,dask:2.",
)
EPOCHS = flags.DEFINE_integer("epochs", 3, "Passes over the training images.", lower_bound=1)
ONE = flags.DEFINE_string("one", None, "Run this arrangement here, into the folder --out.")
OUT = flags.DEFINE_string("out", None, "Folder of --one.")
TIME = "seconds.txt"


def small_sweep(epochs: int) -> study.Plan:
    """Twelve settings: two regimes, two initial scales, two kernels and FC, eight seeds."""
    arms = (study.Arm("conv", 1, "3"), study.Arm("conv", 1, "7"), study.Arm("fc"))
    design = study.Design(("fashion_mnist_mini",), arms, init_scales=(1.0, 0.5))
    return study.plan("executors", [design], study.Budget(epochs=epochs))


def run_one(arrangement: str, out: Path) -> None:
    """Runs the sweep and writes the seconds it took."""
    kind, workers = arrangement.split(":")
    engine.configure()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    plan = small_sweep(EPOCHS.value)
    executor = executors.make(kind, workers=int(workers))
    run = sweep.open_run(plan, out, device=executor.device())
    start = time.perf_counter()
    sweep.run_left(plan, run, executor)
    runs.write_file(run, TIME, str(time.perf_counter() - start).encode())
    runs.write_rows(run)


def in_a_process(arrangement: str, folder: Path) -> tuple[float, int, bytes]:
    """Seconds, number of settings, and rows of an arrangement."""
    out = folder / arrangement.replace(":", "_")
    command = [sys.executable, "-m", "benchmarks.executors", f"--epochs={EPOCHS.value}"]
    subprocess.run([*command, f"--one={arrangement}", f"--out={out}"], check=True)
    rows = (out / "rows.csv").read_bytes()
    return float((out / TIME).read_text()), len(runs.finished(out)), rows


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    if ONE.value:
        run_one(ONE.value, Path(OUT.value))
        return
    lines, first_rows = [], b""
    with tempfile.TemporaryDirectory() as folder:
        for arrangement in ARRANGEMENTS.value:
            if arrangement.startswith("dask") and not importlib.util.find_spec("distributed"):
                print(f"{arrangement} is left out: pip install 'freqbias[dask]'", file=sys.stderr)
                continue
            seconds, number, rows = in_a_process(arrangement, Path(folder))
            first_rows = first_rows or rows
            executor, workers = arrangement.split(":")
            lines.append(
                {
                    "executor": executor,
                    "workers": workers,
                    "seconds": seconds,
                    "settings per minute": 60 * number / seconds,
                    "of the first": lines[0]["seconds"] / seconds if lines else 1.0,
                    "same rows": rows == first_rows,
                }
            )
            print(lines[-1], file=sys.stderr, flush=True)
    print(pd.DataFrame(lines).to_string(index=False, float_format="{:.3g}".format))


def _parsed(text: str) -> bool:
    kind, _, workers = text.partition(":")
    return kind in executors.EXECUTORS and workers.isdigit() and int(workers) > 0


if __name__ == "__main__":
    app.run(main)

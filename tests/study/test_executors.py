"""A study of a network of one's own: the same rows on every executor, though a worker is killed."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import runs
from freqbias.cli import sweep
from freqbias.study import arms, designs

ROOT = Path(__file__).parents[2]
STUDY = str(Path(__file__).with_name("own_study.py"))


def run_study(out, executor, workers):
    """Runs ``own_study.py`` in a process, and kills the worker that asks for it."""
    command = [sys.executable, STUDY, str(out), executor, str(workers)]
    victim = out.with_name(f"{out.name}.pid")
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        while process.poll() is None:
            if victim.exists() and victim.stat().st_size:
                os.kill(int(victim.read_text()), signal.SIGKILL)
                victim.write_text("")
            time.sleep(0.05)
    assert process.returncode == 0
    return (out / "rows.csv").read_bytes(), victim.exists()


@pytest.fixture(scope="module")
def by_threads(tmp_path_factory):
    """The rows that one process gives: this one."""
    out = tmp_path_factory.mktemp("threads") / "run"
    given = mock.patch.object(sys, "argv", [STUDY, str(out), "threads", "2"])
    with given, mock.patch.dict(arms._FAMILIES):
        runpy.run_path(STUDY, run_name="__main__")
    assert not out.with_name(f"{out.name}.pid").exists()
    return (out / "rows.csv").read_bytes()


@pytest.mark.parametrize(
    ("executor", "workers"),
    [("processes", 2), pytest.param("dask", 4, marks=pytest.mark.slow)],
)
def test_rows_are_those_of_one_process_though_a_worker_is_killed(
    executor, workers, by_threads, tmp_path
):
    if executor == "dask":
        pytest.importorskip("distributed")
    rows, killed = run_study(tmp_path / "run", executor, workers)
    assert killed
    assert rows == by_threads
    assert runs.finished(tmp_path / "run") == {"digits.linear.own_d1.scale1",
                                               "digits.linear.fc_d1.scale1"}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("--executor=fork",), ValueError, "executor must be one of 'threads', 'processes', 'd"),
        (("--strategy=fast",), ValueError, "strategy must be one of 'auto', 'vmap'"),
        (("--workers=0",), ValueError, "workers must be at least 1; got 0"),
        (("--scheduler=tcp://x:1",), ValueError, "scheduler needs executor 'dask'; got 'threads'"),
        (
            ("--executor=dask", "--scheduler=tcp://x:1", "--workers=2"),
            ValueError,
            "workers must not be given with a scheduler",
        ),
        (
            ("--executor=dask", "--scheduler=nowhere"),
            OSError,
            "scheduler must be the address of a Dask scheduler, .*; got 'nowhere'",
        ),
    ],
)
def test_executors_that_cannot_be_are_named_before_anything_is_written(
    given, error, message, tmp_path
):
    if "--executor=dask" in given:
        pytest.importorskip("distributed")
    out = tmp_path / "out"
    with flagsaver.flagsaver():
        flags.FLAGS(["kernel_size", "--preset=smoke", "--datasets=digits", f"--out={out}", *given])
        with pytest.raises(error, match=message):
            sweep.prepare("kernel_size", designs.kernel_size)
    assert not out.exists()

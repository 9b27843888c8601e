"""The main job as a person runs it: on tiny sizes, with bad input, twice, and interrupted."""

import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias.cli import sweep
from freqbias.study import designs

ROOT = Path(__file__).parents[2]
TINY = (
    "--preset=smoke", "--datasets=digits", "--seeds=0-1", "--num_images=128", "--epochs=1",
    "--num_attacked=8", "--num_steps=2",
)  # fmt: skip


def reproduce(*given):
    """The binary's status and stderr, run in this process."""
    said = io.StringIO()
    with (
        flagsaver.flagsaver(),
        mock.patch.object(sys, "argv", ["reproduce", *given]),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        flags.FLAGS.unparse_flags()
        runpy.run_module("experiments.reproduce", run_name="__main__")
    return ended.value.code or 0, said.getvalue()


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """Run in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    command = [sys.executable, "-m", "experiments.reproduce", *TINY, f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done


def test_writes_everything(tiny_run):
    out, done = tiny_run
    for name in ("rows.csv", "claims.json", "spectra.npz", "config.json", "report.html"):
        assert (out / name).stat().st_size > 0
    assert list((out / "figures").glob("*.png"))
    assert len(list((out / "figures").glob("*.png"))) == len(list((out / "figures").glob("*.pdf")))
    rows = pd.read_csv(out / "rows.csv")
    assert len(rows) == 2 * 3 * 2 * 2  # regimes, arms, attacks, seeds
    assert rows["mean_frequency"].notna().all()
    records = json.loads((out / "claims.json").read_text())["claims"]
    assert {r["id"] for r in records} >= {"C1", "C2-ends", "C6-conv", "C8-slack"}
    assert "verdict" in done.stdout
    assert "report.html" in done.stdout


def test_resume_keeps_a_finished_setting_and_computes_the_same_numbers_again(tiny_run):
    """As after a kill: the rows of one setting are left. Another process gives the others."""
    out, _ = tiny_run
    before = {name: (out / name).read_bytes() for name in ("rows.csv", "claims.json")}
    kept, *lost = sorted((out / "settings").glob("*.csv"))
    time = kept.stat().st_mtime_ns
    for path in lost:
        path.unlink()
    with pytest.warns(UserWarning, match=f"{lost[0].name}: it is missing"):
        status, said = reproduce(*TINY, f"--out={out}", "--resume")
    assert status == 0, said
    assert {name: (out / name).read_bytes() for name in before} == before
    assert kept.stat().st_mtime_ns == time
    assert all(path.exists() for path in lost)


def test_another_run_is_never_overwritten(tiny_run):
    out, _ = tiny_run
    before = (out / "rows.csv").read_bytes()
    status, said = reproduce(*TINY, f"--out={out}")
    assert status == 2
    assert "holds the results of another run" in said
    status, _ = reproduce(*TINY, f"--out={out}", "--resume", "--epochs=2")
    assert status == 2
    assert (out / "rows.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--preset=huge", "preset must be one of 'smoke', 'quick'"),
        ("--datasets=imagenet", "datasets must be one of 'fashion_mnist_mini'"),
        ("--claims=C42", "claims: ids must be one of 'C1'"),
        ("--claims=C3", "claims must be decidable with the arms of preset 'smoke'"),
        ("--seeds=0,0", "seeds must not repeat"),
        ("--seeds=a", "seeds must be ints like 3 or ranges like 0-7; got 'a'"),
        ("--epsilon_l2=0", "epsilon_l2 must be positive and finite; got 0.0"),
        ("--num_images=20000", "num_images must lie in 32..1400 for digits; got 20000"),
        ("--num_images=31", "num_images must lie in 32..1400 for digits; got 31"),
        ("--train_batch_size=0", "train_batch_size must be at least 1; got 0"),
        ("--train_batch_size=999", "train_batch_size must be at most the "),
        ("--num_attacked=0", "num_attacked must be at least 1; got 0"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(flag, message, tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(["reproduce", *TINY, f"--out={tmp_path / 'out'}", flag])
        with pytest.raises(ValueError, match=re.escape(message)):
            sweep.prepare("reproduce", designs.reproduce)
    assert not (tmp_path / "out").exists()


def test_bad_input_ends_with_one_clear_line(tmp_path):
    status, said = reproduce(*TINY, f"--out={tmp_path / 'out'}", "--epochs=0")
    assert status == 2
    assert said.strip().splitlines()[-1] == "error: epochs must be at least 1; got 0."
    assert "Traceback" not in said
    status, said = reproduce("extra")
    assert status == 2
    assert "error: arguments must be flags, --name=value; got 'extra'" in said

"""Binaries as several processes that share seeds: the rows of one, one writer, errors in words."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from absl.testing import flagsaver

from freqbias import runs
from freqbias.cli import claims, cost, linear_bias, merge, relabel, sweep
from freqbias.study import designs

ROOT = Path(__file__).parents[2]
SWEEP = (
    "kernel_size", "--preset=smoke", "--datasets=digits", "--kernel_sizes=3", "--init_scales=1",
    "--num_images=128", "--epochs=1", "--num_attacked=8", "--num_steps=2",
)  # fmt: skip
LINEAR = (
    "linear_bias", "--preset=smoke", "--tasks=patches_1_2", "--num_train=16", "--train_steps=5",
    "--seeds=0-1",
)  # fmt: skip


def start(experiment, *arguments, devices):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{experiment}", *arguments],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(*processes):
    """Status, stdout and stderr of each; none may hang."""
    try:
        said = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(processes, said, strict=True)]


def run_alone(*arguments, devices):
    ((status, _, errors),) = finish(start(*arguments, devices=devices))
    assert status == 0, errors


def run_two(*arguments, more=((), ())):
    """Two processes of four devices each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    joined = (f"--coordinator_address={coordinator}", "--num_processes=2")
    return finish(
        *(
            start(*arguments, *joined, f"--process_id={i}", *more[i], devices=4) for i in range(2)
        )
    )  # fmt: skip


@pytest.mark.slow
def test_a_sweep_over_two_processes_gives_the_rows_of_one(tmp_path):
    """The first writes, where the others find a folder or not, and goes on where it was cut off."""
    run_alone(*SWEEP, f"--out={tmp_path / 'one'}", devices=1)
    both = tmp_path / "two"
    first, other = run_two(*SWEEP, f"--out={both}", more=((), (f"--out={tmp_path / 'nowhere'}",)))
    assert first[0] == other[0] == 0, (first, other)
    assert "report.html" in first[1] and "report.html" not in other[1]
    assert not (tmp_path / "nowhere").exists()
    one, two = (runs.read_rows(folder) for folder in (tmp_path / "one", both))
    pd.testing.assert_frame_equal(one, two, rtol=1e-6, atol=1e-6)
    assert runs.read_config(both)["device"]["count"] == 8

    before = (both / "rows.csv").read_bytes()
    (both / "settings" / "digits.linear.fc_d1.scale1.csv").unlink()
    for status, _, errors in run_two(*SWEEP, f"--out={both}", "--resume"):
        assert status == 0, errors
    assert (both / "rows.csv").read_bytes() == before


@pytest.mark.slow
def test_a_linear_study_over_two_processes_gives_the_rows_of_one(tmp_path):
    """Rows have six digits. One process has eight devices: in float32 other shapes drift apart."""
    sharded = ("--strategy=sharded", "--workers=1")
    run_alone(*LINEAR, *sharded, f"--out={tmp_path / 'one'}", devices=8)
    for status, _, errors in run_two(*LINEAR, f"--out={tmp_path / 'two'}"):
        assert status == 0, errors
    one, two = (runs.read_rows(tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_other_in_words(tmp_path):
    """Before anything is computed, and when the first comes to save; then of the second alone."""
    taken = tmp_path / "taken"
    runs.open_run(taken, {})
    first, other = run_two(*SWEEP, f"--out={taken}")
    assert first[0] == 2 and re.search("^error: path .* holds the results of", first[2], re.M)
    assert other[0] == 1
    assert re.search("^error: process 0 has ended: FileExistsError: path .* holds", other[2], re.M)

    stray = tmp_path / "stray" / "settings" / "digits.linear.fc_d1.scale1.csv"
    stray.parent.mkdir(parents=True)
    stray.write_text("not ours")
    first, other = run_two(*SWEEP, f"--out={tmp_path / 'stray'}")
    assert first[0] == other[0] == 1
    assert "while computing digits.linear.fc_d1.scale1" in first[2]
    assert re.search(
        "^error: process 0 has ended: FileExistsError: name 'settings/", other[2], re.M
    )
    assert stray.read_text() == "not ours"

    apart = ((), ("--seeds=0-3", "--claims=C1"))
    first, other = run_two(*SWEEP, f"--out={tmp_path / 'apart'}", more=apart)
    message = (
        "processes must have the same config; process 1 differs from process 0 in claims, seeds"
    )
    assert other[0] == 2 and f"error: {message}" in other[2]
    assert first[0] == 1 and f"error: process 1 has ended: ValueError: {message}" in first[2]


def ended(main, *arguments, monkeypatch, capsys):
    """The last line on stderr of a binary that ends with status 2."""
    monkeypatch.setattr(sys, "argv", ["binary", *arguments])
    monkeypatch.setattr("freqbias.study.engine.configure", lambda *_: None)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("tool", [claims, cost, merge, relabel])
def test_what_runs_in_one_process_says_so(tool, monkeypatch, capsys):
    said = ended(tool.main, "--process_id=1", monkeypatch=monkeypatch, capsys=capsys)
    assert said == ("error: coordinator_address, num_processes and process_id must not be given: "
                    "this runs in one process.")  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--process_id=1",), r"must be given together; missing \['coordinator_address', 'num_"),
        (
            ("--coordinator_address=here:1", "--num_processes=2", "--process_id=2"),
            "process_id must lie in 0..num_processes - 1; got 2 of 2",
        ),
        (
            ("--coordinator_address=here", "--num_processes=2", "--process_id=1"),
            "coordinator_address must be host:port; got 'here'",
        ),
        (
            ("--coordinator_address=auto", "--num_processes=2"),
            "num_processes and process_id must not be given with coordinator_address auto",
        ),
    ],
)
@pytest.mark.parametrize("binary", ["kernel_size", "linear_bias"])
def test_processes_that_cannot_be_are_named(binary, given, message, monkeypatch, capsys, tmp_path):
    mains = {
        "kernel_size": lambda: sweep.main("kernel_size", designs.kernel_size),
        "linear_bias": linear_bias.main,
    }
    out = tmp_path / "out"
    said = ended(mains[binary], f"--out={out}", *given, monkeypatch=monkeypatch, capsys=capsys)
    assert re.match(f"error: .*{message}", said)
    assert not out.exists()

"""kill -9 at any moment, then resume: the same rows, claims and spectra, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import freqbias

ROOT = Path(freqbias.__file__).parents[1]
SWEEP = (
    *("-m", "experiments.kernel_size", "--preset=smoke", "--datasets=digits", "--kernel_sizes=3"),
    *("--init_scales=1", "--seeds=0-1", "--num_attacked=8", "--num_steps=2", "--workers=1"),
)
KILLS = 20
COMPARED = ("rows.csv", "claims.json", "spectra.npz", "columns.json")


def _started(out, cache):
    command = [sys.executable, *SWEEP, "--resume", f"--out={out}", f"--compilation_cache={cache}"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finished(out, cache):
    with _started(out, cache) as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_killed_at_twenty_random_moments_gives_the_same_bytes(tmp_path):
    cache = tmp_path / "cache"
    _finished(tmp_path / "first", cache)  # fills the cache
    start = time.monotonic()
    _finished(tmp_path / "whole", cache)
    lasts = time.monotonic() - start
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in COMPARED}
    moments = random.Random(0)
    killed = 0
    for index in range(KILLS):
        out = tmp_path / f"killed_{index}"
        with _started(out, cache) as process:
            time.sleep(moments.uniform(0, lasts))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.communicate()
        said = _finished(out, cache)
        assert "computed again" not in said  # nothing was damaged
        assert {name: (out / name).read_bytes() for name in COMPARED} == expected
    assert killed >= KILLS // 2

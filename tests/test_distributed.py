"""Seeds over several devices and processes: the same numbers as one after the other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from freqbias import distributed

PROGRAM = Path(__file__).with_name("seed_axis_program.py")


def start(*arguments, devices):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(*processes):
    """Waits for all; a process whose partner has failed would wait forever, and is ended."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize(
    ("what", "num_seeds"),
    [("draw", "1,3,8,11"), ("train", "3"), pytest.param("train", "1,8,11", marks=pytest.mark.slow)],
)
def test_eight_devices(what, num_seeds):
    """Fewer seeds than devices, as many, more, and none a multiple but 8."""
    finish(start(what, num_seeds, devices=8))


@pytest.mark.parametrize(
    ("what", "num_seeds"),
    [("draw", "3,11"), pytest.param("train", "3,11", marks=pytest.mark.slow)],
)
def test_two_processes(what, num_seeds, tmp_path):
    """Four devices each: both have the whole result, and the same."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    finish(
        *(
            start(what, num_seeds, coordinator, str(i), str(tmp_path / str(i)), devices=4)
            for i in range(2)
        )
    )
    for number in num_seeds.split(","):
        one, other = (np.load(tmp_path / f"{i}_{number}.npz") for i in range(2))
        assert one.files == other.files and one.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1234",), r"given together; missing \['num_processes', 'process_id'\]"),
        (("localhost:1234", 2, 2), "process_id must lie in .*; got 2 of 2"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        distributed.initialize(*arguments)

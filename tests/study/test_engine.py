"""Tasks side by side: in threads, processes and Dask's workers, some of which are killed."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from freqbias.study import engine, executors
from freqbias.study.engine import Job, Task
from freqbias.study.executors import remote

ROOT = Path(__file__).parents[2]


def jobs_of(*computes, save=lambda found: None, names=None):
    """One job for each."""
    names = names or [f"task{index}" for index in range(len(computes))]
    return [
        Job((Task(name, 1.0, compute, save),))
        for name, compute in zip(names, computes, strict=True)
    ]


# --- Anywhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (10**9, 1)])
def test_programs_are_let_go_when_they_are_many(monkeypatch, most, kept):
    """A sweep of 400 settings used up the pieces of memory that a process may map, and crashed."""
    monkeypatch.setattr(engine, "MOST_MAPS", most)
    double = jax.jit(lambda x: 2 * x)
    found = []
    tasks = tuple(
        Task(str(value), 1.0, partial(lambda x: float(double(x)), value), found.append)
        for value in (1.0, 2.0)
    )
    engine.run_jobs([Job(tasks)] * 3, executors.make(workers=2))
    assert sorted(found) == [2.0] * 3 + [4.0] * 3
    assert double._cache_size() == kept


def test_studies_multiply_in_full_precision():
    """On every device: accelerators round the factors of a product by default."""
    before = jax.config.jax_default_matmul_precision
    try:
        jax.config.update("jax_default_matmul_precision", None)
        engine.configure()
        product = jax.jit(lambda x: x @ x).lower(jax.numpy.ones((2, 2))).as_text()
        assert "HIGHEST" in product
    finally:
        jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_compiled_programs_are_pieces_of_memory():
    before = engine._num_maps()
    functions = [jax.jit(lambda x, i=i: x + i) for i in range(20)]
    assert [float(function(1.0)) for function in functions] == [1.0 + i for i in range(20)]
    assert engine._num_maps() > before >= 100


def test_no_job_is_longer_than_an_equal_share():
    costs = [[5.0, 1.0, 1.0, 1.0], [1.0], [0.5, 0.5, 0.5, 0.5]]
    jobs = [
        Job(tuple(Task(f"{j}.{i}", cost, int, print) for i, cost in enumerate(job)))
        for j, job in enumerate(costs)
    ]
    names = [task.name for job in jobs for task in job.tasks]
    for places in (1, 2, 4, 100):
        parts = engine.balanced(jobs, places)
        assert [task.name for part in parts for task in part.tasks] == names
        share = sum(map(sum, costs)) / places
        assert all(part.cost <= share * 1.001 or len(part.tasks) == 1 for part in parts)
    assert engine.balanced(jobs, 1) == jobs
    assert len(engine.balanced(jobs, 100)) == len(names)


def test_a_study_outlives_its_terminal(monkeypatch):
    """A bar that failed to write held its lock forever, and the study waited for it."""
    reader, writer = os.pipe()
    terminal = os.fdopen(writer, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", terminal)
    shown, found = [], []

    def close():
        shown.append(os.read(reader, 1_000))
        os.close(reader)

    jobs = jobs_of(close, *[partial(time.sleep, 0.2)] * 4, save=found.append)
    study = threading.Thread(
        target=engine.run_jobs, args=(jobs, executors.make(workers=2)), daemon=True
    )
    study.start()
    study.join(20)
    with contextlib.suppress(BrokenPipeError):
        terminal.close()
    assert not study.is_alive() and len(found) == 5
    assert b"settings   0%" in shown[0]


# --- Threads, processes, Dask ---------------------------------------------------------------------


@pytest.fixture(params=["threads", "processes", "dask"])
def make_executor(request):
    """Makes an executor of each kind; of Dask's one with a scheduler, and workers in this process.

    Its own clusters are in a slow test below.
    """
    if request.param != "dask":
        yield partial(executors.make, request.param, workers=2)
        return
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield partial(executors.make, "dask", scheduler=cluster.scheduler_address)


def test_what_tasks_return_is_saved_here_and_what_they_raise_is_raised_here(make_executor):
    large, here = np.arange(20_000.0), threading.get_ident()

    class OwnError(Exception):
        """With arguments that pickle does not keep."""

        def __init__(self, one, other):
            super().__init__(one + other)

    def shifted(array, by):
        return by, array + by

    def fail():
        raise OwnError("half ", "a message")

    found, pids = {}, set()

    def save(result):
        pids.add((os.getpid(), threading.get_ident()))
        found[result[0]] = result[1]

    computes = [partial(shifted, large, by) for by in range(6)]
    engine.run_jobs([Job((*jobs_of(*computes, save=save)[0].tasks,)),
                     *jobs_of(*computes[1:], save=save)], make_executor())  # fmt: skip
    assert sorted(found) == list(range(6))
    for by, array in found.items():
        np.testing.assert_array_equal(array, np.arange(20_000.0) + by)
    ((pid, thread),) = pids
    assert pid == os.getpid() and thread != here

    with pytest.raises(Exception, match="half a message") as raised:
        engine.run_jobs(jobs_of(fail, names=["digits.conv"]), make_executor())
    assert "while computing digits.conv" in raised.value.__notes__


def test_large_arrays_travel_once_and_come_back_read_only():
    payloads = remote.Payloads()
    large = np.arange(10_000.0)

    def total(array, more):
        assert not array.flags.writeable
        return array.sum() + more

    one, names = payloads.dumps(partial(total, large, 1))
    other, same = payloads.dumps(partial(total, large.copy(), 2))
    assert names == same == set(payloads.arrays)
    assert len(one) < large.nbytes / 10
    results = [
        remote.result_of(remote.remote(payloads.setup, payload, payloads.arrays))
        for payload in (one, other)
    ]
    assert results == [large.sum() + 1, large.sum() + 2]


def test_workers_of_other_versions_are_refused():
    setup = remote.Payloads().setup
    other = setup._replace(versions=tuple((name, "0.0") for name, _ in setup.versions))
    with pytest.raises(ValueError, match=r"same versions; it has python 3.*, not 0\.0"):
        remote.about(other)


# --- Workers that are killed ----------------------------------------------------------------------


def waits_for_its_end(folder, name):
    """The first time it waits to be killed."""
    file = Path(folder) / name
    if not file.exists():
        file.with_suffix(".part").write_text(str(os.getpid()))
        file.with_suffix(".part").rename(file)
        time.sleep(100)
    return name


def kill_by_id(folder, names):
    """Kills the process that wrote its id into each file."""
    for name in names:
        while not (Path(folder) / name).exists():
            time.sleep(0.05)
        os.kill(int((Path(folder) / name).read_text()), signal.SIGKILL)


def suicide():
    os.kill(os.getpid(), signal.SIGKILL)


def check_that_killed_workers_cost_their_task_only(executor, folder):
    """One task is killed once from outside, another kills every worker it gets."""
    found = []
    computes = [partial(waits_for_its_end, folder, "killed"), suicide,
                *(partial(str, index) for index in range(4))]  # fmt: skip
    names = ["killed", "deadly", *map(str, range(4))]
    killer = threading.Thread(target=kill_by_id, args=(folder, ["killed"]), daemon=True)
    killer.start()
    with pytest.raises(RuntimeError, match=r"1 of 6 tasks are lost.* Lost: deadly \(3 "):
        engine.run_jobs(jobs_of(*computes, save=found.append, names=names), executor)
    assert sorted(found) == ["0", "1", "2", "3", "killed"]


def test_a_killed_process_costs_its_task_only(tmp_path):
    check_that_killed_workers_cost_their_task_only(executors.make("processes", workers=2), tmp_path)


@pytest.mark.slow
def test_a_killed_worker_of_dask_costs_its_task_only(tmp_path):
    pytest.importorskip("distributed")
    check_that_killed_workers_cost_their_task_only(executors.make("dask", workers=2), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from functools import partial
        from freqbias.study import engine, executors

        def linger(folder):
            open(os.path.join(folder, str(os.getpid())), "w").close()
            time.sleep(100)

        if __name__ == "__main__":
            task = engine.Task("linger", 1.0, partial(linger, sys.argv[1]), print)
            engine.run_jobs([engine.Job((task,))], executors.make("processes", workers=1))
    """)
    )
    folder = tmp_path / "ids"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script), str(folder)], env=environment) as process:
        while not (started := list(folder.iterdir())):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    gone = Path("/proc") / started[0].name
    for _ in range(200):
        if not gone.exists() or "State:\tZ" in (gone / "status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the worker lives on")


def test_compiled_programs_are_kept_for_another_process(tmp_path):
    script = textwrap.dedent("""
        import sys
        import jax, jax.numpy as jnp
        from freqbias.study import engine

        engine._KEPT_FROM = 0.0
        engine.configure(sys.argv[1])
        hits = []
        jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
        jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((5, 5)))
        print(hits.count("/jax/compilation_cache/cache_hits"))
    """)
    command = [sys.executable, "-c", script, str(tmp_path / "kept")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    first, second = (
        int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        for _ in range(2)
    )
    assert first == 0 < second
    assert list((tmp_path / "kept").iterdir())

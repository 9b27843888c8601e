"""What a run took is counted while it runs, and stands beside its rows."""

import time

import jax
import jax.numpy as jnp

from freqbias import runs
from freqbias.study import timing


def test_clock_and_compilations_are_counted(tmp_path):
    run = runs.open_run(tmp_path / "run", {})
    with timing.timed(run):
        jax.jit(lambda x: x * 2 + 1)(jnp.ones(3)).block_until_ready()
        time.sleep(0.2)
    took = runs.load_json(run, "timing.json")
    assert took["seconds"] >= 0.2
    assert took["programs"] >= 1
    assert 0 <= took["compile_seconds"] <= took["seconds"]
    with timing.timed(run):
        pass
    assert runs.load_json(run, "timing.json")["programs"] == 0  # since it was last started

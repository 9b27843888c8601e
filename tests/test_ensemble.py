"""The seed axis: every strategy gives the same numbers."""

import os
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import ensemble

STRATEGIES = ("vmap", "sequential", "threads", "sharded")


def fit(x, y, shared):
    return {"sum": jnp.tanh(x) @ y + shared, "shape": jnp.float32(x.size)}


def inputs(num_seeds=4):
    rng, shapes = np.random.default_rng(0), ((num_seeds, 3, 5), (num_seeds, 5), (3,))
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_agree(strategy):
    x, y, shared = inputs()
    found = jax.device_get(ensemble.map_seeds(fit, (x, y), (shared,), strategy=strategy))
    x, y, shared = jax.device_get((x, y, shared))
    for s in range(4):
        expected = np.tanh(x[s]) @ y[s] + shared
        np.testing.assert_allclose(found["sum"][s], expected, rtol=1e-5, atol=1e-6)
    assert found["shape"].shape == (4,)


def test_sharded_on_several_devices():
    """Four virtual CPU devices share the seeds; on accelerators this is what "auto" takes."""
    program = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
from freqbias import ensemble
fn = lambda x, y: jnp.fft.rfft2(x).real.sum() + y
x, y = jax.random.normal(jax.random.key(0), (8, 5, 5)), jnp.float32(2)
found = ensemble.map_seeds(fn, (x,), (y,), strategy="sharded")
assert len(found.sharding.device_set) == 4, found.sharding
np.testing.assert_allclose(found, jax.vmap(lambda x: fn(x, y))(x), rtol=1e-5)
jax.default_backend = lambda: "gpu"
assert ensemble.choose_strategy() == "sharded"
found = ensemble.map_seeds(fn, (x[:6],), (y,))
np.testing.assert_allclose(found, jax.vmap(lambda x: fn(x, y))(x[:6]), rtol=1e-5)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("share", "expected"), [(2.0, 7), (0.7, 4), (0.5, 3), (1e-9, 1)])
def test_seeds_by_vmap_never_need_more_memory_than_there_is(share, expected, monkeypatch):
    def sorted_fit(x, y, shared):
        return fit(x, jnp.sort(y), shared)

    x, y, shared = inputs(7)

    def needed(size):
        program = jax.jit(jax.vmap(sorted_fit, (0, 0, None))).lower(x[:size], y[:size], shared)
        memory = program.compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    free = share * needed(7)
    monkeypatch.setattr(ensemble, "_free_bytes", lambda: free)
    call = ensemble._compiled(ensemble._vmapped, False)
    size = ensemble._seeds_at_once(call, sorted_fit, (x, y), (shared,))
    assert size == expected and (size == 1 or needed(size) <= free)
    found = ensemble.map_seeds(sorted_fit, (x, y), (shared,), strategy="vmap")
    whole = jax.jit(jax.vmap(sorted_fit, (0, 0, None)))(x, y, shared)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, whole)


@pytest.mark.parametrize("strategy", ["vmap", "sequential", "threads"])
def test_one_compilation_for_all_seeds(strategy):
    traces = []

    def count(x):
        traces.append(1)
        return x + 1

    for _ in range(2):
        ensemble.map_seeds(count, (jnp.arange(6.0),), strategy=strategy)
    assert len(traces) == 1


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core runs one network at a time")
def test_a_first_call_compiles_on_one_network_and_later_ones_wait_for_none():
    order, pair = [], threading.Barrier(2, timeout=60)

    def alone(x, wait):
        order.append(("begins", int(x)))
        if wait:
            pair.wait()  # until two are under way
        time.sleep(0.1)  # for another to begin, if it may
        order.append(("ends", int(x)))
        return x

    def call(num_seeds, wait, dtype=jnp.float32):
        order.clear()
        networks = (jnp.arange(num_seeds, dtype=dtype),)
        ensemble.map_seeds(alone, networks, (wait,), strategy="threads", jit=False)
        return order

    assert call(3, False)[:2] == [("begins", 0), ("ends", 0)]  # before the second begins
    call(2, True)  # another number of networks, but the same arrays: else it would wait for ever
    assert call(2, False, jnp.int32)[:2] == [("begins", 0), ("ends", 0)]  # other arrays


def test_a_seed_key_does_not_depend_on_the_others(key):
    several, one = ensemble.seed_keys(key, [3, 7, 11]), ensemble.seed_keys(key, [7])
    assert (jax.random.key_data(several[1]) == jax.random.key_data(one[0])).all()


def test_stack_and_select_are_inverse():
    trees = [{"a": jnp.full((2,), float(s))} for s in range(3)]
    stacked = ensemble.stack(trees)
    assert stacked["a"].shape == (3, 2)
    np.testing.assert_array_equal(ensemble.select(stacked, 2)["a"], trees[2]["a"])


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        ([], ValueError, "seeds must not be empty"),
        ([1, 1], ValueError, "seeds must not repeat"),
        ([-1], ValueError, "seeds must lie in"),
        ([0.5], TypeError, "seeds must be a sequence, each an int"),
    ],
)
def test_bad_seeds(seeds, error, message, key):
    with pytest.raises(error, match=message):
        ensemble.seed_keys(key, seeds)


def test_bad_strategy():
    with pytest.raises(ValueError, match="strategy must be one of"):
        ensemble.map_seeds(fit, tuple(inputs()[:2]), strategy="pmap")


def test_threads_within_threads_are_none():
    """The cores are taken: what a thread maps in turn, it computes itself."""
    outside, inside = set(), set()

    def inner(x):
        inside.add(threading.get_ident())
        return x

    def outer(x):
        outside.add(threading.get_ident())
        assert ensemble.within_threads()
        return ensemble.map_seeds(inner, (x,), strategy="threads", jit=False)

    values = np.arange(6.0).reshape(2, 3)
    found = ensemble.map_seeds(outer, (values,), strategy="threads", jit=False)
    np.testing.assert_array_equal(found, values)
    assert inside == outside and not ensemble.within_threads()


def test_what_prepares_itself_is_prepared_once_before_threads_call_it():
    called = []

    class Doubled:
        def __call__(self, x, shared):
            called.append("call")
            return 2 * x + shared

        def prepare(self, x, shared):
            called.append(("prepare", x.shape, shared.shape))

    fn, inputs = Doubled(), ((np.ones((3, 2)),), (np.zeros(2),))
    for _ in range(2):
        found = ensemble.map_seeds(fn, *inputs, strategy="threads", jit=False)
        np.testing.assert_array_equal(found, np.full((3, 2), 2))
    assert called == [("prepare", (2,), (2,)), *["call"] * 6]

"""Strict JAX for every test: implicit rank promotion raises, and products are of full precision.

Compiled fast rather than well. Examples of hypothesis are the same at every run, so that a red test
is a change's doing; new ones are sought by `--hypothesis-profile=default`.
"""

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # GPUs keep 10 bits by default
jax.config.update("jax_disable_most_optimizations", True)  # tests spend their time compiling

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Compiled programs of one file of tests are of no use to the next."""
    yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    """The key of a test."""
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield

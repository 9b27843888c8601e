"""Strict JAX for every test: implicit rank promotion raises, and products are of full precision.

Compiled fast rather than well.
"""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # GPUs keep 10 bits by default
jax.config.update("jax_disable_most_optimizations", True)  # tests spend their time compiling


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

"""Attacks compile faster than JAX's default would, to the same numbers."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.attacks import L2, compiling, pgd
from freqbias.attacks.compiling import compiled


@pytest.fixture
def optimised():
    """Tests are compiled without optimisations; what is tested here is about them."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def _waves(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(-(x**2)), axis=-1)


@pytest.mark.usefixtures("optimised")
def test_a_call_gives_what_jit_gives_bit_for_bit(key):
    quick, plain, x = compiled(_waves), jax.jit(_waves), jax.random.normal(key, (7, 784))
    np.testing.assert_array_equal(quick(x), plain(x))
    np.testing.assert_array_equal(jax.vmap(quick)(x[:, None]), jax.vmap(plain)(x[:, None]))
    slopes = [jax.grad(lambda x, fn=fn: fn(x).sum())(x) for fn in (quick, plain)]
    np.testing.assert_array_equal(*slopes)


@pytest.mark.usefixtures("optimised")
def test_within_another_jit_it_is_a_part_of_that(key):
    """JAX refuses options of a program within a program, even where no argument is traced."""
    x = jax.random.normal(key, (7, 784))
    quick = compiled(_waves)
    np.testing.assert_allclose(jax.jit(lambda y: quick(x) + y)(0.0), quick(x), rtol=1e-5)
    found = jax.lax.map(quick, x[None])
    np.testing.assert_allclose(found[0], quick(x), rtol=1e-5)
    attack, model = pgd(L2(), epsilon=0.3, num_steps=2), attack_table.make_model("mlp")
    traced = jax.jit(lambda: attack(*model, key))()
    np.testing.assert_allclose(traced.delta, attack(*model, key).delta, atol=1e-5)


@pytest.mark.usefixtures("optimised")
def test_options_are_for_the_cpu_with_optimisations(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert compiling._takes_options(jnp.ones(2))
    assert not jax.jit(lambda: jnp.asarray(compiling._takes_options(jnp.ones(2))))()
    jax.config.update("jax_disable_most_optimizations", True)
    assert not compiling._takes_options(jnp.ones(2))
    jax.config.update("jax_disable_most_optimizations", False)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not compiling._takes_options(jnp.ones(2))

"""No theory check multiplies in the reduced precision of an accelerator, whatever the setting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import theory

SHAPE = (6, 5, 2)
IMAGES = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
LABELS = np.arange(8) % 2
BETA = jnp.asarray(IMAGES[0])
KERNEL = jnp.asarray(IMAGES[:3, :3, :2])  # [3, 3, 2, 2]


def _nets():
    yield "dense", theory.dense_net(SHAPE, 2, width=3)
    yield "conv", theory.conv_net(SHAPE, 2, kernel_size=3, channels=2)
    yield "full width", theory.conv_net(SHAPE, 1, kernel_size=SHAPE[:2])
    yield "locally connected", theory.locally_connected_net(SHAPE, 1, kernel_size=3)


def _cases():
    """(name, function of arrays, arguments)."""
    for name, net in _nets():
        start = theory.init_direction(net, jax.random.split(jax.random.key(0), 2), len(IMAGES))

        def train(start, net=net):
            return theory.train_direction(net, start, IMAGES, LABELS, num_steps=2)

        def read(start, net=net):
            return theory.read_direction(net, start, IMAGES, LABELS)

        yield f"train {name}", train, (start,)
        yield f"read {name}", read, (start,)
    regularizers = {"l2": theory.l2_regularizer(), "kernel": theory.kernel_regularizer(3)}
    for name, regularizer in regularizers.items():

        def certify(beta, images, regularizer=regularizer):
            return theory.certificate(beta, images, LABELS, regularizer, norm=1.0)

        yield f"certificate {name}", certify, (BETA, jnp.asarray(IMAGES))
    objective = lambda params: jnp.log(jnp.sum((params["a"] @ params["b"]) ** 2))  # noqa: E731
    params = {"a": BETA[..., 0], "b": BETA[..., 1].T}
    yield "stationarity", lambda p: theory.parameter_stationarity(objective, p), (params,)
    yield "balance", lambda k: theory.layer_balance(k, k, SHAPE[:2]), (KERNEL,)
    yield "kernel frequency", lambda k: theory.kernel_mean_frequency(k, SHAPE[:2]), (KERNEL,)
    yield "localization", theory.cosine_spread, (BETA[..., 0],)
    yield "uncertainty", theory.massar_spindel_slack, (BETA[..., 0],)


CASES = {name: rest for name, *rest in _cases()}


@pytest.mark.parametrize("name", CASES)
def test_every_product_is_of_full_precision(name):
    function, arguments = CASES[name]
    program = jax.jit(function).lower(*arguments).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot" in line]
    assert all("HIGHEST" in line for line in products), products


def test_there_are_products_to_check():
    function, arguments = CASES["train conv"]
    assert "stablehlo.dot" in jax.jit(function).lower(*arguments).as_text()

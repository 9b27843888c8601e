"""PGD against foolbox's on the same weights, through foolbox's own JAX backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.attacks import L2, Linf, evaluate, pgd

pytestmark = pytest.mark.peers
NUM_IMAGES, NUM_STEPS = 512, 20


def _network(params, images):
    """Two circular 3 x 3 convolutions with ReLU and a linear readout, 10 classes."""
    for kernel in params[:-1]:
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        images = jax.lax.conv_general_dilated(
            padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images)
    return images.reshape(images.shape[0], -1) @ params[-1]


@pytest.fixture(scope="module")
def problem():
    """Random weights; labels are the predictions, so that every clean image is correct."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = (
        jax.random.normal(keys[0], (3, 3, 1, 8)) * np.sqrt(2 / 9),
        jax.random.normal(keys[1], (3, 3, 8, 8)) * np.sqrt(2 / 72),
        jax.random.normal(keys[2], (14 * 14 * 8, 10)) / np.sqrt(14 * 14 * 8),
    )
    images = jax.random.uniform(keys[3], (NUM_IMAGES, 14, 14, 1))
    return params, images, jnp.argmax(_network(params, images), axis=-1)


@pytest.mark.parametrize("norm", [L2(), Linf()])
@pytest.mark.parametrize("quantile", [0.3, 0.6])
def test_robust_accuracy_is_within_one_percent_of_foolbox(norm, quantile, problem):
    """No random start on either side: the same iterates, up to which of them is returned."""
    foolbox = pytest.importorskip("foolbox")
    import eagerpy  # noqa: PLC0415 (comes with foolbox)

    params, images, labels = problem
    logits = np.sort(_network(params, images), axis=-1)
    slope = jax.vmap(
        jax.grad(lambda x: jnp.diff(jax.lax.top_k(_network(params, x[None])[0], 2)[0])[0])
    )(images)
    dual = jax.vmap(norm.dual)(slope)  # epsilon by linearisation, so that about half stand
    epsilon = float(np.quantile((logits[:, -1] - logits[:, -2]) / dual, quantile))

    attack = pgd(norm, epsilon=epsilon, num_steps=NUM_STEPS, random_start=False)
    ours = evaluate(attack, _network, params, images, labels, jax.random.key(0))

    peer = {"l2": foolbox.attacks.L2PGD, "linf": foolbox.attacks.LinfPGD}[norm.name]
    model = foolbox.JAXModel(
        jax.jit(lambda x: _network(params, x)), bounds=(0, 1), data_format="channels_last"
    )
    _, _, success = peer(
        steps=NUM_STEPS, abs_stepsize=2.5 * epsilon / NUM_STEPS, random_start=False
    )(model, eagerpy.astensor(images), eagerpy.astensor(labels), epsilons=epsilon)
    theirs = 1 - float(np.mean(np.asarray(success.raw)))
    assert 0.1 < theirs < 0.9
    assert ours.robust_accuracy <= theirs + 0.01
    np.testing.assert_allclose(ours.robust_accuracy, theirs, atol=0.01)

"""PGD against foolbox's on the same weights, through foolbox's own JAX backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peer_problem import make_problem, network

from freqbias.attacks import L2, Linf, evaluate, pgd

pytestmark = pytest.mark.peers
NUM_IMAGES, NUM_STEPS = 512, 20


@pytest.fixture(scope="module")
def problem():
    return make_problem(NUM_IMAGES)


@pytest.mark.parametrize("norm", [L2(), Linf()])
@pytest.mark.parametrize("quantile", [0.3, 0.6])
def test_robust_accuracy_is_within_one_percent_of_foolbox(norm, quantile, problem):
    """No random start on either side: the same iterates, up to which of them is returned."""
    foolbox = pytest.importorskip("foolbox")
    import eagerpy  # noqa: PLC0415 (comes with foolbox)

    params, images, labels = problem
    logits = np.sort(network(params, images), axis=-1)
    slope = jax.vmap(
        jax.grad(lambda x: jnp.diff(jax.lax.top_k(network(params, x[None])[0], 2)[0])[0])
    )(images)
    dual = jax.vmap(norm.dual)(slope)  # epsilon by linearisation, so that about half stand
    epsilon = float(np.quantile((logits[:, -1] - logits[:, -2]) / dual, quantile))

    attack = pgd(norm, epsilon=epsilon, num_steps=NUM_STEPS, random_start=False)
    ours = evaluate(attack, network, params, images, labels, jax.random.key(0))

    peer = {L2(): foolbox.attacks.L2PGD, Linf(): foolbox.attacks.LinfPGD}[norm]
    model = foolbox.JAXModel(
        jax.jit(lambda x: network(params, x)), bounds=(0, 1), data_format="channels_last"
    )
    _, _, success = peer(
        steps=NUM_STEPS, abs_stepsize=2.5 * epsilon / NUM_STEPS, random_start=False
    )(model, eagerpy.astensor(images), eagerpy.astensor(labels), epsilons=epsilon)
    theirs = 1 - float(np.mean(np.asarray(success.raw)))
    assert 0.1 < theirs < 0.9
    assert ours.robust_accuracy <= theirs + 0.01
    np.testing.assert_allclose(ours.robust_accuracy, theirs, atol=0.01)

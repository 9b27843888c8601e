"""Minimal attacks against foolbox's on the same weights, through foolbox's own JAX backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peer_problem import make_problem, network

from freqbias.attacks import L0, L1, L2, Linf, carlini_wagner, ddn, deepfool, fmn

pytestmark = pytest.mark.peers
NUM_IMAGES, NUM_STEPS = 128, 100  # theirs; ours take 50 from each of two starts


@pytest.fixture(scope="module")
def problem():
    return make_problem(NUM_IMAGES)


CASES = {
    "ddn": (ddn(), L2(), "DDNAttack", dict(steps=NUM_STEPS)),
    "fmn_l0": (fmn(L0()), L0(), "L0FMNAttack", dict(steps=NUM_STEPS)),
    "fmn_l1": (fmn(L1()), L1(), "L1FMNAttack", dict(steps=NUM_STEPS)),
    "fmn_l2": (fmn(L2()), L2(), "L2FMNAttack", dict(steps=NUM_STEPS)),
    "fmn_linf": (fmn(Linf()), Linf(), "LInfFMNAttack", dict(steps=NUM_STEPS)),
    "deepfool_l2": (deepfool(L2()), L2(), "L2DeepFoolAttack", {}),
    "deepfool_linf": (deepfool(Linf()), Linf(), "LinfDeepFoolAttack", {}),
    "carlini_wagner": (  # half of foolbox's gradients
        carlini_wagner(),
        L2(),
        "L2CarliniWagnerAttack",
        dict(steps=100, binary_search_steps=5),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_median_distance_is_at_most_two_percent_above_foolbox(name, problem):
    foolbox = pytest.importorskip("foolbox")
    import eagerpy  # noqa: PLC0415 (comes with foolbox)

    attack, norm, peer, options = CASES[name]
    params, images, labels = problem
    ours = attack(network, params, images, labels, jax.random.key(0))
    assert ours.is_adversarial.all()

    model = foolbox.JAXModel(
        jax.jit(lambda x: network(params, x)), bounds=(0, 1), data_format="channels_last"
    )
    with jax.numpy_rank_promotion("allow"):
        _, theirs, success = getattr(foolbox.attacks, peer)(**options)(
            model, eagerpy.astensor(images), eagerpy.astensor(labels), epsilons=None
        )
    delta = np.asarray(theirs.raw) - np.asarray(images)
    distance = np.asarray(jax.vmap(norm.value)(jnp.asarray(delta)))
    distance = np.where(np.asarray(success.raw), distance, np.inf)
    median = float(np.median(ours.distance)), float(np.median(distance))
    worst = float(np.max(ours.distance)), float(np.max(distance))
    print(f"{name}: median {median[0]:.5f} (foolbox {median[1]:.5f}), worst {worst}")
    assert median[0] <= 1.02 * median[1]

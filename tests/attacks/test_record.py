"""What counts as the best, and when an attack's outcome proves nothing."""

import attack_table
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.attacks import L2, apgd, pgd, record
from freqbias.typing import Status

IMAGES = jnp.full((3, 2, 2, 1), 0.5)
LABELS = jnp.zeros(3, jnp.int32)
STANDS, FALLS = jnp.array([[1.0, 0.0]] * 3), jnp.array([[0.0, 1.0]] * 3)


def _delta(*sizes):
    return jnp.broadcast_to(jnp.array(sizes)[:, None, None, None], IMAGES.shape)


def test_adversarial_comes_before_loss_and_loss_before_nothing():
    best = record.start(IMAGES, LABELS, None, STANDS, jnp.zeros(3))
    loss, logits = jnp.array([1.0, -5.0, jnp.nan]), STANDS.at[1].set(FALLS[1])
    best = record.keep_loss(best, _delta(0.1, 0.2, 0.3), loss, logits, LABELS, None)
    np.testing.assert_allclose(best.delta[:, 0, 0, 0], [0.1, 0.2, 0.0])
    np.testing.assert_array_equal(best.is_adversarial, [False, True, False])
    np.testing.assert_array_equal(best.finite, [True, True, False])
    best = record.keep_loss(best, _delta(0.4, 0.4, 0.4), jnp.ones(3) * 9, STANDS, LABELS, None)
    np.testing.assert_allclose(best.delta[:, 0, 0, 0], [0.4, 0.2, 0.4])


def test_of_minimal_perturbations_the_nearest_adversarial_one_is_kept():
    best = record.start(IMAGES, LABELS, None, STANDS.at[2].set(FALLS[2]))
    for size, logits in ((0.3, FALLS), (0.1, STANDS), (0.2, FALLS), (0.25, FALLS)):
        candidate = _delta(size, size, size)
        best = record.keep_nearest(best, candidate, jnp.full(3, 2 * size), logits, LABELS, None)
    np.testing.assert_allclose(best.delta[:, 0, 0, 0], [0.2, 0.2, 0.0])  # the last fell when clean
    np.testing.assert_allclose(record.nearest_distance(best), [0.4, 0.4, 0.0])


@pytest.mark.parametrize("make", [apgd, pgd])
def test_a_dead_network_that_errs_stays_dead(make, key):
    """It needs no perturbation to be wrong, and is no live network for that."""
    model = attack_table.make_model("mlp")
    params = (model.params[0], jnp.zeros_like(model.params[1]))  # constant logits: class 0
    labels = jnp.ones_like(model.labels)
    attack = make(L2(), epsilon=0.5, num_steps=3)
    found = attack(model.apply_fn, params, model.images, labels, key)
    assert found.is_adversarial.all() and not found.clean_correct.any()
    np.testing.assert_array_equal(found.status, Status.DEAD)


def test_gradients_that_are_not_finite_count_as_zero_and_are_told():
    best = record.start(IMAGES, LABELS, None, STANDS, jnp.zeros(3))
    gradients = jnp.ones_like(IMAGES).at[0, 0, 0, 0].set(jnp.inf).at[1].set(0)
    best, clean = record.take_gradients(best, gradients)
    np.testing.assert_array_equal(clean[0], 0)
    np.testing.assert_array_equal(best.finite, [False, True, True])
    np.testing.assert_array_equal(best.alive, [False, False, True])
    best, _ = record.take_gradients(best, jnp.ones((3, 4, 2, 2, 1)))  # four classes at once
    np.testing.assert_array_equal(best.gradient_evaluations, 5)


def test_one_gradient_makes_alive_for_good():
    best = record.start(IMAGES, LABELS, None, STANDS, jnp.zeros(3))
    for seen in (0, 1):  # of the third image none is used
        gradients = jnp.zeros_like(IMAGES).at[(seen, 2), ...].set(1.0)
        best, _ = record.take_gradients(best, gradients, used=np.array([True, True, False]))
    np.testing.assert_array_equal(best.alive, [True, True, False])

"""Losses of attacks: values, order and stability."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from freqbias.attacks import (
    L2,
    dlr,
    log_odds,
    margin,
    named_loss,
    pgd,
    targeted_dlr,
)

LABELS = np.array([0, 2, 1, 2, 0])
LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels
losses = pytest.mark.parametrize("loss_fn", [log_odds, margin, dlr])


def _gradient(loss_fn, logits, *goal):
    """The losses of some rows, and the gradient of their sum."""
    losses, pullback = jax.vjp(lambda z: loss_fn(z, *goal), logits)
    return losses, pullback(jnp.ones_like(losses))[0]


value = partial(jax.jit, static_argnums=0)(lambda loss_fn, *args: loss_fn(*args))
value_and_gradient = jax.jit(_gradient, static_argnums=0)


def test_log_odds_are_a_function_of_the_cross_entropy():
    expected = np.log(np.expm1(value(cross_entropy, LOGITS, LABELS)))
    np.testing.assert_allclose(value(log_odds, LOGITS, LABELS), expected, rtol=1e-5)
    assert named_loss("cross_entropy") is log_odds


def test_margin_by_hand():
    logits = np.float32([[1, 3, 2], [5, -1, 0.5], [-3, -2, -7]])
    np.testing.assert_allclose(value(margin, logits, np.array([0, 0, 2])), [2.0, -4.5, 5.0])


def test_margin_is_negative_exactly_while_correct():
    correct = np.argmax(LOGITS, -1) == LABELS
    assert 0 < correct.sum() < len(LABELS)
    np.testing.assert_array_equal(np.asarray(value(margin, LOGITS, LABELS)) < 0, correct)


def test_two_classes():
    """With C = 2 the margin and the log odds are the same difference."""
    logits, labels = LOGITS[:, :2], np.array([0, 1, 1, 0, 0])
    difference = logits[np.arange(5), 1 - labels] - logits[np.arange(5), labels]
    for loss_fn in (margin, log_odds):
        np.testing.assert_allclose(value(loss_fn, logits, labels), difference, rtol=1e-6)


def test_log_odds_and_cross_entropy_share_the_direction_of_their_gradients():
    gradients = [value_and_gradient(f, LOGITS, LABELS)[1] for f in (log_odds, cross_entropy)]
    units = [g / np.linalg.norm(g, axis=-1, keepdims=True) for g in map(np.asarray, gradients)]
    np.testing.assert_allclose(units[0], units[1], atol=1e-5)


@losses
def test_no_overflow_at_logits_of_ten_thousand(loss_fn):
    for part in value_and_gradient(loss_fn, np.float32(1e4) * LOGITS, LABELS):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("loss_fn", [log_odds, margin])
def test_the_gradient_does_not_vanish_where_the_softmax_saturates(loss_fn):
    saturated = np.float32([[1e4, 0, -1e4]]), np.array([0])
    np.testing.assert_allclose(value_and_gradient(loss_fn, *saturated)[1], [[-1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(value_and_gradient(cross_entropy, *saturated)[1], 0)  # the trap


@losses
def test_targeted_is_the_negative(loss_fn):
    targeted = named_loss(loss_fn, targeted=True)
    targets = (LABELS + 1) % 3
    expected = -np.asarray(value(loss_fn, LOGITS, targets))
    np.testing.assert_array_equal(value(targeted, LOGITS, LABELS, targets), expected)


@losses
def test_losses_are_per_example(loss_fn):
    whole = np.asarray(value(loss_fn, LOGITS, LABELS))
    assert whole.shape == (5,)
    for index in range(5):
        one = value(loss_fn, LOGITS[index][None], LABELS[index][None])
        np.testing.assert_allclose(one, whole[index][None], rtol=1e-6)


def test_dlr_by_hand():
    """The margin over the first minus the third largest logit; a quotient, so free of scale."""
    logits, labels = np.float32([[4, 1, 3, 0], [4, 1, 3, 0]]), np.array([0, 1])
    by_hand = [-1 / 3, 3 / 3]
    np.testing.assert_allclose(value(dlr, logits, labels), by_hand)
    aimed = value(targeted_dlr, logits, labels, np.array([2, 3]))
    np.testing.assert_allclose(aimed, [-1 / 3.5, -1 / 3.5])
    for changed in (1e4 * logits, 1e-4 * logits, logits - 8):
        np.testing.assert_allclose(value(dlr, np.float32(changed), labels), by_hand, rtol=1e-4)


def test_dlr_is_finite_where_its_denominator_is_zero():
    """A tie of three (or four), in one logit row a tie of all, and logits that nearly tie."""
    logits = np.float32([[2, 2, 2, 2, 1], [0] * 5, [-9e4, 1, 1, 1, 1]])
    labels, targets = np.zeros(3, int), np.ones(3, int)
    found = value_and_gradient(dlr, logits, labels)
    for part in (*found, *value_and_gradient(targeted_dlr, logits, labels, targets)):
        assert np.isfinite(part).all()
    assert np.asarray(found[0])[1] == 0


def test_dlr_is_exactly_flat_where_the_label_is_third():
    """Not up to rounding: whether an attack saw a gradient must not depend on the route taken."""
    logits = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
    order = np.argsort(-logits, axis=-1)
    for rank in range(6):
        loss, gradient = map(np.asarray, value_and_gradient(dlr, logits, order[:, rank]))
        np.testing.assert_array_equal(np.any(gradient != 0, axis=-1), rank != 2)
        np.testing.assert_array_equal(loss == 1, rank == 2)


@pytest.mark.parametrize("num_classes, targeted, least", [(2, False, 3), (3, True, 4)])
def test_dlr_of_too_few_classes_raises(num_classes, targeted, least, key):
    """From the call of an attack as well, and the classes are counted in the message."""
    loss_fn = named_loss("dlr", targeted=targeted)
    labels = np.zeros(5, int)
    more = (labels + 1,) if targeted else ()
    with pytest.raises(ValueError, match=f"at least {least} classes; got {num_classes}"):
        loss_fn(LOGITS[:, :num_classes], labels, *more)

    def mean_logits(params, images):
        return images.mean((1, 2))[:, :1] * jnp.arange(num_classes)[None, :]

    attack = pgd(L2(), epsilon=0.1, loss="dlr", targeted=targeted)
    targets = {"targets": more[0]} if targeted else {}
    with pytest.raises(ValueError, match=f"at least {least} classes"):
        attack(mean_logits, (), np.zeros((5, 2, 2, 1), np.float32), labels, key, **targets)


def test_a_name_is_always_the_same_function():
    """So that it compiles once; towards a target it is the negative, and ignores the label."""
    for loss in ("cross_entropy", "margin", "dlr", margin):
        for targeted in (False, True):
            first = named_loss(loss, targeted=targeted)
            assert first is named_loss(loss, targeted=targeted)
    towards = named_loss("margin", targeted=True)
    expected = -np.asarray(value(margin, LOGITS, LABELS))
    np.testing.assert_array_equal(value(towards, LOGITS, None, LABELS), expected)

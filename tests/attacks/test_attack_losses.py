"""Losses of attacks: values, order and stability."""

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

LABELS = jnp.array([0, 2, 1, 2, 0])
losses = pytest.mark.parametrize("loss_fn", [log_odds, margin, dlr])


def _logits(scale=1.0):
    return scale * jax.random.normal(jax.random.key(0), (5, 3))


def test_log_odds_are_a_function_of_the_cross_entropy():
    expected = optax.softmax_cross_entropy_with_integer_labels(_logits(), LABELS)
    np.testing.assert_allclose(log_odds(_logits(), LABELS), jnp.log(jnp.expm1(expected)), rtol=1e-5)
    assert named_loss("cross_entropy") is log_odds


def test_margin_by_hand():
    logits = jnp.array([[1.0, 3.0, 2.0], [5.0, -1.0, 0.5], [-3.0, -2.0, -7.0]])
    labels = jnp.array([0, 0, 2])
    np.testing.assert_allclose(margin(logits, labels), [2.0, -4.5, 5.0])


def test_margin_is_negative_exactly_while_correct():
    correct = jnp.argmax(_logits(), -1) == LABELS
    np.testing.assert_array_equal(margin(_logits(), LABELS) < 0, correct)


def test_two_classes():
    """With C = 2 the margin and the log odds are the same difference."""
    logits, labels = _logits()[:, :2], jnp.array([0, 1, 1, 0, 0])
    other = jnp.take_along_axis(logits, 1 - labels[:, None], 1)[:, 0]
    true = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    np.testing.assert_allclose(margin(logits, labels), other - true, rtol=1e-6)
    np.testing.assert_allclose(log_odds(logits, labels), other - true, rtol=1e-6)


def test_log_odds_and_cross_entropy_share_the_direction_of_their_gradients():
    gradients = [
        jax.grad(lambda z, f=f: f(z, LABELS).sum())(_logits())
        for f in (log_odds, optax.softmax_cross_entropy_with_integer_labels)
    ]
    units = [g / jnp.linalg.norm(g, axis=-1, keepdims=True) for g in gradients]
    np.testing.assert_allclose(units[0], units[1], atol=1e-5)


@losses
def test_no_overflow_at_logits_of_ten_thousand(loss_fn):
    value, gradient = jax.value_and_grad(lambda z: loss_fn(z, LABELS).sum())(_logits(1e4))
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


@pytest.mark.parametrize("loss_fn", [log_odds, margin])
def test_the_gradient_does_not_vanish_where_the_softmax_saturates(loss_fn):
    logits, labels = jnp.array([[1e4, 0.0, -1e4]]), jnp.array([0])
    gradient = jax.grad(lambda z: loss_fn(z, labels)[0])(logits)
    np.testing.assert_allclose(gradient, [[-1.0, 1.0, 0.0]])
    cross = jax.grad(lambda z: optax.softmax_cross_entropy_with_integer_labels(z, labels)[0])
    np.testing.assert_array_equal(cross(logits), 0)  # the trap


@losses
def test_targeted_is_the_negative(loss_fn):
    targeted = named_loss(loss_fn, targeted=True)
    targets = (LABELS + 1) % 3
    np.testing.assert_array_equal(
        targeted(_logits(), LABELS, targets), -loss_fn(_logits(), targets)
    )


@losses
def test_losses_are_per_example(loss_fn):
    whole = loss_fn(_logits(), LABELS)
    assert whole.shape == (5,)
    for index in range(5):
        one = loss_fn(_logits()[index][None], LABELS[index][None])
        np.testing.assert_allclose(one[0], whole[index], rtol=1e-6)


def test_dlr_by_hand():
    """The margin over the first minus the third largest logit; a quotient, so free of scale."""
    logits = jnp.array([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
    labels = jnp.array([0, 1])
    np.testing.assert_allclose(dlr(logits, labels), [-1 / 3, 3 / 3])
    np.testing.assert_allclose(
        targeted_dlr(logits, labels, jnp.array([2, 3])), [-1 / 3.5, -1 / 3.5]
    )
    for change in (lambda z: 1e4 * z, lambda z: 1e-4 * z, lambda z: z - 8):
        np.testing.assert_allclose(dlr(change(logits), labels), dlr(logits, labels), rtol=1e-4)


def test_dlr_is_finite_where_its_denominator_is_zero():
    """A tie of three (or four), in one logit row a tie of all, and logits that nearly tie."""
    logits = jnp.array([[2.0, 2.0, 2.0, 2.0, 1.0], [0.0] * 5, [-9e4, 1.0, 1.0, 1.0, 1.0]])
    labels, targets = jnp.zeros(3, int), jnp.ones(3, int)
    value, gradient = jax.value_and_grad(lambda z: dlr(z, labels).sum())(logits)
    aimed, aimed_gradient = jax.value_and_grad(lambda z: targeted_dlr(z, labels, targets).sum())(
        logits
    )
    assert jnp.isfinite(jnp.array([value, aimed])).all()
    assert jnp.isfinite(gradient).all() and jnp.isfinite(aimed_gradient).all()
    np.testing.assert_array_equal(dlr(logits[1:2], labels[:1]), 0)


def test_dlr_is_exactly_flat_where_the_label_is_third():
    """Not up to rounding: whether an attack saw a gradient must not depend on the route taken."""
    logits = jax.random.normal(jax.random.key(1), (200, 6))
    order = jnp.argsort(-logits, axis=-1)
    for rank in range(6):
        labels = order[:, rank]
        value, pullback = jax.vjp(lambda z, labels=labels: dlr(z, labels), logits)
        alive = jnp.any(pullback(jnp.ones(200))[0] != 0, axis=-1)
        np.testing.assert_array_equal(alive, rank != 2)
        np.testing.assert_array_equal(value == 1, rank == 2)


@pytest.mark.parametrize("num_classes, targeted, least", [(2, False, 3), (3, True, 4)])
def test_dlr_of_too_few_classes_raises(num_classes, targeted, least, key):
    """From the call of an attack as well, and the classes are counted in the message."""
    loss_fn = named_loss("dlr", targeted=targeted)
    labels = jnp.zeros(5, int)
    more = (labels + 1,) if targeted else ()
    with pytest.raises(ValueError, match=f"at least {least} classes; got {num_classes}"):
        loss_fn(_logits()[:, :num_classes], labels, *more)

    def mean_logits(params, images):
        return images.mean((1, 2))[:, :1] * jnp.arange(num_classes)[None, :]

    attack = pgd(L2(), epsilon=0.1, loss="dlr", targeted=targeted)
    targets = {"targets": more[0]} if targeted else {}
    with pytest.raises(ValueError, match=f"at least {least} classes"):
        attack(mean_logits, jnp.zeros(()), jnp.zeros((5, 2, 2, 1)), labels, key, **targets)


def test_a_name_is_always_the_same_function():
    """So that it compiles once; towards a target it is the negative, and ignores the label."""
    for loss in ("cross_entropy", "margin", "dlr", margin):
        for targeted in (False, True):
            first = named_loss(loss, targeted=targeted)
            assert first is named_loss(loss, targeted=targeted)
    towards = named_loss("margin", targeted=True)
    np.testing.assert_array_equal(towards(_logits(), None, LABELS), -margin(_logits(), LABELS))

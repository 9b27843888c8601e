"""What the tests of the attack table share."""

from functools import partial

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import CASES, EPSILON, NUM_CLASSES, SLOW_CASES

from freqbias.typing import Status

NOISE = 1e-5  # float32, two routes or two batch sizes through one small network


@partial(jax.jit, static_argnames="apply_fn")
def init(attack, apply_fn, *network_and_keys):
    """`IterativeAttack.init`, of an attack step by step, in one program."""
    return attack.init(apply_fn, *network_and_keys)


@partial(jax.jit, static_argnames=("apply_fn", "phase"))
def step(attack, apply_fn, params, images, labels, state, phase):
    """`IterativeAttack.step`, in one program."""
    return attack.step(apply_fn, params, images, labels, state, phase)


def parametrize(keep=lambda case: True, more=()):
    marked = [pytest.param(c, id=c.name) for c in (*CASES, *more) if keep(c)]
    marked += [pytest.param(c, id=c.name, marks=pytest.mark.slow) for c in SLOW_CASES if keep(c)]
    return pytest.mark.parametrize("case", marked)


def targets_of(case, labels, num_classes=NUM_CLASSES):
    return (labels + 1) % num_classes if case.targeted else None


def run(case, model, key, epsilon=None):
    attack = case.make(EPSILON[case.norm] if epsilon is None else epsilon)
    options = {"targets": targets_of(case, model.labels)} if case.targeted else {}
    return attack(*model, key, **options)


def may_be_flat(case, found):
    """Images on which the loss may be flat: DLR on some that are misclassified, see `dlr`."""
    return "dlr" in case.name and ~np.asarray(found.clean_correct)


def check_status(case, found, status=Status.OK):
    """Every image has the status, but those that are spared; where the loss is flat, no matter."""
    status = np.broadcast_to(status, np.shape(found.status))
    status = np.where(case.spares & ~np.asarray(found.clean_correct), Status.NOT_ATTACKED, status)
    flat = may_be_flat(case, found) & (status == Status.OK)
    np.testing.assert_array_equal(np.where(flat, Status.OK, found.status), status)


def assert_close(case, found, expected):
    np.testing.assert_allclose(found.delta, expected.delta, atol=NOISE)
    np.testing.assert_array_equal(found.is_adversarial, expected.is_adversarial)
    np.testing.assert_array_equal(found.status, expected.status)


def check_budget_and_box(case, model, found, bounds, scale=1):
    returned = model.images + found.delta
    if bounds is not None:
        assert returned.min() >= np.float32(bounds[0]) and returned.max() <= np.float32(bounds[1])
    if not case.minimal:
        seen = jax.vmap(case.norm.value)(returned - model.images)
        assert seen.max() <= scale * (EPSILON[case.norm] + attack_table.rounding(case.norm))


def check_flags(case, model, found, num_classes=NUM_CLASSES):
    clean = jnp.argmax(model.apply_fn(model.params, model.images), -1)
    prediction = jnp.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    targets = targets_of(case, model.labels, num_classes)
    goal = prediction == targets if case.targeted else prediction != model.labels
    np.testing.assert_array_equal(found.is_adversarial, goal)
    np.testing.assert_array_equal(found.clean_correct, clean == model.labels)
    np.testing.assert_array_equal(found.flipped, goal & (clean == model.labels))
    assert not found.clean_correct[-2:].any()  # the table's mislabelled images
    distance = jax.vmap(case.norm.value)(found.delta)
    if case.minimal:
        distance = jnp.where(found.is_adversarial, distance, jnp.inf)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)
    check_status(case, found)

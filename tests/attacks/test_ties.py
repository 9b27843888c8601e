"""Images on the boundary: every minimal attack finds them at next to no distance."""

import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import affine

from freqbias.attacks import (
    L0,
    L1,
    L2,
    Linf,
    affine_attack,
    bisect,
    brendel_bethge,
    carlini_wagner,
    ddn,
    deepfool,
    fab,
    fmn,
    pgd,
    smallest_budget,
)
from freqbias.typing import Status

SHAPE = (2, 2, 1)
FREE = dict(bounds=None)
ATTACKS = {
    "affine_l0": affine_attack(L0(), bounds=(0, 1)),
    "affine_l1": affine_attack(L1(), bounds=(0, 1)),
    "affine_l2": affine_attack(L2(), bounds=(0, 1)),
    "affine_linf": affine_attack(Linf(), bounds=(0, 1)),
    "affine_free": affine_attack(L2()),
    "ddn": ddn(num_steps=5),
    "fmn_l0": fmn(L0(), num_steps=10),
    "fmn_l1": fmn(L1(), num_steps=10),
    "fmn_l2": fmn(L2(), num_steps=10),
    "fmn_linf": fmn(Linf(), num_steps=10),
    "deepfool_l1": deepfool(L1(), num_steps=5),
    "deepfool_l2": deepfool(L2(), num_steps=5),
    "deepfool_linf": deepfool(Linf(), num_steps=5),
    "deepfool_free": deepfool(L2(), num_steps=1, **FREE),
    "fab_l1": fab(L1(), num_steps=5),
    "fab_l2": fab(L2(), num_steps=5),
    "fab_linf": fab(Linf(), num_steps=5),
    "fab_by_class": fab(L2(), num_steps=5, class_by_class=True),
    "fab_targeted": fab(L2(), num_steps=5, targeted=True),
    "carlini_wagner": carlini_wagner(num_steps=5),
    "carlini_wagner_free": carlini_wagner(num_steps=5, **FREE),
    "carlini_wagner_targeted": carlini_wagner(num_steps=5, targeted=True),
    "brendel_bethge_l0": brendel_bethge(L0(), num_steps=5),
    "brendel_bethge_l1": brendel_bethge(L1(), num_steps=5),
    "brendel_bethge_l2": brendel_bethge(L2(), num_steps=5),
    "brendel_bethge_linf": brendel_bethge(Linf(), num_steps=5),
    "smallest_budget_l1": smallest_budget(L1(), num_steps=5),
    "smallest_budget_l2": smallest_budget(L2(), num_steps=5),
    "smallest_budget_linf": smallest_budget(Linf(), num_steps=5),
    "bisect": bisect(pgd(L2(), epsilon=1.0, num_steps=5)),
}
FAST = {"affine_l2", "deepfool_l1", "deepfool_l2", "fab_l2", "carlini_wagner", "smallest_budget_l1"}


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in ATTACKS],
)
@pytest.mark.parametrize("total", [1, 0], ids=["equal", "zero"])
def test_an_image_on_the_boundary_falls_to_next_to_nothing(name, total, key):
    """A tie is the first class; black, grey and white images of logits t, t (and a third below).

    With a ``total`` of 0 all logits are 0: nothing but the sizes of pixels and weights tells how
    much is lost to rounding.
    """
    attack = ATTACKS[name]
    first = np.array([[1.0, -1.0], [2.0, total - 2.0]])
    second = np.array([[-2.0, 1.0], [total + 2.0, -1.0]])
    beta = np.stack([first, second, 0 * first])[..., None].astype(np.float32)
    params = jnp.asarray(beta), jnp.array([0.0, 0.0, -1.0])
    images = np.float32([0, 0.5, 1, 0.5])[:, None, None, None] * np.ones(SHAPE, np.float32)
    labels = np.array([0, 0, 0, 1])
    np.testing.assert_array_equal(np.ptp(affine(params, images)[:, :2], axis=1), 0)
    options = {}
    if getattr(attack, "targeted", False):
        images, labels = images[:3], labels[:3]
        options = dict(targets=1 - labels)
    found = attack(affine, params, images, labels, key, **options)
    np.testing.assert_array_equal(found.clean_correct, labels == 0)
    assert found.is_adversarial.all() and (found.status == Status.OK).all()
    predicted = np.argmax(affine(params, images + found.delta), -1)
    assert (predicted != labels).all()
    least = 1 if name.endswith("l0") else 0
    np.testing.assert_allclose(found.distance[:3], least, atol=5e-3)
    np.testing.assert_array_equal(found.distance[3:], 0)


def test_a_masked_class_plays_no_part_in_what_rounding_may_take(key):
    """Logits of -1e9 are no measure of the error of the others."""
    beta = np.float32([[[1, -1], [2, -1]], [[-2, 1], [3, -1]], np.zeros(SHAPE[:2])])[..., None]
    params = jnp.asarray(beta), jnp.array([1.0, 0.0, -1e9])
    images, labels = np.full((2, *SHAPE), 0.5, np.float32), np.array([0, 0])
    found = deepfool(L2(), num_steps=1)(affine, params, images, labels, key)
    np.testing.assert_allclose(found.distance, 1 / np.sqrt(9 + 4 + 1), rtol=1e-3)

"""Alive means a gradient was seen: one rule for the status of every attack.

Attacks of the table that go by gradients are tried in `test_attack_variants`.
"""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_checks import parametrize, run
from attack_table import CASES, SLOW_CASES, affine, mlp

from freqbias.attacks import (
    L2,
    Linf,
    affine_attack,
    auto_attack,
    bisect,
    evaluate,
    pgd,
    square,
    universal,
)
from freqbias.typing import Status

black_boxes = parametrize(lambda case: case.gradients == 0)


def masked(params, images):
    """The logits of the `mlp` without their gradient."""
    return mlp(params, jax.lax.stop_gradient(images))


@black_boxes
def test_a_black_box_is_alive_where_a_query_changed_the_logits(case, key):
    """It asks for no gradient, so a masked one does not matter."""
    model = attack_table.make_model(case.model, case.seed)._replace(apply_fn=masked)
    np.testing.assert_array_equal(run(case, model, key).status, Status.OK)
    blind = model._replace(params=jax.tree.map(jnp.zeros_like, model.params))
    np.testing.assert_array_equal(run(case, blind, key).status, Status.DEAD)


def test_the_table_has_both_kinds():
    names = {case.name for case in (*CASES, *SLOW_CASES) if case.gradients == 0}
    assert names == {"square_linf", "square_l2"}


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)], ids=["free", "box"])
@pytest.mark.parametrize("epsilon", [None, 0.1], ids=["minimal", "budget"])
def test_a_closed_form_is_alive_if_any_class_has_a_gradient(bounds, epsilon):
    """Classes 0 and 1 have one gradient: an image of class 0 predicted as 1 has no way between."""
    beta = jnp.stack([jnp.ones((2, 2, 1)), jnp.ones((2, 2, 1)), -jnp.ones((2, 2, 1))])
    params = beta, jnp.array([0.0, 1.0, 0.0])
    images, labels = jnp.full((2, 2, 2, 1), 0.5), jnp.array([0, 1])
    attack = affine_attack(L2(), epsilon=epsilon, bounds=bounds)
    found = attack(affine, params, images, labels)
    np.testing.assert_array_equal(found.clean_correct, [False, True])
    np.testing.assert_array_equal(found.status, Status.OK)
    blind = affine_attack(L2(), epsilon=epsilon, bounds=bounds)(
        affine, (0 * beta, params[1]), images, labels
    )
    np.testing.assert_array_equal(blind.status, Status.DEAD)


def test_a_composed_attack_is_alive_by_what_its_members_saw(key):
    """By the gradients spent on an image; by logits where none was, as where it fell before."""
    model = attack_table.make_model("mlp")._replace(apply_fn=masked)
    options = {"epsilon": 0.03}
    blind, box = pgd(Linf(), num_steps=2, **options), square(Linf(), num_steps=10, **options)
    for members in ((blind, box), (box, blind), (box,)):
        found = auto_attack(Linf(), attacks=members, **options)(*model, key)
        spent = found.gradient_evaluations > 0
        status = np.where(spent, Status.DEAD, np.where(found.clean_correct, 0, Status.NOT_ATTACKED))
        np.testing.assert_array_equal(found.status, status)
        counts = {members[0] is blind: 10, members == (box,): 0}.get(True)
        assert spent.sum() == counts if counts is not None else 0 < spent.sum() < 10
    for member, status in ((blind, Status.DEAD), (box, Status.OK)):
        found = bisect(member, num_bisections=2)(*model, key)
        np.testing.assert_array_equal(found.status, status)


def test_images_that_are_not_attacked_are_neither_dead_nor_robust(key):
    model = attack_table.make_model("mlp")
    attack = auto_attack(Linf(), epsilon=1e-4, attacks=[pgd(Linf(), epsilon=1e-4, num_steps=2)])
    result = evaluate(attack, *model, key)
    assert result.num_dead == 0 and result.robust_accuracy == result.clean_accuracy == 10 / 12
    traced = jax.jit(lambda images: attack(
        model.apply_fn, model.params, images, model.labels, key
    ))(model.images)  # fmt: skip
    np.testing.assert_array_equal(traced.status, result.perturbation.status)


def test_a_universal_perturbation_is_alive_by_any_gradient_of_any_image(key):
    model = attack_table.make_model("mlp")
    attack = universal(L2(), epsilon=0.5, num_epochs=2, batch_size=5)
    assert attack(*model, key).status == Status.OK
    found = attack(*model._replace(apply_fn=masked), key)
    assert found.status == Status.DEAD

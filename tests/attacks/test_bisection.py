"""Bisection over epsilon: a budget attack as a minimal one."""

import attack_table
import jax
import numpy as np
import pytest
from attack_table import affine, affine_params

from freqbias.attacks import L2, Linf, affine_attack, bisect, evaluate, fgsm, pgd
from freqbias.typing import Status


@pytest.mark.parametrize(
    "norm, largest", [(L2(), 4.0), pytest.param(Linf(), 0.5, marks=pytest.mark.slow)]
)
def test_with_an_exact_attack_it_finds_the_exact_radius_of_each_image(norm, largest, key):
    """One step is the optimum on two linear classes; the last trial is never below the radius."""
    params = affine_params(key, num_classes=2)
    images = attack_table.make_images(key)
    labels = np.array(np.argmax(affine(params, images), -1))
    labels[-2:] = 1 - labels[-2:]
    radius = affine_attack(norm)(affine, params, images, labels).distance
    attack = bisect(fgsm(norm, epsilon=largest, bounds=None), num_bisections=12)
    found = attack(affine, params, images, labels, key)
    assert (found.distance >= radius * (1 - 1e-5)).all()
    np.testing.assert_allclose(found.distance, radius, rtol=1e-4, atol=2 * largest / 2**12)
    np.testing.assert_array_equal(found.distance[-2:], 0)
    np.testing.assert_array_equal(found.gradient_evaluations, 13)
    prediction = np.argmax(affine(params, images + found.delta), -1)
    np.testing.assert_array_equal(prediction != labels, found.is_adversarial)
    assert found.is_adversarial.all() and (found.status == Status.OK).all()

    out_of_reach = float(np.median(radius[:-2]))
    attack = bisect(fgsm(norm, epsilon=out_of_reach, bounds=None), num_bisections=12)
    short = attack(affine, params, images, labels, key)
    np.testing.assert_array_equal(np.isinf(short.distance), radius > out_of_reach)
    np.testing.assert_array_equal(short.is_adversarial, radius <= out_of_reach)


def test_images_do_not_share_their_search(key):
    """In batches of `evaluate` and in one: the same radii."""
    model = attack_table.make_model("mlp")
    attack = bisect(pgd(L2(), epsilon=1.0, num_steps=4), num_bisections=3)
    whole = evaluate(attack, *model, key).perturbation
    parts = evaluate(attack, *model, key, batch_size=5).perturbation
    np.testing.assert_allclose(parts.distance, whole.distance, rtol=1e-4)
    near = pgd(L2(), epsilon=1.0, num_steps=4)(*model, key)
    assert (whole.distance <= near.distance * (1 + 1e-6)).all()
    assert np.isfinite(whole.distance).sum() >= near.is_adversarial.sum()


@pytest.mark.slow
def test_targets_are_passed_on(key):
    model = attack_table.make_model("mlp")
    aimed = bisect(pgd(L2(), epsilon=3.0, num_steps=4, targeted=True), num_bisections=3)
    targets = (model.labels + 1) % 4
    found = aimed(*model, key, targets=targets)
    prediction = np.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(found.is_adversarial, prediction == targets)
    assert found.is_adversarial.sum() > 6


def test_broken_and_dead_networks(key):
    model = attack_table.make_model("mlp")
    attack = bisect(pgd(L2(), epsilon=1.0, num_steps=4), num_bisections=3)
    for factor, status in ((0, Status.DEAD), (np.nan, Status.DIVERGED)):
        params = jax.tree.map(lambda leaf, factor=factor: factor * leaf, model.params)
        found = attack(model.apply_fn, params, model.images, 0 * model.labels, key)
        np.testing.assert_array_equal(found.status, status)
        np.testing.assert_array_equal(found.delta, 0)
        assert np.isinf(found.distance).all()


def test_bad_options_raise():
    with pytest.raises(ValueError, match="num_bisections"):
        bisect(pgd(L2(), epsilon=1.0), num_bisections=0)
    with pytest.raises(ValueError, match="epsilon"):
        bisect(affine_attack(L2()))

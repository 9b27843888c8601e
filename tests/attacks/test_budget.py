"""The smallest budget of a norm: against closed forms, and where there is none."""

import attack_table
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import NUM_CLASSES, affine

from freqbias.attacks import L1, L2, Linf, affine_attack, smallest_budget
from freqbias.typing import Status


def _model(num_classes=10, shape=(8, 7, 2), num_images=32):
    """An affine model and images that fill the box, so that it cuts into most perturbations."""
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(num_classes, *shape)).astype(np.float32)
    images = generator.uniform(size=(num_images, *shape)).astype(np.float32)
    params = jnp.asarray(beta), jnp.zeros(num_classes)
    return params, images, np.argmax(affine(params, images), -1)


@pytest.mark.parametrize(
    "norm",
    [
        L2(),
        L1(step_fraction=0.1),
        *(pytest.param(n, marks=pytest.mark.slow) for n in (Linf(), L1())),
    ],
    ids=["l2", "sparse_l1", "linf", "l1"],
)
def test_the_smallest_budget_of_an_affine_model_is_its_exact_radius(norm, key):
    params, images, labels = _model()
    exact = affine_attack(norm, bounds=(0.0, 1.0))(affine, params, images, labels).distance
    found = smallest_budget(norm)(affine, params, images, labels, key)
    ratio = np.asarray(found.distance / exact)
    assert ratio.min() > 0.99  # below 1 by the rounding of the margin alone
    assert np.median(ratio) < 1.001 and ratio.max() < 1.005


@pytest.mark.slow
def test_targets_are_reached_at_a_budget_that_is_no_smaller(key):
    model = attack_table.make_model("mlp")
    targets = (model.labels + 1) % NUM_CLASSES
    free = smallest_budget(L2(), num_steps=10)(*model, key)
    aimed = smallest_budget(L2(), num_steps=10, targeted=True)(*model, key, targets=targets)
    found = np.asarray(aimed.is_adversarial)
    assert found.mean() > 0.8
    predicted = jnp.argmax(model.apply_fn(model.params, model.images + aimed.delta), -1)
    np.testing.assert_array_equal(np.asarray(predicted == targets), found)
    assert (np.asarray(aimed.distance) >= 0.99 * np.asarray(free.distance)).all()


def test_where_no_budget_suffices_the_distance_is_infinite(key):
    """Class 1 needs brighter pixels than there are."""

    def out_of_reach(params, images):
        mean = jnp.mean(images, (1, 2, 3))
        return jnp.stack([jnp.full_like(mean, 1.5), params * mean], axis=-1)

    images = np.full((3, 2, 2, 1), 0.5, np.float32)
    found = smallest_budget(L2(), num_steps=5)(
        out_of_reach, jnp.float32(1), images, np.zeros(3, int), key
    )
    np.testing.assert_array_equal(found.distance, np.inf)
    np.testing.assert_array_equal(found.delta, 0)
    assert not found.is_adversarial.any() and (found.status == Status.OK).all()


@pytest.mark.parametrize("name", ["num_steps", "num_radii", "num_rivals"])
def test_bad_numbers_raise(name):
    with pytest.raises(ValueError, match=name):
        smallest_budget(L2(), **{name: 0})
    with pytest.raises(TypeError, match=name):
        smallest_budget(L2(), **{name: 2.5})

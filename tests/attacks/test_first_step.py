"""Where the first step is exact: every norm on an affine model of two classes, without the box."""

import jax.numpy as jnp
import norm_table
import numpy as np
import pytest
from attack_table import SHAPE, affine, affine_params, make_images
from norm_table import norm_id

from freqbias.attacks import bim, fgsm, frank_wolfe, mi_fgsm, pgd

NORMS = norm_table.norms(SHAPE)
ATTACKS = {  # all begin with a step to the best point of the ball
    "fgsm": lambda norm, epsilon: fgsm(norm, epsilon=epsilon, bounds=None),
    "bim": lambda norm, epsilon: bim(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=3, bounds=None
    ),
    "mi_fgsm": lambda norm, epsilon: mi_fgsm(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=3, bounds=None
    ),
    "frank_wolfe": lambda norm, epsilon: frank_wolfe(
        norm, epsilon=epsilon, num_steps=2, bounds=None
    ),
    "pgd": lambda norm, epsilon: pgd(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=3, random_start=False, bounds=None
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm", NORMS, ids=norm_id)
def test_an_attack_whose_first_step_is_exact_is_within_1e_4_of_the_optimum(norm, name, key):
    """The loss rises by epsilon times the dual norm, and no attack in the ball does better."""
    params, images = affine_params(key, num_classes=2), make_images(key)
    labels = jnp.argmax(affine(params, images), -1)
    w = np.asarray(params[0][1 - labels] - params[0][labels], float)
    for epsilon in (0.01, 0.3):
        found = ATTACKS[name](norm, epsilon)(affine, params, images, labels, key)
        gain = np.sum(w * np.asarray(found.delta, float), axis=(1, 2, 3))
        best = [epsilon * norm_table.dual(NORMS[norm], one) for one in w]
        np.testing.assert_allclose(gain, best, rtol=1e-4)
        assert (gain <= np.multiply(best, 1 + 1e-5)).all()
        np.testing.assert_array_less(found.distance, epsilon * (1 + 1e-6))

"""Where the first step is exact: every norm on an affine model of two classes, without the box."""

import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, affine, affine_params, make_images

from freqbias.attacks import (
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    bim,
    fgsm,
    mi_fgsm,
    pgd,
    weighted_fourier_l2,
)
from freqbias.spectral import radius_grid

WEIGHTS = 0.3 + 10 * radius_grid(SHAPE[:2]) ** 2
NORMS = {  # and the dual norm of a gradient w, of spectrum X, by NumPy
    L1(): lambda w, X: np.abs(w).max(),
    L2(): lambda w, X: np.linalg.norm(w),
    Linf(): lambda w, X: np.abs(w).sum(),
    FourierL1(): lambda w, X: np.abs(X).max(),
    FourierLinf(): lambda w, X: np.abs(X).sum(),
    weighted_fourier_l2(WEIGHTS): lambda w, X: np.linalg.norm(X / WEIGHTS[..., None]),
}
ATTACKS = {  # all begin at zero with a step of length epsilon
    "fgsm": lambda norm, epsilon: fgsm(norm, epsilon=epsilon, bounds=None),
    "bim": lambda norm, epsilon: bim(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=3, bounds=None
    ),
    "mi_fgsm": lambda norm, epsilon: mi_fgsm(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=3, bounds=None
    ),
    "pgd": lambda norm, epsilon: pgd(
        norm, epsilon=epsilon, step_size=epsilon, num_steps=2, random_start=False, bounds=None
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_an_attack_whose_first_step_is_exact_is_within_1e_4_of_the_optimum(norm, name, key):
    """The loss rises by epsilon times the dual norm, and no attack in the ball does better."""
    params, images = affine_params(key, num_classes=2), make_images(key)
    labels = jnp.argmax(affine(params, images), -1)
    w = np.asarray(params[0][1 - labels] - params[0][labels], float)
    for epsilon in (0.01, 0.3):
        found = ATTACKS[name](norm, epsilon)(affine, params, images, labels, key)
        gain = np.sum(w * np.asarray(found.delta, float), axis=(1, 2, 3))
        spectra = np.fft.fft2(w, axes=(1, 2), norm="ortho")
        best = [epsilon * NORMS[norm](*pair) for pair in zip(w, spectra, strict=True)]
        np.testing.assert_allclose(gain, best, rtol=1e-4)
        assert (gain <= np.multiply(best, 1 + 1e-5)).all()
        np.testing.assert_array_less(found.distance, epsilon * (1 + 1e-6))

"""Frank-Wolfe: exact on affine models, vertices without projections, what it refuses."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_checks import init, step
from attack_table import BOX, affine, affine_params, make_images
from norm_table import norm_id

from freqbias.attacks import (
    L0,
    L1,
    L2,
    FourierL1,
    FourierLinf,
    Linf,
    Lp,
    affine_attack,
    at_epsilon,
    frank_wolfe,
    pgd,
)
from freqbias.spectral import fft2


@pytest.mark.parametrize("norm", [L1(), L2(), Linf(), Lp(1.5)], ids=norm_id)
def test_in_the_box_it_is_the_closed_form_of_an_affine_model(norm, key):
    """Of two classes, where every gradient is a multiple of one vector; and it stays there."""
    params = affine_params(key, num_classes=2)
    images = jnp.clip(3 * make_images(key) - 1, 0, 1)  # two pixels in three are black or white
    labels = jnp.argmax(affine(params, images), -1)
    epsilon = attack_table.EPSILON.get(norm, 0.3)
    exact = affine_attack(norm, epsilon=epsilon, bounds=BOX)(affine, params, images, labels)
    for num_steps in (1, 4):
        attack = frank_wolfe(norm, epsilon=epsilon, num_steps=num_steps, loss="margin")
        found = attack(affine, params, images, labels, key)
        np.testing.assert_allclose(found.delta, exact.delta, atol=1e-6)
        np.testing.assert_allclose(found.distance, exact.distance, rtol=1e-5)


def test_step_by_step_it_is_the_recursion_of_the_paper(key):
    """delta + 2 / (k + 2) (epsilon sign(g) - delta), by NumPy, without the box."""
    model = attack_table.make_model("mlp")

    @jax.jit
    @jax.value_and_grad
    def loss(images):
        logits = jax.nn.log_softmax(model.apply_fn(model.params, images))
        return -jnp.sum(jnp.take_along_axis(logits, model.labels[:, None], axis=1))

    options = dict(epsilon=0.02, bounds=None, random_start=False)
    keys = jax.random.split(key, len(model.labels))
    delta, losses = np.zeros(model.images.shape), []
    for number in range(4):
        gradient = np.asarray(loss(model.images + np.float32(delta))[1])
        delta += 2 / (number + 2) * (0.02 * np.sign(gradient) - delta)
        attack = frank_wolfe(Linf(), num_steps=number + 1, **options)
        ((_, ascent, _), _) = attack.program(4)[0]
        state = init(attack, *model, keys)
        for _ in range(number + 1):
            state = step(attack, *model, state, ascent)
        np.testing.assert_allclose(state.delta, delta, atol=1e-6)
        losses.append(float(loss(model.images + state.delta)[0]))
    assert losses[-1] > 0.99 * max(losses)


def test_on_a_smooth_network_it_finds_what_pgd_finds(key):
    model = attack_table.make_model("mlp")
    for norm in (L2(), Linf(), Lp(1.5)):
        options = dict(epsilon=attack_table.EPSILON.get(norm, 0.35), loss="margin")
        fooled = [
            attack(norm, num_steps=20, **options)(*model, key).is_adversarial.sum()
            for attack in (frank_wolfe, pgd)
        ]
        assert 2 < fooled[1] < len(model.labels) and fooled[0] >= fooled[1] - 1


def test_iterates_in_l1_are_a_few_pixels_and_in_fourier_l1_a_few_waves(key):
    model = attack_table.make_model("mlp")
    options = dict(epsilon=1.0, num_steps=2, bounds=None)
    found = frank_wolfe(L1(), **options)(*model, key)
    assert ((found.delta != 0).sum((1, 2, 3)) <= 2).all()
    found = frank_wolfe(FourierL1(), **options)(*model, key)
    moduli = np.abs(fft2(found.delta))
    assert ((moduli > 1e-6).sum((1, 2, 3)) <= 4).all()  # each with its mirror image


def test_it_refuses_norms_without_a_best_point():
    with pytest.raises(ValueError, match="largest_step"):
        frank_wolfe(FourierLinf(), epsilon=1.0)
    with pytest.raises(ValueError, match="convex ball"):
        frank_wolfe(L0(), epsilon=2)
    assert frank_wolfe(FourierLinf(), epsilon=1.0, bounds=None).bounds is None


def test_at_another_radius_it_goes_the_same_shares_of_the_way(key):
    """As robustness curves and bisection ask for it: `at_epsilon` scales steps with the radius."""
    model = attack_table.make_model("mlp")
    options = dict(num_steps=4, bounds=None, random_start=False)
    expected = frank_wolfe(Linf(), epsilon=0.02, **options)(*model, key)
    found = at_epsilon(frank_wolfe(Linf(), epsilon=0.2, **options), 0.02)(*model, key)
    np.testing.assert_allclose(found.delta, expected.delta, atol=1e-7)
    assert jnp.any(found.delta != 0)

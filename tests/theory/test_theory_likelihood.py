"""The end of cross-entropy against odds, other routes, and separations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import theory
from freqbias.typing import Status


@pytest.fixture
def noisy():
    """Labels that images say little of: 300 images, 3 classes, a pixel that never varies."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(300, 2, 3, 1))
    images[:, 0, 0, 0] = 0.7
    return images, rng.integers(3, size=300)


def test_odds_of_one_pixel_are_those_of_the_counts():
    """n[x, y] images of pixel x and class y: weights are the log odds ratio, the bias the odds."""
    counts = {(0, 0): 5, (0, 1): 2, (1, 0): 3, (1, 1): 11}
    pixels, labels = np.repeat(np.array(list(counts)), list(counts.values()), axis=0).T
    found = theory.maximum_likelihood(1.0 * pixels[:, None, None, None], labels, 2)
    assert (found.status, found.separable) == (Status.OK, False)
    ratio = np.log(11 * 5 / (3 * 2))
    weights = found.weights.ravel()
    assert weights[1] - weights[0] == pytest.approx(ratio, abs=1e-5)
    assert weights.sum() == pytest.approx(0, abs=1e-12)
    assert found.bias[1] - found.bias[0] == pytest.approx(np.log(2 / 5), abs=1e-5)


def test_the_gradient_at_the_end_is_zero_by_autodiff(noisy, x64):
    images, labels = noisy
    found = theory.maximum_likelihood(images, labels, 3)

    def loss(weights, bias):
        logits = jnp.einsum("nhwc,hwck->nk", images, weights) + bias[None]
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(len(labels)), labels])

    value, gradients = jax.value_and_grad(loss, (0, 1))(
        *map(jnp.asarray, (found.weights, found.bias))
    )
    assert float(value) == pytest.approx(found.loss, rel=1e-12)
    for gradient in gradients:
        assert float(jnp.abs(gradient).max()) < 1e-6
    assert found.gradient_norm < 1e-6
    assert np.all(found.weights[0, 0] == 0)  # where nothing varies there is nothing


def test_rotated_and_scaled_images_have_the_same_logits(noisy):
    images, labels = noisy
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0] * np.geomspace(
        1, 100, 6
    )
    turned = (images.reshape(300, 6) @ rotation).reshape(images.shape)
    logits = [
        np.tensordot(x, found.weights, 3) + found.bias
        for x in (images, turned)
        for found in [theory.maximum_likelihood(x, labels, 3)]
    ]
    centred = [x - x.mean(axis=1, keepdims=True) for x in logits]
    np.testing.assert_allclose(*centred, atol=1e-4)


@pytest.mark.parametrize("num", [6, 40])
def test_what_can_be_separated_is_with_a_proof(num):
    """More pixels than images, and fewer with a teacher."""
    rng = np.random.default_rng(num)
    images = rng.normal(size=(num, 3, 3, 1))
    teacher = rng.normal(size=(3, 3, 1, 3))
    labels = np.argmax(np.tensordot(images, teacher, 3), axis=1) if num > 9 else np.arange(6) % 3
    found = theory.maximum_likelihood(images, labels, 3)
    logits = np.tensordot(images, found.weights, 3) + found.bias
    assert found.separable
    assert found.margin > 0
    np.testing.assert_array_equal(np.argmax(logits, axis=1), labels)


def test_an_end_that_was_not_reached_is_said(noisy):
    found = theory.maximum_likelihood(*noisy, 3, max_iterations=1)
    assert (found.status, found.separable) == (Status.NOT_CONVERGED, False)
    assert found.gradient_norm > 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2; got 1"),
        ({"num_classes": 2}, "labels must"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
    ],
)
def test_bad_input_is_named(noisy, change, message):
    with pytest.raises(ValueError, match=message):
        theory.maximum_likelihood(*noisy, **{"num_classes": 3, **change})

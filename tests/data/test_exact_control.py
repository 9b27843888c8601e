"""The exact control, through the whole pipeline: data, training, attack, spectrum, inference.

On a set whose frequencies were permuted by an orthogonal map Q, a fully connected network trained
by SGD has perturbations with the spectrum permuted, and a convolutional one has not. Any step that
singles out a frequency or a pixel unnoticed (a crop, a box, clipped data, a spectrum that is half a
bin off) breaks the first; the second shows that the test can tell.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from freqbias import attacks, data, inference, models, spectral, training

NUM_SEEDS = 12
EPSILON = 0.3  # L2, in units of the plain set
PERMUTATION = spectral.fourier_permutation(jax.random.key(7), (8, 8))
INVERSE = spectral.invert_permutation(PERMUTATION)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def permuted(digits):
    return data.permute_frequencies(digits, PERMUTATION)


def fully_connected(dataset, **settings):
    return models.FullyConnected(
        num_classes=10, width=24, mean=tuple(dataset.mean), std=tuple(dataset.std), **settings
    )


def convolutional(dataset, **settings):
    return models.ConvNet(
        num_classes=10, channels=4, mean=tuple(dataset.mean), std=tuple(dataset.std), **settings
    )


def train(model, dataset, seeds, epochs=3):
    return training.train(model, dataset.train, seeds=seeds, key=jax.random.key(0), epochs=epochs)


def mapped(kernel):
    """First weights [S, H * W, width], every unit's mapped as an image by Q."""
    images = jnp.moveaxis(kernel, -1, 1).reshape(*kernel.shape[::2], 8, 8, 1)
    images = spectral.permute_spectrum(images, PERMUTATION)
    return jnp.moveaxis(images.reshape(*kernel.shape[::2], 64), 1, -1)


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_from_mapped_weights_the_network_is_the_same_function_up_to_q(
    digits, permuted, activation, monkeypatch
):
    """Not in law but number by number: training keeps f'(Qx) = f(x), step after step."""
    plain = train(fully_connected(digits, activation=activation), digits, range(3))
    draw = training.initial_params

    def map_first(*arguments, **settings):
        params = draw(*arguments, **settings)["params"]
        first = {**params["dense_0"], "kernel": mapped(params["dense_0"]["kernel"])}
        return {"params": {**params, "dense_0": first}}

    monkeypatch.setattr(training.loop, "initial_params", map_first)
    turned = train(fully_connected(permuted, activation=activation), permuted, range(3))
    assert plain.alive.all() and turned.alive.all()
    expected = plain.logits(digits.test.images)
    np.testing.assert_allclose(turned.logits(permuted.test.images), expected, atol=1e-4)
    assert np.std(expected) > 1  # it has learnt something
    there = np.asarray(spectral.permute_spectrum(attacked(plain, digits), PERMUTATION))
    error = np.asarray(attacked(turned, permuted)) / permuted.contrast - there
    relative = np.linalg.norm(error.reshape(-1, 64), axis=-1) / EPSILON
    # Near a kink of the loss a step can go another way: few, and not far.
    assert np.quantile(relative, 0.9) < 1e-4 and relative.max() < 0.02


def attacked(nets, dataset):
    """Perturbations [S, 40, 8, 8, 1] of PGD in L2, whose epsilon scales with the contrast."""
    attack = attacks.pgd(
        attacks.L2(),
        epsilon=EPSILON * dataset.contrast,
        num_steps=5,
        random_start=False,
        bounds=None,
    )
    part = dataset.test[:40]
    return nets.attack(attack, part.images, part.labels, key=jax.random.key(1)).delta


def spectra(make_model, dataset, seeds):
    """Mean spectrum of the closed-form L2 perturbations, [S, 8, 8]."""
    model = make_model(dataset, activation="none", init_scale=0.05)
    nets = train(model, dataset, seeds, epochs=10)
    assert nets.alive.all()
    attack = attacks.affine_attack(attacks.L2(), bounds=None)
    images, labels = dataset.test.images, dataset.test.labels
    found = nets.attack(attack, images, labels, key=jax.random.key(0))
    return np.asarray(spectral.mean_spectrum(found.delta, axis=1))


def differences(make_model, digits, permuted):
    """Mean spectrum on the permuted set, brought back by Q^-1, against that on the plain set.

    Returns:
      The difference of mean frequencies as an `Estimate`, and the smallest p-value over the
      frequencies of half a plane, times their number (Bonferroni).
    """
    plain = spectra(make_model, digits, range(NUM_SEEDS))
    turned = spectra(make_model, permuted, range(100, 100 + NUM_SEEDS))
    back = np.asarray(spectral.permute_power(turned, INVERSE))
    means = [np.asarray(spectral.mean_frequency(p, domain="power")) for p in (back, plain)]
    p_values = stats.ttest_ind(back, plain, axis=0, equal_var=False).pvalue[:, :5].ravel()[1:]
    return inference.difference_interval(*means), p_values.min() * p_values.size, (plain, turned)


def test_in_law_the_spectrum_of_fully_connected_networks_is_permuted(digits, permuted):
    """Other seeds, so other weights and orders: within the interval over seeds."""
    effect, p_value, (plain, turned) = differences(fully_connected, digits, permuted)
    assert effect.low < 0 < effect.high
    assert p_value > 0.05
    assert effect.high - effect.low < 0.02  # cycles per pixel: a narrow interval
    raw = inference.difference_interval(
        *(np.asarray(spectral.mean_frequency(p, domain="power")) for p in (turned, plain))
    )
    assert raw.low > 0.02  # the permutation does move the spectrum


def test_that_of_convolutional_networks_is_not(digits, permuted):
    effect, p_value, _ = differences(convolutional, digits, permuted)
    assert not effect.low < 0 < effect.high
    assert p_value < 1e-3

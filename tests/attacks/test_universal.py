"""One perturbation for all images: the optimum of an affine model, and what the rate counts."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, TRACES, affine, mlp

from freqbias.attacks import L2, Linf, band_limited, universal
from freqbias.ensemble import Ensemble
from freqbias.spectral import band_mask
from freqbias.typing import Status

norms = pytest.mark.parametrize(
    "norm", [L2(), pytest.param(Linf(), marks=pytest.mark.slow)], ids=["l2", "linf"]
)


def _one_class(num_images=23):
    """An affine binary model, images that it all puts into class 0, and their margins > 0."""
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(2, *SHAPE)).astype(np.float32)
    images = generator.uniform(0.3, 0.7, (num_images, *SHAPE)).astype(np.float32)
    scores = np.einsum("nhwc,hwc->n", images, beta[0] - beta[1])
    bias = np.float32([0.01 - scores.min(), 0.0])
    return (jnp.asarray(beta), jnp.asarray(bias)), images, scores + bias[0]


def _fooled(apply_fn, params, images, moved):
    predictions = [np.argmax(apply_fn(params, batch), -1) for batch in (images, moved)]
    return np.mean(predictions[0] != predictions[1])


@norms
def test_on_an_affine_model_it_is_the_steepest_direction_at_full_length(norm, key):
    """-epsilon steepest(w) for all images, which fools those of margin below epsilon ||w||_dual."""
    params, images, margins = _one_class()
    labels = np.zeros(len(images), int)
    w = np.asarray(params[0][0] - params[0][1])
    epsilon = float(np.median(margins) / norm.dual(w)) * 1.01
    attack = universal(norm, epsilon=epsilon, num_epochs=6, batch_size=5, bounds=None)
    found = attack(affine, params, images, labels, key)
    np.testing.assert_allclose(found.delta, -epsilon * norm.steepest(w), atol=1e-5 * epsilon)
    expected = np.mean(margins < epsilon * norm.dual(w))
    np.testing.assert_allclose(found.fooling_rate, expected, atol=1e-6)
    assert 0.4 < expected < 0.6 and found.status == Status.OK
    np.testing.assert_allclose(found.history[-1], expected, atol=1e-6)


def test_within_a_band_it_is_the_filtered_direction(key):
    params, images, _ = _one_class()
    norm = band_limited(L2(), band_mask(SHAPE[:2], 0, 0.25))
    attack = universal(norm, epsilon=0.5, num_epochs=6, bounds=None)
    found = attack(affine, params, images, np.zeros(len(images), int), key)
    w = params[0][0] - params[0][1]
    np.testing.assert_allclose(found.delta, -0.5 * norm.steepest(w), atol=1e-5)


@norms
def test_the_rate_is_that_of_the_returned_delta_on_clipped_images(norm, key):
    """Rows that fill the last batch (12 = 5 + 5 + 2) count for nothing."""
    model = attack_table.make_model("mlp")
    epsilon = 5 * attack_table.EPSILON[norm]
    for batch_size in (5, 12):
        found = universal(norm, epsilon=epsilon, batch_size=batch_size)(*model, key)
        moved = jnp.clip(model.images + found.delta[None], 0, 1)
        rate = _fooled(mlp, model.params, model.images, moved)
        np.testing.assert_allclose(found.fooling_rate, rate, atol=1e-6)
        assert found.fooling_rate == found.history.max() and found.history.shape == (10,)
        assert norm.value(found.delta) <= epsilon * (1 + 1e-6)
    noise = jax.vmap(lambda k: epsilon * norm.sample(k, SHAPE, jnp.float32))(
        jax.random.split(key, 20)
    )
    rates = [
        _fooled(mlp, model.params, model.images, jnp.clip(model.images + one[None], 0, 1))
        for one in noise
    ]
    assert found.fooling_rate > max(rates)  # no chance direction does as well


def test_more_budget_fools_more_and_new_numbers_compile_nothing(key):
    model = attack_table.make_model("mlp")
    run = lambda epsilon: universal(L2(), epsilon=epsilon, batch_size=6)(*model, key)  # noqa: E731
    run(0.1)
    TRACES.clear()
    rates = [float(run(epsilon).fooling_rate) for epsilon in (1e-3, 0.5, 1.5, 4.0)]
    assert not TRACES and rates == sorted(rates) and rates[0] == 0 < rates[-1]


def test_host_and_scan_and_vmap_over_seeds_agree(key):
    models = [attack_table.make_model("mlp", seed) for seed in range(2)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(m.params for m in models))
    _, _, images, labels = models[0]
    attack = universal(L2(), epsilon=1.0, num_epochs=3, batch_size=5)
    stacked = jax.vmap(lambda params: attack(mlp, params, images, labels, key))(params)
    for seed, model in enumerate(models):
        one = attack(mlp, model.params, images, labels, key)  # host on CPU
        np.testing.assert_allclose(stacked.delta[seed], one.delta, atol=1e-5)
        np.testing.assert_allclose(stacked.history[seed], one.history, rtol=1e-6)
    other = attack(mlp, models[0].params, images, labels, jax.random.key(9))
    assert jnp.any(other.delta != stacked.delta[0])


@norms
def test_towards_one_class_it_is_the_steepest_direction_to_it(norm, key):
    """Of three classes, the target is not the one that labels are lost to most easily."""
    (beta, bias), images, margins = _one_class()
    beta = jnp.concatenate([beta, beta[:1] + 0.5 * beta[1:][:, ::-1]])
    bias = jnp.append(bias, bias[0] - 5.0)
    w, labels = np.asarray(beta[0] - beta[1]), np.zeros(len(images), int)
    epsilon = float(np.median(margins) / norm.dual(w)) * 1.01
    attack = universal(norm, epsilon=epsilon, loss="margin", targeted=True, bounds=None)
    found = attack(affine, (beta, bias), images, labels, key, targets=labels + 1)
    np.testing.assert_allclose(found.delta, -epsilon * norm.steepest(w), atol=1e-5 * epsilon)
    moved = np.argmax(affine((beta, bias), images + found.delta[None]), -1)
    np.testing.assert_allclose(found.fooling_rate, np.mean(moved == 1), atol=1e-6)
    assert 0.3 < found.fooling_rate < 0.7 and found.status == Status.OK


def test_a_targeted_attack_over_seeds_and_its_rate(key):
    """The rate counts what is predicted as the target, also what is so when clean."""
    model = attack_table.make_model("mlp")
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), model.params)
    clean = jnp.argmax(mlp(model.params, model.images), -1)
    nets = Ensemble(params, jnp.zeros(2, jnp.int32), None, (0, 1), mlp)
    labels = jnp.where(clean == 2, 1, clean)
    targets = jnp.full_like(labels, 2)
    attack = universal(L2(), epsilon=1.5, num_epochs=3, batch_size=5, targeted=True)
    for strategy in ("vmap", "sequential"):
        found = nets.attack(
            attack, model.images, labels, key=key, targets=targets, strategy=strategy
        )
        for seed in range(2):
            moved = jnp.clip(model.images + found.delta[seed][None], 0, 1)
            own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], params)
            reached = jnp.argmax(mlp(own, moved), -1) == 2
            np.testing.assert_allclose(found.fooling_rate[seed], reached.mean(), atol=1e-6)
            assert reached.mean() > jnp.mean(clean == 2) > 0
    with pytest.raises(ValueError, match="targets"):
        attack(mlp, model.params, model.images, labels, key)


def test_failure_is_data(key):
    model = attack_table.make_model("mlp")
    attack = universal(L2(), epsilon=1.0, num_epochs=2)
    broken = model._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, model.params))
    dead = model._replace(params=jax.tree.map(jnp.zeros_like, model.params))
    for network, status in ((broken, Status.DIVERGED), (dead, Status.DEAD)):
        found = attack(*network, key)
        assert found.status == status and jnp.isnan(found.fooling_rate)
        assert jnp.isnan(found.history).all()
        np.testing.assert_array_equal(found.delta, 0)


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(epsilon=0.0), ValueError, "epsilon"),
        (dict(step_size=-1.0), ValueError, "step_size"),
        (dict(clamp=np.ones(2)), ValueError, "clamp"),
        (dict(num_epochs=0), ValueError, "num_epochs"),
        (dict(batch_size=2.0), TypeError, "batch_size"),
        (dict(loss="hinge"), ValueError, "loss"),
        (dict(driver="loop"), ValueError, "driver"),
        (dict(bounds=(1.0, 0.0)), ValueError, "bounds"),
    ],
)
def test_bad_options_raise(options, error, words):
    with pytest.raises(error, match=words):
        universal(L2(), **({"epsilon": 0.1} | options))


def test_bad_arguments_raise(key):
    model, attack = attack_table.make_model("mlp"), universal(L2(), epsilon=0.1)
    with pytest.raises(ValueError, match="labels"):
        attack(*model._replace(labels=model.labels[1:]), key)
    with pytest.raises(ValueError, match="key"):
        attack(*model, jax.random.split(key))
    with pytest.raises(TypeError, match=r"jax\.random\.key"):
        attack(*model, 0)

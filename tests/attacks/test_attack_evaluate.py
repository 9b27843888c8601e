"""Evaluation of an attack over a data set and an ensemble."""

import attack_table
import jax
import numpy as np
import pytest
from attack_table import affine

from freqbias.attacks import (
    L2,
    Linf,
    affine_attack,
    at_epsilon,
    auto_attack,
    ddn,
    evaluate,
    pgd,
    robustness_curve,
    transfer,
)
from freqbias.attacks.evaluate import summarize
from freqbias.ensemble import seed_keys

ATTACK = pgd(L2(), epsilon=0.25, num_steps=3)


def _stack(models):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(model.params for model in models))


@pytest.mark.parametrize("norm", [L2(), pytest.param(Linf(), marks=pytest.mark.slow)])
def test_robust_accuracy_of_a_linear_model_is_the_share_of_radii_beyond_epsilon(norm, key):
    model = attack_table.make_model("affine")
    radius = affine_attack(norm, bounds=(0.0, 1.0))(*model).distance
    for epsilon in np.quantile(radius, [0.3, 0.7]):
        attack = affine_attack(norm, epsilon=epsilon, bounds=(0.0, 1.0))
        result = evaluate(attack, *model, key)
        np.testing.assert_allclose(result.clean_accuracy, 10 / 12)
        np.testing.assert_allclose(result.robust_accuracy, np.mean(radius > epsilon))
        assert result.num_flipped == 10 - round(12 * float(result.robust_accuracy))
        assert result.num_dead == result.num_diverged == 0


def test_the_last_batch_is_padded_so_that_one_shape_compiles(key):
    """12 images in batches of 5: the result of one batch, no padding left, no second trace."""
    shapes = []

    def counted(params, images):
        shapes.append(images.shape)
        return attack_table.mlp(params, images)

    model = attack_table.make_model("mlp")._replace(apply_fn=counted)
    result = evaluate(ATTACK, *model, key, batch_size=5)
    assert {shape[0] for shape in shapes} == {5}
    whole = evaluate(ATTACK, *model._replace(apply_fn=attack_table.mlp), key)
    assert result.perturbation.delta.shape == model.images.shape
    np.testing.assert_allclose(result.perturbation.delta, whole.perturbation.delta, atol=1e-5)
    np.testing.assert_array_equal(result.robust_accuracy, whole.robust_accuracy)


def test_an_ensemble_is_a_loop_over_its_seeds(key):
    models = [attack_table.make_model("mlp", seed) for seed in range(3)]
    model = models[0]
    result = evaluate(ATTACK, model.apply_fn, _stack(models), *model[2:], key, seeds=range(3))
    assert result.robust_accuracy.shape == (3,)
    assert result.perturbation.delta.shape == (3, *model.images.shape)
    for seed, one in enumerate(models):
        alone = evaluate(
            ATTACK, one.apply_fn, one.params, *model[2:], jax.random.fold_in(key, seed)
        )
        np.testing.assert_array_equal(result.perturbation.delta[seed], alone.perturbation.delta)
        np.testing.assert_array_equal(result.robust_accuracy[seed], alone.robust_accuracy)


def test_summary_counts_by_hand(key):
    model = attack_table.make_model("mlp")
    found = ATTACK(*model, key)
    found = found._replace(
        clean_correct=np.array([True, True, True, False, True, True]),
        is_adversarial=np.array([True, False, False, True, False, False]),
        flipped=np.array([True, False, False, False, False, False]),
        status=np.array([0, 0, 0, 0, 1, 2]),
    )
    result = summarize(found)
    assert result.clean_accuracy == 5 / 6
    assert result.robust_accuracy == 2 / 6  # the diverged and the dead image prove nothing
    assert (result.num_flipped, result.num_diverged, result.num_dead) == (1, 1, 1)


def test_bad_input_raises(key):
    model = attack_table.make_model("mlp")
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(ATTACK, *model, key, batch_size=0)
    with pytest.raises(ValueError, match="seed axis"):
        evaluate(ATTACK, *model, key, seeds=range(2))
    with pytest.raises(ValueError, match="targets"):
        evaluate(ATTACK, *model, key, targets=np.zeros(3, int))
    with pytest.raises(ValueError, match="strategy must be one of 'auto', 'vmap'"):
        evaluate(ATTACK, *model, key, strategy="pmap")
    with pytest.raises(ValueError, match="labels"):
        evaluate(ATTACK, *model._replace(labels=model.labels[:5]), key)
    with pytest.raises(ValueError, match="images"):
        evaluate(ATTACK, affine, *model._replace(images=model.images[0])[1:], key)


def test_a_curve_of_a_linear_model_is_the_tail_of_its_radii(key):
    """By the closed form as a budget attack, one radius after the other, and as a minimal one."""
    model = attack_table.make_model("affine")
    minimal = affine_attack(L2(), bounds=(0.0, 1.0))
    radius = np.asarray(minimal(*model).distance)
    epsilons = np.quantile(radius[radius > 0], [0.1, 0.5, 0.8, 1.0]) * [0.99, 1, 1, 1.01]
    expected = [(radius > epsilon).mean() for epsilon in epsilons]
    budget = affine_attack(L2(), epsilon=1.0, bounds=(0.0, 1.0))
    for attack in (minimal, budget):
        curve = robustness_curve(attack, *model, key, epsilons=epsilons, batch_size=5)
        np.testing.assert_allclose(curve.robust_accuracy, expected)
        np.testing.assert_allclose(curve.clean_accuracy, 10 / 12)
        np.testing.assert_array_equal(curve.radius[-2:], 0)
    steps = epsilons[np.searchsorted(epsilons, radius)]
    np.testing.assert_allclose(curve.radius[:-2], steps[:-2])


def test_a_curve_is_one_compilation_and_falls(key):
    """Every seed its own; each point as good as an attack at that radius alone."""
    models = [attack_table.make_model("mlp", seed) for seed in range(2)]
    model = models[0]
    rest = model.apply_fn, _stack(models), *model[2:], key
    evaluate(ATTACK, *rest, batch_size=5, seeds=range(2))
    attack_table.TRACES.clear()
    epsilons = [0.01, 0.1, 0.25, 1.0, 3.0]
    curve = robustness_curve(ATTACK, *rest, epsilons=epsilons, batch_size=5, seeds=range(2))
    assert not attack_table.TRACES
    assert curve.robust_accuracy.shape == (2, 5) and curve.radius.shape == (2, 12)
    assert (np.diff(curve.robust_accuracy, axis=1) <= 0).all()
    assert (curve.robust_accuracy[:, 0] > curve.robust_accuracy[:, -1]).all()
    for index, epsilon in enumerate(epsilons):
        alone = evaluate(at_epsilon(ATTACK, epsilon), *rest, seeds=range(2))
        assert (curve.robust_accuracy[:, index] <= alone.robust_accuracy).all()


@pytest.mark.parametrize("attack", [ATTACK, affine_attack(L2())], ids=["budget", "minimal"])
def test_each_network_of_an_ensemble_has_its_own_curve(attack, key):
    """Whatever the strategy: an image that one network has lost is attacked for another's sake."""
    models = [attack_table.make_model("affine", seed) for seed in range(3)]
    images, labels = models[0].images, models[0].labels
    seeds, epsilons = (4, 0, 9), [0.05, 0.2, 0.5, 2.0]
    keys = seed_keys(key, seeds)
    alone = [
        robustness_curve(attack, affine, model.params, images, labels, own, epsilons=epsilons)
        for model, own in zip(models, keys, strict=True)
    ]
    assert not (alone[0].radius == alone[1].radius).all()
    for strategy in ("auto", "vmap", "sequential", "threads"):
        together = robustness_curve(
            attack,
            affine,
            _stack(models),
            images,
            labels,
            key,
            epsilons=epsilons,
            seeds=seeds,
            strategy=strategy,
        )
        for seed, expected in enumerate(alone):
            for name in ("clean_accuracy", "robust_accuracy", "radius"):
                own = getattr(together, name)[seed]
                np.testing.assert_allclose(own, getattr(expected, name), rtol=1e-5)


def test_a_dead_network_has_a_curve_of_zeros(key):
    model = attack_table.make_model("mlp")
    params = jax.tree.map(np.zeros_like, model.params)
    curve = robustness_curve(
        ATTACK, model.apply_fn, params, model.images, 0 * model.labels, key, epsilons=[0.1, 0.2]
    )
    assert curve.clean_accuracy == 1 and not curve.robust_accuracy.any()
    assert np.isnan(curve.radius).all()
    minimal = robustness_curve(
        ddn(num_steps=2),
        model.apply_fn,
        params,
        model.images,
        0 * model.labels,
        key,
        epsilons=[0.1],
    )
    assert not minimal.robust_accuracy.any() and np.isnan(minimal.radius).all()


def test_an_image_that_falls_has_a_radius_whatever_was_seen_at_smaller_ones(key):
    """NaN is for what stands unproven at the largest radius."""
    model = attack_table.make_model("mlp")
    curve = robustness_curve(ATTACK, *model, key, epsilons=[1e-4, 0.1, 9.0])
    assert np.isfinite(curve.radius).sum() > 2 and not np.isnan(curve.radius).any()
    masked = model._replace(apply_fn=lambda p, x: attack_table.mlp(p, jax.lax.stop_gradient(x)))
    curve = robustness_curve(ATTACK, *masked, key, epsilons=[1e-4, 0.1, 9.0])
    np.testing.assert_array_equal(np.isfinite(curve.radius) | np.isnan(curve.radius), True)
    assert np.isnan(curve.radius).any() and (curve.radius == 9).any()
    np.testing.assert_array_equal(curve.radius[-2:], 0)
    assert not curve.robust_accuracy.any()


def test_the_step_size_follows_the_radius():
    attack = at_epsilon(pgd(L2(), epsilon=0.5, num_steps=10, step_size=0.1), 2.0)
    assert attack.epsilon == 2.0
    np.testing.assert_allclose(attack.step_size, 0.4)
    with pytest.raises(ValueError, match="epsilon"):
        at_epsilon(affine_attack(L2()), 1.0)


def _composed(epsilon):
    """A weak member, and an exact minimal one, which has no epsilon."""
    exact = affine_attack(L2(), bounds=(0.0, 1.0))
    return auto_attack(
        L2(), epsilon=epsilon, attacks=[pgd(L2(), epsilon=epsilon, num_steps=2), exact]
    )


def test_a_composed_attack_moves_to_another_radius_as_a_whole():
    attack = at_epsilon(_composed(0.5), 2.0)
    assert attack.epsilon == attack.attacks[0].epsilon == 2.0
    np.testing.assert_allclose(attack.attacks[0].step_size, 2.5 * 2.0 / 2)
    assert attack.attacks[1] == _composed(0.5).attacks[1]


def test_a_curve_of_a_composed_attack_is_the_tail_of_the_radii(key):
    """At each radius nothing counts that the minimal member finds beyond it."""
    model = attack_table.make_model("affine")
    radius = np.asarray(affine_attack(L2(), bounds=(0.0, 1.0))(*model).distance)
    epsilons = np.quantile(radius[radius > 0], [0.1, 0.5, 0.8, 1.0]) * [0.99, 1.01, 1.01, 1.01]
    curve = robustness_curve(_composed(9.0), *model, key, epsilons=epsilons)
    expected = [(radius > epsilon).mean() for epsilon in epsilons]
    assert 0 < expected[2] < expected[1] < expected[0]
    np.testing.assert_allclose(curve.robust_accuracy, expected)
    np.testing.assert_allclose(curve.clean_accuracy, 10 / 12)
    np.testing.assert_allclose(curve.radius[:-2], epsilons[np.searchsorted(epsilons, radius[:-2])])
    np.testing.assert_array_equal(curve.radius[-2:], 0)


def test_transfer_counts_what_flips_elsewhere(key):
    """Against counts by hand; a network and its copy; which deltas count can be chosen."""
    models = [attack_table.make_model("mlp", seed) for seed in (0, 1, 0)]
    model = models[0]
    images, labels = model.images, model.labels
    found = evaluate(
        pgd(L2(), epsilon=0.5, num_steps=3),
        model.apply_fn,
        _stack(models),
        images,
        labels,
        key,
        seeds=range(3),
    ).perturbation
    result = transfer(model.apply_fn, _stack(models), images, labels, found.delta, batch_size=5)
    assert result.accuracy.shape == result.flip_rate.shape == (3, 3)
    np.testing.assert_array_equal(result.accuracy[:, 0], result.accuracy[:, 2])
    for source, target in ((0, 1), (1, 0), (0, 0)):
        params = models[target].params
        clean = np.argmax(model.apply_fn(params, images), -1) == labels
        after = np.argmax(model.apply_fn(params, images + found.delta[source]), -1) == labels
        np.testing.assert_allclose(result.accuracy[source, target], after.mean())
        np.testing.assert_allclose(result.flip_rate[source, target], 1 - after[clean].mean())
    for strategy in ("vmap", "sequential", "threads"):
        again = transfer(
            model.apply_fn, _stack(models), images, labels, found.delta, strategy=strategy
        )
        for name in result._fields:
            np.testing.assert_allclose(getattr(again, name), getattr(result, name))
    own = transfer(
        model.apply_fn, _stack(models), images, labels, found.delta, counted=found.flipped
    )
    np.testing.assert_array_equal(np.diag(own.flip_rate), 1)
    none = transfer(
        model.apply_fn, _stack(models), images, labels, found.delta, counted=0 * found.flipped > 0
    )
    assert np.isnan(none.flip_rate).all() and np.isnan(none.accuracy).all()
    assert not none.num_counted.any() and not none.num_known.any()


def test_an_image_without_a_perturbation_is_not_transferred(key):
    """A minimal attack leaves 0 where it found nothing, or nothing was needed."""
    models = [attack_table.make_model("mlp", seed) for seed in (0, 1)]
    model = models[0]
    rest = model.apply_fn, _stack(models), model.images, model.labels
    delta = np.array(evaluate(ddn(num_steps=4), *rest, key, seeds=(0, 1)).perturbation.delta)
    delta[0, :5] = 0
    moved = (delta != 0).any(axis=(2, 3, 4))
    result = transfer(*rest, delta)
    np.testing.assert_array_equal(result.num_counted, moved.sum(1))
    assert result.num_counted[0] < 8
    chosen = transfer(*rest, delta, counted=moved)
    for name in result._fields:
        np.testing.assert_array_equal(getattr(result, name), getattr(chosen, name))
    for target in range(2):
        clean = np.argmax(attack_table.mlp(models[target].params, model.images), -1)
        known = (clean == model.labels) & moved[0]
        assert result.num_known[0, target] == known.sum()
    assert result.flip_rate[0, 0] == 1  # not the share of all
    nothing = transfer(*rest, np.zeros_like(delta))
    assert np.isnan(nothing.accuracy).all() and np.isnan(nothing.flip_rate).all()


def test_bad_curves_and_transfers_raise(key):
    model = attack_table.make_model("mlp")
    for epsilons in ([], [0.2, 0.1], [0.1, 0.1], [0.0, 0.1]):
        with pytest.raises(ValueError, match="epsilons"):
            robustness_curve(ATTACK, *model, key, epsilons=epsilons)
    with pytest.raises(TypeError, match="epsilons"):
        robustness_curve(ATTACK, *model, key, epsilons=0.1)
    with pytest.raises(ValueError, match="strategy"):
        robustness_curve(ATTACK, *model, key, epsilons=[0.1], strategy="loop")
    stacked = _stack([model] * 2)
    with pytest.raises(ValueError, match="delta"):
        transfer(model.apply_fn, stacked, *model[2:], np.zeros((2, 3, 6, 5, 2), np.float32))
    zeros = np.zeros((2, *model.images.shape), np.float32)
    with pytest.raises(ValueError, match="strategy"):
        transfer(model.apply_fn, stacked, *model[2:], zeros, strategy="loop")
    with pytest.raises(ValueError, match="counted"):
        transfer(model.apply_fn, stacked, *model[2:], zeros, counted=np.ones(12, bool))

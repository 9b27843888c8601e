"""Evaluation of an attack over a data set and an ensemble."""

import attack_table
import jax
import numpy as np
import pytest
from attack_table import affine

from freqbias.attacks import L2, Linf, affine_attack, evaluate, pgd
from freqbias.attacks.evaluate import summarize

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
    result = evaluate(ATTACK, model.apply_fn, _stack(models), *model[2:], key, ensemble=True)
    assert result.robust_accuracy.shape == (3,)
    assert result.perturbation.delta.shape == (3, *model.images.shape)
    for seed, one in enumerate(models):
        alone = evaluate(
            ATTACK, one.apply_fn, one.params, *model[2:], jax.random.fold_in(key, seed)
        )
        np.testing.assert_array_equal(result.perturbation.delta[seed], alone.perturbation.delta)
        np.testing.assert_array_equal(result.robust_accuracy[seed], alone.robust_accuracy)


def test_seeds_may_bring_their_own_keys(key):
    """Two copies of one network: same key same draw, other key other draw."""
    model = attack_table.make_model("mlp")
    keys = jax.random.split(key, 2)[np.array([0, 1, 0])]
    result = evaluate(ATTACK, model.apply_fn, _stack([model] * 3), *model[2:], keys, ensemble=True)
    delta = result.perturbation.delta
    np.testing.assert_array_equal(delta[0], delta[2])
    assert (delta[0] != delta[1]).any()


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
        evaluate(ATTACK, *model, key, ensemble=True)
    with pytest.raises(ValueError, match="one per seed"):
        evaluate(
            ATTACK,
            model.apply_fn,
            _stack([model] * 3),
            *model[2:],
            jax.random.split(key),
            ensemble=True,
        )
    with pytest.raises(ValueError, match="targets"):
        evaluate(ATTACK, *model, key, targets=np.zeros(3, int))
    with pytest.raises(ValueError, match="labels"):
        evaluate(ATTACK, *model._replace(labels=model.labels[:5]), key)
    with pytest.raises(ValueError, match="images"):
        evaluate(ATTACK, affine, *model._replace(images=model.images[0])[1:], key)

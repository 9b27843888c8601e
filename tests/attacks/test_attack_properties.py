"""Every attack of the table through every shared property."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import CASES, EPSILON, NUM_CLASSES, SLOW_CASES, TRACES

from freqbias.attacks import Evaluation, evaluate
from freqbias.typing import Status


def _parametrize(keep=lambda case: True):
    marked = [pytest.param(c, id=c.name) for c in CASES if keep(c)]
    marked += [pytest.param(c, id=c.name, marks=pytest.mark.slow) for c in SLOW_CASES if keep(c)]
    return pytest.mark.parametrize("case", marked)


cases = _parametrize()
budget_cases = _parametrize(lambda case: not case.minimal)
NOISE = 1e-5  # float32, two routes or two batch sizes through one small network


def _targets(case, labels):
    return (labels + 1) % NUM_CLASSES if case.targeted else None


def _run(case, model, key, attack=None, epsilon=None):
    epsilon = EPSILON[case.norm] if epsilon is None else epsilon
    attack = case.make(epsilon) if attack is None else attack
    return attack(*model, key, targets=_targets(case, model.labels))


def _may_be_flat(case, found):
    """Images on which the loss may be flat: DLR on some that are misclassified, see `dlr`."""
    return "dlr" in case.name and ~np.asarray(found.clean_correct)


def _assert_close(case, found, expected):
    np.testing.assert_allclose(found.delta, expected.delta, atol=NOISE)
    np.testing.assert_array_equal(found.is_adversarial, expected.is_adversarial)
    np.testing.assert_array_equal(found.status, expected.status)


def test_attacks_are_told_apart_by_jit():
    """As structures of one program: equal treedefs would share a compilation (see `norms`)."""
    structures = [jax.tree.structure(case.make(0.1)) for case in CASES + SLOW_CASES]
    for index, structure in enumerate(structures):
        assert structure not in structures[:index]


@cases
def test_the_table_is_not_trivial(case, key):
    """Some images fall and, with a budget, some stand: else the other tests show nothing."""
    found = _run(case, attack_table.make_model(case.model), key)
    assert found.flipped.sum() > 0
    assert case.minimal or found.flipped.sum() < found.clean_correct.sum()


@cases
def test_budget_and_box_hold_on_the_returned_image(case, key):
    model = attack_table.make_model(case.model)
    found = _run(case, model, key)
    returned = model.images + found.delta
    assert returned.min() >= 0 and returned.max() <= 1
    if not case.minimal:
        seen = jax.vmap(case.norm.value)(returned - model.images)
        assert seen.max() <= EPSILON[case.norm] + attack_table.rounding(case.norm)


@cases
def test_flags_agree_with_prediction_on_the_returned_image(case, key):
    """The classic defect: success measured on another point than the one returned."""
    model = attack_table.make_model(case.model)
    found = _run(case, model, key)
    clean = jnp.argmax(model.apply_fn(model.params, model.images), -1)
    prediction = jnp.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    goal = (
        prediction == _targets(case, model.labels) if case.targeted else prediction != model.labels
    )
    np.testing.assert_array_equal(found.is_adversarial, goal)
    np.testing.assert_array_equal(found.clean_correct, clean == model.labels)
    np.testing.assert_array_equal(found.flipped, goal & (clean == model.labels))
    assert not found.clean_correct[-2:].any()  # the table's mislabelled images
    np.testing.assert_allclose(found.distance, jax.vmap(case.norm.value)(found.delta), rtol=1e-6)
    assert np.all((np.asarray(found.status) == Status.OK) | _may_be_flat(case, found))
    assert found.gradient_evaluations.dtype == jnp.int32
    assert ((found.gradient_evaluations > 0) == (case.gradients > 0)).all()


@cases
def test_misclassified_images_count_as_adversarial(case, key):
    found = _run(case, attack_table.make_model(case.model), key)
    if not case.targeted:
        assert found.is_adversarial[-2:].all() and not found.flipped[-2:].any()
    if case.minimal and not case.targeted:
        np.testing.assert_array_equal(found.delta[-2:], 0)
        np.testing.assert_array_equal(found.distance[-2:], 0)


@cases
def test_a_key_repeats_its_result(case, key):
    model = attack_table.make_model(case.model)
    first, second, other = (_run(case, model, k) for k in (key, key, jax.random.key(5)))
    np.testing.assert_array_equal(first.delta, second.delta)
    assert case.random == bool(jnp.any(first.delta != other.delta))


@cases
def test_vmap_over_seeds_is_a_loop_over_seeds(case, key):
    models = [attack_table.make_model(case.model, seed) for seed in range(3)]
    model = models[0]
    labels = jnp.argmax(model.apply_fn(model.params, model.images), -1)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(m.params for m in models))
    targets = _targets(case, labels)
    attack = case.make(EPSILON[case.norm])

    def run(params):
        return attack(model.apply_fn, params, model.images, labels, key, targets=targets)

    stacked = jax.jit(jax.vmap(run))(params)
    for seed, one in enumerate(models):
        _assert_close(case, jax.tree.map(lambda leaf, s=seed: leaf[s], stacked), run(one.params))


@cases
def test_order_of_images_does_not_matter(case, key):
    model = attack_table.make_model(case.model)
    keys = jax.random.split(key, model.labels.size)
    order = jax.random.permutation(key, model.labels.size)
    shuffled = model._replace(images=model.images[order], labels=model.labels[order])
    expected = jax.tree.map(lambda leaf: leaf[order], _run(case, model, keys))
    _assert_close(case, _run(case, shuffled, keys[order]), expected)


@cases
def test_batch_split_does_not_matter(case, key):
    """No loss is averaged, no stop and no draw is shared: each image alone gets the same."""
    model = attack_table.make_model(case.model)
    attack, targets = case.make(EPSILON[case.norm]), _targets(case, model.labels)
    whole = evaluate(attack, *model, key, targets=targets)
    assert isinstance(whole, Evaluation)
    _assert_close(case, whole.perturbation, _run(case, model, key))
    alone = evaluate(attack, *model, key, targets=targets, batch_size=1)
    _assert_close(case, alone.perturbation, whole.perturbation)


@budget_cases
def test_more_budget_never_helps_the_network(case, key):
    model = attack_table.make_model(case.model)
    counts = [
        int(_run(case, model, key, epsilon=scale * EPSILON[case.norm]).is_adversarial.sum())
        for scale in (1e-3, 0.3, 1.0, 2.0, 8.0)
    ]
    assert counts == sorted(counts) and counts[0] < counts[-1]


@_parametrize(lambda case: case.restarts)
def test_more_restarts_never_hurt_any_image(case, key):
    """The worst case is per image, not per batch, and not the last restart."""
    model = attack_table.make_model(case.model)
    targets = _targets(case, model.labels)
    found = {}
    for num_restarts in (1, 2, 4):
        attack = case.restarts(EPSILON[case.norm], num_restarts)
        found[num_restarts] = attack(*model, key, targets=targets)
        np.testing.assert_array_equal(
            found[num_restarts].gradient_evaluations, case.gradients * num_restarts
        )
    assert (found[1].is_adversarial <= found[2].is_adversarial).all()
    assert (found[2].is_adversarial <= found[4].is_adversarial).all()
    assert jnp.any(found[1].delta != found[4].delta)


@cases
def test_a_network_of_nan_is_diverged_and_delta_stays_finite(case, key):
    model = attack_table.make_model(case.model)
    broken = model._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, model.params))
    found = _run(case, broken, key)
    np.testing.assert_array_equal(found.status, Status.DIVERGED)
    np.testing.assert_array_equal(found.delta, 0)
    assert not found.clean_correct.any() and not found.is_adversarial.any()


@cases
def test_constant_logits_are_dead_and_never_robust(case, key):
    """sign(0) = 0: an untrained head looks unbreakable. It is flagged instead."""
    model = attack_table.make_model(case.model)
    dead = model._replace(
        params=jax.tree.map(jnp.zeros_like, model.params),
        labels=jnp.zeros_like(model.labels),
    )
    attack, targets = case.make(EPSILON[case.norm]), _targets(case, dead.labels)
    result = evaluate(attack, *dead, key, targets=targets)
    np.testing.assert_array_equal(result.perturbation.status, Status.DEAD)
    np.testing.assert_array_equal(result.perturbation.delta, 0)
    assert result.clean_accuracy == 1 and result.robust_accuracy == 0
    assert result.num_dead == len(dead.labels)


@cases
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_move_and_stay_in_the_box(case, value, key):
    model = attack_table.make_model(case.model)
    images = jnp.full_like(model.images, value)
    labels = jnp.argmax(model.apply_fn(model.params, images), -1)
    found = _run(case, model._replace(images=images, labels=labels), key)
    returned = images + found.delta
    assert jnp.isfinite(found.delta).all() and returned.min() >= 0 and returned.max() <= 1
    assert case.minimal or jnp.any(found.delta != 0, axis=(1, 2, 3)).all()


@cases
def test_large_logits_are_attacked_as_well(case, key):
    """At logits x 1e4 the cross-entropy's own gradient is exactly zero in float32."""
    model = attack_table.make_model(case.model)
    scaled = jax.tree.map(lambda leaf: 1e4 * leaf, model.params)
    if case.model == "mlp":
        scaled = (model.params[0], 1e4 * model.params[1])
    found = _run(case, model._replace(params=scaled), key)
    expected = _run(case, model, key)
    assert np.all((np.asarray(found.status) == Status.OK) | _may_be_flat(case, found))
    assert jnp.isfinite(found.delta).all()
    assert found.is_adversarial.sum() >= expected.is_adversarial.sum()


@cases
def test_new_numbers_compile_nothing(case, key):
    """Epsilon, seeds, networks and batches of one shape share one compilation."""
    model = attack_table.make_model(case.model)
    _run(case, model, key)
    other = attack_table.make_model(case.model, seed=7)
    TRACES.clear()
    epsilon = EPSILON[case.norm]
    for new in (2 * epsilon, jnp.asarray(epsilon), np.float64(epsilon), 1):
        _run(case, model, key, epsilon=new)
    _run(case, other, jax.random.key(9))
    assert not TRACES


@cases
def test_inputs_are_not_changed(case, key):
    model = attack_table.make_model(case.model)
    images, labels = np.array(model.images), np.array(model.labels)
    kept = images.copy(), labels.copy()
    _run(case, model._replace(images=images, labels=labels), key)
    np.testing.assert_array_equal(images, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


BAD = {
    "images rank": (dict(images=np.zeros((3, 6, 5), np.float32)), ValueError, "images"),
    "images dtype": (dict(images=np.zeros((12, 6, 5, 2), int)), TypeError, "images"),
    "images range": (dict(images=np.full((12, 6, 5, 2), 1.5, np.float32)), ValueError, "images"),
    "images nan": (dict(images=np.full((12, 6, 5, 2), np.nan, np.float32)), ValueError, "images"),
    "images empty": (dict(images=np.zeros((0, 6, 5, 2), np.float32)), ValueError, "images"),
    "labels float": (dict(labels=np.zeros(12, np.float32)), TypeError, "labels"),
    "labels range": (dict(labels=np.full(12, NUM_CLASSES)), ValueError, "labels"),
    "labels negative": (dict(labels=np.full(12, -1)), ValueError, "labels"),
    "labels shape": (dict(labels=np.zeros(11, int)), ValueError, "labels"),
    "logits rank": (dict(apply_fn=lambda p, x: x.mean((1, 2, 3))), ValueError, "logits"),
    "one class": (dict(apply_fn=lambda p, x: x.mean((1, 2, 3))[:, None]), ValueError, "logits"),
}


@pytest.mark.parametrize("bad", BAD)
@cases
def test_bad_input_raises_an_error_that_names_it(case, bad, key):
    changes, error, words = BAD[bad]
    model = attack_table.make_model(case.model)
    attack = case.make(EPSILON[case.norm])
    targets = (model.labels + 1) % NUM_CLASSES if case.targeted else None
    with pytest.raises(error, match=words):
        attack(*model._replace(**changes), key, targets=targets)


@budget_cases
@pytest.mark.parametrize("epsilon", [0, -1.0, float("nan"), float("inf")])
def test_bad_epsilon_raises(case, epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        case.make(epsilon)


@cases
def test_targets_where_none_are_wanted_or_none_where_they_are(case, key):
    model = attack_table.make_model(case.model)
    targets = None if case.targeted else (model.labels + 1) % NUM_CLASSES
    with pytest.raises(ValueError, match="targets"):
        case.make(EPSILON[case.norm])(*model, key, targets=targets)

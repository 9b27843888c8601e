"""Every attack of the table through every shared property."""

import dataclasses
import itertools

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_checks import (
    assert_close,
    check_budget_and_box,
    check_flags,
    check_status,
    parametrize,
    run,
    targets_of,
)
from attack_table import (
    CASES,
    COMPILATIONS,
    EPSILON,
    NUM_CLASSES,
    SLOW_CASES,
    TRACES,
    UNIVERSAL_CASES,
)

from freqbias.attacks import Evaluation, evaluate
from freqbias.attacks.protocol import on_device
from freqbias.typing import Status

cases = parametrize()
all_cases = parametrize(more=UNIVERSAL_CASES)
budget_cases = parametrize(lambda case: not case.minimal, UNIVERSAL_CASES)


def test_attacks_are_told_apart_by_jit():
    """As structures of one program: equal treedefs would share a compilation (see `norms`)."""
    every_case = CASES + SLOW_CASES + UNIVERSAL_CASES
    structures = [jax.tree.structure(case.make(0.1)) for case in every_case]
    for index, structure in enumerate(structures):
        assert structure not in structures[:index]


@cases
def test_the_table_is_not_trivial(case, key):
    """Some images fall and, with a budget, some stand: else the other tests show nothing."""
    found = run(case, attack_table.make_model(case.model, case.seed), key)
    assert found.flipped.sum() > 0
    assert case.minimal or found.flipped.sum() < found.clean_correct.sum()


@cases
def test_budget_and_box_hold_on_the_returned_image(case, key):
    model = attack_table.make_model(case.model, case.seed)
    check_budget_and_box(case, model, run(case, model, key), case.bounds)


@cases
def test_flags_agree_with_prediction_on_the_returned_image(case, key):
    """The classic defect: success measured on another point than the one returned."""
    model = attack_table.make_model(case.model, case.seed)
    check_flags(case, model, run(case, model, key))


@cases
def test_gradients_are_counted_exactly(case, key):
    found = run(case, attack_table.make_model(case.model, case.seed), key)
    count = case.probes + case.starts * case.gradients
    attacked = found.clean_correct | (not case.spares)
    assert found.gradient_evaluations.dtype == jnp.int32
    if case.most == 1:
        np.testing.assert_array_equal(found.gradient_evaluations, count * attacked)
    else:
        steps, rest = np.divmod(found.gradient_evaluations, count)
        np.testing.assert_array_equal(rest, 0)
        done = found.distance == 0 if case.targeted else ~found.clean_correct
        np.testing.assert_array_equal(steps[done], 1)
        assert steps.min() == 1 < steps.max() <= case.most


@cases
def test_misclassified_images_count_as_adversarial(case, key):
    found = run(case, attack_table.make_model(case.model, case.seed), key)
    if not case.targeted:
        assert found.is_adversarial[-2:].all() and not found.flipped[-2:].any()
    if case.minimal and not case.targeted:
        np.testing.assert_array_equal(found.delta[-2:], 0)
        np.testing.assert_array_equal(found.distance[-2:], 0)


@all_cases
def test_a_key_repeats_its_result(case, key):
    model = attack_table.make_model(case.model, case.seed)
    first, second, other = (run(case, model, k) for k in (key, key, jax.random.key(5)))
    np.testing.assert_array_equal(first.delta, second.delta)
    assert case.random == bool(jnp.any(first.delta != other.delta))


@cases
def test_vmap_over_seeds_is_a_loop_over_seeds(case, key):
    models = [attack_table.make_model(case.model, case.seed + index) for index in range(3)]
    model = models[0]
    labels = jnp.argmax(model.apply_fn(model.params, model.images), -1)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(m.params for m in models))
    targets = targets_of(case, labels)
    attack = case.make(EPSILON[case.norm])

    def run(params):
        return attack(model.apply_fn, params, model.images, labels, key, targets=targets)

    stacked = jax.jit(jax.vmap(run))(params)
    for seed, one in enumerate(models):
        assert_close(case, jax.tree.map(lambda leaf, s=seed: leaf[s], stacked), run(one.params))


@cases
def test_order_of_images_does_not_matter(case, key):
    model = attack_table.make_model(case.model, case.seed)
    keys = jax.random.split(key, model.labels.size)
    order = jax.random.permutation(key, model.labels.size)
    shuffled = model._replace(images=model.images[order], labels=model.labels[order])
    expected = jax.tree.map(lambda leaf: leaf[order], run(case, model, keys))
    assert_close(case, run(case, shuffled, keys[order]), expected)


@cases
def test_batch_split_does_not_matter(case, key):
    """No loss is averaged, no stop and no draw is shared: each image alone gets the same."""
    model = attack_table.make_model(case.model, case.seed)
    attack, targets = case.make(EPSILON[case.norm]), targets_of(case, model.labels)
    whole = evaluate(attack, *model, key, targets=targets)
    assert isinstance(whole, Evaluation)
    assert_close(case, whole.perturbation, run(case, model, key))
    alone = evaluate(attack, *model, key, targets=targets, batch_size=1)
    assert_close(case, alone.perturbation, whole.perturbation)


@parametrize(lambda case: not case.minimal)
def test_more_budget_never_helps_the_network(case, key):
    model = attack_table.make_model(case.model, case.seed)
    counts = [
        int(run(case, model, key, epsilon=scale * EPSILON[case.norm]).is_adversarial.sum())
        for scale in (1e-3, 0.3, 1.0, 2.0, 8.0)
    ]
    assert counts == sorted(counts) and counts[0] < counts[-1]


@parametrize(lambda case: case.restarts)
def test_more_restarts_never_hurt_any_image(case, key):
    """The worst case is per image, not per batch, and not the last restart.

    A minimal attack ends each start by a line search: one after the last start alone could lead
    from a nearer point to one further away. On the host, another number of starts compiles nothing.
    """
    model = attack_table.make_model(case.model, case.seed)
    targets = targets_of(case, model.labels)
    found, first = {}, None
    counts = (1, 2) if case.minimal else (1, 2, 4)
    for starts in counts:
        attack = dataclasses.replace(case.restarts(EPSILON[case.norm], starts), driver="host")
        found[starts] = attack(*model, key, targets=targets)
        count = case.probes + case.gradients * starts
        np.testing.assert_array_equal(found[starts].gradient_evaluations, count)
        first = len(COMPILATIONS) if starts == 1 else first
    assert len(COMPILATIONS) == first
    for pair in itertools.pairwise(counts):
        fewer, more = (found[starts] for starts in pair)
        assert (fewer.is_adversarial <= more.is_adversarial).all()
        assert not case.minimal or (more.distance <= fewer.distance).all()
    assert case.minimal or jnp.any(found[1].delta != found[4].delta)


@cases
def test_a_network_of_nan_is_diverged_and_delta_stays_finite(case, key):
    model = attack_table.make_model(case.model, case.seed)
    broken = model._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, model.params))
    found = run(case, broken, key)
    np.testing.assert_array_equal(found.status, Status.DIVERGED)
    np.testing.assert_array_equal(found.delta, 0)
    assert not found.clean_correct.any() and not found.is_adversarial.any()


@cases
def test_constant_logits_are_dead_and_never_robust(case, key):
    """sign(0) = 0: an untrained head looks unbreakable. It is flagged instead."""
    model = attack_table.make_model(case.model, case.seed)
    dead = model._replace(
        params=jax.tree.map(jnp.zeros_like, model.params),
        labels=jnp.zeros_like(model.labels),
    )
    attack, targets = case.make(EPSILON[case.norm]), targets_of(case, dead.labels)
    result = evaluate(attack, *dead, key, targets=targets)
    np.testing.assert_array_equal(result.perturbation.status, Status.DEAD)
    np.testing.assert_array_equal(result.perturbation.delta, 0)
    assert result.clean_accuracy == 1 and result.robust_accuracy == 0
    assert result.num_dead == len(dead.labels)


@cases
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_move_and_stay_in_the_box(case, value, key):
    model = attack_table.make_model(case.model, case.seed)
    images = jnp.full_like(model.images, value)
    labels = jnp.argmax(model.apply_fn(model.params, images), -1)
    found = run(case, model._replace(images=images, labels=labels), key)
    returned = images + found.delta
    assert jnp.isfinite(found.delta).all()
    assert case.bounds is None or (returned.min() >= 0 and returned.max() <= 1)
    assert case.minimal or jnp.any(found.delta != 0, axis=(1, 2, 3)).all()


@cases
def test_large_logits_are_attacked_as_well(case, key):
    """At logits x 1e4 the cross-entropy's own gradient is exactly zero in float32."""
    model = attack_table.make_model(case.model, case.seed)
    scaled = jax.tree.map(lambda leaf: 1e4 * leaf, model.params)
    if case.model == "mlp":
        scaled = (model.params[0], 1e4 * model.params[1])
    found = run(case, model._replace(params=scaled), key)
    expected = run(case, model, key)
    check_status(case, found)
    assert jnp.isfinite(found.delta).all()
    assert found.is_adversarial.sum() >= expected.is_adversarial.sum()


SCALARS = ("multiply", "true_divide", "convert_element_type", "less_equal", "stage")


@all_cases
def test_new_numbers_compile_nothing(case, key):
    """Epsilon, seeds, networks and batches of one shape share one compilation.

    Counted by the backend: the programs of the host driver do not contain the model.
    """
    model, other = (attack_table.make_model(case.model, case.seed + index) for index in (0, 7))
    epsilon = EPSILON[case.norm]
    run(case, model, key)
    TRACES.clear()
    first = len(COMPILATIONS)
    kinds = (float, np.float64, np.float32, jnp.asarray)
    for new in (1, *(kind(epsilon) for kind in kinds)):
        run(case, model, key, epsilon=new)
    # With a number of a new type, what is computed outside of the attack's programs compiles once.
    compiled = COMPILATIONS[first:]
    assert not [program for program in compiled if not any(name in program for name in SCALARS)]
    for new in (2, *(kind(2 * epsilon) for kind in kinds)):
        run(case, model, key, epsilon=new)
    run(case, other, jax.random.key(9))
    assert not TRACES and not COMPILATIONS[first + len(compiled) :]


def test_compilations_are_counted():
    """Else the test above is blind."""
    first = len(COMPILATIONS)
    jax.jit(lambda x: x + 1)(jnp.zeros(3))
    assert len(COMPILATIONS) > first


@all_cases
def test_inputs_are_not_changed(case, key):
    model = attack_table.make_model(case.model, case.seed)
    images, labels = np.array(model.images), np.array(model.labels)
    kept = images.copy(), labels.copy()
    run(case, model._replace(images=images, labels=labels), key)
    np.testing.assert_array_equal(images, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


def test_what_is_put_on_the_device_is_a_copy_and_compiles_nothing():
    """JAX on CPU may share an array's memory, which is its owner's to write to."""
    first, memory = len(COMPILATIONS), np.empty(2**16 + 16, np.float32)
    array = memory[-memory.ctypes.data % 64 // 4 :][: 2**16]  # so aligned that it can be shared
    array[:] = 1
    for found in (on_device(array), on_device(array, jnp.int32), on_device(1.0, jnp.float32)):
        array[:] = 2
        np.testing.assert_array_equal(found, 1)
        array[:] = 1
    assert len(COMPILATIONS) == first


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
@all_cases
def test_bad_input_raises_an_error_that_names_it(case, bad, key):
    if case.bounds is None and bad == "images range":
        pytest.skip("Without a box any finite number is a pixel.")
    changes, error, words = BAD[bad]
    model = attack_table.make_model(case.model, case.seed)
    attack = case.make(EPSILON[case.norm])
    options = {"targets": targets_of(case, model.labels)} if case.targeted else {}
    with pytest.raises(error, match=words):
        attack(*model._replace(**changes), key, **options)


@all_cases
def test_a_network_without_one_finite_logit_is_refused(case, key):
    """Its parameters are finite, so that no training is to blame; all its logits overflow."""
    model = attack_table.make_model(case.model, case.seed)
    params = jax.tree.map(lambda leaf: np.full_like(leaf, 3e38), model.params)
    with pytest.raises(ValueError, match="apply_fn must return finite logits"):
        run(case, model._replace(params=params), key)


@budget_cases
@pytest.mark.parametrize("epsilon", [0, -1.0, float("nan"), float("inf")])
def test_bad_epsilon_raises(case, epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        case.make(epsilon)


@cases
def test_targets_where_none_are_wanted_or_none_where_they_are(case, key):
    model = attack_table.make_model(case.model, case.seed)
    targets = None if case.targeted else (model.labels + 1) % NUM_CLASSES
    with pytest.raises(ValueError, match="targets"):
        case.make(EPSILON[case.norm])(*model, key, targets=targets)

"""Several attacks, the worst of them for each image, and only on the images that still stand."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, TRACES, affine

from freqbias.attacks import (
    FAB,
    L1,
    L2,
    AutoPGD,
    FourierLinf,
    Linf,
    Perturbation,
    SparseAutoPGD,
    SquareAttack,
    affine_attack,
    apgd,
    at_epsilon,
    auto_attack,
    evaluate,
    mi_fgsm,
    pgd,
    square,
    worst_case,
)
from freqbias.typing import Status

EPSILON = 0.03
MEMBERS = (
    mi_fgsm(Linf(), epsilon=EPSILON / 2, num_steps=2),  # weak, so that something stands
    square(Linf(), epsilon=EPSILON, num_steps=10),
    pgd(Linf(), epsilon=EPSILON, num_steps=4),
)
ATTACK = auto_attack(Linf(), epsilon=EPSILON, attacks=MEMBERS, batch_size=12)


def _perturbation(adversarial, distance, status=0, evaluations=1, correct=True):
    adversarial, distance = np.array(adversarial), np.array(distance, np.float32)
    count = len(adversarial)
    return Perturbation(
        delta=np.broadcast_to(distance[:, None, None, None], (count, 1, 1, 1)),
        clean_correct=np.full(count, correct),
        is_adversarial=adversarial,
        flipped=adversarial & correct,
        distance=distance,
        gradient_evaluations=np.full(count, evaluations),
        status=np.broadcast_to(status, count),
    )


def test_worst_case_by_hand():
    """Adversarial before not, then the nearest, then the first; alive by any gradient."""
    found = worst_case(
        [
            _perturbation([0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5] , [0, 0, 0, 2, 0]),
            _perturbation([0, 1, 0, 1, 1], [0.6, 0.7, 0.1, 0.2, 0.9], [0, 2, 0, 1, 0], 10),
        ]
    )  # fmt: skip
    np.testing.assert_array_equal(found.is_adversarial, [0, 1, 1, 1, 1])
    np.testing.assert_allclose(found.distance, [0.1, 0.7, 0.3, 0.2, 0.5])
    np.testing.assert_allclose(found.delta.ravel(), found.distance)
    np.testing.assert_array_equal(found.gradient_evaluations, 11)
    np.testing.assert_array_equal(found.status, [0, 0, 0, 1, 0])
    with pytest.raises(ValueError, match="at least one"):
        worst_case([])


@pytest.fixture(scope="module")
def model():
    return attack_table.make_model("mlp")


def _members(model, key):
    """What each member finds alone, on all images, with the keys it has in the composition."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(model.labels.size))
    own = [jax.vmap(jax.random.fold_in, (0, None))(keys, index) for index in range(3)]
    return [member(*model, own_keys) for member, own_keys in zip(MEMBERS, own, strict=True)]


def test_each_image_falls_to_the_first_attack_that_fells_it(model, key):
    """And to none before; no attack is spent on what has fallen, or is misclassified anyway."""
    found, alone = ATTACK(*model, key), _members(model, key)
    wins = np.stack([one.is_adversarial for one in alone])[:, :-2]
    first = np.where(wins.any(0), wins.argmax(0), 3)
    assert len(np.unique(first)) >= 3  # each outcome but perhaps one is there
    for index in range(len(first)):
        source = alone[first[index] % 3]
        np.testing.assert_allclose(found.delta[index], source.delta[index], atol=1e-6)
        spent = sum(int(one.gradient_evaluations[index]) for one in alone[: first[index] + 1])
        assert found.gradient_evaluations[index] == spent
    np.testing.assert_array_equal(found.is_adversarial[:-2], wins.any(0))
    np.testing.assert_array_equal(found.gradient_evaluations[-2:], 0)
    np.testing.assert_array_equal(found.delta[-2:], 0)
    prediction = jnp.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(found.is_adversarial, prediction != model.labels)
    np.testing.assert_array_equal(found.status[:-2], Status.OK)
    np.testing.assert_array_equal(found.status[-2:], Status.NOT_ATTACKED)


def test_within_jit_it_is_the_same_attack(model, key):
    """Nothing can be packed there, so every attack sees every image; the result is the same."""
    found = ATTACK(*model, key)
    traced = jax.jit(lambda params, images, key: ATTACK(
        model.apply_fn, params, images, model.labels, key
    ))(model.params, model.images, key)  # fmt: skip
    np.testing.assert_allclose(traced.delta, found.delta, atol=1e-5)
    for name in ("is_adversarial", "flipped", "gradient_evaluations", "status"):
        np.testing.assert_array_equal(getattr(traced, name), getattr(found, name))


def test_another_number_of_standing_images_compiles_nothing(model, key):
    """Standing images are padded to one batch size; in batches of `evaluate` as well."""
    whole = evaluate(ATTACK, *model, key)
    other = attack_table.make_model("mlp", seed=7)
    TRACES.clear()
    evaluate(ATTACK, *other, key)
    for wrong in (6, 11):
        labels = np.array(other.labels)
        labels[:wrong] = (labels[:wrong] + 1) % 4
        ATTACK(*other._replace(labels=labels), key)
    assert not TRACES
    alone = evaluate(ATTACK.replace(batch_size=5), *model, key, batch_size=7)
    np.testing.assert_allclose(alone.perturbation.delta, whole.perturbation.delta, atol=1e-5)
    assert alone.robust_accuracy == whole.robust_accuracy


class Compilations(list):
    """Names of the programs that JAX tells of having compiled within the block."""

    def __call__(self, event, duration, **details):
        if "backend_compile" in event:
            self.append(details.get("fun_name", event))

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self)
        return self

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self)


def test_a_second_call_compiles_nothing_at_all(model, key):
    """Neither the network nor any small operation, at another epsilon, where others stand."""
    with Compilations() as first:
        jax.jit(lambda x: x + 1)(1.0)
    assert first, "this JAX names the event otherwise; nothing could be counted"
    labels = np.array(model.labels)
    standing = set()
    for wrong in (0, 3, 6):
        relabelled = np.where(np.arange(12) < wrong, (labels + 1) % 4, labels)
        for attack in (ATTACK, at_epsilon(ATTACK, 0.7 * EPSILON)):
            with Compilations() as compilations:
                found = attack(*model._replace(labels=relabelled), key)
            standing.add(int(np.sum(found.clean_correct & ~found.is_adversarial)))
            if wrong:
                assert not compilations
    assert len(standing) >= 3
    batches = ATTACK.replace(batch_size=4)  # of which there are three, two or one
    batches(*model, key)
    with Compilations() as compilations:
        batches(*model._replace(labels=relabelled), key)
    assert not compilations


@pytest.mark.parametrize("standing", [0, 1])
def test_none_or_one_image_stands(standing, model, key):
    """Nothing to attack is no error, and one image is one batch."""
    labels = np.array(jnp.argmax(model.apply_fn(model.params, model.images), -1))
    labels[standing:] = (labels[standing:] + 1) % 4
    found = ATTACK(*model._replace(labels=labels), key)
    assert found.is_adversarial[standing:].all() and not found.flipped[standing:].any()
    np.testing.assert_array_equal(found.gradient_evaluations > 0, np.arange(12) < standing)


def test_what_a_minimal_attack_finds_beyond_epsilon_does_not_count(key):
    model = attack_table.make_model("affine")
    exact = affine_attack(L2(), bounds=(0.0, 1.0))
    radius = exact(*model).distance
    epsilon = float(np.median(radius[:-2]))
    found = auto_attack(L2(), epsilon=epsilon, attacks=[exact])(*model, key)
    np.testing.assert_array_equal(found.flipped, (radius <= epsilon) & (radius > 0))
    assert (found.distance <= epsilon * (1 + 1e-6)).all()


@pytest.mark.parametrize("num_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_few_classes_take_the_margin_for_dlr(num_classes, key):
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(num_classes, *SHAPE)).astype(np.float32) / 4
    images = generator.uniform(0.4, 0.6, (6, *SHAPE)).astype(np.float32)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    labels = np.argmax(affine((beta, bias), images), -1)
    aimed = apgd(L2(), epsilon=3.0, num_steps=2, loss="dlr", num_targets=9)
    found = auto_attack(L2(), epsilon=3.0, attacks=[aimed])(
        affine, (beta, bias), images, labels, key
    )
    assert found.flipped.all()
    np.testing.assert_array_equal(found.gradient_evaluations, 2 * (num_classes - 1))


def test_dead_and_broken_networks_are_never_robust(model, key):
    """No member saw a gradient, or one saw a NaN."""
    labels = jnp.zeros_like(model.labels)
    for factor, status in ((0, Status.DEAD), (jnp.nan, Status.DIVERGED)):
        params = jax.tree.map(lambda leaf, factor=factor: factor * leaf, model.params)
        result = evaluate(ATTACK, model.apply_fn, params, model.images, labels, key)
        np.testing.assert_array_equal(result.perturbation.status, status)
        assert result.robust_accuracy == 0 and result.num_flipped == 0


def _describe(member, fields):
    return type(member), *(getattr(member, field, None) for field in fields)


def test_the_versions_are_those_of_the_paper():
    def describe(norm, version):
        attack = auto_attack(norm, epsilon=0.1, version=version)
        fields = ("loss", "num_restarts", "num_steps", "num_targets", "class_by_class")
        return [_describe(member, fields) for member in attack.attacks]

    aimed, box = (AutoPGD, "dlr", 1, 100, 9, None), (SquareAttack, None, 1, 5000, None, None)
    by_class = (FAB, None, 1, 100, None, True)
    plain = (AutoPGD, "cross_entropy", 1, 100, None, None)
    assert describe(Linf(), "standard") == [plain, aimed, by_class, box]
    restarted = [(AutoPGD, loss, 5, 100, None, None) for loss in ("cross_entropy", "dlr")]
    fast = (FAB, None, 5, 100, None, False)
    assert describe(L2(), "plus") == [*restarted, fast, box, aimed, by_class]
    sparse = (SparseAutoPGD, "cross_entropy", 5, 100, None, None)
    sparse_aimed = (
        SparseAutoPGD,
        "dlr",
        1,
        100,
        5,
        None,
    )  # as many gradients, shared out otherwise
    assert describe(L1(), "standard") == [sparse, sparse_aimed, by_class, box]
    assert [one[0] for one in describe(L1(), "plus")] == [
        *(SparseAutoPGD, SparseAutoPGD, FAB, SquareAttack, SparseAutoPGD, FAB)
    ]
    assert [one[0] for one in describe(FourierLinf(), "standard")] == [AutoPGD, AutoPGD]


@pytest.mark.parametrize(
    "norm", [Linf(), *(pytest.param(norm, marks=pytest.mark.slow) for norm in (L1(), L2()))]
)
def test_both_versions_run_and_find_what_there_is(norm, key):
    """Every member once, with few steps; on an affine model it is known who can fall."""
    model = attack_table.make_model("affine")
    exact = affine_attack(norm, bounds=(0.0, 1.0))(*model)
    epsilon = 1.01 * float(np.median(exact.distance[:-2]))
    for version in ("standard", "plus"):
        attack = auto_attack(norm, epsilon=epsilon, version=version)
        few = []
        for member in attack.attacks:
            changes = {"num_steps": 20 if isinstance(member, SquareAttack) else 5}
            if getattr(member, "num_targets", None):
                changes["num_targets"] = 3  # all that there are
            few.append(member.replace(**changes))
        found = attack.replace(attacks=tuple(few))(*model, key)  # some stand, so all are run
        fell = found.flipped & (found.distance <= epsilon * (1 + 1e-6))
        assert not fell[exact.distance > epsilon * (1 + 1e-5)].any()
        falls = np.asarray(exact.flipped & (exact.distance < 0.98 * epsilon))
        assert fell[falls].all() and 3 <= falls.sum() <= 8
        assert ((model.images + found.delta >= 0) & (model.images + found.delta <= 1)).all()
        assert (found.status[:-2] == Status.OK).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm, epsilon", [(Linf(), 0.03), (L2(), 0.25), (L1(), 1.0)])
def test_the_standard_attack_is_at_least_as_strong_as_pgd(norm, epsilon, model, key):
    found = auto_attack(norm, epsilon=epsilon)(*model, key)
    rival = pgd(norm, epsilon=epsilon, num_steps=40, num_restarts=3)(*model, key)
    assert (found.is_adversarial >= rival.is_adversarial).all()
    assert (found.status[:-2] == Status.OK).all()


def _targets(model):
    return (model.labels + 1) % attack_table.NUM_CLASSES


def test_the_targeted_form_is_that_of_its_members():
    fields = ("loss", "num_restarts", "targeted")

    def describe(norm, version):
        attack = auto_attack(norm, epsilon=0.1, version=version, targeted=True)
        return [_describe(member, fields) for member in attack.attacks]

    for version, starts in (("standard", 1), ("plus", 5)):
        plain = [(AutoPGD, loss, starts, True) for loss in ("cross_entropy", "dlr")]
        rest = [(FAB, None, starts, True), (SquareAttack, None, 1, True)]
        assert describe(Linf(), version) == [*plain, *rest]
        assert describe(FourierLinf(), version) == plain


def test_towards_a_target_what_stands_is_what_is_not_predicted_as_it(model, key):
    """A label matters no more; an image that is predicted as its target costs nothing."""
    options = {"epsilon": 4 * EPSILON, "targeted": True}
    members = (
        apgd(Linf(), num_steps=2, epsilon=EPSILON, targeted=True),
        square(Linf(), num_steps=10, **options),
        pgd(Linf(), num_steps=6, **options),
    )
    attack = auto_attack(Linf(), attacks=members, batch_size=5, **options)
    clean = jnp.argmax(model.apply_fn(model.params, model.images), -1)
    model = model._replace(labels=(clean + 1) % 4)  # all are misclassified
    targets = jnp.where(jnp.arange(12) < 3, clean, (clean + 2) % 4)
    found = attack(*model, key, targets=targets)
    np.testing.assert_array_equal(found.gradient_evaluations[:3], 0)
    np.testing.assert_array_equal(found.delta[:3], 0)
    assert (found.gradient_evaluations[3:] >= 2).all()
    reached = jnp.argmax(model.apply_fn(model.params, model.images + found.delta), -1) == targets
    np.testing.assert_array_equal(found.is_adversarial, reached)
    assert 4 <= found.is_adversarial.sum() < 12 and not found.flipped.any()
    traced = jax.jit(lambda images: attack(
        model.apply_fn, model.params, images, model.labels, key, targets=targets
    ))(model.images)  # fmt: skip
    np.testing.assert_allclose(traced.delta, found.delta, atol=1e-5)
    np.testing.assert_array_equal(traced.is_adversarial, found.is_adversarial)
    np.testing.assert_array_equal(traced.gradient_evaluations, found.gradient_evaluations)
    result = evaluate(attack, *model, key, targets=targets, batch_size=7)
    np.testing.assert_allclose(result.perturbation.delta, found.delta, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("norm, epsilon", [(Linf(), 0.12), (L2(), 1.0), (L1(), 6.0)])
def test_the_targeted_form_is_at_least_as_strong_as_targeted_pgd(num_classes, norm, epsilon, key):
    model = attack_table.make_model("mlp", num_classes=num_classes)
    targets = (model.labels + 1) % num_classes
    found = auto_attack(norm, epsilon=epsilon, targeted=True)(*model, key, targets=targets)
    rival = pgd(norm, epsilon=epsilon, num_steps=40, num_restarts=3, targeted=True)
    assert (found.is_adversarial >= rival(*model, key, targets=targets).is_adversarial).all()
    assert found.flipped.sum() > 0
    assert (found.status[found.clean_correct] == Status.OK).all()


def test_bad_input_raises(model, key):
    with pytest.raises(ValueError, match="version"):
        auto_attack(Linf(), epsilon=0.1, version="rand")
    with pytest.raises(ValueError, match="attacks must not be empty"):
        auto_attack(Linf(), epsilon=0.1, attacks=[])
    with pytest.raises(ValueError, match="untargeted"):
        auto_attack(Linf(), epsilon=0.1, attacks=[pgd(L2(), epsilon=0.1, targeted=True)])
    with pytest.raises(ValueError, match="attacks must be targeted"):
        auto_attack(Linf(), epsilon=0.1, attacks=MEMBERS, targeted=True)
    with pytest.raises(ValueError, match="epsilon"):
        auto_attack(Linf(), epsilon=-0.1, attacks=MEMBERS)
    with pytest.raises(ValueError, match="batch_size"):
        auto_attack(Linf(), epsilon=0.1, attacks=MEMBERS, batch_size=0)
    with pytest.raises(ValueError, match="targets"):
        ATTACK(*model, key, targets=_targets(model))
    with pytest.raises(ValueError, match="targets"):
        auto_attack(Linf(), epsilon=0.1, targeted=True)(*model, key)
    with pytest.raises(ValueError, match="images"):
        ATTACK(*model._replace(images=model.images + 1), key)


@pytest.mark.parametrize(
    "norm, epsilon",
    [
        (Linf(), 0.002),
        pytest.param(L2(), 0.02, marks=pytest.mark.slow),
        pytest.param(L1(), 0.1, marks=pytest.mark.slow),
    ],
)
def test_a_first_call_compiles_a_program_for_each_member_and_little_else(norm, epsilon, key):
    """Besides the clean images' and the keys'; what is done between the members is NumPy's."""
    model = attack_table.make_model("mlp", seed=3)
    attack = auto_attack(norm, epsilon=epsilon)
    few = [member.replace(num_steps=2) for member in attack.attacks]
    attack = attack.replace(attacks=tuple(few))
    jax.clear_caches()  # so that this test is the file's last
    with Compilations() as compilations:
        found = attack(*model, key)
    assert (~found.is_adversarial & found.clean_correct).any()  # each member was called
    programs = [name for name in compilations if not name.startswith("jit(stage)")]
    assert len(programs) <= len(few) + 4, programs
    others = attack_table.make_model("mlp", seed=4)
    with Compilations() as compilations:
        at_epsilon(attack, 0.9 * epsilon)(*others, key)
    assert not compilations

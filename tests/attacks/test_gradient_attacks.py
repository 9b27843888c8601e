"""Gradient attacks: exact cases on linear models, the state machine, failure as data, bad input."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from attack_checks import init, step
from attack_table import NUM_CLASSES, SHAPE, affine

from freqbias.attacks import (
    L2,
    Linf,
    affine_attack,
    bim,
    fgsm,
    mi_fgsm,
    momentum,
    optimizer_pgd,
    pgd,
)
from freqbias.typing import Status

cross_entropy = optax.softmax_cross_entropy_with_integer_labels

twins = pytest.mark.parametrize("norm", [L2(), pytest.param(Linf(), marks=pytest.mark.slow)])
norms = pytest.mark.parametrize("norm", [L2(), Linf()], ids=["l2", "linf"])


def _linear(num_classes, num_images=12, spread=0.1, dtype=np.float32):
    """An affine model, images away from the box, and its own predictions as labels."""
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(num_classes, *SHAPE)).astype(dtype) / 4
    images = (0.5 + spread * generator.uniform(-1, 1, (num_images, *SHAPE))).astype(dtype)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)  # so that every class is predicted
    return (beta, bias), images, np.argmax(affine((beta, bias), images), -1)


@norms
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.4])
def test_one_step_on_a_linear_model_is_the_exact_optimum(norm, epsilon, key):
    """Against the margin w, argmax of -<w, delta> over the ball, of norm epsilon and not less."""
    params, images, labels = _linear(2)
    found = fgsm(norm, epsilon=epsilon)(affine, params, images, labels, key)
    w = (params[0][labels] - params[0][1 - labels]).reshape(len(labels), -1)
    unit = np.sign(w) if norm == Linf() else w / np.linalg.norm(w, axis=1, keepdims=True)
    expected = -epsilon * unit.reshape(images.shape)
    np.testing.assert_allclose(found.delta, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.distance, epsilon, rtol=1e-6)
    np.testing.assert_array_equal(found.gradient_evaluations, 1)


def _pgd_at(norm, epsilons, params, images, labels, targets=None, **options):
    """PGD with an epsilon of its own for each image: success [N]."""

    @jax.jit
    def attack(epsilons, images, labels, keys, targets):
        def one(epsilon, image, label, key, target):
            attack = pgd(norm, epsilon=epsilon, num_steps=40, **options)
            target = None if targets is None else target[None]
            found = attack(affine, params, image[None], label[None], key, targets=target)
            return found.is_adversarial[0]

        return jax.vmap(one, in_axes=(0, 0, 0, 0, None if targets is None else 0))(
            epsilons, images, labels, keys, targets
        )

    keys = jax.random.split(jax.random.key(0), len(labels))
    return np.asarray(attack(epsilons, images, labels, keys, targets))


@twins
def test_pgd_succeeds_from_the_exact_radius_on(norm, x64):
    """The smallest epsilon of success against the closed form, from both sides."""
    params, images, labels = _linear(2, dtype=np.float64)
    radius = affine_attack(norm)(affine, params, images, labels).distance
    options = dict(bounds=None, random_start=False)
    assert _pgd_at(norm, (1 + 1e-6) * radius, params, images, labels, **options).all()
    assert not _pgd_at(norm, (1 - 1e-6) * radius, params, images, labels, **options).any()


@twins
def test_pgd_of_ten_classes_succeeds_from_the_exact_radius_on(norm, x64):
    """Untargeted ascent may follow a class that is not the nearest; aimed at that, none fails."""
    params, images, labels = _linear(10, dtype=np.float64)
    exact = affine_attack(norm)(affine, params, images, labels)
    nearest = np.argmax(affine(params, images + exact.delta), -1)
    data, free = (params, images, labels), dict(bounds=None, random_start=False, loss="margin")
    for targets, least in ((None, 0.75), (nearest, 1.0)):
        options = dict(targets=targets, targeted=targets is not None, **free)
        assert _pgd_at(norm, 1.02 * exact.distance, *data, **options).mean() >= least
        assert not _pgd_at(norm, (1 - 1e-6) * exact.distance, *data, **options).any()


@norms
def test_pgd_succeeds_from_the_exact_radius_of_the_box_on(norm, x64):
    """Bounds so tight that the box decides; random starts, which 40 steps bring to within 5 %."""
    params, images, labels = _linear(2, spread=0.5, dtype=np.float64)
    images, bounds = np.clip(images, 0.02, 0.9), (0.02, 0.9)
    labels = np.argmax(affine(params, images), -1)
    exact = affine_attack(norm, bounds=bounds)(affine, params, images, labels).distance
    free = affine_attack(norm)(affine, params, images, labels).distance
    assert (exact > 1.001 * free).mean() > 0.3  # the box decides something
    assert _pgd_at(norm, 1.05 * exact, params, images, labels, bounds=bounds).all()
    assert not _pgd_at(norm, (1 - 1e-6) * exact, params, images, labels, bounds=bounds).any()


@twins
def test_host_and_scan_are_the_same_attack(norm, key):
    model = attack_table.make_model("mlp")
    found = {
        driver: pgd(norm, epsilon=0.1, num_steps=4, num_restarts=2, driver=driver)(*model, key)
        for driver in ("host", "scan")
    }
    np.testing.assert_allclose(found["host"].delta, found["scan"].delta, atol=1e-5)
    for name in ("is_adversarial", "status", "gradient_evaluations"):
        np.testing.assert_array_equal(*(getattr(found[d], name) for d in ("host", "scan")))


def test_the_state_machine_by_hand_is_the_call(key):
    """init, step through the phases of the program, finalize: stop and resume anywhere."""
    model = attack_table.make_model("mlp")
    attack = pgd(L2(), epsilon=0.25, num_steps=3, driver="host")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(model.labels.size))
    state = init(attack, *model, keys)
    assert not state.best.delta.any() and int(state.restart) == 0
    (loop,) = attack.program(attack_table.NUM_CLASSES)
    start, ascent, score = loop.parts
    assert (loop.times, start.times, ascent.times, score.times) == (1, 1, 3, 1)
    state = step(attack, *model, state, start)
    assert int(state.step) == 0
    radius = jax.vmap(L2().value)(state.delta)
    assert (radius > 0).all() and (radius <= 0.25 * (1 + 1e-6)).all()  # starts lie in the ball
    assert (model.images + state.delta).min() >= 0  # and in the box
    assert jnp.unique(radius).size == radius.size  # each image has its own
    losses = [state.best.score]
    for index in range(3):
        state = step(attack, *model, state, ascent)
        losses.append(state.best.score)
        assert int(state.step) == index + 1
    state = step(attack, *model, state, score)
    found = attack.finalize(state)
    assert (np.diff(losses, axis=0)[1:] >= 0)[:, np.asarray(state.best.is_adversarial)].all()
    np.testing.assert_allclose(found.delta, attack(*model, key).delta, atol=1e-5)


def _bump(params, images):
    """Class 1 wins only for a pixel within 0.05 of 0.6."""
    x = images[:, 0, 0, 0]
    return jnp.stack([jnp.zeros_like(x), 1 - params * (x - 0.6) ** 2], axis=-1)


def test_the_best_iterate_is_returned_not_the_last(key):
    """The step jumps 0.5, 0.62, 0.5: the last iterate is clean again."""
    image, label = np.full((1, 1, 1, 1), 0.5, np.float32), np.array([0])
    attack = pgd(Linf(), epsilon=0.3, step_size=0.12, num_steps=2, random_start=False)
    found = attack(_bump, jnp.float32(400), image, label, key)
    np.testing.assert_allclose(found.delta, 0.12, rtol=1e-5)
    assert found.is_adversarial[0]


def test_the_schedule_scales_each_step(key):
    """On a linear model the steps add up: 0.02 x (1 + 1 + 1 + 1/2 + 1/2)."""
    params, images, labels = _linear(2)
    attack = pgd(
        L2(),
        epsilon=1.0,
        step_size=0.02,
        num_steps=5,
        random_start=False,
        schedule=attack_table.halving,
    )
    found = attack(affine, params, images, labels, key)
    np.testing.assert_allclose(found.distance, 0.08, rtol=1e-5)


def test_default_step_size_is_two_and_a_half_radii_in_all():
    attack = pgd(L2(), epsilon=0.4, num_steps=20)
    np.testing.assert_allclose(attack.step_size * attack.num_steps, 2.5 * 0.4)


@pytest.mark.parametrize("norm", [Linf(), pytest.param(L2(), marks=pytest.mark.slow)])
def test_shifting_data_and_network_together_changes_nothing(norm, key):
    """Without the box, only differences of pixels matter."""
    (beta, bias), images, labels = _linear(2)
    shifted = (beta, bias - 0.25 * beta.sum((1, 2, 3)))
    attack = pgd(norm, epsilon=0.2, num_steps=5, bounds=None)
    expected = attack(affine, (beta, bias), images, labels, key)
    found = attack(affine, shifted, images + np.float32(0.25), labels, key)
    np.testing.assert_allclose(found.delta, expected.delta, atol=1e-6)


def test_bounds_may_be_any_interval(key):
    """Pixels in 0..255, and a box that leaves them no room to one side."""
    params, images, labels = _linear(2)
    images = 255 * images
    bounds = float(images.min()), 255.0
    found = pgd(Linf(), epsilon=30.0, num_steps=5, bounds=bounds)(
        affine, params, images, labels, key
    )
    returned = images + np.asarray(found.delta)
    np.testing.assert_allclose(found.distance, 30.0)
    np.testing.assert_allclose(returned.min(), bounds[0], rtol=1e-6)


def test_targeted_attacks_reach_their_targets(key):
    model = attack_table.make_model("mlp")
    targets = (model.labels + 2) % NUM_CLASSES
    attack = pgd(L2(), epsilon=3.0, num_steps=20, targeted=True)
    found = attack(*model, key, targets=targets)
    prediction = np.argmax(model.apply_fn(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(found.is_adversarial, prediction == targets)
    assert found.is_adversarial.mean() > 0.8


@pytest.mark.slow
def test_a_loss_may_be_a_function(key):
    model = attack_table.make_model("mlp")
    named, passed = (
        pgd(L2(), epsilon=0.25, num_steps=4, loss=loss)(*model, key)
        for loss in ("cross_entropy", cross_entropy)
    )
    np.testing.assert_allclose(named.delta, passed.delta, atol=1e-5)


def test_a_tie_is_the_first_class_and_falls_to_the_smallest_budget(key):
    (beta, bias), images, _ = _linear(2)
    images = np.zeros_like(images)  # logits 0 and 0, exactly
    labels = np.arange(len(images)) % 2
    found = fgsm(L2(), epsilon=1e-4)(affine, (beta, 0 * bias), images, labels, key)
    np.testing.assert_array_equal(found.clean_correct, labels == 0)
    np.testing.assert_array_equal(found.flipped, labels == 0)
    assert found.is_adversarial.all()


def _nan_when_marked(params, images):
    """Affine, but NaN for every image whose first pixel is above 0.9."""
    return jnp.where(images[:, 0, 0, :1] > 0.9, jnp.nan, affine(params, images))


def test_one_nan_does_not_spread_over_the_batch(key):
    """Clean NaN, NaN met on the way, and images that meet none."""
    params, images, labels = _linear(2)
    attack = pgd(Linf(), epsilon=0.1, num_steps=5, bounds=None)
    expected = attack(affine, params, images, labels, key)
    images = images.copy()
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 0.95, 0.85
    w = params[0][labels] - params[0][1 - labels]
    labels = np.array(labels)
    labels[1] = labels[1] if w[1, 0, 0, 0] < 0 else 1 - labels[1]  # pixel 0 of image 1 grows
    found = attack(_nan_when_marked, params, images, labels, key)
    np.testing.assert_array_equal(found.status[:2], Status.DIVERGED)
    np.testing.assert_array_equal(found.status[2:], Status.OK)
    assert jnp.isfinite(found.delta).all() and not found.clean_correct[0]
    assert jnp.isfinite(_nan_when_marked(params, images[1:] + found.delta[1:])).all()
    np.testing.assert_allclose(found.delta[2:], expected.delta[2:], atol=1e-6)


def _flat_below_half(params, images):
    """No gradient at or below 0.5; class 1 wins from 0.6 on."""
    x = images[:, 0, 0, 0]
    return jnp.stack([params + 0.1 + jnp.zeros_like(x), jax.nn.relu(x - 0.5)], axis=-1)


def test_a_random_start_may_leave_a_plateau(key):
    """DEAD means that no gradient of the whole search was other than zero."""
    images, labels = np.full((8, 1, 1, 1), 0.5, np.float32), np.zeros(8, int)
    attack = pgd(Linf(), epsilon=0.3, num_steps=10, num_restarts=3)
    found = attack(_flat_below_half, jnp.float32(0), images, labels, key)
    alive = np.asarray(found.status) == Status.OK
    assert alive.mean() > 0.5  # 7 of 8 expected: each start leaves it with probability 1/2
    np.testing.assert_array_equal(found.status[~alive], Status.DEAD)
    np.testing.assert_array_equal(found.is_adversarial, alive)


def test_float64_in_float64_out(x64):
    model = attack_table.make_model("affine")
    params, images = jax.tree.map(lambda a: a.astype(jnp.float64), (model.params, model.images))
    attack = pgd(L2(), epsilon=0.25, num_steps=2)
    found = attack(affine, params, images, model.labels, jax.random.key(0))
    assert found.delta.dtype == jnp.float64 and found.distance.dtype == jnp.float64
    single = jax.tree.map(lambda a: a.astype(jnp.float32), params)
    with pytest.raises(TypeError, match="float64"):
        attack(affine, single, images, model.labels, jax.random.key(0))


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(step_size=0.0), ValueError, "step_size"),
        (dict(step_size=-0.1), ValueError, "step_size"),
        (dict(epsilon=np.ones(3)), ValueError, "epsilon"),
        (dict(num_steps=0), ValueError, "num_steps"),
        (dict(num_steps=2.0), TypeError, "num_steps"),
        (dict(num_restarts=0), ValueError, "num_restarts"),
        (dict(loss="hinge"), ValueError, "cross_entropy"),
        (dict(driver="loop"), ValueError, "driver"),
        (dict(bounds=(1.0, 0.0)), ValueError, "bounds"),
        (dict(bounds=(0.0, 0.0)), ValueError, "bounds"),
        (dict(bounds=(0.0,)), TypeError, "bounds"),
    ],
)
def test_bad_options_raise_where_the_attack_is_made(options, error, words):
    with pytest.raises(error, match=words):
        pgd(L2(), **({"epsilon": 0.1} | options))


@pytest.mark.parametrize(
    "targets, error, words",
    [
        (np.zeros(12, np.float32), TypeError, "targets"),
        (np.full(12, NUM_CLASSES), ValueError, "targets"),
        (np.zeros(5, int), ValueError, "targets"),
        ("labels", ValueError, "differ from labels"),
    ],
)
def test_bad_targets_raise(targets, error, words, key):
    model = attack_table.make_model("mlp")
    targets = model.labels if isinstance(targets, str) else targets
    with pytest.raises(error, match=words):
        pgd(L2(), epsilon=0.1, targeted=True)(*model, key, targets=targets)


@pytest.mark.parametrize(
    "bad, error",
    [(jnp.zeros(2, jnp.uint32), TypeError), (0, TypeError)],
    ids=["legacy", "int"],
)
def test_bad_keys_raise(bad, error):
    with pytest.raises(error, match=r"jax\.random\.key"):
        pgd(L2(), epsilon=0.1)(*attack_table.make_model("mlp"), bad)
    with pytest.raises(ValueError, match="one per image"):
        pgd(L2(), epsilon=0.1)(*attack_table.make_model("mlp"), jax.random.split(jax.random.key(0)))


def test_momentum_accumulates_gradients_of_norm_one(key):
    """m_k = decay m_{k-1} + g_k / |g_k|_1 by hand, with a step along m_k.

    On a quadratic bowl the gradient turns, so that the momentum matters.
    """
    decay, epsilon, num_steps = 0.7, 0.3, 6
    images = np.full((1, 2, 1, 1), 0.5, np.float32)
    attack = mi_fgsm(
        L2(), epsilon=epsilon, num_steps=num_steps, decay=decay, loss=_first, bounds=None
    )
    state = init(attack, _ring, CURVATURE, images, np.zeros(1, int), jax.random.split(key, 1))
    (loop,) = attack.program(2)
    _, ascent, _ = loop.parts
    delta, memory = np.zeros(2), np.zeros(2)
    for _ in range(num_steps):
        state = step(attack, _ring, CURVATURE, images, np.zeros(1, int), state, ascent)
        gradient = np.array([1.0, -3.0]) - 2 * CURVATURE * delta
        memory = decay * memory + gradient / np.abs(gradient).sum()
        delta = delta + epsilon / num_steps * memory / np.linalg.norm(memory)
        np.testing.assert_allclose(state.delta.ravel(), delta, rtol=1e-5, atol=1e-6)


CURVATURE = np.array([30.0, 2.0], np.float32)


def _ring(params, images):
    """Logit 0 is a paraboloid of (pixel - 0.5) that rises to one side, logit 1 is zero."""
    x = images[:, :, 0, 0] - 0.5
    rise = x @ jnp.array([1.0, -3.0]) - (x**2) @ params
    return jnp.stack([rise, jnp.zeros_like(rise)], axis=-1)


def _first(logits, labels):
    """A loss: logit 0, whatever the label."""
    return logits[:, 0]


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(0.02),
        optax.sgd(0.5, momentum=0.9, nesterov=True),
        optax.chain(optax.clip_by_global_norm(0.01), optax.rmsprop(0.02)),
        optax.scale_by_lbfgs(),
    ],
    ids=["adamw", "nesterov", "clipped rmsprop", "lbfgs without line search"],
)
def test_other_optimisers_climb_too(optimizer, key):
    model = attack_table.make_model("mlp")
    options = {"num_steps": 5, "random_start": False}
    found = optimizer_pgd(Linf(), optimizer, epsilon=0.05, **options)(*model, key)
    clean, moved = (
        cross_entropy(attack_table.mlp(model.params, images), model.labels)
        for images in (model.images, model.images + found.delta)
    )
    assert np.all(moved >= clean) and np.mean(moved - clean) > 0.01


def test_an_optimiser_takes_its_own_steps_on_delta(key):
    """Adam by optax's own loop on one image; and alone as in a batch: no state is shared."""
    images = np.full((3, 2, 1, 1), 0.5, np.float32)
    images[1:] += np.random.default_rng(0).uniform(-0.2, 0.2, (2, 2, 1, 1)).astype(np.float32)
    adam, labels = optax.adam(0.02), np.zeros(3, int)
    attack = optimizer_pgd(
        Linf(), adam, epsilon=0.05, num_steps=8, loss=_first, random_start=False, num_restarts=2
    )
    keys = jax.random.split(key, 3)
    state = init(attack, _ring, CURVATURE, images, labels, keys)
    (loop,) = attack.program(2)
    start, ascent, _ = loop.parts

    @jax.jit
    def adam_of_one(image, state):
        return adam.update(-jax.grad(lambda x: _ring(CURVATURE, x[None])[0, 0])(image), state)

    deltas, inner = np.zeros_like(images), [adam.init(image) for image in images]
    for _ in range(8):
        state = step(attack, _ring, CURVATURE, images, labels, state, ascent)
        for index, image in enumerate(images):
            update, inner[index] = adam_of_one(image + deltas[index], inner[index])
            deltas[index] = np.clip(deltas[index] + update, -0.05, 0.05)
        np.testing.assert_allclose(state.delta, deltas, rtol=1e-4, atol=1e-6)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(state.inner))
    state = step(attack, _ring, CURVATURE, images, labels, state, start)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.inner))  # a restart is afresh


@pytest.mark.parametrize("norm", [Linf(), pytest.param(L2(), marks=pytest.mark.slow)])
def test_momentum_of_shifted_data_is_the_same(norm, key):
    """The trap of mixing the image into the momentum of the perturbation."""
    model = attack_table.make_model("mlp")
    (weight, bias), last = model.params
    shifted = (weight, bias - 0.25 * weight.sum(0)), last
    attack = mi_fgsm(norm, epsilon=0.2, num_steps=5, bounds=None)
    expected = attack(*model, key)
    moved = model._replace(params=shifted, images=model.images + 0.25)
    np.testing.assert_allclose(attack(*moved, key).delta, expected.delta, atol=1e-5)


def test_bim_is_pgd_from_zero(key):
    model = attack_table.make_model("mlp")
    expected = pgd(Linf(), epsilon=0.03, num_steps=10, random_start=False)(*model, key)
    np.testing.assert_array_equal(bim(Linf(), epsilon=0.03)(*model, key).delta, expected.delta)


def test_bad_transformations_raise():
    with pytest.raises(ValueError, match="decay"):
        mi_fgsm(L2(), epsilon=0.1, decay=-1.0)
    with pytest.raises(ValueError, match="num_steps"):
        mi_fgsm(L2(), epsilon=0.1, num_steps=0)
    with pytest.raises(TypeError, match="optimizer"):
        optimizer_pgd(L2(), "adam", epsilon=0.1)
    for optimizer in (optax.lbfgs(), optax.polyak_sgd()):  # search along the loss
        with pytest.raises(TypeError, match="optimizer must update from the gradient"):
            optimizer_pgd(L2(), optimizer, epsilon=0.1)
    assert momentum(0.5) is momentum(0.5)

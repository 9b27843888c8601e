"""Auto-PGD against a reference in NumPy, step by step, and against closed forms."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, affine, mlp

from freqbias.attacks import L1, L2, Linf, affine_attack, apgd, square
from freqbias.attacks.apgd import checkpoints

NUM_STEPS = 30


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper():
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1000)[:2] == (220, 410)
    assert checkpoints(1) == (1,) and checkpoints(3) == (1, 2, 3)


class Reference:
    """One image, one start, by the formulas of the papers; keeps every iterate that was asked."""

    def __init__(self, norm, epsilon, image, loss_and_gradient, stages=((1, 1.0),)):
        self.norm, self.epsilon, self.stages = norm, epsilon, stages
        self.low, self.high = -image, 1 - image
        self.ask = loss_and_gradient

    def size(self, delta):
        order = {L1(): 1, L2(): 2, Linf(): np.inf}[self.norm]
        return np.linalg.norm(delta, order)

    def project(self, delta):
        """The nearest point of ball and box by bisection on the Lagrange multiplier."""
        if self.norm == Linf():
            delta = np.clip(delta, -self.epsilon, self.epsilon)

        def point(t):
            if self.norm == L1():
                delta_t = np.sign(delta) * np.maximum(np.abs(delta) - t, 0)
            else:
                delta_t = delta / (1 + t)
            return np.clip(delta_t, self.low, self.high)

        if self.norm == Linf() or self.size(point(0)) <= self.epsilon:
            return point(0)
        below, above = 0.0, 1e3
        for _ in range(200):
            middle = (below + above) / 2
            if self.size(point(middle)) > self.epsilon:
                below = middle
            else:
                above = middle
        return point(above)

    def run(self, start, num_steps):
        """Iterates [num_steps + 1, D], the start first, and how often the rule struck."""
        return self.run_l1(start, num_steps) if self.norm == L1() else self.run_lp(start, num_steps)

    def run_lp(self, start, num_steps):
        """2003.01690, algorithm 1."""
        shares = [0, 0.22]
        while shares[-1] < 1:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        marks = [int(np.ceil(np.round(share * num_steps, 9))) for share in shares]
        x, f, eta, asked = [start], [], 2 * self.epsilon, [start]
        f_max, x_max, g_max = -np.inf, None, None
        log = {0: (eta, self.ask(start)[0])}  # at each checkpoint: eta and f_max
        reduced, before, halvings = False, 0, 0
        for k in range(num_steps):
            value, gradient = self.ask(x[k])
            f.append(value)
            if value > f_max:
                f_max, x_max, g_max = value, x[k], gradient
            here = x[k]
            if k > 0 and k in marks:
                rises = sum(f[i + 1] > f[i] for i in range(before, k))
                first = rises < 0.75 * (k - before)
                second = not reduced and log[before][1] == f_max
                reduced = first or second
                if reduced:
                    eta, here, gradient = eta / 2, x_max, g_max
                    halvings += 1
                log[k], before = (eta, f_max), k
            if self.norm == Linf():
                ascent = np.sign(gradient)
            else:
                ascent = gradient / np.linalg.norm(gradient)
            z = self.project(here + eta * ascent)
            if k == 0:
                x.append(z)
            else:
                x.append(self.project(here + 0.75 * (z - here) + 0.25 * (here - x[k - 1])))
            asked.append(x[-1])
            x[k] = here  # what the next momentum looks back at
        return np.array(asked), halvings

    def run_l1(self, start, num_steps):
        """2103.01208: algorithm 1 in one ball after the other."""
        asked, resets, target, x_max = [start], 0, self.epsilon, None
        lengths = [int(np.floor(share * num_steps + 1e-9)) for _, share in self.stages[:-1]]
        lengths.append(num_steps - sum(lengths))
        for stage, ((factor, _), length) in enumerate(zip(self.stages, lengths, strict=True)):
            self.epsilon = factor * target
            if stage == 0:
                k = 0.2 * start.size
            else:
                asked.append(self.project(x_max))
                k = np.count_nonzero(asked[-1]) / 1.5
            eta, f_max = self.epsilon, -np.inf
            for i in range(length):
                here = asked[-1]
                value, gradient = self.ask(here)
                if value > f_max:
                    f_max, x_max, g_max = value, here, gradient
                if i > 0 and i % max(int(0.04 * length), 1) == 0:
                    old, k = k, np.count_nonzero(x_max) / 1.5
                    if k / old >= 0.95:
                        eta = max(eta / 1.5, self.epsilon / 10)
                    else:
                        eta, here, gradient = self.epsilon, x_max, g_max
                        resets += 1
                if i == length - 1 and stage < len(lengths) - 1:
                    break  # the next ball begins at the best of this one
                largest = np.argsort(-np.abs(gradient), kind="stable")[: max(int(k), 1)]
                s = np.zeros_like(gradient)
                s[largest] = np.sign(gradient[largest])
                asked.append(self.project(here + eta * s / np.abs(s).sum()))
        return np.array(asked), resets


def _wavy(params, images):
    """A rough landscape, so that step sizes are halved at some checkpoints and not at others."""
    weight, last = params
    return jnp.sin(3 * images.reshape(images.shape[0], -1) @ weight) @ last


def _double(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


MULTI_EPSILON = ((3, 0.3), (2, 0.3), (1, 0.4))


@pytest.mark.parametrize(
    "norm, epsilon, stages",
    [
        (Linf(), 0.08, ((1, 1.0),)),
        (L2(), 0.6, ((1, 1.0),)),
        (L1(), 5.0, ((1, 1.0),)),
        (L1(), 2.0, MULTI_EPSILON),
    ],
)
def test_every_iterate_is_that_of_the_reference(norm, epsilon, stages, x64):
    """Pixels at 0 and 1 as well; the rules must have been used, else this shows little."""
    generator = np.random.default_rng(0)
    params = generator.normal(size=(60, 16)) / 4, generator.normal(size=(16, 4))
    images = generator.uniform(-0.2, 1.2, (5, *SHAPE)).clip(0, 1)
    labels = np.argmax(_wavy(params, images), -1)
    multi_epsilon = stages is MULTI_EPSILON
    attack = apgd(
        norm, epsilon=epsilon, num_steps=NUM_STEPS, loss="margin", multi_epsilon=multi_epsilon
    )
    keys = jax.random.split(jax.random.key(0), 5)
    ((start, ascent, _), _) = attack.program(4)[0]
    rows = jax.tree.map(jnp.asarray, (params, images, labels))

    @jax.jit
    def trajectory(params, images, labels):
        def step(state, _):
            new = attack.step(_wavy, params, images, labels, state, ascent)
            return new, new.delta

        state = attack.init(_wavy, params, images, labels, keys)
        state = attack.step(_wavy, params, images, labels, state, start)
        return state.delta, jax.lax.scan(step, state, length=NUM_STEPS)[1]

    @jax.jit
    def ask(image, label, delta):
        def loss(delta):
            logits = _wavy(params, (image + delta)[None])[0]
            return jnp.max(jnp.where(jnp.arange(4) == label, -jnp.inf, logits)) - logits[label]

        return jax.value_and_grad(loss)(delta)

    starts, deltas = trajectory(*rows)
    events = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):

        def ask_flat(delta, image=image, label=label):
            value, gradient = ask(image, label, delta.reshape(SHAPE))
            return float(value), np.asarray(gradient).ravel()

        reference = Reference(norm, epsilon, image.ravel(), ask_flat, stages)
        expected, count = reference.run(np.asarray(starts[index]).ravel(), NUM_STEPS)
        events.append(count)
        found = np.asarray(deltas[:, index]).reshape(NUM_STEPS, -1)
        np.testing.assert_allclose(found, expected[1:], atol=1e-7, err_msg=f"image {index}")
    assert max(events) >= 2 and len(set(events)) > 1  # images adapt, and each in its own way


def _linear(num_classes, dtype=np.float64):
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(num_classes, *SHAPE)).astype(dtype) / 4
    images = (0.5 + 0.1 * generator.uniform(-1, 1, (8, *SHAPE))).astype(dtype)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    return (beta, bias), images, np.argmax(affine((beta, bias), images), -1)


@pytest.mark.parametrize(
    "norm", [L2(), *(pytest.param(norm, marks=pytest.mark.slow) for norm in (Linf(), L1()))]
)
def test_aimed_at_every_class_it_succeeds_from_the_exact_radius_on(norm, x64):
    """A linear model of five classes: no step size was chosen, each image has its own radius."""
    params, images, labels = _linear(5)
    radius = affine_attack(norm)(affine, params, images, labels).distance

    @jax.jit
    def successes(epsilons):
        def one(epsilon, image, label, key):
            attack = apgd(
                norm, epsilon=epsilon, num_steps=40, loss="margin", num_targets=4, bounds=None
            )
            return attack(affine, params, image[None], label[None], key).is_adversarial[0]

        keys = jax.random.split(jax.random.key(0), len(labels))
        return jax.vmap(one)(epsilons, jnp.asarray(images), jnp.asarray(labels), keys)

    assert successes(1.02 * radius).all()
    assert not successes((1 - 1e-6) * radius).any()


def test_each_start_is_aimed_at_another_class_the_likeliest_first(key):
    """And only at classes that are there: two classes have one other."""
    model = attack_table.make_model("mlp")
    attack = apgd(L2(), epsilon=0.1, num_steps=1, num_targets=9, num_restarts=2, loss="dlr")
    (loop,) = attack.program(4)
    assert loop.times == 3 * 2 and attack.program(2)[0].times == 2
    keys = jax.random.split(key, len(model.labels))
    state = jax.jit(attack.init, static_argnums=0)(*model, keys)
    step = jax.jit(attack.step, static_argnums=(0, 5))
    logits = np.array(model.apply_fn(model.params, model.images))
    logits[np.arange(len(logits)), model.labels] = -np.inf
    expected = np.argsort(-logits, axis=-1)[:, :3]
    for start in range(4):
        for phase in loop.parts:
            state = step(*model, state, phase)
            np.testing.assert_array_equal(state.goal[1], expected[:, start % 3])
    np.testing.assert_array_equal(state.best.gradient_evaluations, 4)


@pytest.mark.parametrize("num_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_few_classes(num_classes, key):
    """Where DLR is undefined it says so; what is defined works."""
    params, images, labels = _linear(num_classes, np.float32)
    aimed = dict(epsilon=2.0, num_steps=3, num_targets=9)
    with pytest.raises(ValueError, match=f"at least 4 classes; got {num_classes}"):
        apgd(L2(), loss="dlr", **aimed)(affine, params, images, labels, key)
    found = apgd(L2(), loss="margin", **aimed)(affine, params, images, labels, key)
    assert found.is_adversarial.all()
    np.testing.assert_array_equal(found.gradient_evaluations, 3 * (num_classes - 1))


@pytest.mark.parametrize(
    "make, num_steps", [(apgd, 20), pytest.param(square, 100, marks=pytest.mark.slow)]
)
def test_a_tie_is_the_first_class_and_falls_to_the_smallest_budget(make, num_steps, key):
    """Images on the boundary: logits 0 and 0, exactly. A random search needs some queries."""
    (beta, bias), images, _ = _linear(2, np.float32)
    images, labels = np.zeros_like(images), np.arange(len(images)) % 2
    attack = make(L2(), epsilon=1e-4, num_steps=num_steps, bounds=None)
    found = attack(affine, (beta, 0 * bias), images, labels, key)
    np.testing.assert_array_equal(found.clean_correct, labels == 0)
    np.testing.assert_array_equal(found.flipped, labels == 0)


@pytest.mark.parametrize(
    "norm, epsilon, loss",
    [
        (L1(), 12.0, "dlr"),
        *(
            pytest.param(norm, epsilon, loss, marks=pytest.mark.slow)
            for norm, epsilon, loss in [
                (L1(), 12.0, "cross_entropy"),
                (L2(), 3.0, "cross_entropy"),
                (L2(), 3.0, "dlr"),
            ]
        ),
    ],
)
def test_user_targets_are_reached(norm, epsilon, loss, key):
    model = attack_table.make_model("mlp")
    targets = (model.labels + 2) % 4
    attack = apgd(norm, epsilon=epsilon, num_steps=20, targeted=True, loss=loss)
    found = attack(*model, key, targets=targets)
    prediction = np.argmax(mlp(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(found.is_adversarial, prediction == targets)
    assert found.is_adversarial.mean() > 0.8


@pytest.mark.parametrize(
    "num_steps, bounds",
    [(10, (0.0, 1.0)), *(pytest.param(n, None, marks=pytest.mark.slow) for n in (1, 4))],
)
def test_larger_balls_are_searched_but_never_returned(num_steps, bounds, key):
    """With and without the box; of a search of one step, only the last ball is left."""
    model = attack_table.make_model("mlp")
    attack = apgd(L1(), epsilon=0.5, num_steps=num_steps, multi_epsilon=True, bounds=bounds)
    found = attack(*model, key)
    assert (found.distance <= 0.5 * (1 + 1e-6)).all()
    np.testing.assert_array_equal(found.gradient_evaluations, num_steps)
    assert found.is_adversarial[:-2].any()
    prediction = np.argmax(mlp(model.params, model.images + found.delta), -1)
    np.testing.assert_array_equal(found.is_adversarial, prediction != model.labels)


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(num_targets=0), ValueError, "num_targets"),
        (dict(num_targets=2, targeted=True), ValueError, "num_targets"),
        (dict(num_steps=0), ValueError, "num_steps"),
        (dict(num_restarts=1.0), TypeError, "num_restarts"),
        (dict(epsilon=np.ones(3)), ValueError, "epsilon"),
        (dict(loss="hinge"), ValueError, "dlr"),
        (dict(multi_epsilon=True), ValueError, "multi_epsilon"),
        (dict(norm=L1(), multi_epsilon=2), TypeError, "multi_epsilon"),
    ],
)
def test_bad_options_raise_where_the_attack_is_made(options, error, words):
    with pytest.raises(error, match=words):
        apgd(**({"norm": L2(), "epsilon": 0.1} | options))

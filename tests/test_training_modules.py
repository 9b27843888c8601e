"""Any Linen module that is a pure function of (params, images) trains; others are refused."""

import types
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from freqbias import ensemble, ops, training
from freqbias.training import course
from freqbias.typing import Status

SHAPE = (6, 5, 2)
KEY = jax.random.key(0)


class Bare(nn.Module):
    """None of our attributes, and no settings."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.tanh(nn.Dense(7)(x.reshape(len(x), -1))))


class OtherMeanings(nn.Module):
    """Attributes named as ours, which mean something else and matter in ``apply``."""

    affine: bool = True
    init_scale: float = 3.0
    mirrored: bool = True
    num_classes: str = "three"

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.init_scale * nn.Dense(5)(x.reshape(len(x), -1)))
        return nn.Dense(3)(jnp.concatenate([x, -x], axis=1) if self.mirrored else x)


class Normalized(nn.Module):
    """Group normalisation keeps no statistics; dropout that is off draws nothing."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.GroupNorm(num_groups=2)(x))
        x = nn.Dropout(0.5, deterministic=True)(x)
        return nn.Dense(3)(x.mean(axis=(1, 2)))


class WithConstants(nn.Module):
    """A fixed random projection, drawn by ``init`` into a collection of its own."""

    @nn.compact
    def __call__(self, x):
        def draw():
            return jax.random.normal(self.make_rng("params"), (60, 8))

        fixed = self.variable("constants", "projection", draw)
        return nn.Dense(3)(nn.relu(x.reshape(len(x), -1) @ fixed.value))


class WithArray(nn.Module):
    """An attribute that cannot be hashed."""

    offset: Any

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Dense(6)((x - self.offset).reshape(len(x), -1))))


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dense(4)(x.reshape(len(x), -1)))


MODULES = {
    "bare": Bare(),
    "other meanings": OtherMeanings(),
    "normalized": Normalized(),
    "constants": WithConstants(),
    "array": WithArray(np.full((1, *SHAPE), 0.5, np.float32)),
    "linear": Linear(),
    "sequential": nn.Sequential(
        [lambda x: x.reshape(len(x), -1), nn.Dense(6), nn.relu, nn.Dense(3)]
    ),
}


def make_split(num=48):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(num, *SHAPE)).astype(np.float32)
    return types.SimpleNamespace(images=images, labels=np.arange(num, dtype=np.int32) % 3)


def train(model, **changes):
    settings = {"seeds": (0, 4), "key": KEY, "epochs": 2, "batch_size": 16}
    return training.train(model, make_split(), **{**settings, **changes})


@pytest.mark.parametrize("name", MODULES)
def test_it_trains_as_a_loop_by_hand(name):
    """Step by step with Flax and optax alone, on ``params`` alone."""
    model, split, optimizer = MODULES[name], make_split(), training.sgd(0.1, 0.9, 1.0, 0.1)
    nets = train(model, optimizer=optimizer)
    assert (nets.status == Status.OK).all()
    plan = course.Plan(total=48, num_images=48, batch_size=16, epochs=2)
    order = np.asarray(course.batches_of(plan, ensemble.seed_keys(KEY, nets.seeds)))[1]
    start = training.initial_params(model, SHAPE, seeds=nets.seeds, key=KEY)
    variables, found = ensemble.select((start, nets.params), 1)
    params = variables.pop("params")

    @jax.jit
    def step(params, moments, images, labels):
        def loss(params):
            logits = model.apply({"params": params, **variables}, images)
            return training.cross_entropy(logits, labels).mean()

        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    moments = jax.jit(optimizer.init)(params)
    for batch in order:
        params, moments = step(params, moments, split.images[batch], split.labels[batch])
    trained = found.pop("params")
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), trained, params)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_the_optimizer_sees_params_alone():
    seen = []

    def init(params):
        seen.append(params)
        return optax.EmptyState()

    stateless = optax.GradientTransformation(init, lambda updates, state, params: (updates, state))
    train(WithConstants(), optimizer=stateless)
    assert [set(params) for params in seen] == [{"Dense_0"}]


def test_linear_networks_are_known_by_their_operations():
    def is_affine(name):
        model = MODULES[name]
        params = jax.eval_shape(model.init, KEY, jnp.zeros((1, *SHAPE)))
        return ops.is_affine(model.apply, params, SHAPE)

    assert [name for name in MODULES if is_affine(name)] == ["linear"]


class Batched(nn.Module):
    average: bool

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=self.average)(x.reshape(len(x), -1))
        return nn.Dense(3)(x)


class Counting(nn.Module):
    """Writes to a collection when it is allowed to."""

    @nn.compact
    def __call__(self, x):
        calls = self.variable("counters", "calls", lambda: jnp.zeros(()))
        if self.is_mutable_collection("counters") and not self.is_initializing():
            calls.value += 1
        return nn.Dense(3)(x.reshape(len(x), -1))


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=False)(x.reshape(len(x), -1)))


class NoLogits(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Batched(average=False), r"to write to \['batch_stats'\] .* nn\.GroupNorm"),
        (Batched(average=True), r"to write to \['batch_stats'\]"),
        (Counting(), r"to write to \['counters'\]"),
        (Dropping(), "draws at random"),
        (NoLogits(), r"logits \[N, K\]; .* came shape \(2, 6, 5, 3\)"),
        (nn.Sequential([lambda x: x.mean(axis=(1, 2))]), "model must have parameters"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        train(model)
    batch = (make_split().images, make_split().labels)
    with pytest.raises(ValueError, match=message):
        training.train_on_batches(model, [batch], seeds=[0], key=KEY)


def test_labels_are_checked_against_the_logits():
    split = make_split()
    split.labels[5] = 3
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2; got values in 0\.\.3"):
        training.train(Bare(), split, seeds=[0], key=KEY, batch_size=16)

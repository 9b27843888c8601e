"""Training S networks at once: the same numbers by every route, and failures as statuses."""

import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from freqbias import ensemble, models, training
from freqbias.training import course, loop
from freqbias.typing import Status

SHAPE = (6, 6, 1)


def make_split(num=96, num_classes=3, dtype=np.float32):
    """Images whose class is a bright row: learnable in a few steps."""
    rng = np.random.default_rng(0)
    labels = np.arange(num, dtype=np.int32) % num_classes
    images = rng.uniform(0, 0.5, (num, *SHAPE))
    images[np.arange(num), labels] += 0.4
    return types.SimpleNamespace(images=images.astype(dtype), labels=labels)


def conv(**settings):
    return models.ConvNet(**{"num_classes": 3, "channels": 4, **settings})


def train(model, **changes):
    settings = {"seeds": range(3), "key": jax.random.key(0), "epochs": 2, "batch_size": 16}
    return training.train(model, make_split(), **{**settings, **changes})


def leaves_close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_one_step_by_hand():
    """One step of SGD without momentum on logistic regression, in NumPy."""
    model = models.FullyConnected(num_classes=3, depth=0)
    split = make_split(num=16)
    nets = train_on(split, model, optimizer=training.sgd(0.1, 0.0), epochs=1)
    start = training.initial_params(model, SHAPE, seeds=[0], key=jax.random.key(0))
    kernel, bias = (
        np.asarray(start["params"]["head"]["readout"][n][0]) for n in ("kernel", "bias")
    )
    x = split.images.reshape(16, -1)
    error = np.exp(log_softmax(x @ kernel + bias, axis=1)) - np.eye(3)[split.labels]
    found = nets.params["params"]["head"]["readout"]
    np.testing.assert_allclose(found["kernel"][0], kernel - 0.1 * x.T @ error / 16, atol=1e-6)
    np.testing.assert_allclose(found["bias"][0], -0.1 * error.mean(axis=0), atol=1e-6)


def train_on(split, model, **settings):
    defaults = {"seeds": [0], "key": jax.random.key(0), "batch_size": 16}
    return training.train(model, split, **{**defaults, **settings})


@pytest.mark.parametrize("strategy", ["sequential", "threads", "sharded"])
def test_strategies_train_the_same_networks(strategy):
    model = conv()
    leaves_close(
        train(model, strategy=strategy).params, train(model, strategy="vmap").params, atol=2e-5
    )


def test_a_seed_does_not_depend_on_the_others():
    together, alone = train(conv(), seeds=[5, 2, 9]), train(conv(), seeds=[9])
    rounding = 0 if jax.default_backend() == "cpu" else 1e-6  # of other kernels for other sizes
    together, alone = ensemble.select(together.params, 2), ensemble.select(alone.params, 0)
    leaves_close(together, alone, rtol=0, atol=rounding)


def test_seeds_differ_and_keys_differ():
    nets, other = train(conv()), train(conv(), key=jax.random.key(1))
    kernel = nets.params["params"]["kernel_0"]
    assert not np.allclose(kernel[0], kernel[1])
    assert not np.allclose(kernel, other.params["params"]["kernel_0"])


@pytest.mark.parametrize("name", ["fc", "conv", "locally_connected", "scattered"])
def test_the_affine_route_takes_the_same_steps(name, x64):
    """Through beta and through the layers: one function, one gradient, 20 steps, float64."""
    model = models.create(name, num_classes=3, depth=2, activation="none")
    split = make_split(num=160, dtype=np.float64)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    params = jax.jit(model.init)(jax.random.key(0), split.images[:1])
    batches = np.random.default_rng(1).permutation(160).reshape(10, 16)
    batches = np.concatenate([batches, batches[::-1]])
    results = []
    for affine in (True, False):
        step = loop._Step(model.apply, affine, training.sgd(0.05), training.cross_entropy)
        results.append(advance(step, params, batches, images, labels))
    leaves_close(results[0].trained, results[1].trained, rtol=1e-8, atol=1e-10)
    leaves_close(results[0].loss, results[1].loss, rtol=1e-8)


def advance(step, params, batches, images, labels):
    """The state of one network after a step on each of the batches, which are one epoch."""
    state = loop._State.first(step, ensemble.stack([params]), len(batches))
    bounds = (np.int32(0), np.int32(len(batches)))
    run = jax.jit(loop._Advance(step, steps_per_epoch=len(batches)))
    return run(ensemble.select(state, 0), {}, batches, bounds, images, labels)


def test_a_batch_in_blocks_takes_the_same_steps(monkeypatch):
    """As many images at a time as stay near in memory, and the mean of their gradients."""

    def steps(size):
        monkeypatch.setattr(loop, "block_size", lambda *_: size)
        loss, traces = counted_loss()  # another object, and so a program of its own
        nets = train_on(make_split(), conv(), epochs=2, loss=loss)
        assert traces
        return nets.params, nets.history.loss, nets.history.accuracy

    leaves_close(steps(4), steps(16), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_images", [None, 40])
def test_each_seed_sees_its_own_images_once_per_epoch(num_images):
    plan = course.Plan(96, num_images or 96, 8, 3)
    batches = np.asarray(course.batches_of(plan, ensemble.seed_keys(jax.random.key(0), [0, 1])))
    assert batches.shape == (2, 3 * plan.steps_per_epoch, 8)
    for seed in range(2):
        epochs = batches[seed].reshape(3, -1)
        for epoch in epochs:
            assert len(set(epoch.tolist())) == epoch.size == plan.num_images
        assert len({tuple(sorted(epoch.tolist())) for epoch in epochs}) == 1  # one subsample
        assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3  # in a new order each time
    if num_images:
        assert set(batches[0].ravel()) != set(batches[1].ravel())


def test_learns():
    nets = train(conv(), epochs=12)
    assert (nets.history.loss[:, -1] < 0.5 * nets.history.loss[:, 0]).all()
    assert (nets.accuracy(make_split().images, make_split().labels) > 0.9).all()
    assert (nets.status == Status.OK).all()


def test_checkpoints_are_the_shorter_trainings():
    """Parameters kept after k steps are those of a training of k steps; 0 is initialisation."""
    nets = train(conv(), epochs=2, checkpoint_steps=(0, 6))
    assert nets.history.checkpoint_steps.tolist() == [[0, 6]] * 3
    start = training.initial_params(conv(), SHAPE, seeds=range(3), key=jax.random.key(0))
    kept = jax.device_get(nets.history.checkpoints)
    first, middle = (jax.tree.map(lambda leaf: leaf[:, index], kept) for index in range(2))  # noqa: B023
    leaves_close(first, start, atol=0)
    leaves_close(middle, train(conv(), epochs=1).params, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_the_same_batches_from_outside_train_the_same_network(activation):
    """A stream of batches is another route to the numbers of the compiled loop."""
    model, split, key = conv(activation=activation), make_split(), jax.random.key(0)
    inside = train(model, seeds=[5])
    plan = course.Plan(total=96, num_images=96, batch_size=16, epochs=2)
    order = np.asarray(course.batches_of(plan, ensemble.seed_keys(key, [5])))[0]
    batches = [(split.images[batch], split.labels[batch]) for batch in order]
    outside = training.train_on_batches(model, batches, seeds=[5, 2], key=key)
    assert outside.seeds == (5, 2) and outside.alive.all()
    found = jax.device_get((outside.params, outside.history[:2]))
    chosen = jax.tree.map(lambda leaf: leaf[:1], found)
    leaves_close(chosen, (inside.params, inside.history[:2]), atol=1e-5)
    assert outside.history.loss.shape == (2, len(order))
    assert outside.accuracy(split.images, split.labels).shape == (2,)


def test_bad_batches_are_named():
    with pytest.raises(ValueError, match="batches must not be empty"):
        training.train_on_batches(conv(), [], seeds=[0], key=jax.random.key(0))
    split = make_split()
    batch = (split.images, split.labels + 1)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2; got values in 1\.\.3"):
        training.train_on_batches(conv(), [batch], seeds=[0], key=jax.random.key(0))


def test_log_spaced_steps():
    assert training.log_spaced_steps(100, 3) == (0, 1, 10, 100)
    assert training.log_spaced_steps(4, 50) == (0, 1, 2, 3, 4)


def test_diverged_is_a_status():
    nets = train(conv(), optimizer=training.sgd(1e20))
    assert (nets.status == Status.DIVERGED).all()
    assert not nets.alive.any()


def test_dead_is_a_status():
    """Hidden biases far below zero: every ReLU is off, the input gradient is exactly zero."""
    model = conv()
    split = make_split()
    params = jax.jit(model.init)(jax.random.key(0), split.images[:1])
    params["params"]["bias_0"] -= np.float32(1e3)
    step = loop._Step(model.apply, False, training.sgd(), training.cross_entropy)
    data = (jnp.asarray(split.images), jnp.asarray(split.labels))
    state = advance(step, params, np.arange(32).reshape(2, 16), *data)
    assert not state.alive
    assert jax.jit(loop._status)(state.trained, state.loss, state.alive) == Status.DEAD


def test_losses_by_hand():
    logits, labels = np.float32([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]]), np.array([0, 1])
    margins = np.array([[1.5, 3.0], [1.0, -2.0]])
    for loss, expected in (
        (training.cross_entropy, np.log1p(np.exp(-margins).sum(1))),
        (training.exponential, np.exp(-margins).sum(1)),
        (training.logistic, np.log1p(np.exp(-margins)).sum(1)),
    ):
        np.testing.assert_allclose(jax.jit(loss)(logits, labels), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_binary_losses_train(loss):
    nets = train_on(make_split(num=96, num_classes=2), conv(num_classes=2), loss=loss, epochs=8)
    assert nets.history.accuracy[0, -1] > 0.9


def test_any_optimizer():
    nets = train(conv(), optimizer=optax.adam(1e-2), epochs=8)
    assert (nets.history.accuracy[:, -1] > 0.8).all()


def test_scales_and_seeds_share_one_compilation():
    loss, traces = counted_loss()
    train(conv(init_scale=1.0), loss=loss, strategy="sequential")
    compiled = len(traces)
    train(conv(init_scale=0.5), loss=loss, strategy="sequential")
    assert len(traces) == compiled > 0


def test_weight_decay_pulls_all_parameters_to_zero_after_clipping():
    """w <- w - rate (clip(grad) + decay w): the difference to no decay is rate x decay x w."""
    model = models.FullyConnected(num_classes=3, depth=1, width=4)
    plain, decayed = (
        train_on(make_split(num=16), model, optimizer=training.sgd(0.1, 0.0, 1e-3, decay), epochs=1)
        for decay in (0.0, 0.5)
    )
    start = training.initial_params(model, SHAPE, seeds=[0], key=jax.random.key(0))
    start, plain, decayed = jax.device_get((start, plain.params, decayed.params))
    pulled = jax.tree.map(np.subtract, decayed, plain)
    leaves_close(pulled, jax.tree.map(lambda w: -0.05 * w, start), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: training.sgd(0.0), "learning_rate must be positive"),
        (lambda: training.adam(-1.0), "learning_rate must be positive"),
        (lambda: training.sgd(0.1, momentum=1.0), r"momentum must lie in \[0, 1\); got 1"),
        (lambda: training.sgd(0.1, weight_decay=-1.0), "weight_decay must be finite .* got -1"),
        (lambda: training.sgd(0.1, weight_decay=float("nan")), "weight_decay must be a number"),
        (lambda: training.staircase(0.1, 0.0, 3), "factor must be positive"),
        (lambda: training.staircase(0.1, 0.3, 0), "every must be at least 1"),
    ],
)
def test_bad_numbers_of_an_optimizer_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clipping():
    """The first step of clipped SGD has the length learning rate x clip."""
    model = models.FullyConnected(num_classes=3, depth=0)
    nets = train_on(make_split(num=16), model, optimizer=training.sgd(1.0, 0.0, 1e-3), epochs=1)
    start = training.initial_params(model, SHAPE, seeds=[0], key=jax.random.key(0))
    moved = jax.jit(lambda a, b: optax.tree.norm(optax.tree.sub(a, b)))(nets.params, start)
    assert moved == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seeds": []}, ValueError, "seeds must not be empty"),
        ({"seeds": [1, 1]}, ValueError, "seeds must not repeat"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int"),
        ({"num_images": 97}, ValueError, "num_images must lie between"),
        ({"num_images": 8}, ValueError, "num_images must lie between"),
        ({"loss": "hinge"}, ValueError, "loss must be one of"),
        ({"checkpoint_steps": (3, 1)}, ValueError, "checkpoint_steps must ascend"),
        ({"checkpoint_steps": (99,)}, ValueError, "checkpoint_steps must ascend"),
        ({"strategy": "pmap"}, ValueError, "strategy must be one of"),
    ],
)
def test_bad_settings_are_named(change, error, message):
    with pytest.raises(error, match=message):
        train(conv(), **change)


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("images", np.full((8, *SHAPE), 1.5, np.float32), ValueError, r"lie in \[0, 1\]"),
        ("images", np.full((8, *SHAPE), np.nan, np.float32), ValueError, "images must be finite"),
        ("images", np.zeros((8, 36), np.float32), ValueError, "images must have rank 4"),
        ("images", np.zeros((8, *SHAPE), np.int32), TypeError, "images must be float"),
        ("labels", np.zeros(8, np.float32), TypeError, "labels must be integers"),
        ("labels", np.full(8, 3), ValueError, r"labels must lie in 0..2"),
        ("labels", np.zeros(7, np.int32), ValueError, "one entry per image"),
    ],
)
def test_bad_data_is_named(field, value, error, message):
    split = types.SimpleNamespace(
        images=np.zeros((8, *SHAPE), np.float32), labels=np.zeros(8, np.int32)
    )
    setattr(split, field, value)
    with pytest.raises(error, match=message):
        training.train(conv(), split, seeds=[0], key=jax.random.key(0), batch_size=4)


def counted_loss():
    """A loss, and how often it was traced."""
    traces = []
    loss = lambda logits, labels: traces.append(1) or training.cross_entropy(logits, labels)  # noqa: E731
    return loss, traces


@pytest.mark.parametrize("strategy", ["sequential", "vmap"])
def test_a_seed_that_stops_early_is_the_network_of_its_checkpoint(strategy):
    """Stopping is not another training: after n steps the network is what it is after n steps."""
    ends = [6, 12, 18, 24]
    whole = train(conv(), seeds=[0, 1], epochs=4, checkpoint_steps=ends)
    losses = np.asarray(whole.history.loss).reshape(2, 4, 6).mean(axis=2)
    enough = losses[:, 1].mean()  # one of the two is there after two epochs, the other goes on
    found = train(
        conv(),
        seeds=[0, 1],
        epochs=4,
        until=lambda losses, _: len(losses) == 2 and losses[-1] < enough,
        strategy=strategy,
    )
    assert (found.status == Status.OK).all()
    stopped = np.where(losses[:, 1] < enough, 1, 3)
    assert sorted(stopped) == [1, 3]
    kept = jax.device_get(whole.history.checkpoints)
    for seed, epoch in enumerate(stopped):
        steps = ends[epoch]
        assert found.history.steps[seed] == steps
        loss, expected = (np.asarray(nets.history.loss[seed]) for nets in (found, whole))
        np.testing.assert_allclose(loss[:steps], expected[:steps], rtol=1e-4)
        assert np.isnan(loss[steps:]).all()
        then = jax.tree.map(lambda leaf: leaf[seed, epoch], kept)  # noqa: B023
        leaves_close(ensemble.select(found.params, seed), then, rtol=1e-4, atol=1e-5)


def test_flat_and_time_and_a_rule_of_ones_own_stop_too():
    stopped = train(conv(), epochs=8, until=lambda losses, accuracies: len(losses) == 2)
    assert (stopped.history.steps == 12).all()
    assert (stopped.status == Status.OK).all()
    late = train(conv(), epochs=8, max_seconds=1e-9)
    assert (late.history.steps == 6).all()  # at the end of an epoch
    still = train(conv(), epochs=8, until="flat", optimizer=training.sgd(1e-9))
    assert (still.history.steps == 4 * 6).all()  # three epochs no better than the first
    with pytest.raises(ValueError, match="until must be one of 'fitted', 'flat' or a number"):
        train(conv(), until="never")


def test_no_stopping_by_clocks_that_differ(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="max_seconds must be None over several processes"):
        train(conv(), max_seconds=1.0)


def test_stopping_checkpoints_and_bars_compile_nothing_anew():
    loss, traces = counted_loss()
    train(conv(), loss=loss, epochs=3, strategy="sequential")
    compiled = len(traces)
    train(
        conv(), loss=loss, epochs=3, checkpoint_steps=[1, 4], until="fitted", strategy="sequential"
    )
    train(conv(), loss=loss, epochs=3, max_seconds=60, progress=True, strategy="sequential")
    assert len(traces) == compiled > 0


def test_progress_counts_images(capsys):
    train(conv(), epochs=2, progress=True)
    assert "images" in capsys.readouterr().err
    train(conv(), epochs=2, progress=False)
    assert not capsys.readouterr().err


def test_injected_hyperparameters_are_values_not_programs():
    """Half the rate by its factor is half the rate by its number; nothing compiles for it."""
    loss, traces = counted_loss()
    scaled = optax.chain(training.sgd(0.1), optax.inject_hyperparams(optax.scale)(1.0))
    with_factor = partial(train, conv(), loss=loss, optimizer=scaled, strategy="sequential")
    with_factor()
    compiled = len(traces)
    found = with_factor(hyperparameters={"step_size": 0.5})
    assert len(traces) == compiled
    expected = train(conv(), optimizer=training.sgd(0.05), strategy="sequential")
    leaves_close(found.params, expected.params, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="hyperparameters must be ones that the optimizer takes"):
        with_factor(hyperparameters={"learning_rate": 0.5})


def test_a_step_asks_for_no_gradient_by_the_images():
    """It would be as dear as that of a layer: a product more, and a transform of the images."""
    model, split = models.FullyConnected(num_classes=3, depth=1), make_split()
    step = loop._Step(model.apply, False, training.sgd(), training.cross_entropy)
    params = jax.eval_shape(model.init, jax.random.key(0), split.images[:1])
    moments = jax.eval_shape(step.optimizer.init, params["params"])
    batch = (split.images[:8], split.labels[:8])
    text = str(jax.make_jaxpr(step)(params, moments, *batch))
    # Two products forward, and backward two for the weights and one for the hidden layer.
    assert text.count("dot_general[") == 5

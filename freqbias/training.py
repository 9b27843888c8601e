r"""Training S networks at once, each from its own initialisation, subsample and data order.

One compiled program trains one seed from first step to last; `freqbias.ensemble.map_seeds` runs it
for all. Everything random in seed s derives from ``fold_in(key, s)``, so its network is the same
whatever the other seeds and the strategy are. Initial parameters and the order of the data are made
outside that program: it holds nothing but the step, compiles fast, and serves every initial scale.

A network that is affine in its input needs no forward pass through its layers: the loss sees the
layers only through beta, so each step costs a pass of K class rows through the layers and two
matrix products with the batch, whatever the depth (`freqbias.ops.affine_predictor`). The gradient
is the same.

Only the collection "params" of a network's variables is trained. Its other collections (masks,
constants) stay as ``init`` made them; a network that would have to write to one while it trains,
such as batch normalisation to its running statistics, is refused.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from freqbias import _checks, ops
from freqbias.ensemble import Ensemble, Strategy, map_seeds, seed_keys
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, LossFn, Params, Status


class History(NamedTuple):
    """Metrics of training; leading axis S in an `Ensemble`."""

    loss: Array  # [T], mean loss of each step's batch, before the step
    accuracy: Array  # [T], of each step's batch, before the step
    checkpoint_steps: Array  # int32 [C], steps done at each checkpoint
    checkpoints: Params  # every leaf [C, ...], parameters at the checkpoints


def _class_margins(logits: Array, labels: Array) -> tuple[Array, Array]:
    """``logits[y] - logits[j]`` [N, K] and the mask of j != y [N, K]."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    others = jnp.arange(logits.shape[1])[None] != labels[:, None]
    return own - logits, others


def cross_entropy(logits: Array, labels: Array) -> Array:
    """``log(1 + sum_{j != y} exp(logits[j] - logits[y]))`` [N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def exponential(logits: Array, labels: Array) -> Array:
    """``sum_{j != y} exp(-(logits[y] - logits[j]))`` [N]; the exponential loss if K = 2."""
    margins, others = _class_margins(logits, labels)
    return jnp.sum(jnp.where(others, jnp.exp(-jnp.where(others, margins, 0)), 0), axis=1)


def logistic(logits: Array, labels: Array) -> Array:
    """``sum_{j != y} log(1 + exp(-(logits[y] - logits[j])))`` [N]; equals CE if K = 2."""
    margins, others = _class_margins(logits, labels)
    return jnp.sum(jnp.where(others, jax.nn.softplus(-margins), 0), axis=1)


LOSSES: Mapping[str, LossFn] = {
    "cross_entropy": cross_entropy,
    "exponential": exponential,
    "logistic": logistic,
}


def _positive_rate(learning_rate: float | optax.Schedule) -> None:
    if not callable(learning_rate):
        _checks.positive("learning_rate", learning_rate)


@lru_cache
def sgd(
    learning_rate: float | optax.Schedule = 0.05,
    momentum: float = 0.9,
    clip: float | None = None,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD with momentum: v <- momentum v + clip(grad) + weight_decay w, w <- w - learning_rate v.

    Cached: equal settings give the same object, hence no new compilation.

    Args:
      learning_rate: a number > 0, or a function of the number of steps (the same object each time).
      momentum: in [0, 1).
      clip: the largest global norm of a gradient; None does not clip.
      weight_decay: of all parameters, finite, >= 0.

    Raises:
      ValueError: a number is out of range.
    """
    _positive_rate(learning_rate)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1); got {momentum}.")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay must be finite and at least 0; got {weight_decay}.")
    parts = [] if clip is None else [optax.clip_by_global_norm(clip)]
    parts += [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    descent = optax.sgd(learning_rate, momentum=momentum or None)
    return optax.chain(*parts, descent) if parts else descent


@lru_cache
def adam(
    learning_rate: float | optax.Schedule = 0.001, clip: float | None = None
) -> optax.GradientTransformation:
    """Adam, with the global gradient norm clipped to ``clip`` if given; cached as `sgd`."""
    _positive_rate(learning_rate)
    descent = optax.adam(learning_rate)
    return descent if clip is None else optax.chain(optax.clip_by_global_norm(clip), descent)


@lru_cache
def staircase(learning_rate: float, factor: float, every: int) -> optax.Schedule:
    """``learning_rate * factor ** (step // every)``; cached, so that it can be given to `sgd`."""
    _checks.positive("learning_rate", learning_rate)
    _checks.positive("factor", factor)
    _checks.positive_int("every", every)
    return optax.exponential_decay(learning_rate, every, factor, staircase=True)


def log_spaced_steps(num_steps: int, num: int) -> tuple[int, ...]:
    """0, then about ``num`` distinct steps spaced evenly in log from 1 to ``num_steps``.

    Example:
      >>> from freqbias import training
      >>> training.log_spaced_steps(100, 3)
      (0, 1, 10, 100)
    """
    _checks.positive_int("num_steps", num_steps)
    _checks.positive_int("num", num)
    return (0, *np.unique(np.geomspace(1, num_steps, num).round().astype(int)).tolist())


def train(
    model: nn.Module,
    split: Any,
    *,
    seeds: Iterable[int],
    key: Key,
    epochs: int = 5,
    batch_size: int = 64,
    num_images: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    loss: str | LossFn = "cross_entropy",
    checkpoint_steps: Iterable[int] = (),
    strategy: Strategy = "auto",
) -> Ensemble:
    """Trains one network per seed.

    Each epoch visits the seed's images once in a new order, in batches of ``batch_size``; the
    images left over at the end of an epoch sit it out.

    Args:
      model: any Flax Linen module whose ``apply(variables, images [N, H, W, C])`` gives logits
        [N, K], draws nothing at random and writes to no collection. One that is affine in its
        input (`freqbias.ops.is_affine`) is trained through its effective predictor.
      split: has ``images`` float [N, H, W, C] in [0, 1] and ``labels`` int [N].
      seeds: S distinct ints.
      key: of the whole ensemble.
      epochs: passes over the seed's images.
      batch_size: images per step.
      num_images: each seed trains on its own subsample of this size, drawn without replacement;
        None: on all.
      optimizer: from optax; None is `sgd()`. Pass the same object each time.
      loss: "cross_entropy", "exponential", "logistic" or a `LossFn`; the batch's mean is descended.
      checkpoint_steps: ascending numbers of steps after which parameters are kept (0: at init).
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Ensemble` whose ``history`` is a `History`, and whose status per seed is DIVERGED (a loss
      or parameter is not finite), DEAD (the gradient of the loss with respect to the input was
      exactly zero on every image of the last epoch) or OK.

    Raises:
      TypeError: a dtype or a type is wrong.
      ValueError: a shape, range or option is wrong, or the model is no pure function of
        (params, images).

    Example:
      >>> import jax
      >>> from freqbias import data, models, training
      >>> digits = data.load("digits")
      >>> model = models.FullyConnected(num_classes=10, depth=1, width=16)
      >>> key = jax.random.key(0)
      >>> nets = training.train(model, digits.train, seeds=range(4), key=key, epochs=1)
      >>> nets.params["params"]["dense_0"]["kernel"].shape  # S, then as of one network
      (4, 64, 16)
      >>> nets.history.loss.shape == (4, len(digits.train) // 64)
      True
    """
    seeds = _checks.seeds(seeds)
    images, labels = split.images, split.labels
    _checks.images(images)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        _checks.positive_int(name, value)
    num_images = len(images) if num_images is None else num_images
    _checks.positive_int("num_images", num_images)
    if not batch_size <= num_images <= len(images):
        raise ValueError(
            f"num_images must lie between batch_size ({batch_size}) and the number of training "
            f"images ({len(images)}); got {num_images}."
        )
    plan = _Plan(len(images), num_images, batch_size, epochs)
    stops = _stops(checkpoint_steps, plan.num_steps)
    params = initial_params(model, images.shape[1:], seeds=seeds, key=key)
    step, num_classes = _prepared(model, params, images, optimizer, loss)
    _checks.labels(labels, num_examples=len(images), num_classes=num_classes)
    images, labels = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    run = _TrainOne(step, plan.steps_per_epoch)
    params, status, history = map_seeds(
        run,
        (params, _batches(plan, seed_keys(key, seeds))),
        (images, labels, jnp.asarray(stops, jnp.int32)),
        strategy=strategy,
    )
    return Ensemble(params, status, history, seeds=seeds, apply_fn=run.step.apply_fn)


def train_on_batches(
    model: nn.Module,
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    seeds: Iterable[int],
    key: Key,
    optimizer: optax.GradientTransformation | None = None,
    loss: str | LossFn = "cross_entropy",
    strategy: Strategy = "auto",
) -> Ensemble:
    """Trains one network per seed, all on the same batches, a step on each as they come.

    For data that do not fit in memory: seeds differ in their initialisation alone, which is that of
    `train` with the same seeds and key.

    Args:
      model: as for `train`.
      batches: pairs of images float [B, H, W, C] in [0, 1] and labels int [B], at least one.
      seeds: S distinct ints.
      key: of the initialisation.
      optimizer: as for `train`.
      loss: as for `train`.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Ensemble` like that of `train`, without checkpoints; DEAD are the networks of which the
      gradient of the loss with respect to the input was exactly zero on the last batch.

    Raises:
      TypeError: a dtype or a type is wrong.
      ValueError: a shape, range or option is wrong, or there is no batch.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from freqbias import models, training
      >>> images, labels = np.zeros((8, 5, 5, 1), np.float32), np.arange(8) % 3
      >>> batches = [(images, labels)] * 4
      >>> model = models.ConvNet(num_classes=3, channels=4)
      >>> nets = training.train_on_batches(model, batches, seeds=range(2), key=jax.random.key(0))
      >>> nets.history.loss.shape  # S seeds, a loss per batch
      (2, 4)

      One epoch of a set from disk (`freqbias.data.stream_tfds`) has the batches
      ``stream.batches(stop=stream.steps_per_epoch)``.
    """
    seeds = _checks.seeds(seeds)
    state, metrics = None, []
    for images, labels in batches:
        _checks.images(images)
        if state is None:
            params = initial_params(model, images.shape[1:], seeds=seeds, key=key)
            step, num_classes = _prepared(model, params, images, optimizer, loss)
            state = (params, jax.vmap(step.init)(params))
        _checks.labels(labels, num_examples=len(images), num_classes=num_classes)
        batch = (jnp.asarray(images), jnp.asarray(labels, jnp.int32))
        *state, measured = map_seeds(step, tuple(state), batch, strategy=strategy)
        metrics.append(measured)
    if state is None:
        raise ValueError("batches must not be empty.")
    params, _ = state
    losses, accuracy, alive = (jnp.stack(values, axis=1) for values in zip(*metrics, strict=True))
    no_steps = jnp.zeros((len(seeds), 0), jnp.int32)
    no_params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:, None][:, :0]), params)
    return Ensemble(
        params,
        jax.vmap(_status)(params, losses, alive[:, -1]),
        History(losses, accuracy, no_steps, no_params),
        seeds=seeds,
        apply_fn=step.apply_fn,
    )


def initial_params(
    model: nn.Module, image_shape: tuple[int, ...], *, seeds: Iterable[int], key: Key
) -> Params:
    """The parameters, leaves [S, ...], from which `train` starts with the same seeds and key.

    Args:
      model: a Flax module.
      image_shape: (H, W, C).
      seeds: S distinct ints.
      key: of the whole ensemble.

    Returns:
      What ``model.init`` returns, every leaf with leading axis S.
    """
    keys = jax.vmap(lambda seed_key: _split(seed_key)[0])(seed_keys(key, seeds))
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # Not jitted: the draws compile once per shape, and are shared by all models and scales.
    return jax.vmap(lambda init_key: model.lazy_init(init_key, images))(keys)


def shared_apply_fn(model: nn.Module) -> ApplyFn:
    """``model.apply`` as one object for all models that differ only in their initialisation.

    Compilations are cached by it. A module class can name the attributes that matter to ``init``
    alone, with a value for each that all share, in a class variable ``initial_only``.
    """
    try:
        return _shared_apply_fn(model.clone(**getattr(model, "initial_only", {})))
    except TypeError:  # an attribute, say an array, that cannot be hashed
        return model.apply


@lru_cache
def _shared_apply_fn(model: nn.Module) -> ApplyFn:
    return model.apply  # one bound method per model


def _split(seed_key: Key) -> Key:
    """Keys of initialisation, subsample and data order."""
    return jax.random.split(seed_key, 3)


def _stops(checkpoint_steps: Iterable[int], num_steps: int) -> tuple[int, ...]:
    steps = tuple(checkpoint_steps)
    ascending = all(a < b for a, b in itertools.pairwise(steps))
    if not ascending or any(not 0 <= step <= num_steps for step in steps):
        raise ValueError(
            f"checkpoint_steps must ascend within 0..{num_steps}, the number of steps; got {steps}."
        )
    return (*steps, num_steps)


class _Plan(NamedTuple):
    """How many images a seed sees, and when."""

    total: int  # images in the training set
    num_images: int  # of which a seed's subsample
    batch_size: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        return self.num_images // self.batch_size

    @property
    def num_steps(self) -> int:
        return self.epochs * self.steps_per_epoch


@partial(jax.jit, static_argnums=0)
def _batches(plan: _Plan, keys: Key) -> Array:
    """Indices [S, T, B]: a subsample per seed, in a new order each epoch."""

    def one_seed(seed_key: Key) -> Array:
        _, key_subset, key_order = _split(seed_key)
        subset = jax.random.permutation(key_subset, plan.total)[: plan.num_images]

        def one_epoch(epoch: Array) -> Array:
            order = jax.random.permutation(jax.random.fold_in(key_order, epoch), subset)
            used = plan.steps_per_epoch * plan.batch_size
            return order[:used].reshape(plan.steps_per_epoch, plan.batch_size)

        batches = jax.lax.map(one_epoch, jnp.arange(plan.epochs))
        return batches.reshape(plan.num_steps, plan.batch_size)

    return jax.lax.map(one_seed, keys)


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step of one network as a pure function; equal settings share a compilation."""

    apply_fn: ApplyFn
    affine: bool
    optimizer: optax.GradientTransformation
    loss: LossFn

    def init(self, params: Params) -> Any:
        """The optimiser's state, of what is trained."""
        return self.optimizer.init(params["params"])

    def __call__(
        self, params: Params, moments: Any, images: Array, labels: Array
    ) -> tuple[Params, Any, tuple[Array, Array, Array]]:
        """Parameters, the optimiser's state; loss and accuracy before the step, and if alive."""

        def mean_loss(trained: Params, images: Array) -> tuple[Array, Array]:
            return self._mean_loss({**params, "params": trained}, images, labels)

        (loss, correct), (slopes, input_slope) = jax.value_and_grad(
            mean_loss, argnums=(0, 1), has_aux=True
        )(params["params"], images)
        updates, moments = self.optimizer.update(slopes, moments, params["params"])
        alive = jnp.any(input_slope != 0)
        params = {**params, "params": optax.apply_updates(params["params"], updates)}
        return params, moments, (loss, correct, alive)

    def _mean_loss(self, params: Params, images: Array, labels: Array) -> tuple[Array, Array]:
        if self.affine:
            shape = images.shape[1:]
            predictor = ops.affine_predictor(self.apply_fn, params, shape, images.dtype)  # type: ignore[arg-type]
            logits = predictor(images)
        else:
            logits = self.apply_fn(params, images)
        correct = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        return jnp.mean(self.loss(logits, labels)), correct


def _prepared(
    model: nn.Module,
    params: Params,
    images: ArrayLike,
    optimizer: optax.GradientTransformation | None,
    loss: str | LossFn,
) -> tuple[_Step, int]:
    """The step of ``model``, and how many classes it has; params of all seeds."""
    if not callable(loss):
        _checks.one_of("loss", loss, LOSSES)
        loss = LOSSES[loss]
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    image_shape = np.shape(images)[1:]
    num_classes = _check_pure(model, one, image_shape)
    apply_fn = shared_apply_fn(model)
    affine = ops.is_affine(apply_fn, one, image_shape)  # type: ignore[arg-type]
    return _Step(apply_fn, affine, optimizer or sgd(), loss), num_classes


def _check_pure(model: nn.Module, params: Params, image_shape: tuple[int, ...]) -> int:
    """The number of classes, from the logits; raises unless ``model`` can be trained."""
    carried = [name for name in params if name != "params"]
    # Running statistics are refused even where this call only reads them: none would be learned.
    written = {name for name in carried if name == "batch_stats"}

    def apply(variables: Params, images: Array) -> Any:
        logits, after = model.apply(variables, images, mutable=carried)
        for name in carried:
            before, now = jax.tree.leaves(variables[name]), jax.tree.leaves(after[name])
            if any(a is not b for a, b in zip(before, now, strict=True)):
                written.add(name)
        return logits

    try:
        logits = jax.eval_shape(apply, params, jax.ShapeDtypeStruct((2, *image_shape), np.float32))
    except flax.errors.InvalidRngError as error:
        raise ValueError(
            "model must be a pure function of (params, images), but draws at random when applied; "
            "make its dropout deterministic."
        ) from error
    if written:
        raise ValueError(
            "model must be a pure function of (params, images), but has to write to "
            f"{sorted(written)} while it trains, and only 'params' is trained; normalise with "
            "nn.GroupNorm or nn.LayerNorm instead of nn.BatchNorm."
        )
    if "params" not in params:
        raise ValueError(f"model must have parameters; init gave collections {sorted(params)}.")
    shape: tuple[int, ...] = getattr(logits, "shape", ())
    if len(shape) != 2 or shape[0] != 2:
        came = f"shape {shape}" if shape else f"a {type(logits).__name__}"
        raise ValueError(f"model must give logits [N, K]; of two images (N = 2) came {came}.")
    return shape[1]


def _status(params: Params, losses: Array, alive: Array) -> Array:
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((params, losses))]
    status = jnp.where(alive, Status.OK, Status.DEAD)
    return jnp.where(jnp.all(jnp.stack(finite)), status, Status.DIVERGED).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class _TrainOne:
    """The training of one seed as a pure function; equal settings share a compilation."""

    step: _Step
    steps_per_epoch: int

    def __call__(
        self, params: Params, batches: Array, images: Array, labels: Array, stops: Array
    ) -> tuple[Params, Array, History]:
        num_steps = batches.shape[0]
        carried = {name: values for name, values in params.items() if name != "params"}

        def step(index: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            trained, moments, *metrics = carry
            batch = batches[index]
            params, moments, values = self.step(
                {**carried, "params": trained}, moments, images[batch], labels[batch]
            )
            metrics = [
                metric.at[index].set(value) for metric, value in zip(metrics, values, strict=True)
            ]
            return (params["params"], moments, *metrics)

        def segment(carry: tuple[Array, Any], stop: Array) -> tuple[tuple[Array, Any], Params]:
            start, state = carry
            state = jax.lax.fori_loop(start, stop, step, state)
            return (stop, state), state[0]

        metrics = (jnp.zeros(num_steps), jnp.zeros(num_steps), jnp.zeros(num_steps, bool))
        state = (params["params"], self.step.init(params), *metrics)
        (_, state), kept = jax.lax.scan(segment, (jnp.int32(0), state), stops)
        trained, _, losses, accuracy, alive = state
        params = {**carried, "params": trained}
        status = _status(params, losses, jnp.any(alive[-self.steps_per_epoch :]))
        repeat = (len(stops) - 1,)
        checkpoints = {
            **jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, repeat + leaf.shape), carried),
            "params": jax.tree.map(lambda leaf: leaf[:-1], kept),
        }
        return params, status, History(losses, accuracy, stops[:-1], checkpoints)

r"""Training S networks at once, each from its own initialisation, subsample and data order.

One compiled program trains one seed from one step to another, as far as the next checkpoint or
decision; `freqbias.ensemble.map_seeds` runs it for all. Everything random in seed s derives from
``fold_in(key, s)``, so its network is the same whatever the other seeds and the strategy are.
Initial parameters and the order of the data are made outside that program: it holds nothing but the
step, compiles fast, and serves every initial scale.

A network that is affine in its input needs no forward pass through its layers: the loss sees the
layers only through beta, so each step costs a pass of K class rows through the layers and two
matrix products with the batch, whatever the depth (`freqbias.ops.affine_predictor`). The gradient
is the same.

Only the collection "params" of a network's variables is trained. Its other collections (masks,
constants) stay as ``init`` made them; a network that would have to write to one while it trains,
such as batch normalisation to its running statistics, is refused.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from freqbias import _checks, ops
from freqbias._blocks import block_size
from freqbias._checked import checked
from freqbias.ensemble import Ensemble, Strategy, map_seeds, seed_keys
from freqbias.training.course import (
    Bar,
    Course,
    Plan,
    Until,
    batches_of,
    check_checkpoints,
    rule_of,
    split_key,
)
from freqbias.training.objectives import LOSSES, sgd
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, LossFn, Params, Status

_NEAR = 2**21  # bytes of a network's largest array of values that a core is to have at once


class History(NamedTuple):
    """Metrics of training; leading axis S in an `Ensemble`."""

    loss: Array  # [T], mean loss of each step's batch, before the step; NaN of a step not taken
    accuracy: Array  # [T], of each step's batch, before the step; likewise
    steps: Array  # int32 [], steps taken
    checkpoint_steps: Array  # int32 [C], steps done at each checkpoint
    checkpoints: Params  # every leaf [C, ...], parameters at the checkpoints


@checked
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
    hyperparameters: Mapping[str, ArrayLike] | None = None,
    loss: str | LossFn = "cross_entropy",
    checkpoint_steps: Iterable[int] = (),
    until: Until | None = None,
    max_seconds: float | None = None,
    progress: bool | None = None,
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
      hyperparameters: of an optimiser made by ``optax.inject_hyperparams``, its values from the
        first step on; other values compile nothing anew.
      loss: "cross_entropy", "exponential", "logistic" or a `LossFn`; the batch's mean is descended.
        Loss and logits of an image must not depend on the others of its batch: on CPU a large one
        is taken in blocks.
      checkpoint_steps: ascending numbers of steps after which parameters are kept (0: at init).
      until: when a seed stops early, asked after each epoch: "fitted" (every image of the epoch was
        classified correctly, before the step that it was part of), a share of them in (0, 1],
        "flat" (in the last three epochs no mean loss was 1 % below the best before), or a function
        of the mean losses and the accuracies [epochs so far] that says whether to stop.
      max_seconds: wall-clock time after which all seeds stop, at the end of an epoch; not over
        several processes.
      progress: whether a bar on stderr shows images done and images per second; None: if it is a
        terminal.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Ensemble` whose ``history`` is a `History`, and whose status per seed is DIVERGED (a loss
      or parameter is not finite), DEAD (in the end, the gradient of the loss with respect to the
      input is exactly zero on every image of the last epoch) or OK.

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
    if not (hasattr(split, "images") and hasattr(split, "labels")):
        raise TypeError(f"split must have images and labels; got {type(split).__name__}.")
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
    if max_seconds is not None and jax.process_count() > 1:
        raise ValueError("max_seconds must be None over several processes: their clocks differ.")
    plan = Plan(len(images), num_images, batch_size, epochs)
    checkpoints = check_checkpoints(checkpoint_steps, plan.num_steps)
    params = initial_params(model, images.shape[1:], seeds=seeds, key=key)
    step, num_classes = _prepared(model, params, (batch_size, *images.shape[1:]), optimizer, loss)
    _checks.labels(labels, num_examples=len(images), num_classes=num_classes)
    images, labels = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    batches = batches_of(plan, seed_keys(key, seeds))
    advance = _Advance(step, plan.steps_per_epoch)
    course = Course(plan, checkpoints, rule_of(until), max_seconds, progress)
    state, carried = _State.first(step, params, plan.num_steps), _carried(params)
    state = state._replace(moments=_injected(state.moments, hyperparameters or {}))

    def go(state: _State, bounds: tuple[Array, Array]) -> _State:
        each = bounds[0].ndim == 1  # seeds of their own start and stop
        per_seed, shared = (state, carried, batches), (images, labels)
        arguments = ((*per_seed, bounds), shared) if each else (per_seed, (bounds, *shared))
        return map_seeds(advance, *arguments, strategy=strategy, donate=True)

    state, kept = course.run(go, state, num_seeds=len(seeds))
    repeat = (len(seeds), len(kept))
    history = History(
        state.loss,
        state.accuracy,
        state.steps,
        jnp.asarray(np.tile(np.asarray(checkpoints, np.int32), (len(seeds), 1))),
        {
            **jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf[:, None], repeat + leaf.shape[1:]), carried
            ),
            "params": _stacked(kept, state.trained),
        },
    )
    return _ensemble(step, state, carried, history, seeds)


@checked
def train_on_batches(
    model: nn.Module,
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    seeds: Iterable[int],
    key: Key,
    optimizer: optax.GradientTransformation | None = None,
    loss: str | LossFn = "cross_entropy",
    progress: bool | None = None,
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
      progress: as for `train`.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Ensemble` like that of `train`, without checkpoints; DEAD are the networks of which the
      gradient of the loss with respect to the input is, in the end, exactly zero on the last batch.

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
    state, losses, accuracy = None, [], []
    with Bar(progress) as bar:
        for images, labels in batches:
            _checks.images(images)
            if state is None:
                params = initial_params(model, images.shape[1:], seeds=seeds, key=key)
                step, num_classes = _prepared(model, params, images.shape, optimizer, loss)
                state, carried = _State.first(step, params, 1), _carried(params)
            _checks.labels(labels, num_examples=len(images), num_classes=num_classes)
            order = jnp.arange(len(images), dtype=jnp.int32)[None]
            data = (jnp.asarray(images), jnp.asarray(labels, jnp.int32))
            shared = (order, (jnp.int32(0), jnp.int32(1)), *data)
            advance = _Advance(step, 1)
            state = map_seeds(advance, (state, carried), shared, strategy=strategy, donate=True)
            losses.append(state.loss[:, 0])
            accuracy.append(state.accuracy[:, 0])
            bar.add(len(images) * len(seeds))
    if state is None:
        raise ValueError("batches must not be empty.")
    steps = jnp.full(len(seeds), len(losses), jnp.int32)
    state = state._replace(
        loss=jnp.stack(losses, axis=1), accuracy=jnp.stack(accuracy, axis=1), steps=steps
    )
    none = _stacked([], {**carried, "params": state.trained})
    no_steps = jnp.zeros((len(seeds), 0), jnp.int32)
    history = History(state.loss, state.accuracy, steps, no_steps, none)
    return _ensemble(step, state, carried, history, seeds)


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
    keys = jax.vmap(lambda seed_key: split_key(seed_key)[0])(seed_keys(key, seeds))
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


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step of one network as a pure function; equal settings share a compilation."""

    apply_fn: ApplyFn
    affine: bool
    optimizer: optax.GradientTransformation
    loss: LossFn

    def __call__(
        self, params: Params, moments: Any, images: Array, labels: Array
    ) -> tuple[Params, Any, tuple[Array, Array]]:
        """What is trained, the optimiser's state; loss and accuracy before the step."""

        def mean_loss(trained: Params, *batch: Array) -> tuple[Array, Array]:
            return self._mean_loss({**params, "params": trained}, *batch)

        slope = jax.value_and_grad(mean_loss, has_aux=True)
        metrics, slopes = self._by_blocks(partial(slope, params["params"]), params, images, labels)
        updates, moments = self.optimizer.update(slopes, moments, params["params"])
        return optax.apply_updates(params["params"], updates), moments, metrics

    def _by_blocks(
        self, means: Callable[..., Any], params: Params, images: Array, labels: Array
    ) -> Any:
        """``means(images, labels)``, means over a batch, of blocks of images near in memory."""
        network = partial(self.apply_fn, params)
        size = len(images) if self.affine else block_size(network, images, _NEAR)  # type: ignore[arg-type]
        if size == len(images):
            return means(images, labels)
        blocks = [x.reshape(-1, size, *x.shape[1:]) for x in (images, labels)]
        like = jax.eval_shape(means, *(x[0] for x in blocks))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

        def add(total: Any, block: list[Array]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, means(*block)), None

        total, _ = jax.lax.scan(add, zeros, blocks)
        return jax.tree.map(lambda leaf: leaf * (size / len(images)), total)

    def input_slope(self, params: Params, images: Array, labels: Array) -> Array:
        """Gradient of the loss with respect to the images."""
        return jax.grad(lambda images: self._mean_loss(params, images, labels)[0])(images)

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
    batch_shape: tuple[int, ...],
    optimizer: optax.GradientTransformation | None,
    loss: str | LossFn,
) -> tuple[_Step, int]:
    """The step of ``model``, and how many classes it has; params of all seeds."""
    if not callable(loss):
        _checks.one_of("loss", loss, LOSSES)
        loss = LOSSES[loss]
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    num_images, *image_shape = batch_shape
    leaves, structure = jax.tree.flatten(one)
    facts = model, structure, tuple(leaves), tuple(image_shape)
    try:
        num_classes, affine = _known(*facts)
    except TypeError:  # an attribute, say an array, that cannot be hashed
        num_classes, affine = _known.__wrapped__(*facts)
    # Beta costs as much as K images: with fewer in a batch, they go through the layers themselves.
    affine = affine and num_classes <= num_images
    return _Step(shared_apply_fn(model), affine, optimizer or sgd(), loss), num_classes


@lru_cache
def _known(
    model: nn.Module,
    structure: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    image_shape: tuple[int, ...],
) -> tuple[int, bool]:
    """The number of classes, and whether the network is affine; raises unless it can be trained."""
    params = jax.tree.unflatten(structure, leaves)
    num_classes = _check_pure(model, params, image_shape)
    return num_classes, ops.is_affine(shared_apply_fn(model), params, image_shape)  # type: ignore[arg-type]


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


class _State(NamedTuple):
    """Of one training, or with a leading axis S of all."""

    trained: Params  # the collection "params"
    moments: Any  # of the optimiser
    loss: Array  # [T], NaN of a step not taken
    accuracy: Array  # [T]
    steps: Array  # int32 [], taken
    alive: Array  # bool []

    @staticmethod
    @partial(jax.jit, static_argnums=(0, 2))
    def first(step: "_Step", params: Params, num_steps: int) -> "_State":
        """Before the first step, of all seeds."""
        # A copy: the state is overwritten, and some optimisers keep the parameters they start from.
        trained = jax.tree.map(jnp.copy, params["params"])
        num_seeds = len(jax.tree.leaves(trained)[0])
        return _State(
            trained,
            jax.vmap(step.optimizer.init)(params["params"]),
            jnp.full((num_seeds, num_steps), jnp.nan),
            jnp.full((num_seeds, num_steps), jnp.nan),
            jnp.zeros(num_seeds, jnp.int32),
            jnp.zeros(num_seeds, bool),
        )


@dataclasses.dataclass(frozen=True)
class _Advance:
    """Some steps of one seed as a pure function; equal settings share a compilation."""

    step: _Step
    steps_per_epoch: int

    def __call__(  # noqa: PLR0917 (in the order of `map_seeds`)
        self,
        state: _State,
        carried: Params,
        batches: Array,
        bounds: tuple[Array, Array],
        images: Array,
        labels: Array,
    ) -> _State:
        """From step ``bounds[0]`` to before step ``bounds[1]``, and whether it lives after."""
        start, stop = bounds

        def take(index: Array, state: _State) -> _State:
            batch = batches[index]
            params = {**carried, "params": state.trained}
            trained, moments, (loss, accuracy) = self.step(
                params, state.moments, images[batch], labels[batch]
            )
            return state._replace(
                trained=trained,
                moments=moments,
                loss=state.loss.at[index].set(loss),
                accuracy=state.accuracy.at[index].set(accuracy),
            )

        state = jax.lax.fori_loop(start, stop, take, state)
        params = {**carried, "params": state.trained}

        def unseen(at: tuple[Array, Array]) -> Array:
            back, alive = at
            return ~alive & (back < jnp.minimum(stop, self.steps_per_epoch))

        def look(at: tuple[Array, Array]) -> tuple[Array, Array]:
            batch = batches[stop - 1 - at[0]]
            slope = self.step.input_slope(params, images[batch], labels[batch])
            return at[0] + 1, jnp.any(slope != 0)

        # Through the last epoch backwards, until a gradient is seen; mostly that is at once.
        _, alive = jax.lax.while_loop(unseen, look, (jnp.int32(0), jnp.bool_(False)))
        return state._replace(steps=stop, alive=alive)


def _injected(moments: Any, values: Mapping[str, ArrayLike]) -> Any:
    """The optimisers' states, leaves [S, ...], with the same values of hyperparameters in each."""
    for name, value in values.items():
        held = optax.tree_utils.tree_get_all_with_path(moments, name)
        if not held:
            raise ValueError(
                f"hyperparameters must be ones that the optimizer takes as part of its state, "
                f"by optax.inject_hyperparams; got {name!r}."
            )
        _checks.rank(f"hyperparameters[{name!r}]", value, 0)
        moments = optax.tree_utils.tree_set(moments, **{name: jnp.full_like(held[0][1], value)})
    return moments


def _carried(params: Params) -> Params:
    """The collections that are not trained."""
    return {name: values for name, values in params.items() if name != "params"}


def _stacked(kept: list[Params], like: Params) -> Params:
    """Checkpoints, leaves [S, ...], along a second axis; none of them are [S, 0, ...]."""
    if not kept:
        return jax.tree.map(
            lambda leaf: jax.device_put(np.zeros((len(leaf), 0, *leaf.shape[1:]), leaf.dtype)), like
        )
    return _stack(*kept)


@jax.jit
def _stack(*trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *trees)


def _ensemble(
    step: _Step, state: _State, carried: Params, history: History, seeds: tuple[int, ...]
) -> Ensemble:
    params = {**carried, "params": state.trained}
    return Ensemble(params, _statuses(state), history, seeds=seeds, apply_fn=step.apply_fn)


@jax.jit
@jax.vmap
def _statuses(state: _State) -> Array:
    taken = jnp.arange(len(state.loss)) < state.steps
    return _status(state.trained, jnp.where(taken, state.loss, 0), state.alive)


def _status(params: Params, losses: Array, alive: Array) -> Array:
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((params, losses))]
    status = jnp.where(alive, Status.OK, Status.DEAD)
    return jnp.where(jnp.all(jnp.stack(finite)), status, Status.DIVERGED).astype(jnp.int32)

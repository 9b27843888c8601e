"""Universal perturbations: one delta for all images of a data set.

Stochastic projected ascent of the mean clamped loss, over batches of the data,

    delta <- P_ball(delta + step_size * ascent(grad mean_n min(loss(x_n + delta, y_n), clamp))),

where the network sees x_n + delta clipped to the bounds. Without the clamp, images that are fooled
already, whose loss is large, would outweigh those that are not.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import losses
from freqbias.attacks.driver import Driver, choose_driver
from freqbias.attacks.levels import Scalar
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.attacks.protocol import (
    CheckedAttack,
    as_bounds,
    check_bounds,
    image_keys,
    on_device,
    predict,
)
from freqbias.typing import ApplyFn, Array, Key, LossFn, Params, Status


class UniversalPerturbation(NamedTuple):
    """Result of a universal attack; over an ensemble every leaf leads with [S].

    Attributes:
      delta: [H, W, C], as it was after the epoch in which it fools most; zero if it fools none.
      fooling_rate: [], share of the images whose prediction it changes (Moosavi-Dezfooli et al.);
        targeted: that it makes the target. NaN if no gradient was seen: there is no perturbation.
      history: [num_epochs], the fooling rate after each epoch; NaN likewise.
      status: int32 [], a `freqbias.typing.Status`: DIVERGED if a gradient, or a logit on a clean
        image, was not finite, DEAD if every gradient was exactly zero, else OK.
    """

    delta: Array
    fooling_rate: Array
    history: Array
    status: Array


class _State(NamedTuple):
    delta: Array  # [H, W, C], the iterate
    best: Array  # [H, W, C]
    fooling_rate: Array  # [], of the best
    finite: Array  # bool [], all gradients so far
    alive: Array  # bool [], some gradient was not exactly zero


class _Data(NamedTuple):
    images: Array  # [N, H, W, C]
    labels: Array  # int32 [N]
    targets: Array | None  # int32 [N] of a targeted attack
    clean: Array  # int32 [N], predictions on the clean images


class _Batches(NamedTuple):
    rows: Array  # int32 [B, batch_size], or of one batch [batch_size]
    weights: Array  # 1, or 0 for a row that only fills the last batch


@frozen
class UniversalAttack(CheckedAttack):
    """One perturbation for all images; made by `universal`.

    Attributes:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced.
      step_size: length of a step in the norm, scalar > 0; traced.
      clamp: loss above which an image has no gradient any more; traced.
      num_epochs: passes over the data.
      batch_size: images at once.
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`, ascended (targeted: descended).
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, to which the network's input is clipped, or None.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    epsilon: Scalar
    step_size: Scalar
    clamp: Scalar = 9.0
    num_epochs: int = static(default=10)
    batch_size: int = static(default=128)
    loss: str | LossFn = static(default="cross_entropy")
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> UniversalPerturbation:
        """One perturbation for all images; the key gives the order of the images in each epoch.

        The labels may be the clean predictions, to attack those.
        """
        _checks.rank("key", key, 0)
        image_keys(key, 1)  # checks its type
        inputs = self, labels, key, targets
        driver = choose_driver(self.driver, apply_fn, params, images, inputs)
        attack = jax.tree.map(lambda leaf: on_device(leaf, images.dtype), self)
        run = _scan if driver == "scan" else partial(_run, driver="host")
        return run(attack, apply_fn, params, images, labels, key, targets)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        check_norm(self.norm)
        _checks.positive_scalars(self, "epsilon", "step_size")
        _checks.rank("clamp", self.clamp, 0)
        _checks.positive_ints(self, "num_epochs", "batch_size")
        _checks.one_of("driver", self.driver, ("auto", "scan", "host"))
        losses.check_loss(self.loss)
        check_bounds(self.bounds)

    def apply(self, images: Array, delta: Array) -> Array:
        """The perturbed images [N, H, W, C], clipped to the bounds."""
        moved = images + delta[None]
        return moved if self.bounds is None else jnp.clip(moved, *self.bounds)


@checked
def universal(
    norm: Norm,
    *,
    epsilon: Scalar,
    step_size: Scalar | None = None,
    clamp: Scalar = 9.0,
    num_epochs: int = 10,
    batch_size: int = 128,
    loss: str | LossFn = "cross_entropy",
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> UniversalAttack:
    """A universal perturbation, by stochastic projected steepest ascent.

    Args:
      norm: the geometry of delta.
      epsilon: radius of the ball, in pixel units.
      step_size: length of a step in the norm; by default epsilon / 5.
      clamp: loss above which an image has no gradient any more.
      num_epochs: passes over the data; each also costs one pass of predictions.
      batch_size: images at once.
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`. (The cross-entropy is ascended, and
        clamped, through its log odds.)
      targeted: towards ``targets``, given at the call, e.g. one class for all images.
      bounds: (low, high) of a pixel, to which the network's input is clipped, or None.
      driver: "auto", "scan" or "host".

    Returns:
      The attack; call it, or pass it to ``Ensemble.attack`` for one perturbation per seed.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> network = attacks.example()
      >>> attack = attacks.universal(attacks.L2(), epsilon=2.0, num_epochs=2)
      >>> attack(*network, jax.random.key(0)).delta.shape
      (8, 8, 1)
      >>> found = network.nets.attack(attack, *network[2:], key=jax.random.key(0))
      >>> found.delta.shape, found.fooling_rate.shape
      ((2, 8, 8, 1), (2,))

    Reference:
      Moosavi-Dezfooli et al., 1610.08401 (the problem); Shafahi et al., 1811.11304, section 4 (this
      algorithm).
    """
    attack = UniversalAttack(
        norm=norm,
        epsilon=epsilon,
        step_size=epsilon / 5 if step_size is None else step_size,
        clamp=clamp,
        num_epochs=num_epochs,
        batch_size=batch_size,
        loss=loss,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack


def _run(  # noqa: PLR0917 (the arguments of a call)
    attack: UniversalAttack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    key: Key,
    targets: Array | None,
    *,
    driver: Driver,
) -> UniversalPerturbation:
    num_images = labels.size
    in_order = _batches(jnp.arange(num_images), attack.batch_size)
    each = partial(_each, driver)
    unknown = _Data(images, labels, targets, jnp.full_like(labels, -1))
    clean = each(_note, (attack, apply_fn, params, unknown), unknown.clean, in_order)
    arguments = attack, apply_fn, params, unknown._replace(clean=clean)

    def epoch(state: _State, key: Key) -> tuple[_State, Array]:
        order = jax.random.permutation(key, num_images)
        state = each(_ascend, arguments, state, _batches(order, attack.batch_size))
        count = jnp.zeros((), images.dtype)
        fooled = each(_count, (*arguments, state.delta), count, in_order) / num_images
        better = fooled > state.fooling_rate
        return state._replace(
            best=jnp.where(better, state.delta, state.best),
            fooling_rate=jnp.where(better, fooled, state.fooling_rate),
        ), fooled

    zeros, yes = jnp.zeros(images.shape[1:], images.dtype), jnp.all(clean >= 0)
    state = _State(zeros, zeros, jnp.zeros((), images.dtype), yes, ~(yes | True))
    keys = jax.random.split(key, attack.num_epochs)
    if driver == "scan":
        state, history = jax.lax.scan(epoch, state, keys)
    else:
        rates = []
        for index in range(attack.num_epochs):
            state, rate = epoch(state, keys[index])
            rates.append(rate)
        history = jnp.stack(rates)
    status = jnp.where(state.alive, Status.OK, Status.DEAD)
    status = jnp.where(state.finite, status, Status.DIVERGED).astype(jnp.int32)
    rate, history = (jnp.where(state.alive, of, jnp.nan) for of in (state.fooling_rate, history))
    return UniversalPerturbation(state.best, rate, history, status)


@partial(jax.jit, static_argnums=1)
def _scan(*arguments: Any) -> UniversalPerturbation:
    return _run(*arguments, driver="scan")


def _each(
    driver: Driver,
    step: Callable[..., Any],
    arguments: tuple[Any, ...],
    carry: Any,
    batches: _Batches,
) -> Any:
    """Carries ``step(*arguments, carry, batch)`` through all batches."""
    if driver == "scan":
        return jax.lax.scan(
            lambda carry, batch: (step(*arguments, carry, batch), None), carry, batches
        )[0]
    for index in range(len(batches.rows)):
        batch = jax.tree.map(lambda leaf, index=index: leaf[index], batches)
        carry = _compiled(step)(*arguments, carry, batch)
    return carry


@lru_cache
def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(step, static_argnums=1)  # apply_fn


def _batches(order: Array, batch_size: int) -> _Batches:
    """Rows in ``order``; the last batch is filled with rows of weight 0."""
    size = min(batch_size, order.size)
    missing = -order.size % size
    rows = jnp.concatenate([order, order[:missing]])
    weights = jnp.arange(rows.size) < order.size
    return _Batches(rows.reshape(-1, size), weights.reshape(-1, size))


def _note(  # noqa: PLR0917 (the arguments of a step)
    attack: UniversalAttack,
    apply_fn: ApplyFn,
    params: Params,
    data: _Data,
    clean: Array,
    batch: _Batches,
) -> Array:
    """Predictions on the clean images, those of the batch filled in."""
    del attack
    return clean.at[batch.rows].set(predict(apply_fn(params, data.images[batch.rows])))


def _ascend(  # noqa: PLR0917 (the arguments of a step)
    attack: UniversalAttack,
    apply_fn: ApplyFn,
    params: Params,
    data: _Data,
    state: _State,
    batch: _Batches,
) -> _State:
    """One projected step up the mean clamped loss of a batch."""
    loss_fn = losses.named_loss(attack.loss, targeted=attack.targeted)  # type: ignore[arg-type]
    images = data.images[batch.rows]
    classes = [of[batch.rows] for of in (data.labels, data.targets) if of is not None]

    def total_loss(delta: Array) -> Array:
        each = loss_fn(apply_fn(params, attack.apply(images, delta)), *classes)
        return jnp.sum(jnp.where(batch.weights, jnp.minimum(each, attack.clamp), 0))

    gradient = jax.grad(total_loss)(state.delta)
    finite = jnp.all(jnp.isfinite(gradient))
    gradient = jnp.where(finite, gradient, 0)
    moved = state.delta + attack.step_size * attack.norm.ascent(gradient)
    return state._replace(
        delta=attack.norm.project(moved, attack.epsilon),
        finite=state.finite & finite,
        alive=state.alive | jnp.any(gradient != 0),
    )


def _count(  # noqa: PLR0917 (the arguments of a step)
    attack: UniversalAttack,
    apply_fn: ApplyFn,
    params: Params,
    data: _Data,
    delta: Array,
    count: Array,
    batch: _Batches,
) -> Array:
    """Adds the images of a batch that delta fools."""
    predicted = predict(apply_fn(params, attack.apply(data.images[batch.rows], delta)))
    fooled = predicted != data.clean[batch.rows]
    if data.targets is not None:
        fooled = predicted == data.targets[batch.rows]
    return count + jnp.sum(batch.weights & (predicted >= 0) & fooled)

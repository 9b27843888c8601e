"""Projected gradient attacks of a fixed budget: FGSM, FGM, BIM, MI-FGSM and PGD in any `Norm`.

From a start delta_0 in the ball, with the box B = {delta: image + delta within bounds},

    delta_{k+1} = P_{ball, B}(delta_k + step_size * schedule(k) * direction_k),

where direction_k = ascent(T(g_k)), with g_k the gradient of the loss at delta_k and T a
transformation of it, by default none; in `optimizer_pgd` it is the update of an optax optimiser.
From a start at zero, direction_0 = steepest(T(g_0)), the best step if it is the only one. The image
enters through the network and the box alone.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import optax

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import losses, record
from freqbias.attacks.driver import (
    Answer,
    Driver,
    IterativeAttack,
    Loop,
    Phase,
    Program,
    forward,
    gradient_of,
    unasked,
)
from freqbias.attacks.levels import Scalar, largest
from freqbias.attacks.norms import Bounds, Norm
from freqbias.attacks.protocol import Perturbation, as_bounds, fold_each
from freqbias.typing import Array, Keys, LossFn, Schedule

_Kind = TypeVar("_Kind", bound="GradientAttack")


class GradientState(NamedTuple):
    """State of a gradient attack between two steps."""

    keys: Keys  # [N]
    targets: Array | None  # int32 [N]
    restart: Array  # int32 [], starts drawn
    step: Array  # int32 [], steps taken since the last start
    delta: Array  # [N, H, W, C], the iterate, not yet scored
    inner: Any  # of the gradient transformation, leaves [N, ...]
    best: record.Record
    goal: tuple[Array, ...]  # (labels,) or (labels, targets)


@frozen
class GradientAttack(IterativeAttack):
    """Steepest ascent of a loss within a ball and a box; made by `pgd` and `fgsm`.

    The result is, for each image, the best of delta = 0 and of all iterates of all restarts: an
    adversarial one is better than one that is not, then the one of higher loss. So one restart more
    never makes it worse.

    Attributes:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced.
      step_size: length of a step in the norm, scalar > 0; traced.
      num_steps: gradient steps from each start.
      num_restarts: starts per image.
      random_start: start uniformly in the ball (then projected onto the box), or at zero.
      targeted: descend towards ``targets`` instead of away from ``labels``.
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`; `named_loss` of it is ascended.
      bounds: (low, high) of a pixel, or None for no box.
      schedule: factor of the step size at step 0, 1, ..., num_steps - 1; None is constant.
      transform: of each image's gradient [H, W, C], before the step; None is none.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    epsilon: Scalar
    step_size: Scalar
    num_steps: int = static()
    num_restarts: int = static(default=1)
    random_start: bool = static(default=True)
    targeted: bool = static(default=False)
    loss: str | LossFn = static(default="cross_entropy")
    bounds: Bounds | None = static(default=(0.0, 1.0))
    schedule: Schedule | None = static(default=None)
    transform: optax.GradientTransformation | None = static(default=None)
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        _checks.positive_scalars(self, "epsilon", "step_size")
        _checks.positive_ints(self, "num_steps", "num_restarts")
        losses.check_loss(self.loss)

    def shared(self) -> Self:
        """No step knows how many there are: a new number compiles nothing."""
        return dataclasses.replace(self, num_steps=1, num_restarts=1, driver="host")

    def program(self, num_classes: int) -> Program:
        """A start, ``num_steps`` gradients and a last score, as often as there are starts."""
        del num_classes
        start = Phase(unasked, type(self).draw)
        ascent = Phase(gradient_of(self._loss_fn), type(self).ascend, self.num_steps)
        score = Phase(forward, type(self).score)
        return (Loop((start, ascent, score), self.num_restarts),)

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> GradientState:
        """Scores the clean images."""
        goal = (labels,) if targets is None else (labels, targets)
        loss = self._loss_fn(logits, *goal)
        best = record.start(images, labels, targets, logits, loss)
        zero = jnp.zeros((), jnp.int32)
        none = jnp.zeros_like(images)
        return GradientState(keys, targets, zero, zero, none, self._inner(none), best, goal)

    def draw(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """The next start: at zero, or by the norm's ``sample`` at radius epsilon."""
        del labels, answer
        delta = jnp.zeros_like(images)
        if self.random_start:
            delta = draw_start(
                self.norm, self.epsilon, images, state.keys, state.restart, bounds=self.bounds
            )
        return state._replace(
            restart=state.restart + 1,
            step=jnp.zeros_like(state.step),
            delta=delta,
            inner=self._inner(delta),
        )

    def ascend(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """Scores the iterate and moves it one step up the loss."""
        state = self._keep(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        factor = 1 if self.schedule is None else self.schedule(state.step)
        direction, inner = self.direction(state, gradients)
        moved = state.delta + self.step_size * factor * direction
        delta = project(self.norm, self.epsilon, images, moved, bounds=self.bounds)
        return state._replace(step=state.step + 1, delta=delta, inner=inner, best=best)

    def direction(self, state: GradientState, gradients: Array) -> tuple[Array, Any]:
        """Where to step, [N, H, W, C], and the transformation's next state."""
        inner = state.inner
        if self.transform is not None:
            gradients, inner = jax.vmap(self.transform.update)(gradients, inner, state.delta)
        ascent = jax.vmap(partial(self.norm.ascent, boxed=self.bounds is not None))(gradients)
        if self.random_start:
            return ascent, inner
        return jnp.where(state.step == 0, jax.vmap(self.norm.steepest)(gradients), ascent), inner

    def score(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """Scores the last iterate."""
        del images
        return self._keep(labels, state, answer)

    def finalize(self, state: GradientState) -> Perturbation:
        """The result: the best iterate of each image."""
        return record.result(state.best, self.norm)

    @property
    def _loss_fn(self) -> Callable[..., Array]:
        return losses.named_loss(self.loss, targeted=self.targeted)  # type: ignore[arg-type]

    def _keep(self, labels: Array, state: GradientState, answer: Answer) -> GradientState:
        loss = self._loss_fn(answer.logits, *state.goal)
        best = record.keep_loss(state.best, state.delta, loss, answer.logits, labels, state.targets)
        return state._replace(best=best)

    def _inner(self, delta: Array) -> Any:
        """Of the transformation at a start."""
        return () if self.transform is None else jax.vmap(self.transform.init)(delta)


@frozen
class OptimizerAttack(GradientAttack):
    """Ascent of a loss by an optax optimiser, projected onto ball and box; made by `optimizer_pgd`.

    ``transform`` is the optimiser: step_size * schedule(k) times its update is added to delta.
    """

    def direction(self, state: GradientState, gradients: Array) -> tuple[Array, Any]:
        """The optimiser's update of delta; it descends, so it sees the gradient's negative."""
        return jax.vmap(self.transform.update)(-gradients, state.inner, state.delta)  # type: ignore[union-attr]


@checked
def pgd(
    norm: Norm,
    *,
    epsilon: Scalar,
    num_steps: int = 40,
    step_size: Scalar | None = None,
    num_restarts: int = 1,
    random_start: bool = True,
    loss: str | LossFn = "cross_entropy",
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    schedule: Schedule | None = None,
    transform: optax.GradientTransformation | None = None,
    driver: Driver = "auto",
) -> GradientAttack:
    """Projected gradient descent.

    Args:
      norm: the geometry, e.g. ``L2()``.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps from each start.
      step_size: length of a step in the norm; by default 2.5 * epsilon / num_steps, with which any
        point of the ball can be reached from any start.
      num_restarts: starts per image, one after the other, so that memory does not grow.
      random_start: start uniformly in the ball, or at zero.
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`.
      targeted: ascend towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      schedule: factor of the step size at each step of a restart; a fixed function, since a new one
        compiles anew.
      transform: of each image's gradient before the steepest step, e.g. `momentum`; a fixed object.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=5)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> found.gradient_evaluations.tolist()
      [5, 5, 5, 5]

    Reference:
      Madry et al., 1706.06083.
    """
    _checks.positive_int("num_steps", num_steps)
    attack = GradientAttack(
        norm=norm,
        epsilon=epsilon,
        step_size=2.5 * epsilon / num_steps if step_size is None else step_size,
        num_steps=num_steps,
        num_restarts=num_restarts,
        random_start=random_start,
        targeted=targeted,
        loss=loss,
        bounds=as_bounds(bounds),
        schedule=schedule,
        transform=transform,
        driver=driver,
    )
    attack.check()
    return attack


@checked
def fgsm(norm: Norm, *, epsilon: Scalar, **options: Any) -> GradientAttack:
    """One steepest step of length epsilon: FGSM for L-inf, FGM for L2.

    Args:
      norm: the geometry, e.g. ``Linf()``.
      epsilon: radius of the ball, in pixel units.
      **options: ``loss``, ``targeted``, ``bounds`` and ``driver`` of `pgd`.

    Returns:
      The attack.

    Reference:
      Goodfellow et al., 1412.6572.
    """
    return pgd(norm, epsilon=epsilon, num_steps=1, step_size=epsilon, random_start=False, **options)


@checked
def bim(norm: Norm, *, epsilon: Scalar, num_steps: int = 10, **options: Any) -> GradientAttack:
    """Basic iterative method: `pgd` from zero instead of from a random start.

    Args:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps.
      **options: ``step_size``, ``loss``, ``targeted``, ``bounds``, ``schedule``, ``transform`` and
        ``driver`` of `pgd`.

    Returns:
      The attack.

    Reference:
      Kurakin et al., 1607.02533, section 2.2.
    """
    return pgd(norm, epsilon=epsilon, num_steps=num_steps, random_start=False, **options)


@checked
def mi_fgsm(
    norm: Norm, *, epsilon: Scalar, num_steps: int = 10, decay: float = 1.0, **options: Any
) -> GradientAttack:
    """Momentum iterative FGSM: `bim` along the accumulated gradient, see `momentum`.

    Args:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps.
      decay: mu of `momentum`; static.
      **options: of `bim`; by default ``step_size`` = epsilon / num_steps.

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Reference:
      Dong et al., 1710.06081, algorithm 1; for other norms than L-inf, section 3.3.
    """
    _checks.positive_int("num_steps", num_steps)
    options = {"step_size": epsilon / num_steps, "transform": momentum(decay)} | options
    return bim(norm, epsilon=epsilon, num_steps=num_steps, **options)


@checked
@lru_cache
def momentum(decay: float = 1.0) -> optax.GradientTransformation:
    """Accumulates gradients of L1 norm one: m_{k+1} = decay * m_k + g_k / ||g_k||_1, m_0 = 0.

    It takes the gradient of one image at a time, so that no image depends on another. By the norm,
    the scale of a gradient does not matter.

    Args:
      decay: >= 0.

    Returns:
      The transformation, always the same object for one ``decay``.

    Raises:
      ValueError: ``decay`` is negative or not finite.
    """
    if not 0 <= decay < float("inf"):
        raise ValueError(f"decay must be finite and >= 0; got {decay}.")

    def normalize(gradient: Array, delta: Array | None) -> Array:
        del delta
        scale = largest(gradient)
        gradient = gradient / jnp.where(scale == 0, 1, scale)
        return gradient / jnp.maximum(jnp.sum(jnp.abs(gradient)), 1)

    return optax.chain(optax.stateless(normalize), optax.trace(decay))


@checked
def optimizer_pgd(
    norm: Norm,
    optimizer: optax.GradientTransformation,
    *,
    epsilon: Scalar,
    num_steps: int = 40,
    step_size: Scalar = 1.0,
    **options: Any,
) -> OptimizerAttack:
    """PGD whose steps are those of an optax optimiser, each projected onto ball and box.

    Args:
      norm: the geometry of the ball; the steps are the optimiser's own.
      optimizer: e.g. ``optax.adam(0.01)``; static, so pass the same object each time, since a new
        one compiles anew. It has a state for each image, which every restart sets back. It must
        need no more than the gradient and the point: no line search, no value of the loss.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps from each start.
      step_size: factor of the optimiser's update; traced.
      **options: ``num_restarts``, ``random_start``, ``loss``, ``targeted``, ``bounds``,
        ``schedule`` and ``driver`` of `pgd`.

    Returns:
      The attack.

    Raises:
      TypeError: ``optimizer`` is no gradient transformation, or needs more than gradient and point.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> import optax
      >>> from freqbias import attacks
      >>> adam = optax.adam(0.01)
      >>> attack = attacks.optimizer_pgd(attacks.L2(), adam, epsilon=0.5, num_steps=5)
      >>> attack(*attacks.example(), jax.random.key(0)).delta.shape
      (4, 8, 8, 1)
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer must be an optax.GradientTransformation; got {optimizer!r}.")
    point = jnp.zeros((1, 1, 1))
    try:
        jax.eval_shape(lambda at: optimizer.update(at, optimizer.init(at), at), point)
    except TypeError as error:
        raise TypeError(
            f"optimizer must update from the gradient and the point alone; its update says: {error}"
        ) from error
    attack = pgd(
        norm,
        epsilon=epsilon,
        num_steps=num_steps,
        step_size=step_size,
        transform=optimizer,
        **options,
    )
    return as_kind(OptimizerAttack, attack)


def as_kind(kind: type[_Kind], attack: GradientAttack) -> _Kind:
    """An attack of the same fields and another class."""
    fields = {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)}
    return kind(**fields)


def project(
    norm: Norm, epsilon: Scalar, images: Array, delta: Array, *, bounds: Bounds | None
) -> Array:
    """Projection of each perturbation onto its ball and, with bounds, the box.

    Args:
      norm: the geometry.
      epsilon: radius of all balls, [], or of each, [N].
      images: [N, H, W, C].
      delta: [N, H, W, C].
      bounds: (low, high) of a pixel, or None.

    Returns:
      [N, H, W, C].
    """
    radii = jnp.broadcast_to(epsilon, delta.shape[:1])
    if bounds is None:
        return jax.vmap(norm.project)(delta, radii)
    within = partial(norm.project_box, bounds=bounds)
    return jax.vmap(within)(delta, images, radii)


def draw_start(
    norm: Norm,
    epsilon: Scalar,
    images: Array,
    keys: Keys,
    restart: Array,
    *,
    bounds: Bounds | None,
) -> Array:
    """Start number ``restart`` of each image [N, H, W, C]: uniform in the ball, then projected."""
    keys = fold_each(keys, restart)
    sample = partial(norm.sample, shape=images.shape[1:], dtype=images.dtype)
    return project(norm, epsilon, images, epsilon * jax.vmap(sample)(keys), bounds=bounds)

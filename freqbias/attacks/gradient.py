"""Projected gradient attacks of a fixed budget: FGSM, FGM, BIM and PGD in any `Norm`.

From a start delta_0 in the ball, with the box B = {delta: image + delta within bounds},

    delta_{k+1} = P_{ball, B}(delta_k + step_size * schedule(k) * steepest(grad loss(delta_k))).
"""

import dataclasses
from functools import partial
from typing import NamedTuple, Self

import flax.struct
import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias.attacks import losses, record
from freqbias.attacks.driver import (
    Answer,
    Driver,
    IterativeAttack,
    Loop,
    Phase,
    forward,
    gradient_of,
)
from freqbias.attacks.norms import Bounds, Norm, Scalar
from freqbias.attacks.protocol import Perturbation, as_bounds
from freqbias.typing import Array, Key, LossFn, Schedule

# The cross-entropy is ascended through its log odds: the same steps, without underflow.
_LOSSES: dict[str, LossFn] = {"cross_entropy": losses.log_odds, "margin": losses.margin}


class GradientState(NamedTuple):
    """State of a gradient attack between two steps."""

    keys: Key  # [N]
    targets: Array | None  # int32 [N]
    restart: Array  # int32 [], starts drawn
    step: Array  # int32 [], steps taken since the last start
    delta: Array  # [N, H, W, C], the iterate, not yet scored
    best: record.Record
    goal: tuple[Array, ...]  # (labels,) or (targets,)


@flax.struct.dataclass
class GradientAttack(IterativeAttack):
    """Steepest ascent of a loss within a ball and a box; made by `pgd` and `fgsm`.

    The result is, per image, the best of all iterates of all restarts and of delta = 0:
    adversarial ones first, then by loss. It therefore never gets worse with more restarts.

    Attributes:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced.
      step_size: length of a step in the norm, scalar > 0; traced.
      num_steps: gradient steps from each start.
      num_restarts: starts per image.
      random_start: start uniformly in the ball (then projected onto the box), or at zero.
      targeted: descend towards ``targets`` instead of away from ``labels``.
      loss: "cross_entropy", "margin" or a `LossFn`, ascended (targeted: descended).
      bounds: (low, high) of a pixel, or None for no box.
      schedule: factor of the step size at step 0, 1, ..., num_steps - 1; None is constant.
      driver: "scan", "host", or "auto": "host" on CPU unless traced, else "scan".
    """

    norm: Norm
    epsilon: Scalar
    step_size: Scalar
    num_steps: int = flax.struct.field(pytree_node=False)
    num_restarts: int = flax.struct.field(pytree_node=False, default=1)
    random_start: bool = flax.struct.field(pytree_node=False, default=True)
    targeted: bool = flax.struct.field(pytree_node=False, default=False)
    loss: str | LossFn = flax.struct.field(pytree_node=False, default="cross_entropy")
    bounds: Bounds | None = flax.struct.field(pytree_node=False, default=(0.0, 1.0))
    schedule: Schedule | None = flax.struct.field(pytree_node=False, default=None)
    driver: Driver = flax.struct.field(pytree_node=False, default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        for name in ("epsilon", "step_size"):
            _checks.rank(name, getattr(self, name), 0)
            _checks.positive(name, getattr(self, name))
        _checks.positive_int("num_steps", self.num_steps)
        _checks.positive_int("num_restarts", self.num_restarts)
        if not callable(self.loss):
            _checks.one_of("loss", self.loss, _LOSSES)

    def shared(self) -> Self:
        """No step knows how many there are: a new number compiles nothing."""
        return dataclasses.replace(self, num_steps=1, num_restarts=1, driver="host")

    def program(self, num_classes: int) -> tuple[Loop, ...]:
        """``num_steps`` gradients and a last score, for each restart."""
        del num_classes
        ascent = Phase(gradient_of(self._loss_fn), GradientAttack.ascend, self.num_steps)  # type: ignore[arg-type]
        return (Loop((ascent, Phase(forward, GradientAttack.restart)), self.num_restarts),)

    def begin(
        self, images: Array, labels: Array, keys: Key, targets: Array | None, logits: Array
    ) -> GradientState:
        """Scores the clean images and draws the first start."""
        goal = (labels if targets is None else targets,)
        loss = self._loss_fn(logits, *goal)
        best = record.start(images, labels, targets, logits, loss)
        zero = jnp.zeros((), jnp.int32)
        state = GradientState(keys, targets, zero, zero, jnp.zeros_like(images), best, goal)
        return self._draw(images, state)

    def ascend(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """Scores the iterate and moves it one step up the loss."""
        state = self._keep(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        factor = 1 if self.schedule is None else self.schedule(state.step)
        direction = jax.vmap(self.norm.steepest)(gradients)
        moved = state.delta + self.step_size * factor * direction
        delta = project(self.norm, self.epsilon, images, moved, bounds=self.bounds)
        return state._replace(step=state.step + 1, delta=delta, best=best)

    def restart(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """Scores the last iterate and draws the next start."""
        return self._draw(images, self._keep(labels, state, answer))

    def finalize(self, state: GradientState) -> Perturbation:
        """The result: the best iterate of each image."""
        return record.result(state.best, self.norm)

    @property
    def _loss_fn(self) -> LossFn:
        loss_fn = self.loss if callable(self.loss) else _LOSSES[self.loss]
        return losses.targeted_fn(loss_fn) if self.targeted else loss_fn  # type: ignore[arg-type]

    def _keep(self, labels: Array, state: GradientState, answer: Answer) -> GradientState:
        loss = self._loss_fn(answer.logits, *state.goal)
        best = record.keep_loss(state.best, state.delta, loss, answer.logits, labels, state.targets)
        return state._replace(best=best)

    def _draw(self, images: Array, state: GradientState) -> GradientState:
        """The next start: at zero, or by the norm's ``sample`` at radius epsilon."""
        delta = jnp.zeros_like(images)
        if self.random_start:
            keys = jax.vmap(jax.random.fold_in, (0, None))(state.keys, state.restart)
            sample = partial(self.norm.sample, shape=images.shape[1:], dtype=images.dtype)
            drawn = self.epsilon * jax.vmap(sample)(keys)
            delta = project(self.norm, self.epsilon, images, drawn, bounds=self.bounds)
        return state._replace(
            restart=state.restart + 1, step=jnp.zeros_like(state.step), delta=delta
        )


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
    driver: Driver = "auto",
) -> GradientAttack:
    """Projected gradient descent (BIM with ``random_start=False``).

    Args:
      norm: the geometry, e.g. ``L2()``.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps from each start.
      step_size: length of a step in the norm; by default 2.5 * epsilon / num_steps, with which any
        point of the ball can be reached from any start.
      num_restarts: starts per image, one after the other, so that memory does not grow.
      random_start: start uniformly in the ball, or at zero.
      loss: "cross_entropy", "margin" or a `LossFn`.
      targeted: ascend towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      schedule: factor of the step size at each step of a restart; a fixed function, since a new one
        compiles anew.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      ValueError: a number or an option is out of range.

    Example:
      >>> attack = pgd(L2(), epsilon=0.5, num_steps=40)
      >>> found = attack(apply_fn, params, images, labels, jax.random.key(0))

    Reference:
      Madry et al., 1706.06083; Kurakin et al., 1607.02533.
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
        driver=driver,
    )
    attack.check()
    return attack


def fgsm(norm: Norm, *, epsilon: Scalar, **options) -> GradientAttack:
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


def project(
    norm: Norm, epsilon: Scalar, images: Array, delta: Array, *, bounds: Bounds | None
) -> Array:
    """Projection of each perturbation [N, H, W, C] onto the ball and, with bounds, the box."""
    if bounds is None:
        return jax.vmap(lambda one: norm.project(one, epsilon))(delta)
    return jax.vmap(lambda one, image: norm.project_box(one, image, epsilon, bounds))(delta, images)

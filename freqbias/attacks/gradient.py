"""Projected gradient attacks of a fixed budget: FGSM, FGM, BIM and PGD in any `Norm`.

From a start delta_0 in the ball, with the box B = {delta: image + delta within bounds},

    delta_{k+1} = P_{ball, B}(delta_k + step_size * schedule(k) * steepest(grad loss(delta_k))).

The attack is pure functions over an explicit state: `GradientAttack.init`, then for each restart
``restart`` (draws its start), ``step`` (num_steps times) and ``score`` (of the last iterate), and
``finalize``. Two drivers run them to the same result: "scan" is one compiled call, for accelerators
and inside jit or vmap; "host" drives compiled steps from Python, several times faster for
convolutions on CPU, where XLA's convolution is slow inside a loop.
"""

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias.attacks import losses
from freqbias.attacks.norms import Bounds, Norm, Scalar
from freqbias.attacks.protocol import (
    Perturbation,
    as_bounds,
    check_arguments,
    check_bounds,
    fold_keys,
    predict,
)
from freqbias.typing import ApplyFn, Array, Key, LossFn, Params, Schedule, Status

Driver = Literal["auto", "scan", "host"]

# The cross-entropy is ascended through its log odds: the same steps, without underflow.
_LOSSES: dict[str, LossFn] = {"cross_entropy": losses.log_odds, "margin": losses.margin}


class GradientState(NamedTuple):
    """State of a gradient attack between two steps."""

    keys: Key  # [N]
    targets: Array | None  # int32 [N]
    restart: Array  # int32 [], starts drawn
    step: Array  # int32 [], steps taken since the last start
    delta: Array  # [N, H, W, C], the iterate, not yet scored
    clean_correct: Array  # bool [N]
    best_delta: Array  # [N, H, W, C], the best iterate of all restarts; at first 0
    best_loss: Array  # [N]
    best_adversarial: Array  # bool [N]
    finite: Array  # bool [N], logits and gradients finite so far
    alive: Array  # bool [N], some gradient was not exactly zero
    gradient_evaluations: Array  # int32 [N]


@flax.struct.dataclass
class GradientAttack:
    """Steepest ascent of a loss within a ball and a box; made by `pgd` and `fgsm`.

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

    def __call__(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key,
        *,
        targets: Array | None = None,
    ) -> Perturbation:
        """Attacks one network on a batch of images.

        The result is, per image, the best of all iterates of all restarts and of delta = 0:
        adversarial ones first, then by loss. It therefore never gets worse with more restarts.

        Args:
          apply_fn: (params, images) -> logits [N, K]; static, so pass the same object each time.
          params: parameters of one network; ``jax.vmap`` over them for many (driver "scan").
          images: [N, H, W, C] within bounds.
          labels: int [N].
          key: one key, folded with each image's index, or one key per image [N].
          targets: int [N], each different from its label; only for a targeted attack.

        Returns:
          A `Perturbation` of leading axis [N].

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong.
        """
        self.check()
        images, labels, targets = check_arguments(
            apply_fn, params, images, labels, targets, bounds=self.bounds, targeted=self.targeted
        )
        attack = dataclasses.replace(  # one dtype, whatever was passed: one compilation
            self,
            epsilon=jnp.asarray(self.epsilon, images.dtype),
            step_size=jnp.asarray(self.step_size, images.dtype),
        )
        arguments = (apply_fn, params, images, labels)
        keys = fold_keys(key, images.shape[0])
        if _choose_driver(self.driver, (self, params, images, labels, keys)) == "scan":
            return _scan(attack, *arguments, key=keys, targets=targets)
        # One step knows neither number: a new one compiles nothing.
        attack = dataclasses.replace(attack, num_steps=1, num_restarts=1, driver="host")
        query = partial(
            loss_gradient, apply_fn, attack._loss_fn, params, images, _goal(labels, targets)
        )
        state = _begin(attack, images, labels, keys, targets, query(jnp.zeros_like(images))[0])
        for _ in range(self.num_restarts):
            state = attack.restart(images, state)
            for _ in range(self.num_steps):
                state = _update(attack, images, labels, state, *query(state.delta))
            state = _keep_best(attack, query(state.delta)[0], labels, state)
        return _finalize(attack, state)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        for name in ("epsilon", "step_size"):
            _checks.rank(name, getattr(self, name), 0)
            _checks.positive(name, getattr(self, name))
        _checks.positive_int("num_steps", self.num_steps)
        _checks.positive_int("num_restarts", self.num_restarts)
        if not callable(self.loss):
            _checks.one_of("loss", self.loss, _LOSSES)
        _checks.one_of("driver", self.driver, ("auto", "scan", "host"))
        check_bounds(self.bounds)

    def init(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key,
        *,
        targets: Array | None = None,
    ) -> GradientState:
        """The state before the first restart: the clean images are scored."""
        keys = fold_keys(key, images.shape[0])
        return self._begin(images, labels, keys, targets, apply_fn(params, images))

    def _begin(
        self, images: Array, labels: Array, keys: Key, targets: Array | None, logits: Array
    ) -> GradientState:
        num_images = images.shape[0]
        loss, adversarial, finite = self._judge(logits, labels, targets)
        return GradientState(
            keys=keys,
            targets=targets,
            restart=jnp.zeros((), jnp.int32),
            step=jnp.zeros((), jnp.int32),
            delta=jnp.zeros_like(images),
            clean_correct=predict(logits) == labels,
            best_delta=jnp.zeros_like(images),
            best_loss=loss,
            best_adversarial=adversarial,
            finite=finite,
            alive=jnp.zeros(num_images, bool),
            gradient_evaluations=jnp.zeros(num_images, jnp.int32),
        )

    def restart(self, images: Array, state: GradientState) -> GradientState:
        """Draws the next start: at zero, or by the norm's ``sample`` at radius epsilon."""
        if self.random_start:
            arguments = (self.norm, self.epsilon, images, state.keys, state.restart)
            delta = _random_start(*arguments, bounds=self.bounds)
        else:
            delta = jnp.zeros_like(images)
        return state._replace(
            restart=state.restart + 1, step=jnp.zeros_like(state.step), delta=delta
        )

    def step(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        state: GradientState,
    ) -> GradientState:
        """Scores the iterate and moves it one step up the loss."""
        goal = _goal(labels, state.targets)
        answer = loss_gradient(apply_fn, self._loss_fn, params, images, goal, state.delta)
        return self._update(images, labels, state, *answer)

    def _update(
        self, images: Array, labels: Array, state: GradientState, logits: Array, gradient: Array
    ) -> GradientState:
        state = self._keep_best(logits, labels, state)
        finite = jnp.all(jnp.isfinite(gradient), axis=(1, 2, 3))
        gradient = jnp.where(finite[:, None, None, None], gradient, 0)
        factor = 1 if self.schedule is None else self.schedule(state.step)
        direction = jax.vmap(self.norm.steepest)(gradient)
        return state._replace(
            step=state.step + 1,
            delta=_project(
                self.norm,
                self.epsilon,
                images,
                state.delta + self.step_size * factor * direction,
                bounds=self.bounds,
            ),
            finite=state.finite & finite,
            alive=state.alive | jnp.any(gradient != 0, axis=(1, 2, 3)),
            gradient_evaluations=state.gradient_evaluations + 1,
        )

    def score(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        state: GradientState,
    ) -> GradientState:
        """Scores the last iterate of a restart, which no step has scored."""
        return self._keep_best(apply_fn(params, images + state.delta), labels, state)

    def finalize(self, state: GradientState) -> Perturbation:
        """The result: the best iterate of each image."""
        status = jnp.where(state.alive, Status.OK, Status.DEAD)
        return Perturbation(
            delta=state.best_delta,
            clean_correct=state.clean_correct,
            is_adversarial=state.best_adversarial,
            flipped=state.clean_correct & state.best_adversarial,
            distance=jax.vmap(self.norm.value)(state.best_delta),
            gradient_evaluations=state.gradient_evaluations,
            status=jnp.where(state.finite, status, Status.DIVERGED).astype(jnp.int32),
        )

    @property
    def _loss_fn(self) -> LossFn:
        loss_fn = self.loss if callable(self.loss) else _LOSSES[self.loss]
        return losses.targeted_fn(loss_fn) if self.targeted else loss_fn  # type: ignore[arg-type]

    def _judge(
        self, logits: Array, labels: Array, targets: Array | None
    ) -> tuple[Array, Array, Array]:
        """Loss [N] (-inf where not finite), adversarial [N] and finite [N] of some logits."""
        loss = self._loss_fn(logits, _goal(labels, targets))
        finite = jnp.all(jnp.isfinite(logits), axis=-1) & jnp.isfinite(loss)
        prediction = predict(logits)
        adversarial = prediction != labels if targets is None else prediction == targets
        return jnp.where(finite, loss, -jnp.inf), finite & adversarial, finite

    def _keep_best(self, logits: Array, labels: Array, state: GradientState) -> GradientState:
        """Takes ``state.delta``, of these logits, as the best wherever it is."""
        loss, adversarial, finite = self._judge(logits, labels, state.targets)
        tied = (adversarial == state.best_adversarial) & (loss > state.best_loss)
        better = finite & ((adversarial & ~state.best_adversarial) | tied)
        return state._replace(
            best_delta=jnp.where(better[:, None, None, None], state.delta, state.best_delta),
            best_loss=jnp.where(better, loss, state.best_loss),
            best_adversarial=state.best_adversarial | adversarial,
            finite=state.finite & finite,
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


def _goal(labels: Array, targets: Array | None) -> Array:
    return labels if targets is None else targets


def _choose_driver(driver: Driver, inputs: object) -> Driver:
    if driver != "auto":
        return driver
    concrete = all(map(_checks.is_concrete, jax.tree.leaves(inputs)))
    return "host" if concrete and jax.default_backend() == "cpu" else "scan"


def _project(
    norm: Norm, epsilon: Scalar, images: Array, delta: Array, *, bounds: Bounds | None
) -> Array:
    """Projection of each perturbation onto the ball and, with bounds, the box."""
    if bounds is None:
        return jax.vmap(lambda one: norm.project(one, epsilon))(delta)
    return jax.vmap(lambda one, image: norm.project_box(one, image, epsilon, bounds))(delta, images)


@partial(jax.jit, static_argnames="bounds")
def _random_start(
    norm: Norm, epsilon: Scalar, images: Array, keys: Key, restart: Array, *, bounds: Bounds | None
) -> Array:
    """One start per image, [N, H, W, C]."""

    def sample(key: Key) -> Array:
        return norm.sample(jax.random.fold_in(key, restart), images.shape[1:], images.dtype)

    return _project(norm, epsilon, images, epsilon * jax.vmap(sample)(keys), bounds=bounds)


@partial(jax.jit, static_argnums=(0, 1))
def loss_gradient(  # noqa: PLR0917 (a network, its inputs, and where to look)
    apply_fn: ApplyFn, loss_fn: LossFn, params: Params, images: Array, labels: Array, delta: Array
) -> tuple[Array, Array]:
    """Logits, and gradient of a loss with respect to the input, at images + delta.

    The only part of a gradient attack that knows the network, and so the only one that the "host"
    driver compiles per network; what it compiles per norm and option serves all networks.

    Args:
      apply_fn: (params, images) -> logits [N, K]; static.
      loss_fn: (logits, labels) -> losses [N], e.g. `margin`; static.
      params: of one network.
      images: [N, H, W, C].
      labels: int32 [N].
      delta: [N, H, W, C].

    Returns:
      Logits [N, K] and gradients [N, H, W, C], logit units per unit of intensity.
    """

    def total_loss(delta: Array) -> tuple[Array, Array]:
        logits = apply_fn(params, images + delta)
        return jnp.sum(loss_fn(logits, labels)), logits

    gradient, logits = jax.grad(total_loss, has_aux=True)(delta)
    return logits, gradient


_begin = jax.jit(GradientAttack._begin)
_update = jax.jit(GradientAttack._update)
_keep_best = jax.jit(GradientAttack._keep_best)
_finalize = jax.jit(GradientAttack.finalize)


@partial(jax.jit, static_argnames="apply_fn")
def _scan(
    attack: GradientAttack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    *,
    key: Key,
    targets: Array | None,
) -> Perturbation:
    """The whole attack in one compiled call."""
    arguments = (apply_fn, params, images, labels)

    def step(state: GradientState, _: None) -> tuple[GradientState, None]:
        return attack.step(*arguments, state), None

    def restart(state: GradientState, _: None) -> tuple[GradientState, None]:
        state, _ = jax.lax.scan(step, attack.restart(images, state), length=attack.num_steps)
        return attack.score(*arguments, state), None

    state = attack.init(*arguments, key, targets=targets)
    state, _ = jax.lax.scan(restart, state, length=attack.num_restarts)
    return attack.finalize(state)

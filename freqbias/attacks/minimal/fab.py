"""FAB: projections onto linearised boundaries, biased to the clean image."""

import dataclasses
from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import (
    Answer,
    Driver,
    IterativeAttack,
    Loop,
    Phase,
    Program,
    forward,
    jacobian,
)
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.minimal.linearised import (
    check_linear,
    linearise,
    nearest_boundary,
    with_label,
)
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.attacks.protocol import Perturbation, as_bounds, fold_each
from freqbias.typing import Array, Keys


class FABStart(NamedTuple):
    """Where FAB begins anew."""

    keys: Keys  # [N]
    restart: Array  # int32 [], starts made
    reached: Array  # [N], norm of the last iterate


@frozen
class FAB(IterativeAttack):
    """Fast adaptive boundary attack; made by `fab`.

    Attributes:
      norm: the geometry.
      alpha_max: largest share of the clean image's projection in a step; traced.
      eta: length of a step over the distance to the boundary; traced.
      beta: share of the perturbation kept after a success; traced.
      num_steps: steps from each start.
      num_restarts: starts per image.
      num_rivals: other classes looked at.
      class_by_class: towards one rival after the other, one gradient a step.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    alpha_max: Scalar = 0.1
    eta: Scalar = 1.05
    beta: Scalar = 0.9
    num_steps: int = static(default=50)
    num_restarts: int = static(default=1)
    num_rivals: int = static(default=NUM_RIVALS)
    class_by_class: bool = static(default=False)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        check_linear(self.norm, "FAB")
        check_norm(self.norm, "sample", use="FAB")
        _checks.positive_scalars(self, "alpha_max", "eta")
        _checks.share("beta", self.beta)
        _checks.positive_ints(self, "num_steps", "num_restarts", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> MinimalState:
        """At the clean images, the first start."""
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        if not self._one_gradient:
            state = with_label(labels, state)
        zeros = jnp.zeros(images.shape[0], images.dtype)
        return state._replace(own=FABStart(keys, jnp.zeros((), jnp.int32), zeros))

    def program(self, num_classes: int) -> Program:
        """Steps onto the boundary and back; after the last class of a restart the line search."""
        num_aims = 1
        if self.class_by_class and not self.targeted:
            num_aims = boundary.count_rivals(self.num_rivals, num_classes)
        oracle = boundary.ascent(targeted=self.targeted) if self._one_gradient else jacobian
        steps = Loop((Phase(oracle, FAB.advance), Phase(forward, FAB.retreat)), self.num_steps)
        aims = Loop((Phase(forward, FAB.draw), steps), num_aims)
        return (Loop((aims, *boundary.searching()), self.num_restarts),)

    def shared(self) -> Self:
        """No step knows how many there are, nor how many starts."""
        return dataclasses.replace(self, num_steps=1, num_restarts=1, driver="host")

    def advance(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Steps beyond the nearest boundary, drawn towards the clean image's projection on it."""
        best, rows = record.take_gradients(state.best, answer.gradients)
        owner = labels if state.targets is None else state.targets
        gradients, gaps = linearise(answer._replace(gradients=rows), state)
        points = images + state.delta  # the box may leave no overshoot: the gap has its own
        gaps = boundary.widen(state, answer.logits, owner, gaps, gradients, points)
        near = nearest_boundary(self.norm, gradients, gaps, points, bounds=self.bounds)
        travelled = jnp.sum(near.gradients * state.delta, axis=(1, 2, 3))
        clean_steps = boundary.boundary_step(
            self.norm, near.gradients, near.gap + travelled, images, bounds=self.bounds
        )
        both = near.distance + jax.vmap(self.norm.value)(clean_steps)
        share = jnp.where(both > 0, near.distance / jnp.where(both > 0, both, 1), 0)
        share = jnp.minimum(share, self.alpha_max)
        if self.targeted:  # else a step across one boundary of the target would undo an earlier one
            share = jnp.where(best.is_adversarial, share, 0)
        share = column(share)
        delta = (1 - share) * (state.delta + self.eta * near.steps)
        delta = boundary.clip(images, delta + share * self.eta * clean_steps, bounds=self.bounds)
        return state._replace(step=state.step + 1, delta=delta, best=best)

    def retreat(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the step; a success goes a little back."""
        del images
        state = boundary.keep(self.norm, labels, state, answer)
        adversarial, _ = record.judge(answer.logits, labels, state.targets)
        delta = jnp.where(column(adversarial), self.beta * state.delta, state.delta)
        reached = jax.vmap(self.norm.value)(delta)
        return state._replace(delta=delta, own=state.own._replace(reached=reached))

    def draw(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the last point of the search and starts anew, towards the next class.

        At the clean image in the first round, then uniform in half the best distance.
        """
        state = boundary.keep(self.norm, labels, state, answer)
        keys, restart, reached = state.own
        sample = partial(self.norm.sample, shape=images.shape[1:], dtype=images.dtype)
        drawn = jax.vmap(sample)(fold_each(keys, restart))
        best = record.nearest_distance(state.best)
        radius = jnp.where(state.best.is_adversarial, best, boundary.positive(reached)) / 2
        goal, round_length = state.goal, 1
        if self.class_by_class and not self.targeted:
            round_length = state.rivals.classes.shape[1]
            goal = goal[0], state.rivals.classes[:, restart % round_length]
        radius = jnp.where(restart >= round_length, radius, 0)
        delta = boundary.clip(images, column(radius) * drawn, bounds=self.bounds)
        own = state.own._replace(restart=restart + 1)
        return state._replace(delta=delta, goal=goal, own=own)

    def finalize(self, state: MinimalState) -> Perturbation:
        """The result: the nearest adversarial point of each image, after the line search."""
        return boundary.result(self, state)

    @property
    def _one_gradient(self) -> bool:
        return self.targeted or self.class_by_class


@checked
def fab(
    norm: Norm,
    *,
    num_steps: int = 50,
    num_restarts: int = 1,
    num_rivals: int = NUM_RIVALS,
    class_by_class: bool = False,
    alpha_max: Scalar = 0.1,
    eta: Scalar = 1.05,
    beta: Scalar = 0.9,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> FAB:
    """Fast adaptive boundary attack: projections onto linearised boundaries, biased to the image.

    With P the projection, in the norm and the box, onto the nearest linearised boundary around x_i,

        x_{i+1} = (1 - alpha) (x_i + eta (P x_i - x_i)) + alpha (image + eta (P image - image)),
        alpha = min(||P x_i - x_i|| / (||P x_i - x_i|| + ||P image - image||), alpha_max),

    and where x_{i+1} is adversarial, it goes back to image + beta (x_{i+1} - image).

    It differs from the paper in three ways: the nearest boundary is the nearest *within the box*;
    the last line search has 16 bisections, along projections onto shrinking balls; in a targeted
    attack alpha is 0 until the target is reached.

    Args:
      norm: the geometry, L1, L2, L-inf or Lp; it must define `Norm.smallest_step`.
      num_steps: steps from each start.
      num_restarts: starts per image: the image itself, then uniform in half the best distance.
      num_rivals: other classes looked at, the strongest at the clean image; each step costs
        num_rivals + 1 gradients.
      class_by_class: num_steps towards each rival in turn instead, of one gradient each; the image
        is adversarial in any other class (FAB-T of 2003.01690).
      alpha_max: largest share of the image's own projection.
      eta: length of a step over the distance to the boundary.
      beta: share of the perturbation kept after a success, < 1.
      targeted: towards ``targets``, given at the call: adversarial only there (the paper's targeted
        form is ``class_by_class``). The region of a target among many classes has several
        boundaries, of which a step sees one: in L-inf `fmn` often reaches it nearer.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range, or the norm lacks `Norm.smallest_step`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.fab(attacks.Linf(), num_steps=5, num_restarts=2)
      >>> bool(attack(*attacks.example(), jax.random.key(0)).is_adversarial.all())
      True

    Reference:
      Croce and Hein, 1907.02044, algorithm 1; class by class, 2003.01690, section 5.
    """
    attack = FAB(
        norm=norm,
        alpha_max=alpha_max,
        eta=eta,
        beta=beta,
        num_steps=num_steps,
        num_restarts=num_restarts,
        num_rivals=num_rivals,
        class_by_class=class_by_class,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack

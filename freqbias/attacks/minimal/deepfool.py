"""DeepFool: from linearised boundary to linearised boundary until the prediction changes."""

import dataclasses
from typing import Self

import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import Answer, Driver, IterativeAttack, Phase, Program, jacobian
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
from freqbias.attacks.protocol import Perturbation, as_bounds
from freqbias.typing import Array, Keys


@frozen
class DeepFool(IterativeAttack):
    """DeepFool; made by `deepfool`.

    Attributes:
      norm: the geometry.
      overshoot: share by which each step passes the linearised boundary; traced.
      num_steps: linearisations.
      num_rivals: other classes looked at.
      box_aware: whether steps are the smallest within the box, or clipped to it.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    overshoot: Scalar = 0.02
    num_steps: int = static(default=30)
    num_rivals: int = static(default=NUM_RIVALS)
    box_aware: bool = static(default=False)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        check_linear(self.norm, "DeepFool")
        _checks.positive_scalars(self, "overshoot")
        _checks.positive_ints(self, "num_steps", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> MinimalState:
        """At the clean images, whose strongest classes are the rivals."""
        del keys
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        return state if self.targeted else with_label(labels, state)

    def program(self, num_classes: int) -> Program:
        """Gradients until all images fell, at most ``num_steps`` times; the line search."""
        del num_classes
        oracle = boundary.ascent(targeted=True) if self.targeted else jacobian
        crossing = Phase(oracle, DeepFool.cross, self.num_steps, done=_all_fell)
        return crossing, *boundary.searching()

    def shared(self) -> Self:
        """No step knows how many there are."""
        return dataclasses.replace(self, num_steps=1, driver="host")

    def cross(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Steps onto the nearest boundary and a little beyond, until the image falls."""
        state = boundary.keep(self.norm, labels, state, answer)
        used = ~state.best.is_adversarial | (state.step == 0)
        best, rows = record.take_gradients(state.best, answer.gradients, used=used)
        owner = labels if state.targets is None else state.targets
        gradients, gaps = linearise(answer._replace(gradients=rows), state)
        points = images + state.delta
        gaps = boundary.widen(state, answer.logits, owner, jnp.maximum(gaps, 0), gradients, points)
        near = nearest_boundary(self.norm, gradients, gaps, points, bounds=self.bounds)
        steps = near.steps
        if not self.box_aware:
            steps = boundary.boundary_step(self.norm, near.gradients, near.gap, points, bounds=None)
        moved = state.delta + (1 + self.overshoot) * steps
        moved = boundary.clip(images, moved, bounds=self.bounds)
        delta = jnp.where(column(best.is_adversarial), state.delta, moved)
        return state._replace(step=state.step + 1, delta=delta, best=best)

    def finalize(self, state: MinimalState) -> Perturbation:
        """The result: the adversarial point found, after the line search."""
        return boundary.result(self, state)


def _all_fell(state: MinimalState) -> Array:
    return jnp.all(state.best.is_adversarial)


@checked
def deepfool(
    norm: Norm,
    *,
    num_steps: int = 30,
    overshoot: Scalar = 0.02,
    num_rivals: int = NUM_RIVALS,
    box_aware: bool | None = None,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> DeepFool:
    """DeepFool: from linearised boundary to linearised boundary until the prediction changes.

        delta_{i+1} = clip(delta_i + (1 + overshoot) v_i),   v_i = argmin_v ||v||,
        <grad(z_j - z_y), v> = z_y - z_j for some rival j.

    It differs from the paper in two ways: j is the rival nearest *within the box*, and a line
    search removes the rest of the way beyond the boundary. On an affine network one step is the
    exact optimum without the box, and with ``box_aware`` in the box too. On other networks, for
    images with many pixels on the edge of the box, the paper's steps come nearer (by 5 % in the
    median on images of clothes): the clip shortens them, so that the network is linearised more
    often.

    Args:
      norm: the geometry, L1, L2, L-inf or Lp; it must define `Norm.smallest_step`.
      num_steps: linearisations at most; each costs num_rivals + 1 gradients. A step that the clip
        cuts in half takes half the margin away, so black and white images need more than ten.
      overshoot: share by which each step passes the linearised boundary.
      num_rivals: other classes looked at, the strongest at the clean image.
      box_aware: whether v_i is the smallest step for which image + delta_i + v_i is in the box. By
        default in L1 alone, where v_i without the box is one pixel, which may be at its bound.
      targeted: towards ``targets``, given at the call: onto the boundary between the target and the
        strongest other class, one gradient a step. Of more than two classes this reaches the
        target, but not its nearest point: `fab`, `fmn` and `ddn` do.
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
      >>> network = attacks.example()
      >>> found = attacks.deepfool(attacks.L2(), bounds=None)(*network, jax.random.key(0))
      >>> exact = attacks.affine_attack(attacks.L2())(*network)
      >>> bool((found.distance < 1.001 * exact.distance).all())
      True

    Reference:
      Moosavi-Dezfooli et al., 1511.04599, algorithm 2 and section 3.3.
    """
    check_norm(norm)
    attack = DeepFool(
        norm=norm,
        overshoot=overshoot,
        num_steps=num_steps,
        num_rivals=num_rivals,
        box_aware=norm.sparse if box_aware is None else box_aware,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack

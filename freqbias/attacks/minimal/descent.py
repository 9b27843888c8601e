"""What DDN and FMN share: gradient steps within a ball whose radius follows the outcome.

Both move an iterate delta by gradient steps of decaying length, and bring it back to a ball whose
radius shrinks while delta is adversarial and grows while it is not. Their docstrings tell how they
differ from the papers, and why. What that is worth: in L2, on an affine model, foolbox's DDN ends
at 1.10 times the smallest distance in the median and 2.5 times at worst, its FMN at 3.75 and 368
times. Here tests hold both to 1.002 and 1.02 times.
"""

import dataclasses
from typing import NamedTuple, Self

import jax.numpy as jnp

from freqbias import _checks
from freqbias.attacks.driver import Answer, IterativeAttack, Loop, Phase, Program, forward
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import MinimalState
from freqbias.attacks.protocol import Perturbation
from freqbias.typing import Array, Keys


class Ball(NamedTuple):
    """Where one start of DDN or FMN stands."""

    start: Array  # int32 [], starts made
    radius: Array  # [N]
    fell: Array  # bool [N], whether the image was adversarial since this start


class Descent(IterativeAttack):
    """The program that DDN and FMN share."""

    step_size: Scalar
    gamma: Scalar
    num_steps: int
    num_restarts: int
    num_rivals: int

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        _checks.positive_scalars(self, "step_size")
        _checks.share("gamma", self.gamma)
        _checks.positive_ints(self, "num_steps", "num_restarts", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> MinimalState:
        """Before the probe; ``own`` is the `Ball`."""
        del keys
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        radius = jnp.ones(images.shape[0], images.dtype)
        return state._replace(own=Ball(jnp.zeros((), jnp.int32), radius, radius < 0))

    def program(self, num_classes: int) -> Program:
        """The probe; for each rival aimed at ``num_steps`` gradients and the line search."""
        probing = boundary.probing(
            targeted=self.targeted, num_rivals=self.num_rivals, num_classes=num_classes
        )
        oracle = boundary.ascent(targeted=self.targeted)
        descent = Phase(oracle, type(self).descend, self.num_steps)
        starts = 1
        if not self.targeted:
            starts = min(self.num_restarts, boundary.count_rivals(self.num_rivals, num_classes))
        last = Phase(forward, type(self).restart)
        return probing, Loop((descent, *boundary.searching(), last), starts)

    def shared(self) -> Self:
        """No step knows how many starts there are."""
        return dataclasses.replace(self, num_restarts=1, driver="host")  # type: ignore[type-var]

    def descend(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the iterate, moves it, and brings it onto the next ball."""
        raise NotImplementedError

    def restart(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the search's last point; starts anew from the image, towards the next rival."""
        state = boundary.keep(self.norm, labels, state, answer)
        start, zero = state.own.start + 1, jnp.zeros_like(state.step)
        rivals = boundary.aim_at(state.rivals, start)
        own = state.own._replace(start=start, fell=jnp.zeros_like(state.own.fell))
        state = state._replace(step=zero, delta=jnp.zeros_like(images), rivals=rivals, own=own)
        return state._replace(goal=(state.goal[0], rivals.aim))

    def finalize(self, state: MinimalState) -> Perturbation:
        """The result: the nearest adversarial point of each image."""
        return boundary.result(self, state)

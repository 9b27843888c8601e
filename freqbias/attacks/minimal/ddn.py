"""DDN: decoupled direction and norm, in L2."""

import jax
import jax.numpy as jnp

from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import Answer, Driver
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.minimal.descent import Ball, Descent
from freqbias.attacks.norms import L2, Bounds
from freqbias.attacks.protocol import as_bounds
from freqbias.typing import Array


@frozen
class DDN(Descent):
    """Decoupled direction and norm, L2; made by `ddn`.

    Attributes:
      step_size: length of the first step, in radii; traced.
      gamma: share by which the radius shrinks or grows at the first step; traced.
      num_steps: gradient steps from each start.
      num_restarts: starts per image, each towards another rival.
      num_rivals: classes probed at most.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    step_size: Scalar = 1.0
    gamma: Scalar = 0.05
    norm: L2 = L2()
    num_steps: int = static(default=50)
    num_restarts: int = static(default=2)
    num_rivals: int = static(default=NUM_RIVALS)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def descend(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the iterate, moves it, and brings it onto the next sphere."""
        state = boundary.keep(self.norm, labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        adversarial, _ = record.judge(answer.logits, labels, state.targets)
        decay = boundary.decay(state.step, self.num_steps, images.dtype, last=0.01)
        gamma = self.gamma * jnp.where(state.best.is_adversarial, decay, 1)
        radius = state.own.radius * jnp.where(adversarial, 1 - gamma, 1 + gamma)
        radius = jnp.where(state.step == 0, boundary.positive(state.rivals.distance), radius)
        unit = jax.vmap(self.norm.steepest)
        moved = state.delta + column(self.step_size * decay * radius) * unit(gradients)
        delta = boundary.clip(images, column(radius) * unit(moved), bounds=self.bounds)
        own = Ball(state.own.start, radius, state.own.fell | adversarial)
        state = state._replace(step=state.step + 1, delta=delta, best=best, own=own)
        return state._replace(goal=(state.goal[0], boundary.aims(state, own.fell)))


@checked
def ddn(
    *,
    num_steps: int = 50,
    num_restarts: int = 2,
    step_size: Scalar = 1.0,
    gamma: Scalar = 0.05,
    num_rivals: int = NUM_RIVALS,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> DDN:
    """Decoupled direction and norm: the smallest adversarial perturbation in L2.

        delta' = delta_k + step_size alpha_k r_k g / ||g||,   r_{k+1} = (1 -+ alpha_k gamma) r_k,
        delta_{k+1} = clip(r_{k+1} delta' / ||delta'||),

    with minus where delta_k is adversarial; alpha_k falls from 1 to 0.01 along a cosine.

    It differs from the paper in five ways.

    * g is the gradient of a difference of logits: towards the class of the nearest linearised
      boundary until the image falls, then of the margin. (The paper's is that of the cross-entropy,
      a sum over all rivals, which does not point to the nearest boundary from far away.)
    * A second start aims at the second nearest class. Without it, on small trained networks, one
      image in ten is found 2 % to 25 % too far away, however many steps are taken.
    * The first radius is the linearised distance, not 1, and steps are measured in radii, so that
      no result depends on the unit of a pixel.
    * Once the image fell, gamma falls with alpha_k, so that each start ends at the boundary.
    * A line search then removes the rest of the way beyond the boundary.

    Args:
      num_steps: gradient steps from each start.
      num_restarts: starts per image: towards the class of the nearest linearised boundary, then of
        the second nearest, and so on; at most as many as are probed, and one if targeted.
      step_size: length of the first step, in radii.
      gamma: share by which the radius shrinks or grows at first, < 1.
      num_rivals: classes whose linearised boundary is measured first, one gradient each; the
        strongest at the clean image.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> network = attacks.example()
      >>> found = attacks.ddn(num_steps=20)(*network, jax.random.key(0))
      >>> exact = attacks.affine_attack(attacks.L2(), bounds=(0, 1))(*network)
      >>> bool((found.distance < 1.01 * exact.distance).all())
      True

    Reference:
      Rony et al., 1811.09600, algorithm 1.
    """
    attack = DDN(
        step_size=step_size,
        gamma=gamma,
        num_steps=num_steps,
        num_restarts=num_restarts,
        num_rivals=num_rivals,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack

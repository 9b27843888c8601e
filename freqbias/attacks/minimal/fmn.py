"""FMN: the fast minimum-norm attack."""

from functools import partial

import jax
import jax.numpy as jnp

from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import Answer, Driver
from freqbias.attacks.gradient import project
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.minimal.descent import Ball, Descent
from freqbias.attacks.norms import L2, Bounds, Norm, check_norm
from freqbias.attacks.protocol import as_bounds
from freqbias.typing import Array


@frozen
class FMN(Descent):
    """Fast minimum-norm attack; made by `fmn`.

    Attributes:
      norm: the geometry.
      step_size: length of the first step; its unit is the linearised distance to the boundary (in
        L2); traced.
      gamma: share by which the radius shrinks or grows at the first step; traced.
      num_steps: gradient steps from each start.
      num_restarts: starts per image, each towards another rival.
      num_rivals: classes probed at most.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    step_size: Scalar = 10.0
    gamma: Scalar = 0.05
    num_steps: int = static(default=50)
    num_restarts: int = static(default=2)
    num_rivals: int = static(default=NUM_RIVALS)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        check_norm(self.norm, "smallest_step", use="FMN")

    def descend(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the iterate, moves it, and projects it onto the next ball."""
        state = boundary.keep(self.norm, labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        adversarial, _ = record.judge(answer.logits, labels, state.targets)
        first = boundary.positive(state.rivals.distance)
        decay = partial(boundary.decay, state.step, self.num_steps, first.dtype)
        radius = jnp.where(state.step == 0, first, self._radius(state, adversarial))
        length = boundary.positive(state.rivals.length) * radius / first
        length = self.step_size * decay(last=0.01) * length
        moved = state.delta + column(length) * jax.vmap(L2().steepest)(gradients)
        delta = project(self.norm, radius, images, moved, bounds=self.bounds)
        own = Ball(state.own.start, radius, state.own.fell | adversarial)
        state = state._replace(step=state.step + 1, delta=delta, best=best, own=own)
        return state._replace(goal=(state.goal[0], boundary.aims(state, own.fell)))

    def _radius(self, state: MinimalState, adversarial: Array) -> Array:
        """The next radius [N]: below the best distance, growing until there is one."""
        found, radius = state.best.is_adversarial, state.own.radius
        best = record.nearest_distance(state.best)
        known = jnp.where(best > 0, jnp.minimum(radius, best), radius)  # no ball is a point
        gamma = self.gamma * boundary.decay(state.step, self.num_steps, radius.dtype, last=0.0)
        shrunk, grown = (1 - gamma) * known, (1 + jnp.where(found, gamma, self.gamma)) * radius
        if self.norm.counts:  # whole entries
            shrunk = jnp.maximum(jnp.ceil(jnp.minimum(shrunk, known - 1)), 1)
            grown = jnp.floor(grown) + 1
        return jnp.where(adversarial, shrunk, grown)


@checked
def fmn(
    norm: Norm,
    *,
    num_steps: int = 50,
    num_restarts: int = 2,
    step_size: Scalar = 10.0,
    gamma: Scalar = 0.05,
    num_rivals: int = NUM_RIVALS,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> FMN:
    """Fast minimum-norm attack: the smallest perturbation in L0, L1, L2, L-inf or Lp.

        delta_{k+1} = P_{||.|| <= r_{k+1}, box}(delta_k + alpha_k g / ||g||_2),
        r_{k+1} = (1 - gamma_k) min(r_k, best) or (1 + gamma_k) r_k,

    the first where delta_k is adversarial; gamma_k falls to 0 and alpha_k to 1 % along a cosine; in
    L0 the radius changes by at least one entry.

    It differs from the paper in five ways.

    * The first start aims at the class of the nearest linearised boundary, the second at that of
      the second nearest (as in `ddn`).
    * The first radius is the distance of that boundary in the norm *and the box*; until the image
      falls, the radius grows by gamma. (In the paper it is the linearised distance, taken anew at
      each step; where the box is in the way, that stalls in front of the boundary.)
    * The projection is onto ball and box at once, and exact.
    * Steps are measured by the L2 length of the way to that boundary, not in absolute units, and
      are long, ten such lengths at first: a step far out of the ball is what brings an L-inf
      iterate into a corner and an L1 or L0 iterate onto the best entries.
    * A line search removes the rest of the way beyond the boundary.

    Args:
      norm: the geometry; it must define `Norm.smallest_step`.
      num_steps: gradient steps from each start.
      num_restarts: starts per image: towards the class of the nearest linearised boundary, then of
        the second nearest, and so on; at most as many as are probed, and one if targeted.
      step_size: length of the first step, in L2 lengths of the linearised way to the boundary.
      gamma: share by which the radius shrinks or grows at first, < 1.
      num_rivals: classes whose linearised boundary is measured first, one gradient each; the
        strongest at the clean image.
      targeted: towards ``targets``, given at the call.
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
      >>> found = attacks.fmn(attacks.Linf(), num_steps=10)(*attacks.example(), jax.random.key(0))
      >>> bool(found.is_adversarial.all())
      True

    Reference:
      Pintor et al., 2102.12827, algorithm 1.
    """
    attack = FMN(
        norm=norm,
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

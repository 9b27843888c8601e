"""Ascent without projections: Frank-Wolfe."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from freqbias._checked import checked
from freqbias._pytree import frozen
from freqbias.attacks import record
from freqbias.attacks.driver import Answer
from freqbias.attacks.gradient import GradientAttack, GradientState, as_kind, pgd
from freqbias.attacks.levels import Scalar
from freqbias.attacks.norms import Norm, check_norm, reach
from freqbias.attacks.norms.base import into_ball
from freqbias.typing import Array


@frozen
class FrankWolfe(GradientAttack):
    """Steps towards the best point of ball and box for the gradient; made by `frank_wolfe`.

    The share of the way is ``step_size`` / epsilon times the schedule, at most 1.
    """

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        if self.norm.counts:
            raise ValueError(f"norm must have a convex ball; got {self.norm}.")
        if self.bounds is not None:
            check_norm(self.norm, "largest_step", use=f"Frank-Wolfe with bounds {self.bounds}")

    def ascend(
        self, images: Array, labels: Array, state: GradientState, answer: Answer
    ) -> GradientState:
        """Scores the iterate and moves it towards the best point."""
        state = self._keep(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        inner = state.inner
        if self.transform is not None:
            gradients, inner = jax.vmap(self.transform.update)(gradients, inner, state.delta)
        factor = 1 if self.schedule is None else self.schedule(state.step)
        share = self.step_size / self.epsilon * factor
        step = partial(self._step, share=jnp.minimum(share, 1))
        delta = jax.vmap(step)(state.delta, gradients, images)
        return state._replace(step=state.step + 1, delta=delta, inner=inner, best=best)

    def _step(self, delta: Array, gradient: Array, image: Array, share: Array) -> Array:
        vertex = self.norm.largest_step(-gradient, image, self.epsilon, self.bounds)
        moved = delta + share * (vertex - delta)
        moved = jnp.where(jnp.any(gradient != 0), moved, delta)
        moved = into_ball(self.norm, moved, self.epsilon)  # frees it of rounding
        return moved if self.bounds is None else jnp.clip(moved, *reach(image, self.bounds))


def open_loop(step: Array) -> Array:
    """2 / (step + 2): the share of the way in the usual proof that Frank-Wolfe converges."""
    return 2 / (step + 2)


@checked
def frank_wolfe(norm: Norm, *, epsilon: Scalar, num_steps: int = 20, **options: Any) -> FrankWolfe:
    """Frank-Wolfe: steps towards the best point of ball and box, which need no projection.

    From a start in the ball, with g_k the gradient of the loss at delta_k,

        delta_{k+1} = delta_k + share_k (v_k - delta_k),   v_k = argmax <g_k, v> of ball and box,

    with share_k = 2 / (k + 2) by default. On a linear loss the first step ends at the optimum. It
    suits norms whose projection is slow or has no closed form. Without bounds, iterate k is a mix
    of k pixels in L1, and of k waves in `FourierL1`. (Where `Norm.steepest` is not exact, as in a
    band of L-inf, v_k is not the best point either.)

    Args:
      norm: the geometry; with bounds it must define `Norm.largest_step`, as L1, L2, L-inf and Lp
        do. Fourier norms need ``bounds=None``.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps from each start.
      **options: ``num_restarts``, ``random_start``, ``loss``, ``targeted``, ``bounds``,
        ``schedule``, ``transform`` (such as `momentum`) and ``driver`` of `pgd`; and ``step_size``,
        by default epsilon: share_k is step_size / epsilon times the schedule, at most 1.

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range, or the norm has no closed form with bounds.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.frank_wolfe(attacks.Linf(), epsilon=0.1, num_steps=5)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> bool((found.distance <= 0.1 + 1e-6).all())
      True

    Reference:
      Chen et al., 1811.10828, algorithm 1 (there with momentum); share 2 / (k + 2): Jaggi,
      Revisiting Frank-Wolfe, 2013.
    """
    settings: dict[str, Any] = {"step_size": epsilon, "schedule": open_loop, **options}
    attack = as_kind(FrankWolfe, pgd(norm, epsilon=epsilon, num_steps=num_steps, **settings))
    attack.check()
    return attack

"""The smallest budget: a minimal attack in any `Norm`, by Newton's method on the radius.

Let phi(r) be the highest margin of the wrong class over the ball of radius r (and the box). The
smallest budget is its root. Steepest ascent finds phi(r) and where it is attained, and there

    phi'(r) = ||grad margin||_dual,

so that Newton's step is r - margin / ||grad margin||_dual, kept within the bracket of radii at
which an image is known to stand and to fall. The box makes phi flatter than this formula says. So
in norms with a `Norm.smallest_step` (L1, L2, L-inf, Lp) the next radius is ||delta + v||, where v
is the smallest step *within the box* onto the linearised boundary. In other norms phi' is the slope
between the last two radii where that is less (secant method).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import Answer, Driver, IterativeAttack, Loop, Phase, Program
from freqbias.attacks.gradient import project
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.norms import Bounds, Norm, defines
from freqbias.attacks.protocol import Perturbation, as_bounds
from freqbias.typing import Array, Keys

_LEAD = 1e-3  # by which the radius tried exceeds Newton's, always a little short if phi is concave
_STEP = 2  # length of the first step at a radius, in radii
_FLAT = 10  # of phi's slope without the box to that with it, at most: the secant's may be noise
_TIE = 1e-5  # relative difference that rounding does not make


class Bracket(NamedTuple):
    """The radius tried and the bracket of the root; each [N]."""

    radius: Array
    low: Array  # at which no adversarial point was found; 0 at first
    high: Array  # at which one was; infinity at first
    past: Array  # the radius tried before; 0 at first
    past_gap: Array  # what the margin lacked there


@frozen
class SmallestBudget(IterativeAttack):
    """Steepest ascent at a sequence of radii; made by `smallest_budget`.

    Attributes:
      norm: the geometry.
      num_steps: gradient steps at each radius.
      num_radii: radii tried.
      num_rivals: classes probed at most.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    num_steps: int = static(default=20)
    num_radii: int = static(default=8)
    num_rivals: int = static(default=NUM_RIVALS)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        _checks.positive_ints(self, "num_steps", "num_radii", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> MinimalState:
        """Before the probe; ``own`` is the `Bracket`."""
        del keys
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        zeros = jnp.zeros(images.shape[0], images.dtype)
        return state._replace(own=Bracket(zeros + 1, zeros, zeros + jnp.inf, zeros, zeros))

    def program(self, num_classes: int) -> Program:
        """The probe; steps and a new radius, ``num_radii`` times over; the line search."""
        oracle = boundary.ascent(targeted=self.targeted)
        rivals = 1 if self.targeted else boundary.count_rivals(self.num_rivals, num_classes)
        ascent = Phase(oracle, SmallestBudget.ascend, self.num_steps)
        return (
            Phase(oracle, SmallestBudget.probe, rivals),
            Loop((ascent, Phase(oracle, SmallestBudget.resize)), self.num_radii),
            *boundary.searching(),
        )

    def probe(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Measures a rival's linearised distance, and turns to the next rival."""
        del labels
        best, gradients = record.take_gradients(state.best, answer.gradients)
        gap = self._gap(state, answer)
        distance = self._newton(images, state, gradients, gap, jax.vmap(self.norm.dual)(gradients))
        rivals, (owner, asked), own = state.rivals, state.goal, state.own
        nearer = distance < rivals.distance
        rank = rivals.rank + 1
        rivals = rivals._replace(
            rank=rank,
            aim=jnp.where(nearer, asked, rivals.aim),
            distance=jnp.where(nearer, distance, rivals.distance),
        )
        last = rank == rivals.classes.shape[1]
        following = jnp.take(rivals.classes, rank, axis=1, mode="clip")
        radius = (1 + _LEAD) * boundary.positive(rivals.distance)
        return state._replace(
            best=best,
            rivals=rivals,
            own=own._replace(radius=radius, past_gap=jnp.where(nearer, gap, own.past_gap)),
            goal=(owner, jnp.where(last, rivals.aim, following)),
        )

    def ascend(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the iterate and moves it up the margin, within its ball.

        Iterates on one ball are equally far but for rounding. A later one counts as nearer, by a
        little, so that rounding, which depends on the batch, does not choose among them.
        """
        stretch = 1 + _TIE * (self.num_steps - state.step).astype(images.dtype)
        state = boundary.keep(self.norm, labels, state, answer, stretch=stretch)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        decay = boundary.decay(state.step, self.num_steps, images.dtype, last=0.02)
        norm = self.norm.exactly()
        ascent = jax.vmap(partial(norm.ascent, boxed=self.bounds is not None))
        step = column(_STEP * decay * state.own.radius) * ascent(gradients)
        delta = project(self.norm, state.own.radius, images, state.delta + step, bounds=self.bounds)
        state = state._replace(step=state.step + 1, delta=delta, best=best)
        return state._replace(goal=(state.goal[0], boundary.aims(state)))

    def resize(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the last iterate at this radius, and takes Newton's step to the next."""
        state = boundary.keep(self.norm, labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        radius, low, high, past, past_gap = state.own
        distance = record.nearest_distance(best)
        # Rounding must not decide: a point found on this ball is as far as its radius, up to
        # rounding and the stretch; once Newton's method has converged, so are ``new`` and ``high``.
        fell = distance <= (1 + _TIE * (self.num_steps + 1)) * radius
        low, high = jnp.where(fell, low, radius), jnp.minimum(high, distance)
        gap, dual = self._gap(state, answer), jax.vmap(self.norm.dual)(gradients)
        between = radius - past
        secant = (past_gap - gap) / jnp.where(between == 0, 1, between)
        slope = jnp.clip(secant, dual / _FLAT, dual)
        new = (1 + _LEAD) * self._newton(images, state, gradients, gap, slope)
        halfway = jnp.where(jnp.isinf(high), 2 * radius, (low + high) / 2)
        shorter = new < (1 - _LEAD / 2) * high
        new = jnp.where((low < new) & shorter, new, halfway)
        new = jnp.where(new > 0, new, radius)  # of an image that is adversarial as it is
        delta = project(
            self.norm, new, images, column(new / radius) * state.delta, bounds=self.bounds
        )
        state = state._replace(step=jnp.zeros_like(state.step), delta=delta, best=best)
        return state._replace(
            own=Bracket(new, low, high, radius, gap), goal=(state.goal[0], boundary.aims(state))
        )

    def finalize(self, state: MinimalState) -> Perturbation:
        """The result: the nearest adversarial point of each image."""
        return boundary.result(self, state)

    def _gap(self, state: MinimalState, answer: Answer) -> Array:
        """By how much the loss has to rise, [N]; negative beyond the boundary."""
        loss_fn = boundary.target_loss if self.targeted else boundary.rival_loss
        return -loss_fn(answer.logits, *state.goal)

    def _newton(
        self, images: Array, state: MinimalState, gradients: Array, gap: Array, slope: Array
    ) -> Array:
        """The radius [N] at which a loss of this slope is 0; infinity for a zero gradient."""
        value = jax.vmap(self.norm.value)
        if defines(self.norm, "smallest_step"):
            points = images + state.delta
            steps = boundary.boundary_step(self.norm, gradients, gap, points, bounds=self.bounds)
            radius = value(state.delta + steps)
        else:
            radius = value(state.delta) + gap / jnp.where(slope > 0, slope, 1)
        return jnp.where(slope > 0, radius, jnp.inf)


@checked
def smallest_budget(
    norm: Norm,
    *,
    num_steps: int = 20,
    num_radii: int = 8,
    num_rivals: int = NUM_RIVALS,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> SmallestBudget:
    """The smallest epsilon at which steepest ascent succeeds, and the perturbation, in any norm.

    Slower than attacks made for one norm (`ddn`, `fmn`), but of the norm it needs the methods of
    `Norm` alone. So it is the attack for a norm `band_limited` to some frequencies.

    Args:
      norm: the geometry.
      num_steps: gradient steps at each radius.
      num_radii: radii tried; each costs ``num_steps`` + 1 gradients.
      num_rivals: classes whose linearised boundary is measured first, one gradient each; the
        strongest at the clean image.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack; its ``distance`` is the smallest budget, infinite where none was found.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks, spectral
      >>> norm = attacks.band_limited(attacks.L2(), spectral.band_mask((8, 8), 1 / 4, 1))
      >>> attack = attacks.smallest_budget(norm, num_steps=5, num_radii=3, bounds=None)
      >>> attack(*attacks.example(), jax.random.key(0)).distance.shape
      (4,)
    """
    attack = SmallestBudget(
        norm=norm,
        num_steps=num_steps,
        num_radii=num_radii,
        num_rivals=num_rivals,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack

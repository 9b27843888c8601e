"""The Brendel-Bethge attack: from an adversarial image along the boundary to the clean one.

At an iterate delta near the boundary, with b the unit normal of the boundary there and c the
distance along b to just beyond it, the next iterate is

    argmin_z ||z||  subject to  <b, z - delta> = c,  ||z - delta||_2 <= r,  image + z in the box.

The problem is convex. For a fixed multiplier theta of the trust region, the stationary points in
each pixel are a line in the multiplier tau of the boundary, shrunk by theta and clipped to the box:

    L2      z = clip((1 - theta) delta + tau b)
    L1      z = clip(soft(delta + tau b, s)),          s growing with theta from 0
    L-inf   z = clip(clip(delta + tau b, -t, t)),      t falling with theta to 0

<b, z> grows with tau, so that tau is the root of one piecewise linear equation; ||z - delta||_2
grows and ||z|| falls with theta, so that theta is the largest at which the trust region holds. Both
are found by bracketed iterations with a fixed limit: nothing can hang or become singular. (In L1, s
ends at 100 largest pixels, where entries of nearly equal |b| may still share what one should take:
within 1 % of the optimum.)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias.attacks import boundary, record
from freqbias.attacks.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.driver import Answer, Driver, IterativeAttack, Loop, Phase, forward
from freqbias.attacks.norms import L1, L2, Bounds, Linf, Scalar
from freqbias.attacks.protocol import Perturbation, as_bounds, fold_each
from freqbias.typing import Array, Key

_NUM_SEEKS = 12  # doublings of the step towards a start
_NUM_HALVINGS = 8  # of the way from the clean image to the start
_LAST_RADIUS = 1e-3  # of the first trust region
_LEAD = 1e-3  # of the trust region: how far beyond the boundary to step
_NUM_THETAS = 16
_NUM_TAUS = 40


class Walk(NamedTuple):
    """What a start knows."""

    keys: Key  # [N]
    start: Array  # int32 [], starts so far
    found: Array  # bool [N], whether the iterate is adversarial
    origin: Array  # [N, H, W, C], where this start was found
    low: Array  # [N], share of the origin that is not adversarial
    high: Array  # [N], share that is


@flax.struct.dataclass
class BrendelBethge(IterativeAttack):
    """Steps along the boundary within a trust region; made by `brendel_bethge`.

    Attributes:
      norm: `L2`, `Linf` or `L1`.
      radius: of the first trust region, in L2 norms of the iterate; traced.
      num_steps: gradient steps from each start.
      num_starts: starts per image; the second and later ones from noise.
      num_rivals: classes probed at most.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "scan", "host", or "auto": "host" on CPU unless traced, else "scan".
    """

    norm: L1 | L2 | Linf
    radius: Scalar = 1.0
    num_steps: int = flax.struct.field(pytree_node=False, default=50)
    num_starts: int = flax.struct.field(pytree_node=False, default=2)
    num_rivals: int = flax.struct.field(pytree_node=False, default=NUM_RIVALS)
    targeted: bool = flax.struct.field(pytree_node=False, default=False)
    bounds: Bounds | None = flax.struct.field(pytree_node=False, default=(0.0, 1.0))
    driver: Driver = flax.struct.field(pytree_node=False, default="auto")
    name: str = flax.struct.field(pytree_node=False, default="brendel_bethge")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        if not isinstance(self.norm, L1 | L2 | Linf):
            raise TypeError(f"norm must be L1, L2 or Linf; got {self.norm!r}.")
        _checks.positive_scalars(self, "radius")
        _checks.positive_ints(self, "num_steps", "num_starts", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Key, targets: Array | None, logits: Array
    ) -> MinimalState:
        """Before the probe; ``own`` is the `Walk`, its first start at the clean image."""
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        zeros = jnp.zeros(images.shape[0], images.dtype)
        nothing = jnp.zeros_like(images)
        walk = Walk(keys, jnp.zeros((), jnp.int32), zeros > 0, nothing, zeros, zeros + 1)
        return state._replace(own=walk)

    def program(self, num_classes: int) -> tuple[Loop, ...]:
        """The probe; per start a search for it, its bisection and the walk; the line search."""
        oracle = boundary.ascent(targeted=self.targeted)
        probing = boundary.probing(
            targeted=self.targeted, num_rivals=self.num_rivals, num_classes=num_classes
        )
        walk = (
            Phase(oracle, BrendelBethge.seek, _NUM_SEEKS),
            Phase(forward, BrendelBethge.halve, _NUM_HALVINGS),
            Phase(oracle, BrendelBethge.follow, self.num_steps),
            Phase(forward, BrendelBethge.restart),
        )
        return Loop((probing,)), Loop(walk, self.num_starts), Loop(boundary.searching())

    def seek(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Until the iterate is adversarial, a gradient step of double length; then waits.

        From the clean image, the first step is the shortest to just beyond the linearised boundary.
        """
        state, adversarial = self._judge(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        found = state.own.found | adversarial
        last = state.step == _NUM_SEEKS - 1
        length = boundary.positive(state.rivals.length) * 2.0**state.step
        step = column(length) * jax.vmap(L2().steepest)(gradients)
        first = (state.step == 0) & (state.own.start == 0)
        step = jnp.where(first, self._first_step(images, state, answer, gradients), step)
        moved = boundary.clip(images, state.delta + step, bounds=self.bounds)
        delta = jnp.where(column(found) | last, state.delta, moved)
        walk = state.own._replace(found=found, origin=delta)
        return state._replace(
            step=state.step + 1,
            best=best,
            own=walk,
            delta=jnp.where(last, delta / 2, delta),
            goal=(state.goal[0], boundary.aims(state)),
        )

    def halve(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Halves the part of the way to the start that holds the boundary; ends beyond it."""
        del images
        state, adversarial = self._judge(labels, state, answer)
        walk = state.own
        share = (walk.low + walk.high) / 2
        low = jnp.where(adversarial, walk.low, share)
        high = jnp.where(adversarial, share, walk.high)
        last = state.step == _NUM_SEEKS + _NUM_HALVINGS - 1
        share = jnp.where(last, high, (low + high) / 2)
        return state._replace(
            step=state.step + 1,
            own=walk._replace(low=low, high=high),
            delta=column(share) * walk.origin,
        )

    def follow(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the iterate and solves the problem of the module's docstring for the next."""
        state, _ = self._judge(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        loss_fn = boundary.target_loss if self.targeted else boundary.rival_loss
        size = jax.vmap(L2().value)
        slope = size(gradients)
        steep = slope > 0
        slope = jnp.where(steep, slope, 1)
        step = (state.step - _NUM_SEEKS - _NUM_HALVINGS).astype(images.dtype)
        radius = self.radius * _LAST_RADIUS ** (step / self.num_steps) * size(state.delta)
        loss = loss_fn(answer.logits, *state.goal) - 2 * state.search.confidence
        gap = _LEAD * radius - loss / slope
        lower, upper = jnp.full_like(images, -jnp.inf), jnp.full_like(images, jnp.inf)
        if self.bounds is not None:
            lower, upper = self.bounds[0] - images, self.bounds[1] - images
        solve = jax.vmap(partial(nearest_on_boundary, self.norm))
        moved = solve(state.delta, gradients / column(slope), gap, radius, lower, upper)
        usable = column(steep & jnp.isfinite(gap)) & jnp.isfinite(moved)
        state = state._replace(step=state.step + 1, best=best)
        return state._replace(
            delta=jnp.where(usable, moved, state.delta),
            goal=(state.goal[0], boundary.aims(state)),
        )

    def restart(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Scores the last iterate and starts anew, from noise."""
        state, _ = self._judge(labels, state, answer)
        walk = state.own
        keys = fold_each(walk.keys, walk.start)
        shape, dtype = images.shape[1:], images.dtype
        if self.bounds is None:
            draw = partial(jax.random.normal, shape=shape, dtype=dtype)
            unit = jax.vmap(L2().steepest)(jax.vmap(draw)(keys))
            noise = column(boundary.positive(state.rivals.length)) * unit
        else:
            low, high = self.bounds
            draw = partial(jax.random.uniform, shape=shape, dtype=dtype, minval=low, maxval=high)
            noise = boundary.clip(images, jax.vmap(draw)(keys) - images, bounds=self.bounds)
        zeros = jnp.zeros_like(walk.low)
        new = walk._replace(start=walk.start + 1, found=zeros > 0, low=zeros, high=zeros + 1)
        return state._replace(step=jnp.zeros_like(state.step), delta=noise, own=new)

    def finalize(self, state: MinimalState) -> Perturbation:
        """The result: the nearest adversarial point of each image."""
        return boundary.result(self, state)

    def _first_step(
        self, images: Array, state: MinimalState, answer: Answer, gradients: Array
    ) -> Array:
        loss_fn = boundary.target_loss if self.targeted else boundary.rival_loss
        gap = 1.01 * jnp.maximum(-loss_fn(answer.logits, *state.goal), 0)
        return boundary.boundary_step(self.norm, gradients, gap, images, bounds=self.bounds)

    def _judge(
        self, labels: Array, state: MinimalState, answer: Answer
    ) -> tuple[MinimalState, Array]:
        """Records the iterate; whether it is adversarial by more than rounding [N]."""
        adversarial, _ = record.judge(answer.logits, labels, state.targets)
        gain = boundary.gain(answer.logits, labels, state.targets)
        adversarial &= gain >= state.search.confidence
        distance = jnp.where(adversarial, jax.vmap(self.norm.value)(state.delta), jnp.inf)
        best = record.keep_nearest(
            state.best, state.delta, distance, answer.logits, labels, state.targets
        )
        return state._replace(best=best), adversarial


def brendel_bethge(
    norm: L1 | L2 | Linf,
    *,
    num_steps: int = 50,
    radius: Scalar = 1.0,
    num_starts: int = 2,
    num_rivals: int = NUM_RIVALS,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> BrendelBethge:
    """The Brendel-Bethge attack: the smallest adversarial perturbation in L2, L-inf or L1.

    The first start is sought along the gradient, towards the class of the nearest linearised
    boundary, the others from noise; an image whose starts all fail has an infinite distance. The
    trust region shrinks geometrically, to 1e-3 of its first size; it and the step beyond the
    boundary are measured in L2 norms of the iterate, so that no result depends on the unit of a
    pixel. A line search towards the clean image ends the attack.

    Args:
      norm: the geometry.
      num_steps: gradient steps from each start.
      radius: of the first trust region, in L2 norms of the iterate.
      num_starts: starts per image, one after the other.
      num_rivals: classes whose linearised boundary is measured first, one gradient each; the
        strongest at the clean image.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: another norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> found = brendel_bethge(L2())(apply_fn, params, images, labels, jax.random.key(0))
      >>> found.distance  # [N]

    Reference:
      Brendel et al., Accurate, reliable and fast robustness evaluation, 1907.01003, section 2.
    """
    attack = BrendelBethge(
        norm=norm,
        radius=radius,
        num_steps=num_steps,
        num_starts=num_starts,
        num_rivals=num_rivals,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack


def nearest_on_boundary(  # noqa: PLR0917 (the numbers of one problem)
    norm: L1 | L2 | Linf,
    delta: Array,
    normal: Array,
    gap: Array,
    radius: Array,
    lower: Array,
    upper: Array,
) -> Array:
    """Solves the problem of the module's docstring for one image.

    Args:
      norm: `L2`, `Linf` or `L1`.
      delta: [H, W, C], within [lower, upper].
      normal: b [H, W, C], of L2 norm 1.
      gap: c, scalar.
      radius: r, scalar > 0.
      lower: [H, W, C], at most 0; -inf for none.
      upper: [H, W, C], at least 0; inf for none.

    Returns:
      z [H, W, C]. Where box and trust region do not reach the plane: as far towards it as the trust
      region allows, along the shortest way to it (or to the corner of the box nearest to it).
    """
    size = L2().value(delta)
    tolerance = 32 * jnp.finfo(delta.dtype).eps * (jnp.abs(gap) + size)
    zero, one = jnp.zeros_like(gap), jnp.ones_like(gap)

    def solve(theta: Array, tau: Array, scale: Array) -> tuple[Array, Array, Array]:
        """The z of a theta with the right tau, whether it is feasible, and tau."""

        def at(tau: Array) -> tuple[Array, Array, Array]:
            line = partial(_line, norm, delta, normal, theta, scale)
            z, rate = jax.jvp(line, (tau,), (jnp.ones_like(tau),))
            free = (lower < z) & (z < upper)
            z = jnp.clip(z, lower, upper)
            slope = jnp.sum(jnp.where(free, normal * rate, 0))
            return z, jnp.sum(normal * (z - delta)) - gap, slope

        # Beyond this the strongest pixel alone passes the plane, if the box lets it.
        strongest = jnp.maximum(jnp.max(jnp.abs(normal)), 1e-12)
        limit = 1e3 * (jnp.abs(gap) + size + 200 * scale) / strongest**2
        z, miss, tau = _root(at, tau, limit, tolerance)
        fits = (jnp.abs(miss) <= 4 * tolerance) & (L2().value(z - delta) <= radius)
        return z, fits, tau

    shortest, fits, tau = solve(zero, zero, zero)
    step = shortest - delta
    step = step * (radius / jnp.maximum(L2().value(step), radius))
    best = jnp.where(fits, shortest, delta + step)
    scale = jnp.max(jnp.abs(shortest))
    freest, done, _ = solve(one, tau, scale)
    State = tuple[Array, ...]

    def continues(state: State) -> Array:
        return (state[0] < _NUM_THETAS) & fits & ~done

    def bisect(state: State) -> State:
        iteration, low, high, tau, best = state
        theta = (low + high) / 2
        z, fits, new_tau = solve(theta, tau, scale)
        low, high = jnp.where(fits, theta, low), jnp.where(fits, high, theta)
        tau, best = jnp.where(fits, new_tau, tau), jnp.where(fits, z, best)
        return iteration + 1, low, high, tau, best

    first: State = jnp.zeros((), jnp.int32), zero, one, tau, best
    best = jax.lax.while_loop(continues, bisect, first)[-1]
    return jnp.clip(jnp.where(done, freest, best), lower, upper)


def _line(  # noqa: PLR0917 (the numbers of one problem)
    norm: L1 | L2 | Linf, delta: Array, normal: Array, theta: Array, scale: Array, tau: Array
) -> Array:
    """The z of the module's docstring before it is clipped to the box; theta = 0 shrinks nothing.

    ``scale`` is the largest pixel at theta = 0, which bounds t and is the unit of s.
    """
    if isinstance(norm, L2):
        return (1 - theta) * delta + tau * normal
    point = delta + tau * normal
    if isinstance(norm, L1):
        threshold = theta / (1 - 0.99 * theta) * scale
        return jnp.sign(point) * jnp.maximum(jnp.abs(point) - threshold, 0)
    side = jnp.where(theta > 0, (1 - theta) * scale, jnp.inf)
    return jnp.clip(point, -side, side)


def _root(
    at: Callable[[Array], tuple[Array, Array, Array]], tau: Array, limit: Array, tolerance: Array
) -> tuple[Array, Array, Array]:
    """Newton's method on an increasing piecewise linear function, bracketed by bisection.

    Args:
      at: tau -> (point, value, slope).
      tau: where to begin.
      limit: of |tau|.
      tolerance: of |value|.

    Returns:
      The point, the value there, and tau; where there is no root, at the end of the bracket.
    """
    State = tuple[Array, ...]

    def continues(state: State) -> Array:
        iteration, low, high, tau, _, value, _ = state
        beyond = jnp.where(value < 0, tau >= high, tau <= low)
        return (iteration < _NUM_TAUS) & (jnp.abs(value) > tolerance) & ~beyond

    def iterate(state: State) -> State:
        iteration, low, high, tau, _, value, slope = state
        low, high = jnp.where(value < 0, tau, low), jnp.where(value < 0, high, tau)
        newton = tau - value / jnp.where(slope > 0, slope, 1)
        trusted = (slope > 0) & (low < newton) & (newton < high)
        # A plateau: the end of the bracket first, to see whether there is a root at all.
        ahead = jnp.where(value < 0, high, low)
        other = jnp.where(jnp.abs(ahead) == limit, ahead, (low + high) / 2)
        tau = jnp.where(trusted, newton, other)
        return iteration + 1, low, high, tau, *at(tau)

    first: State = jnp.zeros((), jnp.int32), -limit, limit, tau, *at(tau)
    _, _, _, tau, point, value, _ = jax.lax.while_loop(continues, iterate, first)
    return point, value, tau

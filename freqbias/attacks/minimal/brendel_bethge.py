"""The Brendel-Bethge attack: from an adversarial image along the boundary to the clean one.

At an iterate delta near the boundary, with b the unit normal of the boundary there and c the
distance along b to just beyond it, the next iterate is

    argmin_z ||z||  subject to  <b, z - delta> = c,  ||z - delta||_2 <= r,  image + z in the box,

which `trust_region.nearest_on_boundary` solves.
"""

import dataclasses
from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.driver import Answer, Driver, IterativeAttack, Loop, Phase, Program, forward
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import NUM_RIVALS, MinimalState, column
from freqbias.attacks.minimal.trust_region import nearest_on_boundary
from freqbias.attacks.norms import L2, Bounds, Norm, check_norm, reach
from freqbias.attacks.protocol import Perturbation, as_bounds, check_range, fold_each
from freqbias.typing import ApplyFn, Array, Key, Keys, Params

_NUM_SEEKS = 12  # doublings of the step towards a start
_NUM_HALVINGS = 8  # of the way from the clean image to the start
_LAST_RADIUS = 1e-3  # of the first trust region
_LEAD = 1e-3  # of the trust region: how far beyond the boundary to step
_LAST_RADIUS_L0, _LEAD_L0 = 1e-1, 1e-2  # whose steps are as long as an entry is large


class Walk(NamedTuple):
    """What a start knows."""

    keys: Keys  # [N]
    start: Array  # int32 [], starts so far
    found: Array  # bool [N], whether the iterate is adversarial
    origin: Array  # [N, H, W, C], where this start was found
    low: Array  # [N], share of the origin that is not adversarial
    high: Array  # [N], share that is


@frozen
class BrendelBethge(IterativeAttack):
    """Steps along the boundary within a trust region; made by `brendel_bethge`.

    Attributes:
      norm: `L2`, `Linf`, `L1` or `L0`.
      radius: of the first trust region, in L2 norms of the iterate; traced.
      starts: images [N, H, W, C] for the first start, which a call sets; or None.
      num_steps: gradient steps from each start.
      num_starts: starts per image; the second and later ones from noise.
      num_rivals: classes probed at most.
      targeted: towards ``targets``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    radius: Scalar = 1.0
    starts: Array | None = None
    num_steps: int = static(default=50)
    num_starts: int = static(default=2)
    num_rivals: int = static(default=NUM_RIVALS)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def __call__(  # type: ignore[override]
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key,
        *,
        targets: Array | None = None,
        starts: Array | None = None,
    ) -> Perturbation:
        """Attacks one network on a batch of images, as `IterativeAttack`.

        Args:
          apply_fn: (params, images) -> logits [N, K]; static, so pass the same object each time.
          params: parameters of one network; ``jax.vmap`` over them for many (driver "scan").
          images: [N, H, W, C] within bounds.
          labels: int [N].
          key: one key, folded with each image's index, or one key per image [N].
          targets: int [N], each different from its label; only for a targeted attack.
          starts: adversarial images [N, H, W, C] within bounds, such as images of other classes or
            what another attack returns: the first start of each image. An image whose start is not
            adversarial is started as without. None: the first start is sought by gradients.

        Returns:
          A `Perturbation` of leading axis [N]; no image's depends on the others.

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong.
        """
        if starts is not None:
            check_starts(starts, images, bounds=self.bounds)
        attack = dataclasses.replace(self, starts=starts)
        run = IterativeAttack.__call__
        return run(attack, apply_fn, params, images, labels, key, targets=targets)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        use = "the Brendel-Bethge attack"
        check_norm(self.norm, "smallest_step", "line_to_plane", use=use)
        _checks.positive_scalars(self, "radius")
        _checks.positive_ints(self, "num_steps", "num_starts", "num_rivals")

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> MinimalState:
        """Before the probe; ``own`` is the `Walk`, its first start at the clean image."""
        state = boundary.start(images, labels, targets, logits, num_rivals=self.num_rivals)
        zeros = jnp.zeros(images.shape[0], images.dtype)
        nothing = jnp.zeros_like(images)
        walk = Walk(keys, jnp.zeros((), jnp.int32), zeros > 0, nothing, zeros, zeros + 1)
        return state._replace(own=walk)

    def program(self, num_classes: int) -> Program:
        """The probe and given starts; each start's search, bisection, walk and line search."""
        oracle = boundary.ascent(targeted=self.targeted)
        probing = boundary.probing(
            targeted=self.targeted, num_rivals=self.num_rivals, num_classes=num_classes
        )
        walk = (
            Phase(oracle, BrendelBethge.seek, _NUM_SEEKS),
            Phase(forward, BrendelBethge.halve, _NUM_HALVINGS),
            Phase(oracle, BrendelBethge.follow, self.num_steps),
            *boundary.searching(),
            Phase(forward, BrendelBethge.restart),
        )
        given = Phase(forward, BrendelBethge.place), Phase(forward, BrendelBethge.accept)
        first = (probing,) if self.starts is None else (probing, *given)
        return *first, Loop(walk, self.num_starts)

    def shared(self) -> Self:
        """No step knows how many starts there are."""
        return dataclasses.replace(self, num_starts=1, driver="host")

    def place(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Goes to the given starts."""
        del labels, answer
        return state._replace(delta=self.starts - images)  # type: ignore[operator]

    def accept(
        self, images: Array, labels: Array, state: MinimalState, answer: Answer
    ) -> MinimalState:
        """Stays at a given start where it is adversarial, else goes back to the clean image."""
        del images
        state, adversarial = self._judge(labels, state, answer)
        return state._replace(delta=jnp.where(column(adversarial), state.delta, 0))

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
        last, lead = _LAST_RADIUS, _LEAD
        if self.norm.counts:
            last, lead = _LAST_RADIUS_L0, _LEAD_L0
        radius = self.radius * last ** (step / self.num_steps) * size(state.delta)
        loss = loss_fn(answer.logits, *state.goal) - 2 * state.search.confidence
        gap = lead * radius - loss / slope
        lower, upper = jnp.full_like(images, -jnp.inf), jnp.full_like(images, jnp.inf)
        if self.bounds is not None:
            lower, upper = reach(images, self.bounds)
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
        """Scores the last point of the search and starts anew, from noise."""
        state, _ = self._judge(labels, state, answer)
        walk = state.own
        keys = fold_each(walk.keys, walk.start)
        draw = jax.random.normal
        if self.bounds is not None:
            low, high = self.bounds
            draw = partial(jax.random.uniform, minval=low, maxval=high)
        draw = partial(draw, shape=(images[0].size,), dtype=images.dtype)
        drawn = jax.vmap(draw)(keys).reshape(images.shape)
        if self.bounds is None:
            unit = jax.vmap(L2().steepest)(drawn)
            noise = column(boundary.positive(state.rivals.length)) * unit
        else:
            noise = boundary.clip(images, drawn - images, bounds=self.bounds)
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
        adversarial = boundary.counts(labels, state, answer)
        return boundary.keep(self.norm, labels, state, answer), adversarial


@checked
def brendel_bethge(
    norm: Norm,
    *,
    num_steps: int = 50,
    radius: Scalar | None = None,
    num_starts: int = 2,
    num_rivals: int = NUM_RIVALS,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> BrendelBethge:
    """The Brendel-Bethge attack: the smallest adversarial perturbation in L2, L-inf, L1 or L0.

    A start is an adversarial image. The first is sought along the gradient, towards the class of
    the nearest linearised boundary, or given at the call; the others are sought from noise. An
    image for which none is found has an infinite distance. The trust region shrinks geometrically,
    to 1e-3 of its first size; in L0, where a step has to be as long as an entry is large, to 1e-1.
    Its radius and the step beyond the boundary are measured in L2 norms of the iterate, so that no
    result depends on the unit of a pixel. A line search towards the clean image ends each start.

    Args:
      norm: the geometry.
      num_steps: gradient steps from each start.
      radius: of the first trust region, in L2 norms of the iterate; by default 0.5, in L0 1. On
        trained networks the attack ends further away with a larger one, in L0 with a smaller one.
      num_starts: starts per image, one after the other.
      num_rivals: classes whose linearised boundary is measured first, one gradient each; the
        strongest at the clean image.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range, or the norm lacks `Norm.smallest_step` or
        `Norm.line_to_plane`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> network, key = attacks.example(), jax.random.key(0)
      >>> attack = attacks.brendel_bethge(attacks.L2(), num_steps=5, num_starts=1)
      >>> found = attack(*network, key)
      >>> other = attacks.affine_attack(attacks.L2(), epsilon=3.0, bounds=(0, 1))(*network)
      >>> started = attack(*network, key, starts=network.images + other.delta)
      >>> bool((abs(started.distance - found.distance) < 0.01 * found.distance).all())
      True

    Reference:
      Brendel et al., Accurate, reliable and fast robustness evaluation, 1907.01003, section 2.
    """
    check_norm(norm)
    attack = BrendelBethge(
        norm=norm,
        radius=(1.0 if norm.counts else 0.5) if radius is None else radius,
        num_steps=num_steps,
        num_starts=num_starts,
        num_rivals=num_rivals,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack


def check_starts(starts: Array, images: Array, *, bounds: Bounds | None) -> None:
    """Raises unless ``starts`` are as many images of the same shape, within bounds if concrete."""
    _checks.images(starts, name="starts", unit_range=False)
    if np.shape(starts) != np.shape(images):
        raise ValueError(
            f"starts must be of the shape of images, {np.shape(images)}; got {np.shape(starts)}."
        )
    check_range(starts, bounds, name="starts")

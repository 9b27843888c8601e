"""Square attack: random search by square changes; it asks for logits and never for a gradient.

A candidate differs from the best so far in one square window (L1, L2: mass moves from one window
to another), and is kept if the loss rose. The side of the square shrinks as the search goes on:
`square_sides`. Since no gradient is used, masked gradients do not stop it.
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import losses, record
from freqbias.attacks.driver import (
    Answer,
    Driver,
    IterativeAttack,
    Loop,
    Phase,
    Program,
    forward,
    unasked,
)
from freqbias.attacks.gradient import project
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal.boundary import clip
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.attacks.protocol import Perturbation, as_bounds, fold_each
from freqbias.typing import Array, Keys

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)  # of the area, in 10,000 steps


class SquareState(NamedTuple):
    """State of a Square attack between two queries."""

    keys: Keys  # [N], of the images
    start_keys: Keys  # [N], of the start that the search goes on from
    targets: Array | None  # int32 [N]
    clean: Array  # [N, K], logits
    restart: Array  # int32 [], starts drawn
    step: Array  # int32 [], queries since the last start
    delta: Array  # [N, H, W, C], the candidate
    current: Array  # [N, H, W, C], the best since the last start
    loss: Array  # [N], at it
    best: record.Record
    goal: tuple[Array, ...]  # ()


@frozen
class SquareAttack(IterativeAttack):
    """Random search in L-inf, L2 or L1; made by `square`.

    Its status is DEAD where no query changed the logits at all.

    Attributes:
      norm: `Linf`, `L2` or `L1`.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced.
      num_steps: queries of each start, the start itself being the first.
      num_restarts: starts per image.
      first_share: share of the image's area that the first squares cover; static.
      targeted: towards ``targets`` instead of away from ``labels``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    epsilon: Scalar
    num_steps: int = static(default=5000)
    num_restarts: int = static(default=1)
    first_share: float = static(default=0.8)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        check_norm(self.norm, "windows", use="the Square attack")
        _checks.positive_scalars(self, "epsilon")
        _checks.positive_ints(self, "num_steps", "num_restarts")
        if not 0 < self.first_share <= 1:
            raise ValueError(f"first_share must be in (0, 1]; got {self.first_share}.")

    def shared(self) -> Self:
        """No query knows how many starts there are."""
        return dataclasses.replace(self, num_restarts=1, driver="host")

    def program(self, num_classes: int) -> Program:
        """``num_steps`` queries for each start, the first of them at the start itself."""
        del num_classes
        start = Phase(unasked, type(self).draw)
        search = Phase(forward, type(self).search, self.num_steps - 1)
        return (Loop((start, search, Phase(forward, type(self).score)), self.num_restarts),)

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> SquareState:
        """Scores the clean images."""
        loss = self._loss(logits, labels, targets)
        none = jnp.zeros_like(images)
        return SquareState(
            keys=keys,
            start_keys=keys,
            targets=targets,
            clean=logits,
            restart=jnp.zeros((), jnp.int32),
            step=jnp.zeros((), jnp.int32),
            delta=none,
            current=none,
            loss=loss,
            best=record.start(images, labels, targets, logits, loss),
            goal=(),
        )

    def draw(self, images: Array, labels: Array, state: SquareState, answer: Answer) -> SquareState:
        """The next start."""
        del labels, answer
        start_keys = fold_each(state.keys, state.restart + 1)
        shape, dtype = images.shape[1:], images.dtype
        draw = partial(self.norm.windows(shape[-1]).start, shape=shape, dtype=dtype)
        drawn = jax.vmap(draw)(fold_each(start_keys, 0))
        delta = project(self.norm, self.epsilon, images, self.epsilon * drawn, bounds=self.bounds)
        return state._replace(
            start_keys=start_keys,
            restart=state.restart + 1,
            step=jnp.zeros_like(state.step),
            delta=delta,
            current=delta,
            loss=jnp.full_like(state.loss, -jnp.inf),
        )

    def search(
        self, images: Array, labels: Array, state: SquareState, answer: Answer
    ) -> SquareState:
        """Keeps the candidate where it is better, and proposes the next."""
        state = self._keep(labels, state, answer)
        height, width, _ = images.shape[1:]
        sides = square_sides(self.num_steps, height, width, first_share=self.first_share)
        side = jnp.asarray(np.array(sides, np.int32))[state.step + 1]
        keys = fold_each(state.start_keys, state.step + 1)
        windows = self.norm.windows(images.shape[-1])
        move = jax.vmap(windows.move, (0, 0, None, None))
        moved = move(keys, state.current, side, self.epsilon)
        if windows.in_ball and self.norm.shrinks:  # the projection is then that onto the box
            delta = clip(images, moved, bounds=self.bounds)
        else:
            delta = project(self.norm, self.epsilon, images, moved, bounds=self.bounds)
        return state._replace(step=state.step + 1, delta=delta)

    def score(
        self, images: Array, labels: Array, state: SquareState, answer: Answer
    ) -> SquareState:
        """Keeps the last candidate where it is better."""
        del images
        return self._keep(labels, state, answer)

    def finalize(self, state: SquareState) -> Perturbation:
        """The result: the best candidate of each image."""
        return record.result(state.best, self.norm)

    def _loss(self, logits: Array, labels: Array, targets: Array | None) -> Array:
        if targets is None:
            return losses.margin(logits, labels)
        return -losses.log_odds(logits, targets)

    def _keep(self, labels: Array, state: SquareState, answer: Answer) -> SquareState:
        logits = answer.logits
        loss = self._loss(logits, labels, state.targets)
        best = record.keep_loss(state.best, state.delta, loss, logits, labels, state.targets)
        best = best._replace(alive=best.alive | jnp.any(logits != state.clean, axis=-1))
        better = loss > state.loss
        return state._replace(
            current=jnp.where(better[:, None, None, None], state.delta, state.current),
            loss=jnp.where(better, loss, state.loss),
            best=best,
        )


@checked
def square(
    norm: Norm,
    *,
    epsilon: Scalar,
    num_steps: int = 5000,
    num_restarts: int = 1,
    first_share: float = 0.8,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> SquareAttack:
    """Square attack, a black box: it ascends the margin by logits alone.

    Args:
      norm: `Linf`, `L2` or `L1`.
      epsilon: radius of the ball, in pixel units.
      num_steps: queries of each start.
      num_restarts: starts per image.
      first_share: share of the image's area that the first squares cover (p of the paper).
      targeted: ascend towards ``targets``, given at the call (their log odds).
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack; its ``gradient_evaluations`` are 0.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.square(attacks.Linf(), epsilon=0.1, num_steps=20)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> found.gradient_evaluations.tolist()
      [0, 0, 0, 0]

    Reference:
      Andriushchenko et al., 1912.00049, algorithms 1 to 3; in L1, Croce and Hein, 2103.01208.
    """
    attack = SquareAttack(
        norm=norm,
        epsilon=epsilon,
        num_steps=num_steps,
        num_restarts=num_restarts,
        first_share=first_share,
        targeted=targeted,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack


def square_sides(num_steps: int, height: int, width: int, *, first_share: float) -> tuple[int, ...]:
    """Side of the square at each step, in pixels.

    Its area is ``first_share`` of the image's, halved at 10, 50, 200, 1000, 2000, 4000, 6000 and
    8000 of 10,000 steps; with ``num_steps`` at the same shares of the search.

    Args:
      num_steps: of the search.
      height: H.
      width: W.
      first_share: in (0, 1].

    Returns:
      Sides, ``num_steps`` of them, each from 1 to min(H, W).
    """
    sides = []
    for step in range(num_steps):
        halvings = sum(10_000 * step > halving * num_steps for halving in HALVINGS)
        side = round(math.sqrt(first_share * 0.5**halvings * height * width))
        sides.append(min(max(side, 1), height, width))
    return tuple(sides)

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
from freqbias._pytree import frozen, static
from freqbias.attacks import losses, record
from freqbias.attacks.driver import Answer, Driver, IterativeAttack, Loop, Phase, Program, forward
from freqbias.attacks.gradient import project
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal.boundary import clip
from freqbias.attacks.norms import L1, L2, Bounds, Linf, Norm
from freqbias.attacks.protocol import Perturbation, as_bounds, fold_each
from freqbias.typing import Array, Key

_ROUNDING = 1e-5  # share of a mass or a length that counts as none

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)  # of the area, in 10,000 steps


class SquareState(NamedTuple):
    """State of a Square attack between two queries."""

    keys: Key  # [N], of the images
    start_keys: Key  # [N], of the start that the search goes on from
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
      driver: "scan", "host", or "auto": "host" on CPU unless traced, else "scan".
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
        if not isinstance(self.norm, L1 | L2 | Linf):
            raise ValueError(
                f"norm must be L1(), L2() or Linf() for the Square attack; got {self.norm}."
            )
        _checks.positive_scalars(self, "epsilon")
        _checks.positive_ints(self, "num_steps", "num_restarts")
        if not 0 < self.first_share <= 1:
            raise ValueError(f"first_share must be in (0, 1]; got {self.first_share}.")

    def shared(self) -> Self:
        """No query knows how many starts there are."""
        return dataclasses.replace(self, num_restarts=1, driver="host")

    def program(self, num_classes: int) -> Program:
        """``num_steps`` queries for each start."""
        del num_classes
        search = Phase(forward, type(self).search, self.num_steps - 1)
        return (Loop((search, Phase(forward, type(self).restart)), self.num_restarts),)

    def begin(
        self, images: Array, labels: Array, keys: Key, targets: Array | None, logits: Array
    ) -> SquareState:
        """Scores the clean images and draws the first start."""
        loss = self._loss(logits, labels, targets)
        none = jnp.zeros_like(images)
        state = SquareState(
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
        return self._draw(images, state)

    def search(
        self, images: Array, labels: Array, state: SquareState, answer: Answer
    ) -> SquareState:
        """Keeps the candidate where it is better, and proposes the next."""
        state = self._keep(labels, state, answer)
        height, width, _ = images.shape[1:]
        sides = square_sides(self.num_steps, height, width, first_share=self.first_share)
        side = jnp.asarray(np.array(sides, np.int32))[state.step + 1]
        keys = fold_each(state.start_keys, state.step + 1)
        proposals = {L1: _propose_l1, L2: _propose_l2, Linf: _propose_linf}
        kind = next(kind for kind in proposals if isinstance(self.norm, kind))
        propose = jax.vmap(proposals[kind], (0, 0, None, None))
        moved = propose(keys, state.current, side, self.epsilon)
        if isinstance(self.norm, L1) and images.shape[-1] > 1:
            delta = project(self.norm, self.epsilon, images, moved, bounds=self.bounds)
        else:  # in the ball: the projection onto ball and box is then that onto the box
            delta = clip(images, moved, bounds=self.bounds)
        return state._replace(step=state.step + 1, delta=delta)

    def restart(
        self, images: Array, labels: Array, state: SquareState, answer: Answer
    ) -> SquareState:
        """Keeps the last candidate where it is better, and draws the next start."""
        return self._draw(images, self._keep(labels, state, answer))

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

    def _draw(self, images: Array, state: SquareState) -> SquareState:
        """The next start: vertical stripes in L-inf, tiles in L1 and L2."""
        start_keys = fold_each(state.keys, state.restart + 1)
        shape, dtype = images.shape[1:], images.dtype
        make = _stripes if isinstance(self.norm, Linf) else partial(_tiles, self.norm)
        drawn = jax.vmap(lambda key: make(key, shape, dtype))(fold_each(start_keys, 0))
        delta = project(self.norm, self.epsilon, images, self.epsilon * drawn, bounds=self.bounds)
        return state._replace(
            start_keys=start_keys,
            restart=state.restart + 1,
            step=jnp.zeros_like(state.step),
            delta=delta,
            current=delta,
            loss=jnp.full_like(state.loss, -jnp.inf),
        )


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


def _stripes(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Vertical stripes of one pixel, +-1, each channel its own."""
    return jnp.broadcast_to(jax.random.rademacher(key, (1, *shape[1:]), dtype), shape)


def _propose_linf(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with one window at +-epsilon, a sign for each channel."""
    height, width, channels = delta.shape
    draws = jax.random.uniform(key, (2 + channels,))  # all at once: one number costs as much
    inside = _window(_corner(draws[:2], height, width, side), height, width, side)
    return jnp.where(inside[..., None], epsilon * _signs(draws[2:], delta.dtype), delta)


def _tiles(norm: Norm, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """A grid of about 5 x 5 `_bumps`, a sign for each tile and channel.

    Of norm one; in L1 of norm C, as the windows of `_propose_l1`.
    """
    height, width, channels = shape
    side = max(min(height, width) // 5, 1)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    grid = rows[-1] + 1, columns[-1] + 1
    sign_key, turn_key = jax.random.split(key)
    signs = jax.random.rademacher(sign_key, (*grid, channels), dtype)[rows][:, columns]
    down = jnp.asarray(np.arange(height)[:, None] % side)
    right = jnp.asarray(np.arange(width)[None, :] % side)
    turned = jax.random.bernoulli(turn_key, shape=grid)[rows][:, columns]
    power = 2 if isinstance(norm, L2) else 4
    bumps = _bumps(down, right, side, max(shape), turned, dtype, power=power)
    tiles = signs * bumps[..., None]
    if isinstance(norm, L2):
        return norm.steepest(tiles)
    return channels * tiles / _positive(norm.value(tiles))


def _propose_l1(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with the mass of one window moved to another, yet to be projected.

    As `_propose_l2`, with L1 masses and steeper bumps. The new content has C times the mass that is
    available, with C the number of channels. For C = 1 the result is in the ball. For C > 1 it is
    not; the projection onto the ball takes the same amount from every entry, and small ones vanish.
    As in L2, no mass moves from one channel to another, so that with several channels another start
    can find more.
    """
    return _move_mass(1, key, delta, side, epsilon)


def _propose_l2(key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """Delta with the mass of one window moved to another, and the unused mass added there.

    With delta_1 and delta_2 the windows' contents of a channel, the new content of the first
    points along delta_1 / ||delta_1|| +- bumps / ||bumps|| (along +- bumps where this is 0). Its
    length is such that the channel gains its share of the unused mass, epsilon^2 - ||delta||^2. The
    content of the second becomes zero. Then delta is scaled to norm epsilon, less a few rounding
    errors.
    """
    moved = _move_mass(2, key, delta, side, epsilon)
    length = epsilon * (1 - 8 * jnp.finfo(delta.dtype).eps)
    return moved * (length / _positive(jnp.sqrt(jnp.sum(moved**2))))


def _move_mass(order: int, key: Key, delta: Array, side: Array, epsilon: Scalar) -> Array:
    """The move of `_propose_l1` and `_propose_l2`; mass is sum_i |delta_i|^order."""
    height, width, channels = delta.shape
    draws = jax.random.uniform(key, (5 + channels,))
    corner = _corner(draws[:2], height, width, side)
    first = _window(corner, height, width, side)[..., None]
    second = _window(_corner(draws[2:4], height, width, side), height, width, side)[..., None]
    turned, signs = draws[4] < 0.5, _signs(draws[5:], delta.dtype)
    down, right = jnp.arange(height)[:, None] - corner[0], jnp.arange(width)[None] - corner[1]
    most, power = max(height, width), 2 if order == 2 else 4
    bumps = _bumps(down, right, side, most, turned, delta.dtype, power=power)
    bumps = jnp.where(first, bumps[..., None], 0)

    def power_of(delta: Array) -> Array:
        return jnp.abs(delta) if order == 1 else delta**2

    def mass(delta: Array) -> Array:
        return jnp.sum(power_of(delta), axis=(0, 1), keepdims=True)

    def length(mass: Array) -> Array:
        return mass if order == 1 else jnp.sqrt(mass)

    unused = epsilon**order - jnp.sum(power_of(delta))
    # In a full ball what is unused is a rounding error, but its root is a thousand times as large.
    unused = jnp.where(unused > _ROUNDING * epsilon**order, unused, 0) / channels
    available = length(mass(jnp.where(first | second, delta, 0)) + unused)
    if order == 1:
        available = channels * available
    old = jnp.where(first, delta, 0)
    content = old / _positive(length(mass(old)))
    new = signs * bumps / _positive(length(mass(bumps)))
    # Where the two cancel, as in a window of one pixel, the sum's direction would be rounding.
    content = jnp.where(length(mass(content + new)) > _ROUNDING, content + new, new)
    content = available * content / _positive(length(mass(content)))
    return jnp.where(first, content, jnp.where(second, 0, delta))


def _positive(size: Array) -> Array:
    """A denominator: 1 instead of 0."""
    return jnp.where(size > 0, size, 1)


def _corner(draws: Array, height: int, width: int, side: Array) -> tuple[Array, Array]:
    """Upper left corner of a window within the image, uniform as the two draws from [0, 1) are."""
    places = jnp.array([height, width]) - side + 1
    row, column = jnp.minimum(jnp.floor(draws * places).astype(jnp.int32), places - 1)
    return row, column


def _signs(draws: Array, dtype: jnp.dtype) -> Array:
    """[1, 1, C], +-1 with equal chances, from draws [C] from [0, 1)."""
    return jnp.where(draws < 0.5, -1, 1).astype(dtype)[None, None]


def _window(corner: tuple[Array, Array], height: int, width: int, side: Array) -> Array:
    """Bool [H, W], the square of a given side."""
    rows, columns = jnp.arange(height) - corner[0], jnp.arange(width) - corner[1]
    rows, columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    return rows[:, None] & columns[None, :]


def _bumps(  # noqa: PLR0917 (a square and a place in it)
    down: Array,
    right: Array,
    side: Array | int,
    most: int,
    turned: Array,
    dtype: jnp.dtype,
    *,
    power: int = 2,
) -> Array:
    """Two bumps of opposite sign side by side in a square (``turned``: one above the other).

    The height of a bump of h x w pixels at Chebyshev distance d from its centre is
    sum_{m = d + 1}^{n + 1} 1 / m^power, with n = floor(h / 2). Since d is the larger of the
    distances in rows and in columns, the sum up to d is the larger of two sums of one coordinate.

    Args:
      down: int [H, 1], row of each pixel in its square.
      right: int [1, W], column.
      side: of the square.
      most: the largest side there may be.
      turned: bool, [] or [H, W].
      dtype: of the result.
      power: 2, in L1 4: the higher, the more of the mass is in the middle.

    Returns:
      [H, W]; only pixels of a square mean something.

    Reference:
      1912.00049, section 4.3, eq. 2; the power in L1 is that of the public code of 2103.01208.
    """
    half = middle = side // 2
    partial_sums = np.concatenate([[0], np.cumsum(1 / np.arange(1, most + 3) ** float(power))])
    sums = jnp.asarray(partial_sums, dtype)

    def up_to(distance: Array) -> Array:
        return sums[jnp.clip(jnp.abs(distance), 0, most + 1)]

    def across(place: Array) -> tuple[Array, Array]:
        leads = place < half
        wide = jnp.where(leads, half, side - half)
        start = jnp.where(leads, 0, half)
        return jnp.where(leads, 1, -1), up_to(place - start - wide // 2)

    (row_sign, row_across), (column_sign, column_across) = across(down), across(right)
    rows = jnp.where(turned, row_across, up_to(down - middle))
    columns = jnp.where(turned, up_to(right - middle), column_across)
    sign = jnp.where(turned, row_sign, column_sign)
    return sign * jnp.maximum(sums[middle + 1] - jnp.maximum(rows, columns), 0)

"""Auto-PGD: projected gradient ascent that chooses its own step size, image by image.

From a start delta_0 in the ball, with P the projection onto ball and box and g_k the gradient:

    z_{k+1}     = P(delta_k + eta_k ascent(g_k)),
    delta_{k+1} = P(delta_k + alpha (z_{k+1} - delta_k) + (1 - alpha) (delta_k - delta_{k-1})),

alpha = 3/4 (1 at first) and eta_0 = 2 epsilon. At the checkpoints w_1 < w_2 < ... (`checkpoints`)
an image halves its eta and goes back to where its loss was highest, if since the last checkpoint

1. the loss rose in less than 3/4 of the steps, or
2. eta was not halved there, and the highest loss is still the same.

Every image has an eta of its own, and depends on no other. In L1 the steps are sparse instead, see
`SparseAutoPGD`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

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
    gradient_of,
    unasked,
)
from freqbias.attacks.gradient import draw_start, project
from freqbias.attacks.levels import Scalar, ranked_level
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.attacks.protocol import Perturbation, as_bounds
from freqbias.typing import Array, Keys, LossFn

RADII = ((3, 30), (2, 30), (1, 40))
"""The multi-epsilon schedule: radius of each ball over epsilon, and its per cent of the steps."""
MOMENTUM = 0.75  # alpha
RISING = 0.75  # share of steps that must raise the loss


class Point(NamedTuple):
    """A perturbation and what was found there."""

    delta: Array  # [N, H, W, C]
    loss: Array  # [N]
    gradients: Array  # [N, H, W, C]


class Halving(NamedTuple):
    """What the step size of `AutoPGD` depends on."""

    size: Array  # [N], step size over epsilon
    last: Array  # [N], loss one step ago
    rises: Array  # int32 [N], steps since the checkpoint that raised the loss
    highest: Array  # [N], the highest loss at the checkpoint
    halved: Array  # bool [N], at the checkpoint


class Sparsity(NamedTuple):
    """What the steps of `SparseAutoPGD` depend on."""

    size: Array  # [N], step size over epsilon
    entries: Array  # [N], moved by a step


class Stage(NamedTuple):
    """What a step of `SparseAutoPGD` knows of the ball it searches."""

    radius: Array  # int32 [], over epsilon
    first: Array  # int32 [], step at which its search began
    period: Array  # int32 [], steps from checkpoint to checkpoint


class AutoState(NamedTuple):
    """State of Auto-PGD between two steps."""

    keys: Keys  # [N]
    targets: Array | None  # int32 [N] of a targeted attack
    aims: Array | None  # int32 [N, T], classes that the starts are aimed at in turn
    restart: Array  # int32 [], starts drawn
    step: Array  # int32 [], steps taken since the last start
    delta: Array  # [N, H, W, C], the iterate, not yet scored
    previous: Array  # [N, H, W, C], the iterate before
    peak: Point  # of the highest loss since the last start
    rule: Any  # Halving or Sparsity
    best: record.Record
    goal: tuple[Array, ...]  # (labels,) or (labels, aim)


@frozen
class AutoPGD(IterativeAttack):
    """Auto-PGD in any norm; made by `apgd`.

    The result is, per image, the best of all iterates of all starts and of delta = 0: adversarial
    ones first, then by loss (with ``num_targets``, by margin).

    Attributes:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced.
      num_steps: gradient steps from each start.
      num_restarts: starts per image (and class aimed at).
      num_targets: None, or how many of the most likely other classes the starts are aimed at, each
        in turn; success is any other class.
      targeted: towards ``targets`` instead of away from ``labels``.
      loss: "cross_entropy", "margin", "dlr" or a `LossFn`.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `freqbias.attacks.driver`.
    """

    norm: Norm
    epsilon: Scalar
    num_steps: int = static(default=100)
    num_restarts: int = static(default=1)
    num_targets: int | None = static(default=None)
    targeted: bool = static(default=False)
    loss: str | LossFn = static(default="cross_entropy")
    bounds: Bounds | None = static(default=(0.0, 1.0))
    driver: Driver = static(default="auto")

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        _checks.positive_scalars(self, "epsilon")
        _checks.positive_ints(self, "num_steps", "num_restarts")
        if self.num_targets is not None:
            _checks.positive_int("num_targets", self.num_targets)
            if self.targeted:
                raise ValueError(f"num_targets must be None if targeted; got {self.num_targets}.")
        losses.check_loss(self.loss)

    def shared(self) -> Self:
        """No step knows how many starts there are."""
        return dataclasses.replace(self, num_restarts=1, driver="host")

    def program(self, num_classes: int) -> Program:
        """A start, ``num_steps`` gradients and a last score, as often as there are starts."""
        start = Phase(unasked, type(self).draw)
        ascent = Phase(gradient_of(self._loss_fn), type(self).ascend, self.num_steps)
        num_aims = 1 if self.num_targets is None else min(self.num_targets, num_classes - 1)
        score = Phase(forward, type(self).score)
        return (Loop((start, ascent, score), num_aims * self.num_restarts),)

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> AutoState:
        """Scores the clean images and ranks the classes to aim at."""
        aims = None if targets is None else targets[:, None]
        if self.num_targets is not None:
            others = jnp.arange(logits.shape[-1])[None, :] != labels[:, None]
            ranked = jnp.where(others, logits, -jnp.inf)
            _, aims = jax.lax.top_k(ranked, min(self.num_targets, logits.shape[-1] - 1))
        goal = (labels,) if aims is None else (labels, aims[:, 0])
        score = self._score(logits, labels, self._loss_fn(logits, *goal))
        none = jnp.zeros_like(images)
        return AutoState(
            keys=keys,
            targets=targets,
            aims=aims,
            restart=jnp.zeros((), jnp.int32),
            step=jnp.zeros((), jnp.int32),
            delta=none,
            previous=none,
            peak=Point(none, score, none),
            rule=self.first_rule(images),
            best=record.start(images, labels, targets, logits, score),
            goal=goal,
        )

    def draw(self, images: Array, labels: Array, state: AutoState, answer: Answer) -> AutoState:
        """The next start, aimed at the next class."""
        del labels, answer
        delta = draw_start(
            self.norm, self.first_radius, images, state.keys, state.restart, bounds=self.bounds
        )
        goal = state.goal
        if state.aims is not None:
            aim = jnp.take(state.aims, state.restart % state.aims.shape[1], axis=1)
            goal = (goal[0], aim)
        nowhere = jnp.full_like(state.peak.loss, -jnp.inf)
        return state._replace(
            restart=state.restart + 1,
            step=jnp.zeros_like(state.step),
            delta=delta,
            previous=delta,
            peak=Point(delta, nowhere, jnp.zeros_like(images)),
            rule=self.first_rule(images),
            goal=goal,
        )

    def ascend(self, images: Array, labels: Array, state: AutoState, answer: Answer) -> AutoState:
        """Scores the iterate, adapts the step, and moves."""
        state, loss = self._keep(labels, state, answer)
        best, gradients = record.take_gradients(state.best, answer.gradients)
        here = Point(state.delta, loss, gradients)
        peak = _select(loss > state.peak.loss, here, state.peak)
        back, rule = self.adapt(state.step, state.rule, here, peak)
        here = _select(back, peak, here)
        delta = self.move(images, state._replace(rule=rule), here)
        return state._replace(
            step=state.step + 1,
            delta=delta,
            previous=here.delta,
            peak=peak,
            rule=rule,
            best=best,
        )

    def score(self, images: Array, labels: Array, state: AutoState, answer: Answer) -> AutoState:
        """Scores the last iterate."""
        del images
        return self._keep(labels, state, answer)[0]

    def finalize(self, state: AutoState) -> Perturbation:
        """The result: the best iterate of each image."""
        return record.result(state.best, self.norm)

    def first_rule(self, images: Array) -> Any:
        """The rule at a start: step size 2 epsilon."""
        ones = jnp.ones(images.shape[0], images.dtype)
        zeros = jnp.zeros(images.shape[0], jnp.int32)
        return Halving(2 * ones, jnp.inf * ones, zeros, -jnp.inf * ones, zeros > 0)

    def adapt(self, step: Array, rule: Any, here: Point, peak: Point) -> tuple[Array, Any]:
        """At a checkpoint: which images go back to their peak, bool [N], and the new rule."""
        table = np.zeros(self.num_steps + 1, np.int32)  # steps since the last checkpoint, at each
        where = checkpoints(self.num_steps)
        table[list(where)] = np.diff(where, prepend=0)
        length = jnp.asarray(table)[step]
        at_checkpoint = (length > 0) | (step == 0)
        rises = rule.rises + (here.loss > rule.last)
        stuck = ~rule.halved & (rule.highest >= peak.loss)
        halve = at_checkpoint & ((rises < RISING * length) | stuck)
        return halve, Halving(
            size=jnp.where(halve, rule.size / 2, rule.size),
            last=here.loss,
            rises=jnp.where(at_checkpoint, 0, rises),
            highest=jnp.where(at_checkpoint, peak.loss, rule.highest),
            halved=jnp.where(at_checkpoint, halve, rule.halved),
        )

    def move(self, images: Array, state: AutoState, here: Point) -> Array:
        """The next iterate [N, H, W, C]: a projected step and momentum."""
        length = (self.epsilon * state.rule.size)[:, None, None, None]
        ascent = partial(self.norm.ascent, boxed=self.bounds is not None)
        stepped = here.delta + length * jax.vmap(ascent)(here.gradients)
        ahead = project(self.norm, self.epsilon, images, stepped, bounds=self.bounds) - here.delta
        alpha = jnp.where(state.step == 0, 1, MOMENTUM).astype(images.dtype)
        moved = here.delta + alpha * ahead + (1 - alpha) * (here.delta - state.previous)
        return project(self.norm, self.epsilon, images, moved, bounds=self.bounds)

    @property
    def first_radius(self) -> Scalar:
        """Of the ball that starts are drawn from."""
        return self.epsilon

    @property
    def _loss_fn(self) -> Callable[..., Array]:
        aimed = self.targeted or self.num_targets is not None
        return losses.named_loss(self.loss, targeted=aimed)  # type: ignore[arg-type]

    def _score(self, logits: Array, labels: Array, loss: Array) -> Array:
        """What the best is chosen by: margins, if several classes are aimed at in turn."""
        return loss if self.num_targets is None else losses.margin(logits, labels)

    def _keep(self, labels: Array, state: AutoState, answer: Answer) -> tuple[AutoState, Array]:
        logits = answer.logits
        loss = self._loss_fn(logits, *state.goal)
        score = self._score(logits, labels, loss)
        best = record.keep_loss(state.best, state.delta, score, logits, labels, state.targets)
        return state._replace(best=best), loss


@frozen
class SparseAutoPGD(AutoPGD):
    """Auto-PGD in the L1 norm, with steps of adaptive sparsity; made by `apgd`.

    A step moves the k entries of largest gradient by equal amounts, eta in all, without momentum:

        delta_{k+1} = P(delta_k + eta s / ||s||_1),  s = sign(g_k) on the k largest |g_k|, else 0.

    At first k is a fifth of all D entries, and eta = epsilon. Every max(1, num_steps / 25) steps,
    k becomes ||delta*||_0 / 1.5, with delta* the iterate of highest loss. Where this makes k
    smaller by more than 5 %, the image goes back to delta*, and eta to epsilon; elsewhere eta
    becomes max(eta / 1.5, epsilon / 10).

    With ``multi_epsilon``, larger balls are searched first: 30 % of the steps (rounded down) are
    taken in the ball of 3 epsilon, 30 % in that of 2 epsilon and the rest in that of epsilon. Each
    has its own checkpoints; it begins at the projection of the best point of the one before, with
    k = ||delta||_0 / 1.5. Only points of the last can be returned.

    That is not the default, because it is no stronger for the same number of gradients. On two
    fully connected and two convolutional networks trained on fashion_mnist_mini, at epsilon 4 and
    8, after 40 and 100 steps, the accuracy that it left on 256 images was between 0.7 points lower
    and 1.2 higher, on average 0.2 higher; for all 16 numbers:
    ``pytest -n 0 -s -m slow tests/attacks/test_apgd_multi_epsilon.py``.

    Attributes:
      multi_epsilon: search larger balls first.

    Reference:
      Croce and Hein, 2103.01208, algorithm 1, and its multi-epsilon form.
    """

    multi_epsilon: bool = static(default=False)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        super().check()
        if not isinstance(self.multi_epsilon, bool):
            raise TypeError(f"multi_epsilon must be a bool; got {self.multi_epsilon!r}.")

    @property
    def first_radius(self) -> Scalar:
        """Of the ball that starts are drawn from."""
        return self._stage(jnp.int32(0)).radius * self.epsilon

    def first_rule(self, images: Array) -> Any:
        """The rule at a start: steps of length epsilon, over a fifth of the entries."""
        ones = jnp.ones(images.shape[0], images.dtype)
        return Sparsity(ones, ones * (0.2 * images[0].size))

    def ascend(self, images: Array, labels: Array, state: AutoState, answer: Answer) -> AutoState:
        """Scores the iterate, adapts the step, and moves; into the next ball at the end of one."""
        new = super().ascend(images, labels, state, answer)
        if not self.multi_epsilon:
            return new
        radius = self._stage(new.step).radius
        ends = radius < self._stage(state.step).radius
        start = project(
            self.norm, radius * self.epsilon, images, new.peak.delta, bounds=self.bounds
        )
        ones = jnp.ones_like(new.peak.loss)
        nowhere = Point(start, -jnp.inf * ones, jnp.zeros_like(start))
        begun = new._replace(delta=start, peak=nowhere, rule=Sparsity(ones, _entries(start)))
        return jax.tree.map(lambda a, b: jnp.where(ends, a, b), begun, new)

    def adapt(self, step: Array, rule: Any, here: Point, peak: Point) -> tuple[Array, Any]:
        """At a checkpoint: which images go back to their peak, bool [N], and the new rule."""
        del here
        _, first, period = self._stage(step)
        at_checkpoint = (step > first) & ((step - first) % period == 0)
        entries = _entries(peak.delta)
        shrunk = entries < 0.95 * rule.entries
        size = jnp.where(shrunk, 1, jnp.maximum(rule.size / 1.5, 0.1))
        return at_checkpoint & shrunk, Sparsity(
            size=jnp.where(at_checkpoint, size, rule.size).astype(rule.size.dtype),
            entries=jnp.where(at_checkpoint, entries, rule.entries).astype(rule.entries.dtype),
        )

    def move(self, images: Array, state: AutoState, here: Point) -> Array:
        """The next iterate [N, H, W, C]: a projected sparse step."""
        direction = jax.vmap(_sparse_signs)(here.gradients, state.rule.entries)
        radius = self._stage(state.step).radius * self.epsilon
        length = (radius * state.rule.size)[:, None, None, None]
        moved = here.delta + length * direction
        return project(self.norm, radius, images, moved, bounds=self.bounds)

    def _keep(self, labels: Array, state: AutoState, answer: Answer) -> tuple[AutoState, Array]:
        new, loss = super()._keep(labels, state, answer)
        if not self.multi_epsilon:
            return new, loss
        within = self._stage(state.step).radius == 1
        before = state.best._replace(finite=new.best.finite)
        best = jax.tree.map(lambda a, b: jnp.where(within, a, b), new.best, before)
        return new._replace(best=best), loss

    def _stage(self, step: Array) -> Stage:
        """That of a step, 0 to ``num_steps`` (the last score)."""
        radii = RADII if self.multi_epsilon else RADII[-1:]
        lengths = [percent * self.num_steps // 100 for _, percent in radii[:-1]]
        lengths.append(self.num_steps - sum(lengths))
        firsts = np.cumsum([0, *lengths[:-1]])
        stages = zip([radius for radius, _ in radii], firsts, lengths, strict=True)
        rows = [(radius, first, max(1, length // 25)) for radius, first, length in stages]
        lengths[-1] += 1
        table = jnp.asarray(np.repeat(np.array(rows, np.int32), lengths, axis=0))
        return Stage(*table[step])


def _entries(delta: Array) -> Array:
    """Number of entries that a step moves, [N]: two thirds of those in which delta is not zero."""
    return jnp.sum(delta != 0, axis=(1, 2, 3)).astype(delta.dtype) / 1.5


@checked
def apgd(
    norm: Norm,
    *,
    epsilon: Scalar,
    num_steps: int = 100,
    num_restarts: int = 1,
    loss: str | LossFn = "cross_entropy",
    num_targets: int | None = None,
    targeted: bool = False,
    multi_epsilon: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
    driver: Driver = "auto",
) -> AutoPGD:
    """Auto-PGD: PGD without a step size to choose.

    Args:
      norm: the geometry; for `L1` the steps are sparse.
      epsilon: radius of the ball, in pixel units.
      num_steps: gradient steps from each start.
      num_restarts: starts per image, uniform in the ball.
      loss: "cross_entropy" (APGD-CE), "dlr" (APGD-DLR; at least 3 classes, 4 if aimed), "margin"
        or a `LossFn`.
      num_targets: None, or the number of other classes, the most likely first, that starts are
        aimed at in turn (APGD-T: ``loss="dlr", num_targets=9``); at most K - 1 are used.
      targeted: ascend towards ``targets``, given at the call.
      multi_epsilon: search larger balls first; in `L1` only, see `SparseAutoPGD`.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host".

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range; at the call, too few classes for "dlr".

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> aimed = {"loss": "dlr", "num_targets": 3}
      >>> attack = attacks.apgd(attacks.Linf(), epsilon=0.1, num_steps=4, **aimed)
      >>> attack(*attacks.example(), jax.random.key(0)).gradient_evaluations.tolist()
      [12, 12, 12, 12]

    Reference:
      Croce and Hein, 2003.01690, algorithm 1; in L1, 2103.01208, algorithm 1.
    """
    make: Callable[..., AutoPGD] = AutoPGD
    check_norm(norm)
    if norm.sparse:
        make = partial(SparseAutoPGD, multi_epsilon=multi_epsilon)
    elif multi_epsilon:
        raise ValueError(
            f"multi_epsilon must be False in a norm that is not sparse, as L1() is; got {norm}."
        )
    attack = make(
        norm=norm,
        epsilon=epsilon,
        num_steps=num_steps,
        num_restarts=num_restarts,
        num_targets=num_targets,
        targeted=targeted,
        loss=loss,
        bounds=as_bounds(bounds),
        driver=driver,
    )
    attack.check()
    return attack


def checkpoints(num_steps: int) -> tuple[int, ...]:
    """Steps w_j = ceil(p_j num_steps) at which `AutoPGD` may halve its step size.

    p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), up to 1.

    Args:
      num_steps: of the attack.

    Returns:
      w_1 < w_2 < ... <= num_steps.
    """
    percent, period, found = 22, 22, []
    while percent <= 100:
        found.append(math.ceil(percent * num_steps / 100))
        period = max(period - 3, 6)
        percent += period
    return tuple(sorted(set(found)))


def _select(where: Array, one: Point, other: Point) -> Point:
    """Image by image."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(jnp.expand_dims(where, tuple(range(1, a.ndim))), a, b)

    return jax.tree.map(pick, one, other)


def _sparse_signs(gradient: Array, count: Array) -> Array:
    """Signs of the ``count`` largest entries of one gradient (more at a tie), of L1 norm one."""
    size = jnp.abs(gradient)
    rank = jnp.clip(count.astype(jnp.int32), 1, gradient.size)
    signs = jnp.where(size >= ranked_level(size, rank), jnp.sign(gradient), 0)
    return signs / jnp.maximum(jnp.sum(jnp.abs(signs)), 1)

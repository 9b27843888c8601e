"""What the minimal attacks share: the class to aim at, the linearised boundary, a last line search.

A minimal attack looks for the nearest image of another class (targeted: of the target's). It

1. probes: asks the clean image for the gradient towards each of its strongest rival classes, and
   aims at the one whose linearised boundary is nearest in the norm and the box,
2. moves, its own way, and records the nearest adversarial point it meets,
3. searches the path from that point to the clean image for the boundary, by bisection: at the end
   of each start, so that one start more never ends further away.

The path of 3 is {project(delta, r): 0 <= r <= ||delta||}, the projections onto shrinking balls: for
L2 the straight segment, for L-inf a falling clip, for L1 a rising soft threshold, for L0 fewer and
fewer entries. All its points lie in the box, since each entry only shrinks; in Fourier norms, where
that is not so, the projections are onto ball and box.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from freqbias.attacks import losses, record
from freqbias.attacks.driver import Answer, IterativeAttack, Oracle, Phase, forward, gradient_of
from freqbias.attacks.levels import Scalar
from freqbias.attacks.norms import L2, Bounds, Norm, reach
from freqbias.attacks.protocol import Perturbation
from freqbias.typing import Array

NUM_RIVALS = 9
"""Default number of classes probed: all others of ten."""
_NUM_BISECTIONS = 16  # about what float32 resolves of a distance
CONFIDENCE = 1e-4
"""Margin that a result must have, as a share of the clean image's, so that rounding spares it."""


class Rivals(NamedTuple):
    """What probing the clean images found."""

    classes: Array  # int32 [N, R], strongest first
    rank: Array  # int32 [], position in ``classes`` of the one probed next
    distances: Array  # [N, R], of their linearised boundaries; infinity for a zero gradient
    lengths: Array  # [N, R], the L2 norms of the steps to them, whatever the norm of the attack
    aim: Array  # int32 [N], the class aimed at: the nearest, until `aim_at` turns to another
    distance: Array  # [N], its distance
    length: Array  # [N], its length


class Search(NamedTuple):
    """The line search; shares are of the norm of ``found``."""

    found: Array  # [N, H, W, C], the nearest adversarial point when the search began
    low: Array  # [N], a share that is not adversarial
    high: Array  # [N], a share that is
    confidence: Array  # [N], least gain of a point that counts as adversarial


class MinimalState(NamedTuple):
    """State of a minimal attack between two steps."""

    targets: Array | None  # int32 [N]
    step: Array  # int32 [], taken since the probe
    delta: Array  # [N, H, W, C], the iterate, not yet scored
    goal: tuple[Array, ...]  # what to ask there
    best: record.Record
    rivals: Rivals
    search: Search
    own: Any = None  # what only this attack knows


def rival_loss(logits: Array, labels: Array, aims: Array) -> Array:
    """Logit of the class aimed at minus the label's, z_a - z_y; the margin where aim is -1.

    Args:
      logits: [N, K].
      labels: int32 [N].
      aims: int32 [N], a class or -1.

    Returns:
      Losses [N]; beyond 0 the image is adversarial.
    """
    classes = jnp.arange(logits.shape[-1])[None]
    aimed, true = (pick(classes == wanted[:, None], logits) for wanted in (aims, labels))
    return jnp.where(aims >= 0, aimed - true, losses.margin(logits, labels))


def pick(chosen: Array, values: Array) -> Array:
    """The one chosen value of each row, [N], by bool [N, k] of values [N, k]; 0 if none is chosen.

    A sum, so that its gradient is no scatter.
    """
    return jnp.sum(jnp.where(chosen, values, 0), axis=-1)


def target_loss(logits: Array, targets: Array, aims: Array) -> Array:
    """Logit of the target minus the largest other logit.

    Args:
      logits: [N, K].
      targets: int32 [N].
      aims: int32 [N], not used.

    Returns:
      Losses [N]; beyond 0 the image is adversarial.
    """
    del aims
    return -losses.margin(logits, targets)


def ascent(*, targeted: bool) -> Oracle:
    """Oracle: the gradient of `rival_loss` or `target_loss`; its goal (labels or targets, aims)."""
    return gradient_of(target_loss if targeted else rival_loss)


def gain(logits: Array, labels: Array, targets: Array | None) -> Array:
    """Margin [N] by which images of these logits are adversarial; negative where they are not."""
    return losses.margin(logits, labels) if targets is None else -losses.margin(logits, targets)


def start(
    images: Array, labels: Array, targets: Array | None, logits: Array, *, num_rivals: int
) -> MinimalState:
    """The state before the probe, at delta = 0.

    Args:
      images: [N, H, W, C].
      labels: int32 [N].
      targets: int32 [N] of a targeted attack, or None.
      logits: [N, K] of the clean images.
      num_rivals: classes to probe at most: the strongest but the label's; or the target alone.

    Returns:
      The state; its goal is that of `ascent`.
    """
    num_images, num_classes = logits.shape
    if targets is None:
        is_label = jnp.arange(num_classes)[None, :] == labels[:, None]
        others = jnp.where(is_label, -jnp.inf, logits)
        classes = jax.lax.top_k(others, count_rivals(num_rivals, num_classes))[1]
    else:
        classes = targets[:, None]
    classes = classes.astype(jnp.int32)
    zero, zeros = jnp.zeros((), jnp.int32), jnp.zeros(num_images, images.dtype)
    unknown = jnp.full(classes.shape, jnp.inf, images.dtype)
    confidence = CONFIDENCE * jnp.abs(gain(logits, labels, targets))
    return MinimalState(
        targets=targets,
        step=zero,
        delta=jnp.zeros_like(images),
        goal=(labels if targets is None else targets, classes[:, 0]),
        best=record.start(images, labels, targets, logits),
        rivals=aim_at(Rivals(classes, zero, unknown, unknown, labels, zeros, zeros), 0),
        search=Search(jnp.zeros_like(images), zeros, zeros + 1, confidence),
    )


def count_rivals(num_rivals: int, num_classes: int) -> int:
    """How many classes are probed."""
    return min(num_rivals, num_classes - 1)


def probing(*, targeted: bool, num_rivals: int, num_classes: int) -> Phase:
    """The first phase: one gradient for each rival, at the clean image."""
    times = 1 if targeted else count_rivals(num_rivals, num_classes)
    return Phase(ascent(targeted=targeted), probe, times)


def searching() -> tuple[Phase, ...]:
    """The phases that end each start: they score the last iterate, then bisect."""
    return Phase(forward, open_search), Phase(forward, bisect, _NUM_BISECTIONS)


def probe(attack: Any, images: Array, labels: Array, state: Any, answer: Answer) -> Any:
    """Measures the distance to one rival's linearised boundary, and turns to the next rival."""
    del labels
    best, gradients = record.take_gradients(state.best, answer.gradients)
    owner, aims = state.goal
    loss_fn = rival_loss if state.targets is None else target_loss
    gap = jnp.maximum(-loss_fn(answer.logits, owner, aims), 0)
    steps = boundary_step(attack.norm, gradients, gap, images, bounds=attack.bounds)
    distance = jax.vmap(attack.norm.value)(steps)  # where out of reach, of all the room there is
    alive = jnp.any(gradients != 0, axis=(1, 2, 3))
    distance = jnp.where(alive & jnp.isfinite(distance), distance, jnp.inf)
    rivals, rank = state.rivals, state.rivals.rank + 1
    positions = jnp.arange(rivals.classes.shape[1])[None]
    now = positions == rivals.rank
    rivals = rivals._replace(
        rank=rank,
        distances=jnp.where(now, distance[:, None], rivals.distances),
        lengths=jnp.where(now, jax.vmap(L2().value)(steps)[:, None], rivals.lengths),
    )
    rivals = aim_at(rivals, 0)
    last = rank == positions.size
    following = jnp.where(last, rivals.aim, pick(positions == rank, rivals.classes))
    return state._replace(best=best, rivals=rivals, goal=(owner, following))


def aim_at(rivals: Rivals, position: Scalar) -> Rivals:
    """Aims at a rival by its position in the order of distance, int []: 0 is the nearest.

    Positions beyond the last begin again at 0. Of rivals at equal distance (those not yet probed
    are at infinity) the stronger comes first.
    """
    mine, other = rivals.distances[:, :, None], rivals.distances[:, None, :]
    number = mine.shape[1]
    stronger = jnp.tri(number, k=-1, dtype=bool)[None]
    before = (other < mine) | (other == mine) & stronger
    chosen = jnp.sum(before, axis=-1) == position % number
    leaves = rivals.classes, rivals.distances, rivals.lengths
    aim, distance, length = (pick(chosen, leaf) for leaf in leaves)
    return rivals._replace(aim=aim, distance=distance, length=length)


def widen(  # noqa: PLR0917 (a linearised network and the attack on it)
    state: MinimalState,
    logits: Array,
    owner: Array,
    gaps: Array,
    gradients: Array,
    points: Array,
) -> Array:
    """Gaps, widened so that a step across them ends where the image counts as adversarial.

    Each grows by twice the confidence. This is 0 for an image on the boundary; so it grows at least
    by what rounding can take from the difference of two logits z and z - gap, of gradient g at x:

        4 eps (2 |z| + |gap| + sum_i |g_i| max(|x_i|, eps)).

    Args:
      state: of the attack.
      logits: [N, K] at the points.
      owner: int32 [N], the label, or the target of a targeted attack.
      gaps: [N, k], to the boundaries of k classes; negative beyond.
      gradients: [N, k, H, W, C], of the differences.
      points: [N, H, W, C].

    Returns:
      Gaps [N, k].
    """
    eps = jnp.finfo(points.dtype).eps
    sizes = jnp.maximum(jnp.abs(points), eps)[:, None]
    terms = jnp.sum(jnp.abs(gradients) * sizes, axis=(2, 3, 4))
    own = jnp.take_along_axis(logits, owner[:, None], axis=1)
    lost = 4 * eps * (2 * jnp.abs(own) + jnp.abs(gaps) + terms)
    return gaps + jnp.maximum(2 * state.search.confidence[:, None], lost)


def positive(distance: Array) -> Array:
    """A distance [N] to divide by: 1 instead of 0 (an image on the boundary) and of infinity."""
    return jnp.where((distance > 0) & jnp.isfinite(distance), distance, 1)


def boundary_step(
    norm: Norm, gradients: Array, gap: Array, points: Array, *, bounds: Bounds | None
) -> Array:
    """The smallest steps v with <gradient, v> = gap and points + v in the box.

    Args:
      norm: which is smallest.
      gradients: [N, H, W, C] of a loss.
      gap: [N], by how much the loss shall rise; negative to fall.
      points: [N, H, W, C].
      bounds: (low, high) of a pixel, or None.

    Returns:
      Steps [N, H, W, C]; all the room there is where it does not suffice.
    """

    def one(gradient: Array, gap: Array, point: Array) -> Array:
        normal = jnp.where(gap < 0, gradient, -gradient)
        return norm.smallest_step(normal, point, jnp.abs(gap), bounds)[0]

    return jax.vmap(one)(gradients, gap, points)


def clip(images: Array, delta: Array, *, bounds: Bounds | None) -> Array:
    """The nearest perturbations within the box."""
    return delta if bounds is None else jnp.clip(delta, *reach(images, bounds))


def aims(state: MinimalState, fell: Array | None = None) -> Array:
    """Class to go towards [N]: the one aimed at until the image fell, the strongest rival after.

    Args:
      state: of the attack.
      fell: bool [N], whether the image fell since this start; by default ever.

    Returns:
      int32 [N], a class, or -1 for the strongest.
    """
    return jnp.where(state.best.is_adversarial if fell is None else fell, -1, state.rivals.aim)


def column(numbers: Array) -> Array:
    """Numbers [N] as [N, 1, 1, 1], to scale perturbations."""
    return numbers[:, None, None, None]


def decay(step: Array, num_steps: int, dtype: jnp.dtype, *, last: float) -> Array:
    """Cosine from 1 at step 0 towards ``last`` at ``num_steps``."""
    return last + (1 - last) * (1 + jnp.cos(jnp.pi * step.astype(dtype) / num_steps)) / 2


def result(attack: IterativeAttack, state: MinimalState) -> Perturbation:
    """The nearest adversarial point of each image."""
    return record.result(state.best, attack.norm, minimal=True)


def keep(norm: Norm, labels: Array, state: Any, answer: Answer, *, stretch: Scalar = 1) -> Any:
    """Records the iterate where it is adversarial, beyond rounding, and nearer than any before.

    It counts as ``stretch`` times as far as it is.
    """
    distance = stretch * jax.vmap(norm.value)(state.delta)
    distance = jnp.where(counts(labels, state, answer), distance, jnp.inf)
    best = record.keep_nearest(
        state.best, state.delta, distance, answer.logits, labels, state.targets
    )
    return state._replace(best=best)


def open_search(attack: Any, images: Array, labels: Array, state: Any, answer: Answer) -> Any:
    """Scores the last iterate; the search starts from the best so far."""
    state = keep(attack.norm, labels, state, answer)
    zeros = jnp.zeros_like(state.search.low)
    search = state.search._replace(found=state.best.delta, low=zeros, high=zeros + 1)
    return _look(attack, images, state, search)


def bisect(attack: Any, images: Array, labels: Array, state: Any, answer: Answer) -> Any:
    """Records the middle of the bracket and halves it."""
    state, search = keep(attack.norm, labels, state, answer), state.search
    middle, falls = (search.low + search.high) / 2, counts(labels, state, answer)
    search = search._replace(
        low=jnp.where(falls, search.low, middle), high=jnp.where(falls, middle, search.high)
    )
    return _look(attack, images, state, search)


def counts(labels: Array, state: Any, answer: Answer) -> Array:
    """Whether the iterate is adversarial by more than rounding might undo, bool [N]."""
    adversarial, _ = record.judge(answer.logits, labels, state.targets)
    return adversarial & (gain(answer.logits, labels, state.targets) >= state.search.confidence)


def _look(attack: Any, images: Array, state: Any, search: Search) -> Any:
    """Turns to the middle of the bracket."""
    norm, bounds = attack.norm, attack.bounds

    def shrink(found: Array, image: Array, share: Array) -> Array:
        radius = jnp.maximum(share * norm.value(found), jnp.finfo(found.dtype).tiny)
        if bounds is None or norm.shrinks:
            return norm.project(found, radius)
        return norm.project_box(found, image, radius, bounds)

    delta = jax.vmap(shrink)(search.found, images, (search.low + search.high) / 2)
    return state._replace(search=search, delta=delta)

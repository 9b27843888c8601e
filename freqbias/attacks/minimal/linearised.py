"""The linearised network of DeepFool and FAB: its boundaries, nearest class first.

Every step is exact for the linearised network (`boundary.boundary_step`), within the box for FAB
and for box-aware DeepFool. Which class is nearest always depends on the box.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias.attacks.driver import Answer
from freqbias.attacks.minimal import boundary
from freqbias.attacks.minimal.boundary import MinimalState
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.typing import Array


class Linearised(NamedTuple):
    """The network around N points, towards one class each."""

    gradients: Array  # [N, H, W, C], of the loss
    gap: Array  # [N], by which the loss has to rise; negative beyond the boundary
    steps: Array  # [N, H, W, C], the smallest onto the boundary
    distance: Array  # [N], their norm


def nearest_boundary(
    norm: Norm, gradients: Array, gaps: Array, points: Array, *, bounds: Bounds | None
) -> Linearised:
    """The class whose linearised boundary is nearest in the norm and the box.

    Args:
      norm: in which it is nearest.
      gradients: [N, k, H, W, C], of the losses of k classes.
      gaps: [N, k], by which each loss has to rise.
      points: [N, H, W, C].
      bounds: (low, high) of a pixel, or None.

    Returns:
      The class's; a class of zero gradient only where all are.
    """
    step_fn = partial(boundary.boundary_step, norm, bounds=bounds)
    steps = jax.vmap(step_fn, (1, 1, None), 1)(gradients, gaps, points)
    distances = jax.vmap(jax.vmap(norm.value))(steps)
    alive = jnp.any(gradients != 0, axis=(2, 3, 4))
    best = jnp.argmin(jnp.where(alive, distances, jnp.inf), axis=1)
    rows = jnp.arange(points.shape[0])
    return Linearised(*(leaf[rows, best] for leaf in (gradients, gaps, steps, distances)))


def _differences(answer: Answer, classes: Array) -> tuple[Array, Array]:
    """Gradients [N, k - 1, H, W, C] and gaps [N, k - 1] of the rivals' logits minus the first's."""
    logits = jnp.take_along_axis(answer.logits, classes, axis=1)
    gradients = answer.gradients[:, 1:] - answer.gradients[:, :1]
    return gradients, logits[:, :1] - logits[:, 1:]


def linearise(answer: Answer, state: MinimalState) -> tuple[Array, Array]:
    """Gradients [N, k, H, W, C] of what is to rise, and by how much [N, k], whatever was asked.

    Of `jacobian` k differences of logits; of `boundary.ascent` its one loss.
    """
    if len(state.goal) == 1:
        return _differences(answer, *state.goal)
    loss_fn = boundary.rival_loss if state.targets is None else boundary.target_loss
    return answer.gradients[:, None], -loss_fn(answer.logits, *state.goal)[:, None]


def with_label(labels: Array, state: MinimalState) -> MinimalState:
    """The goal of `jacobian`: the label, then its rivals."""
    classes = jnp.concatenate([labels[:, None], state.rivals.classes], axis=1)
    return state._replace(goal=(classes,))


def check_linear(norm: Norm, use: str) -> None:
    """Raises unless a step onto a boundary can be made longer and shorter in this norm.

    Args:
      norm: of an attack.
      use: the attack, in the words of the message.

    Raises:
      TypeError: it is no norm.
      ValueError: it lacks `Norm.smallest_step`, or counts changes.
    """
    check_norm(norm, "smallest_step", use=use)
    if norm.counts:
        raise ValueError(f"norm must measure changes, not count them, for {use}; got {norm}.")

"""Closed forms: the exact adversarial perturbation of an affine model, with and without the box.

For logits z_k = <beta_k, x> + b_k and label y, class j is reached by shrinking the margin
m_j = z_y - z_j along w_j = beta_y - beta_j. Pixel i moves against w_i by at most the room c_i to
the bound on that side (infinite without bounds). In both norms the optimum is

    delta_i = -sign(w_i) min(s u_i, c_i),   u = |w| for L2, u = 1 (where w_i != 0) for L-inf,

and only the level s differs: the minimal attack solves sum_i |w_i| min(s u_i, c_i) = m, a budget
solves ||min(s u, c)|| = epsilon. Without the box these are m w / ||w||_2^2 and m sign(w) / ||w||_1.

Reference:
  Moosavi-Dezfooli et al., 1511.04599, sections 2 and 3 (no box); with the box, the KKT conditions.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias.attacks.norms import L2, Bounds, Linf, Scalar, water_level
from freqbias.attacks.protocol import (
    Perturbation,
    as_bounds,
    check_arguments,
    check_bounds,
    predict,
)
from freqbias.typing import ApplyFn, Array, Key, Params, Status

# Slack beyond the boundary, in units of the rounding error of a margin: the first that flips the
# prediction is used.
_SLACK_LADDER = (2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)


class AffineMap(NamedTuple):
    """Logits as an affine map of one image: <beta_k, image> + bias_k."""

    beta: Array  # [K, H, W, C]
    bias: Array  # [K]

    def __call__(self, images: Array) -> Array:
        """Logits [N, K] of images [N, H, W, C]."""
        scores = jnp.einsum("nhwc,khwc->nk", images, self.beta, precision="highest")
        return scores + self.bias[None, :]


def affine_map(apply_fn: ApplyFn, params: Params, images: Array) -> AffineMap:
    """Value and Jacobian of a network at the zero image: the network itself, where it is affine.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: parameters of one network.
      images: [N, H, W, C], of which only shape and dtype are used.

    Returns:
      The affine map; its ``beta`` [K, H, W, C] comes from one backward pass over K zero images.
    """
    num_classes = jax.eval_shape(apply_fn, params, images).shape[-1]
    zeros = jnp.zeros((num_classes, *images.shape[1:]), images.dtype)
    logits, pullback = jax.vjp(partial(apply_fn, params), zeros)
    (beta,) = pullback(jnp.eye(num_classes, dtype=logits.dtype))
    return AffineMap(beta, logits[0])


@flax.struct.dataclass
class AffineAttack:
    """The closed form as an attack, called like any other; made by `affine_attack`.

    Attributes:
      norm: `L2` or `Linf`.
      epsilon: radius of the ball, traced, or None for the minimal perturbation.
      bounds: (low, high) of a pixel, or None for no box.
    """

    norm: L2 | Linf
    epsilon: Scalar | None = None
    bounds: Bounds | None = flax.struct.field(pytree_node=False, default=None)

    def __call__(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key | None = None,
        *,
        targets: None = None,
    ) -> Perturbation:
        """Attacks one affine network on a batch of images.

        Args:
          apply_fn: (params, images) -> logits [N, K], affine in the images; static.
          params: parameters of one network; ``jax.vmap`` over them for many.
          images: [N, H, W, C] within bounds.
          labels: int [N].
          key: not used: nothing is random.
          targets: must be None: reaching one of K > 2 classes has no closed form.

        Returns:
          A `Perturbation`. Minimal: delta is 0 where the image is misclassified already; otherwise
          it passes the boundary by a few rounding errors of the margin, so that the prediction
          flips; where the box holds no adversarial image, delta is 0 and distance infinity. Budget:
          delta of the full budget (or all the room there is) towards the nearest class.
          ``status`` is DEAD where every w_j is zero. Under a transformation, where nothing can be
          raised, it is NOT_CONVERGED for images at which the network is not affine.

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong, or the network is not affine.
        """
        self.check()
        images, labels, _ = check_arguments(
            apply_fn, params, images, labels, targets, bounds=self.bounds, targeted=False
        )
        attack = self
        if self.epsilon is not None:
            attack = dataclasses.replace(self, epsilon=jnp.asarray(self.epsilon, images.dtype))
        found = _attack(attack, apply_fn, params, images, labels)
        if _checks.is_concrete(found.status) and jnp.any(found.status == Status.NOT_CONVERGED):
            raise ValueError(
                "apply_fn must be affine in the images for a closed form; its logits differ from "
                "<jacobian at zero, image> + bias."
            )
        return found

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        if not isinstance(self.norm, L2 | Linf):
            raise TypeError(f"norm must be L2 or Linf for a closed form; got {self.norm!r}.")
        if self.epsilon is not None:
            _checks.rank("epsilon", self.epsilon, 0)
            _checks.positive("epsilon", self.epsilon)
        check_bounds(self.bounds)


def affine_attack(
    norm: L2 | Linf, *, epsilon: Scalar | None = None, bounds: Bounds | None = None
) -> AffineAttack:
    """The exact attack on an affine model.

    Args:
      norm: `L2` or `Linf`.
      epsilon: radius of the ball, in pixel units, or None for the minimal perturbation.
      bounds: (low, high) of a pixel, or None for no box.

    Returns:
      The attack.

    Raises:
      TypeError: another norm.
      ValueError: epsilon or bounds are out of range.

    Example:
      >>> found = affine_attack(L2())(apply_fn, params, images, labels)
      >>> found.distance  # the exact robust radius of each image
    """
    attack = AffineAttack(norm, epsilon, as_bounds(bounds))
    attack.check()
    return attack


class _Direction(NamedTuple):
    """One image against one class: how to shrink the margin between them."""

    normal: Array  # w [H, W, C], gradient of the margin
    room: Array  # c [H, W, C], how far each pixel may move against w; may be infinite
    shape: Array  # u [H, W, C], how fast each pixel moves


def _direction(norm: L2 | Linf, normal: Array, image: Array, bounds: Bounds | None) -> _Direction:
    room = jnp.full_like(image, jnp.inf)
    if bounds is not None:
        room = jnp.where(normal > 0, image - bounds[0], bounds[1] - image)
    size = jnp.abs(normal)
    return _Direction(normal, room, size if isinstance(norm, L2) else jnp.sign(size))


def _move(direction: _Direction, level: Array) -> Array:
    """The perturbation [H, W, C] of a level."""
    step = jnp.where(direction.shape > 0, level * direction.shape, 0)  # level may be infinite
    return -jnp.sign(direction.normal) * jnp.minimum(step, direction.room)


def _minimal_level(direction: _Direction, margin: Array) -> Array:
    """Level at which the margin is zero; infinity if the room does not suffice."""
    size = jnp.abs(direction.normal)
    room = jnp.where(size > 0, size * direction.room, 0)
    return water_level(size * direction.shape, room, margin)


def _budget_level(norm: L2 | Linf, direction: _Direction, epsilon: Scalar) -> Array:
    """Level at which the norm is epsilon; infinity if the room is less."""
    if isinstance(norm, Linf):
        return jnp.asarray(epsilon)
    scale = norm.value(direction.shape) / epsilon  # of order 1 for the squares
    scale = jnp.where(scale > 0, scale, 1)
    shape, room = direction.shape / (scale * epsilon), direction.room / epsilon
    return jnp.sqrt(water_level(shape**2, room**2, 1.0)) / scale


class _Nearest(NamedTuple):
    """One image against the class whose boundary is nearest."""

    direction: _Direction
    margin: Array  # []
    error: Array  # [], rounding error of the margin


def _nearest(
    attack: AffineAttack, model: AffineMap, image: Array, label: Array, logits: Array
) -> _Nearest:
    """The class of smallest minimal distance; if the box lets none be reached, without the box."""
    norm = attack.norm
    normals = model.beta[label][None] - model.beta
    margins = logits[label] - logits
    directions = jax.vmap(partial(_direction, norm, image=image, bounds=attack.bounds))(normals)
    levels = jax.vmap(_minimal_level)(directions, jnp.maximum(margins, 0))
    distances = jax.vmap(norm.value)(jax.vmap(_move)(directions, levels))
    is_label = jnp.arange(logits.size) == label
    distances = jnp.where(jnp.isfinite(levels) & ~is_label, distances, jnp.inf)
    duals = jax.vmap(norm.dual)(normals)
    unboxed = jnp.where(duals > 0, margins / jnp.where(duals > 0, duals, 1), jnp.inf)
    distances = jnp.where(jnp.any(jnp.isfinite(distances)), distances, unboxed)
    index = jnp.argmin(jnp.where(is_label, jnp.inf, distances))
    direction = jax.tree.map(lambda leaf: leaf[index], directions)
    size = jnp.sum(jnp.abs(direction.normal * image))
    size = size + jnp.abs(model.bias[label]) + jnp.abs(model.bias[index])
    return _Nearest(direction, margins[index], jnp.finfo(image.dtype).eps * size)


def _budget_delta(norm: L2 | Linf, epsilon: Scalar, nearest: _Nearest) -> Array:
    """The perturbation [H, W, C] of norm epsilon, or all the room there is."""
    level = _budget_level(norm, nearest.direction, epsilon)
    return norm.project(_move(nearest.direction, level), epsilon)


def _minimal_delta(
    predict_fn: Callable[[Array], Array], labels: Array, nearest: _Nearest, found: Array
) -> Array:
    """Zero where ``found``, else the smallest rung of the ladder that flips the prediction."""
    delta = jnp.zeros_like(nearest.direction.normal)

    def rung(carry: tuple[Array, Array], slack: Array) -> tuple[tuple[Array, Array], None]:
        delta, found = carry
        margins = jnp.maximum(nearest.margin, 0) + slack * nearest.error
        levels = jax.vmap(_minimal_level)(nearest.direction, margins)
        moves = jax.vmap(_move)(nearest.direction, levels)
        flips = jnp.isfinite(levels) & _is_adversarial(predict_fn(moves), labels)
        delta = jnp.where((flips & ~found)[:, None, None, None], moves, delta)
        return (delta, found | flips), None

    ladder = jnp.asarray(_SLACK_LADDER, delta.dtype)
    return jax.lax.scan(rung, (delta, found), ladder)[0][0]


def _is_adversarial(predictions: Array, labels: Array) -> Array:
    return (predictions != labels) & (predictions >= 0)


@partial(jax.jit, static_argnames="apply_fn")
def _attack(
    attack: AffineAttack, apply_fn: ApplyFn, params: Params, images: Array, labels: Array
) -> Perturbation:
    def predict_fn(delta: Array) -> Array:
        return predict(apply_fn(params, images + delta))

    model = affine_map(apply_fn, params, images)
    logits = apply_fn(params, images)
    clean_correct = predict(logits) == labels
    finite = (predict(logits) >= 0) & jnp.all(jnp.isfinite(model.beta))
    nearest = jax.vmap(partial(_nearest, attack, model))(images, labels, logits)
    if attack.epsilon is None:
        delta = _minimal_delta(predict_fn, labels, nearest, finite & ~clean_correct)
    else:
        delta = jax.vmap(partial(_budget_delta, attack.norm, attack.epsilon))(nearest)
    delta = jnp.where(finite[:, None, None, None], delta, 0)

    is_adversarial = _is_adversarial(predict_fn(delta), labels)
    distance = jax.vmap(attack.norm.value)(delta)
    if attack.epsilon is None:
        distance = jnp.where(is_adversarial, distance, jnp.inf)
    alive = jnp.any(nearest.direction.normal != 0, axis=(1, 2, 3))
    status = jnp.where(alive, Status.OK, Status.DEAD)
    status = jnp.where(_is_affine(model, images, logits), status, Status.NOT_CONVERGED)
    return Perturbation(
        delta=delta,
        clean_correct=clean_correct,
        is_adversarial=is_adversarial,
        flipped=clean_correct & is_adversarial,
        distance=distance,
        gradient_evaluations=jnp.full(labels.shape, logits.shape[-1], jnp.int32),
        status=jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32),
    )


def _is_affine(model: AffineMap, images: Array, logits: Array) -> Array:
    """Whether the affine map gives each image's logits, to half the digits of <|beta|, x>."""
    residual = jnp.max(jnp.abs(model(images) - logits), axis=-1)
    size = jnp.sum(AffineMap(jnp.abs(model.beta), jnp.abs(model.bias))(jnp.abs(images)), axis=-1)
    return residual <= jnp.sqrt(jnp.finfo(images.dtype).eps) * size

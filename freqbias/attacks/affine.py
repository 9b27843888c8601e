"""Closed forms: the exact adversarial perturbation of an affine model.

For logits z_k = <beta_k, x> + b_k and label y, the margin over class j is m_j = z_y - z_j, and its
gradient w_j = beta_y - beta_j. The image becomes one of class j where the margin is 0; the class
attacked is the one for which that takes the smallest perturbation.

**Without the box** the distance to class j is m_j / ||w_j||_dual, and the perturbation points
against ``steepest(w_j)``, in every norm. The minimal perturbation has that length, one of a budget
the length epsilon.

**With the box** pixel i moves against w_i by at most its room c_i to the bound on that side.

* L2, L-inf and Lp: delta_i = -sign(w_i) min(s u_i, c_i), u = |w| for L2, |w|^(1 / (p - 1)) for Lp
  and 1 (where w_i != 0) for L-inf. The level s solves sum_i |w_i| min(s u_i, c_i) = m for the
  minimal attack and ||min(s u, c)|| = epsilon for a budget.
* L1: a knapsack. Pixels are filled up in the order of |w_i|, the last one in part.
* L0: pixels in the order of |w_i| c_i, as few as reach the margin.
* Fourier norms: no closed form; they raise.

Reference:
  Moosavi-Dezfooli et al., 1511.04599, sections 2 and 3 (no box); Faghri et al., 2102.08868,
  section 4 (Fourier); with the box, the KKT conditions.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks.levels import Scalar
from freqbias.attacks.norms import Bounds, Norm, check_norm, defines
from freqbias.attacks.norms.steps import room_of
from freqbias.attacks.protocol import (
    CheckedAttack,
    Perturbation,
    as_bounds,
    check_bounds,
    on_device,
    predict,
)
from freqbias.ops import AffinePredictor, affine_predictor
from freqbias.typing import ApplyFn, Array, Key, Params, Status

# Slack beyond the boundary, in units of the rounding error of a margin: the first that flips the
# prediction is used.
_SLACK_LADDER = (2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)


@frozen
class AffineAttack(CheckedAttack):
    """The closed form as an attack, called like any other; made by `affine_attack`.

    Attributes:
      norm: any norm of this package; Fourier norms only without the box.
      epsilon: radius of the ball, traced, or None for the minimal perturbation.
      bounds: (low, high) of a pixel, or None for no box.
    """

    norm: Norm
    epsilon: Scalar | None = None
    bounds: Bounds | None = static(default=None)

    def __call__(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key | None = None,
        *,
        targets: Array | None = None,
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
          delta of the full budget (or all the room there is) towards the nearest class; where the
          box holds no adversarial image, towards the class that all the room brings nearest.
          ``status`` is DEAD where every w_j is zero. Under a transformation and in an ensemble,
          where this raises nothing, it is NOT_CONVERGED where the network is not affine.

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong, or the network is not affine.
        """
        found = super().__call__(apply_fn, params, images, labels, key, targets=targets)
        if _checks.is_concrete(found.status) and jnp.any(found.status == Status.NOT_CONVERGED):
            raise ValueError(
                "apply_fn must be affine in the images for a closed form; its logits differ from "
                "<jacobian at zero, image> + bias."
            )
        return found

    @property
    def targeted(self) -> bool:  # type: ignore[override]
        """False: reaching one of K > 2 classes has no closed form."""
        return False

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> Perturbation:
        """The closed form; NOT_CONVERGED for images at which the network is not affine."""
        del targets, key
        attack = self
        if self.epsilon is not None:
            attack = dataclasses.replace(self, epsilon=on_device(self.epsilon, images.dtype))
        return _attack(attack, apply_fn, params, images, labels)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        check_norm(self.norm)
        if self.epsilon is not None:
            _checks.positive_scalars(self, "epsilon")
        check_bounds(self.bounds)
        if self.bounds is not None:
            use = f"a closed form with bounds {self.bounds}"
            check_norm(self.norm, "smallest_step", "largest_step", use=use)
        elif not (self.norm.exact or defines(self.norm, "smallest_step")):
            raise ValueError(f"norm must have an exact steepest direction; got {self.norm}.")
        elif self.norm.counts and self.epsilon is not None:
            kind = type(self.norm).__name__
            raise ValueError(f"bounds must be given for a budget in {kind}, whose ball has no end.")


@checked
def affine_attack(
    norm: Norm, *, epsilon: Scalar | None = None, bounds: Bounds | None = None
) -> AffineAttack:
    """The exact attack on an affine model.

    Args:
      norm: any norm of this package; Fourier norms only without bounds.
      epsilon: radius of the ball, in the norm, or None for the minimal perturbation.
      bounds: (low, high) of a pixel, or None for no box.

    Returns:
      The attack.

    Raises:
      TypeError: another norm.
      ValueError: epsilon or bounds are out of range; bounds with a Fourier norm; a budget in `L0`
        without bounds.

    Example:
      >>> from freqbias import attacks
      >>> exact = attacks.affine_attack(attacks.L2())(*attacks.example())
      >>> exact.distance.shape  # the robust radius of each image
      (4,)
      >>> attack = attacks.affine_attack(attacks.L2(), epsilon=0.99 * exact.distance.min())
      >>> bool(attack(*attacks.example()).is_adversarial.any())
      False
    """
    attack = AffineAttack(norm, epsilon, as_bounds(bounds))
    attack.check()
    return attack


class _Nearest(NamedTuple):
    """One image against the class whose boundary is nearest."""

    normal: Array  # w [H, W, C], gradient of the margin
    alive: Array  # [], whether the gradient of some class's margin is not zero
    margin: Array  # []
    error: Array  # [], rounding error of the margin


def _nearest(
    attack: AffineAttack, model: AffinePredictor, image: Array, label: Array, logits: Array
) -> _Nearest:
    """The class of smallest minimal distance; if none is in reach, of the least margin left."""
    rows = jnp.moveaxis(model.weights, -1, 0)
    normals, margins = rows[label][None] - rows, logits[label] - logits
    minimal = partial(attack.norm.smallest_step, bounds=attack.bounds)
    _, distances = jax.vmap(minimal, (0, None, 0))(normals, image, jnp.maximum(margins, 0))
    is_label = jnp.arange(logits.size) == label
    distances = jnp.where(is_label, jnp.inf, distances)
    if attack.bounds is not None:
        room = jax.vmap(room_of, (0, None, None))(normals, image, attack.bounds)
        left = margins - jnp.sum(jnp.abs(normals) * room, axis=(1, 2, 3))
        distances = jnp.where(jnp.any(jnp.isfinite(distances)), distances, left)
    index = jnp.argmin(jnp.where(is_label, jnp.inf, distances))
    eps = jnp.finfo(image.dtype).eps
    size = jnp.sum(jnp.abs(normals[index]) * jnp.maximum(jnp.abs(image), eps))  # a tie of black too
    size = size + jnp.abs(model.bias[label]) + jnp.abs(model.bias[index])
    return _Nearest(normals[index], jnp.any(normals != 0), margins[index], eps * size)


def _climb(
    attack: AffineAttack,
    predict_fn: Callable[[Array], Array],
    images: Array,
    labels: Array,
    nearest: _Nearest,
) -> Array:
    """The minimal delta [N, H, W, C] of the first slack that flips the prediction, else zero."""
    minimal = partial(attack.norm.smallest_step, bounds=attack.bounds)

    def rung(carry: tuple[Array, Array], slack: Array) -> tuple[tuple[Array, Array], None]:
        delta, found = carry
        margins = jnp.maximum(nearest.margin, 0) + slack * nearest.error
        moves, distances = jax.vmap(minimal)(nearest.normal, images, margins)
        flips = jnp.isfinite(distances) & _is_adversarial(predict_fn(moves), labels)
        delta = jnp.where((flips & ~found)[:, None, None, None], moves, delta)
        return (delta, found | flips), None

    ladder = jnp.asarray(_SLACK_LADDER, images.dtype)
    start = jnp.zeros_like(images), jnp.zeros(labels.shape, bool)
    return jax.lax.scan(rung, start, ladder)[0][0]


def _is_adversarial(predictions: Array, labels: Array) -> Array:
    return (predictions != labels) & (predictions >= 0)


@partial(jax.jit, static_argnames="apply_fn")
def _attack(
    attack: AffineAttack, apply_fn: ApplyFn, params: Params, images: Array, labels: Array
) -> Perturbation:
    def predict_fn(delta: Array) -> Array:
        return predict(apply_fn(params, images + delta))

    model = affine_predictor(apply_fn, params, images.shape[1:], images.dtype)
    logits = apply_fn(params, images)
    clean_correct = predict(logits) == labels
    finite = (predict(logits) >= 0) & jnp.all(jnp.isfinite(model.weights))
    nearest = jax.vmap(partial(_nearest, attack, model))(images, labels, logits)
    if attack.epsilon is None:
        delta = _climb(attack, predict_fn, images, labels, nearest)
        delta = jnp.where(clean_correct[:, None, None, None], delta, 0)
    else:
        budget = partial(attack.norm.largest_step, epsilon=attack.epsilon, bounds=attack.bounds)
        delta = jax.vmap(budget)(nearest.normal, images)
    delta = jnp.where(finite[:, None, None, None], delta, 0)

    is_adversarial = _is_adversarial(predict_fn(delta), labels)
    distance = jax.vmap(attack.norm.value)(delta)
    if attack.epsilon is None:
        distance = jnp.where(is_adversarial, distance, jnp.inf)
    status = jnp.where(nearest.alive, Status.OK, Status.DEAD)
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


def _is_affine(model: AffinePredictor, images: Array, logits: Array) -> Array:
    """Whether the affine map gives each image's logits, to half the digits of <|beta|, x>."""
    residual = jnp.max(jnp.abs(model(images) - logits), axis=-1)
    sizes = AffinePredictor(jnp.abs(model.weights), jnp.abs(model.bias))(jnp.abs(images))
    return residual <= jnp.sqrt(jnp.finfo(images.dtype).eps) * jnp.sum(sizes, axis=-1)

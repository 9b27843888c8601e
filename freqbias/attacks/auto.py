"""Several attacks on the same images, and the worst of them for each: `auto_attack`."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import record
from freqbias.attacks.apgd import AutoPGD, apgd
from freqbias.attacks.compiling import compiled
from freqbias.attacks.driver import forward, query
from freqbias.attacks.evaluate import in_batches
from freqbias.attacks.levels import Scalar
from freqbias.attacks.minimal.fab import fab
from freqbias.attacks.norms import Bounds, Norm, check_norm, defines
from freqbias.attacks.protocol import (
    Attack,
    CheckedAttack,
    Perturbation,
    as_bounds,
    check_bounds,
    fold_each,
    image_keys,
    on_device,
)
from freqbias.attacks.square import square
from freqbias.ensemble import perturb_fn
from freqbias.typing import ApplyFn, Array, Key, Keys, Params, Status

_LOSSES = "cross_entropy", "dlr"
_ROUNDING = 1e-6  # relative, by which a projected point may exceed its ball


@checked
def worst_case(perturbations: Sequence[Perturbation]) -> Perturbation:
    """Image by image the worst of several results on the same images.

    An adversarial perturbation is worse than none; of several, the nearest; of equals, the first.

    Args:
      perturbations: leaves [N, ...] or [S, N, ...], at least one.

    Returns:
      A `Perturbation` of the same shape. Gradient evaluations add up. The status is that of all
      attacks together, see `Perturbation`.

    Raises:
      ValueError: there are none, or they are not of the same shape.
    """
    shapes = {found.delta.shape for found in perturbations}
    if len(shapes) != 1:
        raise ValueError(f"perturbations must be at least one, of one shape; got {shapes}.")
    worst = perturbations[0]
    for new in perturbations[1:]:
        nearer = ~worst.is_adversarial | (new.distance < worst.distance)
        worst = _take(worst, new, new.is_adversarial & nearer)
    return worst


@frozen
class AutoAttack(CheckedAttack):
    """Attacks one after the other, each on the images that still stand; made by `auto_attack`.

    Images that are misclassified when clean (targeted: that are predicted as the target) are not
    attacked; their status is NOT_ATTACKED. Standing images are packed into batches of
    ``batch_size``, the last one padded, so that each attack compiles for one shape, whatever the
    number of standing images.
    Within jit or vmap nothing can be packed: every attack then runs on all images, and the result
    is the same.

    Attributes:
      norm: in which the result's ``distance`` is measured.
      epsilon: radius of the ball, in pixel units, scalar > 0; traced. What a minimal attack finds
        beyond it does not count.
      attacks: in their order; all of them targeted, or none.
      batch_size: images attacked at once.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.
    """

    norm: Norm
    epsilon: Scalar
    attacks: tuple[Attack, ...]
    batch_size: int = static(default=128)
    targeted: bool = static(default=False)
    bounds: Bounds | None = static(default=(0.0, 1.0))

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        _checks.positive_scalars(self, "epsilon")
        _checks.positive_int("batch_size", self.batch_size)
        check_bounds(self.bounds)
        if not self.attacks:
            raise ValueError("attacks must not be empty.")
        for attack in self.attacks:
            if getattr(attack, "targeted", False) != self.targeted:
                kind = "targeted" if self.targeted else "untargeted"
                raise ValueError(f"attacks must be {kind}; got {attack}.")

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> Perturbation:
        """What the attacks find; where none succeeded, delta is the first one's."""
        keys = image_keys(key, images.shape[0])
        logits = jax.eval_shape(
            partial(query, forward, apply_fn), params, images, images, ()
        ).logits
        attacks = [_defined(attack, logits.shape[-1]) for attack in self.attacks]
        concrete = all(
            map(_checks.is_concrete, jax.tree.leaves((self, params, images, labels, keys, targets)))
        )
        run, xp = (self._packed, np) if concrete else (self._all, jnp)
        data = apply_fn, params, images, labels, targets
        radius = xp.asarray(self.epsilon, images.dtype) * (1 + _ROUNDING)
        found = run(partial(clean, self.norm), *data, keys, None)
        for index, attack in enumerate(attacks):
            standing = (found.clean_correct | self.targeted) & ~found.is_adversarial
            new = run(perturb_fn(attack), *data, _fold_each(keys, index), standing)
            new = new._replace(
                status=xp.where(standing, new.status, Status.NOT_ATTACKED),
                gradient_evaluations=xp.where(standing, new.gradient_evaluations, 0),
            )
            taken = standing & (new.distance <= radius) & (new.is_adversarial | (index == 0))
            found = _take(found, new, taken, xp=xp)
        return jax.tree.map(on_device, found)

    @staticmethod
    def _all(attack, apply_fn, params, images, labels, targets, keys, standing) -> Perturbation:  # type: ignore[no-untyped-def]  # noqa: PLR0917
        """The attack on all images."""
        del standing
        return attack(apply_fn, params, images, labels, keys, targets=targets)

    def _packed(  # type: ignore[no-untyped-def]  # noqa: PLR0917
        self, attack, apply_fn, params, images, labels, targets, keys, standing
    ) -> Perturbation:
        """The attack on the standing images only; what it says of others is that they stand.

        All that is done here and with what it returns is NumPy's, which compiles nothing.
        """
        rows = np.arange(images.shape[0]) if standing is None else np.flatnonzero(standing)
        found = _blank(images)
        if rows.size:
            new = in_batches(
                partial(attack, apply_fn, params),
                np.asarray(images),
                np.asarray(labels),
                None if targets is None else np.asarray(targets),
                keys=keys,
                batch_size=min(self.batch_size, images.shape[0]),
                rows=rows,
            )
            for name, leaf in found.items():
                leaf[rows] = getattr(new, name)
        return Perturbation(**found)


@checked
def auto_attack(
    norm: Norm,
    *,
    epsilon: Scalar,
    version: Literal["standard", "plus"] = "standard",
    attacks: Sequence[Attack] | None = None,
    batch_size: int = 128,
    targeted: bool = False,
    bounds: Bounds | None = (0.0, 1.0),
) -> AutoAttack:
    """An ensemble of attacks without parameters to tune; the worst case of each image.

    "standard" is APGD-CE (100 steps), APGD-T on DLR (100 steps for each of the 9 likeliest other
    classes), FAB-T (likewise) and Square (5000 queries). "plus" is APGD-CE, APGD-DLR and FAB of 5
    restarts each, then Square, APGD-T and FAB-T.

    In L1, "standard" has 5 restarts of APGD-CE and 5 classes of APGD-T, which is the same number of
    gradients. In the paper they search three balls each, here one: see `SparseAutoPGD`. Square and
    FAB are left out where the norm does not define what they ask for: Square in all but L1, L2 and
    L-inf, FAB in Fourier norms and bands. Where DLR is not defined (2 classes; for APGD-T 3), APGD
    ascends the margin instead.

    The targeted form, which is not in the paper, is APGD-CE, APGD-DLR, FAB and Square towards the
    given target; as "plus", the first three with 5 restarts each.

    Args:
      norm: the geometry.
      epsilon: radius of the ball, in pixel units.
      version: "standard" or "plus".
      attacks: other attacks instead, in this order; minimal ones too.
      batch_size: images attacked at once.
      targeted: towards ``targets``, given at the call.
      bounds: (low, high) of a pixel, or None for no box.

    Returns:
      The attack.

    Raises:
      TypeError: ``norm`` is no norm, or a number is no int.
      ValueError: a number or an option is out of range.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.auto_attack(attacks.Linf(), epsilon=8 / 255)
      >>> [type(member).__name__ for member in attack.attacks]
      ['AutoPGD', 'AutoPGD', 'FAB', 'SquareAttack']
      >>> quick = attacks.pgd(attacks.L2(), epsilon=1.0, num_steps=3), attacks.ddn(num_steps=3)
      >>> attack = attacks.auto_attack(attacks.L2(), epsilon=1.0, attacks=quick)
      >>> attack(*attacks.example(), jax.random.key(0)).is_adversarial.shape
      (4,)

    Reference:
      Croce and Hein, 2003.01690, section 6; in L1, 2103.01208, section 5.
    """
    _checks.one_of("version", version, ("standard", "plus"))
    check_norm(norm)
    if attacks is None:
        members = _members_to_target if targeted else _members
        attacks = members(norm, epsilon, bounds, plus=version == "plus")
    attack = AutoAttack(
        norm=norm,
        epsilon=epsilon,
        attacks=tuple(attacks),
        batch_size=batch_size,
        targeted=targeted,
        bounds=as_bounds(bounds),
    )
    attack.check()
    return attack


def _members(norm: Norm, epsilon: Scalar, bounds: Bounds | None, *, plus: bool) -> list[Attack]:
    """The untargeted attacks of `auto_attack`."""
    ball: dict[str, Any] = {"epsilon": epsilon, "bounds": bounds}
    restarts, classes = (5, 5) if norm.sparse and not plus else (1, 9)
    aimed = apgd(norm, loss="dlr", num_targets=classes, **ball)
    fast: list[Attack] = []  # FAB of 5 restarts, FAB-T
    boxes: list[Attack] = []
    if _has_fab(norm):
        steps: dict[str, Any] = {"num_steps": 100, "num_rivals": 9, "bounds": bounds}
        fast = [fab(norm, num_restarts=5, **steps), fab(norm, class_by_class=True, **steps)]
    if defines(norm, "windows"):
        boxes = [square(norm, **ball)]
    if not plus:
        return [apgd(norm, num_restarts=restarts, **ball), aimed, *fast[1:], *boxes]
    plain = [apgd(norm, loss=loss, num_restarts=5, **ball) for loss in _LOSSES]
    return [*plain, *fast[:1], *boxes, aimed, *fast[1:]]


def _members_to_target(
    norm: Norm, epsilon: Scalar, bounds: Bounds | None, *, plus: bool
) -> list[Attack]:
    """The targeted attacks of `auto_attack`."""
    ball: dict[str, Any] = {"epsilon": epsilon, "bounds": bounds, "targeted": True}
    starts: dict[str, Any] = {"num_restarts": 5 if plus else 1}
    members: list[Attack] = [apgd(norm, loss=loss, **starts, **ball) for loss in _LOSSES]
    if _has_fab(norm):
        members.append(fab(norm, num_steps=100, targeted=True, bounds=bounds, **starts))
    if defines(norm, "windows"):
        members.append(square(norm, **ball))
    return members


def _has_fab(norm: Norm) -> bool:
    return defines(norm, "smallest_step") and defines(norm, "sample") and not norm.counts


def _defined(attack: Attack, num_classes: int) -> Attack:
    """The attack, or with the margin instead of a DLR that needs more classes."""
    if isinstance(attack, AutoPGD) and attack.loss == "dlr":
        least = 4 if attack.targeted or attack.num_targets is not None else 3
        if num_classes < least:
            return attack.replace(loss="margin")  # type: ignore[attr-defined]
    return attack


@partial(compiled, static_argnames="apply_fn")
def clean(  # noqa: PLR0917 (the arguments of a call)
    norm: Norm,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Keys,
    *,
    targets: Array | None = None,
) -> Perturbation:
    """The attack that does nothing: delta is 0 and NOT_ATTACKED, unless a logit is not finite."""
    del keys
    found = record.result(record.start(images, labels, targets, apply_fn(params, images)), norm)
    diverged = found.status == Status.DIVERGED
    status = jnp.where(diverged, Status.DIVERGED, Status.NOT_ATTACKED).astype(jnp.int32)
    return found._replace(status=status)


def _blank(images: Array) -> dict[str, Any]:
    """Fields of a `Perturbation` of images of which nothing is known but that they stand."""
    num_images, dtype = images.shape[0], images.dtype
    return {
        "delta": np.zeros(images.shape, dtype),
        "clean_correct": np.zeros(num_images, bool),
        "is_adversarial": np.zeros(num_images, bool),
        "flipped": np.zeros(num_images, bool),
        "distance": np.zeros(num_images, dtype),
        "gradient_evaluations": np.zeros(num_images, np.int32),
        "status": np.full(num_images, Status.NOT_ATTACKED, np.int32),
    }


def _take(found: Perturbation, new: Perturbation, where: Any, *, xp: Any = jnp) -> Perturbation:
    """The perturbations of ``new`` at some images; evaluations and statuses of both at all.

    Computed by ``xp``, JAX's NumPy or NumPy itself.
    """
    axes = tuple(range(where.ndim, found.delta.ndim))
    is_adversarial = xp.where(where, new.is_adversarial, found.is_adversarial)
    return Perturbation(
        delta=xp.where(xp.expand_dims(where, axes), new.delta, found.delta),
        clean_correct=found.clean_correct,
        is_adversarial=is_adversarial,
        flipped=found.clean_correct & is_adversarial,
        distance=xp.where(where, new.distance, found.distance),
        gradient_evaluations=found.gradient_evaluations + new.gradient_evaluations,
        status=_joint_status(found, new, xp=xp),
    )


def _joint_status(one: Perturbation, other: Perturbation, *, xp: Any) -> Any:
    """The status of two results on the same images, by the rule of `Perturbation`.

    OK of a black box counts only where neither result spent a gradient.
    """

    def either(status: Status) -> Any:
        return (one.status == status) | (other.status == status)

    black_box = one.gradient_evaluations + other.gradient_evaluations == 0
    seen = [
        (result.status == Status.OK) & (black_box | (result.gradient_evaluations > 0))
        for result in (one, other)
    ]
    joint = xp.full_like(one.status, Status.NOT_ATTACKED)
    for status, where in (
        (Status.DEAD, either(Status.DEAD) | either(Status.OK)),
        (Status.OK, seen[0] | seen[1]),
        (Status.NOT_CONVERGED, either(Status.NOT_CONVERGED)),
        (Status.DIVERGED, either(Status.DIVERGED)),
    ):
        joint = xp.where(where, status, joint)
    return joint.astype(np.int32)


_fold_each = compiled(fold_each)

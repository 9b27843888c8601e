"""What every attack takes and returns: `Attack`, `Perturbation`, and the checks they share.

**One attack, one key, one answer.** Everything random is drawn from keys that are folded by one
rule: the network of seed s has ``fold_in(key, s)`` (`freqbias.ensemble.seed_keys`), its image n has
``fold_in(that, n)`` (`image_keys`), start r of that image ``fold_in(that, r)`` (`fold_each`), and
member m of `auto_attack` attacks with ``fold_in(image's, m)``. So the same network, key and image
give the same perturbation in an ensemble, in a slice of it, alone, and in
`freqbias.attacks.evaluate`, where n is the position in the whole data set, not in a batch.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from freqbias import _checks
from freqbias._checked import check_fields, checked
from freqbias._pytree import is_frozen
from freqbias.attacks.compiling import compiled
from freqbias.attacks.norms import Bounds
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, Keys, Params, Status


class Perturbation(NamedTuple):
    """Result of an attack on N images; over an ensemble every leaf leads with [S].

    Attributes:
      delta: [N, H, W, C], never NaN; within the budget and with image + delta within the bounds.
      clean_correct: bool [N], the prediction on the clean image equals the label.
      is_adversarial: bool [N], the prediction on image + delta differs from the label (targeted:
        equals the target).
      flipped: bool [N], ``clean_correct & is_adversarial``.
      distance: [N], norm of delta; infinity where a minimal attack found nothing adversarial.
      gradient_evaluations: int32 [N], input gradients spent on each image. `deepfool` spends none
        on an image that has fallen, `auto_attack` none on one that is misclassified; all others
        spend the same number on every image.
      status: int32 [N], a `freqbias.typing.Status`, see below.

    The status of an image says whether the attack could see where to go, not how it ended. One rule
    holds for all attacks that use gradients:

    * DIVERGED: a logit or an input gradient was not finite.
    * OK: at least one input gradient was finite and not exactly zero.
    * DEAD: neither. The network may stand because its gradient is masked, and an image may fall to
      a random start alone; nothing is proven about its robustness.

    An attack that asks for no gradient (`square`) is OK instead where some query changed the
    logits. A composed attack (`auto_attack`, `worst_case`, `bisect`) goes by all gradients that
    were spent on the image, and by queries only where none was. `auto_attack` spends nothing on an
    image that is adversarial as it is: NOT_ATTACKED. `affine_attack` under a transformation or in
    an ensemble, where it raises nothing, is NOT_CONVERGED if the network is not affine.
    """

    delta: Array
    clean_correct: Array
    is_adversarial: Array
    flipped: Array
    distance: Array
    gradient_evaluations: Array
    status: Array


class Attack(Protocol):
    """A frozen pytree; numbers are traced leaves, options are static.

    A call is all that an attack must have. `CheckedAttack` is what those of this package share.
    """

    def __call__(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Key,
        *,
        targets: Array | None = None,
    ) -> Perturbation:
        """Perturbs images [N, H, W, C] with labels [N]; key is one key or one per image [N]."""
        ...


@checked
def image_keys(key: Keys, num_images: int) -> Keys:
    """One key for each image: ``fold_in(key, n)`` for image n, whatever the other images are.

    Args:
      key: one key, folded with the positions 0..N - 1; or keys [N], used as they are.
      num_images: N.

    Returns:
      Keys [N].

    Raises:
      TypeError: not made by ``jax.random.key``.
      ValueError: neither one key nor one for each image.
    """
    dtype = jnp.result_type(key)
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"key must be made by jax.random.key; got dtype {dtype}.")
    if key.ndim == 0:
        return _fold_positions(key, num_images)
    if key.shape != (num_images,):
        raise ValueError(f"key must be one key or one per image ({num_images}); got {key.shape}.")
    return key


@partial(compiled, static_argnames="number")
def _fold_positions(key: Key, number: int) -> Keys:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))


def fold_each(keys: Keys, number: Array | int) -> Keys:
    """``fold_in(key, number)`` of every key [N]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def pick_keys(keys: Keys, rows: np.ndarray) -> Keys:
    """``keys[..., rows]`` of concrete keys, of which no shape compiles anything."""
    data = np.take(np.asarray(jax.random.key_data(keys)), rows, axis=keys.ndim - 1)
    return jax.random.wrap_key_data(on_device(data), impl=jax.random.key_impl(keys))


def on_device(array: ArrayLike | float, dtype: DTypeLike | None = None) -> Array:
    """``jnp.array(array, dtype)``; of what is no JAX array yet, no shape compiles anything."""
    if isinstance(array, jax.Array):
        return jnp.asarray(array, dtype)
    return jax.device_put(np.array(array, dtype))  # a copy, since JAX may share its memory


@jax.jit
def predict(logits: Array) -> Array:
    """Predicted classes int32 [..., N] of logits [..., N, K]; -1 where a logit is not finite."""
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return jnp.where(finite, jnp.argmax(logits, axis=-1), -1).astype(jnp.int32)


@partial(jax.jit, static_argnames="apply_fn")
def _logits(apply_fn: ApplyFn, params: Params, images: Array) -> Array:
    logits = apply_fn(params, images)
    shape = jnp.shape(logits)
    if len(shape) != 2 or shape[0] != images.shape[0] or shape[1] < 2:
        raise ValueError(
            f"apply_fn must return logits [N, K] with N = {images.shape[0]} and K >= 2; "
            f"got shape {shape}."
        )
    return logits


def as_bounds(bounds: Sequence[float] | None) -> Bounds | None:
    """``bounds`` as a tuple of two floats (hashable, hence static), or None; checked."""
    check_bounds(bounds)
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def check_bounds(bounds: Sequence[float] | None) -> None:
    """Raises ValueError unless ``bounds`` is None or (low, high) with low < high."""
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be (low, high) with low < high, or None; got {bounds}.")


def check_range(images: ArrayLike, bounds: Bounds | None, *, name: str = "images") -> None:
    """Raises ValueError unless the images, if concrete, lie within the bounds."""
    if bounds is not None and _checks.is_concrete(images):
        low, high = np.min(images), np.max(images)
        if low < bounds[0] or high > bounds[1]:
            raise ValueError(
                f"{name} must lie within bounds {bounds}; got values in [{low:g}, {high:g}]."
            )


def check_arguments(
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    targets: Array | None,
    *,
    bounds: Bounds | None,
    targeted: bool,
) -> tuple[Array, Array, Array | None]:
    """Checks what is passed to an attack; values only where they are concrete.

    Returns:
      images [N, H, W, C], labels int32 [N], and targets int32 [N] or None, as JAX arrays.

    Raises:
      TypeError: images not float, labels or targets not integers, or params in another float type.
      ValueError: a shape, a range, a missing or superfluous ``targets``, or one equal to its label.
    """
    check_bounds(bounds)
    if targeted != (targets is not None):
        expected = "given for a targeted" if targeted else "None for an untargeted"
        raise ValueError(f"targets must be {expected} attack; got {targets}.")
    # NumPy arrays where values are concrete: they can be read even inside jit.
    images, labels, targets = (_read(array) for array in (images, labels, targets))
    _checks.images(images, unit_range=False)
    check_range(images, bounds)
    dtypes = {jnp.result_type(leaf) for leaf in (images, *jax.tree.leaves(params))}
    if {jnp.dtype("float32"), jnp.dtype("float64")} <= dtypes:
        raise TypeError("params and images must not mix float32 and float64.")
    num_classes = _logits.eval_shape(apply_fn, params, images).shape[1]
    _checks.labels(labels, num_examples=images.shape[0], num_classes=num_classes)
    if targets is None:
        return on_device(images), on_device(labels, jnp.int32), None
    _checks.labels(targets, num_examples=images.shape[0], num_classes=num_classes, name="targets")
    if _checks.is_concrete(labels) and _checks.is_concrete(targets) and (targets == labels).any():
        raise ValueError("targets must differ from labels for every image.")
    return on_device(images), on_device(labels, jnp.int32), on_device(targets, jnp.int32)


def check_network(
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    status: Array,
    *,
    batch_size: int | None = None,
) -> None:
    """Raises if the network itself is broken: not one logit of the clean images is finite.

    Not so under a transformation, nor for parameters that are not finite themselves (a training
    that diverged): there the status says so. Asks the network only if all images are DIVERGED.

    Args:
      apply_fn: (params, images) -> logits [N, K].
      params: of one network.
      images: [N, H, W, C].
      status: int32 [N], of an attack on them; or [], of all.
      batch_size: images asked about at once; None is all.

    Raises:
      ValueError: no logit is finite, though all parameters and images are.
    """
    if not _checks.is_concrete(status) or (np.asarray(status) != Status.DIVERGED).any():
        return
    if not _all_finite(params):
        return
    num_images, num_classes = len(images), 0
    for first in range(0, num_images, batch_size or num_images):
        rows = np.arange(first, first + (batch_size or num_images))
        batch = on_device(images[np.minimum(rows, num_images - 1)])
        logits = _logits(apply_fn, params, batch)
        num_classes = logits.shape[1]
        if not _checks.is_concrete(logits) or np.isfinite(logits).any():
            return
    raise ValueError(
        "apply_fn must return finite logits; of finite params and images, none of its "
        f"{num_images} x {num_classes} logits is."
    )


class CheckedAttack:
    """What the attacks of this package share: a call, what it checks, and when it raises.

    A subclass is a frozen pytree with `check` and `find`. There are two ways in. A call is for one
    network, and raises if that is broken. `perturb` is for one network of many, where an error
    would lose the results of the others: it raises nothing about the network, whose images are
    DIVERGED. Both raise if an argument is wrong.
    """

    targeted: bool
    bounds: Bounds | None

    @checked
    def __call__(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Keys | None,
        *,
        targets: Array | None = None,
    ) -> Any:
        """Attacks one network on a batch of images.

        Args:
          apply_fn: (params, images) -> logits [N, K]; static, so pass the same object each time.
          params: parameters of one network; ``jax.vmap`` over them for many.
          images: [N, H, W, C] within bounds.
          labels: int [N].
          key: one key, folded with each image's position, or one key per image [N].
          targets: int [N], each different from its label; only for a targeted attack.

        Returns:
          A `Perturbation` of leading axis [N]; no image's depends on the others.

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong; or the network is broken: its parameters
            are finite, but of all its logits on these images not one is.
        """
        found = self.perturb(apply_fn, params, images, labels, key, targets=targets)
        check_network(apply_fn, params, images, found.status)
        return found

    @checked
    def perturb(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        key: Keys | None,
        *,
        targets: Array | None = None,
    ) -> Any:
        """As a call, but a broken network raises nothing: its images are DIVERGED."""
        data = self.check_call(apply_fn, params, images, labels, targets)
        return self.find(apply_fn, params, *data, key)  # type: ignore[arg-type]

    def check_call(
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
    ) -> tuple[Array, Array, Array | None]:
        """Checks the attack and what it is called with: `check`, then `check_arguments`.

        Returns:
          images, labels and targets as JAX arrays.

        Raises:
          TypeError: the attack's class is not `freqbias.frozen`: jit could take it for another; or
            a field does not fit its annotation.
        """
        if not is_frozen(type(self)):
            raise TypeError(f"{type(self).__name__} must be decorated with freqbias.frozen.")
        check_fields(self)
        self.check()
        return check_arguments(
            apply_fn, params, images, labels, targets, bounds=self.bounds, targeted=self.targeted
        )

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        raise NotImplementedError

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> Any:
        """The attack itself, on arguments that have been checked."""
        raise NotImplementedError


def _all_finite(tree: Any) -> bool:
    leaves = jax.tree.leaves(tree)
    floats = [leaf for leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return all(_checks.is_concrete(leaf) and np.isfinite(leaf).all() for leaf in floats)


def _read(array: Any) -> Any:
    """A NumPy array if the values can be read now, else the tracer itself; None stays None."""
    return array if array is None or not _checks.is_concrete(array) else np.asarray(array)

"""What a network from elsewhere must be, and what to do where it is not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import ApplyFn, ArrayLike, Params

_ADAPTERS = (  # a package, a class of it, and what makes a network of it
    ("torch", "Module", "from_torch(module)"),
    ("flax", "Module", "from_linen(module, variables) or, for NNX, from_nnx(module)"),
    ("equinox", "Module", "from_equinox(model)"),
    ("haiku", "Transformed", "from_haiku(transformed, params)"),
    ("haiku", "TransformedWithState", "from_haiku(transformed, params, state)"),
)


_TRAINING = (
    "It is in training mode: turn that off where it is applied (train=False, deterministic=True, "
    "...), or let freqbias.interop.from_linen(module, variables) do so."
)
_ADVICE = {  # by what an error and its first line hold
    "ModifyScopeVariableError": _TRAINING,
    "InvalidRngError": _TRAINING,
    "TracerBoolConversionError": "Branch by jnp.where: what images hold is not known under jit.",
    "ConcretizationTypeError": "Leave out float() and int(): what images hold is not known "
    "under jit.",
    "Tracer has no attribute": "It hands images to what is no JAX; a torch module is adapted by "
    "freqbias.interop.from_torch.",
}


class UnfitError(ValueError):
    """A network or its images cannot be used as they are; the message says what to do."""


@checked
def as_images(images: Any) -> np.ndarray:
    """Images [N, H, W, C] as float32 (or float64) in [0, 1], or words on what to do.

    Args:
      images: any array, also a torch tensor on the CPU.

    Returns:
      A NumPy array.

    Raises:
      UnfitError: another rank, order of axes, type or range.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "biuf":
        raise UnfitError(f"images must be float32 in [0, 1]; got {array.dtype}.")
    if array.ndim == 3:
        raise UnfitError(
            f"images must be [N, H, W, C]; got shape {array.shape}. One image is images[None], "
            "grey ones are images[..., None]."
        )
    if array.ndim == 4 and array.dtype.kind in "iu":
        raise UnfitError(
            f"images must be float32 in [0, 1]; got {array.dtype}. Divide by 255; if the network "
            "expects 0..255, say pixel_max=255 where it is adapted (freqbias.interop)."
        )
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[-1] not in (1, 2, 3, 4):
        raise UnfitError(
            f"images must be [N, H, W, C]; got shape {array.shape}, which looks like [N, C, H, W]. "
            "Give images.transpose(0, 2, 3, 1); adapters turn them for the network "
            "(channels_first=True)."
        )
    if array.ndim == 4 and array.size and np.isfinite(array).all():
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 1:
            advice = (
                "divide by 255" if low >= 0 and high > 2 else
                "give them before they are standardised, and mean= and std= to the adapter "
                "(freqbias.interop)"
            )  # fmt: skip
            raise UnfitError(
                f"images must lie in [0, 1], so that epsilon is in units of intensity; got values "
                f"in [{low:g}, {high:g}]: {advice}."
            )
    _checks.images(array)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


@checked
def as_labels(labels: Any, num_images: int) -> np.ndarray:
    """Labels int32 [N], or words on what to do.

    Raises:
      UnfitError: one-hot labels.
      TypeError, ValueError: no integers, or not one for each image.
    """
    _checks.positive_int("num_images", num_images)
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[0] == num_images and array.shape[1] > 1:
        raise UnfitError(
            f"labels must be class numbers [N]; got shape {array.shape}. Of one-hot labels take "
            "labels.argmax(-1)."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers; got {array.dtype}.")
    _checks.labels(array, num_examples=num_images)
    return array.astype(np.int32)


@checked
def check_network(apply_fn: ApplyFn, params: Params, images: np.ndarray) -> int:
    """Asks a network for the shape of its logits; nothing is computed.

    Args:
      apply_fn: (params, images) -> logits.
      params: of one network.
      images: [N, H, W, C].

    Returns:
      K, the number of classes.

    Raises:
      UnfitError: it raises, or what it returns is no logits [N, K].
    """
    if not callable(apply_fn):
        raise UnfitError(f"apply_fn must be a function of params and images; got {apply_fn!r}.")
    _checks.images(images)
    shape = jax.ShapeDtypeStruct(images.shape, jnp.result_type(images))
    try:
        logits = jax.eval_shape(apply_fn, params, shape)
    except UnfitError:
        raise
    except jax.errors.TracerArrayConversionError as error:
        raise UnfitError(
            "apply_fn must compute with jax.numpy: it turned traced images into a NumPy array "
            "(np.asarray, or a function of NumPy). A network that is no JAX at all needs an "
            "adapter, e.g. freqbias.interop.from_torch."
        ) from error
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = next((f". {do}" for mark, do in _ADVICE.items()
                       if mark in f"{type(error).__name__}: {said}"), "")  # fmt: skip
        raise UnfitError(
            f"apply_fn must map params and images {tuple(images.shape)}, [N, H, W, C] in [0, 1], "
            f"to logits [N, K]; it raised {type(error).__name__}: {said}{advice}"
        ) from error
    return check_logits(logits, images.shape[0])


def check_logits(logits: Any, num_images: int) -> int:
    """K of logits [N, K], N given.

    Raises:
      UnfitError: these are no logits.
    """
    if not hasattr(logits, "shape"):
        what = f"a {type(logits).__name__}"
        pick = "out['logits']" if isinstance(logits, dict) else "out[0]"
        raise UnfitError(
            f"apply_fn must return logits [N, K] alone; got {what}. Say which part they are where "
            f"the network is adapted (freqbias.interop): output=lambda out: {pick}."
        )
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != num_images or shape[1] < 2:
        hint = ""
        if len(shape) == 1 or (len(shape) == 2 and shape == (num_images, 1)):
            hint = (
                " One logit z for two classes is output=lambda z: jnp.stack([0 * z, z], -1) of "
                "z [N] where the network is adapted."
            )
        elif len(shape) > 2:
            hint = " Of features at each place take the mean: output=lambda x: x.mean((1, 2))."
        raise UnfitError(
            f"apply_fn must return logits [N, K] with N = {num_images} and K >= 2; got shape "
            f"{shape}.{hint}"
        )
    return shape[1]


@checked
def refuse_probabilities(logits: ArrayLike) -> None:
    """Raises where logits [N, K] are probabilities, whose gradients vanish at sure predictions.

    Raises:
      UnfitError: all lie in [0, 1], each image's sum to 1, and some are neither 0 nor 1.
    """
    values = np.asarray(logits, np.float64)
    within = ((values >= 0) & (values <= 1)).all() and ((values > 0) & (values < 1)).any()
    if within and (np.abs(values.sum(-1) - 1) < 1e-4).all():
        raise UnfitError(
            "apply_fn must return logits; these sum to 1 for each image: probabilities, whose "
            "gradients vanish where the network is sure, so that attacks fail. Leave out the "
            "softmax, or take the logarithm: output=lambda p: jnp.log(p) where it is adapted "
            "(freqbias.interop)."
        )


@checked
def how_to_adapt(model: Any) -> str:
    """The call of `freqbias.interop` that makes a network of an object, or an empty text."""
    for cls in type(model).__mro__:
        for package, name, call in _ADAPTERS:
            if cls.__module__.split(".")[0] == package and cls.__name__ == name:
                return f"freqbias.interop.{call}"
    return ""

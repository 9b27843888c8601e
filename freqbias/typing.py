"""The named types of freqbias: one name for each kind of array and function.

Shapes in docstrings: ``S`` seeds, ``N`` images, ``H, W, C`` height, width and channels (always in
this order), ``K`` classes, ``...`` any leading axes.
"""

import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import jax
import numpy as np

from freqbias import _checked

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.Array | np.ndarray
Key: TypeAlias = Annotated[jax.Array, _checked.KEY]
"""One typed PRNG key, made by ``jax.random.key``."""
Keys: TypeAlias = Annotated[jax.Array, _checked.KEYS]
"""Typed PRNG keys [...], made by ``jax.random.split`` of one."""
DType: TypeAlias = Annotated[Any, _checked.DTYPE]
"""Whatever JAX takes for a dtype of numbers."""
Numbers: TypeAlias = Annotated[Any, _checked.NUMBERS]
"""Whatever NumPy makes an array of numbers of: lists, columns of a table, arrays."""
Params: TypeAlias = Any
"""Any pytree of arrays. With a seed axis, every leaf is [S, ...]."""
Unit: TypeAlias = Literal["cycles/pixel", "cycles/image"]
"""Unit of a spatial frequency."""


class Status(enum.IntEnum):
    """Outcome of one seed or of one image: numerical failure is data, never an exception."""

    OK = 0
    DIVERGED = 1  # a loss, parameter or logit is not finite
    DEAD = 2  # no gradient that is not exactly zero was seen: no attack, no spectrum is defined
    NOT_SEPARABLE = 3  # no predictor of the class separates the data
    NOT_CONVERGED = 4  # the iteration ended before its tolerance was met
    NOT_ATTACKED = 5  # an image that is adversarial as it is, on which nothing was spent


class ApplyFn(Protocol):
    """A network: ``apply_fn(params, images) -> logits``."""

    def __call__(self, params: Any, images: Array, /) -> Any:
        """Maps params and images [N, H, W, C] in [0, 1] to logits [N, K]."""
        ...


class LossFn(Protocol):
    """A loss per example: ``loss_fn(logits, labels) -> losses``."""

    def __call__(self, logits: Array, labels: Array, /) -> Array:
        """Maps logits [N, K] and labels int32 [N] to losses [N]."""
        ...


Schedule: TypeAlias = Callable[[Array], Array]
"""Maps a step number to a positive factor."""

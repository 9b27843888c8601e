"""Maps of whole data sets: in float64, in batches, and back into the range [0, 1].

What the transforms of ``frequency`` and ``teacher`` share. All is computed in float64 on the CPU,
whatever the device and precision in force, so that a name means the same images everywhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from freqbias import spectral
from freqbias.typing import Key

BATCH = 512  # images at a time
MID_GREY = np.float32(0.5)
_INSIDE = 1 - 2**-22  # keeps values within [0, 1] when they are rounded to float32


@contextlib.contextmanager
def float64_on_cpu() -> Iterator[None]:
    """Within it JAX computes, in this thread, in float64 and on the CPU."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to use an accelerator only
        device = None
    with jax.enable_x64(True), jax.default_device(device):
        yield


def map_images(
    change: Callable[..., Any],
    images: np.ndarray,
    *,
    centre: np.ndarray | np.float32 | None = None,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """``change(images - centre)``, or ``change(images - centre, labels)`` if labels are given.

    Args:
      change: maps a batch of float64 images, in NumPy or JAX.
      images: [N, H, W, C].
      centre: intensity, a number or [C]; None for 0.
      labels: int [N].

    Returns:
      Float32 [N, ...].
    """
    out = []
    centre = np.float32(0) if centre is None else centre
    with float64_on_cpu():
        for start in range(0, len(images), BATCH):
            deviation = np.asarray(images[start : start + BATCH], np.float64) - centre
            more = () if labels is None else (labels[start : start + BATCH],)
            out.append(np.asarray(change(deviation, *more), np.float32))
    return np.concatenate(out)


def largest_contrast(
    parts: Sequence[np.ndarray], centre: np.ndarray | np.float32, most: float = 1.0
) -> float:
    """The largest a <= most with centre + a * part in [0, 1] for all parts [N, H, W, C]."""
    axes = (0, 1, 2)
    middle = np.asarray(centre, np.float64)
    above = np.max([part.max(axis=axes) for part in parts], axis=0).astype(float)
    below = -np.min([part.min(axis=axes) for part in parts], axis=0).astype(float)
    with np.errstate(divide="ignore"):
        room = [
            np.where(above > 0, (1 - middle) / above, np.inf),
            np.where(below > 0, middle / below, np.inf),
        ]
    fitting = float(np.min(room))
    return most if most <= fitting else _INSIDE * fitting


def within_range(part: np.ndarray, centre: np.ndarray | np.float32, contrast: float) -> np.ndarray:
    """``centre + contrast * part``, in the memory of ``part``."""
    part *= np.float32(contrast)
    part += centre
    return part


def noise(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, float64, the same for a key whatever the precision in force."""
    with float64_on_cpu():
        return np.asarray(jax.random.normal(key, shape))


def number_text(value: float) -> str:
    """A number as it stands in names: the shortest text that reads as the same float."""
    return repr(float(value)).removesuffix(".0")


def with_note(description: str, note: str) -> str:
    """``description`` with one more sentence."""
    return f"{description.rstrip('.')}. {note}." if description else f"{note}."


def check_order(low: float, high: float) -> None:
    """Raises ValueError unless 0 <= low < high."""
    if not 0 <= low < high:
        raise ValueError(f"low and high must satisfy 0 <= low < high; got {low} and {high}.")


def check_band(shape: tuple[int, int], low: float, high: float) -> None:
    """Raises ValueError unless a band holds a frequency besides the DC."""
    check_order(low, high)
    radius = spectral.radius_grid(shape)
    if not np.any((radius > low) & (radius <= high)):
        raise ValueError(
            f"low and high must enclose a frequency of {shape[0]} x {shape[1]} images, in cycles "
            f"per pixel; got {low} and {high}."
        )

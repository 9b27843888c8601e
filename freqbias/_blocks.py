"""How many images a processor's core works on at once.

The values of a network on all images of a batch fall out of a core's cache between the operation
that makes them and the one that reads them; those of a part of the images stay.
"""

import math
import os
from collections.abc import Callable

import jax

from freqbias.typing import Array

_FEWEST = 32  # images: the products of fewer are too short


def equal_blocks(network: Callable[[Array], Array], images: Array, near: int) -> tuple[int, int]:
    """(number, size) of the fewest equal blocks that keep values near and hold all N images.

    They may hold up to ``number - 1`` images more. Off CPU, and of few images, one block.

    Args:
      network: images [N, H, W, C] -> anything.
      images: [N, H, W, C], or their shape and dtype.
      near: bytes that the largest array of the network's values on a block may have.
    """
    num_images = images.shape[0]
    number = -(-num_images // _at_once(network, images, near))
    return number, -(-num_images // number)


def equal_parts(num_images: int) -> tuple[int, int]:
    """(number, size) of equal parts of N images, one for each core of a CPU, of 32 or more.

    They may hold up to ``number - 1`` images more. Off CPU, and of few images, one part.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = num_images // _FEWEST if jax.default_backend() == "cpu" else 1
    size = -(-num_images // max(1, min(cores or 1, most)))
    return -(-num_images // size), size


def block_size(network: Callable[[Array], Array], images: Array, near: int) -> int:
    """The largest divisor of N, from 32 on, that keeps values near; N if there is none, or off CPU.

    Arguments as of `equal_blocks`.
    """
    num_images = images.shape[0]
    sizes = range(_at_once(network, images, near), _FEWEST - 1, -1)
    return next((size for size in sizes if num_images % size == 0), num_images)


def puts_images_last(network: Callable[[Array], Array], images: Array) -> bool:
    """Whether a network's first layers work on [H, W, C, N], and its input gradient is moved back.

    Arguments as of `equal_blocks`. Sought for many images on CPU; else False.
    """
    if jax.default_backend() != "cpu" or images.shape[0] < 2 * _FEWEST:
        return False
    program = jax.make_jaxpr(network)(images)
    return any(
        each.primitive.name == "transpose" and each.invars[0].aval.shape == images.shape
        for each in program.eqns
    )


def _at_once(network: Callable[[Array], Array], images: Array, near: int) -> int:
    num_images = images.shape[0]
    if jax.default_backend() != "cpu" or num_images < 2 * _FEWEST:
        return num_images
    program = jax.make_jaxpr(network)(images)
    arrays = [variable.aval for each in program.eqns for variable in each.outvars]
    largest = max(math.prod(array.shape) * array.dtype.itemsize for array in (images, *arrays))
    return min(num_images, max(_FEWEST, near * num_images // largest))

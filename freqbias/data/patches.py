"""Patches of photographs, train and test on the squares of a chequerboard.

A photograph is divided into blocks of 48 x 48 pixels, 2 pixels apart. Patches lie inside a block;
training patches on the black squares, test patches on the white. So no train and test patch share
a pixel, nor, the photograph having been filtered and downsampled by 2, a pixel of its original.
Patches of one block overlap: they are not independent samples.
"""

from collections.abc import Sequence

import numpy as np

from freqbias.data.dataset import Split

CONTRAST = 36  # standard deviation of an equalised patch, of 255
PATCH_SIZE = 32
BLOCK_SIZE = 48
GAP = 2
_NUM_OFFSETS = BLOCK_SIZE - PATCH_SIZE + 1  # along an axis: 17, hence 289 patches in a block
_STRIDE = 214  # coprime to 289: no patch comes twice, and successive ones lie far apart


def corners(shape: tuple[int, int], *, parity: int, num: int) -> list[tuple[int, int]]:
    """Upper left corners of ``num`` patches on the squares of one colour.

    Patch i lies in block i mod B of the B blocks of this colour; within its block patches run
    through all offsets in a scattered order. So any prefix covers the whole photograph.

    Args:
      shape: (height, width) of the photograph.
      parity: 0 for the training squares, 1 for the test squares.
      num: the number of patches.

    Returns:
      ``num`` distinct pairs (row, column).

    Raises:
      ValueError: the photograph has fewer than ``num`` patches of this colour.
    """
    cell = BLOCK_SIZE + GAP
    counts = [(side + GAP) // cell for side in shape]
    margins = [(side - count * cell + GAP) // 2 for side, count in zip(shape, counts, strict=True)]
    blocks = [
        (margins[0] + row * cell, margins[1] + column * cell)
        for row in range(counts[0])
        for column in range(counts[1])
        if (row + column) % 2 == parity
    ]
    available = len(blocks) * _NUM_OFFSETS**2
    if num > available:
        raise ValueError(f"num must be at most {available} for shape {shape}; got {num}.")
    out = []
    for index in range(num):
        row, column = blocks[index % len(blocks)]
        offset = index // len(blocks) * _STRIDE % _NUM_OFFSETS**2
        out.append((row + offset // _NUM_OFFSETS, column + offset % _NUM_OFFSETS))
    return out


def cut_patches(photographs: Sequence[np.ndarray], *, parity: int, num_per_class: int) -> Split:
    """Cuts patches of each photograph; the label is the photograph.

    Classes take turns (labels 0, 1, ..., K-1, 0, 1, ...), so any prefix is class-balanced.

    Args:
      photographs: K arrays uint8 [height, width, C].
      parity: 0 for the training squares, 1 for the test squares.
      num_per_class: patches of each photograph.

    Returns:
      The K * num_per_class patches, [N, 32, 32, C], and their labels.

    Raises:
      ValueError: a photograph is too small for that many patches.
    """
    places = [corners(p.shape[:2], parity=parity, num=num_per_class) for p in photographs]
    patches = [
        photograph[row : row + PATCH_SIZE, column : column + PATCH_SIZE]
        for turn in zip(*places, strict=True)
        for photograph, (row, column) in zip(photographs, turn, strict=True)
    ]
    labels = np.tile(np.arange(len(photographs), dtype=np.int32), num_per_class)
    return Split(np.stack(patches), labels)


def equalize(patches: Split) -> Split:
    """Gives all patches one mean, 127.5, and one standard deviation, 36: neither tells a label.

    What goes beyond 0 or 255 is clipped.

    Args:
      patches: uint8 pixels [N, H, W, C], none of them constant.

    Returns:
      The patches, with the same bits on every machine: sums are of integers.
    """
    pixels = patches.pixels.astype(np.int64)
    axes, number = (1, 2, 3), pixels[0].size
    total, squares = (np.sum(x, axis=axes, keepdims=True) for x in (pixels, pixels**2))
    scale = CONTRAST / np.sqrt(number * squares - total**2)
    even = np.rint(127.5 + scale * (number * pixels - total))
    return Split(np.clip(even, 0, 255).astype(np.uint8), patches.labels)

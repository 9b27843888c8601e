"""IDX files, the format of MNIST: a big-endian header (type, sizes), then the bytes."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from freqbias._checked import checked
from freqbias.data.dataset import Dataset, Split, from_arrays

_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08


def read_idx(path: str | Path) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, plain or gzipped.

    The file is ``00 00 08 R``, then R sizes (big-endian uint32), then exactly that many bytes.

    Args:
      path: the file.

    Returns:
      uint8 array of rank R.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no IDX file, holds another type than unsigned bytes, or is cut short or too
        long.

    Reference:
      LeCun, Cortes and Burges, The MNIST database of handwritten digits, section "File formats".
    """
    path = Path(path)
    content = path.read_bytes()
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}.") from error
    if len(content) < 4 or content[:2] != b"\x00\x00":
        raise ValueError(f"{path} is no IDX file: it starts with {content[:4].hex(' ')!r}.")
    kind, rank = content[2], content[3]
    if kind != _UINT8:
        raise ValueError(f"{path} must hold unsigned bytes (type 0x08); got type 0x{kind:02x}.")
    start = 4 + 4 * rank
    if rank == 0 or len(content) < start:
        raise ValueError(f"{path} has an incomplete IDX header for rank {rank}.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} must hold {math.prod(shape)} bytes for shape {shape}; "
            f"got {len(content) - start}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _find(directory: Path, stem: str, rank: int) -> Path:
    candidates = [f"{stem}-idx{rank}-ubyte{end}" for end in ("", ".gz")]
    for candidate in candidates:
        if (directory / candidate).is_file():
            return directory / candidate
    raise FileNotFoundError(f"{directory} holds neither {candidates[0]} nor {candidates[1]}.")


def _read_split(directory: Path, prefix: str) -> Split:
    images_path = _find(directory, f"{prefix}-images", 3)
    labels_path = _find(directory, f"{prefix}-labels", 1)
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, rank in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != rank:
            raise ValueError(f"{path} must have rank {rank}; got shape {array.shape}.")
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} has {len(images)} images, but {labels_path} {len(labels)} labels."
        )
    return Split(images[..., None], labels.astype(np.int32))


@checked
def load_idx(
    directory: str | Path, *, name: str | None = None, class_names: Sequence[str] | None = None
) -> Dataset:
    """Loads a folder in the layout of MNIST.

    The folder holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two with
    ``t10k`` for the test set, each plain or with ``.gz``.

    Args:
      directory: the folder.
      name: name of the data set; by default the folder's.
      class_names: K names; by default "0", "1", ... up to the greatest label.

    Returns:
      The Dataset, images [N, H, W, 1].

    Raises:
      FileNotFoundError: one of the four files is missing.
      ValueError: a file is damaged, or images and labels do not match.

    Example:
      ``load_idx("/usr/share/datasets/fashion-mnist")``, where Debian's package
      dataset-fashion-mnist puts Fashion-MNIST.
    """
    directory = Path(directory)
    train, test = (_read_split(directory, prefix) for prefix in ("train", "t10k"))
    return from_arrays(
        train.pixels,
        train.labels,
        test.pixels,
        test.labels,
        name=directory.resolve().name if name is None else name,
        class_names=class_names,
        source=str(directory),
    )

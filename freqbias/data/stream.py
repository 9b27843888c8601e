"""Data sets too large for memory, batch by batch, in a new order each epoch, read through Grain.

Batch t of a `Stream` is a function of the source, the key and t alone. No state is kept, so a
training resumes at step t by asking for batch t. One epoch of a prepared set, for an ensemble:

    stream = stream_tfds("imagenet_resized/32x32", side=32, batch_size=256, key=key)
    epoch = stream.batches(stop=stream.steps_per_epoch)
    nets = freqbias.train_on_batches(model, epoch, seeds=range(8), key=key)

Needs ``pip install 'freqbias[tfds]'``; of it, reading needs no TensorFlow.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from freqbias import _checks
from freqbias._checked import check_fields, checked
from freqbias.data.tfds import open_prepared
from freqbias.typing import Key


class Batch(NamedTuple):
    """Some labelled images."""

    images: np.ndarray  # float32 [B, side, side, C] in [0, 1]
    labels: np.ndarray  # int32 [B]


class Source(Protocol):
    """Labelled images in random access; a list of dicts will do."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int, /) -> dict[str, Any]:
        """``{"image": uint8 [H, W, C], "label": int}``, with C = 1 or 3; H and W may vary."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Batches without end; ``stream[t]`` is the same whenever and wherever it is asked for.

    An epoch visits every image once, but for those that do not fill its last batch.

    Attributes:
      dataset: a ``grain.MapDataset`` of `Batch`, infinite.
      steps_per_epoch: batches in an epoch.
      class_names: K names; label k is ``class_names[k]``. Empty if the source names none.
    """

    dataset: Any
    steps_per_epoch: int
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def __getitem__(self, step: int) -> Batch:
        """Batch ``step``, counted from 0 through all epochs."""
        _step("step", step)
        return self.dataset[int(step)]

    def batches(
        self, start: int = 0, stop: int | None = None, *, num_threads: int = 8
    ) -> Iterator[Batch]:
        """Iterates over the batches ``start, start + 1, ...`` before ``stop``, or for ever.

        Args:
          start: the first step, counted through all epochs.
          stop: the step that ends the iteration.
          num_threads: threads that read ahead, a batch each.

        Yields:
          One `Batch` after another.

        Raises:
          TypeError: a step is no int.
          ValueError: a step is negative, ``stop`` lies before ``start``, or there is no thread.
        """
        import grain  # noqa: PLC0415  (an optional and slow import)

        _step("start", start)
        if stop is not None:
            _step("stop", stop)
            if stop < start:
                raise ValueError(f"stop must be at least start ({start}); got {stop}.")
        _checks.positive_int("num_threads", num_threads)
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
        return iter(self.dataset[start:stop].to_iter_dataset(options))


@checked
def stream_source(
    source: Source, *, side: int, batch_size: int, key: Key, class_names: tuple[str, ...] = ()
) -> Stream:
    """Shuffled batches of square images from any source in random access.

    An image that is not ``side`` x ``side`` already is scaled until its shorter side is ``side``,
    low-passed where it shrinks (Pillow's bilinear filter, in 8 bits), and its central square kept.

    Args:
      source: the labelled images.
      side: pixels along each side of the images given.
      batch_size: images in a batch.
      key: of the order of images in each epoch.
      class_names: K names, if there are any.

    Returns:
      The `Stream`.

    Raises:
      ImportError: grain is not installed.
      TypeError: an argument is no int.
      ValueError: ``side`` or ``batch_size`` is not positive, or the source is smaller than a batch.

    Example:
      ``stream_source([{"image": image, "label": 3}, ...], side=32, batch_size=64, key=key)``
    """
    for name, value in (("side", side), ("batch_size", batch_size)):
        _checks.positive_int(name, value)
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise TypeError(f"source must be images in random access; got {type(source).__name__}.")
    if batch_size > len(source):
        raise ValueError(
            f"batch_size must be at most the number of images ({len(source)}); got {batch_size}."
        )
    try:
        import grain  # noqa: PLC0415  (an optional and slow import)
    except ImportError as error:
        raise ImportError(f"streams need grain ({error}): pip install 'freqbias[tfds]'.") from error

    def example(record: dict[str, Any]) -> Batch:
        return Batch(fit(record["image"], side), np.asarray(record["label"], np.int32))

    seed = int(jax.random.bits(key, dtype=np.uint32))
    epoch = grain.MapDataset.source(source).seed(seed).shuffle().map(example)
    epoch = epoch.batch(batch_size, drop_remainder=True).map(_unit_range)
    return Stream(epoch.repeat(), len(epoch), class_names)


@checked
def stream_tfds(
    name: str,
    split: str = "train",
    *,
    side: int,
    batch_size: int,
    key: Key,
    data_dir: str | Path | None = None,
) -> Stream:
    """Shuffled batches of a prepared set of tensorflow-datasets, of any size.

    Args:
      name: of a set of images and labels, as tensorflow-datasets spells it ("imagenet2012",
        "imagenet_resized/32x32"), or of one's own prepared in ``data_dir``.
      split: of that set ("train", "validation", "train[:10%]").
      side: pixels along each side of the images given; see `stream_source`.
      batch_size: images in a batch.
      key: of the order of images in each epoch.
      data_dir: the folder in which it was prepared; by default that of tensorflow-datasets.

    Returns:
      The `Stream`.

    Raises:
      ImportError: tensorflow-datasets or grain is not installed.
      ValueError: there is no such set or split, it is no set of images with labels, or a number is
        out of range.
      FileNotFoundError: the set is not prepared, or not as ``array_record``; the message has the
        command that prepares it.

    Example:
      ``stream_tfds("imagenet2012", "validation", side=64, batch_size=256, key=key)``
    """
    info, (source,) = open_prepared(name, [split], data_dir)
    missing = {"image", "label"} - set(info.features)
    if missing:
        raise ValueError(f"{name} must have image and label; it has {', '.join(info.features)}.")
    names = tuple(info.features["label"].names)
    return stream_source(source, side=side, batch_size=batch_size, key=key, class_names=names)


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the shorter side to ``side`` and keeps the central square.

    Args:
      image: uint8 [H, W, C], C = 1 or 3.
      side: pixels.

    Returns:
      uint8 [side, side, C]; the image itself, bit for bit, if it has that shape.

    Raises:
      TypeError: the image is not uint8.
      ValueError: it is not [H, W, 1] or [H, W, 3].
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8; got {image.dtype}.")
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"image must be [H, W, 1] or [H, W, 3]; got shape {image.shape}.")
    height, width, channels = image.shape
    if height == width == side:
        return image
    from PIL import Image  # noqa: PLC0415  (an optional import)

    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
    picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture).reshape(side, side, channels)


def _unit_range(batch: Batch) -> Batch:
    return Batch(batch.images / np.float32(255), batch.labels)


def _step(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int; got {value!r}.")
    if value < 0:
        raise ValueError(f"{name} must be at least 0; got {value}.")

"""Small image-classification sets of tensorflow-datasets, read without TensorFlow.

A set is downloaded and written once by ``download_and_prepare``, which needs TensorFlow; after
that ``load_tfds`` reads its ``array_record`` files through ``as_data_source``, which does not. It
decodes one PNG per image: some 20 s for the 70,000 of MNIST.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from freqbias import _checks
from freqbias.data.dataset import Dataset, Split

NAMES = ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn_cropped")


def load_tfds(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Loads the training and the test set of a prepared tensorflow-datasets set.

    Args:
      name: one of ``NAMES``.
      data_dir: the folder in which it was prepared; by default that of tensorflow-datasets.

    Returns:
      The Dataset, in the (fixed) order in which its examples are stored.

    Raises:
      ValueError: the name is unknown.
      ImportError: tensorflow-datasets is not installed.
      FileNotFoundError: the set is not prepared in ``data_dir``, or not as ``array_record``; the
        message has the command that prepares it.

    Example:
      ``load_tfds("cifar10", data_dir="~/datasets")``
    """
    _checks.one_of("name", name, NAMES)
    try:
        import tensorflow_datasets  # noqa: PLC0415  (an optional and slow import)
    except ImportError as error:
        raise ImportError(
            f"{name} is read through tensorflow-datasets ({error}): pip install 'freqbias[tfds]'."
        ) from error

    folder = None if data_dir is None else str(Path(data_dir).expanduser())
    where = "the default folder" if folder is None else folder
    try:
        builder = tensorflow_datasets.builder(name, data_dir=folder, file_format="array_record")
    except ValueError as error:
        raise FileNotFoundError(
            f"{name} is prepared in another format in {where}; prepare it in a new folder, given "
            f"as data_dir: {_prepare_command(name, 'NEW_FOLDER')}"
        ) from error
    try:
        sources = builder.as_data_source(split=["train", "test"])
    except (AssertionError, KeyError, NotImplementedError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name} is not prepared in {where}; run once: {_prepare_command(name, folder)}"
        ) from error
    info = builder.info
    train, test = map(_read, sources)
    return Dataset(
        name,
        train,
        test,
        class_names=tuple(info.features["label"].names),
        description=info.description,
        source=f"tensorflow-datasets {info.full_name}, {info.homepage}",
        licence=str(info.redistribution_info.license or "not stated by tensorflow-datasets"),
    )


def _prepare_command(name: str, folder: str | None) -> str:
    arguments = f"'{name}', file_format='array_record'"
    if folder is not None:
        arguments += f", data_dir='{folder}'"
    builder = f"tfds.builder({arguments})"
    return (
        f'python -c "import tensorflow_datasets as tfds; {builder}.download_and_prepare()" '
        "(needs pip install 'freqbias[tfds]')"
    )


def _read(source: Sequence[dict[str, np.ndarray]]) -> Split:
    examples = [source[index] for index in range(len(source))]
    labels = np.array([example["label"] for example in examples], np.int32)
    return Split(np.stack([example["image"] for example in examples]), labels)

"""Image-classification sets of tensorflow-datasets, read without TensorFlow.

A set is downloaded and written once by ``python -m freqbias.data.prepare``, which needs TensorFlow;
after that its ``array_record`` files are read through ``as_data_source``, which does not. Sets lie
in the folder ``data_dir``; where none is given, in that of tensorflow-datasets: the environment
variable ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``.

``load_tfds`` reads a small set into memory. It decodes one PNG per image: some 20 s for the 70,000
of MNIST. For large ones, see `freqbias.data.stream`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.data.dataset import Dataset, Split


class Published(NamedTuple):
    """A set as its authors published it."""

    num_train: int
    num_test: int
    image_shape: tuple[int, int, int]
    num_classes: int
    licence: str
    source: str


_GREY, _COLOUR = (28, 28, 1), (32, 32, 3)
PUBLISHED = {
    "mnist": Published(
        *(60_000, 10_000, _GREY, 10, "CC BY-SA 3.0"),
        "LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791",
    ),
    "fashion_mnist": Published(
        *(60_000, 10_000, _GREY, 10, "MIT"),
        "Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
    ),
    "kmnist": Published(
        *(60_000, 10_000, _GREY, 10, "CC BY-SA 4.0"),
        "Clanuwat et al. 2018, arXiv:1812.01718",
    ),
    "cifar10": Published(
        *(50_000, 10_000, _COLOUR, 10, "none stated by its authors"),
        "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    ),
    "cifar100": Published(
        *(50_000, 10_000, _COLOUR, 100, "none stated by its authors"),
        "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    ),
    "svhn_cropped": Published(
        *(73_257, 26_032, _COLOUR, 10, "for non-commercial use only"),
        "Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers",
    ),
}
NAMES = tuple(PUBLISHED)


@checked
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
    info, sources = open_prepared(name, ["train", "test"], data_dir)
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


def open_prepared(
    name: str, splits: Sequence[str], data_dir: str | Path | None
) -> tuple[Any, list[Sequence[dict[str, Any]]]]:
    """The metadata of a prepared set and, of each split, its examples in random access.

    Args:
      name: of the set, as tensorflow-datasets spells it ("imagenet_resized/32x32").
      splits: as tensorflow-datasets spells them ("train", "validation[:1000]").
      data_dir: the folder in which it was prepared; by default that of tensorflow-datasets.

    Returns:
      Its ``DatasetInfo``, and a sequence of examples ("image", "label", ...) for each split.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: there is no such set or split.
      FileNotFoundError: the set is not prepared, or not as ``array_record``.
    """
    tfds = import_tfds(f"{name} is read through")
    folder = None if data_dir is None else str(Path(data_dir).expanduser())
    where = f"the default folder, {tfds.core.constants.DATA_DIR}" if folder is None else folder
    try:
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"name must be a set of tensorflow-datasets or one prepared in {where}; got {name!r}."
        ) from error
    except ValueError as error:
        raise FileNotFoundError(
            f"{name} cannot be opened in {where} ({_first_line(error)}); if it is prepared in "
            "another format than array_record, prepare it in a new folder, given as data_dir: "
            + prepare_command(name, "NEW_FOLDER")
        ) from error
    for split in splits if builder.info.splits else ():  # none until it is prepared
        _checks.one_of("split", split.partition("[")[0], builder.info.splits)
    try:
        return builder.info, builder.as_data_source(split=list(splits))
    except (AssertionError, KeyError, NotImplementedError, OSError, ValueError) as error:
        manual = "MANUAL_DIR" if getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None) else None
        raise FileNotFoundError(
            f"{name} is not prepared in {where}; run once: "
            + prepare_command(name, folder, manual_dir=manual)
        ) from error


def prepared_folder(name: str, data_dir: str | Path | None = None) -> Path | None:
    """Where a set lies prepared, as ``array_record``, by its files alone; None if it does not.

    Args:
      name: of the set.
      data_dir: the folder in which it was prepared; by default that of tensorflow-datasets.
    """
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = Path(data_dir or default).expanduser() / name
    versions = [path.parent for path in folder.glob("*/*.array_record-*")]
    return max(versions, default=None)


def import_tfds(purpose: str) -> Any:
    """The package tensorflow_datasets, or an ImportError that says how to install it."""
    try:
        import tensorflow_datasets  # noqa: PLC0415  (an optional and slow import)
    except ImportError as error:
        raise ImportError(
            f"{purpose} tensorflow-datasets ({error}): pip install 'freqbias[tfds]'."
        ) from error
    return tensorflow_datasets


def prepare_command(name: str, folder: str | None, *, manual_dir: str | None = None) -> str:
    """What a person types to prepare a set."""
    flags = {"name": name, "data_dir": folder, "manual_dir": manual_dir}
    given = [f"--{flag}={value}" for flag, value in flags.items() if value is not None]
    return f"python -m freqbias.data.prepare {' '.join(given)} (needs pip install 'freqbias[tfds]')"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _read(source: Sequence[dict[str, Any]]) -> Split:
    examples = [source[index] for index in range(len(source))]
    labels = np.array([example["label"] for example in examples], np.int32)
    return Split(np.stack([example["image"] for example in examples]), labels)

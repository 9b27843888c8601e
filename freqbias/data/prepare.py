"""Prepares one set of tensorflow-datasets, once, for ``load``, ``load_tfds`` and ``stream_tfds``.

    python -m freqbias.data.prepare --name=cifar10
    python -m freqbias.data.prepare --name=fashion_mnist --idx_dir=/usr/share/datasets/fashion-mnist
    python -m freqbias.data.prepare --name=imagenet2012 --manual_dir=FOLDER

needs ``pip install 'freqbias[tfds]'``. It downloads the files, unless they lie in one of two
folders: ``--manual_dir`` has them as published, to the bit; ``--idx_dir`` has those of MNIST,
Fashion-MNIST or KMNIST, plain or gzipped by anybody. What is written is the same either way. Sets
lie in ``--data_dir``, else where the environment variable ``TFDS_DATA_DIR`` says, else in
``~/tensorflow_datasets``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags

from freqbias import _checks
from freqbias.data.dataset import Split
from freqbias.data.idx import load_idx
from freqbias.data.tfds import PUBLISHED, import_tfds, prepare_command

IDX_NAMES = ("mnist", "fashion_mnist", "kmnist")  # published as IDX files


def prepare(
    name: str, *, data_dir: str | Path | None = None, manual_dir: str | Path | None = None
) -> str:
    """Downloads a set of tensorflow-datasets and writes it as ``array_record``.

    Args:
      name: as tensorflow-datasets spells it ("imagenet_resized/32x32").
      data_dir: where to write; by default the folder of tensorflow-datasets.
      manual_dir: a folder with some or all of the published files; those are not downloaded.

    Returns:
      The folder that holds the set.

    Raises:
      ImportError: tensorflow-datasets or TensorFlow is not installed.
      ValueError: there is no such set, or a file has the wrong checksum.
      FileNotFoundError: files must be fetched by hand; the message says which, and how to go on.
    """
    tfds = _import_tfds_and_tensorflow(name)
    from requests import RequestException  # noqa: PLC0415  (comes with tensorflow-datasets)
    from tensorflow.errors import NotFoundError  # noqa: PLC0415

    folder = _expand(data_dir)
    builder = _builder(tfds, name, folder)
    again = prepare_command(name, folder, manual_dir="MANUAL_DIR")
    instructions = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    by_hand = f"{name} is fetched by hand: {instructions} Then run {again}"
    if instructions and manual_dir is None:
        raise FileNotFoundError(by_hand)
    options = tfds.download.DownloadConfig(manual_dir=_expand(manual_dir))
    try:
        builder.download_and_prepare(download_config=options)
    except (tfds.download.DownloadError, RequestException) as error:
        urls = " ".join(builder.url_infos) or "its files"
        raise FileNotFoundError(
            f"{name} cannot be downloaded ({error}). Fetch what it needs of {urls} elsewhere, put "
            f"the files into a folder MANUAL_DIR under their own names, and run {again}"
        ) from error
    except tfds.core.download.download_manager.NonMatchingChecksumError as error:
        hint = "; if only compression differs, use --idx_dir" if name in IDX_NAMES else ""
        raise ValueError(f"{name}: {error}{hint}.") from error
    except (AssertionError, NotFoundError) as error:
        if not instructions:
            raise
        raise FileNotFoundError(f"a file is missing in {manual_dir}; {by_hand}") from error
    return str(builder.data_dir)


def prepare_idx(name: str, idx_dir: str | Path, *, data_dir: str | Path | None = None) -> str:
    """Writes a folder of IDX files as the set of tensorflow-datasets whose files they are.

    Args:
      name: one of ``IDX_NAMES``.
      idx_dir: the folder, in the layout of `freqbias.data.load_idx`.
      data_dir: where to write; by default the folder of tensorflow-datasets.

    Returns:
      The folder that holds the set, which has the version, the metadata and the order of examples
      of the one that is downloaded.

    Raises:
      ImportError: tensorflow-datasets or TensorFlow is not installed.
      FileNotFoundError: one of the four files is missing.
      ValueError: the name is unknown, a file is damaged, or there are not 60,000 training and
        10,000 test images of 28 x 28.
    """
    _checks.one_of("name", name, IDX_NAMES)
    dataset = load_idx(idx_dir)
    published = PUBLISHED[name]
    shapes = (dataset.train.pixels.shape, dataset.test.pixels.shape)
    wanted = tuple((number, *published.image_shape) for number in published[:2])
    if shapes != wanted:
        raise ValueError(f"{name} must have images of shapes {wanted}; got {shapes}.")
    tfds = _import_tfds_and_tensorflow(name)

    class FromFolder(tfds.builder_cls(name), skip_registration=True):  # type: ignore[call-arg, misc]
        """The published set, its examples from ``dataset``."""

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            splits = {"train": dataset.train, "test": dataset.test}
            return {split: self._generate_examples(splits[split]) for split in splits}

        def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
            for index, (image, label) in enumerate(zip(split.pixels, split.labels, strict=True)):
                yield index, {"image": image, "label": int(label)}

    FromFolder.name = name
    builder = FromFolder(data_dir=_expand(data_dir), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def _import_tfds_and_tensorflow(name: str) -> Any:
    tfds = import_tfds(f"{name} is prepared by")
    try:
        import tensorflow  # noqa: F401, PLC0415  (tensorflow-datasets imports it late)
    except ImportError as error:
        raise ImportError(
            f"{name} is prepared with TensorFlow ({error}): pip install 'freqbias[tfds]'."
        ) from error
    return tfds


def _builder(tfds: Any, name: str, folder: str | None) -> Any:
    try:
        return tfds.builder(name, data_dir=folder, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"name must be a set of tensorflow-datasets; got {name!r}.") from error


def _expand(folder: str | Path | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser())


def main(argv: list[str]) -> None:
    """Prepares the set that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    flag = flags.FLAGS
    try:
        if flag.idx_dir is None:
            folder = prepare(flag.name, data_dir=flag.data_dir, manual_dir=flag.manual_dir)
        else:
            folder = prepare_idx(flag.name, flag.idx_dir, data_dir=flag.data_dir)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"prepare: {error}")
    print(f"{flag.name} lies in {folder}")


if __name__ == "__main__":
    flags.DEFINE_string("name", None, "The set, as tensorflow-datasets spells it.", required=True)
    flags.DEFINE_string("data_dir", None, "Where to write; by default TFDS_DATA_DIR.")
    flags.DEFINE_string("manual_dir", None, "Folder with files as published, not to download.")
    flags.DEFINE_string("idx_dir", None, f"Folder of IDX files, for {', '.join(IDX_NAMES)}.")
    app.run(main)

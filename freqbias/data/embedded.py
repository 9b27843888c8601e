"""The data sets packaged with the library: no network, no other package, verified on load.

Beside each ``embedded/<name>.npz`` lie ``<name>.json`` (description, source, checksum) and
``<name>.LICENSE.txt``. ``python -m freqbias.data.build`` makes all three from the sources.
"""

import json
from importlib import resources

import numpy as np

from freqbias import _checks
from freqbias.data.dataset import Dataset, Split
from freqbias.data.patches import cut_patches, equalize

NAMES = ("fashion_mnist_mini", "natural_patches", "digits", "mnist_mini", "texture_patches")


def from_stored(name: str, arrays: dict[str, np.ndarray], metadata: dict) -> Dataset:
    """The Dataset of the arrays that a packaged file holds."""
    class_names = tuple(metadata["class_names"])
    if name in ("natural_patches", "texture_patches"):  # stored as photographs, which are smaller
        photographs = [arrays[class_name] for class_name in class_names]
        train = cut_patches(photographs, parity=0, num_per_class=512)
        test = cut_patches(photographs, parity=1, num_per_class=128)
        if name == "texture_patches":
            train, test = equalize(train), equalize(test)
    else:
        train, test = (
            Split(arrays[f"{split}_pixels"], arrays[f"{split}_labels"].astype(np.int32))
            for split in ("train", "test")
        )
    provenance = {key: metadata[key] for key in ("description", "source", "licence")}
    return Dataset(name, train, test, class_names, **provenance)


def load_embedded(name: str) -> Dataset:
    """Loads a packaged data set and verifies its checksum.

    In all of them classes take turns (labels 0, 1, ..., K-1, 0, 1, ...): any prefix of the
    training or the test set is class-balanced.

    Args:
      name: one of ``NAMES``.

    Returns:
      The Dataset: the same bits on every machine.

    Raises:
      ValueError: the name is unknown.
      RuntimeError: a packaged file is missing, unreadable or altered.
    """
    _checks.one_of("name", name, NAMES)
    folder = resources.files("freqbias.data") / "embedded"
    repair = "install freqbias again, or rebuild it with python -m freqbias.data.build"
    try:
        metadata = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        with (folder / f"{name}.npz").open("rb") as file, np.load(file) as stored:
            arrays = dict(stored)
        dataset = from_stored(name, arrays, metadata)
    except Exception as error:
        raise RuntimeError(f"cannot read the packaged {name} ({error}): {repair}.") from error
    if dataset.checksum != metadata["checksum"]:
        raise RuntimeError(
            f"the packaged {name} has checksum {dataset.checksum}, expected "
            f"{metadata['checksum']}: {repair}."
        )
    return dataset

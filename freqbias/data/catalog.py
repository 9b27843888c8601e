"""One name, one data set."""

from freqbias import _checks
from freqbias.data import embedded, tfds
from freqbias.data.dataset import Dataset


def names() -> tuple[str, ...]:
    """The names that ``load`` knows: the packaged sets first, then those of tensorflow-datasets."""
    return embedded.NAMES + tfds.NAMES


def load(name: str) -> Dataset:
    """Loads a data set by name.

    Args:
      name: one of ``names()``. The packaged sets (``embedded.NAMES``) need nothing else; the others
        are read by ``load_tfds`` from the default folder of tensorflow-datasets.

    Returns:
      The Dataset.

    Raises:
      ValueError: the name is unknown; the message lists the valid ones.
      ImportError: the set is of tensorflow-datasets, which is not installed.
      FileNotFoundError: the set is of tensorflow-datasets and not prepared on this machine.

    Example:
      >>> load("digits").train.images.shape
      (1400, 8, 8, 1)
    """
    _checks.one_of("name", name, names())
    return embedded.load_embedded(name) if name in embedded.NAMES else tfds.load_tfds(name)

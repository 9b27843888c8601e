"""Data sets: labelled images in [0, 1] with provenance and checksum.

``load(name)`` gives a ``Dataset`` of two ``Split``s. Three sets come with the package and need no
network; ``load_tfds`` reads others through tensorflow-datasets, ``load_idx`` reads folders of IDX
files, and ``from_arrays`` takes what is in memory.
"""

from freqbias.data.catalog import load, names
from freqbias.data.dataset import Dataset, Split, from_arrays
from freqbias.data.idx import load_idx
from freqbias.data.tfds import load_tfds

__all__ = ["Dataset", "Split", "from_arrays", "load", "load_idx", "load_tfds", "names"]

"""Data sets: labelled images in [0, 1] with provenance and checksum.

``load(name)`` gives a ``Dataset`` of two ``Split``s. Four sets come with the package and need no
network; ``load_tfds`` reads others through tensorflow-datasets, ``load_idx`` reads folders of IDX
files, ``load_pictures`` folders of picture files, and ``from_arrays`` takes what is in memory. Sets
too large for memory come in batches: ``stream_tfds`` and ``stream_source`` give a ``Stream``.
``frequency`` and ``teacher`` have transforms of any ``Dataset`` that control which frequencies
carry what; ``load`` knows them by name (the grammar is in ``catalog``).
"""

from freqbias.data.catalog import check_name, load, names, transforms
from freqbias.data.dataset import Dataset, Split, from_arrays
from freqbias.data.frequency import (
    FilteredSplit,
    band_pass,
    filter_split,
    high_pass,
    low_pass,
    permute_frequencies,
    plant_pattern,
    replace_spectrum,
    window,
)
from freqbias.data.idx import load_idx
from freqbias.data.pictures import load_pictures
from freqbias.data.stream import Stream, stream_source, stream_tfds
from freqbias.data.teacher import (
    label_by_teacher,
    label_by_turn,
    power_law,
    shuffle_labels,
)
from freqbias.data.tfds import load_tfds

__all__ = [
    "Dataset",
    "FilteredSplit",
    "Split",
    "Stream",
    "band_pass",
    "check_name",
    "filter_split",
    "from_arrays",
    "high_pass",
    "label_by_teacher",
    "label_by_turn",
    "load",
    "load_idx",
    "load_pictures",
    "load_tfds",
    "low_pass",
    "names",
    "permute_frequencies",
    "plant_pattern",
    "power_law",
    "replace_spectrum",
    "shuffle_labels",
    "stream_source",
    "stream_tfds",
    "transforms",
    "window",
]

"""The data sets of the library by name, where they come from, and whether they are here.

freqbias datasets

The study over data sets is ``freqbias many_datasets``.
"""

import textwrap
from collections.abc import Iterator

from freqbias import data
from freqbias.cli import flags
from freqbias.data import catalog, embedded, tfds


def prepare() -> None:
    """There is nothing to check."""


def execute(plan: None) -> None:
    """Prints a paragraph for each set, then the transforms that may follow a name."""
    del plan
    for name in data.names():
        first, *others = _packaged(name) if name in embedded.NAMES else _published(name)
        print(f"{name}: {first}", *map(_line, others), sep="\n")
    drawn = "drawn images of amplitude 1/f^ALPHA, labels of a teacher; e.g. power_law_1_28x28x1_2"
    print(f"{catalog.SYNTHETIC}:", _line(drawn), sep="\n")
    print("\nAny number of transforms may follow, as in digits+low_pass_0.25 (cycles per pixel):")
    width = max(map(len, data.transforms()))
    for spelled, says in data.transforms().items():
        print(f"    +{spelled.ljust(width)}  {says}")


def _packaged(name: str) -> Iterator[str]:
    dataset = data.load(name)
    counts = len(dataset.train), len(dataset.test)
    yield _images(*counts, dataset.image_shape, dataset.num_classes)
    yield "here: comes with the package"
    yield f"licence: {dataset.licence}"
    yield f"from: {dataset.source}"


def _published(name: str) -> Iterator[str]:
    published = tfds.PUBLISHED[name]
    folder = tfds.prepared_folder(name)
    yield _images(*published[:4])
    yield f"here: {folder}" if folder else f"not here: {tfds.prepare_command(name, None)}"
    yield f"licence: {published.licence}"
    yield f"from: {published.source}"


def _images(num_train: int, num_test: int, image_shape: tuple[int, ...], num_classes: int) -> str:
    shape = " x ".join(map(str, image_shape))
    return f"{num_train:,} training, {num_test:,} test images, {shape}, {num_classes} classes"


def _line(text: str) -> str:
    """Indented, and broken at spaces only, so that a command can be copied."""
    return textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="        ",
                         break_on_hyphens=False, break_long_words=False)  # fmt: skip


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=())

"""One name, one data set.

A name is a set, followed by any number of transforms, applied from left to right:

    NAME      = SET ("+" TRANSFORM)*

    SET       = a name of ``names()``
              | power_law_ALPHA_HxWxC_CLASSES    Gaussian, amplitude 1/f^ALPHA, labels of a teacher

    TRANSFORM = one of ``transforms()``, e.g. low_pass_0.25

Frequencies are in cycles per pixel. Numbers are written the shortest way (0.125, 2, not 0.1250 or
2.0), so that a name has one spelling; names are safe as file names. ``freqbias.data.frequency`` and
``teacher`` have the transforms as functions, with more arguments. What a name without a seed draws
(noise, planted patterns, teachers) is drawn by ``jax.random.key(0)``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax

from freqbias import spectral
from freqbias._checked import checked
from freqbias.data import embedded, frequency, teacher, tfds
from freqbias.data.dataset import Dataset
from freqbias.data.mapping import number_text
from freqbias.typing import Key


def names() -> tuple[str, ...]:
    """The sets that are stored: the packaged ones first, then those of tensorflow-datasets."""
    return embedded.NAMES + tfds.NAMES


def transforms() -> Mapping[str, str]:
    """What may follow a set after "+", in capitals what is to be filled in: what it makes of it."""
    spelled = {"_".join((kind, *entry.numbers)): entry.says for kind, entry in _TRANSFORMS.items()}
    return spelled | {f"{_SPECTRUM}SET": "the mean power spectrum of another set"}


@checked
def load(name: str) -> Dataset:
    """Loads a data set by name.

    Args:
      name: one of ``names()``, or a name of the grammar at the top of this module. The packaged
        sets (``embedded.NAMES``) need nothing else; the others of ``names()`` are read by
        ``load_tfds`` from the default folder of tensorflow-datasets.

    Returns:
      The Dataset, named ``name``.

    Raises:
      ValueError: the name is unknown or malformed, and the message lists the valid ones; or a
        transform cannot be applied to the set.
      ImportError: the set is of tensorflow-datasets, which is not installed.
      FileNotFoundError: the set is of tensorflow-datasets and not prepared on this machine.

    Example:
      >>> load("digits").train.images.shape
      (1400, 8, 8, 1)
      >>> float(load("digits+low_pass_0.25").contrast) < 1
      True
    """
    load_set, transforms = _parse("name", name)
    dataset = load_set()
    for transform in transforms:
        dataset = transform(dataset)
    return dataset if dataset.name == name else dataclasses.replace(dataset, name=name)


@checked
def check_name(name: str, *, argument: str = "name") -> None:
    """Raises ValueError unless ``load`` knows what ``name`` means; loads nothing.

    Args:
      name: the name of a data set.
      argument: what the message calls it.
    """
    _parse(argument, name)


def _key(seed: float) -> Key:
    if not (seed.is_integer() and seed < 2**32):
        raise ValueError(f"SEED must be an int below 2**32; got {number_text(seed)}.")
    return jax.random.key(int(seed))


def _permuted(dataset: Dataset, seed: float) -> Dataset:
    permutation = spectral.fourier_permutation(_key(seed), dataset.image_shape[:2])
    return frequency.permute_frequencies(dataset, permutation)


def _shuffled(dataset: Dataset, seed: float) -> Dataset:
    return teacher.shuffle_labels(dataset, key=_key(seed))


def _turned(dataset: Dataset, seed: float) -> Dataset:
    return teacher.label_by_turn(dataset, key=_key(seed))


def _planted(dataset: Dataset, fraction: float, amplitude: float) -> Dataset:
    return frequency.plant_pattern(dataset, fraction, amplitude, key=jax.random.key(0))


def _taught(dataset: Dataset, low: float, high: float) -> Dataset:
    return teacher.label_by_teacher(dataset, low, high, key=jax.random.key(0))


class _Transform(NamedTuple):
    numbers: tuple[str, ...]
    apply: Callable[..., Dataset]  # (dataset, *numbers) -> Dataset
    says: str


_TRANSFORMS: Mapping[str, _Transform] = {
    "low_pass": _Transform(("CUTOFF",), frequency.low_pass, "frequencies above CUTOFF removed"),
    "high_pass": _Transform(
        ("CUTOFF",), frequency.high_pass, "frequencies up to CUTOFF removed, the mean too"
    ),
    "band_pass": _Transform(
        ("LOW", "HIGH"), frequency.band_pass, "frequencies outside of LOW to HIGH removed"
    ),
    "permuted": _Transform(("SEED",), _permuted, "frequencies permuted, by `jax.random.key(SEED)`"),
    "planted": _Transform(
        ("FRACTION", "AMPLITUDE"), _planted, "a pattern per class on some of the frequencies"
    ),
    "windowed": _Transform(("TAPER",), frequency.window, "borders faded to mid grey"),
    "teacher": _Transform(("LOW", "HIGH"), _taught, "labels of a teacher that sees one band"),
    "turned": _Transform(
        ("SEED",), _turned, "which way up is the label; sources dealt by the seed"
    ),
    "shuffled": _Transform(("SEED",), _shuffled, "labels shuffled, by `jax.random.key(SEED)`"),
}
_SPECTRUM, _POWER_LAW = "spectrum_", "power_law_"
SYNTHETIC = f"{_POWER_LAW}ALPHA_HxWxC_CLASSES"


def _parse(
    argument: str, name: str
) -> tuple[Callable[[], Dataset], list[Callable[[Dataset], Dataset]]]:
    """How to load the set of a name, and its transforms."""
    first, *rest = name.split("+") if isinstance(name, str) else (repr(name),)
    return _parse_set(argument, first), [_parse_transform(argument, text) for text in rest]


def _parse_set(argument: str, text: str) -> Callable[[], Dataset]:
    if text in embedded.NAMES:
        return partial(embedded.load_embedded, text)
    if text in tfds.NAMES:
        return partial(tfds.load_tfds, text)
    alpha, shape, classes, *_ = [*text.removeprefix(_POWER_LAW).split("_"), "", ""]
    sizes = shape.split("x")
    if (
        text == f"{_POWER_LAW}{alpha}_{shape}_{classes}"
        and _number(alpha) is not None
        and len(sizes) == 3
        and all(_size(size) for size in (*sizes, classes))
    ):
        height, width, channels = map(int, sizes)
        return partial(
            teacher.power_law,
            key=jax.random.key(0),
            alpha=float(alpha),
            image_shape=(height, width, channels),
            num_classes=int(classes),
        )
    sets = ", ".join(map(repr, names()))
    raise ValueError(
        f"{argument} must be one of {sets} or {SYNTHETIC}, followed by any number of "
        f"+TRANSFORM, each one of {', '.join(transforms())}; got the set {text!r}."
    )


def _parse_transform(argument: str, text: str) -> Callable[[Dataset], Dataset]:
    if text.startswith(_SPECTRUM):
        load_other = _parse_set(argument, text.removeprefix(_SPECTRUM))
        return lambda dataset: frequency.replace_spectrum(dataset, load_other())
    for kind, (numbers, apply, _) in _TRANSFORMS.items():
        if text.startswith(f"{kind}_"):
            values = list(map(_number, text.removeprefix(f"{kind}_").split("_")))
            if len(values) == len(numbers) and None not in values:
                return lambda dataset: apply(dataset, *values)
    raise ValueError(
        f"{argument} must have transforms out of {', '.join(transforms())}, with numbers as in "
        f"0.125, 2 or inf; got {text!r}."
    )


def _number(text: str) -> float | None:
    """The non-negative number that ``text`` is the shortest spelling of."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 and number_text(value) == text else None


def _size(text: str) -> bool:
    return text.isascii() and text.isdigit() and text == str(int(text)) and int(text) > 0

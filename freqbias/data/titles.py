"""What the name of a data set says: what people call it, what it was made of, and how.

The grammar is that of `freqbias.data.catalog`. Any other name is a set of its own, called as it is.
"""

import re

_TITLES = {
    "fashion_mnist_mini": "Fashion-MNIST mini",
    "natural_patches": "Natural patches",
    "digits": "Digits",
    "mnist_mini": "MNIST mini",
    "texture_patches": "Texture patches",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn_cropped": "SVHN",
}
_PARTS = (  # pattern of the name of a set or of a transform, what people write
    (r"power_law_1_(\d+)x(\d+)x(\d+)_(\d+)", "1/f noise"),
    (r"power_law_([^_]+)_(\d+)x(\d+)x(\d+)_(\d+)", r"1/f^\1 noise"),
    (r"(low|high)_pass_([^_]+)", r"\1 pass \2"),
    (r"band_pass_([^_]+)_([^_]+)", r"band pass \1 to \2"),
    (r"permuted_(\d+)", r"permuted \1"),
    (r"planted_([^_]+)_([^_]+)", r"patterns planted (\1, \2)"),
    (r"teacher_([^_]+)_([^_]+)", r"teacher \1 to \2"),
    (r"turned_(\d+)", r"which way up \1"),
    (r"shuffled_0", "labels shuffled"),
    (r"shuffled_(\d+)", r"labels shuffled \1"),
    (r"windowed_([^_]+)", r"windowed \1"),
)
_PARTS_OF = {"fashion_mnist_mini": "fashion_mnist", "mnist_mini": "mnist"}
_KINDS = ("power_law", "shuffled", "planted")  # sets that floors and claims tell from all others


def title(name: str) -> str:
    """The name of a data set, with what was done to it, as people write it."""
    return ", ".join(map(_part_title, name.split("+")))


def base(name: str) -> str:
    """The set that a data set was made of; itself if it was made of none."""
    return name.split("+", maxsplit=1)[0]


def source(name: str) -> str:
    """Where the images of a data set come from: one source for a set, its part and its transforms.

    All sets of drawn noise are one source.
    """
    start = base(name)
    return "power_law" if is_synthetic(name) else _PARTS_OF.get(start, start)


def transforms_title(name: str) -> str:
    """What was done to the set that a data set was made of, as people write it; may be empty."""
    return title("+".join(name.split("+")[1:])) if "+" in name else ""


def is_derived(name: str) -> bool:
    """Whether a data set was made of another."""
    return "+" in name


def is_synthetic(name: str) -> bool:
    """Whether the images of a data set were drawn, not taken."""
    return base(name).startswith("power_law_")


def kinds(name: str) -> tuple[str, ...]:
    """The kinds of set that a data set belongs to, of "power_law", "shuffled" and "planted"."""
    parts = name.split("+")
    return tuple(kind for kind in _KINDS if any(part.startswith(f"{kind}_") for part in parts))


def permutation(name: str) -> tuple[str, int] | None:
    """(set, seed) of a data set that is another with its frequencies permuted; else None."""
    match = re.fullmatch(r"(.+)\+permuted_(\d+)", name)
    return (match[1], int(match[2])) if match else None


def _part_title(part: str) -> str:
    if part in _TITLES:
        return _TITLES[part]
    if part.startswith("spectrum_"):
        return f"spectrum of {_part_title(part.removeprefix('spectrum_'))}"
    for pattern, words in _PARTS:
        if re.fullmatch(pattern, part):
            return re.sub(pattern, words, part)
    return part.replace("_", " ")

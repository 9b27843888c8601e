"""One look and one name per arm, and the look of every figure."""

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb

PAGE_WIDTH = 7.0
"""Width of a figure that spans a page, in inches."""
DPI = 150
"""Resolution of PNG files."""
L2_ATTACKS = ("closed_form_l2", "pgd_l2")
"""The attacks of the primary geometry, the exact one first."""
OTHER_BOX = ("-free", "-boxed")
"""What the names of attacks end in that are primary but for the box: without it, and in it."""
INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#e9edf1"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "image.interpolation": "nearest",
    "hatch.linewidth": 0.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,  # matplotlib 3.11 splits the fonts of a PDF in two by this
}
"""The look of every figure, for ``matplotlib.rc_context``."""


class Style(NamedTuple):
    """How an arm is drawn and named in every figure."""

    label: str
    color: str
    marker: Any  # of matplotlib
    linestyle: Literal["-", "--", "-.", ":"]


ARM_NAME = re.compile(
    r"(?P<architecture>fc|conv_mixer|conv|locally_connected_tied|locally_connected"
    r"|scattered_unshared|scattered|resnet|vgg|vit|mlp_mixer)"
    r"(?:_(?P<kernel>k\d+|full))?_d(?P<depth>\d+)"
    r"(?:_(?P<padding>same|valid))?(?:_c(?P<channels>\d+))?(?:_(?P<optimizer>adam))?"
    r"(?:_wd(?P<decay>\d[\d.e+-]*))?"
)
"""The name of an arm; left out are circular padding, the budget's channels, SGD, and no decay."""
FAMILIES = {  # name, colour (Okabe and Ito's colour-blind safe set, then Tol's), marker
    "fc": ("Fully connected", "#000000", "s"),
    "conv": ("Conv", "#0072b2", "o"),
    "locally_connected": ("Locally connected", "#d55e00", "^"),
    "locally_connected_tied": ("Locally connected, tied init", "#e69f00", "v"),
    "scattered": ("Scattered, shared", "#cc79a7", "D"),
    "scattered_unshared": ("Scattered, unshared", "#84376b", ">"),
    "resnet": ("ResNet", "#117733", "P"),
    "vgg": ("VGG", "#999933", "p"),
    "conv_mixer": ("ConvMixer", "#44aa99", "h"),
    "vit": ("ViT", "#aa1e3c", "*"),
    "mlp_mixer": ("MLP-Mixer", "#ee7788", "d"),
}
BLOCKS = ("resnet", "vgg", "conv_mixer", "vit", "mlp_mixer")
"""Architectures whose depth counts blocks, and whose usual padding is zeros."""
_KERNEL_RAMP = (
    (np.log2(3), "#0072b2"),
    (np.log2(7), "#56b4e9"),
    (np.log2(15), "#a6dfc3"),
    (np.log2(32), "#009e73"),
)
_DEPTH_RAMP = {2: "#5e4fa2", 3: "#2e1c63", 4: "#a48fe0"}
_LINESTYLES: dict[int, Literal["-", "--", "-."]] = {1: "-", 2: "--", 3: "-."}
_DECAYED = (4, 1, 0)  # a star of four points
_PADDINGS = {"same": ("zero padding", "<"), "valid": ("no padding", "X")}  # name, marker


def arm_style(arm: str) -> Style:
    """The label, colour, marker and line of an arm, e.g. ``conv_k3_d1`` or ``vit_d2_adam``.

    The architecture fixes marker and hue; within convolutions the hue runs from blue (K = 3) to
    green (full width), and to violet with depth. Of other families larger kernels and more layers
    are lighter. Other than usual: the optimiser (SGD; for blocks Adam) is darker (fully connected:
    brown), the padding (circular; for blocks zeros) lighter with a marker of its own, channels
    greyer; weight decay is a star of four points, and redder. Unknown arms are grey, under their
    own name.
    """
    match = ARM_NAME.fullmatch(arm)
    if match is None:
        return Style(arm.replace("_", " "), GREY, "X", "-")
    architecture, kernel = match["architecture"], match["kernel"] or ""
    depth = int(match["depth"])
    color, marker = FAMILIES[architecture][1:]
    blocks = architecture in BLOCKS
    if architecture == "conv":
        color = _kernel_color(kernel)
        if depth > 1:
            ramp = _DEPTH_RAMP.get(depth, _DEPTH_RAMP[4])
            color = ramp if kernel in ("", "k3") else _mixed(ramp, color, 0.5)
    else:
        size = 32 if kernel == "full" else int(kernel[1:] or 3)
        steps = 0.3 * np.log2(size / 3) + 0.22 * (depth - 1 - blocks)
        color = _mixed(color, "#ffffff", float(np.clip(steps, 0, 0.6)))
    usual = match["padding"] == ("same" if blocks else None)
    if not usual and kernel:
        color, marker = _mixed(color, "#ffffff", 0.3), _PADDINGS.get(match["padding"], ("", "<"))[1]
    if match["channels"]:
        color = _mixed(color, "#999999", min(0.2 + 0.1 * np.log2(int(match["channels"])), 0.7))
    if bool(match["optimizer"]) != blocks:
        color = _mixed(color, "#cc6600" if architecture == "fc" else "#000000", 0.35)
    if match["decay"]:
        color = _mixed(color, "#c00000", 0.4)
    shape = _DECAYED if match["decay"] else marker
    return Style(_label(match), color, shape, _LINESTYLES.get(depth - blocks, ":"))


def _label(match: re.Match[str]) -> str:
    """What an arm is, in words; what every arm of its kind has is left out."""
    architecture, kernel = match["architecture"], match["kernel"] or ""
    depth, blocks = int(match["depth"]), architecture in BLOCKS
    name = FAMILIES[architecture][0]
    size = "full width" if kernel == "full" else kernel.replace("k", "K=")
    if size and (architecture == "conv" or blocks):
        name = f"{name} {size}"
    elif size and size != "K=3":
        name = f"{name}, {size}"
    words = [name]
    if blocks:
        words.append(f"{depth} block{'' if depth == 1 else 's'}")
    elif depth > 1:
        words.append(f"{depth} layers")
    if blocks and kernel and not match["padding"]:
        words.append("circular padding")
    elif match["padding"] and (match["padding"], blocks) != ("same", True):
        words.append(_PADDINGS[match["padding"]][0])
    if match["channels"]:
        words.append(f"{match['channels']} channel{'' if match['channels'] == '1' else 's'}")
    if match["optimizer"]:
        words.append(match["optimizer"].capitalize())
    if match["decay"]:
        words.append(f"weight decay {match['decay']}")
    return ", ".join(words)


def _kernel_color(kernel: str) -> str:
    if not kernel:
        return FAMILIES["conv"][1]
    if kernel == "full":
        return _KERNEL_RAMP[-1][1]
    positions = [position for position, _ in _KERNEL_RAMP]
    channels = np.array([to_rgb(color) for _, color in _KERNEL_RAMP]).T
    size = np.log2(int(kernel[1:]))
    red, green, blue = (float(np.interp(size, positions, channel)) for channel in channels)
    return to_hex((red, green, blue))


def _mixed(color: str, other: str, share: float) -> str:
    """``color`` with a share of ``other``."""
    red, green, blue = (
        (1 - share) * a + share * b for a, b in zip(to_rgb(color), to_rgb(other), strict=True)
    )
    return to_hex((red, green, blue))


def is_linf(attack: Any) -> bool:
    """Whether an attack, by its name in the rows, is in the L-inf geometry."""
    return "inf" in str(attack).lower()


def is_other_box(attack: Any) -> bool:
    """Whether an attack is the primary one again, with the box where that has none or reversed."""
    return str(attack).endswith(OTHER_BOX)


def in_order(arms: Iterable[str]) -> list[str]:
    """Distinct arms: by family, then plain ones before varied ones, by depth, by kernel size."""
    families = list(FAMILIES)

    def place(arm: str) -> tuple[Any, ...]:
        match = ARM_NAME.fullmatch(arm)
        if match is None:
            return (len(families),)
        kernel = match["kernel"] or ""
        size = np.inf if kernel == "full" else int(kernel[1:] or 0)
        varied = sum(part is not None for part in match.groups()[3:])
        rest = tuple(part or "" for part in match.groups()[3:])
        return families.index(match["architecture"]), varied, int(match["depth"]), size, *rest

    return sorted(dict.fromkeys(arms), key=place)


_DATASETS = {
    "fashion_mnist_mini": "Fashion-MNIST mini",
    "natural_patches": "Natural patches",
    "digits": "Digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn_cropped": "SVHN",
}
_TRANSFORMS = (  # pattern of the name of a set or of a transform, what people write
    (r"power_law_1_(\d+)x(\d+)x(\d+)_(\d+)", "1/f noise"),
    (r"power_law_([^_]+)_(\d+)x(\d+)x(\d+)_(\d+)", r"1/f^\1 noise"),
    (r"(low|high)_pass_([^_]+)", r"\1 pass \2"),
    (r"band_pass_([^_]+)_([^_]+)", r"band pass \1 to \2"),
    (r"permuted_(\d+)", r"permuted \1"),
    (r"planted_([^_]+)_([^_]+)", r"patterns planted (\1, \2)"),
    (r"teacher_([^_]+)_([^_]+)", r"teacher \1 to \2"),
    (r"shuffled_0", "labels shuffled"),
    (r"shuffled_(\d+)", r"labels shuffled \1"),
    (r"windowed_([^_]+)", r"windowed \1"),
)


def dataset_name(dataset: str) -> str:
    """The name of a data set, with what was done to it, as people write it."""
    return ", ".join(_part_name(part) for part in dataset.split("+"))


def _part_name(part: str) -> str:
    if part in _DATASETS:
        return _DATASETS[part]
    if part.startswith("spectrum_"):
        return f"spectrum of {_part_name(part.removeprefix('spectrum_'))}"
    for pattern, words in _TRANSFORMS:
        if re.fullmatch(pattern, part):
            return re.sub(pattern, words, part)
    return part.replace("_", " ")


def regime_name(regime: str) -> str:
    """The name of a regime as people write it."""
    return {"linear": "linear", "relu": "ReLU"}.get(regime, regime)


def panel_name(dataset: str, regime: str, separator: str = ", ") -> str:
    """Data set and regime, in words."""
    return f"{dataset_name(dataset)}{separator}{regime_name(regime)}"

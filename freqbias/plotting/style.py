"""One look and one name per arm, and the look of every figure."""

import re
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb

PAGE_WIDTH = 7.0
"""Width of a figure that spans a page, in inches."""
L2_ATTACKS = ("closed_form_l2", "pgd_l2")
"""The attacks of the primary geometry, the exact one first."""
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
}
"""The look of every figure, for ``matplotlib.rc_context``."""


class Style(NamedTuple):
    """How an arm is drawn and named in every figure."""

    label: str
    color: str
    marker: str
    linestyle: Literal["-", "--", "-.", ":"]


ARM_NAME = re.compile(
    r"(fc|conv|locally_connected_tied|locally_connected|scattered_unshared|scattered)"
    r"(?:_(k\d+|full))?_d(\d+)"
)
FAMILIES = {  # name, colour (Okabe and Ito's colour-blind safe set), marker
    "fc": ("Fully connected", "#000000", "s"),
    "conv": ("Conv", "#0072b2", "o"),
    "locally_connected": ("Locally connected", "#d55e00", "^"),
    "locally_connected_tied": ("Locally connected, tied init", "#e69f00", "v"),
    "scattered": ("Scattered, shared", "#cc79a7", "D"),
    "scattered_unshared": ("Scattered, unshared", "#84376b", ">"),
}
_KERNEL_RAMP = ((np.log2(3), "#0072b2"), (np.log2(7), "#56b4e9"), (np.log2(32), "#009e73"))
_DEPTH_RAMP = {2: "#5e4fa2", 3: "#2e1c63"}
_LINESTYLES: dict[int, Literal["-", "--", "-."]] = {1: "-", 2: "--", 3: "-."}


def arm_style(arm: str) -> Style:
    """The label, colour, marker and line of an arm, e.g. ``conv_k3_d1``.

    The architecture fixes marker and hue; within convolutions the hue runs from blue (K = 3) to
    green (full width), and to violet with depth. Unknown arms are grey, under their own name.
    """
    match = ARM_NAME.fullmatch(arm)
    if match is None:
        return Style(arm.replace("_", " "), GREY, "X", "-")
    architecture, kernel, depth = match[1], match[2] or "", int(match[3])
    label, color, marker = FAMILIES[architecture]
    size = "full width" if kernel == "full" else kernel.replace("k", "K=")
    if architecture == "conv":
        label = f"{label} {size}".strip()
        color = _kernel_color(kernel) if depth == 1 else _DEPTH_RAMP.get(depth, _DEPTH_RAMP[3])
    elif size and size != "K=3":
        label = f"{label}, {size}"
    if depth > 1:
        label = f"{label}, {depth} layers"
    return Style(label, color, marker, _LINESTYLES.get(depth, ":"))


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


def is_linf(attack: Any) -> bool:
    """Whether an attack, by its name in the rows, is in the L-inf geometry."""
    return "inf" in str(attack).lower()


def dataset_name(dataset: str) -> str:
    """The name of a data set as people write it."""
    known = {"fashion_mnist_mini": "Fashion-MNIST mini", "natural_patches": "Natural patches"}
    first, *transforms = dataset.split("+")
    return ", ".join([known.get(first, first), *transforms]).replace("_", " ")


def regime_name(regime: str) -> str:
    """The name of a regime as people write it."""
    return {"linear": "linear", "relu": "ReLU"}.get(regime, regime)


def panel_name(dataset: str, regime: str, separator: str = ", ") -> str:
    """Data set and regime, in words."""
    return f"{dataset_name(dataset)}{separator}{regime_name(regime)}"

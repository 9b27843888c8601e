"""The one table of arms: what each family is built of, what may be asked of it, how it is drawn.

To add a family: one `Family` here, or, from a script of your own, ``study.register(Family(...))``.
Nothing else has to know its name: rows, figures and the report take label, colour, marker and
factors from `as_drawn`, which every run stores beside its rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from flax import linen as nn
from matplotlib.colors import to_hex, to_rgb

from freqbias import _checks, models
from freqbias._checked import check_fields, checked
from freqbias.data import Dataset
from freqbias.plotting import Drawn, Style
from freqbias.study import protocols
from freqbias.study.setting import Arm, Budget, Regime, Setting

BuildFn = Callable[[Setting, Dataset, Budget], nn.Module]
"""From what is compared, its data set and its budget to a Flax module."""


def channels_of(setting: Setting, budget: Budget) -> int:
    """Channels of a convolution: the arm's own, else the budget's."""
    return setting.channels or budget.channels


@dataclasses.dataclass(frozen=True)
class Family:
    """An architecture with all that the study has to know of it.

    Attributes:
      name: in rows, in the names of arms and in claims; letters, digits and underscores.
      label: in figures, as people write it.
      color: hexadecimal, distinct from the others' for colour-blind readers.
      marker: of matplotlib.
      build: (setting, data set, budget) -> a Flax module whose ``apply(params, images)`` gives
        logits [N, K]; images lie in [0, 1], standardise inside.
      regimes: in which it can be run; "linear" needs a network that is affine in its input.
      cost: its time, where that of a convolution with as many layers is 1.
      blocks: whether depth counts blocks, each of several layers, and their initial scale is their
        own (so that only scale 1 is run).
      usual: what is left out of the label, e.g. ``{"optimizer": "adam"}``.
      program: families with one such name share their compilations, if their settings allow it.
      circulant: whether, with one hidden layer and circular padding, `models.as_masked` is its
        form in which all kernel sizes share one compilation.
      first_kernel: from the parameters of S networks to the kernels of the first layer,
        [S, K, K, I, O]; None where there are none to look at.
      width: what the column ``channels`` holds.
      role: "swept" if kernel size and depth are read along it, "baseline" if it is what these are
        compared with, else "other".
      factors: levels of factors that are the family's own, beside its name, e.g. of sharing.
      kind: the level of the factor "architecture family"; the label if empty.
    """

    name: str
    label: str
    color: str
    marker: Any
    build: BuildFn
    regimes: tuple[Regime, ...] = ("linear", "relu")
    cost: float = 1.0
    blocks: bool = False
    usual: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    program: str = ""
    circulant: bool = False
    first_kernel: Callable[[Any], Any] | None = None
    width: Callable[[Setting, Budget], int] = channels_of
    role: Literal["swept", "baseline", "other"] = "other"
    factors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kind: str = ""

    def __post_init__(self) -> None:
        check_fields(self)

    def usual_of(self, name: str) -> Any:
        """The level of a field of `Arm` that goes without saying."""
        _checks.one_of("name", name, Arm._field_defaults)
        return self.usual.get(name, Arm._field_defaults[name])


# --- Modules --------------------------------------------------------------------------------------


def _common(setting: Setting, dataset: Dataset, budget: Budget) -> dict[str, Any]:
    settings: dict[str, Any] = {"num_classes": dataset.num_classes}
    if budget.standardized:
        settings["mean"] = tuple(np.ravel(dataset.mean).tolist())
        settings["std"] = tuple(np.ravel(dataset.std).tolist())
    if setting.kernel:
        settings["kernel_size"] = setting.kernel_size(dataset.image_shape)
    return settings


def _plain(setting: Setting, dataset: Dataset, budget: Budget) -> dict[str, Any]:
    """Of families that are layers, not blocks."""
    usual = protocols.initial_scale(budget, setting.regime, setting.depth)
    return _common(setting, dataset, budget) | {
        "depth": setting.depth,
        "activation": "none" if setting.regime == "linear" else "relu",
        "init_scale": setting.init_scale * usual,
    }


def _fully_connected(setting: Setting, dataset: Dataset, budget: Budget) -> nn.Module:
    return models.create("fc", **_plain(setting, dataset, budget), width=budget.width)


def _convolution(setting: Setting, dataset: Dataset, budget: Budget) -> nn.Module:
    channels = channels_of(setting, budget)
    settings = _plain(setting, dataset, budget) | {"channels": channels, "padding": setting.padding}
    return models.create("conv", **settings)


def _unshared(setting: Setting, dataset: Dataset, budget: Budget) -> nn.Module:
    channels = channels_of(setting, budget)
    return models.create(
        setting.architecture, **_plain(setting, dataset, budget), channels=channels
    )


def _residual(setting: Setting, dataset: Dataset, budget: Budget) -> nn.Module:
    blocks = "blocks" if setting.architecture == "resnet" else "convolutions"
    width = channels_of(setting, budget)
    settings = _common(setting, dataset, budget) | {
        blocks: (1,) * setting.depth,
        "width": width,
        "groups": min(width, 4),
    }
    return models.create(setting.architecture, padding=setting.padding, **settings)


def _patches(setting: Setting, dataset: Dataset, budget: Budget) -> nn.Module:
    settings = _common(setting, dataset, budget)
    if setting.architecture == "conv_mixer":
        settings["padding"] = setting.padding
    side = min(dataset.image_shape[:2])
    patch = next(size for size in (4, 2, 1) if side % size == 0)
    settings |= {"depth": setting.depth, "patch_size": patch, "width": budget.block_width}
    return models.create(setting.architecture, **settings)


# --- The table ------------------------------------------------------------------------------------

_ONE_LAYER = "Conv, unshared, scattered"  # one family, within which sharing and locality vary
_BLOCKS: Any = {"blocks": True, "regimes": ("relu",)}
_CONVOLVED: Any = {**_BLOCKS, "usual": {"padding": "SAME", "optimizer": "adam"}}
_ATTENDING: Any = {**_BLOCKS, "usual": {"optimizer": "adam"}}


def _taps(sharing: str, place: str) -> Any:
    return {"kind": _ONE_LAYER, "factors": {"weight sharing": sharing, "place of the taps": place}}


# Colours: Okabe and Ito's colour-blind safe set, then Tol's.
_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("fc", "Fully connected", "#000000", "s", _fully_connected, cost=0.35,
               role="baseline", width=lambda setting, budget: budget.width),
        Family("conv", "Conv", "#0072b2", "o", _convolution, role="swept", circulant=True,
               first_kernel=lambda params: params["params"]["kernel_0"],
               **_taps("shared", "local")),
        Family("locally_connected", "Locally connected", "#d55e00", "^", _unshared,
               **_taps("unshared", "local")),
        Family("locally_connected_tied", "Locally connected, tied init", "#e69f00", "v", _unshared,
               program="locally_connected", **_taps("unshared, tied init", "local")),
        Family("scattered", "Scattered, shared", "#cc79a7", "D", _unshared, circulant=True,
               **_taps("shared", "scattered")),
        Family("scattered_unshared", "Scattered, unshared", "#84376b", ">", _unshared,
               **_taps("unshared", "scattered")),
        Family("resnet", "ResNet", "#117733", "P", _residual, cost=12, **_CONVOLVED),
        Family("vgg", "VGG", "#999933", "p", _residual, cost=4, **_CONVOLVED),
        Family("conv_mixer", "ConvMixer", "#44aa99", "h", _patches, cost=2, **_CONVOLVED),
        Family("vit", "ViT", "#aa1e3c", "*", _patches, cost=5, **_ATTENDING),
        Family("mlp_mixer", "MLP-Mixer", "#ee7788", "d", _patches, cost=4, **_ATTENDING),
        Family("global_filter", "GFNet", "#332288", "H", _patches, cost=4, **_ATTENDING),
    )
}  # fmt: skip


@checked
def register(family: Family) -> None:
    """Adds a family to the table, or replaces one that you have registered before.

    Raises:
      ValueError: the name is one of the library's own, or cannot stand in the name of an arm.
    """
    if family.name in _OWN:
        raise ValueError(f"name must not be one of the library's, {sorted(_OWN)}; "
                         f"got {family.name!r}.")  # fmt: skip
    if not (family.name.isidentifier() and family.name.isascii()):
        raise ValueError(
            f"name must be letters, digits and underscores, no digit first; got {family.name!r}."
        )
    _FAMILIES[family.name] = family


_OWN = frozenset(_FAMILIES)


def registered(name: str) -> Family | None:
    """The family of that name, if it is not one of the library's own."""
    return None if name in _OWN else family(name)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
      ValueError: there is none; the message lists those there are.
    """
    _checks.one_of("architecture", name, _FAMILIES)
    return _FAMILIES[name]


def families() -> tuple[str, ...]:
    """The names of all families, in the order of figures."""
    return tuple(_FAMILIES)


# --- How arms are drawn ---------------------------------------------------------------------------

_KERNEL_RAMP = (
    (np.log2(3), "#0072b2"),
    (np.log2(7), "#56b4e9"),
    (np.log2(15), "#a6dfc3"),
    (np.log2(32), "#009e73"),
)
_DEPTH_RAMP = {2: "#5e4fa2", 3: "#2e1c63", 4: "#a48fe0"}
_LINESTYLES: dict[int, Literal["-", "--", "-."]] = {1: "-", 2: "--", 3: "-."}
_DECAYED = (4, 1, 0)  # a star of four points
_PADDINGS = {  # name in a label, marker, level of the factor
    "circular": ("circular padding", "<", "circular"),
    "SAME": ("zero padding", "<", "zeros"),
    "VALID": ("no padding", "X", "none"),
}
_TYPICAL = (  # the arms that a figure of few shows first
    *("fc_d1", "conv_k3_d1", "conv_full_d1", "conv_k3_d3", "locally_connected_k3_d1"),
    *("resnet_k3_d2_same_adam", "vit_d2_adam"),
)


def as_drawn(settings: Iterable[Setting], budget: Budget) -> Drawn:
    """How the arms of some settings are drawn, compared and ordered, for `freqbias.plotting`.

    Arms stand by family, then plain ones before varied ones, by depth, by kernel size.
    """
    arms = {setting.arm: setting for setting in settings}
    order = sorted(arms, key=lambda name: _place(arms[name]))
    under_protocols = any(setting.protocol for setting in arms.values())
    return Drawn(
        styles={name: style(arms[name]) for name in order},
        groups=_groups({name: arms[name] for name in order}),
        factors={name: _factors(arms[name], budget, under_protocols) for name in order},
        typical=tuple(name for name in _TYPICAL if name in arms),
        swept=tuple(f.name for f in _FAMILIES.values() if f.role == "swept"),
        baseline=tuple(f.name for f in _FAMILIES.values() if f.role == "baseline"),
    )


def style(arm: Arm | Setting) -> Style:
    """The label, colour, marker and line of an arm.

    The family fixes marker and hue; within convolutions the hue runs from blue (K = 3) to green
    (full width), and to violet with depth. Of other families larger kernels and more layers are
    lighter. Other than usual: the optimiser is darker (fully connected: brown), the padding lighter
    with a marker of its own, channels greyer; weight decay is a star of four points, and redder.
    Under a protocol an arm has its usual look, with the protocol in the label: arms of two
    protocols do not share a panel.
    """
    if arm.protocol:
        usual, (title, *_) = style(protocols.usual(arm)), protocols.PROTOCOLS[arm.protocol]
        label, short = (f"{usual.label}, {title}", f"{usual.short}\n{title}")
        return usual._replace(label=label, short=short)
    of = family(arm.architecture)
    color, marker, extra = of.color, of.marker, arm.depth - of.blocks
    if of.role == "swept":
        color = _kernel_color(of, arm.kernel)
        if arm.depth > 1:
            ramp = _DEPTH_RAMP.get(arm.depth, _DEPTH_RAMP[4])
            color = ramp if arm.kernel in ("", "3") else _mixed(ramp, color, 0.5)
    else:
        size = 32 if arm.kernel == "full" else int(arm.kernel or 3)
        steps = 0.3 * np.log2(size / 3) + 0.22 * (extra - 1)
        color = _mixed(color, "#ffffff", float(np.clip(steps, 0, 0.6)))
    if arm.padding != of.usual_of("padding") and arm.kernel:
        color, marker = _mixed(color, "#ffffff", 0.3), _PADDINGS[arm.padding][1]
    if arm.channels:
        color = _mixed(color, "#999999", min(0.2 + 0.1 * np.log2(arm.channels), 0.7))
    if arm.optimizer != of.usual_of("optimizer"):
        color = _mixed(color, "#cc6600" if of.role == "baseline" else "#000000", 0.35)
    if arm.weight_decay:
        color, marker = _mixed(color, "#c00000", 0.4), _DECAYED
    label, short = _labels(arm, of)
    return Style(label, color, marker, _LINESTYLES.get(extra, ":"), short)


def _labels(arm: Arm | Setting, of: Family) -> tuple[str, str]:
    """What an arm is, in words and on the lines of a narrow column; the usual is left out."""
    size = "full width" if arm.kernel == "full" else f"K={arm.kernel}" if arm.kernel else ""
    words, name = [], of.label
    if size and (of.role == "swept" or of.blocks):
        name = f"{name} {size}"
    elif size and size != "K=3":
        words.append(size)
    if of.blocks:
        words.append(f"{arm.depth} block{'' if arm.depth == 1 else 's'}")
    elif arm.depth > 1:
        words.append(f"{arm.depth} layers")
    if arm.kernel and arm.padding != of.usual_of("padding"):
        words.append(_PADDINGS[arm.padding][0])
    if arm.channels:
        words.append(f"{arm.channels} channel{'' if arm.channels == 1 else 's'}")
    if arm.optimizer != "sgd":
        words.append(arm.optimizer.capitalize())
    if arm.weight_decay:
        words.append(f"weight decay {arm.weight_decay:g}")
    return ", ".join((name, *words)), _narrow(of, name, words)


def _narrow(of: Family, name: str, words: Sequence[str]) -> str:
    if of.role == "swept" and not words:
        return name.replace(" ", "\n", 1)
    lines = name if of.role == "swept" or of.blocks else _broken(name)
    return "\n".join((lines, *words))


def _broken(label: str) -> str:
    """A family's label on two lines, broken at its comma or its first space."""
    first, comma, rest = label.partition(", ")
    if comma and " " not in first:
        return f"{first}\n{rest}"
    return label.replace(" ", "\n", 1)


def _place(setting: Setting) -> tuple[Any, ...]:
    size = np.inf if setting.kernel == "full" else int(setting.kernel or 0)
    varied = _varied(setting)
    order = families().index(setting.architecture)
    under = list(protocols.PROTOCOLS).index(setting.protocol) if setting.protocol else -1
    levels = (str(varied.get(name, "")) for name in _VARIED)
    return order, under, len(varied), setting.depth, size, *levels


_VARIED = ("padding", "channels", "optimizer", "weight_decay", "protocol")


def _varied(setting: Setting) -> dict[str, Any]:
    """What of an arm is not the default of `Arm`."""
    return {
        name: getattr(setting, name)
        for name in _VARIED
        if getattr(setting, name) != Arm._field_defaults[name]
    }


def _groups(arms: Mapping[str, Setting]) -> dict[str, tuple[str, ...]]:
    """Arms that are compared within one panel, by the factor they differ in."""
    of = {name: family(setting.architecture) for name, setting in arms.items()}
    varied = {name: _varied(setting) for name, setting in arms.items()}
    blocks = [name for name in arms if of[name].blocks]
    under = {
        title[:1].upper() + title[1:]: [name for name in arms if arms[name].protocol == protocol]
        for protocol, (title, *_) in protocols.PROTOCOLS.items()
        if protocol
    }
    special = [name for names in under.values() for name in names]
    changed = [name for name in arms if name not in (*blocks, *special) and varied[name]]
    padded = [name for name in changed if set(varied[name]) == {"padding"}]
    others = [name for name in changed if name not in padded]
    plain = [name for name in arms if name not in (*blocks, *changed, *special)]
    pair = [name for name in plain if of[name].role != "other"]
    swept = [name for name in plain if of[name].role == "swept"]
    fully = [name for name in plain if of[name].role == "baseline"]
    deep = [name for name in swept if arms[name].kernel in ("", "3")]
    unshared = [name for name in plain if of[name].factors and name not in pair]
    reference = [name for name in deep if arms[name].depth == 1]

    def usual(names: Sequence[str]) -> list[str]:
        """The plain arms that these vary."""
        kinds = {(a.architecture, a.kernel, a.depth) for a in map(arms.__getitem__, names)}
        return [
            name
            for name in plain
            if (arms[name].architecture, arms[name].kernel, arms[name].depth) in kinds
        ]

    groups = {
        "Kernel size": [name for name in pair if arms[name].depth == 1],
        "Depth": [*(fully if len(fully) > 1 else ()), *deep] if len(deep) > 1 else [],
        "Sharing and locality": [*reference, *unshared] if unshared else [],
        "Padding": [*usual(padded), *padded],
        "Channels, optimiser, decay": [*usual(others), *others],
        "Blocks": blocks,
        **under,
    }
    shown = {name for group in groups.values() for name in group}
    groups["Other"] = [name for name in arms if name not in shown]
    return {title: tuple(group) for title, group in groups.items() if group}


def _factors(setting: Setting, budget: Budget, under_protocols: bool) -> dict[str, Any]:
    """The level of each factor of the design; one that does not apply is left out.

    Depth is that of networks not built of blocks; channels and padding those of convolutions; the
    protocol one of designs that have several.
    """
    of = family(setting.architecture)
    budget = protocols.applied(budget, setting.protocol)
    levels: dict[str, Any] = {"architecture family": of.kind or of.label}
    if setting.kernel:
        full = setting.kernel == "full"
        levels["kernel size"] = "full width" if full else f"K={setting.kernel}"
    if not of.blocks:
        levels["depth"] = setting.depth
    levels |= of.factors
    if of.role == "swept":
        levels["channels"] = of.width(setting, budget)
        levels["padding"] = _PADDINGS[setting.padding][2]
    optimizer = {"sgd": "SGD", "adam": "Adam"}.get(setting.optimizer, setting.optimizer)
    if under_protocols:
        levels["protocol"] = protocols.PROTOCOLS[setting.protocol].title if setting.protocol else ""
    return levels | {"optimizer": optimizer, "weight decay": setting.weight_decay}


def _kernel_color(of: Family, kernel: str) -> str:
    if not kernel:
        return of.color
    if kernel == "full":
        return _KERNEL_RAMP[-1][1]
    positions = [position for position, _ in _KERNEL_RAMP]
    channels = np.array([to_rgb(color) for _, color in _KERNEL_RAMP]).T
    size = np.log2(int(kernel))
    red, green, blue = (float(np.interp(size, positions, channel)) for channel in channels)
    return to_hex((red, green, blue))


def _mixed(color: str, other: str, share: float) -> str:
    """``color`` with a share of ``other``."""
    red, green, blue = (
        (1 - share) * a + share * b for a, b in zip(to_rgb(color), to_rgb(other), strict=True)
    )
    return to_hex((red, green, blue))

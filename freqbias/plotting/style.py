"""How arms are drawn and named in every figure, and the look of every figure."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from freqbias._checked import checked
from freqbias.data import titles

PAGE_WIDTH = 7.0
"""Width of a figure that spans a page, in inches."""
DPI = 150
"""Resolution of PNG files."""
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
    linestyle: Literal["-", "--", "-.", ":"] = "-"
    short: str = ""  # the label on the lines of a narrow column; the label itself if empty


_SPARE = (  # for arms that nobody described: Tol's muted colours, in an order of contrast
    *("#332288", "#cc6677", "#117733", "#882255", "#88ccee", "#999933", "#44aa99", "#aa4499"),
    *("#ddcc77",),
)
_SPARE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
_LINESTYLES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")


def distinct_styles(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, Style]:
    """Looks for any names, told apart by colour-blind eyes and in grey.

    Colours, markers and lines go round in circles of different lengths, so that the first ninety
    names differ in at least one of them.

    Args:
      names: in the order in which looks are given out.
      taken: colours not to be used.

    Returns:
      name -> `Style`.
    """
    colors = [color for color in _SPARE if color not in set(taken)] or _SPARE
    return {
        name: Style(
            name.replace("_", " "),
            colors[index % len(colors)],
            _SPARE_MARKERS[index % len(_SPARE_MARKERS)],
            _LINESTYLES[index // len(colors) % len(_LINESTYLES)],
        )
        for index, name in enumerate(names)
    }


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The arms of a study as figures need them; whoever names arms says what they are.

    Arms that are not described get a look of their own, under their own name, after the others.

    Attributes:
      styles: arm -> `Style`, in the order of figures.
      groups: title -> arms that are compared within one panel.
      factors: arm -> factor of the design -> its level, where the factor applies.
      typical: the arms that a figure of few shows first.
      swept: the architectures along which kernel size and depth are read.
      baseline: the architectures that these are compared with.
    """

    styles: Mapping[str, Style] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    factors: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    typical: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()

    @checked
    def with_arms(self, arms: Iterable[str] | Mapping[str, Any]) -> "Drawn":
        """The same with a look for every arm: distinct ones for those that have none."""
        unknown = sorted({str(arm) for arm in arms} - set(self.styles))
        spare = distinct_styles(unknown, {style.color for style in self.styles.values()})
        return dataclasses.replace(self, styles={**self.styles, **spare})

    def __getitem__(self, arm: str) -> Style:
        """The look of an arm."""
        return self.styles[arm] if arm in self.styles else self.with_arms([arm]).styles[arm]

    @checked
    def column(self, arm: str) -> str:
        """An arm's label for a narrow column."""
        return self[arm].short or self[arm].label

    @checked
    def in_order(self, arms: Iterable[str] | Mapping[str, Any]) -> list[str]:
        """Distinct arms in the order of figures."""
        found = {str(arm) for arm in arms}
        return [arm for arm in self.with_arms(found).styles if arm in found]

    @checked
    def groups_of(self, arms: Iterable[str] | Mapping[str, Any]) -> dict[str, list[str]]:
        """Of each group those of its arms that are there; the rest are a last group "Other".

        A group is left out if all that is there of it stands in an earlier one.
        """
        present, groups = self.in_order(arms), dict[str, list[str]]()
        for title, group in self.groups.items():
            there = [arm for arm in group if arm in present]
            if title != "Other" and not any(set(there) <= set(other) for other in groups.values()):
                groups[title] = there
        shown = {arm for group in groups.values() for arm in group}
        groups["Other"] = [arm for arm in present if arm not in shown]
        return {title: group for title, group in groups.items() if group}

    @checked
    def joined(self, other: "Drawn") -> "Drawn":
        """The arms of both, these first; what both describe is as here."""
        groups = {
            title: tuple(dict.fromkeys((*self.groups.get(title, ()), *other.groups.get(title, ()))))
            for title in (*self.groups, *(t for t in other.groups if t not in self.groups))
        }
        return Drawn(
            styles={
                **self.styles,
                **{k: v for k, v in other.styles.items() if k not in self.styles},
            },
            groups=groups,
            factors={**other.factors, **self.factors},
            typical=tuple(dict.fromkeys((*self.typical, *other.typical))),
            swept=tuple(dict.fromkeys((*self.swept, *other.swept))),
            baseline=tuple(dict.fromkeys((*self.baseline, *other.baseline))),
        )

    def as_json(self) -> dict[str, Any]:
        """A JSON value, from which `from_json` makes an equal one."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "styles": {arm: style._asdict() for arm, style in self.styles.items()},
        }

    @classmethod
    @checked
    def from_json(cls, value: Mapping[str, Any]) -> "Drawn":
        """The inverse of `as_json`."""
        missing = [field.name for field in dataclasses.fields(cls) if field.name not in value]
        if missing:
            raise ValueError(f"value must be what as_json gives; missing: {missing}.")

        def style(fields: Mapping[str, Any]) -> Style:
            marker = fields["marker"]
            return Style(
                **{**fields, "marker": tuple(marker) if isinstance(marker, list) else marker}
            )

        return cls(
            styles={arm: style(fields) for arm, fields in value["styles"].items()},
            groups={title: tuple(arms) for title, arms in value["groups"].items()},
            factors=value["factors"],
            **{name: tuple(value[name]) for name in ("typical", "swept", "baseline")},
        )


UNKNOWN = Drawn()
"""Nothing is said of any arm."""


def regime_name(regime: str) -> str:
    """The name of a regime as people write it."""
    return {"linear": "linear", "relu": "ReLU"}.get(regime, regime)


def panel_name(dataset: str, regime: str, separator: str = ", ") -> str:
    """Data set and regime, in words."""
    return f"{titles.title(dataset)}{separator}{regime_name(regime)}"

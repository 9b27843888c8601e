"""The words that rows, claims and figures share: columns, and the geometries of attacks.

A row of a study's table is one network (data set, regime, arm, initial scale, seed) at one recorded
step under one attack. What is asked of an attack stands in columns of its own: its ``geometry`` (a
key of `GEOMETRIES`), its ``method`` and its ``box``; ``attack`` is the two first in one word.
"""

import re
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

from freqbias._checked import checked, columns

if TYPE_CHECKING:  # it is slow to import
    import pandas as pd

NETWORK = ("dataset", "regime", "arm", "init_scale", "seed")
"""The columns that name one network."""
REQUIRED = (
    *("dataset", "regime", "arm", "architecture", "kernel", "kernel_size", "depth", "init_scale"),
    *("seed", "attack", "geometry", "method", "box", "status", "mean_frequency", "num_images"),
    "final",
)
"""The columns that figures and reports need."""
Rows: TypeAlias = Annotated[
    "pd.DataFrame", columns(*NETWORK, "geometry", "status", "mean_frequency")
]
"""A table of a study, with the columns that no figure and no claim can do without."""
FREQUENCY = "mean_frequency"
LOG_TILT = "log_tilt_flipped"
"""Mean log amplitude beyond 1/4 cycle per pixel less that below, of grey perturbations, over those
that succeed."""
IN_DATA = "mean_frequency_in_data"
"""The same of the part of a perturbation in the directions in which the training images vary."""
BAND_EDGES = tuple(index / 16 for index in range(8))
"""Where the bands of a course begin, cycles per pixel; the last holds all that is beyond."""
GRADIENT = tuple(f"gradient_rms_{index}" for index in range(len(BAND_EDGES)))
"""Of each band the root mean square, over its coefficients, of the margin's input gradient."""
DISTANCE = tuple(f"beta_distance_{index}" for index in range(len(BAND_EDGES)))
"""The same of what beta still has to go to where it is in the end; linear nets only."""


LIMIT = ("limit_separable", "limit_gradient_norm", "limit_mean_frequency", "limit_distance")
"""Of linear networks trained on all images: whether cross-entropy has no minimum (1) or has one
(0); its certificate, the norm of the gradient there; the mean frequency of the predictor there;
and the distance of the network from it."""


class Geometry(NamedTuple):
    """What the budget of an attack is measured in, and how it enters figures and verdicts."""

    label: str
    role: Literal["primary", "second", "box"]  # "box": the primary one, with the other box
    note: str = ""  # beside the label, after the method


GEOMETRIES = {
    "l2": Geometry("L2", "primary"),
    "l2-free": Geometry("L2", "box", "no box"),
    "l2-boxed": Geometry("L2", "box", "in the box"),
    "linf": Geometry("L∞", "second"),
    "linf-long": Geometry("L∞", "second", "in the box, long"),
}
"""The geometries by name, in the order of tables; "box" is primary but for the box [0, 1]."""
METHODS = {"closed_form": "closed form", "pgd": "PGD"}
"""What finds the perturbations, the exact one first."""


@checked
def geometry(name: str) -> Geometry:
    """The geometry of that name; one that is not known is a second opinion under its own name."""
    return GEOMETRIES.get(name, Geometry(name, "second"))


@checked
def attack_label(geometry_name: str, method: str = "") -> str:
    """An attack as people write it, e.g. ``L2, PGD, no box``."""
    of = geometry(geometry_name)
    return ", ".join(filter(None, (of.label, METHODS.get(method, method), of.note)))


@checked
def attack_rank(geometry_name: str, method: str = "") -> tuple[int, int]:
    """The place of an attack in tables: by geometry, then the exact method first, unknown last."""
    geometries, methods = [*GEOMETRIES, geometry_name], [*METHODS, method]
    return geometries.index(geometry_name), methods.index(method)


class ArrayKey(NamedTuple):
    """What an array of ``spectra.npz`` shows; as text ``DATASET/REGIME/ARM/SCALE.FIELD``."""

    dataset: str
    regime: str
    arm: str
    init_scale: float
    field: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.regime}/{self.arm}/{self.init_scale:g}.{self.field}"


_ARRAY_KEY = re.compile(r"([^/]+)/([^/]+)/([^/]+)/(\d+(?:\.\d+)?(?:e[+-]\d+)?)\.([a-z_][a-z0-9_]*)")


@checked
def parse_array_key(name: str) -> ArrayKey | None:
    """The key of which a name is the text; None if it is the text of none."""
    match = _ARRAY_KEY.fullmatch(name)
    return ArrayKey(match[1], match[2], match[3], float(match[4]), match[5]) if match else None

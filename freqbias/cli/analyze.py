"""Which frequencies the adversarial perturbations of a network of your own live in: one page.

    freqbias analyze --network=my_networks:resnet --images=photos --size=224 --page=report.html

--network names a function without arguments in a module that can be imported from here. It returns
(apply_fn, params), what an adapter of freqbias.interop returns, an Ensemble, or a torch module in
evaluation mode (then --mean, --std and --pixel_max say what it expects). Several, separated by
commas, are compared on the same images.

--images names a packaged data set, of which the test images are taken, or a folder of pictures: a
folder for each class, or files that end in their label (name_7.png).
"""

import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
from absl import flags as absl_flags

from freqbias import analysis, data, interop
from freqbias.cli import flags

NETWORK = absl_flags.DEFINE_list(
    "network", None, "module:function, or several of them, separated by commas. Required."
)
IMAGES = absl_flags.DEFINE_string(
    "images", None, "Folder of pictures, or the name of a packaged data set. Required."
)
SIZE = absl_flags.DEFINE_integer(
    "size", None, "Side of the pictures of a folder in pixels: resized, then cut about the centre."
)
MAX_IMAGES = absl_flags.DEFINE_integer(
    "max_images", None, "Images used at most; default: 128 of --budget=quick, all of thorough."
)
PAGE = absl_flags.DEFINE_string("page", "report.html", "File of the page.")
TABLE = absl_flags.DEFINE_string("table", None, "File of the table (CSV); default: none.")
BUDGET = absl_flags.DEFINE_enum(
    "budget", "quick", list(analysis.BUDGETS), "Steps, images, and whether plane waves are tried."
)
BATCH_SIZE = absl_flags.DEFINE_integer("batch_size", 32, "Images at once; memory grows with it.")
MEAN = absl_flags.DEFINE_list(
    "mean", None, "Of a torch module: what is subtracted from each channel, in its units."
)
STD = absl_flags.DEFINE_list(
    "std", None, "Of a torch module: what each channel is divided by, in its units."
)
PIXEL_MAX = absl_flags.DEFINE_float("pixel_max", 1.0, "Of a torch module: its white, 1 or 255.")


class Plan(NamedTuple):
    """A checked request."""

    networks: dict[str, Any]
    images: data.Split
    class_names: tuple[str, ...] | None
    page: Path
    table: Path | None


def prepare() -> Plan:
    """Checks the flags, loads the images, and makes the networks."""
    if not NETWORK.value:
        raise ValueError("network must be module:function; got none.")
    if not IMAGES.value:
        raise ValueError(
            "images must name a folder of pictures or a data set "
            f"({', '.join(data.names())}); got none."
        )
    page = Path(PAGE.value)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"page must end in .html; got {PAGE.value!r}.")
    table = None if TABLE.value is None else Path(TABLE.value)
    for path in (page, table):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.absolute().parent}.")
    images, class_names = _images(IMAGES.value)
    networks = {text: network(text) for text in NETWORK.value}
    if len(networks) < len(NETWORK.value):
        raise ValueError(f"network must not repeat; got {','.join(NETWORK.value)}.")
    return Plan(networks, images, class_names, page, table)


def _images(name: str) -> tuple[data.Split, tuple[str, ...] | None]:
    if Path(name).is_dir():
        split, names = data.load_pictures(name, size=SIZE.value, num_images=MAX_IMAGES.value)
        return split, names or None
    if "/" in name or Path(name).exists():
        raise FileNotFoundError(f"images must name a folder of pictures; got {name}.")
    dataset = data.load(name)
    return dataset.test[: MAX_IMAGES.value], dataset.class_names


def network(text: str) -> Any:
    """What the function at ``module:function`` returns, adapted if it is a torch module.

    Raises:
      ValueError: there is no such function, or it returns no network.
    """
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ValueError(f"network must be module:function; got {text!r}.")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"network must name a module; {text!r}: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"network must name a function of {module_name}; it has no {name!r}.")
    made = function()
    if "from_torch" not in interop.how_to_adapt(made):
        return made
    return interop.from_torch(
        made,
        mean=None if MEAN.value is None else [float(number) for number in MEAN.value],
        std=None if STD.value is None else flags.parse_floats("std", STD.value),
        pixel_max=PIXEL_MAX.value,
    )


def execute(plan: Plan) -> None:
    """Analyses, prints, and writes the page."""
    budget = cast(analysis.BudgetName, BUDGET.value)
    try:
        found = analysis.analyze(
            plan.networks,
            images=plan.images.images,
            labels=plan.images.labels,
            key=jax.random.key(flags.RANDOM_KEY.value or 0),
            budget=budget,
            batch_size=BATCH_SIZE.value,
            class_names=plan.class_names,
        )
    except interop.UnfitError as error:  # the network is no such thing: no defect
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(found)
    if plan.table is not None:
        found.table().to_csv(plan.table, index=False)
    print(f"page: {found.save(plan.page)}")


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=("random_key", "compilation_cache"))

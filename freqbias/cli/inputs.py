"""Networks and images that a command is given, from its flags' texts."""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from absl import flags as absl_flags

from freqbias import _checks, analysis, data, interop, models
from freqbias.cli import flags

NETWORK = absl_flags.DEFINE_multi_string(
    "network", None, "[[FAMILY/]NAME=]SPEC of a network; repeat the flag for several. Required."
)
IMAGES = absl_flags.DEFINE_string(
    "images", None, "Folder of pictures, .npz file, or name of a packaged data set. Required."
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
    families: dict[str, str]  # of each network; empty where none was named
    images: data.Split
    class_names: tuple[str, ...] | None
    page: Path
    table: Path | None


def prepare(*, several: bool = False) -> Plan:
    """Checks the flags, loads the images, and makes the networks: two or more if ``several``."""
    if not NETWORK.value:
        raise ValueError("network must be [NAME=]SPEC; got none.")
    if not IMAGES.value:
        raise ValueError(
            "images must name a folder of pictures, an .npz file or a data set "
            f"({', '.join(data.names())}); got none."
        )
    page = Path(PAGE.value)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"page must end in .html; got {PAGE.value!r}.")
    table = None if TABLE.value is None else Path(TABLE.value)
    for path in (page, table):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.absolute().parent}.")
    specs = {}
    families = {}
    for family, name, spec in map(parse, separated(NETWORK.value)):
        if name in specs:
            raise ValueError(f"network must not repeat a name; got {name!r} twice.")
        specs[name] = spec
        if family:
            families[name] = family
    if families and len(families) < len(specs):
        bare = next(name for name in specs if name not in families)
        raise ValueError(f"network must name a family of each or of none; {bare!r} has none.")
    if several and len(set(families.values()) if families else specs) < 2:
        raise ValueError(
            "network must name two or more to compare, of different families if these are named; "
            f"got {', '.join(NETWORK.value)}."
        )
    if MAX_IMAGES.value is not None:
        _checks.positive_int("max_images", MAX_IMAGES.value)
    images, class_names = pictures(IMAGES.value, size=SIZE.value, max_images=MAX_IMAGES.value)
    shape = images.images.shape[1:]
    networks = {name: network(spec, shape) for name, spec in specs.items()}
    return Plan(networks, families, images, class_names, page, table)


def found(plan: Plan) -> analysis.Analysis:
    """The analysis of a plan; what is no network ends the program with one line."""
    try:
        return analysis.analyze(
            plan.networks,
            images=plan.images.images,
            labels=plan.images.labels,
            key=jax.random.key(flags.RANDOM_KEY.value or 0),
            budget=cast(analysis.BudgetName, BUDGET.value),
            batch_size=BATCH_SIZE.value,
            class_names=plan.class_names,
            families=plan.families or None,
        )
    except interop.UnfitError as error:  # the network is no such thing: no defect
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


# --- Images ---------------------------------------------------------------------------------------


def pictures(
    name: str, *, size: int | None, max_images: int | None
) -> tuple[data.Split, tuple[str, ...] | None]:
    """Labelled images and the names of their classes, if they have any.

    Of a folder of some classes of ImageNet, named by WordNet's numbers, labels are those of
    ImageNet.

    Raises:
      ValueError, OSError: nothing of this name, or it does not fit.
    """
    path = Path(name)
    if path.is_dir():
        split, names = data.load_pictures(name, size=size, num_images=max_images)
        if names and len(names) < 1000 and all(re.fullmatch(r"n\d{8}", one) for one in names):
            return data.Split(split.images, interop.imagenet_labels(names)[split.labels]), None
        return split, names or None
    if path.suffix == ".npz" and path.is_file():
        return _archive(path)[:max_images], None
    if "/" in name or path.exists() or path.suffix:
        raise FileNotFoundError(f"images must name a folder of pictures or .npz file; got {name}.")
    data.check_name(name, argument="images")
    dataset = data.load(name)
    return dataset.test[:max_images], dataset.class_names


def _archive(path: Path) -> data.Split:
    found = interop.read_weights(path)
    missing = {"images", "labels"} - set(found)
    if missing:
        raise ValueError(
            f"images must be an .npz file with the arrays images [N, H, W, C] and labels [N]; "
            f"{path} has {', '.join(found) or 'none'}."
        )
    images = found["images"]
    images = images if images.dtype == np.uint8 else interop.as_images(images)
    return data.Split(images, interop.as_labels(found["labels"], len(images)))


# --- Networks -------------------------------------------------------------------------------------


def separated(texts: Sequence[str]) -> list[str]:
    """Texts, and what commas outside parentheses separate in them."""
    return [part for text in texts for part in re.split(r",(?![^(]*\))", text)]


def parse(text: str) -> tuple[str, str, str]:
    """Family ("" if none), name and specification of [[FAMILY/]NAME=]SPEC."""
    name, equals, spec = text.partition("=")
    if not equals or any(sign in name for sign in ":("):  # "=" within a specification
        return "", text, text
    family, slash, own = name.rpartition("/")
    if not spec or not own.strip() or (slash and not family.strip()):
        raise ValueError(f"network must be [[FAMILY/]NAME=]SPEC; got {text!r}.")
    return family, own, spec


def network(spec: str, image_shape: Sequence[int]) -> Any:
    """The network that a specification names.

    * ``timm:NAME``, with weights of its hub; ``timm:NAME@FILE``; ``timm:NAME@random``.
    * ``zoo:NAME(setting=value, ...)@FILE``: a network of `freqbias.models` with weights.
    * ``module:function`` or ``file.py:function``, called without arguments, returns one.

    Args:
      spec: as above.
      image_shape: (H, W, C) of the images, for the shapes of parameters.

    Raises:
      ValueError: there is no such network.
      ImportError, OSError: a package, or a file of weights, is missing.
    """
    kind, _, rest = spec.partition(":")
    if kind == "timm":
        name, _, weights = rest.partition("@")
        return interop.from_timm(name, weights=weights or "hub")
    if kind == "zoo":
        return _zoo(rest, image_shape)
    made = _function(spec)()
    if "from_torch" not in interop.how_to_adapt(made):
        return made
    return interop.from_torch(
        made,
        mean=None if MEAN.value is None else [float(number) for number in MEAN.value],
        std=None if STD.value is None else flags.parse_floats("std", STD.value),
        pixel_max=PIXEL_MAX.value,
    )


def _zoo(text: str, image_shape: Sequence[int]) -> interop.Network:
    call, at, weights = text.rpartition("@")
    name, parenthesis, rest = call.partition("(")
    try:
        if not at or (parenthesis and not rest.endswith(")")):
            raise ValueError
        tree = ast.parse(f"f({rest.removesuffix(')')})", mode="eval").body
        settings = {one.arg: ast.literal_eval(one.value) for one in tree.keywords}  # type: ignore[attr-defined]
        if tree.args or None in settings:  # type: ignore[attr-defined]
            raise ValueError
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            "network must be zoo:NAME(setting=value, ...)@FILE, e.g. "
            f"zoo:vit(num_classes=1000, patch_size=16)@vit.safetensors; got 'zoo:{text}'."
        ) from error
    try:
        model = models.create(name, **settings)  # type: ignore[arg-type]
    except TypeError as error:  # Python's own words
        raise ValueError(f"network zoo:{name} has no such settings: {error}.") from error
    params = interop.load_weights(weights, model, image_shape=image_shape)
    return interop.Network(model.apply, params)


def _function(spec: str) -> Callable[[], Any]:
    """The function at ``module:function`` or ``file.py:function``."""
    module_name, _, name = spec.rpartition(":")
    if not module_name or not name:
        raise ValueError(
            "network must be module:function, file.py:function, timm:NAME or zoo:NAME(...)@FILE; "
            f"got {spec!r}."
        )
    function = getattr(_module(module_name, spec), name, None)
    if not callable(function):
        raise ValueError(f"network must name a function of {module_name}; it has no {name!r}.")
    return function


def _module(name: str, spec: str) -> Any:
    if name.endswith(".py"):
        found = importlib.util.spec_from_file_location(Path(name).stem, name)
        if found is None or found.loader is None or not Path(name).is_file():
            raise FileNotFoundError(f"network must name a file; there is no {name}.")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"network must name a module; {spec!r}: {error}.") from error

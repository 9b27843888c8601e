"""What a run's ``study.json`` says of its study: how arms are drawn, its claims, its names.

Whoever reads a finished run, the report first of all, knows arms, claims and titles from here.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from freqbias import distributed, runs
from freqbias.plotting import Drawn
from freqbias.study import claims
from freqbias.study.claims import Registry

Kind: TypeAlias = Literal["sweep", "linear"]
FILE = "study.json"


class Description(NamedTuple):
    """The contents of ``study.json``."""

    kind: Kind  # which study it is: attacks on trained networks, or linear networks over time
    drawn: Drawn
    registry: Registry
    figures: Sequence[Sequence[str]] = ()  # (column, title, unit) of figures of their own
    titles: Mapping[str, str] = {}  # data set -> name, where the name itself does not say it


def write(
    run: Path,
    kind: Kind,
    drawn: Drawn,
    registry: Registry,
    *,
    figures: Sequence[Sequence[str]] = (),
    titles: Mapping[str, str] | None = None,
) -> None:
    """Writes ``study.json`` into a run; of several processes the first does."""
    if not distributed.is_first():
        return
    found = {
        "kind": kind,
        "drawn": drawn.as_json(),
        "figures": [list(figure) for figure in figures],
        "titles": dict(titles or {}),
        "registry": claims.as_content(registry),
    }
    runs.save_json(run, FILE, found)


def read(run: str | os.PathLike) -> Description:
    """What a run says of its study.

    Raises:
      FileNotFoundError: ``run`` holds no run of a study.
    """
    found = runs.load_json(run, FILE)
    return Description(
        kind=found.get("kind", "sweep"),
        drawn=Drawn.from_json(found["drawn"]),
        registry=claims.parse_registry(found["registry"]),
        figures=found["figures"],
        titles=found.get("titles", {}),
    )


def close_part(run: Path, shard: tuple[int, int]) -> None:
    """Ends a run that is part i of n: writes its rows, and says how the parts are joined."""
    runs.write_rows(run)
    part = f"part {shard[0]} of {shard[1]}: {run}"
    print(f"{part}; join: freqbias merge --shards=FOLDER,... --out=FOLDER")


def join(shards: Sequence[str | os.PathLike], run: Path) -> None:
    """Writes the ``study.json`` of a run that was merged from shards of one study."""
    first, *others = map(read, shards)
    drawn, registry, titles = first.drawn, first.registry, dict(first.titles)
    for other in others:
        drawn = drawn.joined(other.drawn)
        registry = registry.joined(other.registry)
        titles = {**other.titles, **titles}
    write(run, first.kind, drawn, registry, figures=first.figures, titles=titles)

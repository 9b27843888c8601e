"""Joins the parts of a study, then judges, draws and reports as if it had been run at once.

A study that was split over machines (`linear_bias` likewise):

    freqbias kernel_size --shard=1/2 --out=part1    # on one machine
    freqbias kernel_size --shard=2/2 --out=part2    # on another
    freqbias merge --shards=part1,part2 --out=results/kernel_size

or one that was run on some data sets, then on others:

    freqbias reproduce --preset=standard --out=results/packaged
    freqbias reproduce --preset=standard --datasets=cifar10 --out=results/cifar10
    freqbias merge --shards=results/packaged,results/cifar10 --out=results/both
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from freqbias import runs
from freqbias.cli import flags
from freqbias.study import finished

SHARDS = absl_flags.DEFINE_list(
    "shards",
    None,
    "Folders of the parts: all of one sweep, or the same sweep on different data sets.",
)


class Plan(NamedTuple):
    """A checked request."""

    shards: tuple[Path, ...]
    out: Path
    together: dict[str, Any]  # of the config of all parts


def prepare() -> Plan:
    """Checks the flags: every part of one sweep must be there, once."""
    if not SHARDS.value:
        raise ValueError(
            "shards must name the folders of the parts, separated by commas; got none."
        )
    if not flags.OUT.value:
        raise ValueError("out must name a folder; got none.")
    shards = tuple(map(Path, SHARDS.value))
    try:
        configs = [runs.read_config(shard)["config"] for shard in shards]
    except OSError as error:
        raise FileNotFoundError(f"shards must be folders of runs: {error}") from error
    found = [config.pop("shard", None) for config in configs]
    if all(found):
        together = _parts_of_one(found)
    elif any(found):
        raise ValueError(
            "shards must all be parts of a sweep, or all be whole; "
            f"{shards[found.index(None)]} is none."
        )
    else:
        together = _data_sets_apart(shards, configs)
    for shard, config in zip(shards, configs, strict=True):
        differing = sorted(key for key in config if config[key] != configs[0].get(key))
        if differing or config.keys() != configs[0].keys():
            raise ValueError(
                f"shards must be parts of one sweep; {shard} differs from {shards[0]} in "
                f"{', '.join(differing) or 'its settings'}."
            )
    return Plan(shards, Path(flags.OUT.value), together)


def _parts_of_one(found: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Parts (i, n) of one sweep share all of its config."""
    number = found[0][1]
    if sorted(map(tuple, found)) != [(index + 1, number) for index in range(number)]:
        parts = ", ".join(f"{i}/{n}" for i, n in found)
        raise ValueError(f"shards must be all parts of one sweep, each once; got {parts}.")
    return {}


def _data_sets_apart(shards: Sequence[Path], configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What runs on different data sets need not share is taken from the configs and joined."""
    seen: dict[str, Path] = {}
    claims: list[str] = []
    settings: dict[str, Mapping[str, bool]] = {}
    for shard, config in zip(shards, configs, strict=True):
        if "datasets" not in config or "settings" not in config:
            raise ValueError(f"shards must be parts of a sweep; {shard} is none.")
        config.pop("shards", None)  # of a run that was joined before
        for name in config.pop("datasets"):
            if name in seen:
                raise ValueError(
                    "shards must be parts of one sweep, or runs on different data sets; "
                    f"{name} is in {seen[name]} and {shard}."
                )
            seen[name] = shard
        claims += [claim for claim in config.pop("claims", ()) if claim not in claims]
        settings |= config.pop("settings")
    return {"datasets": list(seen), "claims": claims, "settings": settings}


def execute(plan: Plan) -> None:
    """Joins, then finishes as a sweep that was run at once."""
    overwrite = flags.OVERWRITE.value
    run = runs.merge(plan.shards, plan.out, config=plan.together, overwrite=overwrite)
    finished.join(plan.shards, run)


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=("out", "overwrite", "compilation_cache"))

"""Joins the parts of a sweep that was split over machines, then judges, draws and reports.

python -m experiments.kernel_size --shard=1/2 --out=part1    # on one machine
python -m experiments.kernel_size --shard=2/2 --out=part2    # on another
python -m experiments.merge --shards=part1,part2 --out=results/kernel_size
"""

from pathlib import Path
from typing import NamedTuple

from absl import flags

from experiments import common, sweep
from freqbias import runs

SHARDS = flags.DEFINE_list("shards", None, "Folders of the parts, all of one sweep.")


class Plan(NamedTuple):
    """A checked request."""

    shards: tuple[Path, ...]
    out: Path


def prepare() -> Plan:
    """Checks the flags: every part of one sweep must be there, once."""
    if not SHARDS.value:
        raise ValueError(
            "shards must name the folders of the parts, separated by commas; got none."
        )
    if not common.OUT.value:
        raise ValueError("out must name a folder; got none.")
    shards = tuple(map(Path, SHARDS.value))
    configs = [runs.read_config(shard)["config"] for shard in shards]
    found = [config.pop("shard", None) for config in configs]
    if None in found:
        raise ValueError(f"shards must be parts of a sweep; {shards[found.index(None)]} is none.")
    number = found[0][1]
    if sorted(map(tuple, found)) != [(index + 1, number) for index in range(number)]:
        parts = ", ".join(f"{i}/{n}" for i, n in found)
        raise ValueError(f"shards must be all parts of one sweep, each once; got {parts}.")
    for shard, config in zip(shards, configs, strict=True):
        differing = sorted(key for key in config if config[key] != configs[0].get(key))
        if differing or config.keys() != configs[0].keys():
            raise ValueError(
                f"shards must be parts of one sweep; {shard} differs from {shards[0]} in "
                f"{', '.join(differing) or 'its settings'}."
            )
    return Plan(shards, Path(common.OUT.value))


def execute(plan: Plan) -> None:
    """Joins, then finishes as a sweep that was run at once."""
    sweep.finish(runs.merge(plan.shards, plan.out, overwrite=common.OVERWRITE.value))


if __name__ == "__main__":
    common.run(prepare, execute)

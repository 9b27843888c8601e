"""Where the time of an attack or a training goes: seconds of each compiled kernel.

    taskset -c 0 python -m benchmarks.profile --suite=pgd --network=fc_1x64
    taskset -c 0 python -m benchmarks.profile --suite=training --network=conv_7_1x8 --batch=128

One network of the suite, compiled beforehand, under JAX's profiler. On one core kernels run one
after the other, so that their times add up; ``ynn_fusion`` are products and sums, ``while`` is a
loop with all that it contains.
"""

import collections
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd
from absl import app, flags

from benchmarks import networks, pgd, training

_KERNEL = re.compile(r"[a-z_\-]+(\.\d+)?(\.clone)*(\.\d+)*")  # XLA's names; others are Python's
_NOT_KERNELS = ("try_to_block", "trace", "trace_to_jaxpr_nounits", "execute")


def workload(suite: str, network: str, batch_size: int, num_steps: int) -> Callable[[], Any]:
    """What is profiled, as a function without arguments."""
    if suite == "training":
        task = training.Task(network, num_seeds=1, batch_size=batch_size, num_steps=num_steps)
        return lambda: task.ours(1, num_steps).params
    _, num_images, _ = pgd.NETWORKS.get(network, (1, 128, 1))
    problem = networks.problem(network, num_seeds=1, num_images=num_images)
    attack = pgd.attack(num_steps, 2.5 * pgd.EPSILON / num_steps)
    inputs = problem.images, problem.labels
    return lambda: problem.nets.attack(attack, *inputs, key=jax.random.key(0)).delta


def kernels(run: Callable[[], Any]) -> pd.DataFrame:
    """Columns kernel, calls, milliseconds, of one call of ``run``, in descending order."""
    jax.block_until_ready(run())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            jax.block_until_ready(run())
        (path,) = Path(folder).rglob("perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))
    events = events["traceEvents"] if isinstance(events, dict) else events
    spent: dict[str, list[float]] = collections.defaultdict(list)
    for event in events:
        name = event.get("name", "")
        if event.get("ph") == "X" and _KERNEL.fullmatch(name) and name not in _NOT_KERNELS:
            spent[name].append(event["dur"] / 1e3)
    rows = [(name, len(times), sum(times)) for name, times in spent.items()]
    table = pd.DataFrame(rows, columns=["kernel", "calls", "milliseconds"])
    return table.sort_values("milliseconds", ascending=False, ignore_index=True)


def main(argv: Sequence[str]) -> None:
    """Prints the kernels that take most."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    chosen = flags.FLAGS
    table = kernels(workload(chosen.suite, chosen.network, chosen.batch, chosen.steps))
    outer = table["kernel"].str.startswith("while")
    print(f"{table.loc[~outer, 'milliseconds'].sum():.1f} ms in kernels, loops left out")
    table["us_per_step"] = 1e3 * table["milliseconds"] / chosen.steps
    print(table.head(chosen.top).to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":  # here, so that who imports the functions gets no flags
    flags.DEFINE_enum("suite", "pgd", ["pgd", "training"], "What is profiled.")
    flags.DEFINE_string("network", "fc_1x64", "Like fc_1x64 or conv_9_3x16.")
    flags.DEFINE_integer("batch", 128, "Images of a step of training.", lower_bound=1)
    flags.DEFINE_integer("steps", 128, "Of the attack or the training.", lower_bound=1)
    flags.DEFINE_integer("top", 15, "Kernels shown.", lower_bound=1)
    app.run(main)

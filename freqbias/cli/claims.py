"""Judges the rows of a finished run again.

python -m experiments.claims --run=results/quick
"""

from typing import NamedTuple

import pandas as pd
from absl import flags as absl_flags

from freqbias import plotting, runs
from freqbias.cli import flags
from freqbias.study import claims, courses, sweep

MARKDOWN = absl_flags.DEFINE_bool(
    "markdown",
    False,
    "Print the L2 verdicts as a Markdown table: in full on the main data sets, on others counted.",
)


class Plan(NamedTuple):
    """A checked request."""

    rows: pd.DataFrame
    registry: claims.Registry


def prepare() -> Plan:
    """Reads the rows of a finished run and the claims it was made for."""
    registry = sweep.registry_of(flags.RUN.value)
    rows = runs.read_rows(flags.RUN.value)
    return Plan(courses.with_curves(rows, registry.accuracy_floor), registry)


def execute(plan: Plan) -> None:
    """Prints the verdicts."""
    records = claims.judge(plan.rows[plan.rows["final"]], plan.registry)
    read = claims.readings(plan.rows, plan.registry)
    found = claims.judge_independence(records, plan.registry)
    if MARKDOWN.value:
        print(claims.as_markdown(records, plotting.main_datasets(plan.rows)))
    else:
        print(claims.as_table(records))
    if found:
        print("\n" + claims.independence_table(found, markdown=MARKDOWN.value))
    if read:
        print("\n" + claims.readings_table(read, markdown=MARKDOWN.value))


def main() -> None:
    """The binary."""
    flags.run(prepare, execute)

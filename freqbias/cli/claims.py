"""Judges the rows of a finished run again.

freqbias claims --run=results/quick
"""

from typing import NamedTuple

import pandas as pd
from absl import flags as absl_flags

from freqbias import plotting
from freqbias.cli import flags
from freqbias.study import claims, finished

MARKDOWN = absl_flags.DEFINE_bool(
    "markdown",
    False,
    "Print the L2 verdicts as a Markdown table: in full on the main data sets, on others counted.",
)


class Plan(NamedTuple):
    """A checked request."""

    rows: pd.DataFrame
    verdicts: claims.Verdicts


def prepare() -> Plan:
    """Reads the rows of a finished run, and judges them by the claims it was made for."""
    run = flags.RUN.value
    return Plan(finished.judged_rows(run), finished.verdicts(run))


def execute(plan: Plan) -> None:
    """Prints the verdicts."""
    own = plotting.main_datasets(plan.rows)
    print(claims.as_text(plan.verdicts, markdown=MARKDOWN.value, datasets=own))


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=("run", "compilation_cache"))

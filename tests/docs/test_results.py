"""The tables of a committed run's page are what the command beside them prints of its rows."""

from pathlib import Path

import pytest

from freqbias import plotting
from freqbias.study import claims, finished

RESULTS = Path(__file__).parents[2] / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/README.md"))


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_tables_of_a_page_are_printed_by_its_command(run):
    """The verdicts whole; of the other tables some lines."""
    page = (run / "README.md").read_text()
    assert f"--run=results/{run.name}" in page
    datasets = plotting.main_datasets(finished.judged_rows(run))
    printed = claims.as_text(finished.verdicts(run), markdown=True, datasets=datasets)
    whole, *_ = printed.split("\n\n")
    assert whole in page and len(whole.splitlines()) > 10
    shown = [line for line in page.splitlines() if line.startswith("|")]
    assert set(shown) <= set(printed.splitlines())

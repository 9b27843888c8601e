"""The tables of a committed run's page are what the command beside them prints of its rows."""

from pathlib import Path

import pytest

from freqbias import plotting
from freqbias.study import claims, finished

RESULTS = Path(__file__).parents[2] / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/README.md"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_page_has_every_line_that_its_command_prints(run):
    page = (run / "README.md").read_text()
    assert f"python -m experiments.claims --run=results/{run.name} --markdown" in page.replace(
        "--run=results/run", f"--run=results/{run.name}"
    )
    datasets = plotting.main_datasets(finished.judged_rows(run))
    printed = claims.as_text(finished.verdicts(run), markdown=True, datasets=datasets)
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(lines) > 10
    assert not [line for line in lines if line not in page]

"""The study that the documents show runs, and its foreign arm stands beside the library's own."""

import importlib.util
import json
from pathlib import Path

import pytest

from freqbias import runs
from freqbias.study import arms

SCRIPT = Path(__file__).parents[2] / "docs" / "own_study.py"


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("own_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("own") / "run"
    module.main(out)
    yield out
    arms._FAMILIES.pop("my_net")


def test_it_is_short():
    assert len(SCRIPT.read_text().splitlines()) <= 45


def test_rows_verdict_figures_and_page(own_run):
    rows = runs.read_rows(own_run)
    assert set(rows["arm"]) == {"my_net_d1", "conv_k3_d1", "fc_d1"}
    assert set(rows["status"]) == {"ok"}
    assert (rows.groupby("arm")["test_accuracy"].mean() > 0.6).all()  # it has learned the stripes
    (claim,) = json.loads((own_run / "claims.json").read_text())["claims"]
    assert claim["id"] == "M1"
    assert claim["estimate"] == pytest.approx(
        rows[rows.arm == "my_net_d1"]["mean_frequency"].mean()
        - rows[rows.arm == "fc_d1"]["mean_frequency"].mean()
    )
    page = (own_run / "report.html").read_text()
    for words in ("My net", "Fully connected", "M1", "My net above FC"):
        assert words in page
    assert (own_run / "figures" / "arm_overview.png").exists()


def test_a_name_of_the_library_is_not_replaced():
    family = arms.family("fc")
    with pytest.raises(ValueError, match="name must not be one of the library's"):
        arms.register(family)
    with pytest.raises(ValueError, match="no digit first; got 'my net'"):
        arms.register(arms.Family("my net", "My net", "#000000", "o", family.build))

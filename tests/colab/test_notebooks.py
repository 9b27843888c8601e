"""Every notebook runs from top to bottom, on a small budget."""

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "colab").glob("*.ipynb"))
SMALL = """DATASET = "digits"
SEEDS = range(2)
NUM_IMAGES = 128
EPOCHS = 1
NUM_ATTACKED = 8
CHANNELS = 2
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    notebook = json.loads(path.read_text())
    namespace = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [], "notebooks are kept without outputs"
        is_budget = "parameters" in cell["metadata"].get("tags", ())
        source = SMALL if is_budget else "".join(cell["source"])
        exec(compile(source, path.name, "exec"), namespace)
        if is_budget:  # the small budget sets what the notebook's own sets
            own: dict = {}
            exec("".join(cell["source"]), own)
            assert own.keys() <= namespace.keys()
    assert "white noise" in capsys.readouterr().out


def test_there_are_notebooks():
    assert NOTEBOOKS

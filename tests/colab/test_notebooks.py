"""Every notebook is its text twin, installs the library first, runs, and ends with a sentence."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import matplotlib
import pytest

COLAB = Path(__file__).parents[2] / "colab"
SPEC = importlib.util.spec_from_file_location("build", COLAB / "build.py")
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)
NAMES = [path.stem for path in build.twins()]


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """Notebooks run in an empty folder, and figures are kept as nobody's."""
    matplotlib.use("Agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: matplotlib.pyplot.close("all"))
    monkeypatch.chdir(tmp_path)


def code_of(name):
    notebook = json.loads((COLAB / f"{name}.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(source, namespace):
    """Runs a cell; what its last line shows must be a table, a page or nothing."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
        assert value is None or hasattr(value, "_repr_html_"), f"shows a raw {type(value).__name__}"
    else:
        exec(compile(ast.Module([last], []), "cell", "exec"), namespace)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_ends_with_a_sentence_that_it_computed(name, shown, capsys):
    _, *cells = code_of(name)
    namespace = {}
    for source in cells:
        capsys.readouterr()
        run(source.replace("SMALL = False", "SMALL = True"), namespace)
        printed = capsys.readouterr().out
        assert not re.search(r"\w+\((\w+=|array)|^\(.*\)$", printed, re.MULTILINE), printed
    assert namespace["SMALL"] is True
    sentence = printed.strip().splitlines()[-1]
    assert re.fullmatch(r"[A-Z0-9].* .*\.", sentence)
    assert re.search(r"\d", sentence)
    assert "nan" not in sentence


@pytest.mark.parametrize("name", NAMES)
def test_it_is_its_twin_and_installs_the_library_first(name):
    twin = (COLAB / f"{name}.py").read_text()
    assert (COLAB / f"{name}.ipynb").read_text() == build.written(twin), "run colab/build.py"
    sources = [source for _, source in build.cells(twin)]
    kept = re.sub(r"^# (?=%pip)|^# ?(?!%)", "", twin, flags=re.MULTILINE)
    for source in sources:  # nothing is lost on the way
        for line in source.splitlines():
            assert line.removeprefix("# ") in kept
    install, *others = code_of(name)
    assert re.search(r"^%pip install -q \{SOURCE\}$", install, re.MULTILINE)
    assert not any(re.search("^%", source, re.MULTILINE) for source in others)


def test_cells_are_told_apart():
    text = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\n# so\n# %pip install x\nx\n\n\n# %%\ny"
    assert build.cells(text) == [
        ("markdown", "# Title\n\ntext"),
        ("code", "# so\n%pip install x\nx"),
        ("code", "y"),
    ]


def test_every_notebook_has_a_twin():
    assert {path.stem for path in COLAB.glob("*.ipynb")} == set(NAMES)
    assert len(NAMES) >= 4

"""Every example runs, by itself: those in the docstrings of freqbias, and README's."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(p for p in (ROOT / "freqbias").rglob("*.py") if ">>> " in p.read_text())
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_examples_of_a_module_run(path, tmp_path, monkeypatch):
    name = module_of(path)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    number = sum(len(test.examples) for test in found)
    assert number == len(re.findall(r"^\s*>>> ", path.read_text(), re.MULTILINE))
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


SMALLER = {
    "seeds=range(8)": "seeds=range(2)",
    "num_images=2000": "num_images=128",
    "[:128]": "[:8]",
    "num_steps=40": "num_steps=2",
    "epochs=2": "epochs=1",
}


def test_the_example_of_the_readme_runs(capsys):
    """As printed, but on fewer images and seeds and for fewer steps."""
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for written, smaller in SMALLER.items():
        assert written in text
        text = text.replace(written, smaller)
    exec(compile(text, "README.md", "exec"), {})
    assert "95 % interval over 2 seeds" in capsys.readouterr().out

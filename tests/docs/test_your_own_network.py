"""The page on one's own network: its code runs, and what it says of names holds."""

import re
from pathlib import Path

import numpy as np

from freqbias import analysis, attacks, interop
from freqbias.analysis import budget

PAGE = Path(__file__).parents[2] / "docs" / "your-own-network.md"


def test_its_code_runs(tmp_path, monkeypatch, capsys):
    """Block by block as printed, on few images and by one cheap attack."""
    cheap = {"FGSM": attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)}
    monkeypatch.setattr(budget, "default_attacks", lambda *_: cheap)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        small = block.replace("[:64]", "[:4]").replace("num_steps=40", "num_steps=2")
        exec(compile(small, PAGE.name, "exec"), names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "mean frequency in cycles/pixel with 95 % intervals" in capsys.readouterr().out
    (pgd,) = names["page"].attacks.values()
    assert (pgd.epsilon, pgd.num_steps) == (1.0, 2)


def test_what_it_says_of_adapters_and_budgets_holds():
    text = PAGE.read_text()
    for name in re.findall(r"`(from_\w+)\(", text):
        assert hasattr(interop, name)
    assert {f"from_{kind}" for kind in ("linen", "nnx", "equinox", "haiku", "torch", "function")} \
        <= set(re.findall(r"`(from_\w+)\(", text))  # fmt: skip
    quick, thorough = analysis.BUDGETS["quick"], analysis.BUDGETS["thorough"]
    assert f"the first {quick.num_images}" in text
    assert thorough.num_steps == 5 * quick.num_steps
    assert thorough.minimal_steps == 5 * quick.minimal_steps
    default = budget.default_attacks((32, 32, 3))
    assert np.isclose(default["L2 PGD"].epsilon, 0.5)
    assert default["L-inf PGD"].epsilon == 8 / 255

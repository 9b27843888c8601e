"""A newcomer with a network of each kind: ten lines of theirs at most, one page out."""

import re
import sys
from pathlib import Path

import pytest

from freqbias.analysis import budget
from freqbias.attacks import L2, fgsm

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import browser

DOCS = Path(__file__).parents[2] / "docs"
SCRIPTS = sorted((DOCS / "newcomers").glob("*.py"))
NEEDS = {"from_equinox": "equinox", "from_torch": "torch"}


def kind(path):
    marks = [pytest.mark.peers] if path.stem in NEEDS else []
    return pytest.param(path, marks=marks, id=path.stem)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, eight images and one cheap attack."""
    cheap = {"FGSM": fgsm(L2(), epsilon=0.1, bounds=None)}
    monkeypatch.setattr(budget, "default_attacks", lambda *_: cheap)
    quick = budget.BUDGETS["quick"]._replace(num_images=8)
    monkeypatch.setitem(budget.BUDGETS, "quick", quick)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page_of(path, here):
    pytest.importorskip(NEEDS.get(path.stem, "jax"))
    exec(compile(path.read_text(), path.name, "exec"), {})
    return (here / "report.html").read_text()


def test_there_is_one_for_each_kind():
    kinds = ("equinox", "function", "linen", "nnx", "torch")
    assert [p.stem for p in SCRIPTS] == [f"from_{kind}" for kind in kinds]
    shown = re.findall(
        r"literalinclude\} newcomers/(\w+)\.py", (DOCS / "your-own-network.md").read_text()
    )
    assert sorted(shown) == [p.stem for p in SCRIPTS]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_hides_a_package_from_itself(path):
    # `python docs/newcomers/torch.py` would find itself where it imports torch.
    top = re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
    assert top and not {p.stem for p in SCRIPTS} & set(top)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_ten_lines_are_enough(path):
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 10, len(lines)


@pytest.mark.parametrize("path", [kind(path) for path in SCRIPTS])
def test_one_page_comes_out(path, here):
    page = page_of(path, here)
    for words in ("What was found", "FGSM", "cycles/pixel", "8 images", "white noise"):
        assert words in page, words
    assert page.count("data:image/png;base64,") == 4
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no browser")
@pytest.mark.parametrize("path", [kind(path) for path in SCRIPTS])
def test_the_page_in_a_browser(path, here):
    page = page_of(path, here)
    for dark in (False, True):
        for seen in browser.measure(
            browser.find(), page, here, (390, 820, 1440), dark=dark, on_paper=False
        ).values():
            assert (seen.overflow, seen.missing, seen.wide) == (0, 0, 0)
            assert seen.images == 4
            assert seen.faint == seen.outside == []

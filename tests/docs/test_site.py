"""The site has every public name, and its pages point to what is there."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MODULES = (
    *("freqbias", "freqbias.analysis", "freqbias.attacks", "freqbias.data", "freqbias.inference"),
    *("freqbias.interop", "freqbias.models", "freqbias.ops", "freqbias.plotting"),
    *("freqbias.report", "freqbias.runs", "freqbias.spectral", "freqbias.study"),
    *("freqbias.study.claims", "freqbias.theory"),
)
ELSEWHERE = {"Drawn"}  # of freqbias.report: documented under plotting


def _documented():
    """Modules of which the reference has all members."""
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    return set(re.findall(r"automodule:: (\S+)\n   :members:", pages))


def test_every_public_module_has_a_place_in_the_reference():
    whole = importlib.import_module("freqbias")
    public = {f"freqbias.{name}" for name in whole.__all__
              if type(getattr(whole, name)).__name__ == "module"}  # fmt: skip
    assert public <= _documented()
    assert set(MODULES) - {"freqbias"} <= _documented()


def test_every_page_is_in_a_table_of_contents():
    for folder in (DOCS, DOCS / "reference"):
        index = (folder / "index.md").read_text()
        pages = {page.stem for page in folder.glob("*.md")} - {"index"}
        assert pages <= set(re.findall(r"^(?:reference/)?([\w-]+)$", index, re.MULTILINE)), folder


def test_links_between_pages_lead_somewhere():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def test_the_page_on_the_study_names_every_program():
    page = (DOCS / "study.md").read_text()
    for program in (DOCS.parent / "experiments").glob("[!_]*.py"):
        assert re.search(rf"\b{program.stem}\b", page), program.stem


def test_what_a_page_takes_of_others_is_there():
    """Between the two texts that an include names, in the file that it names."""
    for page in DOCS.glob("*.md"):
        for name, options in re.findall(r"```\{include\} (\S+)\n(.*?)```", page.read_text(), re.S):
            source = (page.parent / name).read_text()
            after, before = (re.findall(rf':{key}: "(.*)"', options) for key in
                             ("start-after", "end-before"))  # fmt: skip
            for text in after:
                assert source.count(text) == 1, (page.name, text)
                source = source.partition(text)[2]
            for text in before:
                assert text in source, (page.name, text)
                source = source.partition(text)[0]
            assert len(source) > 500


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_public_name(tmp_path):
    inventory = pytest.importorskip("sphinx.util.inventory")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(DOCS), str(tmp_path)]
    subprocess.run(command, cwd=DOCS.parent, check=True)
    with (tmp_path / "objects.inv").open("rb") as file:
        found = inventory.InventoryFile.load(file, "", lambda base, target: target)
    names = {
        name
        for kind, of in getattr(found, "data", found).items()
        if kind.startswith("py:")
        for name in of
    }
    counted = 0
    for module in MODULES[1:]:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            home = f"{getattr(value, '__module__', module)}.{name}"
            assert name in ELSEWHERE or {f"{module}.{name}", home} & names, (module, name)
            counted += 1
    assert counted > 300

"""The map of the house: imports go down, flags live at the top, every module is short."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (  # from the ground up; rooms of one floor import each other only as `BESIDE` says
    ("_checked",),
    ("typing", "_checks", "_pytree", "_terminal", "schema", "distributed"),
    ("spectral", "ops", "inference", "_blocks"),
    ("ensemble", "runs"),
    ("models", "data", "training", "attacks", "theory", "interop"),
    ("plotting",),
    ("report",),
    ("analysis", "study"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
BESIDE = {("training", "data"), ("interop", "models")}
MODULES = sorted((ROOT / "freqbias").rglob("*.py"))
FLAGS_OUTSIDE = {"data/build.py", "data/prepare.py"}  # programs of their own: python -m ...


def imported(path):
    """The rooms of freqbias that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "freqbias":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("freqbias."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("freqbias.")}
    return found


def room_of(path):
    return path.relative_to(ROOT / "freqbias").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT / "freqbias")))
def test_imports_go_down(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in LEVEL, f"{room} has no floor"
    for other in imported(path) - {room}:
        assert other in LEVEL, f"{path} imports {other}, which has no floor"
        below = LEVEL[other] < LEVEL[room]
        beside = (room, other) in BESIDE and LEVEL[other] == LEVEL[room]
        assert below or beside, f"{path} imports {other}"


def test_every_module_can_be_read_in_one_sitting():
    long = {str(p.relative_to(ROOT)): n for p in [*MODULES, *(ROOT / "experiments").glob("*.py")]
            if (n := len(p.read_text().splitlines())) > 600}  # fmt: skip
    assert not long


def test_flags_live_in_the_binaries():
    reading = {
        str(path.relative_to(ROOT / "freqbias"))
        for path in MODULES
        if "from absl" in path.read_text() or "import argparse" in path.read_text()
    }
    assert {name for name in reading if not name.startswith("cli/")} <= FLAGS_OUTSIDE

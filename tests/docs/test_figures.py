"""Every figure of the documents is there, small, and made by the command written beneath it."""

import importlib.util
import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
figures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(figures)


def test_every_figure_says_how_it_is_made():
    shown = {}
    for page in DOCS.glob("*.md"):
        for name, text in re.findall(r"```\{figure\} (\S+)\n(.*?)```", page.read_text(), re.DOTALL):
            (made_by,) = re.findall(r"\(`python docs/figures.py (\w+)`\)", text)
            shown[made_by] = name
            assert ":alt:" in text
            assert Path(name).stem == made_by
            assert 1000 < (DOCS / name).stat().st_size < 200_000
    assert {"norms", "attacks", "spectra"} <= set(shown)
    assert all(callable(getattr(figures, name)) for name in shown)


def test_the_attacks_of_the_figure_are_of_the_norm_that_it_says():
    for name, (norm, attack) in figures._attacks((28, 28, 1)).items():
        kind = name.partition(", ")[0]
        assert hasattr(figures.fb.attacks, kind), name
        assert callable(attack)
        said = name.partition(", ")[2].replace("L-inf", "Linf").split()[0]
        assert type(norm).__name__ == said


def test_balls_are_drawn_at_distance_one():
    figure = figures.norms()
    by_name = {axis.get_title(): axis for axis in figure.axes}
    for name, order in (("L1", 1), ("L2", 2), ("Lp, p = 4", 4), ("L-inf", np.inf)):
        points = by_name[name].patches[0].get_xy()
        np.testing.assert_allclose(np.linalg.norm(points, order, axis=1), 1, rtol=1e-5)

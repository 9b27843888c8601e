"""Relabelled seeds: false verdicts at their rate, planted shifts at the predicted one."""

import re

import numpy as np
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias.cli import relabel


def rows_of(spread, num_seeds=16, num_arms=40):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dataset": "digits", "regime": "relu", "arm": f"arm{arm}", "init_scale": 1.0,
            "attack": "pgd_l2", "status": "ok", "final": True, "seed": seed,
            "mean_frequency": 0.2 + spread * rng.normal(),
        }
        for arm in range(num_arms)
        for seed in range(num_seeds)
    )  # fmt: skip


@pytest.mark.parametrize("num_seeds", [8, 16])
@pytest.mark.parametrize("spread", [0.004, 0.01, 0.02])
def test_rates_are_those_that_the_rules_promise(spread, num_seeds):
    """Normal values: 5 % without a margin, fewer with one, and the predicted power."""
    rows = rows_of(spread, num_seeds=num_seeds)
    found = relabel.relabelled(rows, 0.01, confidence=0.95, deals=200)
    assert len(found) == 40 and (found["seeds"] == num_seeds).all()
    assert found["false_without_margin"].mean() == pytest.approx(0.05, abs=0.015)
    assert found["false"].mean() <= 0.05
    assert found["found"].mean() == pytest.approx(found["predicted"].mean(), abs=0.015)
    assert found["found"].mean() > (0.8 if spread == 0.004 else 0.05)


def test_arms_with_too_few_live_seeds_are_left_out():
    rows = rows_of(0.01, num_arms=3)
    rows.loc[(rows["arm"] == "arm0") & (rows["seed"] > 6), "status"] = "dead"
    found = relabel.relabelled(rows, 0.01, confidence=0.95, deals=10)
    assert list(found["arm"]) == ["arm1", "arm2"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("--run=/nowhere",), OSError, "/nowhere"),
        (("--run=x", "--deals=0"), ValueError, "deals must be at least 1; got 0"),
    ],
)
def test_bad_input_is_named(given, error, message):
    with flagsaver.flagsaver():
        flags.FLAGS(["relabel", *given])
        with pytest.raises(error, match=re.escape(message)):
            relabel.prepare()

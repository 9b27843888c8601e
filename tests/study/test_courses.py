"""What is read off training curves, by hand."""

import numpy as np
import pandas as pd
import pytest

from freqbias.study import courses


def curve(accuracy, frequency, distance, steps=(0, 1, 10, 100), **more):
    rows = pd.DataFrame(
        {
            "step": steps,
            "test_accuracy": accuracy,
            "mean_frequency": frequency,
            "minimal_relative_distance": distance,
            "final": [step == max(steps) for step in steps],
        }
    )
    network = {"dataset": "d", "regime": "relu", "arm": "a", "init_scale": 1.0, "attack": "pgd_l2"}
    return rows.assign(**{**network, "seed": 0, **more})


def read_off(rows, floor=0.5):
    found = courses.with_curves(rows, {"default": 0.9, "d": floor})
    assert found.index.equals(rows.index)
    last = found[found["final"]]
    return [last[name].tolist() for name in courses.COLUMNS]


def test_one_curve_by_hand():
    """The floor is passed half way from .4 to .6; of ln(1/4), a half is made at step 10."""
    rows = curve([0.1, 0.2, 0.4, 0.6], [0.4, 0.3, 0.2, 0.1], [0.4, 0.4, 0.2, 0.1])
    (at_floor,), (change,), (early,) = read_off(rows)
    assert at_floor == pytest.approx(0.15)
    assert change == pytest.approx(np.log(1 / 4))
    assert early == pytest.approx(0.5 - 0.5)


def test_networks_do_not_mix_and_rows_may_come_in_any_order():
    one = curve([0.1, 0.2, 0.4, 0.6], [0.4, 0.3, 0.2, 0.1], [0.4, 0.4, 0.2, 0.1])
    other = curve([0.1, 0.2, 0.6, 0.7], [0.4, 0.3, 0.2, 0.1], [0.4, 0.1, 0.1, 0.1], seed=1)
    rows = pd.concat([one, other], ignore_index=True).sample(frac=1, random_state=0)
    found = courses.with_curves(rows, {"default": 0.5})
    by_seed = found.groupby("seed")[list(courses.COLUMNS)].agg(["min", "max"])
    expected_by_seed = ([0.15, 0.225], [np.log(1 / 4)] * 2, [0, 0.5])
    for name, expected in zip(courses.COLUMNS, expected_by_seed, strict=True):
        for end in ("min", "max"):
            np.testing.assert_allclose(by_seed[name, end], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("accuracy", "frequency"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]),  # never there
        ([0.6, 0.7, 0.8, 0.9], [0.4, 0.3, 0.2, 0.1]),  # there from the start
        ([np.nan] * 4, [np.nan] * 4),  # a dead seed
    ],
)
def test_what_was_not_seen_is_nan(accuracy, frequency):
    (at_floor,), (change,), (early,) = read_off(curve(accuracy, frequency, [0.4, np.nan, 0.2, 0.1]))
    assert np.isnan([at_floor, change, early]).all()


def test_without_checkpoints_nothing_is_read_off():
    found = read_off(curve([0.6], [0.1], [0.1], steps=(96,)))
    assert np.isnan(np.ravel(found)).all()


def test_a_change_too_small_has_no_share():
    rows = curve([0.1, 0.2, 0.4, 0.6], [0.4, 0.3, 0.2, 0.1], [0.4, 0.41, 0.4, 0.39])
    _, (change,), (early,) = read_off(rows)
    assert change == pytest.approx(np.log(0.39 / 0.4))
    assert np.isnan(early)


def test_floors_are_of_a_set_or_else_of_its_kind():
    floors = {"digits": 0.65, "power_law": 0.6, "shuffled": 0.0, "default": 0.3}
    expected = {
        "digits": 0.65, "digits+low_pass_0.25": 0.3, "digits+shuffled_0": 0.0,
        "power_law_1_8x8x1_2": 0.6, "power_law_1_8x8x1_2+shuffled_3": 0.0, "other": 0.3,
    }  # fmt: skip
    assert {name: courses.floor_of(floors, name) for name in expected} == expected

"""Readings of a claim: planted courses give what was planted."""

import itertools

import numpy as np
import pandas as pd
import pytest

from freqbias.study import claims
from freqbias.study.claims import readings
from freqbias.study.claims.readings import at_equal_loss

STEPS = (0, 10, 100, 1000)
ARMS = {"conv_k3_d1": (3, 1), "conv_full_d1": (28, 1), "fc_d1": (0, 1)}


def planted(frequency, speed=None, seeds=8, noise=0.001):
    """Rows in which an arm has ``frequency[arm][step]``; its loss falls as 1 / (1 + speed step)."""
    rng = np.random.default_rng(0)
    rows = []
    for scale, arm, seed in itertools.product((1.0, 0.5), ARMS, range(seeds)):
        for index, step in enumerate(STEPS):
            rows.append(
                {
                    "dataset": "natural_patches", "regime": "relu", "arm": arm,
                    "kernel_size": ARMS[arm][0], "depth": 1, "init_scale": scale, "seed": seed,
                    "attack": "pgd_l2", "geometry": "l2", "status": "ok", "step": step,
                    "final": step == STEPS[-1], "test_accuracy": 0.8, "checkpoints": 3,
                    "train_loss": 2.0 / (1 + (speed or {}).get(arm, 1.0) * step),
                    "mean_frequency": frequency[arm][index] + noise * rng.normal(),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def read(rows, name="C1"):
    registry = claims.select(claims.load_registry(), [name])
    return readings(rows, registry)


def test_a_claim_that_holds_from_a_step_on():
    rows = planted({
        "conv_k3_d1": (0.30, 0.30, 0.35, 0.36), "fc_d1": (0.30, 0.30, 0.30, 0.30),
        "conv_full_d1": (0.3,) * 4,
    })  # fmt: skip
    (found,) = read(rows)
    assert found["end"]["verdict"] == "supported"
    assert found["end"]["estimate"] == pytest.approx(0.06, abs=0.003)
    assert found["course"]["steps"] == list(STEPS)
    assert found["course"]["verdicts"] == ["equivalent", "equivalent", "supported", "supported"]
    assert found["course"]["holds_from"] == 100
    assert found["equal_loss"]["verdict"] == "supported"  # both fall as fast


def test_an_effect_of_training_further_is_none_at_equal_loss():
    """Frequency is linear in the logarithm of the loss; conv is a hundred times as fast."""

    def course(speed):
        return tuple(0.3 + 0.02 * np.log(1 + speed * step) for step in STEPS)

    slow = course(1.0)
    rows = planted(
        {"conv_k3_d1": course(100.0), "fc_d1": slow, "conv_full_d1": slow},
        speed={"conv_k3_d1": 100.0},
    )
    (found,) = read(rows[rows.step <= 100].assign(final=lambda r: r.step == 100))
    assert found["end"]["verdict"] == "supported"
    assert found["equal_loss"]["verdict"] == "equivalent"
    assert found["equal_loss"]["loss"] == pytest.approx(2 / 101)


def test_the_level_is_one_that_four_seeds_in_five_reach():
    """One seed of eight that never learns is left out; two of eight set the level."""
    rows = planted({arm: (0.3, 0.3, 0.3, 0.3) for arm in ARMS})
    claim = claims.select(claims.load_registry(), ["C1"]).claims[0]
    pair = rows[rows.arm.isin(claim.arms)]
    for stuck, level, known in ((1, 2 / 1001, 7), (2, 2.0, 8)):
        here = pair.assign(
            train_loss=pair.train_loss.where((pair.arm != "fc_d1") | (pair.seed >= stuck), 2.0)
        )
        found = at_equal_loss(here, claim, 0.8)
        np.testing.assert_allclose(found["train_loss"], level)
        fc = found[(found.arm == "fc_d1") & (found.init_scale == 1.0)]
        assert fc["mean_frequency"].notna().sum() == known
    (read_off,) = read(rows.assign(train_loss=rows.train_loss.where(rows.seed > 0, 2.0)))
    assert read_off["equal_loss"]["verdict"] == "equivalent"


def test_the_last_step_alone_holds_from_nowhere():
    rows = planted({
        "conv_k3_d1": (0.30, 0.30, 0.30, 0.36), "fc_d1": (0.30,) * 4, "conv_full_d1": (0.3,) * 4,
    })  # fmt: skip
    (found,) = read(rows)
    assert found["course"]["holds_from"] is None


def test_arms_without_a_course_are_left_out():
    rows = planted({arm: (0.3,) * 4 for arm in ARMS})
    assert read(rows[rows.final]) == []


def test_moving_arms_are_named_with_their_change():
    """Linear in log step: of .1 between steps 100 and 1000, log10 2 are made after step 500."""
    rows = planted({
        "conv_k3_d1": (0.2, 0.2, 0.2, 0.3), "fc_d1": (0.2,) * 4, "conv_full_d1": (0.2,) * 4,
    }, noise=0.0)  # fmt: skip
    found = claims.moving(rows[rows.init_scale == 1.0], 0.01)
    assert found == {"conv_k3_d1": pytest.approx(0.1 * np.log10(2))}
    for regime in ("linear", "relu"):
        (entry,) = read(rows.assign(regime=regime))
        assert list(entry["moving"]) == ["conv_k3_d1"]


@pytest.mark.parametrize(
    ("half", "end", "verdict"),
    [
        (0.050, 0.060, "supported"),  # goes on
        (0.100, 0.060, "supported"),  # comes back, and 0.02 would still be beyond the margin
        (0.120, 0.060, "not decided"),  # comes back to 0
        (-0.100, -0.060, "opposite"),
        (-0.120, -0.060, "not decided"),
        (0.000, 0.000, "equivalent"),
        (-0.012, 0.001, "not decided"),  # on its way through the margin
    ],
)
def test_a_verdict_that_training_on_would_undo_is_not_decided(half, end, verdict):
    """As much again as in the second half of the steps."""
    steps = [0, 500, 1000]
    rows = planted({
        "conv_k3_d1": (0.3, 0.3, 0.3 + half, 0.3 + end), "fc_d1": (0.3,) * 4,
        "conv_full_d1": (0.3,) * 4,
    }, noise=0.0005)  # fmt: skip
    rows = rows[rows.step != 10].replace({"step": {100: steps[1]}})
    registry = claims.select(claims.load_registry(), ["C1"])
    judged, found = claims.judge(rows[rows.final], registry), readings(rows, registry)
    (record,), (entry,) = claims.settled(
        [r for r in judged if r["dataset"] == "natural_patches"], found
    )
    assert (
        record["verdict"] == entry["end"]["verdict"] == entry["course"]["verdicts"][-1] == verdict
    )
    if verdict == "not decided":
        assert entry["course"]["holds_from"] is None
    assert ("as much again would undo" in record["reason"]) == (verdict == "not decided")
    assert record["estimate"] == pytest.approx(end, abs=0.001)


def test_a_verdict_that_rests_on_what_training_left_over_is_another_where_the_images_vary():
    rows = planted({
        "conv_k3_d1": (0.36,) * 4, "fc_d1": (0.30,) * 4, "conv_full_d1": (0.3,) * 4,
    })  # fmt: skip
    (without,) = read(rows)
    assert without["in_data"] is None  # not measured
    (found,) = read(rows.assign(mean_frequency_in_data=rows["mean_frequency"] * 0 + 0.2))
    assert found["end"]["verdict"] == "supported"
    assert found["in_data"]["verdict"] == "equivalent"
    (same,) = read(rows.assign(mean_frequency_in_data=rows["mean_frequency"] - 0.1))
    assert same["in_data"]["verdict"] == "supported"
    assert same["in_data"]["estimate"] == pytest.approx(0.06, abs=0.003)
    text = claims.readings_table([found, without])
    assert "where the images vary" in text
    assert "where the images vary" not in claims.readings_table([without])


def test_on_the_way_networks_need_not_fit_yet():
    rows = planted({
        "conv_k3_d1": (0.30, 0.36, 0.36, 0.36), "fc_d1": (0.30,) * 4, "conv_full_d1": (0.3,) * 4,
    })  # fmt: skip
    rows = rows.assign(train_accuracy=np.where(rows["final"], 0.99, 0.5), fitted_at=0.95)
    (found,) = read(rows)
    assert found["end"]["verdict"] == "supported"
    assert found["course"]["holds_from"] == 10
    (unfit,) = read(rows.assign(train_accuracy=0.5))
    assert unfit["end"]["verdict"] == "not decided"
    assert unfit["course"]["verdicts"][-1] == "not decided"
    assert unfit["course"]["holds_from"] is None

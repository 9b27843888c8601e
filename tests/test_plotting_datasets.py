"""Many data sets: which are shown, what depends on them, and what the box does."""

from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_study import MINOR_ARMS, other_boxes, renamed, synthetic_study

from freqbias import inference, plotting
from freqbias.data import titles

NAMES = ("fashion_mnist_mini", "digits", "fashion_mnist_mini+low_pass_0.125")


@pytest.fixture(scope="module")
def study():
    return synthetic_study(datasets=NAMES, arms=MINOR_ARMS, num_seeds=3)


def _rows(**num_arms):
    return pd.DataFrame(
        [(name, f"arm{k}") for name, number in num_arms.items() for k in range(number)],
        columns=["dataset", "arm"],
    )


def test_a_set_is_main_if_half_as_many_arms_were_run_on_it_as_on_the_largest():
    assert plotting.main_datasets(_rows(a=10, b=5, c=4)) == ["a", "b"]
    assert plotting.main_datasets(_rows(b=3, a=3)) == ["b", "a"]
    # Seeds and scales do not make a set main, arms do.
    rows = _rows(a=10, b=3)
    assert plotting.main_datasets(pd.concat([rows, *[rows[rows.dataset == "b"]] * 9])) == ["a"]


def test_of_many_alike_sets_those_that_were_not_derived_are_main():
    derived = {f"{name}+permuted_{k}": 3 for name in "ab" for k in range(3)}
    rows = _rows(**derived, power_law_1_8x8x1_2=3, b=3, a=3, c=2)
    assert plotting.main_datasets(rows, most=3) == ["b", "a", "c"]
    assert len(plotting.main_datasets(rows)) == 4


def test_what_is_derived_stands_below_its_set():
    names = ["a+permuted_0", "b", "a", "b+low_pass_0.1", "a+low_pass_0.1"]
    assert plotting.grouped_datasets(names) == [
        "a", "a+permuted_0", "a+low_pass_0.1", "b", "b+low_pass_0.1",
    ]  # fmt: skip


def test_the_forest_by_data_set_has_each_effect_on_the_line_of_its_set(study):
    claims = [dict(claim) for claim in study.claims["claims"]]
    figure = plotting.effects_by_dataset(claims, ("C1", "C2-ends"))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Digits", "Fashion-MNIST mini", "low pass 0.125"]
    heads = [ax.get_title(loc="left").split("\n")[0] for ax in figure.axes]
    assert heads == ["C1, linear", "C1, ReLU", "C2-ends, linear", "C2-ends, ReLU"]
    points = {
        names[int(line.get_ydata()[0])]: float(line.get_xdata()[0])
        for line in figure.axes[0].lines
        if line.get_marker() == "o"
    }
    for claim in claims:
        if (claim["id"], claim["regime"], claim["attack"]) == ("C1", "linear", "l2"):
            name = titles.title(claim["dataset"]).removeprefix("Fashion-MNIST mini, ")
            assert points[name] == pytest.approx(claim["estimate"])


def test_perturbations_stand_against_the_data_with_a_number_for_each_set(study):
    figure = plotting.follows_the_data(study.rows, looks=study.looks)
    assert len(figure.axes) == 6  # two regimes, three arms
    ax = figure.axes[0]
    assert ax.get_title(loc="left") == "Fully connected"
    shown = {text.get_text(): text.xy for text in ax.texts}
    at = study.rows[
        (study.rows.regime == "linear") & (study.rows.arm == "fc_d1")
        & (study.rows.init_scale == 1) & (study.rows.attack == "closed_form_l2")
    ]  # fmt: skip
    for number, name in enumerate((NAMES[0], NAMES[2], NAMES[1]), start=1):
        here = at[at.dataset == name]
        expected = inference.mean_interval(here.mean_frequency.to_numpy())
        assert shown[str(number)] == pytest.approx(
            (here.data_mean_frequency.iloc[0], expected.estimate)
        )
        bars = [tuple(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 2]
        assert any(bar == pytest.approx((expected.low, expected.high)) for bar in bars)
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == ["1  Fashion-MNIST mini", "2  Fashion-MNIST mini, low pass 0.125", "3  Digits"]


def test_numbers_beside_points_do_not_cover_each_other(study):
    crowded = study.rows.assign(data_mean_frequency=0.2)
    figure = plotting.follows_the_data(crowded, looks=study.looks)
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [mpl.text.Text.get_window_extent(text) for text in ax.texts]
        assert len(boxes) == 3
        overlaps = [a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k]]
        assert not any(overlaps)


def test_the_box_is_compared_with_its_absence_in_both_regimes(study):
    twins = other_boxes(study.rows, datasets=NAMES[:1])
    rows = pd.concat([study.rows, twins])
    figure = plotting.box_effect(rows, looks=study.looks)
    assert len(figure.axes) == 2  # the regimes of the one set that has twins
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_marker() in ("o", "s")]
        assert len(points) == 3
        for point in points:  # twins were made 0.02 higher in the box
            assert point.get_ydata()[0] - point.get_xdata()[0] == pytest.approx(0.02)


def test_the_other_box_changes_no_other_figure(study):
    plain = study.rows[study.rows.dataset == NAMES[0]]
    twins = other_boxes(plain).assign(mean_frequency=0.7)
    both = pd.concat([twins, plain])  # also where it comes first
    for draw in (
        plotting.arm_overview,
        plotting.init_scale_effect,
        partial(plotting.frequency_against, axis="kernel_size"),
    ):
        drawn = []
        for rows in (plain, both):
            figure = draw(rows, looks=study.looks)
            lines = [np.asarray(line.get_xydata()) for ax in figure.axes for line in ax.lines]
            labels = [text.get_text() for text in figure.findobj(mpl.text.Text)]
            drawn.append((sorted(map(str, lines)), labels))
        assert drawn[0] == drawn[1]
    claims = study.claims["claims"]
    twin = {**claims[0], "attack": "l2-free", "verdict": "opposite"}
    words = [
        [text.get_text() for ax in plotting.claim_forest(c).axes for text in ax.texts]
        for c in (claims, [twin, *claims])
    ]
    assert words[0] == words[1]
    shares = [repr(plotting.variance_shares(rows, study.looks)) for rows in (plain, both)]
    assert shares[0] == shares[1]


def test_an_arm_that_nobody_described_is_drawn_beside_the_others(study):
    rows, *_, looks = renamed(study, "conv_full_d1", "my_net")
    rows = pd.concat([rows, other_boxes(study.rows).replace("conv_full_d1", "my_net")])
    for draw in (plotting.follows_the_data, plotting.box_effect):
        for known in (looks, plotting.UNKNOWN):
            figure = draw(rows, looks=known)
            assert "my net" in [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert plotting.arms_of_all(rows, looks)[-1] == "my_net"

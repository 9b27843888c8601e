"""Many data sets: which are shown, what depends on them, and what the box does."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_study import MINOR_ARMS, other_boxes, synthetic_study

from freqbias import inference, plotting

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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashion_mnist_mini+low_pass_0.125", "Fashion-MNIST mini, low pass 0.125"),
        ("digits+band_pass_0.1_0.2", "Digits, band pass 0.1 to 0.2"),
        ("natural_patches+shuffled_0", "Natural patches, labels shuffled"),
        ("natural_patches+windowed_0.5", "Natural patches, windowed 0.5"),
        ("digits+planted_0.1_0.5", "Digits, patterns planted (0.1, 0.5)"),
        ("digits+teacher_0.02_0.1", "Digits, teacher 0.02 to 0.1"),
        ("cifar10+spectrum_natural_patches", "CIFAR-10, spectrum of Natural patches"),
        ("power_law_1_28x28x1_2+permuted_3", "1/f noise, permuted 3"),
        ("power_law_1.5_28x28x1_2", "1/f^1.5 noise"),
        ("my_set+new_thing_2", "my set, new thing 2"),
    ],
)
def test_names_of_data_sets_are_written_out(name, words):
    assert plotting.dataset_name(name) == words


def test_weight_decay_has_a_name_and_a_look():
    names = ("fc_d1_wd0.0005", "conv_k3_d1_adam_wd5e-05", "conv_k3_d1_wd0.0005")
    labels = [plotting.arm_style(name).label for name in names]
    assert labels == [
        "Fully connected, weight decay 0.0005",
        "Conv K=3, Adam, weight decay 5e-05",
        "Conv K=3, weight decay 0.0005",
    ]
    for name in names:
        plain = plotting.arm_style(name.split("_wd")[0])
        decayed = plotting.arm_style(name)
        assert plain.marker != decayed.marker
        assert plain.color != decayed.color


def test_arms_stand_in_order_of_family_and_size():
    arms = ["vit_d2_adam", "conv_k11_d1", "conv_full_d1", "conv_k3_d2", "odd", "conv_k3_d1_same",
            "conv_k3_d1", "fc_d1", "conv_k3_d1"]  # fmt: skip
    assert plotting.in_order(arms) == [
        "fc_d1", "conv_k3_d1", "conv_k11_d1", "conv_full_d1", "conv_k3_d2", "conv_k3_d1_same",
        "vit_d2_adam", "odd",
    ]  # fmt: skip


def test_the_forest_by_data_set_has_each_effect_on_the_line_of_its_set(study):
    claims = [dict(claim) for claim in study.claims["claims"]]
    figure = plotting.effects_by_dataset(claims, ("C1", "C2-ends"))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Digits", "Fashion-MNIST mini", "low pass 0.125"]
    titles = [ax.get_title(loc="left").split("\n")[0] for ax in figure.axes]
    assert titles == ["C1, linear", "C1, ReLU", "C2-ends, linear", "C2-ends, ReLU"]
    points = {
        names[int(line.get_ydata()[0])]: float(line.get_xdata()[0])
        for line in figure.axes[0].lines
        if line.get_marker() == "o"
    }
    for claim in claims:
        if (claim["id"], claim["attack"]) == ("C1", "closed_form_l2"):
            name = plotting.dataset_name(claim["dataset"]).removeprefix("Fashion-MNIST mini, ")
            assert points[name] == pytest.approx(claim["estimate"])


def test_perturbations_stand_against_the_data_with_a_number_for_each_set(study):
    figure = plotting.follows_the_data(study.rows)
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
    figure = plotting.follows_the_data(crowded)
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [mpl.text.Text.get_window_extent(text) for text in ax.texts]
        assert len(boxes) == 3
        overlaps = [a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k]]
        assert not any(overlaps)


def test_the_box_is_compared_with_its_absence_in_both_regimes(study):
    twins = other_boxes(study.rows, datasets=NAMES[:1])
    rows = pd.concat([study.rows, twins])
    figure = plotting.box_effect(rows)
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
        lambda rows: plotting.frequency_against(rows, "kernel_size"),
    ):
        drawn = []
        for rows in (plain, both):
            figure = draw(rows)
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
    assert repr(plotting.variance_shares(plain)) == repr(plotting.variance_shares(both))

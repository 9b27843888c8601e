"""When each band is learnt: first doublings, read between recorded steps."""

import numpy as np
import pytest
from synthetic_study import ARMS, over_steps, synthetic_study, with_bands

from freqbias import plotting, schema


@pytest.fixture(scope="module")
def study():
    return synthetic_study(
        datasets=("natural_patches",), regimes=("linear",), arms=ARMS[:2], num_seeds=4
    )


def test_bands_double_where_they_were_planted(study):
    steps = plotting.doubling_steps(with_bands(over_steps(study.rows)))
    assert len(steps) == 2 * 4
    np.testing.assert_allclose(steps[list(range(7))], np.tile(2.0 ** np.arange(7), (8, 1)))
    assert steps[7].isna().all()  # 128 steps are more than were made


def test_the_first_of_several_doublings_counts(study):
    rows = with_bands(over_steps(study.rows))
    rows[schema.GRADIENT[0]] = rows["step"].map({0: 1.0, 3: 4.0, 24: 0.5, 96: 8.0})
    steps = plotting.doubling_steps(rows)[0]
    half = np.exp(0.5 * (np.log(0.5) + np.log(3)))  # one of two octaves from step 1/2 to 3
    np.testing.assert_allclose(steps, half)


def test_dead_networks_and_courses_without_a_start_have_no_doubling(study):
    rows = with_bands(over_steps(study.rows))
    dead = rows.assign(status=rows["status"].where(rows["seed"] != 0, "dead"))
    assert set(plotting.doubling_steps(dead)["seed"]) == {1, 2, 3}
    assert plotting.doubling_steps(rows[rows["step"] > 0]).empty
    assert plotting.doubling_steps(over_steps(study.rows)).empty  # no bands were measured


def test_lines_are_geometric_means_and_what_has_not_doubled_is_a_gap(study):
    rows = with_bands(over_steps(study.rows))
    late = rows["arm"].eq("fc_d1") & rows["seed"].eq(0)
    rows.loc[late, schema.GRADIENT[0]] = 1.0  # one seed of four: more than a fifth
    (ax,) = (ax for ax in plotting.order_of_learning(rows, looks=study.looks).axes if ax.lines)
    by_length = sorted((line for line in ax.lines), key=lambda line: len(line.get_xdata()))
    fc, conv = by_length[-2:]
    np.testing.assert_allclose(conv.get_xdata(), np.arange(7) / 16 + 1 / 32)
    np.testing.assert_allclose(conv.get_ydata(), 2.0 ** np.arange(7))
    np.testing.assert_allclose(fc.get_ydata(), 2.0 ** np.arange(1, 7))
    assert ax.get_yscale() == "log"


def test_nothing_recorded_is_said(study):
    figure = plotting.order_of_learning(study.rows, looks=study.looks)
    assert "no steps recorded" in {text.get_text() for ax in figure.axes for text in ax.texts}


def test_steps_times_the_rate_stand_below_where_rates_differ(study):
    rows = with_bands(over_steps(study.rows))
    rates = rows.assign(learning_rate=np.where(rows["arm"] == "fc_d1", 0.5, 0.25))
    plain = plotting.doubling_steps(rates)
    by_rate = plotting.doubling_steps(rates, times_rate=True)
    rate = np.where(plain["arm"] == "fc_d1", 0.5, 0.25)
    np.testing.assert_allclose(by_rate[0], rate * plain[0])
    figure = plotting.order_of_learning(rates, looks=study.looks)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert len(labels) == 2
    assert "rate" in labels[1]
    fc = [ax.lines[0].get_ydata()[0] for ax in figure.axes]
    assert fc[1] == pytest.approx(0.5 * fc[0])
    one_rate = plotting.order_of_learning(rates.assign(learning_rate=0.5), looks=study.looks)
    assert len(one_rate.axes) == 1


def with_distances(rows):
    """The rows with distances that fall as step^-1/2 in band 0, not at all in others."""
    step = np.maximum(rows["step"].to_numpy(float), 1)
    fallen = {schema.DISTANCE[0]: 3 * step**-0.5}
    rates = np.where(rows["arm"] == "fc_d1", 0.5, 0.25)
    return rows.assign(learning_rate=rates, **dict.fromkeys(schema.DISTANCE, 7.0) | fallen)


def test_what_each_band_has_to_go_is_told_relative_to_the_start(study):
    rows = with_distances(over_steps(study.rows))
    low, *others = plotting.distance_by_band(rows, looks=study.looks).axes
    assert len(others) == 3
    for line, rate in zip(low.lines, (0.5, 0.25), strict=True):  # FC comes first
        np.testing.assert_array_equal(line.get_xdata(), np.multiply(rate, [3, 24]))
        np.testing.assert_allclose(
            line.get_ydata(), [3**-0.5, 24**-0.5]
        )  # the last has nothing left
    for line in (line for ax in others for line in ax.lines):
        np.testing.assert_allclose(line.get_ydata(), 1)


def test_without_distances_nothing_is_drawn(study):
    figure = plotting.distance_by_band(over_steps(study.rows), looks=study.looks)
    assert "no steps recorded" in {text.get_text() for ax in figure.axes for text in ax.texts}

"""Parts of panels that figures of every study share: courses over training and their axis."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from freqbias import inference
from freqbias.plotting import Style
from freqbias.plotting.panels import draw_course, step_axis

STYLE = Style("An arm", "#0072b2", "o")


def panels(num=1):
    return np.ravel(Figure().subplots(num, 1)).tolist()


def test_a_course_is_the_mean_with_the_interval_over_seeds_that_have_a_value():
    (ax,) = panels()
    values = [np.array([1.0, 3.0, np.nan]), np.array([np.nan] * 3), np.array([2.0, 4.0, 9.0])]
    mean = draw_course(ax, [0, 5, 10], values, STYLE)
    assert mean == {0.0: 2.0, 10.0: 5.0}  # nothing at step 5
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 2], [10, 5]])
    corners = ax.collections[0].get_paths()[0].vertices
    at_ten = corners[corners[:, 0] == 10, 1]
    expected = inference.mean_interval(values[2])
    np.testing.assert_allclose([at_ten.min(), at_ten.max()], [expected.low, expected.high])


def test_on_a_log_scale_the_mean_is_geometric_and_zero_is_left_out():
    (ax,) = panels()
    mean = draw_course(ax, [1], [np.array([0.0, 1.0, 4.0, np.inf])], STYLE, log=True)
    assert mean == pytest.approx({1.0: 2.0})


def test_where_there_is_nothing_nothing_is_drawn():
    (ax,) = panels()
    assert draw_course(ax, [1], [np.array([np.nan])], STYLE) == {}
    assert not ax.lines and not ax.collections


def texts(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def test_steps_have_zero_powers_of_ten_and_the_last():
    above, below = panels(2)
    step_axis([above, below], [0, 1, 10, 1500])
    assert texts(above) == texts(below) == ["0", "1", "10", "100", "1,500"]
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "training step")


def test_stacked_panels_have_numbers_on_the_lowest_only():
    above, below = panels(2)
    step_axis([above, below], [0, 1, 20_000], stacked=True)
    assert set(texts(above)) <= {""}
    assert texts(below) == ["0", "1", "10", "100", "1,000", "$10^{4}$"]

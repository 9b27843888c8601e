"""The frequency-resolved robustness curve says what its numbers say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from synthetic_study import ARMS, looks_of

from freqbias import inference, plotting

EDGES = (0.0, 0.1, 0.25, np.inf)
LOOKS = looks_of(ARMS)
GENERATOR = np.random.default_rng(0)
RADII = {
    "conv_k3_d1": np.exp(GENERATOR.normal(size=(5, 3))),
    "fc_d1": np.exp(GENERATOR.normal(size=(5, 3))),
}


def _curve(ax, arm):
    """The means of an arm and its bars, by its colour."""
    color = LOOKS[arm].color
    lines = [line for line in ax.lines if to_hex(line.get_color()) == color]
    (curve,) = [line for line in lines if line.get_marker() == LOOKS[arm].marker]
    return curve, [line for line in lines if line is not curve]


@pytest.mark.parametrize("arm", RADII)
def test_points_are_geometric_means_with_t_intervals_inside_their_bands(arm):
    ax = plotting.band_curve(EDGES, RADII, looks=LOOKS).axes[0]
    curve, bars = _curve(ax, arm)
    for band in range(3):
        expected = inference.mean_interval(np.log(RADII[arm][:, band]))
        assert EDGES[band] < curve.get_xdata()[band] < min(EDGES[band + 1], np.sqrt(0.5))
        assert curve.get_ydata()[band] == pytest.approx(np.exp(expected.estimate))
        np.testing.assert_allclose(bars[band].get_xdata(), curve.get_xdata()[band])
        np.testing.assert_allclose(bars[band].get_ydata(), np.exp([expected.low, expected.high]))
    assert "cycles/pixel" in ax.get_xlabel() and "L2" in ax.get_ylabel()
    assert ax.get_yscale() == "log"


def test_arms_stand_side_by_side_each_with_its_own_look_and_name():
    figure = plotting.band_curve(EDGES, RADII, norm="L∞", looks=LOOKS)
    ax = figure.axes[0]
    curves = [_curve(ax, arm)[0] for arm in RADII]
    assert not np.intersect1d(*(curve.get_xdata() for curve in curves)).size
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [LOOKS[arm].label for arm in RADII]
    assert "L∞" in ax.get_ylabel()


def test_a_dead_seed_is_left_out_and_an_infinite_radius_is_a_gap():
    """The mean of the seeds that fell would make a robust band look vulnerable."""
    radius = RADII["fc_d1"].copy()
    radius[0], radius[1, 2] = np.nan, np.inf
    figure = plotting.band_curve(EDGES, {"fc_d1": radius}, looks=LOOKS)
    curve, bars = _curve(figure.axes[0], "fc_d1")
    expected = np.exp(np.log(radius[1:, :2]).mean(0))
    np.testing.assert_allclose(curve.get_ydata(), [*expected, np.nan])
    assert len(bars) == 2


@pytest.mark.parametrize("radii", [{}, {"fc_d1": np.full((3, 3), np.nan)}], ids=["none", "dead"])
def test_nothing_to_draw_is_said(radii):
    figure = plotting.band_curve(EDGES, radii, looks=LOOKS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no radius in any band"]
    assert plotting.png_bytes(figure)


def test_one_seed_has_a_point_and_no_interval():
    figure = plotting.band_curve(EDGES, {"fc_d1": RADII["fc_d1"][:1]}, looks=LOOKS)
    curve, bars = _curve(figure.axes[0], "fc_d1")
    np.testing.assert_allclose(curve.get_ydata(), RADII["fc_d1"][0])
    assert all(np.isnan(bar.get_ydata()).all() for bar in bars)


@pytest.mark.parametrize(
    "edges, radii, words",
    [
        ((0.0,), {}, "edges"),
        ((0.2, 0.1), {}, "edges"),
        ((-0.1, 0.1), {}, "edges"),
        (EDGES, {"fc_d1": np.ones((2, 4))}, r"fc_d1.*3 bands.*\(2, 4\)"),
        (EDGES, {"fc_d1": np.ones(3)}, r"fc_d1.*\(3,\)"),
        (EDGES, {"fc_d1": np.zeros((2, 3))}, "fc_d1.*positive"),
    ],
)
def test_bad_input_raises_an_error_that_names_it(edges, radii, words):
    with pytest.raises(ValueError, match=words):
        plotting.band_curve(edges, radii)

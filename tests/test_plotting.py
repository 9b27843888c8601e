"""Figures say what the tables hold, survive gaps, and come out the same twice."""

import dataclasses
import io
import re
import zlib

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from synthetic_study import ARMS, looks_of, over_steps, renamed, synthetic_study, varied

from freqbias import inference, plotting
from freqbias.plotting.mosaic import normalised_power
from freqbias.study import Arm


@pytest.fixture(scope="module")
def study():
    return synthetic_study(datasets=("natural_patches",), regimes=("linear",), num_seeds=4)


@pytest.fixture(scope="module")
def small():
    return synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("relu",), arms=ARMS[:2], num_seeds=3
    )


def _figures(study):
    rows, claims, spectra, _, looks = study
    dataset = rows["dataset"].iloc[0]
    return {
        "overview": plotting.arm_overview(rows, looks=looks),
        "kernel_size": plotting.frequency_against(rows, "kernel_size", looks=looks),
        "depth": plotting.frequency_against(rows, "depth", looks=looks),
        "init_scale": plotting.init_scale_effect(rows, looks=looks),
        "profiles": plotting.radial_profiles(spectra, looks=looks),
        "gallery": plotting.perturbation_gallery(spectra, dataset, looks=looks),
        "kernels": plotting.kernels_and_predictors(spectra, dataset, looks=looks),
        "claims": plotting.claim_forest(claims["claims"]),
        "over_training": plotting.over_training(over_steps(rows), looks=looks),
        "accuracy": plotting.frequency_against_accuracy(over_steps(rows), looks=looks),
        "used": plotting.frequencies_used(over_steps(rows), looks=looks),
        "factors": plotting.factors(plotting.variance_shares(rows, looks)),
        "no steps": plotting.over_training(rows, looks=looks),
        "not filtered": plotting.frequencies_used(rows, looks=looks),
    }


@pytest.fixture(scope="module")
def drawn(study):
    """All figures of the study, and the global state before."""
    before = dict(mpl.rcParams)
    return _figures(study), before


def _points(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata()) == 1]


def test_the_overview_puts_each_arm_at_its_mean_with_its_t_interval(study):
    figure = plotting.arm_overview(study.rows, looks=study.looks)
    ax = figure.axes[0]
    at = study.rows[
        (study.rows.arm == "fc_d1")
        & (study.rows.regime == "linear")
        & (study.rows.init_scale == 1.0)
        & (study.rows.attack == "closed_form_l2")
    ]
    expected = inference.mean_interval(at.mean_frequency.to_numpy())
    point = next(p for p in _points(ax, "s") if p.get_markerfacecolor() == p.get_color())
    assert float(point.get_xdata()[0]) == pytest.approx(expected.estimate)
    bars = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert any(bar == pytest.approx((expected.low, expected.high)) for bar in bars)


def test_l2_is_filled_and_linf_hollow(study):
    ax = plotting.arm_overview(study.rows, looks=study.looks).axes[0]
    faces = {str(point.get_markerfacecolor()) for point in _points(ax, "o")}
    assert "white" in faces
    assert len(faces) > 1


def test_the_white_noise_line_stands_at_the_null(study):
    null = study.rows.null_mean_frequency.iloc[0]
    lines = plotting.frequency_against(study.rows, "kernel_size", looks=study.looks).axes[0].lines
    dotted = [line for line in lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [pytest.approx(null)]


def test_kernel_size_and_depth_vary_one_factor_at_a_time(study):
    by_kernel = plotting.frequency_against(study.rows, "kernel_size", looks=study.looks).axes[0]
    by_depth = plotting.frequency_against(study.rows, "depth", looks=study.looks).axes[0]
    assert [text.get_text() for text in by_kernel.get_xticklabels()] == ["3", "7", "full\n(32)"]
    assert list(by_depth.get_xticks()) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"kernel_size.*depth.*'width'"):
        plotting.frequency_against(study.rows, "width", looks=study.looks)


def test_bands_of_profiles_are_t_intervals_on_the_log_scale():
    profile = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 3.0], [0.0, 4.0, 5.0]])
    spectra = {
        "d/relu/conv_k3_d1/1.profile": profile,
        "d.frequency": np.array([0.0, 0.1, 0.2]),
    }
    ax = plotting.radial_profiles(spectra).axes[0]
    expected = inference.mean_interval(np.log(profile[:, 1]))
    line = next(line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0])
    np.testing.assert_allclose(line.get_xdata(), [0.1, 0.2])  # DC is left out
    assert line.get_ydata()[0] == pytest.approx(np.exp(expected.estimate))
    band = ax.collections[-1].get_paths()[0].vertices
    ends = sorted(set(np.round(band[np.isclose(band[:, 0], 0.1), 1], 6)))
    np.testing.assert_allclose(ends, np.exp([expected.low, expected.high]), rtol=1e-5)


def test_white_noise_is_one_in_the_spectra_shown():
    noise = np.random.default_rng(0).standard_normal((400, 16, 16, 2))
    power = normalised_power(noise)
    assert np.isnan(power[0, 0])
    assert np.nanmean(power) == pytest.approx(256 / 255)
    cosine = np.cos(2 * np.pi * 3 * np.arange(16) / 16)[None, None, :, None] * np.ones(
        (1, 16, 1, 1)
    )
    power = normalised_power(cosine)
    assert power[0, 3] == pytest.approx(128)
    assert power[0, 13] == pytest.approx(128)


def test_the_spectrum_shown_has_its_frequencies_on_the_axes():
    cosine = np.cos(2 * np.pi * 4 * np.arange(16) / 16)[None, :, None] * np.ones((16, 1, 1))
    spectra = {
        "d/relu/fc_d1/1.examples": cosine[None],
        "d/relu/fc_d1/1.spectrum": np.ones((16, 16)) / 255,
    }
    figure = plotting.perturbation_gallery(spectra, "d")
    picture = next(ax.images[0] for ax in figure.axes if ax.images and ax.images[0].norm.vmin < 0)
    values, (left, right, bottom, top) = picture.get_array(), picture.get_extent()
    row, column = np.unravel_index(np.argmax(np.where(np.isfinite(values), values, -9)), (16, 16))
    assert left + (column + 0.5) * (right - left) / 16 == pytest.approx(-0.25)
    assert top + (row + 0.5) * (bottom - top) / 16 == pytest.approx(0)


def test_only_alike_arms_are_joined_over_kernel_sizes(study):
    """Arms with other padding, channels or optimizer stay out, also where they come first."""
    others = [
        varied(study.rows, "conv_k3_d1", 0.2, arm="conv_k3_d1_same", padding="SAME"),
        varied(study.rows, "conv_k3_d1", 0.2, arm="conv_k3_d1_adam", optimizer="adam"),
        varied(study.rows, "conv_k7_d1", 0.2, arm="conv_k7_d1_adam", optimizer="adam"),
        varied(study.rows, "conv_full_d1", 0.2, arm="conv_full_d1_adam", optimizer="adam"),
        varied(study.rows, "conv_k7_d1", 0.2, arm="conv_k7_d1_c32", channels=32),
        varied(study.rows, "fc_d1", 0.2, arm="fc_d1_adam", optimizer="adam"),
        varied(study.rows, "conv_k3_d1", 0.2, arm="dilated_k3_d1", architecture="dilated"),
        varied(study.rows, "fc_d1", 0.2, arm="kernel_machine", architecture="kernel_machine"),
    ]
    mixed = pd.concat([*others, study.rows])
    more = plotting.Drawn(swept=("dilated",), baseline=("kernel_machine",))
    looks = study.looks.joined(more)
    for axis in ("kernel_size", "depth"):
        drawn, expected = (
            [
                line.get_xydata().round(9).tolist()
                for line in plotting.frequency_against(r, axis, looks=looks).axes[0].lines
            ]
            for r in (mixed, study.rows)
        )
        assert drawn == expected


def test_the_forest_shows_intervals_verdicts_and_gaps(small):
    claims = [dict(claim) for claim in small.claims["claims"]]
    claims[0] |= {"estimate": None, "low": None, "high": None, "verdict": "not decided"}
    figure = plotting.claim_forest(claims)
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert words == [claim["verdict"] for claim in claims]
    assert sum(len(_points(ax, "o")) for ax in figure.axes) == len(claims) - 1


@pytest.mark.parametrize("kind", ["all arms", "two arms, one seed", "all dead", "nothing"])
def test_gaps_leave_figures_that_can_be_drawn(kind):
    if kind == "all arms":
        study = synthetic_study(
            datasets=("natural_patches",), regimes=("relu",), num_seeds=2, dead=ARMS[3:6]
        )
    else:
        study = synthetic_study(
            datasets=("fashion_mnist_mini",),
            regimes=("relu",),
            arms=ARMS[:2],
            num_seeds=1 if "one" in kind else 2,
            dead=ARMS if "dead" in kind else (),
        )
    if kind == "nothing":
        study = study._replace(claims={"claims": []}, spectra={})
    for figure in _figures(study).values():
        assert plotting.png_bytes(figure, dpi=40).startswith(b"\x89PNG")


def test_seeds_that_are_not_live_are_counted_not_plotted():
    study = synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("relu",), arms=ARMS[:2], dead=ARMS[1:2]
    )
    ax = plotting.arm_overview(study.rows, looks=study.looks).axes[0]
    assert "0/8 live" in [text.get_text() for text in ax.texts]
    assert not _points(ax, "o")


def test_text_is_legible_in_every_figure(drawn):
    for name, figure in drawn[0].items():
        figure.draw_without_rendering()
        texts = figure.findobj(mpl.text.Text)
        sizes = [t.get_fontsize() for t in texts if t.get_text().strip()]
        # Exponents of a log axis are set smaller by mathtext; everything else is at least 7 points.
        assert min(sizes) >= 7, name
        assert figure.get_size_inches()[0] <= plotting.PAGE_WIDTH + 1e-6, name


def test_few_colours_are_those_of_the_figure_at_its_resolution(study):
    figure = plotting.radial_profiles(study.spectra, looks=study.looks)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    full = np.asarray(Image.open(buffer).convert("RGB"), float)
    small = plotting.png_bytes(figure, dpi=80)
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), float)
    assert shown.shape == full.shape
    assert len(small) < 0.6 * len(buffer.getvalue())
    assert np.abs(shown - full).mean() < 1  # of 255
    assert (np.abs(shown - full).max(axis=-1) > 40).mean() < 1e-3


def test_files_are_the_same_twice_and_say_nothing_of_the_time(small, tmp_path):
    for run in ("a", "b"):
        gallery = plotting.perturbation_gallery(small.spectra, "fashion_mnist_mini")
        plotting.save(gallery, tmp_path / f"gallery.{run}")
        plotting.save(
            plotting.arm_overview(small.rows, looks=small.looks), tmp_path / f"overview.{run}"
        )
    for name in ("overview", "gallery"):
        for suffix in ("png", "pdf"):
            first, second = ((tmp_path / f"{name}.{run}.{suffix}").read_bytes() for run in "ab")
            assert first == second
            assert b"CreationDate" not in first


def test_fonts_in_a_pdf_are_truetype_and_have_outlines_alone(small):
    """As publishers ask for; text is laid out already, so that layout tables are of no use."""
    pdf = plotting.pdf_bytes(plotting.arm_overview(small.rows, looks=small.looks))
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    plain = [zlib.decompressobj().decompress(stream) for stream in streams]
    fonts = [TTFont(io.BytesIO(data)) for data in plain if data.startswith(b"\0\1\0\0")]
    assert fonts
    assert b"/Type3" not in pdf
    for font in fonts:
        assert "glyf" in font
        assert not {"GSUB", "GPOS", "GDEF"} & set(font.keys())


def test_drawing_leaves_no_global_state(drawn):
    assert dict(mpl.rcParams) == drawn[1]


def _line_of(ax, arm, num):
    """The line of an arm over ``num`` points."""
    color = looks_of(ARMS)[arm].color
    lines = [line for line in ax.lines if line.get_color() == color]
    return next(line for line in lines if len(line.get_xdata()) == num)


def _primary(rows, arm):
    return rows[(rows.arm == arm) & (rows.init_scale == 1) & (rows.attack == "closed_form_l2")]


def test_lines_over_training_are_means_over_seeds_at_each_step(study):
    rows = over_steps(study.rows)
    above, below = plotting.over_training(rows, looks=study.looks).axes[:2]
    at = _primary(rows, "fc_d1")
    steps = sorted(set(rows.step))
    line = _line_of(above, "fc_d1", len(steps))
    np.testing.assert_array_equal(line.get_xdata(), steps)
    np.testing.assert_allclose(line.get_ydata(), at.groupby("step").mean_frequency.mean())
    line = _line_of(below, "fc_d1", len(steps))
    logs = np.log(at.minimal_relative_distance).groupby(at.step)
    np.testing.assert_allclose(line.get_ydata(), np.exp(logs.mean()))
    band = below.collections[0].get_paths()[0].vertices  # fc comes first
    expected = inference.mean_interval(logs.get_group(steps[-1]).to_numpy())
    ends = band[band[:, 0] == steps[-1], 1]
    np.testing.assert_allclose((ends.min(), ends.max()), np.exp([expected.low, expected.high]))
    assert below.get_xscale() == "symlog"
    assert below.get_yscale() == "log"
    without = plotting.over_training(rows.drop(columns="minimal_relative_distance"))
    assert [ax.get_xlabel() for ax in without.axes] == ["training step"]


def test_frequency_against_accuracy_follows_the_means_through_training(study):
    rows = over_steps(study.rows)
    ax = plotting.frequency_against_accuracy(rows, looks=study.looks).axes[0]
    at = _primary(rows, "conv_k3_d1")
    means = at.groupby("step")[["test_accuracy", "mean_frequency"]].mean().to_numpy() * [100, 1]
    np.testing.assert_allclose(_line_of(ax, "conv_k3_d1", len(means)).get_xydata(), means)
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in dots) == len(at) * len(ARMS)


def test_a_setting_of_one_step_has_no_course_of_training(study):
    rows = over_steps(study.rows)
    rows = rows[rows.final | (rows.arm == "fc_d1")]
    for draw, more in [
        (plotting.over_training, ["images"]),
        (plotting.frequency_against_accuracy, []),
    ]:
        figure = draw(rows, looks=study.looks)
        (legend,) = figure.legends
        names = ["Fully connected", "white noise", *more]
        assert [text.get_text() for text in legend.texts] == names


def test_frequencies_used_stand_below_the_frequency_attacked(study):
    rows = over_steps(study.rows)
    rows = rows[rows.final]
    above, below = plotting.frequencies_used(rows, looks=study.looks).axes[:2]
    at = _primary(rows, "fc_d1")
    low = _line_of(below, "fc_d1", 4)
    names = [f"accuracy_low_{cutoff}" for cutoff in ("0.0625", "0.125", "0.25")]
    np.testing.assert_allclose(low.get_ydata(), 100 * at[[*names, "test_accuracy"]].mean())
    high = _line_of(below, "fc_d1", 3)
    np.testing.assert_allclose(
        high.get_ydata(), 100 * at[[name.replace("low", "high") for name in names]].mean()
    )
    assert above.get_xlim() == below.get_xlim()
    (point,) = _points(above, "s")
    assert point.get_xdata()[0] == pytest.approx(at.mean_frequency.mean())


def test_factors_are_told_apart_and_those_that_are_not_are_joined(study):
    rows = study.rows
    (shares,) = plotting.variance_shares(rows, study.looks).values()
    names = [share.name for share in shares]
    assert names == [
        "architecture family", "kernel size", "depth", "weight sharing", "place of the taps",
        "init scale", "interactions", "seeds",
    ]  # fmt: skip
    kernel = shares[1]
    assert (kernel.lowest, kernel.highest) == ("full width", "K=3")
    ax = plotting.factors({("natural_patches", "linear"): shares}).axes[0]
    drawn = {line.get_xdata()[0] for line in _points(ax, "o")}
    assert drawn == {100 * share.share for share in shares}
    assert [text.get_text() for text in ax.get_yticklabels()][-2:] == ["interactions", "seeds"]
    two = rows[rows.arm.isin(["fc_d1", "conv_k3_d1"])].replace("conv_k3_d1", "conv_k3_d1_adam")
    looks = looks_of([Arm("fc"), Arm("conv", 1, "3", optimizer="adam")])
    (shares,) = plotting.variance_shares(two, looks).values()
    joint = next(share for share in shares if "with" in share.name)
    assert joint.name == "architecture family with optimizer"
    assert joint.highest == "Conv, unshared, scattered Adam"


def test_factors_that_nothing_tells_apart_have_a_name_that_fits(study):
    rows = study.rows[study.rows.arm.isin(["fc_d1", "conv_k3_d2"])]
    looks = looks_of([Arm("fc"), ARMS[4]])
    levels = {"fc_d1": {f"factor number {k}": k for k in range(8)},
              "conv_k3_d2": {f"factor number {k}": -k - 1 for k in range(8)}}  # fmt: skip
    shares = plotting.variance_shares(rows, dataclasses.replace(looks, factors=levels))
    figure = plotting.factors(shares)  # a warning of the layout is an error
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().width > figure.bbox.width / 3


def test_over_several_sets_data_and_regime_are_factors(study):
    """The second set is shifted by more than anything else moves, the second regime not at all."""
    rows = study.rows
    moved = rows.assign(dataset="digits", mean_frequency=rows.mean_frequency + 0.3)
    moved = moved[moved.arm != "conv_k7_d1"]  # not run everywhere, so what it does is left out
    rows = rows.assign(mean_frequency=rows.mean_frequency + 10.0 * (rows.arm == "conv_k7_d1"))
    four = pd.concat([part.assign(regime=r) for part in (rows, moved) for r in ("linear", "relu")])
    shares = plotting.variance_shares(four, study.looks)
    assert list(shares)[-1] == ("2 data sets", "both regimes") and len(shares) == 5
    pooled = {share.name: share for share in shares["2 data sets", "both regimes"]}
    assert pooled["data set"].share > 0.5 > 0.01 > abs(pooled["regime"].share)
    assert (pooled["data set"].lowest, pooled["data set"].highest) == ("Natural patches", "Digits")
    assert "K=7" not in {pooled["kernel size"].lowest, pooled["kernel size"].highest}
    one = plotting.variance_shares(four[four.regime == "linear"], study.looks)
    assert list(one)[-1] == ("2 data sets", "linear")


def test_without_replicates_nothing_is_shared_out(study):
    assert plotting.variance_shares(study.rows[study.rows.seed == 0], study.looks) == {}
    assert plotting.variance_shares(_primary(study.rows, "fc_d1"), study.looks) == {}


def test_an_arm_that_nobody_described_is_one_family_more_and_the_factors_stay(study):
    rows, *_, looks = renamed(study, "conv_k7_d1", "my_net")
    for shown in (looks, looks.with_arms(["my_net"])):
        (shares,) = plotting.variance_shares(rows, shown).values()
        named = {share.name: share for share in shares}
        assert {"architecture family", "kernel size", "depth", "place of the taps"} <= set(named)
        assert named["architecture family"].degrees_of_freedom == 2
    (shares,) = plotting.variance_shares(rows).values()  # nothing is known of any arm
    assert [share.name for share in shares] == ["arm", "init scale", "interactions", "seeds"]


@pytest.mark.parametrize("described", [True, False], ids=["one foreign arm", "all foreign"])
def test_an_arm_that_nobody_described_is_drawn_in_every_figure(study, described):
    foreign = renamed(study, "conv_k7_d1", "my_net")
    if not described:
        foreign = foreign._replace(looks=plotting.UNKNOWN)
    few = {"dataset": "natural_patches", "max_arms": 10, "looks": foreign.looks}
    figures = _figures(foreign) | {
        "gallery": plotting.perturbation_gallery(foreign.spectra, **few),
        "kernels": plotting.kernels_and_predictors(foreign.spectra, **few),
        "bands": plotting.band_curve([0, 0.1], {"my_net": np.ones((2, 1))}, looks=foreign.looks),
    }
    for figure in figures.values():
        assert plotting.png_bytes(figure, dpi=40).startswith(b"\x89PNG")
    without = {"kernel_size", "depth", "claims", "factors", "no steps", "not filtered"}
    for name in set(figures) - without:
        texts = [text.get_text() for text in figures[name].findobj(mpl.text.Text)]
        assert "my net" in texts, name
    colors = {line.get_color() for line in figures["overview"].axes[0].lines}
    looks = foreign.looks.with_arms(foreign.rows.arm)
    assert len({looks[arm].color for arm in set(foreign.rows.arm)} & colors) >= 9
    assert looks["my_net"].color in colors


def test_an_attack_of_unknown_geometry_is_drawn_hollow_under_its_own_name(small):
    rows, claims, *_, looks = small
    rows = rows.replace({"geometry": {"linf": "l1"}, "attack": {"pgd_linf": "pgd_l1"}})
    before, after = (plotting.arm_overview(r, looks=looks) for r in (small.rows, rows))
    assert len(_points(after.axes[0], "o")) == len(_points(before.axes[0], "o")) == 2
    words = [[text.get_text() for text in f.legends[0].texts] for f in (before, after)]
    assert words == [[h, a, "white noise"] for h, a in (("L2 attack", "L∞ attack"),
                                                        ("L2 attack", "l1 attack"))]  # fmt: skip
    listed = claims["claims"]
    of_l1 = [{**claim, "attack": "l1"} for claim in listed if claim["attack"] == "linf"]
    both = plotting.claim_forest([*of_l1, *listed])
    assert [text.get_text() for text in both.legends[0].texts] == [
        "L2 attack", "L∞ attack", "l1 attack", "within the margin",
    ]  # fmt: skip
    shown = [text.get_text() for ax in both.axes for text in ax.texts]
    assert len(shown) == len(listed) + len(of_l1)
    alone = plotting.claim_forest([claim for claim in listed if claim["attack"] == "l2"])
    assert [text.get_text() for text in alone.legends[0].texts][:1] == ["L2 attack"]
    assert "L∞ attack" not in [text.get_text() for text in alone.legends[0].texts]

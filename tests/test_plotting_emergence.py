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

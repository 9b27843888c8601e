"""The end of the course of linear networks on a page: a number and its certificate, or why none."""

import numpy as np
import pytest
from synthetic_study import Arm, over_steps, synthetic_study

from freqbias import plotting, schema
from freqbias.report.ends import ends


@pytest.fixture(scope="module")
def study():
    made = synthetic_study(
        datasets=("natural_patches", "digits"), regimes=("linear",), arms=(Arm("fc"),), num_seeds=2
    )
    rows = over_steps(made.rows[made.rows.init_scale == 1])
    first = rows.dataset == "digits"
    values = (np.where(first, 0.0, 1.0), *(np.where(first, x, np.nan) for x in (2e-7, 0.41, 0.25)))
    more = dict(zip(schema.LIMIT, values, strict=True))
    return made._replace(rows=rows.assign(beta_mean_frequency=0.3, **more))


def test_the_end_has_its_certificate_and_a_separation_has_none(study):
    separated, ended, table = ends(study.rows, study.looks).content
    assert separated.startswith("Natural patches: a linear predictor is right on every")
    assert ended.startswith("Digits: cross-entropy has one minimum")
    assert [tuple(row) for row in table.rows] == [
        ("Digits, Fully connected", "2.0e-07", "0.410", "0.300", "0.250")
    ]


def test_where_nothing_was_asked_nothing_is_said(study):
    assert ends(study.rows.drop(columns=list(schema.LIMIT)), study.looks) is None
    assert ends(study.rows.assign(**dict.fromkeys(schema.LIMIT, np.nan)), study.looks) is None


def test_the_end_stands_at_the_right_of_its_panel_only(study):
    figure = plotting.over_training(study.rows, looks=study.looks)
    at_end = [
        [line for line in ax.lines if list(line.get_xdata()) == [0.88, 1]] for ax in figure.axes[:2]
    ]
    assert [len(lines) for lines in at_end] == [0, 1]  # natural patches, digits
    np.testing.assert_allclose(at_end[1][0].get_ydata(), 0.41)

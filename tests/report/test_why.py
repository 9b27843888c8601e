"""What is said of why: numbers of the rows, the bound of theory, nothing where none is known."""

import pytest
from synthetic_study import Arm, over_steps, synthetic_study, with_bands

from freqbias import schema, theory
from freqbias.report import figures, markup, why

KERNELS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))


@pytest.fixture(scope="module")
def study():
    made = synthetic_study(
        datasets=("natural_patches",), regimes=("relu",), arms=KERNELS, num_seeds=2
    )
    return made._replace(rows=with_bands(over_steps(made.rows)))


def _section(study, rows):
    figure = figures.ReportFigure(figures.ORDER, "", "", "", None)  # not drawn here
    return why.why(rows, study.spectra, study.looks, [figure])


def test_sentences_and_table_have_the_numbers_of_the_rows(study):
    section = _section(study, study.rows)
    said, _, table = section.content
    words = " ".join(said.items)
    bound = float(theory.mean_frequency_range((3, 3), (32, 32)).minimum)
    assert f"below {bound:.3f} cycles/pixel" in words
    assert f"lie {markup.signed(0.02)} above that bound" in words
    assert f"which is {markup.signed(-0.03)} from where they began" in words
    final = study.rows[study.rows.final & study.rows.geometry.eq("l2")]
    of = final[final.init_scale == 1].groupby("arm").mean_frequency.mean()
    for a, b in (("conv_k3_d1", "conv_full_d1"), ("conv_full_d1", "fc_d1")):
        assert f"ReLU ({markup.signed(of[a] - of[b])})" in words
    assert "in 3 of 3 arms" in words  # the highest band never doubles
    assert "learning rate" not in words
    lines = {line[0]: line[1] for line in table.rows}
    assert lines["Lowest mean frequency that its size allows"] == f"{bound:.3f}"
    assert lines["Perturbations of Fully connected"] == f"{of['fc_d1']:.3f}"
    assert any(value == "1 → \N{EN DASH}" for value in lines.values())


def test_nothing_is_said_where_it_was_not_measured(study):
    assert why.why(study.rows, study.spectra, study.looks, []) is None
    without = study.rows[study.rows.arm != "fc_d1"]
    assert _section(study, without) is None
    one_kernel = study.rows[study.rows.arm != "conv_full_d1"]
    assert _section(study, one_kernel) is None
    dead = study.rows.assign(status="dead", mean_frequency=float("nan"))
    assert _section(study, dead) is None


def test_rates_are_taken_out_of_the_order(study):
    """The same steps, at rates of 1 and 1/4: a band of full width doubles 1/4 as late."""
    rows = study.rows.assign(
        learning_rate=study.rows.arm.map({"conv_full_d1": 0.25}).fillna(1.0),
        **{schema.GRADIENT[-1]: study.rows[schema.GRADIENT[0]]},
    )
    words = " ".join(_section(study, rows).content[0].items)
    assert "0.25 times as late in Conv full width" in words
    assert "1 times as late in Fully connected" in words

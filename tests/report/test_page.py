"""A page of any kind: what is put in is shown, escaped, in order, with its figures as files."""

import pytest
from matplotlib.figure import Figure

from freqbias import report, runs
from freqbias.inference import Verdict


def page(title="A & B"):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    shown = report.ReportFigure("line", "A line", "From 0 to 1.", "A rising line.", figure)
    return report.Page(
        title,
        ("Two sections.",),
        (
            report.Section(
                "first",
                "First",
                (
                    "Some <text>.",
                    report.Table("What holds", ("claim", "says"), (("C0", Verdict.OPPOSITE),)),
                ),
            ),
            report.Section(
                "second",
                "Second",
                (report.Table("Long", ("a",), (("1",),), folded="All of it"), shown),
            ),
        ),
    )


def test_sections_tables_verdicts_and_figures_are_shown_and_escaped(tmp_path):
    run = runs.open_run(tmp_path / "run", {"speed": 3})
    html = report.write_page(run, page()).read_text(encoding="utf-8")
    assert html.index("<h1>A &amp; B</h1>") < html.index('id="first"') < html.index('id="second"')
    assert "Some &lt;text&gt;." in html
    assert 'class="chip opposite"' in html
    assert "in the other direction" in html  # what the verdict means
    assert html.index("<summary>All of it</summary>") < html.index("<b>Figure 1.</b>")
    assert "data:image/png;base64," in html
    assert "speed" in html
    assert {f.name for f in (run / "figures").iterdir()} == {"line.png", "line.pdf"}
    assert report.build_page(page(), runs.read_config(run)) == html


def test_pages_that_cannot_be_shown_are_refused():
    bad = page()._replace(sections=[page().sections[0]] * 2)
    with pytest.raises(ValueError, match="distinct names"):
        report.build_page(bad, {})
    table = report.Table("t", ("a", "b"), (("1",),))
    with pytest.raises(ValueError, match="rows must have 2 cells"):
        report.build_page(page()._replace(sections=[report.Section("x", "X", (table,))]), {})

"""The pages in a real browser: phone, tablet and desk, light, dark and on paper.

Nothing goes beyond the page but in a box that scrolls, every image is there, and every text stands
out 4.5 : 1 from what is behind it (WCAG 2.1, AA).
"""

import re

import browser
import jax
import numpy as np
import pytest
from synthetic_study import large_study, synthetic_study

import freqbias as fb
from freqbias import attacks, report

CHROMIUM = browser.find()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(browser.NAMES)}"),
]
WIDTHS = (390, 820, 1440)


def _analysis():
    """Two networks under two attacks; one of them is right about little."""
    images = np.asarray(jax.random.uniform(jax.random.key(0), (8, 8, 8, 1)))
    weights = jax.random.normal(jax.random.key(1), (2, 64, 10)) / 4
    apply_fn = lambda params, x: x.reshape(len(x), -1) @ params  # noqa: E731
    labels = np.argmax(apply_fn(weights[0], images), -1)
    steps = {
        "FGSM, L2": attacks.fgsm(attacks.L2(), epsilon=0.3, bounds=None),
        "FGSM, L-inf": attacks.fgsm(attacks.Linf(), epsilon=0.05, bounds=None),
    }
    networks = {"a network": (apply_fn, weights[0]), "another one": (apply_fn, weights[1])}
    return fb.analyze(
        networks, images=images, labels=labels, attacks=steps,
        key=jax.random.key(2), progress=False,
    ).page()  # fmt: skip


def _report(study, spectra):
    rows, claims, _, config, looks = study
    return report.build_report(rows, claims, spectra, config, looks=looks)


def _study():
    study = synthetic_study(datasets=("digits", "natural_patches"), num_seeds=3)
    return _report(study, study.spectra)


PAGES = {
    "analysis": _analysis,
    "report": _study,
    "large report": lambda: _report(large_study(num_seeds=3), {}),
}


@pytest.fixture(scope="module", params=PAGES)
def page(request):
    return PAGES[request.param]()


def _sound(seen):
    assert seen.texts > 100
    assert (seen.overflow, seen.outside) == (0, [])
    assert seen.images > 0
    assert (seen.missing, seen.wide) == (0, 0)
    assert seen.faint == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_screens(page, tmp_path, dark):
    found = browser.measure(CHROMIUM, page, tmp_path, WIDTHS, dark=dark, on_paper=False)
    assert tuple(found) == WIDTHS
    for seen in found.values():
        _sound(seen)
        assert seen.background == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_paper(page, tmp_path, dark):
    """Nothing scrolls there, and paper is white whatever the reader prefers on screens."""
    found = browser.measure(CHROMIUM, page, tmp_path, (browser.PAPER,), dark=dark, on_paper=True)
    _sound(found[browser.PAPER])
    assert found[browser.PAPER].sideways == 0
    assert found[browser.PAPER].background == "rgb(255, 255, 255)"


def printed(html, folder):
    """The sheets of a page on paper, (width, height) in points."""
    source, pdf = folder / "page.html", folder / "page.pdf"
    source.write_text(html, encoding="utf-8")
    browser.run(CHROMIUM, source, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    sheets = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf.read_bytes())
    return [tuple(round(float(side)) for side in one) for one in sheets]


def test_it_prints(page, tmp_path):
    sheets = printed(page, tmp_path)
    assert 2 <= len(sheets) <= 60
    assert {tuple(sorted(sheet)) for sheet in sheets} == {(595, 842)}


@pytest.mark.parametrize("folded", ["", "All columns"])
def test_a_wide_table_lies_across_and_the_rest_upright(tmp_path, folded):
    table = report.Table("", [f"column {i}" for i in range(14)], [["value"] * 14] * 5, folded,
                         wide=True)  # fmt: skip
    sections = (report.Section("wide", "Wide", ("Text.", table)), report.Section("b", "B", ("C",)))
    sheets = printed(report.build_page(report.Page("A", ("B",), sections), {}), tmp_path)
    assert sheets.count((842, 595)) == 1 and sheets[0] == sheets[-1] == (595, 842)


BROKEN = """<!DOCTYPE html><style>
  body {{ margin: 0; background: #fff; color: #222; }} {style}
  @media screen and (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} }}
  @media print {{ p {{ color: #ccc; }} }}
</style><p>words</p>{more}"""


@pytest.mark.parametrize(
    ("style", "more", "seen"),
    [
        ("", "", {}),
        ("p { color: #999; }", "", {"faint": ["words: 2.85"]}),
        ("", "<div style='width: 500px'>far</div>", {"outside": ["far"], "overflow": 110}),
        ("", "<img src='data:image/png;base64,AAAA'>", {"missing": 1}),
        ("i { padding: 999px; } .scroll { overflow: auto; }", "<div class=scroll><i>in</i></div>",
         {"sideways": 1, "scrolls": 1}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_seen(tmp_path, style, more, seen):
    html = BROKEN.format(style=style, more=more)
    (found,) = browser.measure(
        CHROMIUM, html, tmp_path, (390,), dark=False, on_paper=False
    ).values()
    healthy = {"faint": [], "outside": [], "overflow": 0, "missing": 0, "sideways": 0, "scrolls": 0}
    assert {name: getattr(found, name) for name in healthy} == healthy | seen


def test_the_rules_for_paper_and_for_the_dark_are_those_that_hold(tmp_path):
    html = BROKEN.format(style="", more="")
    for dark, on_paper, background, faint in (
        (True, False, "rgb(17, 17, 17)", 0),
        (True, True, "rgb(255, 255, 255)", 1),
    ):
        (found,) = browser.measure(
            CHROMIUM, html, tmp_path, (390,), dark=dark, on_paper=on_paper
        ).values()
        assert (found.background, len(found.faint)) == (background, faint)

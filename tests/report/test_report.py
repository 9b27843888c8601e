"""The report shows every claim with its numbers, hides no failure, and needs no network."""

import json
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from synthetic_study import ARMS, large_study, over_steps, renamed, synthetic_study

from freqbias import report, runs
from freqbias.study import Arm


def _report(study, **changed):
    """The page of a study, some of its inputs changed."""
    rows, claims, spectra, config, looks = study._replace(**changed)
    return report.build_report(rows, claims, spectra, config, looks=looks)


def _tables(study, **changed):
    """The page without what is drawn from arrays."""
    return _report(study, **{"spectra": {}, "config": {}, **changed})


def _figures(study, **changed):
    rows, claims, spectra, _, looks = study._replace(**changed)
    return report.make_figures(rows, claims, spectra, looks)


@pytest.fixture(scope="module")
def study():
    return synthetic_study(
        datasets=("fashion_mnist_mini",), arms=ARMS[:4], num_seeds=3, dead=ARMS[3:4]
    )


@pytest.fixture(scope="module")
def figures(study):
    return _figures(study)


@pytest.fixture(scope="module")
def page(study, figures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freqbias.report.sweep.make_figures", lambda *_: figures)
        return _report(study)


@pytest.fixture
def no_figures(monkeypatch):
    """Tables alone: figures take most of the time of a page."""
    monkeypatch.setattr("freqbias.report.sweep.make_figures", lambda *_: [])


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures are drawn for their titles and captions, and not encoded."""
    monkeypatch.setattr("freqbias.plotting.png_bytes", lambda *_, **__: b"")


class _Page(HTMLParser):
    """Checks nesting, collects ids, links, images and text."""

    _VOID = ("meta", "br", "img", "rect", "line", "circle", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        self.images += [attrs] if tag == "img" else []
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self._VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def _parse(page):
    parsed = _Page()
    parsed.feed(page)
    assert parsed.open == []
    return parsed


def _words(page):
    return " ".join(" ".join(_parse(page).text).split())


def test_the_page_is_well_formed_and_self_contained(page):
    parsed = _parse(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    places = {link.removeprefix("#") for link in parsed.links if link.startswith("#")}
    assert places <= set(parsed.ids)
    files = {link for link in parsed.links if not link.startswith("#")}
    of_run = {"rows.csv", "spectra.npz", "claims.json"}
    assert all(file in of_run or re.fullmatch(r"figures/\w+\.(pdf|png)", file) for file in files)
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.images)
    assert not re.search(r"https?://|<script|@import|url\(", page)


def test_every_picture_has_words_and_a_caption(page, figures):
    parsed = _parse(page)
    assert len(parsed.images) == len(figures)
    assert all(len(image["alt"]) > 20 for image in parsed.images)
    words = _words(page)
    for figure in figures:
        assert figure.title in words
    assert "3 seeds per arm" in words
    assert "95 % t intervals" in words


def test_every_claim_shows_effect_interval_margin_verdict_and_live_seeds(page, study):
    words = _words(page)
    for claim in study.claims["claims"]:
        assert claim["title"] in words
        if claim["estimate"] is not None:
            low, high = (f"{claim[k]:+.3f}".replace("-", "\N{MINUS SIGN}") for k in ("low", "high"))
            assert f"[{low}, {high}]" in words
        assert f"{claim['live_seeds']}/{claim['seeds']} live" in words
    assert "margin ±0.010 cycles/pixel" in words


@pytest.mark.usefixtures("no_pictures")
def test_a_claim_about_all_data_sets_has_a_place_of_its_own(study):
    claim = {**study.claims["claims"][0], "id": "C4", "dataset": "all", "estimate": 0.4321}
    words = _words(_tables(study, claims={"claims": [claim]}))
    assert words.index("+0.432") < words.index("Figure 1.")


def test_claims_come_before_figures(page):
    assert page.index('id="claims"') < page.index('id="figures"') < page.index('id="method"')


@pytest.mark.usefixtures("no_figures")
def test_verdicts_are_words_and_are_counted(study):
    claims = {"claims": [dict(claim) for claim in study.claims["claims"]]}
    for claim, verdict in zip(claims["claims"], ("opposite", "equivalent"), strict=False):
        claim["verdict"] = verdict
    words = _words(_tables(study, claims=claims))
    l2 = [c["verdict"] for c in claims["claims"] if c["attack"] != "linf"]
    for verdict in set(l2):
        sign = {"supported": "✓", "opposite": "✗", "not decided": "\N{EN DASH}"}.get(verdict)
        if sign:
            assert f"{l2.count(verdict)} {sign} {verdict}" in words


def test_failures_are_counted_and_named(page):
    words = _words(page)
    assert "42 of 48 networks are live" in words  # 4 arms, 2 regimes, 2 scales, 3 seeds
    assert re.search(r"Fashion-MNIST mini, ReLU Conv full width 0\.5 0/3 3 dead", words)
    assert "no live network" in words
    assert "no seed of conv_full_d1 is live" in words  # the reason of a claim not decided


@pytest.mark.usefixtures("no_figures")
def test_no_failures_are_said_to_be_none():
    study = synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("linear",), arms=ARMS[:2], num_seeds=2
    )
    assert "No network died or diverged." in _words(_report(study))


def test_settings_and_command_are_there(page):
    words = _words(page)
    assert "reproduce.py --preset=quick --out=results/quick" in words
    assert "44a4956870b8" in words
    assert "L∞, PGD" in words


@pytest.mark.usefixtures("no_pictures")
def test_text_from_the_inputs_is_escaped(study):
    claims = {"claims": [{**study.claims["claims"][0], "title": '<b>K</b> & "K\'"'}]}
    page = _tables(study, claims=claims, config={"note": "<script>alert(1)</script>"})
    assert "<script>" not in page
    assert "&lt;b&gt;K&lt;/b&gt; &amp;" in page


@pytest.mark.usefixtures("no_figures")
def test_null_numbers_give_dashes_never_none_or_nan(study):
    nulls = ("estimate", "low", "high", "standard_error", "degrees_of_freedom", "margin", "p_holm",
             "other_scales", "detectable_effect", "unit", "reason")  # fmt: skip
    claims = {
        "claims": [
            {**claim, **dict.fromkeys(nulls), "verdict": "not decided"}
            for claim in study.claims["claims"]
        ]
    }
    dead = study.rows.assign(status="dead", mean_frequency=float("nan"))
    words = _words(_tables(study, rows=dead, claims=claims))
    assert "no estimate" in words
    assert not re.search(r"\b(None|nan|NaN|null)\b", words)


def test_the_same_inputs_give_the_same_page():
    pages = []
    for _ in range(2):
        study = synthetic_study(
            datasets=("natural_patches",), regimes=("relu",), arms=ARMS[:2], num_seeds=2
        )
        profiles = {k: v for k, v in study.spectra.items() if k.endswith(("profile", "frequency"))}
        pages.append(_report(study, spectra=profiles))
    assert pages[0] == pages[1]


def test_rows_without_what_the_report_needs_are_refused(study):
    with pytest.raises(ValueError, match=r"rows must be a table with columns .* status"):
        _tables(study, rows=study.rows.drop(columns="status"))
    with pytest.raises(ValueError, match="empty"):
        _tables(study, rows=study.rows.iloc[:0])


def _run_of(study, path):
    """The study as a run, but for ``study.json``."""
    run = runs.open_run(path, study.config["config"])
    for setting, group in study.rows.groupby(["arm", "init_scale"]):
        runs.append_rows(run, f"{setting[0]}-{setting[1]:g}", group.to_dict("records"))
    runs.save_json(run, "claims.json", study.claims)
    profiles = {k: v for k, v in study.spectra.items() if not k.endswith(("examples", "kernels"))}
    runs.save_arrays(run, "spectra", **profiles)
    return run


def test_a_run_folder_gets_report_and_figures(tmp_path):
    study = synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("relu",), arms=ARMS[:2], num_seeds=2
    )
    run = _run_of(study, tmp_path / "run")
    runs.save_json(run, "study.json", {"drawn": study.looks.as_json(), "figures": []})
    written = report.write_report(run)
    assert written == run / "report.html"
    pure = report.build_report(
        runs.read_rows(run),
        json.loads((run / "claims.json").read_text()),
        runs.load_arrays(run, "spectra"),
        runs.read_config(run),
        looks=study.looks,
    )
    assert written.read_text(encoding="utf-8") == pure
    names = {file.name for file in (run / "figures").iterdir()}
    assert {"arm_overview.png", "arm_overview.pdf", "radial_profiles.png"} <= names
    links = {link for link in _parse(pure).links if not link.startswith("#")}
    assert "figures/arm_overview.pdf" in links
    there = {str(file.relative_to(run)) for file in run.rglob("*")}
    assert links - there == {"rows.csv"}  # written when a run ends


def test_figures_of_training_are_shown_where_steps_were_recorded():
    study = synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("relu",), arms=ARMS[:2], num_seeds=2
    )
    plain = {item.name for item in _figures(study, claims={}, spectra={})}
    assert "over_training" not in plain
    figures = _figures(study, rows=over_steps(study.rows), claims={}, spectra={})
    names = {item.name for item in figures}
    assert names - plain == {"over_training", "frequency_against_accuracy", "frequencies_used"}
    assert all("interval" in item.caption for item in figures)


@pytest.mark.usefixtures("no_pictures")
def test_factors_have_a_section_with_figure_and_table(page, study):
    words = _words(page)
    assert page.index('id="figures"') < page.index('id="factors"') < page.index('id="networks"')
    assert page.index('id="factors"') < page.index('id="figure-factors"')
    section = words[words.rindex("Which factor moves the frequency most") :]
    share = r"[+-]?\d+\.\d\s%"
    cell = rf"kernel size {share} \[{share}, {share}\] \+0\.\d+: (full width|K=7) → K=3"
    assert re.search(cell, section.replace("\N{MINUS SIGN}", "-"))
    one = study.rows[(study.rows.seed == 0)]
    assert 'id="factors"' not in _tables(study, rows=one, claims={})


@pytest.mark.usefixtures("no_pictures")
def test_dependence_on_the_data_set_is_said_beside_the_claims(page, study):
    entry = {
        "id": "C4-C1", "title": "Alike", "regime": "relu", "attack": "l2", "verdict": "opposite",
        "margin": 0.01, "range": 0.0321, "range_low": 0.02, "range_high": 0.05,
        "sources": ["a", "b", "c"], "sd": 0.0213, "sd_low": 0.011, "sd_high": 0.2,
        "deviations": {"digits": [0.034, 0.02, 0.05], "natural_patches": [-0.034, -0.05, -0.02]},
    }  # fmt: skip
    words = _words(_tables(study, claims={**study.claims, "independence": [entry]}))
    assert "C4-C1 Alike" in words
    for shown in (
        "0.032 [0.020, 0.050] 3",
        "Digits +0.034 [+0.020, +0.050]",
        "\N{MINUS SIGN}0.034",
    ):
        assert shown in words, shown
    assert words.index("C4-C1 Alike") < words.index("Which factor moves")
    assert "C4-C1" not in _words(page)


@pytest.mark.usefixtures("no_figures")
def test_three_readings_stand_side_by_side(page, study):
    reading = {"verdict": "supported", "estimate": 0.03, "low": 0.02, "high": 0.04, "reason": ""}
    entry = {
        "id": "C1", "title": "Conv above FC", "dataset": "natural_patches", "regime": "linear",
        "attack": "l2", "end": reading, "moving": {"fc_d1": -0.021},
        "equal_loss": {**reading, "verdict": "not decided", "estimate": None, "loss": 0.5},
        "course": {"steps": [0, 100, 1000], "verdicts": ["opposite", "supported", "supported"],
                   "effects": [], "holds_from": 100},
    }  # fmt: skip
    words = _words(_report(study, claims={**study.claims, "readings": [entry]}))
    along, moving = "from step 100 on", "fc_d1 \N{MINUS SIGN}0.021"
    for shown in ("In the course of training", along, moving, "+0.030 [+0.020, +0.040]"):
        assert shown in words, shown
    entry["course"]["holds_from"] = None
    words = _words(_report(study, claims={**study.claims, "readings": [entry]}))
    assert "only at the last step" in words
    assert "In the course of training" not in _words(page)


@pytest.mark.usefixtures("no_pictures")
def test_heat_maps_and_the_exact_control_are_shown_where_they_were_made(page, study):
    spectra = study.spectra
    key = next(key for key in spectra if key.endswith("/1.spectrum"))
    dataset, rest = key.split("/", 1)
    more = {
        key.replace("spectrum", "heat_map"): spectra[key][None] * 0,
        f"{dataset}+permuted_0/{rest}": spectra[key],
    }
    plain = _words(page)
    words = _words(_report(study, spectra={**spectra, **more}))
    for title in ("Which plane waves break each network", "The exact control"):
        assert title in words
        assert title not in plain


@pytest.fixture(scope="module")
def large():
    """Two main sets, two with three arms, the other box, claims by geometry."""
    minor = ("digits", "fashion_mnist_mini+permuted_0")
    arms = (*ARMS[:5], Arm("fc", weight_decay=0.0005), Arm("vit", 2, optimizer="adam"))
    study = large_study(2, arms, minor, scales=(1.0, 0.5))
    kept = ("frequency", "spectrum")
    return study._replace(spectra={k: v for k, v in study.spectra.items() if k.endswith(kept)})


def _table(page, caption):
    """The rows of cells of the table whose caption starts so."""
    table = page[page.index(f"<caption>{caption}") :].split("</table>")[0]
    return [
        [
            _words(f"<p>{cell}</p>")
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in table.split("<tr")[1:]
    ]


@pytest.mark.usefixtures("no_figures")
def test_minor_data_sets_have_rows_not_columns(large):
    page = _report(large)
    claims = _table(page, "Effect with its 95 % interval")
    networks = _table(page, "Test accuracy at init scale")
    for table in (claims, networks):
        assert len(table[0]) == 5  # two sets, two regimes
        assert not any("Digits" in cell for cell in table[0])
    rows = _table(page, "Claims on the data sets on which few arms were run")
    by_set = [row[0] for row in rows if len(row) == 5][1:]
    assert by_set == ["Digits", "Fashion-MNIST mini, permuted 0"] * 4  # C1, C2-ends x regimes
    groups = [row[0] for row in rows if len(row) == 1]
    assert groups[0].startswith("C1 Convolution against fully connected, linear")
    claim = next(c for c in large.claims["claims"] if c["dataset"] == "digits")
    assert f"{claim['estimate']:+.3f}" in rows[2][1]
    words = _words(page)
    assert "some of them on 2 further data sets" in words
    assert "L2 attack (primary), 8 tests" in words  # of the main sets


@pytest.mark.usefixtures("no_figures")
def test_beside_many_panels_a_claim_has_a_line_of_its_own():
    """A column of names beside six panels is a letter wide in print."""
    datasets = ("fashion_mnist", "fashion_mnist_mini", "natural_patches")
    study = synthetic_study(datasets, arms=ARMS[:4], num_seeds=2)
    head, name, cells, *_ = _table(_report(study), "Effect with its 95 % interval")
    assert len(head) == len(cells) == 6
    assert head[0] == "Fashion-MNIST linear"
    assert len(name) == 1 and name[0].startswith("C1 ") and "margin" in name[0]


@pytest.mark.usefixtures("no_figures")
def test_a_claim_without_its_arms_on_a_minor_set_is_no_row_there(large):
    claim = {**large.claims["claims"][0], "dataset": "digits", "arms": ["conv_k3_d3", "fc_d1"],
             "id": "C99", "estimate": None, "attack": "l2", "verdict": "not decided"}  # fmt: skip
    page = _tables(large, claims={"claims": [claim]})
    assert "Claims on the data sets" not in page
    assert "C99" in _words(page)  # among all numbers


@pytest.mark.usefixtures("no_figures")
def test_the_other_box_is_named_and_is_no_opinion_on_the_claim(large):
    page = _report(large)
    words = _words(page)
    assert "L2, no box" in words
    assert "L2, in the box" in words
    assert "L2 attack, box changed, 8 tests" in words
    assert "L2, PGD, no box" in words  # under Settings
    plain = large.rows[~large.rows.geometry.str.contains("-")]
    networks = _table(_tables(large, rows=plain, claims={}), "Test accuracy at init scale")
    assert networks == _table(page, "Test accuracy at init scale")


def test_figures_of_panels_show_main_sets_and_say_where_the_others_are(large):
    made = _figures(large)
    figures = {item.name: item for item in made}
    assert "box" in figures
    titles = [ax.get_title(loc="left") for ax in figures["arm_overview"].figure.axes]
    assert len(titles) == 4
    assert not any("Digits" in title or "permuted" in title for title in titles)
    assert figures["effects_by_dataset"].title in figures["arm_overview"].caption
    assert "exact_control" in figures  # needs the permuted set, which is minor


def test_the_figure_of_effects_by_data_set_stands_among_the_claims(large, monkeypatch):
    drawn = Figure(figsize=(1, 1))
    names = ("effects_by_dataset", "follows_the_data")
    items = [report.ReportFigure(name, name, "", "", drawn) for name in names]
    monkeypatch.setattr("freqbias.report.sweep.make_figures", lambda *_: items)
    page = _report(large)
    places = [
        page.index(f'id="{name}"')
        for name in (
            "by-data-set",
            "figure-effects_by_dataset",
            "figures",
            "figure-follows_the_data",
        )
    ]
    assert places == sorted(places)
    assert 'href="figures/follows_the_data.pdf"' in page


@pytest.mark.usefixtures("no_figures")
def test_of_many_deviations_the_extremes_stand_in_the_cell_and_all_below(large):
    deviations = {f"digits+permuted_{k}": [0.01 * k, 0.0, 0.1] for k in range(6)}
    entry = {**large.claims["independence"][0], "deviations": deviations}
    claims = {**large.claims, "independence": [entry]}
    page = _tables(large, claims=claims)
    cell = _table(page, "Does an effect depend")[1][-1]
    assert "permuted 5 +0.050" in cell
    assert "permuted 0 +0.000" in cell
    assert "permuted 3" not in cell


@pytest.fixture(scope="module")
def two_arms():
    study = synthetic_study(
        datasets=("fashion_mnist_mini",), regimes=("relu",), arms=ARMS[:2], num_seeds=2
    )
    return study._replace(rows=study.rows.assign(memory=study.rows.num_images / 256), spectra={})


def test_a_measurement_of_ones_own_has_a_figure_with_its_unit(two_arms, tmp_path):
    own = report.OwnFigure("memory", "What is remembered", "bits/pixel")
    absent = report.OwnFigure("absent", "Never measured", "1")
    run = _run_of(two_arms, tmp_path / "run")
    description = {"drawn": two_arms.looks.as_json(), "figures": [list(own), list(absent)]}
    runs.save_json(run, "study.json", description)
    page = report.write_report(run).read_text(encoding="utf-8")
    words = _words(page)
    assert 'id="figure-own_memory"' in page
    assert "What is remembered (bits/pixel) of trained networks" in words
    assert "Never measured" not in words
    assert {"own_memory.png", "own_memory.pdf"} <= {f.name for f in (run / "figures").iterdir()}
    (made,) = (
        item
        for item in report.make_figures(two_arms.rows, {}, {}, two_arms.looks, [own, absent])
        if item.name.startswith("own_")
    )
    ax = made.figure.axes[0]
    assert ax.get_xlabel() == "What is remembered\n(bits/pixel)"
    points = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    assert {float(line.get_xdata()[0]) for line in points} == {0.5}


@pytest.mark.parametrize(
    ("description", "error", "words"),
    [
        (None, FileNotFoundError, "no study.json"),
        ({"figures": []}, ValueError, r"study.json.*'drawn' and 'figures'.*\['drawn'\]"),
        ({"drawn": {}}, ValueError, r"study.json.*\['figures'\]"),
    ],
    ids=["no file", "no looks", "no figures"],
)
def test_a_run_that_does_not_say_how_arms_are_drawn_is_refused(
    two_arms, tmp_path, description, error, words
):
    run = _run_of(two_arms, tmp_path / "run")
    if description is not None:
        runs.save_json(run, "study.json", description)
    with pytest.raises(error, match=words):
        report.write_report(run)
    assert not (run / "report.html").exists()
    assert not (run / "figures").exists()


def test_a_run_without_claims_is_named(two_arms, tmp_path):
    run = runs.open_run(tmp_path / "run", {})
    runs.append_rows(run, "all", two_arms.rows.to_dict("records"))
    with pytest.raises(FileNotFoundError, match=r"has no claims.json"):
        report.write_report(run)


def test_an_arm_that_nobody_described_goes_through_the_whole_report(study, page):
    plain, foreign = page, renamed(study, "conv_k7_d1", "my_net")
    looks = foreign.looks.with_arms(["my_net"])
    page = _report(foreign)
    rows = _table(page, "Test accuracy at init scale")
    assert [row[0] for row in rows[1:]] == [
        "Fully connected", "Conv K=3", "Conv full width", "my net",
    ]  # fmt: skip
    assert f"background: {looks['my_net'].color}" in page
    assert len({looks[arm].color for arm in set(foreign.rows.arm)}) == 4
    assert re.findall('id="figure-([^"]+)"', page) == re.findall('id="figure-([^"]+)"', plain)


@pytest.mark.usefixtures("no_figures")
def test_second_opinions_are_counted_under_their_own_names(study):
    listed = study.claims["claims"]
    more = [{**claim, "attack": "l1"} for claim in listed if claim["attack"] == "linf"]
    words = _words(_report(study, claims={"claims": [*listed, *more]}))
    for name in ("L∞", "l1"):
        assert f"{name} attack (second opinion), {len(more)} test" in words
    assert "(hollow: L∞, l1; grey: box changed)" in words
    primary = [claim for claim in listed if claim["attack"] == "l2"]
    words = _words(_report(study, claims={"claims": primary}))
    assert "second opinion)" not in words
    assert "hollow" not in words


def test_captions_name_the_second_attack_that_was_run(two_arms):
    unknown = two_arms.rows.replace({"geometry": {"linf": "l1"}})
    alone = two_arms.rows[two_arms.rows.geometry == "l2"]
    captions = {
        name: _figures(two_arms, rows=rows, claims={})[0].caption
        for name, rows in (("L∞", two_arms.rows), ("l1", unknown), ("", alone))
    }
    assert "hollow: L∞ attack, whose sign whitens the spectrum" in captions["L∞"]
    assert "hollow: l1 attack." in captions["l1"]
    assert "whitens" not in captions["l1"]
    assert "hollow" not in captions[""]

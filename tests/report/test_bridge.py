"""The way from the authors' protocol to ours: on a made-up run whose verdict turns at one stage."""

import html
import re

import numpy as np
import pandas as pd
import pytest
from synthetic_study import looks_of, names, synthetic_study

from freqbias import plotting, report, schema
from freqbias.report.bridge import split
from freqbias.report.markup import number, signed
from freqbias.study import bridge, claims, designs, protocols
from freqbias.study.setting import LONG

_ALL = bridge.registry()
REGISTRY = _ALL._replace(claims=tuple(c for c in _ALL.claims if c.of or c.id in bridge.BASES))
TURN = "rate"  # the stage from which on conv lies above FC


def made_up():
    """Conv below FC up to a stage, above from there on; by log amplitude above all the way."""
    stages = list(protocols.STAGES)
    arms = [protocols.arm_at(stage, arm) for stage in stages for arm in designs.ENDS]
    study = synthetic_study(datasets=("digits",), regimes=("relu",), arms=arms, num_seeds=3)
    rows = study.rows[study.rows.init_scale == 1]
    rng = np.random.default_rng(0)
    late = rows.protocol.map(stages.index) >= stages.index(TURN)
    conv = rows.kernel == "3"
    shift = np.where(conv, np.where(late, 0.05, -0.05), 0.0)
    noise = 0.001 * rng.standard_normal(len(rows))
    rows = rows.assign(
        mean_frequency=0.3 + shift + noise, checkpoints=0, learning_rate=0.01,
        **{schema.LOG_TILT: np.where(conv, 1.0, 0.0) + noise},
    )  # fmt: skip
    authors = rows[(rows.protocol == "authors") & (rows.geometry == "linf")]
    long = authors.assign(geometry=LONG, attack=f"pgd_{LONG}")
    rows = pd.concat([rows, long], ignore_index=True)
    records = claims.judge(rows, REGISTRY)
    found = {"claims": records, "readings": [], "independence": []}
    return study._replace(rows=rows, claims=found, looks=looks_of(arms))


@pytest.fixture(scope="module")
def study():
    return made_up()


@pytest.fixture(scope="module")
def page(study):
    built = report.build_report(
        study.rows, study.claims, study.spectra, study.config, looks=study.looks
    )
    return html.unescape(built)


def test_the_page_says_at_which_stage_a_verdict_changes(page):
    said = re.search(r"<b>C1</b> on [^<]*", page)[0]
    title = protocols.STAGES[TURN].title
    parts = said.split("; ")
    assert len(parts) == 3
    assert "supported (+1.00" in parts[0]
    assert parts[1].startswith(f"opposite ({signed(-0.049)}")
    assert parts[1].endswith("with mean frequency: power, colour, all images")
    assert parts[2].startswith("supported (+0.0")
    assert parts[2].endswith(f"with {title}.")


def test_every_stage_has_a_line_and_every_arm_both_statistics(page, study):
    section = page.split('<h2 id="bridge">')[1].split("</section>")[0]
    for title, *_ in list(protocols.STAGES.values())[1:]:
        assert section.count(f'<th scope="row">{title}</th>') == 2  # C1 and C2
    rows = study.rows
    of_arm = rows[(rows.arm == "fc_d1_authors") & (rows.geometry == "linf")]
    line = section.split(f"{study.looks['fc_d1_authors'].label}</th>")[1]
    assert number(of_arm[schema.LOG_TILT].mean(), 2) in line.split("</tr>")[0]


def test_the_rest_of_the_page_is_of_our_protocol(page, study):
    claimed = page.split('<h2 id="claims">')[1].split("</section>")[0]
    assert "authors" not in claimed
    rest = split(study.rows, study.claims)
    assert set(rest.rows.arm) == set(names(designs.ENDS))
    assert {claim["id"] for claim in rest.claims["claims"]} >= {"C1", "C2-ends"}


def test_without_our_arms_the_page_shows_the_first_stage(study):
    rows = study.rows[study.rows.protocol == "authors"]
    records = claims.judge(rows, REGISTRY)
    rest = split(rows, {"claims": records})
    assert len(rest.rows) == len(rows)
    assert rest.claims["claims"] == rest.staged == records


def test_a_run_without_stages_is_left_as_it_is(study):
    rows = study.rows.drop(columns="protocol")  # as of older runs
    rest = split(rows, {"claims": [{"id": "C1"}]})
    assert rest.rows is rows
    assert not rest.staged


def test_effects_are_drawn_at_their_stage(study):
    staged = [claim for claim in study.claims["claims"] if claim.get("of")]
    figure = plotting.bridge(staged)
    ours = figure.axes[0]
    stages = [text.get_text() for text in ours.get_yticklabels()]
    assert stages == [title for title, *_ in protocols.STAGES.values()]
    filled = [line for line in ours.lines if line.get_marker() in "^v"
              and line.get_markerfacecolor() != "white"]  # fmt: skip
    effects = {int(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in filled}
    turn = list(protocols.STAGES).index(TURN)
    assert [effects[y] > 0 for y in range(len(stages))] == [y >= turn for y in range(len(stages))]

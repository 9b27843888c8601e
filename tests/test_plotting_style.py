"""Looks of arms: those described, those that nobody described, and both through JSON."""

import itertools
import json

import pytest
from synthetic_study import ARMS, MANY_ARMS, looks_of, names

from freqbias import runs
from freqbias.plotting import UNKNOWN, Drawn, Style
from freqbias.study import Arm

LOOKS = looks_of([*MANY_ARMS, Arm("conv", 2, "7", "SAME", 16, "adam", 0.0005)])


def test_looks_go_through_json_and_a_run(tmp_path):
    assert Drawn.from_json(json.loads(json.dumps(LOOKS.as_json()))) == LOOKS
    run = runs.open_run(tmp_path / "run", {})
    runs.save_json(run, "study.json", {"drawn": LOOKS.as_json()})
    back = Drawn.from_json(runs.load_json(run, "study.json")["drawn"])
    assert back == LOOKS
    assert list(back.styles) == list(LOOKS.styles)
    assert list(back.groups) == list(LOOKS.groups)
    assert Drawn.from_json(UNKNOWN.as_json()) == UNKNOWN


def test_looks_are_joined_to_a_union_in_which_the_first_has_the_last_word():
    a, b = looks_of(ARMS[:4]), looks_of([Arm("vit", 2, optimizer="adam"), *ARMS[2:]])
    joined = a.joined(b)
    assert dict(joined.styles) == {**b.styles, **a.styles}
    assert list(joined.styles) == [*a.styles, *(arm for arm in b.styles if arm not in a.styles)]
    assert joined.factors == {**b.factors, **a.factors}
    for field in ("typical", "swept", "baseline"):
        both = (*getattr(a, field), *getattr(b, field))
        assert sorted(getattr(joined, field)) == sorted(set(both))
    for title in {*a.groups, *b.groups}:
        expected = {*a.groups.get(title, ()), *b.groups.get(title, ())}
        assert set(joined.groups[title]) == expected
    assert a.joined(a) == a
    assert a.joined(UNKNOWN) == UNKNOWN.joined(a) == a
    other = Drawn(styles={"fc_d1": Style("Mine", "#123456", "8")}, factors={"fc_d1": {"x": 1}})
    assert other.joined(a)["fc_d1"].label == "Mine"
    assert a.joined(other)["fc_d1"].label == "Fully connected"
    assert other.joined(a).factors["fc_d1"] == {"x": 1}


def test_groups_hold_what_is_there_and_other_comes_last():
    looks = Drawn(groups={"Other": ("b", "c"), "Size": ("a", "z"), "Depth": ("x",)})
    assert looks.groups_of(["c", "a", "new", "b"]) == {"Size": ["a"], "Other": ["b", "c", "new"]}
    assert list(looks.groups_of(["c", "a", "x"])) == ["Size", "Depth", "Other"]
    assert UNKNOWN.groups_of(["b", "a"]) == {"Other": ["a", "b"]}
    assert LOOKS.groups_of([]) == {}
    # What one study does not compare another may.
    joined = Drawn(groups={"Other": ("a",)}).joined(Drawn(groups={"Size": ("a", "b")}))
    assert joined.groups_of(["a", "b"]) == {"Size": ["a", "b"]}


def test_a_group_of_which_nothing_new_is_there_is_left_out():
    """Where few arms were run there is no panel on padding that shows two kernel sizes again."""
    few = looks_of(MANY_ARMS).groups_of(["fc_d1", "conv_k3_d1", "conv_full_d1"])
    assert few == {"Kernel size": ["fc_d1", "conv_k3_d1", "conv_full_d1"]}


def test_arms_that_nobody_described_have_distinct_looks_and_their_own_names():
    foreign = [f"net_{k:02}" for k in range(20)]
    looks = LOOKS.with_arms([*foreign, "fc_d1"])
    assert looks.in_order([*reversed(foreign), "fc_d1"]) == ["fc_d1", *foreign]
    assert looks["net_07"].label == "net 07"
    assert looks["fc_d1"] == LOOKS["fc_d1"]
    for a, b in itertools.combinations(foreign, 2):
        one, two = looks[a], looks[b]
        assert (one.color, one.marker) != (two.color, two.marker)
        assert (one.color, one.linestyle) != (two.color, two.linestyle)
    described = {style.color for style in LOOKS.styles.values()}
    assert not described & {looks[arm].color for arm in foreign}
    assert looks.with_arms(foreign) == looks
    # One alone, without the others, has a look, too.
    assert UNKNOWN["my_net"].label == UNKNOWN.column("my_net") == "my net"


@pytest.mark.parametrize("arm", names(ARMS))
def test_described_arms_keep_their_look_beside_others(arm):
    assert LOOKS.with_arms(["a", "b"])[arm] == LOOKS[arm]

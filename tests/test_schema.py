"""The words of rows, claims and arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqbias import schema

WORDS = st.text("abcxyz_0123456789+.-", min_size=1)


def test_attacks_have_a_name_a_role_and_a_place():
    assert schema.attack_label("l2", "closed_form") == "L2, closed form"
    assert schema.attack_label("l2-free", "pgd") == "L2, PGD, no box"
    assert schema.attack_label("linf") == "L∞"
    attacks = [("linf", "pgd"), ("l2-free", "pgd"), ("l2", "pgd"), ("l2", "closed_form")]
    assert sorted(attacks, key=lambda attack: schema.attack_rank(*attack)) == attacks[::-1]


def test_an_attack_of_unknown_geometry_is_a_second_opinion_under_its_own_name():
    assert schema.geometry("l1").role == "second"
    assert schema.attack_label("l1", "my_search") == "l1, my_search"
    assert schema.attack_rank("l1", "pgd") > max(schema.attack_rank(g) for g in schema.GEOMETRIES)
    # Nor does a method that nobody knows go before the exact one.
    assert schema.attack_rank("l2", "my_search") > schema.attack_rank("l2", "pgd")


@given(WORDS, WORDS, WORDS, st.floats(0, 1e6), st.from_regex("[a-z][a-z0-9_]*", fullmatch=True))
def test_the_name_of_an_array_is_read_back(dataset, regime, arm, scale, field):
    key = schema.ArrayKey(dataset, regime, arm, float(f"{scale:g}"), field)
    assert schema.parse_array_key(str(key)) == key


@pytest.mark.parametrize(
    "name", ["d.frequency", "d/relu/a/.profile", "d/relu/a/1e.profile", "d/relu/a/1-2.profile",
             "d/relu/1.profile", "d/relu/a/b/1.profile", "d/relu/a/1."]
)  # fmt: skip
def test_the_name_of_anything_else_is_no_key(name):
    assert schema.parse_array_key(name) is None

"""Settings are words: no JSON on the page, nothing that was set left out."""

import pytest

from freqbias.report.settings import in_words, setting_tables


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        (1.0, "1"),
        (8 / 255, "0.03137254902"),
        ("quick", "quick"),
        ([0, 1, 2, 3], "0 to 3"),
        ([0, 1], "0, 1"),
        ([0, 2, 4], "0, 2, 4"),
        ([True, True, True], "yes, yes, yes"),
        ([], "none"),
        ([["l2", 16], ["fourier", 64]], "l2, 16; fourier, 64"),
        ({"a": 1, "b": [1, 2]}, "a: 1; b: 1, 2"),
        ({"fc": {"minimal": True, "box": False, "steps": 4}}, "fc: minimal, steps 4"),
        ({"fc": {"minimal": False}}, "fc: nothing more"),
        ({str(k): k for k in range(13)}, "13 entries, in config.json"),
    ],
)  # fmt: skip
def test_a_value_in_words(value, words):
    assert in_words(value) == words


def test_settings_stand_in_groups_and_empty_groups_are_left_out():
    config = {"config": {"seeds": [0, 1, 2]}, "data": {}, "versions": {"jax": "1"}, "more": 3}
    found = {table.title: table.entries for table in setting_tables(config)}
    assert found == {
        "Flags": [("seeds", "0 to 2")], "Versions": [("jax", "1")], "Other": [("more", "3")],
    }  # fmt: skip
    timed = {"config": {"seeds": 1}, "took": {"seconds": 12.5, "programs": 40}}
    assert setting_tables(timed)[-1] == (
        "Time", [("clock (s)", "12.5"), ("programs compiled", "40")],
    )  # fmt: skip
    assert setting_tables({"speed": 3})[0].entries == [("speed", "3")]

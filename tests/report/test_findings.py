"""What was found, in sentences: each verdict in its place, and no more than it says."""

import re

from freqbias.report.findings import findings


def claim(verdict, dataset="digits", regime="linear", attack="l2", estimate=0.05, name="C1"):
    return {
        "id": name, "title": "Conv above FC", "dataset": dataset, "regime": regime,
        "attack": attack, "verdict": verdict, "estimate": estimate,
    }  # fmt: skip


def reading(of, *, holds_from, equal_loss, moving=()):
    return {
        **{name: of[name] for name in ("id", "dataset", "regime", "attack")},
        "course": {"holds_from": holds_from},
        "equal_loss": {"verdict": equal_loss},
        "moving": dict.fromkeys(moving, 0.02),
    }


def said(*arguments, **more):
    return [re.sub("<[^>]+>", "", str(item)) for item in findings(*arguments, **more).items]


def test_one_sentence_per_claim_where_it_holds_first():
    found = said([claim("opposite", regime="relu", estimate=-0.02), claim("supported")])
    assert found == [
        "C1 (Conv above FC) holds on Digits, linear (+0.050); "
        "is reversed on Digits, ReLU (\N{MINUS SIGN}0.020)."
    ]


def test_the_course_is_told_of_what_is_decided():
    one, other = claim("supported"), claim("inconclusive", regime="relu")
    read = [
        reading(one, holds_from=87, equal_loss="inconclusive", moving=["fc_d1"]),
        reading(other, holds_from=4, equal_loss="supported"),
    ]
    (found,) = said([one, other], read)
    assert "(+0.050, from step 87 on, at equal training loss inconclusive, still moving)" in found
    assert found.endswith("is open on Digits, ReLU (+0.050).")
    (alone,) = said([one], [reading(one, holds_from=None, equal_loss="supported")])
    assert "(+0.050, only at the last step)" in alone


def test_other_attacks_are_no_second_vote_and_further_data_are_counted():
    found = said(
        [
            claim("supported"),
            claim("opposite", attack="linf"),
            claim("supported", dataset="other"),
            claim("opposite", dataset="another"),
        ],
        minor=["other", "another"],
    )
    assert found == [
        "C1 (Conv above FC) holds on Digits, linear (+0.050) and 1 further test on other data; "
        "is reversed on 1 test on other data."
    ]


def test_nothing_is_found_where_nothing_was_tested():
    assert said([]) == []


def test_what_rests_on_the_white_share_is_said():
    one = claim("supported")
    read = {**reading(one, holds_from=87, equal_loss="supported")}
    (found,) = said([one], [{**read, "in_data": {"verdict": "opposite", "estimate": -0.02}}])
    assert "resting on the white share, opposite where the images vary" in found
    wider = {"verdict": "inconclusive", "estimate": 0.04}  # most of +0.05 is there
    (unsure,) = said([one], [{**read, "in_data": wider}])
    assert "inconclusive where the images vary" in unsure
    assert "white share" not in unsure
    (same,) = said([one], [{**read, "in_data": {"verdict": "supported", "estimate": 0.05}}])
    assert "white share" not in same

"""What was found, in sentences made from the verdicts: the first thing on a page."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from freqbias import schema
from freqbias.data import titles
from freqbias.plotting.style import regime_name
from freqbias.report.markup import bold, joined, signed
from freqbias.report.page import Bullets

Claim: TypeAlias = Mapping[str, Any]
_SAID = {  # verdicts in the order in which they are told, and in words
    "supported": "holds on",
    "opposite": "is reversed on",
    "equivalent": "makes no difference on",
    "init-dependent": "depends on the initial scale on",
    "inconclusive": "is open on",
    "not decided": "is not decided on",
}


_DECIDED = ("supported", "opposite", "equivalent")


def findings(
    claims: Sequence[Claim], readings: Sequence[Claim] = (), *, minor: Sequence[str] = ()
) -> Bullets:
    """One sentence per claim: where it holds, where it is reversed, where it is open; L2 attack.

    Args:
      claims: of ``claims.json``.
      readings: of the same: for each member from which step on the verdict is that of the end, and
        whether it is the same at equal training loss, and where the training images vary.
      minor: data sets that are counted, not named.

    Returns:
      A list; empty without a claim under the primary attack.
    """
    read = {_member(entry): entry for entry in readings}
    primary = [c for c in claims if schema.geometry(str(c["attack"])).role == "primary"]
    sentences = []
    for name in dict.fromkeys(str(claim["id"]) for claim in primary):
        members = [claim for claim in primary if str(claim["id"]) == name]
        parts = []
        for verdict, words in _SAID.items():
            found = [claim for claim in members if claim["verdict"] == verdict]
            named = [_place(claim, read) for claim in found if claim["dataset"] not in minor]
            counted = sum(claim["dataset"] in minor for claim in found)
            if counted:
                more = "further " if named else ""
                named.append(f"{counted} {more}{'test' if counted == 1 else 'tests'} on other data")
            if named:
                parts.append(f"{words} {_listed(named)}")
        title = f" ({members[0]['title']})" if members[0].get("title") else ""
        sentences.append(joined([bold(name), f"{title} {'; '.join(parts)}."]))
    return Bullets(sentences, "findings")


def _place(claim: Claim, read: Mapping[tuple[str, ...], Claim]) -> str:
    """Data set and regime, the effect, since when, and what is otherwise at equal loss."""
    notes = [] if claim.get("estimate") is None else [signed(claim["estimate"])]
    entry = read.get(_member(claim))
    if entry is not None and claim["verdict"] in _DECIDED:
        start = entry["course"]["holds_from"]
        notes.append("only at the last step" if start is None else f"from step {start:,} on")
        equal = str(entry["equal_loss"]["verdict"])
        if equal != claim["verdict"]:
            notes.append(f"at equal training loss {equal}")
        inside = entry.get("in_data")
        if inside and inside["verdict"] != claim["verdict"]:
            rests = "resting on the white share, " if _less_than_half(inside, claim) else ""
            notes.append(f"{rests}{inside['verdict']} where the images vary")
        if entry["moving"]:
            notes.append("still moving")
    where = f"{titles.title(str(claim['dataset']))}, {regime_name(str(claim['regime']))}"
    return f"{where} ({', '.join(notes)})" if notes else where


def _less_than_half(inside: Claim, claim: Claim) -> bool:
    """Whether most of an effect is gone, or turned round, where the images vary."""
    there, whole = inside["estimate"], claim["estimate"]
    return there is not None and there * whole < 0.5 * whole**2


def _member(claim: Claim) -> tuple[str, ...]:
    return tuple(str(claim[name]) for name in ("id", "dataset", "regime", "attack"))


def _listed(places: Sequence[str]) -> str:
    if len(places) == 1:
        return places[0]
    return f"{', '.join(places[:-1])} and {places[-1]}"

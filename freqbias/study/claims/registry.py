"""The registered claims: what is claimed, of what statistic, beyond which margin.

A registry is a TOML file; ``caro2024.toml`` beside this module has the paper's claims and explains
the fields. A study of your own brings its own: ``load_registry("my_claims.toml")``.
"""

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from freqbias import _checks, inference
from freqbias._checked import check_fields, checked

CARO2024 = Path(__file__).with_name("caro2024.toml")
_LISTS = ("regimes", "geometries", "data", "needs")
KINDS = ("contrast", "trend", "mean", "association")


class Claim(NamedTuple):
    """One registered claim; the fields are explained at the head of ``claims.toml``."""

    id: str
    title: str
    statement: str
    statistic: str
    unit: str
    margin: float
    direction: inference.Direction
    regimes: tuple[str, ...]
    geometries: tuple[str, ...]
    kind: str  # one of KINDS
    arms: tuple[str, ...]
    weights: tuple[float, ...] = ()  # of a contrast
    x: str = ""  # column of a trend or an association
    data: tuple[str, ...] = ()  # kinds of data set (`data.titles.kinds`); of any kind if empty
    needs: tuple[str, ...] = ()  # what must be asked of the arms, fields of `study.Asked`
    after: str = ""  # id of the claim that must be supported for this one to be
    of: str = ""  # id of the claim that this one is at a stage of the bridge (`study.bridge`)
    stage: str = ""  # what is changed at that stage


class Independence(NamedTuple):
    """That the effect of a claim does not depend on the data set (C4)."""

    id: str
    title: str
    statement: str
    of: str  # id of the claim
    margin: float  # largest range over sources of data that does not matter


class Rules(NamedTuple):
    """What holds for every claim."""

    confidence: float  # of the intervals
    min_live: float  # smallest share of live seeds in an arm


class Registry(NamedTuple):
    """All claims and the rules that hold for each."""

    claims: tuple[Claim, ...]
    confidence: float
    min_live: float
    accuracy_floor: Mapping[str, float]
    independence: tuple[Independence, ...] = ()

    @checked
    def joined(self, other: "Registry") -> "Registry":
        """The claims and floors of both; what both have is as here."""
        ids = [claim.id for claim in self.claims]
        more = tuple(claim for claim in other.claims if claim.id not in ids)
        return self._replace(
            claims=self.claims + more,
            accuracy_floor={**other.accuracy_floor, **self.accuracy_floor},
        )


@checked
def load_registry(path: str | os.PathLike = CARO2024) -> Registry:
    """Reads and checks a registry.

    Args:
      path: a TOML file; by default the paper's claims.

    Raises:
      ValueError: the file is no TOML, lacks a field or has one too many; a claim repeats an id or
        does not say exactly one kind of estimate. The message names the file and the claim.
      FileNotFoundError: no such file.
    """
    try:
        with open(path, "rb") as file:
            return parse_registry(tomllib.load(file))
    except ValueError as error:  # of tomllib, too
        raise ValueError(f"registry {os.fspath(path)}: {error}") from error


@checked
def parse_registry(content: Mapping[str, Any]) -> Registry:
    """A registry from the content of its file; see `as_content` for the way back.

    Raises:
      ValueError: as `load_registry`, without the name of the file.
    """
    missing = [name for name in ("rules", "accuracy_floor", "claim") if name not in content]
    if missing:
        raise ValueError(
            f"content must have [rules], [accuracy_floor] and [[claim]]; missing: {missing}."
        )
    claims = tuple(_parse(entry) for entry in content["claim"])
    ids = [claim.id for claim in claims]
    if len(set(ids)) != len(ids):
        raise ValueError(f"claim ids must not repeat; got {ids}.")
    if "default" not in content["accuracy_floor"]:
        raise ValueError("accuracy_floor must have a default.")
    entries = content.get("independence", ())
    registry = Registry(
        claims,
        accuracy_floor=content["accuracy_floor"],
        independence=tuple(_made(Independence, entry) for entry in entries),
        **_made_fields(Rules, content["rules"]),
    )
    _check(registry)
    return registry


@checked
def as_content(registry: Registry) -> dict[str, Any]:
    """The content of the file that `parse_registry` would read the same registry from."""
    _check(registry)
    return {
        "rules": {name: getattr(registry, name) for name in Rules._fields},
        "accuracy_floor": dict(registry.accuracy_floor),
        "claim": [_content(claim) for claim in registry.claims],
        "independence": [entry._asdict() for entry in registry.independence],
    }


@checked
def select(registry: Registry, ids: Iterable[str]) -> Registry:
    """The registry with only the claims named, by id ("C2-trend") or by number ("C2").

    Raises:
      ValueError: an unknown name; the message lists the valid ones.
    """
    wanted = list(ids)
    known = sorted({name for c in registry.claims for name in (c.id, _number(c))})
    for name in wanted:
        _checks.one_of("claims: ids", name, known)
    chosen = [c for c in registry.claims if c.id in wanted or _number(c) in wanted]
    return registry._replace(claims=tuple(chosen))


@checked
def with_arms(registry: Registry, arms: Mapping[str, Collection[str]]) -> Registry:
    """The registry with only the claims that a design can decide.

    Args:
      registry: the claims.
      arms: of the design, each with the names of what is asked of it (`Claim.needs`).
    """

    def there(claim: Claim) -> bool:
        return all(arm in arms and set(claim.needs) <= set(arms[arm]) for arm in claim.arms)

    return registry._replace(claims=tuple(claim for claim in registry.claims if there(claim)))


def _check(registry: Registry) -> None:
    """Raises unless every field is of its type, and those of a claim go together."""
    check_fields(registry)
    for claim in registry.claims:
        _checks.one_of("kind", claim.kind, KINDS)
        if claim.kind == "contrast" and len(claim.weights) != len(claim.arms):
            raise ValueError(
                f"claim {claim.id!r} must have as many weights as arms; got {claim.weights} and "
                f"{claim.arms}."
            )


def _content(claim: Claim) -> dict[str, Any]:
    entry = {k: v for k, v in claim._asdict().items() if k not in ("kind", "arms", "weights", "x")}
    if claim.kind == "contrast":
        entry["contrast"] = dict(zip(claim.arms, claim.weights, strict=True))
    elif claim.kind == "mean":
        entry["mean"] = list(claim.arms)
    else:
        entry[claim.kind] = {"arms": list(claim.arms), "x": claim.x}
    return entry


def _parse(entry: Mapping[str, Any]) -> Claim:
    name = entry.get("id")
    if not isinstance(name, str):
        raise ValueError(f"every claim must have an id; got {dict(entry)}.")
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(
            f"claim {name!r} must have exactly one of {', '.join(KINDS)}; got {kinds}."
        )
    kind, value = kinds[0], entry[kinds[0]]
    fields = {key: value for key, value in entry.items() if key not in KINDS}
    fields |= {key: tuple(fields.get(key, ())) for key in _LISTS}
    try:
        _checks.one_of("direction", fields.get("direction"), ("greater", "less"))
        if kind == "contrast":
            more: dict[str, Any] = {"arms": tuple(value), "weights": tuple(value.values())}
        elif kind == "mean":
            more = {"arms": tuple(value)}
        else:
            more = {"arms": tuple(value["arms"]), "x": value["x"]}
        return Claim(**_made_fields(Claim, {**fields, "kind": kind, **more}))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"claim {name!r}: {error}") from error


def _made(cls: Any, entry: Mapping[str, Any]) -> Any:
    return cls(**_made_fields(cls, entry))


def _made_fields(cls: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, if its names are those of the fields of ``cls``."""
    needed = [name for name in cls._fields if name not in cls._field_defaults]
    missing = [name for name in needed if name not in entry]
    unknown = [name for name in entry if name not in cls._fields]
    if missing or unknown:
        raise ValueError(f"must have {needed}; missing: {missing}, unknown: {unknown}.")
    return dict(entry)


def _number(claim: Claim) -> str:
    return claim.id.split("-")[0]

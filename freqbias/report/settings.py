"""The settings of a run in words: what ``config.json`` holds, as short tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_MOST_SHOWN = 12  # entries of one setting that the page lists
_KNOWN = ("config", "data", "versions", "device", "command", "started", "took")
TIMING = "timing.json"
"""The file of a run that says what it took."""
_TOOK = {  # names of ``timing.json``
    "seconds": "clock (s)",
    "cpu_seconds": "processor (s)",
    "compile_seconds": "of it tracing, lowering and compiling (s)",
    "programs": "programs compiled",
}


class SettingTable(NamedTuple):
    """One group of settings."""

    title: str
    entries: Sequence[tuple[str, str]]


def setting_tables(config: Mapping[str, Any]) -> list[SettingTable]:
    """The config in groups; without groups all of it is flags.

    Args:
      config: the contents of ``config.json``; under "took" those of ``timing.json``, if there.
    """
    flags = config.get("config")
    groups = {"Flags": flags if isinstance(flags, Mapping) else config}
    if isinstance(flags, Mapping):
        groups |= {"Data checksums": config.get("data", {})}
        groups |= {"Versions": config.get("versions", {}), "Device": config.get("device", {})}
        groups |= {"Time": {_TOOK[name]: value for name, value in config.get("took", {}).items()}}
        groups |= {"Other": {key: value for key, value in config.items() if key not in _KNOWN}}
    return [
        SettingTable(title, [(key, in_words(value)) for key, value in group.items()])
        for title, group in groups.items()
        if group
    ]


def in_words(value: Any) -> str:
    """A JSON value as people write it; of a long mapping only the number of entries.

    Ints in a row are a range, lists are separated by commas, lists of lists by semicolons. Of what
    is asked of something (a mapping within a mapping) only what is not off, empty or 0.
    """
    if isinstance(value, Mapping):
        if len(value) > _MOST_SHOWN:
            return f"{len(value)} entries, in config.json"
        return "; ".join(_entry(key, item) for key, item in value.items()) or "none"
    if _is_list(value):
        if _is_range(value):
            return f"{value[0]} to {value[-1]}"
        return ("; " if any(map(_is_list, value)) else ", ").join(map(in_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:.10g}"
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _entry(key: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{key}: {in_words(value)}"
    asked = [name if item is True else f"{name} {in_words(item)}"
             for name, item in value.items() if item]  # fmt: skip
    return f"{key}: {', '.join(asked) or 'nothing more'}"


def _is_range(value: Sequence[Any]) -> bool:
    """Whether these are at least three ints, each one more than the last."""
    return (
        len(value) > 2
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
        and list(value) == list(range(value[0], value[0] + len(value)))
    )

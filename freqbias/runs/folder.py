"""The folder of a run: made, refused or gone on with; and what its ``config.json`` says."""

import datetime
import json
import os
import platform
import sys
import warnings
from collections.abc import Collection, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

import jax

from freqbias import distributed
from freqbias._checked import checked
from freqbias.runs import lock
from freqbias.runs.files import (
    MANIFEST,
    complete,
    damaged,
    discard,
    manifest,
    read_file,
    remove,
    save_manifest,
)
from freqbias.runs.outputs import save_json
from freqbias.runs.values import plain, portable

_PACKAGES = ("freqbias", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")
_LONGEST = 200  # characters of a message about one value


@checked
def open_run(
    path: str | os.PathLike,
    config: Mapping[str, Any],
    *,
    data_checksums: Mapping[str, str] | None = None,
    device: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    grows: Collection[str] = (),
) -> Path:
    """Makes ``path`` the folder of one run and writes its ``config.json``, before anything else.

    A folder that holds another run is refused. With ``overwrite`` the files which that run wrote
    are removed first, and no others; with ``resume`` the run goes on, if it is the same run:
    equal config, data checksums, versions and device. It may have grown: what is named in ``grows``
    may have new entries, and so may the data; the config then is the new one, and tells under
    ``grown_from`` which commands came before. Of several processes (`freqbias.distributed`)
    the first opens the folder; all must call this alike. What was damaged since is named in a
    warning, and computed again with its setting. The process keeps other processes from the folder
    until it ends, or `close_run`.

    Args:
      path: the folder; made if absent. Other people's files in it are left alone.
      config: every setting that bears on the results (so neither ``overwrite`` nor ``resume``),
        JSON values. Absolute paths are kept as their last component.
      data_checksums: data set name -> checksum.
      device: what computes, if it is not this process; see `this_device`.
      overwrite: replace the run in ``path``.
      resume: go on with the run in ``path``, or start it.
      grows: keys of ``config`` whose lists and mappings may have more entries than in the folder.

    Returns:
      The folder, to be passed to the other functions.

    Raises:
      FileExistsError: the folder holds another run, or a file that no run wrote is in the way.
      BlockingIOError: another process has the folder open.
      ValueError: the run in the folder is a different one or its config is damaged, both options
        are given, or processes have been started differently.
      TypeError: a setting is not a JSON value.
    """
    if overwrite and resume:
        raise ValueError("overwrite and resume exclude each other; got both.")
    folder = Path(path)
    record = {
        "config": plain("config", dict(config)),
        "data": plain("data_checksums", dict(data_checksums or {})),
        "versions": versions(),
        "device": dict(device or this_device()),
        "command": [portable(Path(sys.argv[0]).name), *map(portable, sys.argv[1:])],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    _check_alike(record)
    distributed.from_first(lambda: _open(folder, record, overwrite, grows if resume else None))
    return folder


def _open(
    folder: Path, record: Mapping[str, Any], overwrite: bool, grows: Collection[str] | None
) -> None:
    """What `open_run` does with the folder; ``grows`` is None unless a run may be gone on with."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"path must be a folder; {folder} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    lock.acquire(folder)
    if (folder / MANIFEST).exists():
        complete(folder)
        written = manifest(folder)
        if (folder / "config.json").exists() and not overwrite:
            stored = read_config(folder)
            if grows is None:
                raise FileExistsError(
                    f"path {folder} holds the results of another run, started {stored['started']}; "
                    "choose another folder, overwrite it, or resume it."
                )
            _same_run(stored, record, grows)
            _recover(folder)
            if stored["config"] != record["config"]:
                before = [*stored.get("grown_from", ()), stored["command"]]
                started = {"started": stored["started"], "grown_from": before}
                save_json(folder, "config.json", {**record, **started})
            return
        # Overwritten, or killed before its config was written: no results yet.
        remove(folder, written)
    elif (folder / "config.json").exists():
        raise FileExistsError(
            f"path {folder} holds a config.json that no run wrote; choose another folder."
        )
    save_manifest(folder, {})
    save_json(folder, "config.json", record)


@checked
def close_run(path: str | os.PathLike) -> None:
    """Lets other processes open the folder of a run; the end of the process does so, too."""
    lock.release(Path(path))


def _recover(folder: Path) -> None:
    """Discards what is not as the run wrote it, with the rows of its setting, and says so."""
    found = damaged(folder)
    if not found:
        return
    settings = {name for name in manifest(folder) if name.startswith("settings/")}
    lost = {f"settings/{PurePath(name).stem}.csv" for name in found} & settings
    if "columns.json" in found:  # written anew with the rows of any setting
        lost |= set(sorted(settings)[:1])
    discard(folder, {*found, *lost})
    told = "; ".join(f"{name}: {what}" for name, what in found.items())
    warnings.warn(
        f"path {folder} has files that are not as the run wrote them, which are computed again: "
        f"{told}.",
        stacklevel=2,
    )


@checked
def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """The ``config.json`` of a run: config, data, versions, device, command, started.

    Raises:
      FileNotFoundError: ``path`` holds no run.
      ValueError: the file is not as the run wrote it.
    """
    return json.loads(read_file(path, "config.json"))


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that bear on numbers, in this process."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout
            found[package] = "not installed"
    return found


def this_device() -> dict[str, Any]:
    """What this process computes on."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _check_alike(record: Mapping[str, Any]) -> None:
    """Raises ValueError on a process that would compute something else than the first."""
    for part in ("config", "data", "versions"):
        own = json.loads(json.dumps(record[part]))
        first = distributed.from_first(partial(dict, own))
        differing = sorted(key for key in {*own, *first} if own.get(key) != first.get(key))
        if differing:
            raise ValueError(
                f"processes must have the same {part}; process {jax.process_index()} differs from "
                f"process 0 in {', '.join(differing)}."
            )


def _same_run(stored: Mapping[str, Any], record: Mapping[str, Any], grows: Collection[str]) -> None:
    """Raises ValueError, naming what differs, unless the new run is the stored one, or more."""
    for part in ("config", "data", "versions", "device"):
        old, new = stored[part], record[part]
        more = grows if part == "config" else ()
        keys = sorted(
            key
            for key in (old if part == "data" and grows else {*old, *new})
            if (key in old) != (key in new)
            or not (old[key] == new[key] or (key in more and _holds(new[key], old[key])))
        )
        if keys:
            changes = "; ".join(f"{k}: {_change(old.get(k), new.get(k))}" for k in keys)
            raise ValueError(f"path cannot be resumed, its {part} differs ({changes}).")


def _holds(new: Any, old: Any) -> bool:
    """Whether a list or mapping has all entries of an older one."""
    if isinstance(new, dict) and isinstance(old, dict):
        return all(key in new and new[key] == value for key, value in old.items())
    return isinstance(new, list) and isinstance(old, list) and all(item in new for item in old)


def _change(old: Any, new: Any) -> str:
    """What became of a value, in words; of a long one, only what is gone, new and changed."""
    change = f"{old!r} then, {new!r} now"
    if len(change) <= _LONGEST or type(old) is not type(new) or not isinstance(old, dict | list):
        return change
    parts = {
        "gone": [item for item in old if item not in new],
        "new": [item for item in new if item not in old],
    }
    if isinstance(old, dict):
        parts["changed"] = [key for key in old if key in new and old[key] != new[key]]
    told = [
        f"{len(items)} {what} ({', '.join(map(str, items[:3]))}{', ...' * (len(items) > 3)})"
        for what, items in parts.items()
        if items
    ]
    return ", ".join(told) or "in another order"

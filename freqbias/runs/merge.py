"""Joins the shards of a sweep."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from freqbias._checked import checked
from freqbias.runs.files import manifest, read_file, run_folder, write_file
from freqbias.runs.folder import close_run, open_run, read_config
from freqbias.runs.outputs import load_arrays, save_arrays, save_json
from freqbias.runs.rows import columns_of, setting_files, write_rows


@checked
def merge(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Joins the shards of a sweep into one run: their rows and arrays, as if run at once.

    The config of ``out`` is what all shards share, and ``config``; what they do not share, and
    their devices, stand under ``shards``. Reports stay with the shards.

    Args:
      paths: the shards, runs with disjoint settings. Arrays of one name are joined; the same
        array in two shards must be equal.
      out: the folder of the joined run.
      config: what is true of the joined run, where the shards differ.
      overwrite: replace the run in ``out``.

    Returns:
      The folder of the joined run, with its ``rows.csv``.

    Raises:
      ValueError: no shards; a setting in two of them; a file that is not as its run wrote it;
        columns, versions, data or arrays that contradict each other. Nothing is written then.
      FileExistsError: as `open_run`.
    """
    folders = [run_folder(path) for path in paths]
    if not folders:
        raise ValueError("paths must not be empty.")
    if Path(out).resolve() in [folder.resolve() for folder in folders]:
        raise ValueError(f"out must not be one of the shards; got {out}.")
    configs = [read_config(folder) for folder in folders]
    columns = columns_of(folders[0]) or {}
    settings: dict[str, bytes] = {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    data: dict[str, str] = {}
    for folder, record in zip(folders, configs, strict=True):
        if record["versions"] != configs[0]["versions"]:
            raise ValueError(f"paths must be runs of the same versions; {folder} differs.")
        if not (folder / "rows.csv").exists():
            raise ValueError(f"paths must be finished runs; {folder} has no rows.csv yet.")
        if list((columns_of(folder) or {}).items()) != list(columns.items()):
            raise ValueError(f"paths must have rows of the same columns; {folder} differs.")
        _join(data, record["data"], f"data checksum in {folder}", lambda a, b: a == b)
        for file in setting_files(folder):
            if f"settings/{file.name}" in settings:
                raise ValueError(f"paths must have disjoint settings; {file.stem!r} is in two.")
            settings[f"settings/{file.name}"] = read_file(folder, f"settings/{file.name}")
        for entry in manifest(folder):
            if entry.endswith(".npz") and (folder / entry).exists():
                name = entry.removesuffix(".npz")
                joined = arrays.setdefault(name, {})
                found = load_arrays(folder, name)
                _join(joined, found, f"array of {entry} in {folder}", _identical)

    shared = {
        key: value
        for key, value in configs[0]["config"].items()
        if all(key in c["config"] and c["config"][key] == value for c in configs)
    } | dict(config or {})
    shards = [
        {
            "config": {key: v for key, v in c["config"].items() if key not in shared},
            **{key: c[key] for key in ("device", "command", "started")},
        }
        for c in configs
    ]
    joined_config = {**shared, "shards": shards}
    result = open_run(out, joined_config, data_checksums=data, overwrite=overwrite)
    save_json(result, "columns.json", columns)
    for name, content in settings.items():
        write_file(result, name, content)
    for name, values in arrays.items():
        save_arrays(result, name, **values)
    write_rows(result)
    close_run(result)
    return result


def _join(into: dict, more: Mapping, what: str, equal: Callable[[Any, Any], bool]) -> None:
    for key, value in more.items():
        if key in into and not equal(into[key], value):
            raise ValueError(f"paths contradict each other: {what}, {key!r}, differs.")
        into[key] = value


def _identical(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bit by bit, NaN included."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())

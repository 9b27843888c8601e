"""Run directories: one folder per run, safe to interrupt, to resume and to compare byte by byte.

    config.json          every flag, versions, device, data checksums, command, start time
    settings/<id>.csv    the rows of one finished setting; there only when it is finished
    columns.json         the columns of the rows and their kinds, fixed by the first rows
    rows.csv             all settings, in the order of their ids
    <name>.npz           arrays
    checkpoints/<name>/  params, by Orbax

Every file is written beside its place and renamed into it, so it is whole or absent. The hidden
file `.freqbias-run` lists what the run wrote: nothing else is ever removed, or written over. Rows
hold no times and no machine, so the same command gives the same `rows.csv`, whatever the order in
which settings finish. One process writes to a folder at a time; shards are runs of their own.
"""

import csv
import datetime
import io
import json
import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import jax
import numpy as np

from freqbias.typing import Params

if TYPE_CHECKING:
    import pandas as pd

_MANIFEST = ".freqbias-run"
_HEADER = "Written by a freqbias run, which may remove the files named here, and no others:"
_PACKAGES = ("freqbias", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
_LONGEST = 200  # characters of a message about one value
_INTEGER = re.compile(r"-?[0-9]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,180}")


def open_run(
    path: str | os.PathLike,
    config: Mapping[str, Any],
    *,
    data_checksums: Mapping[str, str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """Makes ``path`` the folder of one run and writes its ``config.json``, before anything else.

    A folder that holds another run is refused. With ``overwrite`` the files which that run wrote
    are removed first, and no others; with ``resume`` the run goes on, if it is the same run:
    equal config, data checksums, versions and device.

    Args:
      path: the folder; made if absent. Other people's files in it are left alone.
      config: every setting that bears on the results (so neither ``overwrite`` nor ``resume``),
        JSON values. Absolute paths are kept as their last component.
      data_checksums: data set name -> checksum.
      overwrite: replace the run in ``path``.
      resume: go on with the run in ``path``, or start it.

    Returns:
      The folder, to be passed to the other functions.

    Raises:
      FileExistsError: the folder holds another run, or a file that no run wrote is in the way.
      ValueError: the run in the folder is a different one, or both options are given.
      TypeError: a setting is not a JSON value.
    """
    if overwrite and resume:
        raise ValueError("overwrite and resume exclude each other; got both.")
    folder = Path(path)
    record = {
        "config": _plain("config", dict(config)),
        "data": _plain("data_checksums", dict(data_checksums or {})),
        "versions": _versions(),
        "device": _device(),
        "command": [_portable(Path(sys.argv[0]).name), *map(_portable, sys.argv[1:])],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"path must be a folder; {folder} is a file.")

    if (folder / _MANIFEST).exists():
        written = _manifest(folder)
        if (folder / "config.json").exists() and not overwrite:
            stored = read_config(folder)
            if not resume:
                raise FileExistsError(
                    f"path {folder} holds the results of another run, started {stored['started']}; "
                    "choose another folder, overwrite it, or resume it."
                )
            _same_run(stored, record)
            return folder
        # Overwritten, or killed before its config was written: no results yet.
        _remove(folder, written)
        for left in (folder / "checkpoints").glob(".*.freqbias-tmp"):
            shutil.rmtree(left)
    elif (folder / "config.json").exists():
        raise FileExistsError(
            f"path {folder} holds a config.json that no run wrote; choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _save_manifest(folder, [])
    save_json(folder, "config.json", record)
    return folder


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """The ``config.json`` of a run: config, data, versions, device, command, started.

    Raises:
      FileNotFoundError: ``path`` holds no run.
    """
    return json.loads((_run(path) / "config.json").read_text(encoding="utf-8"))


# --- Rows -----------------------------------------------------------------------------------------


def finished(path: str | os.PathLike) -> frozenset[str]:
    """The ids of the settings whose rows are saved: what a resumed run skips.

    Raises:
      FileNotFoundError: ``path`` holds no run.
    """
    return frozenset(file.stem for file in _setting_files(_run(path)))


def append_rows(path: str | os.PathLike, setting: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Saves the rows of one finished setting, all or none of them.

    The first rows fix the columns and their kinds (text, number, flag); later rows must have the
    same. Numbers are written so that they read back exactly; None and NaN as an empty cell.

    Args:
      path: a run, from `open_run`.
      setting: the setting's id: letters, digits and ``. _ = + -``. Ids order ``rows.csv``.
      rows: one mapping column -> str, bool, int, float, None or 0-d array per seed (and attack).

    Raises:
      ValueError: no rows, a bad or finished id, columns that are new, missing or of another kind.
      TypeError: a value is none of the above.
    """
    folder = _run(path)
    _check_name("setting", setting)
    if not rows:
        raise ValueError(f"rows of setting {setting!r} must not be empty.")
    name = f"settings/{setting}.csv"
    if setting in finished(folder):
        raise ValueError(f"setting {setting!r} is finished; its rows are in {name}.")
    columns = _columns(folder)
    known = list(columns or rows[0])
    for row in rows:
        new, missing = [c for c in row if c not in known], [c for c in known if c not in row]
        if new or missing:
            raise ValueError(
                f"rows of setting {setting!r} must have the columns of the first rows; "
                f"new: {new}, missing: {missing}."
            )
    cells = {column: [_cell(column, row[column]) for row in rows] for column in known}
    kinds = {column: _kind(column, cells[column]) for column in known}
    if columns is None:
        for column in known:
            _check_name("column", column)
        save_json(folder, "columns.json", kinds)
    elif kinds != columns:
        wrong = {
            c: f"{columns[c]} expected, got {kinds[c]}" for c in known if kinds[c] != columns[c]
        }
        raise ValueError(f"rows of setting {setting!r} have columns of another kind: {wrong}.")

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(known)
    writer.writerows(zip(*([value for value, _ in cells[column]] for column in known), strict=True))
    _write(folder, name, text.getvalue().encode())


def write_rows(path: str | os.PathLike) -> "pd.DataFrame":
    """Merges the finished settings into ``rows.csv``, in the order of their ids.

    Returns:
      The table, as `read_rows` reads it.

    Raises:
      FileNotFoundError: ``path`` holds no run.
      ValueError: no setting is finished.
    """
    folder = _run(path)
    _write(folder, "rows.csv", _merged(folder))
    return read_rows(folder)


def read_rows(path: str | os.PathLike) -> "pd.DataFrame":
    """The rows of a run, finished or not: all settings saved so far.

    Text columns are strings (``""`` where empty), flags bool, numbers int64 where every row has an
    integer and float64 (NaN where empty) otherwise.

    Raises:
      FileNotFoundError: ``path`` holds no run.
      ValueError: no setting is finished.
    """
    import pandas as pd  # noqa: PLC0415  (slow, and seldom needed)

    folder = _run(path)
    header, *lines = csv.reader(io.StringIO(_merged(folder).decode(), newline=""))
    kinds = _columns(folder) or {}
    columns = zip(header, zip(*lines, strict=True), strict=True)
    return pd.DataFrame({column: _parsed(kinds[column], cells) for column, cells in columns})


# --- Other results --------------------------------------------------------------------------------


def output_file(path: str | os.PathLike, name: str) -> Path:
    """Claims ``name`` for the run and returns where to write it (figures, the report).

    Args:
      path: a run, from `open_run`.
      name: relative to the folder, ``/`` between its parts. Folders are made.

    Returns:
      The file's path, absent or written by this run before.

    Raises:
      FileExistsError: a file that this run did not write has that name.
      ValueError: ``name`` is no plain relative path.
    """
    folder = _run(path)
    for part in name.split("/"):
        _check_name("name", part)
    file = folder / name
    written = _manifest(folder)
    if name not in written:
        if file.exists():
            raise FileExistsError(f"name {name!r} is taken by a file that this run did not write.")
        _save_manifest(folder, [*written, name])
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def save_json(path: str | os.PathLike, name: str, value: Any) -> None:
    """Saves a JSON value as ``name``, atomically.

    Raises:
      FileExistsError: a file that this run did not write has that name.
      TypeError: not a JSON value.
      ValueError: a number is not finite; write None.
    """
    text = json.dumps(_plain(name, value), indent=2, allow_nan=False, ensure_ascii=False)
    _write(_run(path), name, (text + "\n").encode())


def load_json(path: str | os.PathLike, name: str) -> Any:
    """The JSON value saved as ``name``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such file.
      ValueError: the file is no JSON.
    """
    file = _run(path) / name
    if not file.exists():
        raise FileNotFoundError(f"the run {path} has no {name}.")
    return json.loads(file.read_text(encoding="utf-8"))


def save_arrays(path: str | os.PathLike, name: str, /, **arrays: Any) -> None:
    """Saves arrays as ``<name>.npz``, atomically; the same arrays give the same bytes.

    Raises:
      FileExistsError: a file that this run did not write has that name.
      TypeError: a value is no array of numbers, bools or text.
    """
    converted: dict[str, Any] = {key: np.asarray(array) for key, array in arrays.items()}
    for key, array in converted.items():
        if array.dtype.hasobject:
            raise TypeError(f"arrays[{key!r}] must be a plain array; got dtype {array.dtype}.")
    _write(_run(path), f"{name}.npz", lambda file: np.savez(file, **converted))


def load_arrays(path: str | os.PathLike, name: str) -> dict[str, np.ndarray]:
    """The arrays of ``<name>.npz``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such arrays.
    """
    with np.load(_run(path) / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def save_checkpoint(path: str | os.PathLike, name: str, params: Params) -> None:
    """Saves a pytree of arrays under ``checkpoints/<name>``, whole or not at all.

    Args:
      path: a run, from `open_run`.
      name: of the checkpoint; one of that name that this run wrote is replaced.
      params: a pytree of arrays, with or without a seed axis.

    Raises:
      FileExistsError: something that this run did not write has that name.
      ValueError: a bad name.
    """
    from orbax import checkpoint as ocp  # noqa: PLC0415  (slow, and seldom needed)

    folder = _run(path)
    _check_name("name", name)
    target = folder / "checkpoints" / name
    earlier = [entry for entry in _manifest(folder) if entry.startswith(f"checkpoints/{name}/")]
    present = [f.relative_to(folder).as_posix() for f in target.rglob("*") if f.is_file()]
    if foreign := [file for file in present if file not in earlier]:
        raise FileExistsError(f"name {name!r} is taken by files this run did not write: {foreign}.")
    # Orbax writes many files: let it, in a hidden folder that is ours alone, then rename that.
    temporary = _temporary(target)
    shutil.rmtree(temporary, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(temporary.absolute() / "params", params)
    source = temporary / "params"
    # Names this machine's folders, and is read by no one.
    (source / "commit_success.txt").unlink(missing_ok=True)
    files = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    _remove(folder, earlier)
    kept = [entry for entry in _manifest(folder) if entry not in earlier]
    _save_manifest(folder, kept + [f"checkpoints/{name}/{file}" for file in sorted(files)])
    os.replace(source, target)
    temporary.rmdir()


def load_checkpoint(path: str | os.PathLike, name: str, like: Params) -> Params:
    """The pytree saved under ``checkpoints/<name>``.

    Args:
      path: a run.
      name: of the checkpoint.
      like: a pytree of arrays or `jax.ShapeDtypeStruct` with the structure, shapes and dtypes
        wanted, e.g. ``jax.eval_shape(init_fn, key)``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such checkpoint.
      ValueError: the checkpoint does not fit ``like``.
    """
    from orbax import checkpoint as ocp  # noqa: PLC0415  (slow, and seldom needed)

    target = _run(path) / "checkpoints" / name
    if not target.is_dir():
        raise FileNotFoundError(f"the run {path} has no checkpoint {name!r}.")
    wanted = {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = jax.tree.leaves(checkpointer.metadata(target.absolute()).item_metadata.tree)
        stored = {leaf.name: tuple(leaf.shape) for leaf in leaves}
        if stored != wanted:
            raise ValueError(
                f"like must have the leaves and shapes of checkpoint {name!r}, {stored}; "
                f"got {wanted}."
            )
        return checkpointer.restore(target.absolute(), like)


def merge(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Joins the shards of a sweep into one run: their rows and arrays, as if run at once.

    The config of ``out`` is what all shards share, and ``config``; what they do not share, and
    their devices, stand under ``shards``. Checkpoints and reports stay with the shards.

    Args:
      paths: the shards, runs with disjoint settings. Arrays of one name are joined; the same
        array in two shards must be equal.
      out: the folder of the joined run.
      config: what is true of the joined run, where the shards differ.
      overwrite: replace the run in ``out``.

    Returns:
      The folder of the joined run, with its ``rows.csv``.

    Raises:
      ValueError: no shards; a setting in two of them; columns, versions, data or arrays that
        contradict each other. Nothing is written then.
      FileExistsError: as `open_run`.
    """
    folders = [_run(path) for path in paths]
    if not folders:
        raise ValueError("paths must not be empty.")
    if Path(out).resolve() in [folder.resolve() for folder in folders]:
        raise ValueError(f"out must not be one of the shards; got {out}.")
    configs = [read_config(folder) for folder in folders]
    columns = _columns(folders[0]) or {}
    settings: dict[str, bytes] = {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    data: dict[str, str] = {}
    for folder, record in zip(folders, configs, strict=True):
        if record["versions"] != configs[0]["versions"]:
            raise ValueError(f"paths must be runs of the same versions; {folder} differs.")
        if not (folder / "rows.csv").exists():
            raise ValueError(f"paths must be finished runs; {folder} has no rows.csv yet.")
        if list((_columns(folder) or {}).items()) != list(columns.items()):
            raise ValueError(f"paths must have rows of the same columns; {folder} differs.")
        _join(data, record["data"], f"data checksum in {folder}", lambda a, b: a == b)
        for file in _setting_files(folder):
            if f"settings/{file.name}" in settings:
                raise ValueError(f"paths must have disjoint settings; {file.stem!r} is in two.")
            settings[f"settings/{file.name}"] = file.read_bytes()
        for entry in _manifest(folder):
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
        _write(result, name, content)
    for name, values in arrays.items():
        save_arrays(result, name, **values)
    write_rows(result)
    return result


# --- Files ----------------------------------------------------------------------------------------


def _run(path: str | os.PathLike) -> Path:
    """``path`` as a Path, if a run is there."""
    if not (Path(path) / _MANIFEST).exists():
        raise FileNotFoundError(f"path {path} holds no run.")
    return Path(path)


def _write(folder: Path, name: str, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Writes a file of the run whole: to a temporary file beside it, then renamed."""
    _replace(output_file(folder, name), content)


def _replace(file: Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    temporary = _temporary(file)
    with temporary.open("wb") as stream:
        if callable(content):
            content(stream)
        else:
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def _temporary(file: Path) -> Path:
    """Where a file (or folder) of the run is prepared."""
    return file.with_name(f".{file.name}.freqbias-tmp")


def _manifest(folder: Path) -> list[str]:
    """The files the run wrote or was about to write, relative to its folder."""
    header, *names = (folder / _MANIFEST).read_text(encoding="utf-8").splitlines()
    if header != _HEADER:
        raise ValueError(f"path {folder} has a {_MANIFEST} that no run wrote.")
    for name in names:
        if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ValueError(f"path {folder} has a {_MANIFEST} that names {name!r}, outside of it.")
    return names


def _save_manifest(folder: Path, names: Iterable[str]) -> None:
    _replace(folder / _MANIFEST, "".join(f"{line}\n" for line in [_HEADER, *names]).encode())


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Removes files of the run, what a kill left of them, and the folders this leaves empty."""
    for name in names:
        file = folder / name
        if not file.parent.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"path {folder} has a link in {name!r}; remove it by hand.")
        file.unlink(missing_ok=True)
        _temporary(file).unlink(missing_ok=True)
    parents = {parent for name in names for parent in (folder / name).parents}
    inside = {folder / "checkpoints"} | {p for p in parents if p != folder and folder in p.parents}
    for parent in sorted(inside, key=lambda parent: -len(parent.parts)):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


def _setting_files(folder: Path) -> list[Path]:
    """The files of the finished settings, in the order of their ids."""
    names = [PurePath(name) for name in _manifest(folder) if name.startswith("settings/")]
    files = [folder / name for name in names if (folder / name).exists()]
    return sorted(files, key=lambda file: file.stem)


def _merged(folder: Path) -> bytes:
    """All settings as one table: a header, then the rows of each."""
    files = _setting_files(folder)
    if not files:
        raise ValueError(f"path {folder} has no finished setting yet.")
    tables = [file.read_bytes().partition(b"\n") for file in files]
    return tables[0][0] + b"\n" + b"".join(body for _, _, body in tables)


def _columns(folder: Path) -> dict[str, str] | None:
    """Column -> kind, or None before the first rows."""
    file = folder / "columns.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _join(into: dict, more: Mapping, what: str, equal: Callable[[Any, Any], bool]) -> None:
    for key, value in more.items():
        if key in into and not equal(into[key], value):
            raise ValueError(f"paths contradict each other: {what}, {key!r}, differs.")
        into[key] = value


def _identical(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bit by bit, NaN included."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def _check_name(argument: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{argument} must start with a letter or digit and go on with these or . _ = + -; "
            f"got {name!r}."
        )


# --- Values ---------------------------------------------------------------------------------------


def _cell(column: str, value: Any) -> tuple[str, str]:
    """A value as the text of its cell, and its kind."""
    value = _scalar(value)
    if value is None:
        return "", "number"
    if isinstance(value, str):
        return str.__str__(value), "text"
    if isinstance(value, bool):
        return str(value), "flag"
    if isinstance(value, int):
        return str(int(value)), "number"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value), "number"
    raise TypeError(
        f"rows[...][{column!r}] must be str, bool, int, float or None; got {type(value).__name__}."
    )


def _parsed(kind: str, cells: Sequence[str]) -> Any:
    """The cells of a column as values; floats exactly as they were written."""
    if kind == "number":
        if all(_INTEGER.fullmatch(cell) for cell in cells):
            return np.array([int(cell) for cell in cells], dtype=np.int64)
        return np.array([float(cell or "nan") for cell in cells], dtype=np.float64)
    return [cell == "True" for cell in cells] if kind == "flag" else list(cells)


def _scalar(value: Any) -> Any:
    """A 0-d array as a Python number, anything else as it is."""
    if isinstance(value, np.ndarray | np.generic | jax.Array) and np.ndim(value) == 0:
        return np.asarray(value).item()
    return value


def _kind(column: str, cells: Iterable[tuple[str, str]]) -> str:
    """The kind all cells of a column share."""
    kinds = sorted({kind for _, kind in cells})
    if len(kinds) > 1:
        raise ValueError(
            f"rows must have one kind of value in column {column!r}; got {kinds} "
            '(None is a missing number; empty text is "").'
        )
    return kinds[0]


def _plain(name: str, value: Any) -> Any:
    """A value as JSON keeps it, without the folders of this machine."""
    value = _scalar(value)
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return _portable(str.__str__(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value} (None says missing).")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(f"{name}[{i}]", item) for i, item in enumerate(value)]
    raise TypeError(f"{name} must be a JSON value; got {type(value).__name__}.")


def _portable(text: str) -> str:
    """A setting or an argument with absolute paths cut to their last component."""
    flag, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    parts = [PurePath(p).name if PurePath(p).is_absolute() else p for p in value.split(",")]
    return flag + equals + ",".join(parts)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout
            versions[package] = "not installed"
    return versions


def _device() -> dict[str, Any]:
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _same_run(stored: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Raises ValueError, naming what differs, unless both describe the same run."""
    for part in ("config", "data", "versions", "device"):
        old, new = stored[part], record[part]
        keys = sorted(
            k for k in {*old, *new} if old.get(k) != new.get(k) or (k in old) != (k in new)
        )
        if keys:
            changes = "; ".join(f"{k}: {_change(old.get(k), new.get(k))}" for k in keys)
            raise ValueError(f"path cannot be resumed, its {part} differs ({changes}).")


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

"""The rows of a run: one file per finished setting, and all of them as one table."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from freqbias._checked import checked
from freqbias.runs.files import check_name, manifest, read_file, run_folder, write_file
from freqbias.runs.outputs import load_json, save_json
from freqbias.runs.values import cell, kind, parsed

if TYPE_CHECKING:
    import pandas as pd


@checked
def finished(path: str | os.PathLike) -> frozenset[str]:
    """The ids of the settings whose rows are saved: what a resumed run skips.

    Raises:
      FileNotFoundError: ``path`` holds no run.
    """
    return frozenset(file.stem for file in setting_files(run_folder(path)))


@checked
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
    folder = run_folder(path)
    check_name("setting", setting)
    if not rows:
        raise ValueError(f"rows of setting {setting!r} must not be empty.")
    name = f"settings/{setting}.csv"
    if setting in finished(folder):
        raise ValueError(f"setting {setting!r} is finished; its rows are in {name}.")
    columns = columns_of(folder)
    known = list(columns or rows[0])
    for row in rows:
        new, missing = [c for c in row if c not in known], [c for c in known if c not in row]
        if new or missing:
            raise ValueError(
                f"rows of setting {setting!r} must have the columns of the first rows; "
                f"new: {new}, missing: {missing}."
            )
    cells = {column: [cell(column, row[column]) for row in rows] for column in known}
    kinds = {column: kind(column, cells[column]) for column in known}
    if columns is None:
        for column in known:
            check_name("column", column)
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
    write_file(folder, name, text.getvalue().encode())


@checked
def write_rows(path: str | os.PathLike) -> "pd.DataFrame":
    """Merges the finished settings into ``rows.csv``, in the order of their ids.

    Returns:
      The table, as `read_rows` reads it.

    Raises:
      FileNotFoundError: ``path`` holds no run.
      ValueError: no setting is finished.
    """
    folder = run_folder(path)
    write_file(folder, "rows.csv", merged(folder))
    return read_rows(folder)


@checked
def read_rows(path: str | os.PathLike) -> "pd.DataFrame":
    """The rows of a run, finished or not: all settings saved so far.

    Text columns are strings (``""`` where empty), flags bool, numbers int64 where every row has an
    integer and float64 (NaN where empty) otherwise.

    Raises:
      FileNotFoundError: ``path`` holds no run.
      ValueError: no setting is finished, or a file is not as the run wrote it.
    """
    import pandas as pd  # noqa: PLC0415  (slow, and seldom needed)

    folder = run_folder(path)
    header, *lines = csv.reader(io.StringIO(merged(folder).decode(), newline=""))
    kinds = columns_of(folder) or {}
    columns = zip(header, zip(*lines, strict=True), strict=True)
    return pd.DataFrame({column: parsed(kinds[column], cells) for column, cells in columns})


def setting_files(folder: Path) -> list[Path]:
    """The files of the finished settings, in the order of their ids."""
    names = [PurePath(name) for name in manifest(folder) if name.startswith("settings/")]
    files = [folder / name for name in names if (folder / name).exists()]
    return sorted(files, key=lambda file: file.stem)


def merged(folder: Path) -> bytes:
    """All settings as one table, a header, then their rows; or the table of a copy without them."""
    files = setting_files(folder)
    if not files and (folder / "rows.csv").exists():
        return read_file(folder, "rows.csv")
    if not files:
        raise ValueError(f"path {folder} has no finished setting yet.")
    tables = [read_file(folder, f"settings/{file.name}").partition(b"\n") for file in files]
    return tables[0][0] + b"\n" + b"".join(body for _, _, body in tables)


def columns_of(folder: Path) -> dict[str, str] | None:
    """Column -> kind, or None before the first rows."""
    return load_json(folder, "columns.json") if (folder / "columns.json").exists() else None

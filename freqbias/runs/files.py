"""The files of a run: written whole or not at all, listed, and removed by their list."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any, BinaryIO

MANIFEST = ".freqbias-run"
_HEADER = "Written by a freqbias run, which may remove the files named here, and no others:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,180}")


def run_folder(path: str | os.PathLike) -> Path:
    """``path`` as a Path, if a run is there."""
    if not (Path(path) / MANIFEST).exists():
        raise FileNotFoundError(f"path {path} holds no run.")
    return Path(path)


def write(folder: Path, name: str, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Writes a file of the run whole: to a temporary file beside it, then renamed."""
    _replace(output_file(folder, name), content)


def _replace(file: Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    temporary = temporary_of(file)
    with temporary.open("wb") as stream:
        if callable(content):
            content(stream)
        else:
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def temporary_of(file: Path) -> Path:
    """Where a file of the run is prepared."""
    return file.with_name(f".{file.name}.freqbias-tmp")


def manifest(folder: Path) -> list[str]:
    """The files the run wrote or was about to write, relative to its folder."""
    header, *names = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    if header != _HEADER:
        raise ValueError(f"path {folder} has a {MANIFEST} that no run wrote.")
    for name in names:
        if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ValueError(f"path {folder} has a {MANIFEST} that names {name!r}, outside of it.")
    return names


def save_manifest(folder: Path, names: Iterable[str]) -> None:
    """Replaces the list of the files of the run."""
    _replace(folder / MANIFEST, "".join(f"{line}\n" for line in [_HEADER, *names]).encode())


def remove(folder: Path, names: Iterable[str]) -> None:
    """Removes files of the run, what a kill left of them, and the folders this leaves empty."""
    for name in names:
        file = folder / name
        if not file.parent.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"path {folder} has a link in {name!r}; remove it by hand.")
        file.unlink(missing_ok=True)
        temporary_of(file).unlink(missing_ok=True)
    parents = {parent for name in names for parent in (folder / name).parents}
    inside = {p for p in parents if p != folder and folder in p.parents}
    for parent in sorted(inside, key=lambda parent: -len(parent.parts)):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


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
    folder = run_folder(path)
    for part in name.split("/"):
        check_name("name", part)
    file = folder / name
    written = manifest(folder)
    if name not in written:
        if file.exists():
            raise FileExistsError(f"name {name!r} is taken by a file that this run did not write.")
        save_manifest(folder, [*written, name])
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def check_name(argument: str, name: str) -> None:
    """Raises ValueError unless ``name`` may name a file on any system."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{argument} must start with a letter or digit and go on with these or . _ = + -; "
            f"got {name!r}."
        )

"""The files of a run: written whole or not at all, listed with their checksums, read as written."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

from freqbias._checked import checked

MANIFEST = ".freqbias-run"
_HEADER = "Written by a freqbias run, which may remove the files named here, and no others:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,180}")
_ENTRY = re.compile(r"([0-9a-f]{64}) ([0-9]+) (.+)")


class Entry(NamedTuple):
    """What a file held when the run wrote it."""

    digest: str  # SHA-256, hexadecimal
    length: int  # bytes


class WriteError(OSError):
    """A file of a run could not be written: the disk is full, the folder may not be written to."""


def run_folder(path: str | os.PathLike) -> Path:
    """``path`` as a Path, if a run is there."""
    if not (Path(path) / MANIFEST).exists():
        raise FileNotFoundError(f"path {path} holds no run.")
    return Path(path)


@checked
def write_file(
    path: str | os.PathLike, name: str, content: bytes | Callable[[BinaryIO], Any]
) -> Path:
    """Writes a file of a run whole: to a temporary file beside it, then renamed; and lists it.

    Args:
      path: a run, from `open_run`.
      name: relative to the folder, ``/`` between its parts. Folders are made.
      content: bytes, or a function that writes them to a binary stream.

    Returns:
      The file.

    Raises:
      FileExistsError: a file that this run did not write has that name.
      ValueError: ``name`` is no plain relative path.
      WriteError: the disk is full, or the folder may not be written to. What the run has written
        before is untouched.
    """
    folder = run_folder(path)
    for part in name.split("/"):
        check_name("name", part)
    file = folder / name
    listed = manifest(folder)
    if name not in listed:
        if file.exists():
            raise FileExistsError(f"name {name!r} is taken by a file that this run did not write.")
        save_manifest(folder, {**listed, name: None})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        entry = _prepare(file, content)
        save_manifest(folder, {**listed, name: entry})
        os.replace(temporary_of(file), file)
    except WriteError:
        raise
    except OSError as error:
        raise _not_written(file, error) from error
    return file


@checked
def read_file(path: str | os.PathLike, name: str) -> bytes:
    """What a run wrote as ``name``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such file.
      ValueError: the file is not as the run wrote it; the message says in what.
    """
    folder = run_folder(path)
    if not (folder / name).is_file():
        raise FileNotFoundError(f"name must be a file's; the run {path} has no {name}.")
    content = (folder / name).read_bytes()
    if what := _difference(manifest(folder).get(name), content):
        raise ValueError(
            f"path {path} has a damaged file, {name}: {what}; a resumed run computes it again."
        )
    return content


def complete(folder: Path) -> None:
    """Renames what a kill left prepared and listed, but not yet in its place."""
    for name, entry in manifest(folder).items():
        prepared = temporary_of(folder / name)
        if entry and prepared.exists() and not _difference(entry, prepared.read_bytes()):
            os.replace(prepared, folder / name)


def damaged(folder: Path) -> dict[str, str]:
    """The listed files that are not as the run wrote them, and in what."""
    found = {}
    for name, entry in manifest(folder).items():
        file = folder / name
        if entry is None:  # about to be written, or by a version that kept no checksums
            continue
        what = _difference(entry, file.read_bytes()) if file.exists() else "it is missing"
        if what:
            found[name] = what
    return found


def _difference(entry: Entry | None, content: bytes) -> str:
    if entry is None:
        return ""
    if len(content) != entry.length:
        return f"{len(content)} bytes, {entry.length} were written"
    return "" if _digest(content) == entry.digest else "its content was changed"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _prepare(file: Path, content: bytes | Callable[[BinaryIO], Any]) -> Entry:
    """Writes what is to become ``file`` beside it."""
    temporary = temporary_of(file)
    try:
        with temporary.open("wb") as stream:
            if callable(content):
                content(stream)
            else:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_written(file, error) from error
    written = content if isinstance(content, bytes) else temporary.read_bytes()
    return Entry(_digest(written), len(written))


def _not_written(file: Path, error: OSError) -> WriteError:
    return WriteError(
        f"{file} cannot be written: {error.strerror or error}. What is finished is kept: mend "
        "that, then resume the run."
    )


def temporary_of(file: Path) -> Path:
    """Where a file of the run is prepared."""
    return file.with_name(f".{file.name}.freqbias-tmp")


def manifest(folder: Path) -> dict[str, Entry | None]:
    """The files the run wrote or was about to write, relative to its folder; None: no checksum."""
    header, *lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    if header != _HEADER:
        raise ValueError(f"path {folder} has a {MANIFEST} that no run wrote.")
    found: dict[str, Entry | None] = {}
    for line in lines:
        match = _ENTRY.fullmatch(line)
        name = match[3] if match else line
        if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ValueError(f"path {folder} has a {MANIFEST} that names {name!r}, outside of it.")
        found[name] = Entry(match[1], int(match[2])) if match else None
    return found


def save_manifest(folder: Path, entries: Mapping[str, Entry | None]) -> None:
    """Replaces the list of the files of the run."""
    lines = (f"{e.digest} {e.length} {name}" if e else name for name, e in entries.items())
    file = folder / MANIFEST
    _prepare(file, "".join(f"{line}\n" for line in [_HEADER, *lines]).encode())
    try:
        os.replace(temporary_of(file), file)
    except OSError as error:
        raise _not_written(file, error) from error


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


def discard(folder: Path, names: Iterable[str]) -> None:
    """Removes files of the run; they stay listed, as about to be written."""
    gone = set(names)
    remove(folder, gone)
    kept = {name: None if name in gone else e for name, e in manifest(folder).items()}
    save_manifest(folder, kept)


def check_name(argument: str, name: str) -> None:
    """Raises ValueError unless ``name`` may name a file on any system."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{argument} must start with a letter or digit and go on with these or . _ = + -; "
            f"got {name!r}."
        )

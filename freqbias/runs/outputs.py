"""What a run keeps beside its rows: JSON, arrays, parameters."""

import io
import json
import os
import zipfile
from typing import Any

import jax
import numpy as np

from freqbias._checked import checked
from freqbias.runs.files import read_file, write_file
from freqbias.runs.values import plain
from freqbias.typing import Params


@checked
def save_json(path: str | os.PathLike, name: str, value: Any) -> None:
    """Saves a JSON value as ``name``, atomically.

    Raises:
      FileExistsError: a file that this run did not write has that name.
      TypeError: not a JSON value.
      ValueError: a number is not finite; write None.
    """
    text = json.dumps(plain(name, value), indent=2, allow_nan=False, ensure_ascii=False)
    write_file(path, name, (text + "\n").encode())


@checked
def load_json(path: str | os.PathLike, name: str) -> Any:
    """The JSON value saved as ``name``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such file.
      ValueError: the file is no JSON, or not as the run wrote it.
    """
    try:
        return json.loads(read_file(path, name))
    except json.JSONDecodeError as error:
        raise ValueError(f"path {path} has a damaged file, {name}: it is no JSON.") from error


@checked
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
    write_file(path, f"{name}.npz", lambda file: np.savez(file, **converted))


@checked
def load_arrays(path: str | os.PathLike, name: str) -> dict[str, np.ndarray]:
    """The arrays of ``<name>.npz``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such arrays.
      ValueError: the file is not as the run wrote it, or holds no arrays.
    """
    content = io.BytesIO(read_file(path, f"{name}.npz"))
    try:
        with np.load(content, allow_pickle=False) as stored:
            return dict(stored)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"path {path} has a damaged file, {name}.npz: it holds no arrays."
        ) from error


@checked
def save_params(path: str | os.PathLike, name: str, params: Params) -> None:
    """Saves a pytree of arrays as ``<name>.npz``: one array per leaf, named by its path.

    Args:
      path: a run, from `open_run`.
      name: of the file, without its suffix.
      params: a pytree of arrays, with or without a seed axis; e.g. a leaf of Flax is
        ``params/kernel_0``.

    Raises:
      FileExistsError: a file that this run did not write has that name.
    """
    save_arrays(path, name, **_by_path(params))


@checked
def load_params(path: str | os.PathLike, name: str, like: Params) -> Params:
    """The pytree saved as ``<name>.npz`` by `save_params`.

    Args:
      path: a run.
      name: of the file, without its suffix.
      like: a pytree of arrays or `jax.ShapeDtypeStruct` with the structure and shapes wanted, e.g.
        ``jax.eval_shape(init_fn, key)``.

    Raises:
      FileNotFoundError: ``path`` holds no run, or the run no such file.
      ValueError: the file does not fit ``like``.
    """
    found = load_arrays(path, name)
    wanted = {leaf: getattr(value, "shape", None) for leaf, value in _by_path(like).items()}
    stored = {leaf: value.shape for leaf, value in found.items()}
    if stored != wanted:
        raise ValueError(
            f"like must have the leaves and shapes of {name}.npz, {stored}; got {wanted}."
        )
    return jax.tree.unflatten(jax.tree.structure(like), [found[leaf] for leaf in wanted])


def _by_path(tree: Any) -> dict[str, Any]:
    """Path -> leaf, in the order of the leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(at, simple=True, separator="/"): leaf for at, leaf in leaves}

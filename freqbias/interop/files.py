"""Weights from files, name by name, without running anything that a file holds: `read_weights`."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from freqbias._checked import checked
from freqbias.interop import onnx_names

_DTYPES = {  # of safetensors
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": bool,
}  # fmt: skip
_INSIDE = ("state_dict", "model_state_dict", "model")  # where a checkpoint keeps its weights


@checked
def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by their names; code that a file holds is never run.

    * ``.safetensors``: no package is needed.
    * ``.pth``, ``.pt``, ``.bin``, ``.ckpt``: a state dict of torch, or a checkpoint that has one
      under ``state_dict``, ``model_state_dict`` or ``model``. Torch reads it
      with ``weights_only=True``.
    * ``.onnx``: its initializers, by the names that they have in the torch module that it was
      exported from (`freqbias.interop.onnx_names`). Read by the package onnx.
    * ``.npz``: arrays of NumPy.

    A prefix ``module.`` of all names (of ``torch.nn.DataParallel``) is dropped.

    Args:
      path: of the file; what it is is told by its ending.

    Returns:
      name -> array.

    Raises:
      FileNotFoundError: no such file.
      ImportError: the package that reads it is missing; the message has the line that installs it.
      ValueError: another ending, a damaged file, or one that holds more than arrays.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise ValueError(
            f"weights must be a file that ends in {', '.join(_READERS)}; got {str(path)!r}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"weights must be in a file; there is none at {path}.")
    found = _READERS[path.suffix.lower()](path)
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): array for name, array in found.items()}
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """Length of the header (uint64), header (JSON), bytes."""
    data = path.read_bytes()
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {name: _slice(data[start:], **entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"weights must be a safetensors file; {path} is damaged or none.") from (
            error
        )


def _slice(data: bytes, *, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    first, last = data_offsets
    kind = np.dtype(_DTYPES[dtype])
    if not 0 <= first <= last <= len(data) or last - first != math.prod(shape) * kind.itemsize:
        raise ValueError("offsets do not fit the file.")
    return np.frombuffer(data[first:last], kind).reshape(shape)


def _torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # noqa: PLC0415  (only where it is used)
    except ImportError as error:
        raise ImportError(
            f"weights of torch need torch: pip install 'freqbias[interop]'; got {path}."
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or malicious pickle makes of it
        raise ValueError(
            f"weights must be a state dict of torch, which holds arrays alone; {path} is damaged "
            f"or holds more ({type(error).__name__}). Save model.state_dict() where it comes from."
        ) from error
    for name in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(map(torch.is_tensor, found.values())):
        raise ValueError(
            f"weights must be a state dict, names to tensors, or a checkpoint that has one under "
            f"{', '.join(_INSIDE)}; {path} holds {_what(found)}."
        )
    return {str(name): _array(tensor) for name, tensor in found.items()}


def _array(tensor: Any) -> np.ndarray:
    """Of a tensor; NumPy has no bfloat16 of its own."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()


def _what(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a mapping with {', '.join(map(repr, list(found)[:5]))}"
    return f"a {type(found).__name__}"


def _onnx(path: Path) -> dict[str, np.ndarray]:
    try:
        import onnx  # noqa: PLC0415
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f"weights of ONNX need onnx: pip install 'freqbias[interop]'; got {path}."
        ) from error
    try:
        graph = onnx.load(path).graph
        arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        return onnx_names.named(graph, arrays)
    except Exception as error:  # protobuf's, or of data beside the file
        raise ValueError(
            f"weights must be a model of ONNX; {path} is damaged or none ({_first_line(error)})."
        ) from error


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # of the archive, or of objects in it
        raise ValueError(
            f"weights must be an archive of arrays; {path} is damaged or holds more."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_READERS: Mapping[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _safetensors,
    ".pth": _torch,
    ".pt": _torch,
    ".bin": _torch,
    ".ckpt": _torch,
    ".onnx": _onnx,
    ".npz": _npz,
}

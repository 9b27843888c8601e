"""What the tensors of an ONNX file are called in the module that it was exported from.

Exporters of torch keep most names, and lose some in optimising the graph:

* a tensor that equals another is stored once, and copied by a node ``Identity``;
* the matrix of a dense layer is transposed under a new name (``onnx::MatMul_193``, ``val_12``), and
  so are kernels into which a batch normalisation was multiplied (``onnx::Conv_193``). The node that
  uses it says of which layer: in its own name, or in its metadata;
* the offset of a batch normalisation that was folded into a convolution ends in ``.weight_bias``;
* the class token of a transformer is repeated for the images of a batch (``expand``).
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

_ANONYMOUS = re.compile(r"onnx::\w+|val_\d+|expand(_\d+)?")
_SCOPES = "pkg.torch.onnx.name_scopes"  # of the module, each level in full, then the operation
_DENSE, _WITH_WEIGHT = "MatMul", ("MatMul", "Conv", "Gemm")


def named(graph: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by the names that they have in the module.

    Args:
      graph: ``onnx.GraphProto``.
      arrays: its initializers by their names there.

    Returns:
      name -> array: without those that are no weights (sizes, axes).
    """
    found = dict(arrays)
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:
            found[node.output[0]] = arrays[node.input[0]]
    for node in graph.node:
        for name, source in _weights(node):
            if _ANONYMOUS.fullmatch(source) and source in arrays:
                array = arrays[source]
                found.setdefault(name, array.T if node.op_type == _DENSE else array)
    found |= _class_token(arrays)
    return {
        re.sub(r"\.weight_bias$", ".bias", name): array
        for name, array in found.items()
        if not (_ANONYMOUS.fullmatch(name) or _is_constant(name, array))
    }


def _weights(node: Any) -> Iterator[tuple[str, str]]:
    """Names of the weights of a layer in its module, and in the graph."""
    layer = _layer(node)
    if node.op_type in _WITH_WEIGHT and layer:
        leaves = ("weight", "bias")[: len(node.input) - 1]
        yield from ((f"{layer}.{leaf}", node.input[1 + at]) for at, leaf in enumerate(leaves))


def _layer(node: Any) -> str:
    """``blocks.0.mlp.fc1``; empty if the node does not say."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                scopes = ast.literal_eval(entry.value)
                return str(scopes[-2])
            except (ValueError, SyntaxError, IndexError, TypeError):
                return ""
    # /blocks/blocks.0/mlp/fc1/MatMul: levels, those of lists with their prefix
    levels = [level for level in node.name.split("/")[1:-1] if level]
    repeated = {level.rpartition(".")[0] for level in levels}
    return ".".join(level for level in levels if level not in repeated)


def _class_token(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """That of timm's transformers, if it was repeated."""
    array = arrays.get("expand")
    if array is None or array.ndim != 3 or array.shape[1] != 1 or "cls_token" in arrays:
        return {}
    return {"cls_token": array[:1]} if (array == array[:1]).all() else {}


def _is_constant(name: str, array: np.ndarray) -> bool:
    """Of an operation, not of a module: a number, or integers, such as sizes and axes."""
    return "." not in name and (array.ndim == 0 or array.dtype.kind in "biu")

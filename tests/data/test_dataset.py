"""Split, Dataset, from_arrays: what is stored, what is computed of it, what is refused."""

import dataclasses
import hashlib

import numpy as np
import pytest

from freqbias.data import Dataset, Split, from_arrays


def _split(num=6, shape=(4, 5, 3), num_classes=3):
    pixels = np.random.RandomState(0).randint(256, size=(num, *shape)).astype(np.uint8)
    return Split(pixels, np.arange(num, dtype=np.int32) % num_classes)


def _dataset(train=None, test=None, class_names=("a", "b", "c")):
    return Dataset("toy", train or _split(), test or _split(4), class_names)


def test_images_are_pixels_over_255_in_float32():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = Split(pixels, np.zeros(1, np.int32)).images
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.ravel(), np.arange(256, dtype=np.float32) / 255)
    assert images.min() == 0 and images.max() == 1
    np.testing.assert_array_equal(np.round(images * 255).astype(np.uint8), pixels)


def test_images_are_computed_once():
    split = _split()
    assert split.images is split.images


def test_float_pixels_are_kept_exactly_so_no_rounding_noise_enters_a_spectrum():
    pixels = np.random.RandomState(0).rand(2, 4, 4, 1).astype(np.float32)
    np.testing.assert_array_equal(Split(pixels, np.zeros(2, np.int32)).images, pixels)


def test_arrays_are_read_only_but_the_callers_array_stays_writeable():
    pixels = np.zeros((2, 4, 4, 1), np.uint8)
    split = Split(pixels, np.zeros(2, np.int32))
    for array in (split.pixels, split.labels, split.images):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    pixels[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.labels = pixels


def test_slices_and_index_arrays_give_a_smaller_split():
    split = _split(6)
    assert len(split[1:4]) == 3
    chosen = split[np.array([4, 0])]
    np.testing.assert_array_equal(chosen.labels, split.labels[[4, 0]])
    np.testing.assert_array_equal(chosen.images, split.images[[4, 0]])
    np.testing.assert_array_equal(split[split.labels == 1].labels, [1, 1])


def test_a_single_index_is_refused():
    with pytest.raises(TypeError, match="index must be a slice or an array; got 3"):
        _split()[3]


PIXELS, LABELS = np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32)


@pytest.mark.parametrize(
    ("pixels", "labels", "error", "message"),
    [
        ([[[[0]]]], LABELS, TypeError, "pixels must be a NumPy array; got list"),
        (PIXELS.astype(np.int32), LABELS, TypeError, "pixels must be uint8 or float32; got int32"),
        (PIXELS.astype(float), LABELS, TypeError, "pixels must be uint8 or float32; got float64"),
        (PIXELS[..., 0], LABELS, ValueError, r"pixels must have rank 4; got shape \(2, 4, 4\)"),
        (PIXELS[:0], LABELS[:0], ValueError, "pixels must not be empty"),
        (PIXELS + np.float32(2), LABELS, ValueError, r"pixels must lie in \[0, 1\]"),
        (PIXELS + np.float32(np.nan), LABELS, ValueError, "pixels must be finite"),
        (PIXELS, LABELS.astype(np.int64), TypeError, "labels must be int32; got int64"),
        (PIXELS, LABELS[:, None], ValueError, "labels must have rank 1"),
        (PIXELS, LABELS[:1], ValueError, r"labels must have one entry per image \(2\); got 1"),
        (PIXELS, LABELS - 1, ValueError, "labels must not be negative; got -1"),
    ],
)
def test_split_names_what_is_wrong(pixels, labels, error, message):
    with pytest.raises(error, match=message):
        Split(pixels, labels)


def test_dataset_reports_shape_and_classes():
    dataset = _dataset()
    assert dataset.image_shape == (4, 5, 3)
    assert dataset.num_classes == 3


def test_mean_and_std_are_per_channel_over_the_training_set_in_unit_range():
    pixels = np.zeros((2, 2, 2, 2), np.uint8)
    pixels[0, ..., 0] = 255  # half white, half black: mean 1/2, standard deviation 1/2
    pixels[..., 1] = 51  # constant 1/5
    train = Split(pixels, np.zeros(2, np.int32))
    test = Split(pixels[:1], np.zeros(1, np.int32))
    dataset = _dataset(train, test)
    np.testing.assert_allclose(dataset.mean, [0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(dataset.std, [0.5, 0.0], atol=1e-7)
    assert dataset.mean.dtype == dataset.std.dtype == np.float32


def test_checksum_is_sha256_of_dtype_shape_and_bytes():
    pixels, labels = np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int32)
    split = Split(pixels, labels)
    one = b"uint8(1, 1, 1, 1)" + b"\0" + b"int32(1,)" + b"\0" * 4
    assert _dataset(split, split).checksum == hashlib.sha256(one * 2).hexdigest()


def test_checksum_does_not_depend_on_memory_layout():
    split = _split()
    fortran = Split(np.asfortranarray(split.pixels), split.labels)
    assert _dataset(split).checksum == _dataset(fortran).checksum


@pytest.mark.parametrize("part", ["train.pixels", "train.labels", "test.pixels", "test.labels"])
def test_checksum_sees_every_array(part):
    arrays = {}
    for name, split in (("train", _split()), ("test", _split(4))):
        arrays[f"{name}.pixels"], arrays[f"{name}.labels"] = split.pixels, split.labels
    before = _from_parts(arrays).checksum
    changed = arrays[part].copy()
    changed.flat[-1] = (changed.flat[-1] + 1) % 3
    assert _from_parts(arrays | {part: changed}).checksum != before


def _from_parts(arrays):
    train, test = (Split(arrays[f"{s}.pixels"], arrays[f"{s}.labels"]) for s in ("train", "test"))
    return _dataset(train, test)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 3}, TypeError, "name must be a str; got 3 of type int"),
        ({"train": PIXELS}, TypeError, "train must be a Split; got an array"),
        ({"test": _split(shape=(4, 4, 3))}, ValueError, "must be of the same shape and dtype"),
        ({"class_names": ("a", "b")}, ValueError, r"train.labels must lie in 0..1.*got 2"),
        ({"class_names": ()}, ValueError, "class_names must be distinct, at least one"),
        ({"class_names": ("a", "a", "b")}, ValueError, "class_names must be distinct"),
        ({"class_names": (0, 1, 2)}, TypeError, "class_names must be a sequence, each a str"),
    ],
)
def test_dataset_names_what_is_wrong(arguments, error, message):
    good = {"name": "toy", "train": _split(), "test": _split(), "class_names": ("a", "b", "c")}
    with pytest.raises(error, match=message):
        Dataset(**(good | arguments))


def test_from_arrays_takes_what_people_have():
    images = np.random.RandomState(0).rand(4, 3, 3, 1)  # float64
    dataset = from_arrays(images, [0, 1, 2, 0], images[:2], np.array([3, 0], np.int64))
    assert dataset.train.images.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.images, images.astype(np.float32))
    assert dataset.train.labels.dtype == np.int32
    assert dataset.class_names == ("0", "1", "2", "3")


def test_from_arrays_keeps_uint8():
    split = _split()
    dataset = from_arrays(split.pixels, split.labels, split.pixels, split.labels)
    assert dataset.train.pixels.dtype == np.uint8


IMAGES = np.full((2, 3, 3, 1), 0.5)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES * 255, [0, 1], ValueError, r"test_images must lie in \[0, 1\]"),
        (IMAGES * np.nan, [0, 1], ValueError, "test_images must be finite"),
        (IMAGES[..., 0], [0, 1], ValueError, "test_images must have rank 4"),
        (IMAGES.astype(np.int32), [0, 1], TypeError, "test_images must be float32 or float64"),
        (IMAGES, [0.0, 1.0], TypeError, "test_labels must be integers"),
        (IMAGES, [0, -1], ValueError, "test_labels must lie in"),
        (IMAGES, [[0, 1]], ValueError, "test_labels must have rank 1"),
    ],
)
def test_from_arrays_names_the_argument(images, labels, error, message):
    with pytest.raises(error, match=message):
        from_arrays(IMAGES, [0, 1], images, labels)

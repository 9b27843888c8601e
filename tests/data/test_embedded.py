"""The packaged sets: sizes, balance, checksums, licences; damage is noticed."""

import io
import json
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from freqbias.data import embedded, load, names
from freqbias.data.patches import corners

SHAPES = {
    "fashion_mnist_mini": ((10_000, 28, 28, 1), (2_000, 28, 28, 1)),
    "natural_patches": ((4_096, 32, 32, 3), (1_024, 32, 32, 3)),
    "digits": ((1_400, 8, 8, 1), (340, 8, 8, 1)),
    "mnist_mini": ((4_000, 28, 28, 1), (1_000, 28, 28, 1)),
    "texture_patches": ((1_536, 32, 32, 1), (384, 32, 32, 1)),
}
OF_PHOTOGRAPHS = ("natural_patches", "texture_patches")


@pytest.fixture(scope="module")
def datasets():
    return {name: load(name) for name in embedded.NAMES}


@pytest.mark.parametrize("name", embedded.NAMES)
def test_shape_dtype_and_range(datasets, name):
    dataset = datasets[name]
    assert (dataset.train.pixels.shape, dataset.test.pixels.shape) == SHAPES[name]
    for split in (dataset.train, dataset.test):
        assert split.pixels.dtype == np.uint8 and split.labels.dtype == np.int32
        assert split.images.min() >= 0 and 0.9 < split.images.max() <= 1


@pytest.mark.parametrize("name", embedded.NAMES)
def test_classes_take_turns_so_any_prefix_is_balanced(datasets, name):
    dataset = datasets[name]
    for split in (dataset.train, dataset.test):
        turns = np.arange(len(split)) % dataset.num_classes
        np.testing.assert_array_equal(split.labels, turns)


@pytest.mark.parametrize("name", embedded.NAMES)
def test_loads_in_under_a_second(datasets, name):
    start = time.process_time()  # processor time: other work on the machine does not count
    load(name)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("name", embedded.NAMES)
def test_provenance_and_licence_lie_beside(datasets, name):
    dataset = datasets[name]
    assert dataset.name == name
    assert dataset.description and dataset.source and dataset.licence
    folder = resources.files("freqbias.data") / "embedded"
    assert len((folder / f"{name}.LICENSE.txt").read_text(encoding="utf-8")) > 100


@pytest.mark.parametrize("name", OF_PHOTOGRAPHS)
def test_every_photograph_has_an_author_and_a_licence(datasets, name):
    folder = resources.files("freqbias.data") / "embedded"
    text = (folder / f"{name}.LICENSE.txt").read_text(encoding="utf-8")
    entries = [entry for entry in text.split("\n\n") if "author:" in entry]
    assert [e.strip().splitlines()[0] for e in entries] == list(datasets[name].class_names)
    assert all("licence: " in entry and "url: http" in entry for entry in entries)


@pytest.mark.parametrize("name", ["fashion_mnist_mini", "digits", "mnist_mini"])
def test_no_test_image_is_a_training_image(datasets, name):
    dataset = datasets[name]
    train = {image.tobytes() for image in dataset.train.pixels}
    shared = sum(image.tobytes() in train for image in dataset.test.pixels)
    assert shared == 0


@pytest.mark.parametrize("name", OF_PHOTOGRAPHS)
def test_packaged_photographs_are_large_enough_for_distinct_patches(datasets, name):
    path = resources.files("freqbias.data") / "embedded" / f"{name}.npz"
    with path.open("rb") as file, np.load(file) as photographs:
        for label in datasets[name].class_names:
            assert max(photographs[label].shape[:2]) <= 320
            for parity, num in ((0, 512), (1, 128)):
                places = corners(photographs[label].shape[:2], parity=parity, num=num)
                assert len(set(places)) == num


def test_no_patch_is_constant(datasets):
    for split in (datasets["natural_patches"].train, datasets["natural_patches"].test):
        assert (np.ptp(split.pixels, axis=(1, 2)).max(-1) > 0).all()


def test_neither_brightness_nor_contrast_tells_a_texture(datasets):
    dataset = datasets["texture_patches"]
    for split in (dataset.train, dataset.test):
        pixels = split.pixels.astype(float)
        for label in range(3):  # what was clipped changes single patches, up to a tenth
            of_label = pixels[split.labels == label]
            assert abs(of_label.mean() - 127.5) < 0.25
            assert abs(of_label.std((1, 2, 3)).mean() / 36 - 1) < 0.01


def test_photographs_have_the_falling_spectrum_of_natural_images(datasets):
    # Power falls as 1/f^2 to 1/f^4 in natural images; that of noise would be flat.
    images = datasets["natural_patches"].train.images
    power = np.mean(np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2, axis=-1)
    frequency = np.fft.fftfreq(32)
    ring = np.round(32 * np.hypot(frequency[:, None], frequency[None, :])).astype(int)
    radii = np.arange(2, 13)
    for label in range(8):
        mean = power[datasets["natural_patches"].train.labels == label].mean(0)
        profile = [mean[ring == radius].mean() for radius in radii]
        slope = np.polyfit(np.log(radii), np.log(profile), 1)[0]
        assert -4 < slope < -2


def _copy_to(folder: Path, name):
    source = resources.files("freqbias.data") / "embedded"
    target = folder / "embedded"
    target.mkdir()
    for end in ("npz", "json"):
        (target / f"{name}.{end}").write_bytes((source / f"{name}.{end}").read_bytes())
    return target


def test_an_altered_pixel_is_noticed(tmp_path, monkeypatch):
    target = _copy_to(tmp_path, "digits")
    with np.load(target / "digits.npz") as stored:
        arrays = dict(stored)
    arrays["test_pixels"][5, 4, 4, 0] ^= 1
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (target / "digits.npz").write_bytes(buffer.getvalue())
    monkeypatch.setattr(embedded.resources, "files", lambda package: tmp_path)
    expected = json.loads((target / "digits.json").read_text(encoding="utf-8"))["checksum"]
    with pytest.raises(RuntimeError, match=f"digits has checksum .*expected {expected}: install"):
        load("digits")


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_missing_or_cut_file_is_named(tmp_path, monkeypatch, damage):
    path = _copy_to(tmp_path, "digits") / "digits.npz"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:1000])
    monkeypatch.setattr(embedded.resources, "files", lambda package: tmp_path)
    with pytest.raises(RuntimeError, match=r"cannot read the packaged digits .*install freqbias"):
        load("digits")


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"name must be one of 'fashion_mnist_mini', .*'mnist'"):
        load("fashion")


def test_names_are_distinct_and_start_with_the_packaged_sets():
    assert names()[: len(embedded.NAMES)] == embedded.NAMES
    assert len(set(names())) == len(names())

"""Reading through tensorflow-datasets, and the errors that say how to make it work."""

import sys
import types

import numpy as np
import pytest

from freqbias.data import load, load_tfds
from freqbias.data import tfds as tfds_module


def test_an_unknown_set_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"name must be one of 'mnist', .*got 'imagenet'"):
        load_tfds("imagenet")


def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'freqbias\[tfds\]'"):
        load("cifar10")


def test_a_set_that_is_not_prepared_gives_the_command_that_prepares_it(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(FileNotFoundError) as caught:
        load_tfds("mnist", data_dir=tmp_path)
    assert (
        f"mnist is not prepared in {tmp_path}; run once: "
        f"python -m freqbias.data.prepare --name=mnist --data_dir={tmp_path}" in str(caught.value)
    )


def test_a_set_prepared_in_another_format_asks_for_a_new_folder(monkeypatch):
    def builder(name, data_dir, file_format):
        raise ValueError("File format is already set to FileFormat.TFRECORD.")

    core = types.SimpleNamespace(
        DatasetNotFoundError=KeyError, constants=types.SimpleNamespace(DATA_DIR="default")
    )
    fake = types.SimpleNamespace(builder=builder, core=core)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    message = "kmnist cannot be opened in old .*TFRECORD.* another format .*--data_dir=NEW_FOLDER"
    with pytest.raises(FileNotFoundError, match=message):
        load_tfds("kmnist", data_dir="old")


@pytest.mark.parametrize("name", tfds_module.NAMES)
def test_every_set_is_read_into_a_dataset(tmp_path, name):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5, data_dir=str(tmp_path)):
        dataset = load_tfds(name, data_dir=tmp_path)
    published = tfds_module.PUBLISHED[name]
    assert dataset.image_shape == published.image_shape
    assert dataset.num_classes == published.num_classes
    assert len(dataset.train) == len(dataset.test) == 5
    assert dataset.train.pixels.dtype == np.uint8
    assert dataset.name == name and dataset.source.startswith("tensorflow-datasets " + name)


def test_a_prepared_set_is_found_by_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert tfds_module.prepared_folder("mnist") is None
    version = tmp_path / "mnist" / "3.0.1"
    version.mkdir(parents=True)
    (version / "mnist-train.tfrecord-00000-of-00001").touch()  # which load cannot read
    assert tfds_module.prepared_folder("mnist") is None
    (version / "mnist-train.array_record-00000-of-00001").touch()
    assert tfds_module.prepared_folder("mnist") == version
    assert tfds_module.prepared_folder("mnist", tmp_path / "elsewhere") is None

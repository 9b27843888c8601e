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
    side, channels = (28, 1) if name.endswith("mnist") else (32, 3)
    assert dataset.image_shape == (side, side, channels)
    assert dataset.num_classes == (100 if name == "cifar100" else 10)
    assert len(dataset.train) == len(dataset.test) == 5
    assert dataset.train.pixels.dtype == np.uint8
    assert dataset.name == name and dataset.source.startswith("tensorflow-datasets " + name)

"""Preparing sets of tensorflow-datasets: files on disk, files that cannot be had."""

import gzip
import importlib.util
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from freqbias.data import load_idx, load_tfds, prepare

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's dataset-fashion-mnist
needs_tensorflow = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_datasets"))),
    reason="preparing needs the extra 'tfds'",
)


def _write_idx(folder, num):
    for prefix in ("train", "t10k"):
        for kind, shape in (("images-idx3", (num, 28, 28)), ("labels-idx1", (num,))):
            header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            content = header + bytes(np.prod(shape))
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))


def _command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_idx_files_become_the_published_set_in_one_command(tmp_path):
    """All 70,000 images, in the folder that TFDS_DATA_DIR names, read back without TensorFlow."""
    flags = ("--name=fashion_mnist", f"--idx_dir={FASHION_MNIST}")
    done = _command("-m", "freqbias.data.prepare", *flags, TFDS_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"fashion_mnist lies in {tmp_path}/fashion_mnist/3." in done.stdout
    read = (
        "import sys; from freqbias.data import load; "
        "print(load('fashion_mnist').checksum, 'tensorflow' in sys.modules)"
    )
    done = _command("-c", read, TFDS_DATA_DIR=str(tmp_path))
    dataset = load_tfds("fashion_mnist", data_dir=tmp_path)
    assert done.stdout.split() == [dataset.checksum, "False"], done.stderr

    files = load_idx(FASHION_MNIST)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.class_names[9] == "Ankle boot"
    for split in ("train", "test"):
        found, expected = (  # the set is stored in an order of its own
            sorted((image.tobytes(), int(label)) for image, label in zip(*pair, strict=True))
            for pair in (
                (getattr(source, split).pixels, getattr(source, split).labels)
                for source in (dataset, files)
            )
        )
        assert found == expected


def test_a_folder_with_other_images_is_refused(tmp_path):
    _write_idx(tmp_path, 3)
    with pytest.raises(
        ValueError, match=r"mnist must have images of shapes \(\(60000, 28.*\(3, 28"
    ):
        prepare.prepare_idx("mnist", tmp_path)
    with pytest.raises(ValueError, match="name must be one of 'mnist', 'fashion_mnist', 'kmnist'"):
        prepare.prepare_idx("cifar10", tmp_path)


def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'freqbias\[tfds\]'"):
        prepare.prepare("cifar10")


@needs_tensorflow
def test_what_cannot_be_downloaded_says_how_to_go_on(tmp_path, monkeypatch):
    import requests  # noqa: PLC0415 (comes with tensorflow-datasets)
    import tensorflow_datasets as tfds  # noqa: PLC0415

    with pytest.raises(FileNotFoundError) as caught:
        prepare.prepare("imagenet2012", data_dir=tmp_path)
    message = str(caught.value)
    assert "ILSVRC2012_img_train.tar" in message
    command = "python -m freqbias.data.prepare --name={} --data_dir={} --manual_dir=MANUAL_DIR"
    assert command.format("imagenet2012", tmp_path) in message
    with pytest.raises(FileNotFoundError, match=r"a file is missing in .* is fetched by hand"):
        prepare.prepare("imagenet2012", data_dir=tmp_path, manual_dir=tmp_path)
    with pytest.raises(ValueError, match="must be a set of tensorflow-datasets; got 'nonsense'"):
        prepare.prepare("nonsense", data_dir=tmp_path)

    def offline(*arguments, **options):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(
        FileNotFoundError, match=r"no network.*Fetch .*Imagenet32_train_npz.zip"
    ) as c:
        prepare.prepare("imagenet_resized/32x32", data_dir=tmp_path)
    assert command.format("imagenet_resized/32x32", tmp_path) in str(c.value)


@needs_tensorflow
def test_published_files_are_verified(tmp_path):
    _write_idx(tmp_path, 3)
    with pytest.raises(ValueError, match=r"wrong checksum(.|\n)*use --idx_dir"):
        prepare.prepare("fashion_mnist", data_dir=tmp_path, manual_dir=tmp_path)


def test_the_command_ends_in_one_line(tmp_path):
    flags = ("--name=mnist", f"--idx_dir={tmp_path}")
    done = _command("-m", "freqbias.data.prepare", *flags)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"prepare: {tmp_path} holds neither train-images"
    )

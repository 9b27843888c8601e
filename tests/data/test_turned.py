"""Which way up: four rotations, of sources that training and test do not share."""

import jax
import numpy as np
import pytest

from freqbias import data
from freqbias.data import titles


@pytest.fixture(scope="module")
def turned():
    return data.load("natural_patches+turned_0")


def test_every_image_stands_four_times_and_its_label_counts_quarter_turns(turned):
    """Turns follow each other: any prefix, such as the attacked images, is class-balanced."""
    assert turned.num_classes == 4
    for split in (turned.train, turned.test):
        images, labels = split.images, split.labels
        np.testing.assert_array_equal(labels, np.arange(len(labels)) % 4)
        for turns in range(4):
            np.testing.assert_array_equal(
                images[turns::4], np.rot90(images[::4], turns, axes=(1, 2))
            )


def test_no_photograph_is_in_training_and_in_test(turned):
    """Upright images, looked up among the patches that they are."""
    plain = data.load("natural_patches")
    sources = []
    for now, before in ((turned.train, plain.train), (turned.test, plain.test)):
        known = {
            image.tobytes(): label
            for image, label in zip(before.pixels, before.labels, strict=True)
        }
        sources.append({known[image.tobytes()] for image in now.pixels[::4]})
    assert not sources[0] & sources[1]
    assert len(sources[0]) == len(sources[1]) == plain.num_classes // 2


def test_its_name(turned):
    assert turned.name == "natural_patches+turned_0"
    assert titles.title(turned.name) == "Natural patches, which way up 0"
    other = data.load("natural_patches+turned_1")
    assert other.checksum != turned.checksum


def test_images_that_are_not_square_are_refused():
    images = np.zeros((4, 4, 6, 1))
    dataset = data.from_arrays(images, [0, 1, 0, 1], images, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="square images; got 4 x 6"):
        data.label_by_turn(dataset, key=jax.random.key(0))
    one = data.from_arrays(images[:, :, :4], [0] * 4, images[:, :, :4], [0] * 4)
    with pytest.raises(ValueError, match="at least two classes; got 1"):
        data.label_by_turn(one, key=jax.random.key(0))

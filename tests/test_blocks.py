"""How many images a core works on at once."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from freqbias import models
from freqbias._blocks import block_size, equal_blocks, equal_parts, puts_images_last


@pytest.mark.parametrize(
    ("num_images", "channels", "divisor", "equal"),
    [
        (8, 64, 8, (1, 8)),  # few
        (128, 16, 64, (2, 64)),  # 28 x 28 x 16 floats of an image: 83 are allowed, 64 divide
        (100, 16, 50, (2, 50)),
        (127, 16, 127, (2, 64)),  # no divisor; one is left over
        (199, 16, 199, (3, 67)),
        (128, 128, 32, (4, 32)),  # never fewer than 32
        (1024, 1, 1024, (1, 1024)),
    ],
)
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU")
def test_blocks_on_cpu_stay_near(num_images, channels, divisor, equal):
    def network(images):
        return jnp.sum(jnp.tile(images, (1, 1, 1, channels)), (1, 2, 3))[:, None]

    images = jax.ShapeDtypeStruct((num_images, 28, 28, 1), jnp.float32)
    assert block_size(network, images, 2**22) == divisor
    assert equal_blocks(network, images, 2**22) == equal


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU")
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (models.ConvNet(num_classes=3, kernel_size=3, channels=4), True),
        (models.FullyConnected(num_classes=3), False),
    ],
)
def test_convolutions_put_images_last(model, expected):
    images = jax.ShapeDtypeStruct((64, 6, 6, 1), jnp.float32)
    network = partial(model.apply, model.init(jax.random.key(0), jnp.zeros((1, 6, 6, 1))))
    assert puts_images_last(network, images) == expected
    assert not puts_images_last(network, jax.ShapeDtypeStruct((8, 6, 6, 1), jnp.float32))  # few


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU")
@pytest.mark.parametrize(
    ("num_images", "cores", "expected"),
    [
        (63, 4, (1, 63)),  # too few
        (64, 4, (2, 32)),
        (220, 1, (1, 220)),
        (220, 4, (4, 55)),
        (199, 2, (2, 100)),  # one is left over
    ],
)
def test_each_core_has_a_part_of_many_images(num_images, cores, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert equal_parts(num_images) == expected

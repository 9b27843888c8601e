"""Which driver "auto" is: a rule about the network, read off its program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import attacks, models
from freqbias.attacks import driver
from freqbias.attacks.driver import choose_driver

IMAGES = np.zeros((2, 8, 8, 1), np.float32)
KERNEL = np.zeros((3, 3, 1, 1), np.float32)
HOST = "host" if jax.default_backend() == "cpu" else "scan"


def _convolution(kernel, images):
    dims = ("NHWC", "HWIO", "NHWC")
    layer = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=dims)
    return layer.reshape(len(images), -1)


def _in_a_loop(kernel, images):
    def twice(images, _):
        return jax.jit(_convolution)(kernel, images).reshape(images.shape), None

    return jax.lax.scan(twice, images, length=2)[0].reshape(len(images), -1)


def _product(kernel, images):
    return images.reshape(len(images), -1) * jnp.sum(kernel)


@pytest.mark.parametrize(
    ("network", "expected"), [(_convolution, HOST), (_in_a_loop, HOST), (_product, "scan")]
)
def test_networks_of_xlas_convolution_run_on_the_host_on_cpu(network, expected):
    choose = partial(choose_driver, apply_fn=network, params=KERNEL, images=IMAGES)
    assert choose("auto") == expected
    assert choose("host") == "host" and choose("scan") == "scan"
    traced = []
    jax.eval_shape(lambda key: traced.append(choose("auto", inputs=key)), jax.random.key(0))
    assert traced == ["scan"]


@pytest.mark.parametrize("kernel_size", [3, 5, 8])
@pytest.mark.parametrize("padding", ["circular", "SAME"])
def test_our_convolutions_have_none_on_cpu(kernel_size, padding):
    model = models.ConvNet(num_classes=3, kernel_size=kernel_size, depth=2, padding=padding)
    params = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    assert choose_driver("auto", model.apply, params, IMAGES) == "scan"


@pytest.mark.parametrize("attack", ["pgd", "ddn"])
def test_images_some_at_a_time_are_perturbed_as_all_at_once(attack, monkeypatch):
    rng = np.random.default_rng(0)
    images, labels = np.float32(rng.uniform(size=(12, 6, 6, 1))), rng.integers(3, size=12)
    model = models.ConvNet(num_classes=3, kernel_size=3, channels=4)
    params = model.init(jax.random.key(0), images)
    made = {
        "pgd": lambda: attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=5),
        "ddn": lambda: attacks.ddn(num_steps=5),
    }[attack]()

    def found(size, moves=False, parts=(1, 12)):
        jax.clear_caches()
        monkeypatch.setattr(driver, "equal_parts", lambda _: parts)
        monkeypatch.setattr(driver, "puts_images_last", lambda *_: moves)
        blocks = -(-parts[1] // size), size
        monkeypatch.setattr(driver, "equal_blocks", lambda *_: blocks)
        return made(model.apply, params, images, labels, jax.random.key(1))

    whole = found(12)
    # Three blocks; with three places left over; gradients kept in memory; and by parts.
    for some in (
        found(4),
        found(5),
        found(4, moves=True),
        found(6, parts=(2, 6)),
        found(5, parts=(3, 5)),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, some)
    jax.clear_caches()

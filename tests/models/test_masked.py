"""Networks whose taps are data: the same networks, and one compilation for all kernel sizes."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from freqbias import models
from freqbias.models import ConvNet, MaskedConvNet, ScatteredConvNet, as_masked, tap_params
from freqbias.training import adam, initial_params, sgd, shared_apply_fn, train

SHAPE = (8, 7, 2)
COMMON = {"num_classes": 3, "depth": 2, "channels": 4, "init_scale": 0.5, "mean": (0.4, 0.5)}


def twins(kernel_size, scattered):
    """A masked network and the plain one that it stands for."""
    if not scattered:
        plain = ConvNet(kernel_size=kernel_size, **COMMON)
        return MaskedConvNet(kernel_size=kernel_size, **COMMON), plain
    plain = ScatteredConvNet(kernel_size=kernel_size, scatter_seed=5, **COMMON)
    return MaskedConvNet(kernel_size=kernel_size, scatter_seed=5, **COMMON), plain


def _leaves(one, other):
    """Pairs of leaves, flat: a bias is [C] here and [1, 1, C] there."""
    flat = ([np.ravel(leaf) for leaf in jax.tree.leaves(params)] for params in (one, other))
    return zip(*flat, strict=True)


pairs = pytest.mark.parametrize(
    ("kernel_size", "scattered"), [(3, False), (4, False), (7, False), (3, True)]
)


@pairs
def test_it_starts_as_the_plain_network(kernel_size, scattered, rng):
    """One key draws the same weights, and they mean the same function."""
    masked, plain = twins(kernel_size, scattered)
    assert as_masked(plain) == masked
    images = rng.random((3, *SHAPE), np.float32)
    params, expected = (jax.jit(model.init)(jax.random.key(1), images) for model in (masked, plain))
    for one, other in _leaves(tap_params(masked, jax.device_get(params)), expected):
        np.testing.assert_array_equal(one, other)
    found, logits = jax.jit(masked.apply)(params, images), jax.jit(plain.apply)(expected, images)
    np.testing.assert_allclose(found, logits, atol=1e-5)


OPTIMIZERS = {
    "sgd": sgd(0.05, 0.9, 1.0),
    "weight decay": sgd(0.05, 0.9, 1.0, weight_decay=0.1),
    "adam": adam(0.01, 1.0),
}


@pytest.mark.parametrize(
    ("kernel_size", "scattered", "optimizer"),
    [
        (3, False, "sgd"),
        (4, False, "adam"),
        (7, False, "weight decay"),
        *((3, True, optimizer) for optimizer in OPTIMIZERS),
    ],
)
def test_it_trains_as_the_plain_network(kernel_size, scattered, optimizer):
    """Masks are never trained, and no weight appears where there is no tap."""
    masked, plain = twins(kernel_size, scattered)
    rng = np.random.default_rng(0)
    split = SimpleNamespace(
        images=rng.random((32, *SHAPE), np.float32), labels=rng.integers(0, 3, 32)
    )
    nets, expected = (
        train(model, split, seeds=(0, 1), key=jax.random.key(2), epochs=1, batch_size=8,
              optimizer=OPTIMIZERS[optimizer], checkpoint_steps=(0, 2))
        for model in (masked, plain)
    )  # fmt: skip
    found = jax.device_get(nets.params)
    for one, other in _leaves(tap_params(masked, found), expected.params):
        np.testing.assert_allclose(one, other, atol=1e-5)
    start = initial_params(masked, SHAPE, seeds=(0, 1), key=jax.random.key(2))["taps"]
    for name, mask in found["taps"].items():
        np.testing.assert_array_equal(mask, start[name])
        np.testing.assert_array_equal(mask.sum(axis=(1, 2)), kernel_size**2)
        kept = nets.history.checkpoints["taps"][name]
        np.testing.assert_array_equal(kept, np.stack([start[name]] * 2, axis=1))
        assert not found["params"][name][mask == 0].any()


def test_all_kernels_share_one_program():
    shared = {shared_apply_fn(twins(*case)[0]) for case in ((1, False), (7, False), (3, True))}
    assert len(shared) == 1
    other = MaskedConvNet(kernel_size=3, **{**COMMON, "depth": 1})
    assert shared_apply_fn(other) not in shared


def test_parameters_are_counted_by_taps():
    """The grid is storage; what is trained are the taps."""
    masked, plain = twins(3, False)
    images = np.zeros((1, *SHAPE), np.float32)
    params, expected = (
        jax.eval_shape(model.init, jax.random.key(1), images) for model in (masked, plain)
    )
    taps = jax.eval_shape(partial(tap_params, masked), params)
    assert models.num_parameters(taps) == models.num_parameters(expected)
    masks = 2 * SHAPE[0] * SHAPE[1]
    assert (
        models.num_parameters(params) == sum(leaf.size for leaf in jax.tree.leaves(params)) - masks
    )


def test_kernel_larger_than_the_image_raises():
    with pytest.raises(ValueError, match=r"kernel_size must be at most the image side, 7; got 8"):
        MaskedConvNet(kernel_size=8, **COMMON).init(
            jax.random.key(0), np.zeros((1, *SHAPE), np.float32)
        )


@pytest.mark.parametrize(
    "model",
    [
        ConvNet(3, padding="SAME"),
        ConvNet(3, pooling="max"),
        ConvNet(3, normalization="layer"),
        ConvNet(3, mirrored=True),
        ScatteredConvNet(3, shared=False),
        models.FullyConnected(3),
    ],
)
def test_only_circulant_networks_can_be_masked(model):
    with pytest.raises(ValueError, match="model must be"):
        as_masked(model)

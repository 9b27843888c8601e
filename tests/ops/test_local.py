"""Unshared layers: locally connected and permuted, and the affine predictor."""

import jax
import numpy as np
import pytest

from freqbias import ops


def _random(key, *shape):
    return np.random.default_rng(key).standard_normal(shape, np.float32)


def test_tied_weights_make_a_convolution():
    images, kernel = _random(0, 2, 5, 6, 2), _random(1, 3, 3, 2, 3)
    tied = np.broadcast_to(kernel.reshape(1, 1, 9, 2, 3), (5, 6, 9, 2, 3))
    found = ops.locally_connected(images, tied, ops.square_offsets(3, 3))
    np.testing.assert_allclose(found, ops.conv(images, kernel), atol=1e-5)


def test_locally_connected_by_loop():
    images, weights = _random(0, 1, 3, 4, 2), _random(1, 3, 4, 2, 2, 3)
    offsets = np.array([[0, 0], [1, -1]])
    found = np.asarray(ops.locally_connected(images, weights, offsets))
    for row in range(3):
        for column in range(4):
            expected = sum(
                images[0, (row + dy) % 3, (column + dx) % 4] @ weights[row, column, t]
                for t, (dy, dx) in enumerate(offsets.tolist())
            )
            np.testing.assert_allclose(found[0, row, column], expected, atol=1e-5)


def test_permuted_with_shifts_is_locally_connected():
    """The permutation of a shift gives back the locally connected layer."""
    images, weights = _random(0, 2, 4, 5, 2), _random(1, 4, 5, 9, 2, 3)
    offsets = ops.square_offsets(3, 3)
    grid = np.arange(20).reshape(4, 5)
    positions = np.stack([np.roll(grid, (-dy, -dx), (0, 1)).ravel() for dy, dx in offsets])
    np.testing.assert_allclose(
        ops.permuted_connected(images, weights, positions),
        ops.locally_connected(images, weights, offsets),
        atol=1e-5,
    )


def test_scattered_positions_use_every_input_once_per_tap():
    positions = ops.scattered_positions(3, (4, 5), seed=0)
    np.testing.assert_array_equal(np.sort(positions, axis=1), np.tile(np.arange(20), (3, 1)))
    assert (positions == ops.scattered_positions(3, (4, 5), seed=0)).all()
    assert (positions != ops.scattered_positions(3, (4, 5), seed=1)).any()


def test_scattered_offsets_are_distinct():
    offsets = ops.scattered_offsets(20, (4, 5), seed=0)
    assert len({tuple(pair) for pair in offsets.tolist()}) == 20
    with pytest.raises(ValueError, match="num_taps"):
        ops.scattered_offsets(21, (4, 5), seed=0)


def test_affine_predictor_predicts():
    kernel, readout = _random(0, 3, 3, 2, 4), _random(1, 5 * 5 * 4, 3)

    @jax.jit
    def apply_fn(params, images):
        features = ops.conv(images, params["kernel"])
        return features.reshape(images.shape[0], -1) @ params["readout"] + params["bias"][None]

    params = {"kernel": kernel, "readout": readout, "bias": np.arange(3, dtype=np.float32)}
    images = _random(2, 7, 5, 5, 2)
    predictor = jax.jit(lambda params: ops.affine_predictor(apply_fn, params, (5, 5, 2)))(params)
    assert predictor.weights.shape == (5, 5, 2, 3)
    np.testing.assert_allclose(predictor(images), apply_fn(params, images), rtol=2e-5, atol=2e-4)


def test_bad_weights_are_named():
    with pytest.raises(ValueError, match="weights must have shape"):
        ops.locally_connected(
            np.zeros((1, 4, 4, 1)), np.zeros((4, 4, 8, 1, 1)), ops.square_offsets(3, 3)
        )

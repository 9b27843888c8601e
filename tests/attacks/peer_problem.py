"""A network with random weights on which attacks are compared with foolbox's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """Weights, images, and the predictions as labels, so that every clean image is correct."""

    params: tuple
    images: jax.Array
    labels: jax.Array


def network(params, images):
    """Two circular 3 x 3 convolutions with ReLU and a linear readout, 10 classes."""
    for kernel in params[:-1]:
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        images = jax.lax.conv_general_dilated(
            padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images)
    return images.reshape(images.shape[0], -1) @ params[-1]


def make_problem(num_images):
    """Random weights and white images of 14 x 14."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = (
        jax.random.normal(keys[0], (3, 3, 1, 8)) * np.sqrt(2 / 9),
        jax.random.normal(keys[1], (3, 3, 8, 8)) * np.sqrt(2 / 72),
        jax.random.normal(keys[2], (14 * 14 * 8, 10)) / np.sqrt(14 * 14 * 8),
    )
    images = jax.random.uniform(keys[3], (num_images, 14, 14, 1))
    return Problem(params, images, jnp.argmax(network(params, images), axis=-1))

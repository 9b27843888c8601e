"""Calls of what a linear network must learn."""

import jax
import jax.numpy as jnp
import numpy as np

from calls.values import IMAGES, KEY, LABELS, RNG, SEEDS, Call, linear_fn, named, network
from freqbias import (
    ops,
    theory,
)


def of_theory() -> dict[str, Call]:
    line = (1, 8, 1)
    beta = RNG.standard_normal(line)
    images = RNG.standard_normal((6, *line))
    labels = np.arange(6, dtype=np.int32) % 2
    task = {"images": images, "labels": labels}
    net = theory.dense_net(line, 1)
    state = theory.init_direction(net, jax.random.split(KEY, 2), 6)
    dynamics = {
        "initial": np.array([0.1, 0.2]), "correlation": np.array([1.0, 2.0]),
        "power": np.array([1.0, 1.0]), "depth": 2,
    }  # fmt: skip
    separating = theory.support_vector_machine(images, labels).weights
    regularizer = theory.l2_regularizer()
    offsets = ops.square_offsets(1, 3)
    kernel = RNG.standard_normal((1, 3, 1, 1)).astype(np.float32)
    ranged = {"kernel_size": (1, 3), "shape": (1, 8), "include_dc": True}
    affine = ops.affine_predictor(linear_fn, network()["params"], (6, 5, 1))
    return named("freqbias.theory", theory, {
        "amplitude_trajectory": {"times": np.array([0.0, 1.0])} | dynamics,
        "band_energy_range": {
            "kernel_size": (1, 3), "shape": (1, 8), "radius": 0.2, "band": "disc",
        },
        "certificate": task | {
            "beta": beta, "regularizer": regularizer, "norm": None,
            "dual_weights": np.ones(6), "members": np.ones(6, bool),
        },
        "check_affine": network() | {"image_shape": (6, 5, 1), "tolerance": 1e-3},
        "contiguous_bound": {"kernel_size": (1, 3), "shape": (1, 8)},
        "conv_cost": {"beta": beta, "depth": 1, "scaled": True},
        "conv_net": {"image_shape": line, "depth": 1, "kernel_size": (1, 3), "channels": 1},
        "conv_predictor": {
            "kernels": [kernel], "readout": np.ones((1, 8, 1, 2)), "padding": "circular",
            "offsets": None,
        },
        "cosine_spread": {"signal": SEEDS},
        "dense_cost": {"beta": beta, "depth": 1},
        "dense_net": {"image_shape": line, "depth": 1, "width": 1},
        "dense_predictor": {"kernels": [RNG.standard_normal((8, 2))], "image_shape": line},
        "donoho_stark_bound": {"support_size": 3, "num_pixels": 8},
        "dual_norm": {"regularizer": regularizer, "y": beta},
        "fourier_problem": {"images": images, "teacher": beta},
        "fourier_stationarity": task | {"beta": separating, "depth": 1, "threshold": 1.05},
        "gradient_descent_amplitude": {"num_steps": 2, "step_size": 0.1} | dynamics,
        "harper_bound": {"size": 8},
        "init_direction": {
            "net": net, "keys": jax.random.split(KEY, 2), "num_images": 6, "init_scale": 1.0,
            "dtype": jnp.float32,
        },
        "kernel_mean_frequency": {"kernel": kernel, "shape": (1, 8), "include_dc": True},
        "kernel_norm": {"beta": beta, "kernel_size": (1, 3), "num_channels": None},
        "kernel_regularizer": {"kernel_size": (1, 3)},
        "kernel_response": {"kernel": kernel, "shape": (1, 8), "offsets": None},
        "kernel_slack": {"kernel": kernel, "shape": (1, 8), "include_dc": True},
        "layer_balance": {
            "first": np.ones((1, 3, 1, 2), np.float32), "second": np.ones((1, 8, 2, 1), np.float32),
            "shape": (1, 8),
        },
        "learning_time": {"final": np.array([0.5, 0.4])} | dynamics,
        "locally_connected_net": {
            "image_shape": line, "depth": 1, "kernel_size": (1, 3), "channels": 1,
        },
        "locally_connected_norm": {"beta": beta, "kernel_size": (1, 3)},
        "locally_connected_predictor": {
            "layers": [RNG.standard_normal((1, 8, 3, 1, 1))], "readout": np.ones((1, 8, 1, 2)),
            "offsets": offsets,
        },
        "locally_connected_regularizer": {"kernel_size": (1, 3)},
        "margin_gradient": network() | {"images": IMAGES, "labels": LABELS},
        "massar_spindel_slack": {"signal": SEEDS},
        "max_margin": task | {
            "regularizer": regularizer, "tolerance": 1e-3, "max_iterations": 20,
        },
        "maximum_likelihood": task | {
            "num_classes": 2, "tolerance": 1e-3, "max_iterations": 5,
        },
        "mean_frequency_range": ranged,
        "pair_margin": {"predictor": affine, "label": 0, "other": 1},
        "parameter_stationarity": {
            "objective_fn": lambda params: jnp.sum(params**2), "params": jnp.ones(3),
        },
        "random_kernel_mean_frequency": ranged | {"num_channels": 1},
        "random_kernel_power": {
            "kernel_size": (1, 3), "shape": (1, 8), "mean": 0.0, "std": 1.0,
        },
        "random_net_power_moment": {"kernel_sizes": [(1, 3), 1], "shape": (1, 8)},
        "read_direction": task | {
            "net": net, "state": state, "loss": "exponential", "members": None,
        },
        "rms_frequency_bound": {"kernel_size": (1, 3), "shape": (1, 8)},
        "spectral_range": {
            "weights": np.abs(np.fft.fftfreq(8))[None], "kernel_size": (1, 3), "include_dc": True,
        },
        "support_vector_machine": task,
        "train_direction": task | {
            "net": net, "state": state, "num_steps": 1, "step_size": 0.02, "decay_steps": 100.0,
            "loss": "exponential", "members": None,
        },
    })  # fmt: skip

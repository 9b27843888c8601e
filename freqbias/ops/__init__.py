"""Numerical primitives: convolution of any width, unshared layers, the affine predictor."""

from freqbias.ops.affine import AffinePredictor, affine_predictor, is_affine
from freqbias.ops.convolution import (
    choose_method,
    conv,
    depthwise_conv,
    on_torus,
    scattered_conv,
    torus_conv,
    views,
)
from freqbias.ops.local import locally_connected, permuted_connected
from freqbias.ops.offsets import scattered_offsets, scattered_positions, square_offsets

__all__ = [
    "AffinePredictor",
    "affine_predictor",
    "choose_method",
    "conv",
    "depthwise_conv",
    "is_affine",
    "locally_connected",
    "on_torus",
    "permuted_connected",
    "scattered_conv",
    "scattered_offsets",
    "scattered_positions",
    "square_offsets",
    "torus_conv",
    "views",
]

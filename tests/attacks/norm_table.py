"""The table of norms, by NumPy. A new norm joins `NORMS`, and all tests of norms try it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from freqbias.attacks import L1, L2, FourierL1, FourierLinf, Linf, Lp, weighted_fourier_l2
from freqbias.spectral import radius_grid


class NormCase(NamedTuple):
    """One norm; w [H, W, 1] are the weights of a weighted one, X the spectrum [H, W, C] of d."""

    make: Callable  # (w) -> the norm
    value: Callable  # (d, X, w) -> its value
    dual: Callable  # (d, X, w) -> its dual
    epsilon: float  # at which about half of the images of the table of attacks fall
    most: Callable  # (H, W, C, w) -> its largest value where no |d| exceeds 1, or more
    independent: bool = True  # whether two coordinates of a uniform point are uncorrelated


def _size(order):
    return lambda d, X, w: np.linalg.norm(np.ravel(d), order)


def _moduli(order):
    return lambda d, X, w: np.linalg.norm(np.ravel(X), order)


NORMS = [
    NormCase(lambda w: L1(), _size(1), _size(np.inf), 0.5, lambda H, W, C, w: H * W * C),
    NormCase(lambda w: L2(), _size(2), _size(2), 0.25, lambda H, W, C, w: (H * W * C) ** 0.5),
    NormCase(lambda w: Linf(), _size(np.inf), _size(1), 0.03, lambda H, W, C, w: 1),
    NormCase(
        lambda w: Lp(1.5), _size(1.5), _size(3), 0.35, lambda H, W, C, w: (H * W * C) ** (2 / 3)
    ),
    NormCase(
        lambda w: Lp(4.0), _size(4), _size(4 / 3), 0.1, lambda H, W, C, w: (H * W * C) ** 0.25
    ),
    NormCase(
        lambda w: FourierL1(),
        _moduli(1),
        _moduli(np.inf),
        1.0,
        lambda H, W, C, w: H * W * C,
        independent=False,
    ),
    NormCase(
        lambda w: FourierLinf(),
        _moduli(np.inf),
        _moduli(1),
        0.03,
        lambda H, W, C, w: (H * W) ** 0.5,
        independent=False,
    ),
    NormCase(
        weighted_fourier_l2,
        lambda d, X, w: np.linalg.norm(w * X),
        lambda d, X, w: np.linalg.norm(X / w),
        0.3,
        lambda H, W, C, w: np.max(w) * (H * W * C) ** 0.5,
        independent=False,
    ),
]


def weights(shape):
    """Of a weighted norm on images [H, W, C]: low frequencies are cheap."""
    return 0.5 + 4 * radius_grid(shape[:2])[..., None]


def norms(shape):
    """Norm -> its case, on images [H, W, C]."""
    return {case.make(weights(shape)): case for case in NORMS}


def value(case, delta):
    """||delta|| by NumPy."""
    return case.value(*_arguments(delta))


def dual(case, delta):
    """||delta||_dual by NumPy."""
    return case.dual(*_arguments(delta))


def _arguments(delta):
    delta = np.asarray(delta, np.float64)
    return delta, np.fft.fft2(delta, axes=(0, 1), norm="ortho"), weights(delta.shape)


def norm_id(norm):
    """Of a norm, in the name of a test."""
    order = getattr(norm, "order", "")
    return f"{type(norm).__name__}{order}"


def filtered(delta, mask):
    """A delta without the frequencies off a mask [H, W], by the full plane."""
    spectrum = np.fft.fft2(np.asarray(delta, float), axes=(-3, -2))
    return np.fft.ifft2(spectrum * mask[..., None], axes=(-3, -2)).real


def band_basis(mask, shape):
    """An orthonormal basis [D, dim V] of the perturbations of a mask."""
    size = int(np.prod(shape))
    columns = filtered(np.eye(size).reshape(size, *shape), mask).reshape(size, size)
    vectors, values, _ = np.linalg.svd(columns)
    return vectors[:, values > 0.5]

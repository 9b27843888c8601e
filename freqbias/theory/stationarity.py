"""Is a trained network where gradient descent must end? Residuals of first-order conditions.

Full-width linear convolutions of L layers go to a stationary point of the max-margin problem in
||beta_hat||_p, p = 2/L, not to its minimum when L > 2: stationarity is what can be tested. For
kernels smaller than the image and L > 2 no norm of beta is known, and the condition is on the
weights themselves. The layers' balance is conserved by gradient flow.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.theory.precision import full_precision
from freqbias.theory.predictor import kernel_response
from freqbias.typing import Array, ArrayLike, Params


class Stationarity(NamedTuple):
    """How far a predictor is from a first-order stationary point of the margin problem."""

    residual: float  # relative; 0 at a stationary point, 1 if nothing of beta is explained
    num_frequencies: int  # with amplitude above 1e-3 of the largest; true zeros are stationary
    dual_excess: float  # for depth 1, max_f |z_f| - 1: optimality of the zeros; else NaN
    num_support: int  # images within the threshold of the least margin


@checked
def fourier_stationarity(
    beta: ArrayLike,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    depth: int,
    threshold: float = 1.05,
) -> Stationarity:
    """KKT residual of  min ||beta_hat||_{2/L}  s.t.  y_n <beta, x_n> >= 1,  L = depth + 1.

    There must be a_n >= 0, on the support images only, with z_f = sum_n a_n y_n x_hat_n[f] and

        |beta_hat_f|^{2-p} z_f = beta_hat_f   for every f,

    free of negative powers. The a_n are fitted by non-negative least squares, and the residual
    is ||difference|| / ||beta_hat||. Depth 0 is the support vector machine. With several input
    channels |.| is the norm over channels.

    Args:
      beta: [H, W, C], of any positive scale; it must separate the images.
      images: [N, H, W, C].
      labels: int [N], 0 or 1.
      depth: number of hidden layers.
      threshold: images with margin up to this multiple of the least count as support. Too tight
        a threshold gives false alarms while training is still equalising the margins.

    Returns:
      The residual and what goes with it. At depth 1 optimality also needs ``dual_excess`` near 0
      or below.

    Raises:
      TypeError, ValueError: arguments are not as stated, or beta does not separate.

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), theorem 2a; Ji & Telgarsky 2020 (2006.06657).
    """
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=np.shape(images)[0], num_classes=2)
    if not threshold >= 1:
        raise ValueError(f"threshold must be at least 1; got {threshold}.")
    if np.shape(beta) != np.shape(images)[1:]:
        raise ValueError(f"beta must be {np.shape(images)[1:]}; got shape {np.shape(beta)}.")
    if depth < 0:
        raise ValueError(f"depth must be a number of hidden layers >= 0; got {depth}.")
    beta = np.asarray(beta, np.float64)
    signed = np.asarray(images, np.float64) * (2 * np.asarray(labels) - 1.0)[:, None, None, None]
    margins = np.tensordot(signed, beta, 3)
    least = margins.min()
    if not least > 0:
        raise ValueError(f"beta must separate the images; its least margin is {least:.3g}.")
    beta = beta / least
    support = margins <= threshold * least
    spectrum = np.fft.fft2(beta, axes=(0, 1), norm="ortho")
    rows = np.fft.fft2(signed[support], axes=(1, 2), norm="ortho")
    amplitude = np.linalg.norm(spectrum, axis=-1, keepdims=True)
    power = 2 / (depth + 1)
    weighted = rows * amplitude ** (2 - power)

    def real(array: np.ndarray) -> np.ndarray:
        flat = array.reshape(*array.shape[:-3], -1)
        return np.concatenate([flat.real, flat.imag], axis=-1)

    target = real(spectrum)
    scale = np.linalg.norm(weighted)
    a, distance = scipy.optimize.nnls(real(weighted).T / scale, target)
    dual = np.linalg.norm(np.tensordot(a / scale, rows, 1), axis=-1)
    return Stationarity(
        residual=float(distance / np.linalg.norm(target)),
        num_frequencies=int(np.sum(amplitude > 1e-3 * amplitude.max())),
        dual_excess=float(dual.max() - 1) if depth == 1 else float("nan"),
        num_support=int(support.sum()),
    )


@checked
@full_precision
def parameter_stationarity(objective_fn: Callable[[Params], Array], params: Params) -> Array:
    """1 - cos(w, -grad objective(w)): 0 where weights only grow, whatever the architecture.

    Args:
      objective_fn: maps the params of one network to the log of its loss (a scalar), or to
        anything with a parallel gradient.
      params: of one network; ``jax.vmap`` for seeds.

    Returns:
      [] in [0, 2].

    Reference:
      Lyu & Li 2020 (arXiv 1906.05890); Ji & Telgarsky 2020 (arXiv 2006.06657).
    """
    gradient = jax.grad(objective_fn)(params)

    def inner(first: Params, second: Params) -> Array:
        pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
        return jnp.sum(jnp.stack([jnp.vdot(one, other) for one, other in pairs]))

    return 1 + inner(params, gradient) / jnp.sqrt(inner(params, params) * inner(gradient, gradient))


@checked
def layer_balance(first: ArrayLike, second: ArrayLike, shape: tuple[int, int]) -> Array:
    """What gradient flow conserves between consecutive layers of a linear conv net.

    B[f] = ( W_1[f]^H W_1[f] - W_2[f] W_2[f]^H ) / HW,  matrices over the channels they share.

    Where both layers are full-width every B[f] is conserved (for one channel
    |w_1_hat|^2 - |w_2_hat|^2 per frequency). For smaller kernels only the sum over f is: it is
    the difference of the layers' squared norms.

    Args:
      first: [Kh, Kw, Cin, C] kernel.
      second: [Kh, Kw, C, Cout] kernel, or the readout [H, W, C, K].
      shape: (H, W) of the image.

    Returns:
      Complex [H, W, C, C], Hermitian, in ``fftfreq`` order.

    Raises:
      ValueError: the layers do not follow each other, or a kernel does not fit the image.

    Reference:
      Arora, Cohen & Hazan 2018 (arXiv 1802.06509), per frequency.
    """
    for name, layer in (("first", first), ("second", second)):
        _checks.rank(name, layer, 4)
        if 0 in np.shape(layer):
            raise ValueError(f"{name} must not be empty; got shape {np.shape(layer)}.")
    before, after = kernel_response(first, shape), kernel_response(second, shape)
    if before.shape[-1] != after.shape[-2]:
        raise ValueError(
            f"first must end in the channels second begins with; got {before.shape[-1]} and "
            f"{after.shape[-2]}."
        )
    gram_before = jnp.einsum("hwia,hwib->hwab", before.conj(), before, precision="highest")
    gram_after = jnp.einsum("hwao,hwbo->hwab", after, after.conj(), precision="highest")
    return (gram_before - gram_after) / (shape[0] * shape[1])

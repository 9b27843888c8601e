"""The norm a linear architecture minimises: least weight cost min ||w||^2 of realising beta.

    fully connected, L layers         L ||beta||_2^{2/L}
    full-width circular conv          L sum_f ||beta_hat[f]||^{2/L}
    K-tap circular conv, two layers   R_K(beta), between 2 sqrt(D) ||beta||_2 at K = 1 and
                                      2 ||beta_hat||_1 at full width
    locally connected, two layers     2 min { sum_d ||u_d||_2 : sum_d S_d u_d = beta }

Scaling: the DFT is orthonormal, D = HW pixels, and every convolution is divided by sqrt(D), so that
a full-width network multiplies orthonormal DFTs. Without that division R_K is sqrt(D) times
smaller.

Every norm here is dual to a bound on operator norms of blocks which are linear in their argument,

    Norm*(y) = max_b ||blocks(y)_b||_op,
    Norm(beta) = min { sum_b ||G_b||_nuclear : adjoint(G) = beta },

which is all that the solvers of ``margins`` and the certificate need. Arguments are [H, W, C], and
a one-dimensional signal has H = 1; C are the input channels of a single output, or the outputs of
a single input channel. Functions compute in the namespace of their argument: NumPy in float64 on
the host, JAX under ``jit`` and ``vmap``.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.theory.precision import full_precision
from freqbias.typing import ArrayLike


class Regularizer(NamedTuple):
    """A norm, with its dual as operator norms of blocks."""

    norm: Callable[[Any], Any]  # [H, W, C] -> []
    blocks: Callable[[Any], Any]  # [..., H, W, C] -> real [..., B, p, q], linear
    adjoint: Callable[[Any, Sequence[int]], Any]  # (blocks [B, p, q], (H, W, C)) -> [H, W, C]


class CertifiedNorm(NamedTuple):
    """A norm found by optimisation: an upper bound, and how far a lower bound lies below it."""

    value: float
    gap: float  # (value - lower bound) / value


@checked
@full_precision
def dual_norm(regularizer: Regularizer, y: ArrayLike) -> Any:
    """Norm*(y) = max { <beta, y> : Norm(beta) <= 1 } = max_b ||blocks(y)_b||_op.

    Args:
      regularizer: the norm.
      y: [..., H, W, C].

    Returns:
      [...].
    """
    if np.ndim(y) < 3 or 0 in np.shape(y)[-3:]:
        raise ValueError(f"y must be [..., H, W, C], none of them 0; got shape {np.shape(y)}.")
    blocks = regularizer.blocks(y)
    xp = _namespace(blocks)
    if min(blocks.shape[-2:]) == 1:
        return xp.max(xp.sqrt(xp.sum(blocks**2, axis=(-2, -1))), axis=-1)
    gram = xp.einsum("...pq,...rq->...pr", blocks, blocks)
    largest = xp.max(xp.linalg.eigvalsh(gram), axis=(-2, -1))
    return xp.sqrt(xp.where(largest > 0, largest, xp.zeros_like(largest)))


def l2_regularizer() -> Regularizer:
    """||beta||_2, of fully connected networks at every depth. It is its own dual.

    Returns:
      The regularizer.
    """
    return Regularizer(
        norm=lambda beta: _namespace(beta).sqrt((_array(beta) ** 2).sum()),
        blocks=lambda y: _array(y).reshape(*np.shape(y)[:-3], 1, 1, -1),
        adjoint=lambda blocks, shape: blocks.reshape(tuple(shape)),
    )


def fourier_regularizer() -> Regularizer:
    """||beta_hat||_1, of two-layer full-width convolutions; dual max_f |y_hat[f]|.

    With several channels sum_f ||beta_hat[f, :]||_2, and the dual is max_f ||y_hat[f, :]||_2.

    Returns:
      The regularizer.

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), theorem 2.
    """

    def norm(beta: Any) -> Any:
        return _amplitude(beta).sum()

    def blocks(y: Any) -> Any:
        xp = _namespace(y)
        half = xp.fft.rfft2(_array(y), axes=(-3, -2), norm="ortho")  # the other half repeats it
        pair = xp.concatenate([half.real, half.imag], axis=-1)
        return pair.reshape(*pair.shape[:-3], -1, 1, pair.shape[-1])

    def adjoint(blocks: Any, shape: Sequence[int]) -> Any:
        xp = _namespace(blocks)
        height, width, channels = shape
        pair = blocks.reshape(height, width // 2 + 1, 2 * channels)
        half = pair[..., :channels] + 1j * pair[..., channels:]
        full = xp.pad(half, ((0, 0), (0, width - half.shape[1]), (0, 0)))
        return xp.fft.ifft2(full, axes=(0, 1), norm="ortho").real

    return Regularizer(norm, blocks, adjoint)


@checked
def kernel_regularizer(kernel_size: int | Sequence[int]) -> Regularizer:
    """R_K, of two-layer convolutions with K taps; dual sqrt(lmax(T)) / (2 sqrt(D)).

    T is the (block-)Toeplitz matrix of y's circular autocorrelation at the lags of the kernel.
    The norm, on the host, is ``kernel_norm``. At full width use ``fourier_regularizer`` (twice
    it is R_K), which is far cheaper.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).

    Returns:
      The regularizer; a kernel larger than the image raises when it is used.

    Reference:
      Jagadeesan et al. 2021 (arXiv 2102.12238).
    """

    def blocks(y: Any) -> Any:
        xp = _namespace(y)
        y = _array(y)
        shifted = [xp.roll(y, (-a, -b), (-3, -2)) for a, b in _taps(kernel_size, y.shape[-3:-1])]
        stack = xp.stack(shifted, axis=-4)  # [..., KK, H, W, C]: y[m + k]
        stack = xp.moveaxis(stack, -1, -3).reshape(*y.shape[:-3], 1, -1, np.prod(y.shape[-3:-1]))
        return stack / (2 * np.sqrt(np.prod(y.shape[-3:-1])))

    def adjoint(blocks: Any, shape: Sequence[int]) -> Any:
        xp = _namespace(blocks)
        height, width, channels = shape
        taps = list(_taps(kernel_size, (height, width)))
        stack = xp.moveaxis(blocks.reshape(len(taps), channels, height, width), 1, -1)
        total = xp.zeros_like(stack[0])
        for part, (a, b) in zip(stack, taps, strict=True):
            total = total + xp.roll(part, (a, b), (0, 1))
        return total / (2 * np.sqrt(height * width))

    return Regularizer(lambda beta: kernel_norm(beta, kernel_size).value, blocks, adjoint)


@checked
def locally_connected_regularizer(kernel_size: int | Sequence[int]) -> Regularizer:
    """Latent group norm over windows, of two-layer locally connected networks.

    Norm 2 min { sum_d ||u_d||_2 : sum_d S_d u_d = beta }; dual max_d ||y in window d||_2 / 2.
    The norm, on the host, is ``locally_connected_norm``.

    Args:
      kernel_size: K for K x K, or (Kh, Kw).

    Returns:
      The regularizer; a kernel larger than the image raises when it is used.

    Reference:
      Obozinski, Jacob & Vert 2011, for the latent group lasso.
    """

    def blocks(y: Any) -> Any:
        xp = _namespace(y)
        y = _array(y)
        shifted = [xp.roll(y, (-a, -b), (-3, -2)) for a, b in _taps(kernel_size, y.shape[-3:-1])]
        stack = xp.moveaxis(xp.stack(shifted, axis=-4), -4, -2)  # [..., H, W, KK, C]
        return stack.reshape(*y.shape[:-3], np.prod(y.shape[-3:-1]), 1, -1) / 2

    def adjoint(blocks: Any, shape: Sequence[int]) -> Any:
        xp = _namespace(blocks)
        height, width, channels = shape
        taps = list(_taps(kernel_size, (height, width)))
        stack = xp.moveaxis(blocks.reshape(height, width, len(taps), channels), 2, 0)
        total = xp.zeros_like(stack[0])
        for part, (a, b) in zip(stack, taps, strict=True):
            total = total + xp.roll(part, (a, b), (0, 1))
        return total / 2

    return Regularizer(
        lambda beta: locally_connected_norm(beta, kernel_size).value, blocks, adjoint
    )


def nuclear_regularizer() -> Regularizer:
    """Nuclear norm of beta as an HW x C matrix; its dual is the operator norm.

    Half the weight cost of two fully connected layers with C outputs.

    Returns:
      The regularizer.
    """

    def matrix(beta: Any) -> Any:
        beta = _array(beta)
        return _namespace(beta).swapaxes(beta.reshape(*beta.shape[:-3], -1, beta.shape[-1]), -1, -2)

    def norm(beta: Any) -> Any:
        xp = _namespace(beta)
        return xp.linalg.svd(matrix(beta), compute_uv=False).sum()

    def blocks(y: Any) -> Any:
        return matrix(y)[..., None, :, :]

    def adjoint(blocks: Any, shape: Sequence[int]) -> Any:
        return _namespace(blocks).swapaxes(blocks[0], 0, 1).reshape(tuple(shape))

    return Regularizer(norm, blocks, adjoint)


@checked
def dense_cost(beta: ArrayLike, depth: int) -> Any:
    """Least ||w||^2 of a fully connected net of ``depth`` hidden layers, L ||beta||^{2/L}.

    L = depth + 1.

    Args:
      beta: [H, W, C], of a single output.
      depth: number of hidden layers.

    Returns:
      The cost, [].

    Raises:
      ValueError: depth is no number of hidden layers.
    """
    num_layers = _num_layers(depth)
    squared = (_array(beta) ** 2).sum()
    return num_layers * squared ** (1 / num_layers)


@checked
def conv_cost(beta: ArrayLike, depth: int, *, scaled: bool = True) -> Any:
    """Least ||w||^2 of full-width convolutions, L sum_f ||beta_hat[f]||^{2/L}.

    L = depth + 1; a quasi-norm to the power 2/L. It is invariant to phases, and favours
    predictors sparse in frequency, the more the deeper.

    Args:
      beta: [H, W, C], of a single output (C input channels).
      depth: number of hidden layers.
      scaled: whether each convolution is divided by sqrt(D); if not, D^{-(L-1)/L} times this.

    Returns:
      The cost, [].

    Raises:
      ValueError: depth is no number of hidden layers.

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), section 4; Lawrence et al. 2021 (2110.06084).
    """
    num_layers = _num_layers(depth)
    cost = num_layers * (_amplitude(beta) ** (2 / num_layers)).sum()
    if scaled:
        return cost
    return cost * np.prod(np.shape(beta)[:2]) ** (-(num_layers - 1) / num_layers)


@checked
def kernel_norm(
    beta: ArrayLike, kernel_size: int | Sequence[int], *, num_channels: int | None = None
) -> CertifiedNorm:
    """R_K(beta): least ||U||^2 + ||V||^2 of two layers with K-tap kernels U and a readout V.

    min_U ||U||^2 + sum_f beta_hat[f]^* S[f]^{-1} beta_hat[f],  S[f] = sum_o u_hat_o u_hat_o^*,

    the small semidefinite program in Z = U U^T, through its factor, by L-BFGS. In one dimension
    it does not depend on the number of hidden channels; in two dimensions it does, by about a
    per cent, at one channel.

    Args:
      beta: [H, W, C].
      kernel_size: K for K x K, or (Kh, Kw).
      num_channels: hidden channels, at least C; None for as many as the certificate asks.

    Returns:
      The value, and its gap to the dual bound <beta, y> / R_K*(y) (of unlimited channels).

    Raises:
      TypeError: a size is no int.
      ValueError: beta is not [H, W, C], the kernel does not fit it, or there are fewer hidden
        channels than C.

    Reference:
      Jagadeesan et al. 2021 (arXiv 2102.12238).
    """
    _checks.finite("beta", beta)
    beta = np.asarray(beta, np.float64)
    _checks.rank("beta", beta, 3)
    height, width, channels = beta.shape
    taps = list(_taps(kernel_size, beta.shape[:2]))
    kernel_shape = (taps[-1][0] - taps[0][0] + 1, taps[-1][1] - taps[0][1] + 1)
    if num_channels is not None and num_channels < channels:
        raise ValueError(f"num_channels must be at least C = {channels}; got {num_channels}.")
    if not np.any(beta):
        return CertifiedNorm(0.0, 0.0)
    regularizer = kernel_regularizer(kernel_size)
    scale = float(np.linalg.norm(beta))
    target = np.fft.fft2(beta / scale, axes=(0, 1), norm="ortho")

    def solve(hidden: int, seed: int) -> tuple[float, np.ndarray]:
        shape = (hidden, channels, *kernel_shape)

        def parts(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            padded = np.zeros((hidden, channels, height, width))
            padded[..., : kernel_shape[0], : kernel_shape[1]] = flat.reshape(shape)
            response = np.fft.fft2(padded, norm="ortho")
            gram = np.einsum("oihw,ojhw->hwij", response, response.conj())
            floor = 1e-14 * np.trace(gram, axis1=2, axis2=3).real.mean()
            return response, np.linalg.solve(gram + floor * np.eye(channels), target[..., None])[
                ..., 0
            ]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            response, dual = parts(flat)
            value = flat @ flat + np.sum(target.conj() * dual).real
            overlap = np.einsum("hwi,oihw->ohw", dual.conj(), response)
            slope = np.fft.ifft2(np.einsum("hwi,ohw->oihw", dual, overlap), norm="ortho").real
            slope = slope[..., : kernel_shape[0], : kernel_shape[1]].ravel()
            return value, 2 * (flat - slope)

        start = np.random.default_rng(seed).standard_normal(np.prod(shape))
        start *= (height * width) ** 0.25 / np.linalg.norm(start)
        found = scipy.optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 2_000, "maxfun": 4_000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30},
        )
        dual = np.fft.ifft2(parts(found.x)[1], axes=(0, 1), norm="ortho").real
        return float(found.fun), dual

    best = CertifiedNorm(np.inf, np.inf)
    hidden_sizes = (
        [num_channels] * 3 if num_channels else [channels + 1, 2 * channels + 2, len(taps)]
    )
    for seed, hidden in enumerate(hidden_sizes):
        value, dual = solve(hidden, seed)
        lower = np.sum(beta / scale * dual) / dual_norm(regularizer, dual)
        value = min(value, best.value / scale)
        best = CertifiedNorm(scale * value, min(best.gap, float(1 - lower / value)))
        if best.gap < 1e-6:
            break
    return best


@checked
def locally_connected_norm(beta: ArrayLike, kernel_size: int | Sequence[int]) -> CertifiedNorm:
    """Least weight cost of two locally connected layers: a latent group norm over windows.

    min_{s >= 0} sum_d s_d + sum_p |beta[p]|^2 / (sum of s_d over the windows d that see p).

    Args:
      beta: [H, W, C].
      kernel_size: K for K x K, or (Kh, Kw).

    Returns:
      The value, and its gap to the dual bound.

    Raises:
      TypeError: a size is no int.
      ValueError: beta is not [H, W, C], or the kernel does not fit it.
    """
    _checks.finite("beta", beta)
    beta = np.asarray(beta, np.float64)
    _checks.rank("beta", beta, 3)
    if not np.any(beta):
        return CertifiedNorm(0.0, 0.0)
    taps = list(_taps(kernel_size, beta.shape[:2]))
    scale = np.linalg.norm(beta)
    power = ((beta / scale) ** 2).sum(-1)

    def seen(s: np.ndarray, sign: int) -> np.ndarray:
        return np.sum([np.roll(s, (sign * a, sign * b), (0, 1)) for a, b in taps], axis=0)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        root = flat.reshape(power.shape)
        total = seen(root**2, 1) + 1e-300
        slope = 2 * root * (1 - seen(power / total**2, -1))
        return np.sum(root**2) + np.sum(power / total), slope.ravel()

    found = scipy.optimize.minimize(
        objective,
        np.full(power.size, power.size**-0.5),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30},
    )
    total = seen(found.x.reshape(power.shape) ** 2, 1)
    dual = (beta / scale) / np.maximum(total, 1e-300)[..., None]
    lower = np.sum(beta / scale * dual) / dual_norm(
        locally_connected_regularizer(kernel_size), dual
    )
    return CertifiedNorm(float(scale * found.fun), float(1 - lower / found.fun))


def _taps(kernel_size: int | Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields the offsets (k - p) of a centred kernel, rows first."""
    if isinstance(kernel_size, int | np.integer):
        kernel_size = (int(kernel_size), int(kernel_size))
    if len(kernel_size) != 2:
        raise ValueError(f"kernel_size must be an int or (Kh, Kw); got {kernel_size}.")
    for taps, size in zip(kernel_size, shape, strict=True):
        _checks.positive_int("kernel_size", taps)
        if taps > size:
            raise ValueError(
                f"kernel_size must be at most the image's {tuple(shape)}; got {kernel_size}."
            )
    height, width = kernel_size
    for a in range(height):
        for b in range(width):
            yield a - (height - 1) // 2, b - (width - 1) // 2


def _num_layers(depth: int) -> int:
    """Returns L = depth + 1, checked."""
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 0:
        raise ValueError(f"depth must be a number of hidden layers >= 0; got {depth!r}.")
    return int(depth) + 1


def _amplitude(beta: Any) -> Any:
    """Returns ||beta_hat[f, :]||_2 over channels, [H, W]."""
    xp = _namespace(beta)
    spectrum = xp.fft.fft2(_array(beta), axes=(-3, -2), norm="ortho")
    return xp.sqrt((spectrum.real**2 + spectrum.imag**2).sum(-1))


def _array(value: Any) -> Any:
    """Returns ``value`` as an array [..., H, W, C] of its own namespace."""
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    if value.ndim < 3 or 0 in value.shape[-3:]:
        raise ValueError(f"beta must be [..., H, W, C], none of them 0; got shape {value.shape}.")
    return value


def _namespace(value: Any) -> Any:
    """Returns the namespace of ``value``: jax.numpy for JAX arrays and tracers, else NumPy."""
    return jax.numpy if isinstance(value, jax.Array) else np

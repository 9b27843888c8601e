"""The effective linear predictor: what a network computes, as one array the shape of an image.

A network affine in its input is f(x) = <beta, x> + b whatever its depth, and beta = grad_x f(0)
(``affine_predictor``, from ``freqbias.ops``). For circular convolutions beta is also a closed
product of the layers' DFTs. A non-linear network is read through its local linearisation: the
gradient of its margin.

Layers are cross-correlations, h[d] = sum_t w[t] x[d + offset_t], as in ``freqbias.ops``; the
offsets of a K x K kernel are centred, as "SAME" padding centres them.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from freqbias import _checks
from freqbias._checked import checked
from freqbias.ops import AffinePredictor, affine_predictor, square_offsets
from freqbias.typing import ApplyFn, Array, ArrayLike, Params


@checked
def check_affine(
    apply_fn: ApplyFn,
    params: Params,
    image_shape: Sequence[int],
    *,
    tolerance: float | None = None,
) -> Array:
    """Error of a network's linearisation at zero; raises if the network is not affine.

    max over images and classes of  |f(x) - f(0) - <beta, x>| / (||beta|| ||x||).

    Args:
      apply_fn: maps params and images [N, H, W, C] to logits [N, K].
      params: of one network, with floating leaves; ``jax.vmap`` over a seed axis works.
      image_shape: (H, W, C).
      tolerance: largest error allowed; default 1e-4 in float32, 1e-10 in float64. Under ``jit``
        and ``vmap`` nothing is raised: read the error.

    Returns:
      The error [] on four images drawn uniformly from [0, 1].

    Raises:
      ValueError: image_shape is not (H, W, C), or the network is not affine.

    Example:
      >>> def apply_fn(weights, images):
      ...     return images.reshape(len(images), -1) @ weights
      >>> weights = jnp.ones((64, 10))
      >>> float(check_affine(apply_fn, weights, (8, 8, 1))) < 1e-4
      True
      >>> affine_predictor(apply_fn, weights, (8, 8, 1)).weights.shape  # now it speaks for it
      (8, 8, 1, 10)

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), section 2.
    """
    image_shape = _checks.sizes("image_shape", image_shape, "HWC")
    if tolerance is not None:
        _checks.positive("tolerance", tolerance)
    dtypes = map(jnp.result_type, jax.tree.leaves(params))
    leaves = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    dtype = jnp.result_type(*leaves) if leaves else jnp.float32
    error = _affinity_error(apply_fn, image_shape, dtype, params)
    if tolerance is None:
        tolerance = 1e-10 if dtype == jnp.float64 else 1e-4
    if _checks.is_concrete(error) and not float(error) <= tolerance:
        raise ValueError(
            f"apply_fn must be affine in its input; its relative deviation from its "
            f"linearisation at zero is {float(error):.2g}, above {tolerance:g}. For a non-linear "
            f"network use margin_gradient."
        )
    return error


@checked
def pair_margin(
    predictor: AffinePredictor, label: ArrayLike, other: ArrayLike
) -> tuple[Array, Array]:
    """The linear margin of one class over another, m(x) = <w, x> + b.

    w = weights[..., label] - weights[..., other], and b likewise.

    Args:
      predictor: of one network.
      label: class index, int [...].
      other: class index, int [...], of the same shape.

    Returns:
      w [..., H, W, C] and b [...].
    """
    for name, index in (("label", label), ("other", other)):
        if not jnp.issubdtype(jnp.result_type(index), jnp.integer):
            raise TypeError(f"{name} must be integers; got {jnp.result_type(index)}.")
    weights = jnp.moveaxis(predictor.weights, -1, 0)
    return weights[label] - weights[other], predictor.bias[label] - predictor.bias[other]


@checked
def margin_gradient(
    apply_fn: ApplyFn, params: Params, images: ArrayLike, labels: ArrayLike
) -> Array:
    """Gradient at each image of its margin: the local linearisation of any network.

    grad_x ( f_y(x) - max_{j != y} f_j(x) ).

    For an affine network this is ``pair_margin`` against the runner-up class.

    Args:
      apply_fn: maps params and images to logits [N, K], each image by itself.
      params: of one network.
      images: [N, H, W, C].
      labels: int [N].

    Returns:
      Gradients [N, H, W, C]; exactly zero where the network is dead.

    Raises:
      TypeError, ValueError: images or labels are not as stated, or K < 2.
    """
    images = jnp.asarray(images)
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=images.shape[0])
    labels = jnp.asarray(labels)

    def total(images: Array) -> Array:
        logits = apply_fn(params, images)
        if logits.shape[-1] < 2:
            raise ValueError(f"apply_fn must give at least two logits; got shape {logits.shape}.")
        true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
        best_other = jnp.max(jnp.where(true, -jnp.inf, logits), axis=-1)
        return jnp.sum(jnp.sum(jnp.where(true, logits, 0), axis=-1) - best_other)

    return jax.grad(total)(images)


@checked
def kernel_response(
    kernel: ArrayLike, shape: Sequence[int], *, offsets: ArrayLike | None = None
) -> Array:
    """DFT of a layer's kernels on the grid of the image, unnormalised.

    W[f] = sum_t w[t] exp(-2 pi i f.offset_t).

    The layer multiplies the DFT of its input by conj(W), and the DFT of what it passes back by W.

    Args:
      kernel: [Kh, Kw, Cin, Cout], real.
      shape: (H, W) of the image.
      offsets: int [Kh Kw, 2], (dy, dx) of the taps anywhere on the torus, row by row; centred by
        default. A shift of all of them is a phase only: power spectra do not see it.

    Returns:
      Complex [H, W, Cin, Cout], in ``fftfreq`` order.

    Raises:
      ValueError: kernel is not of rank 4 or does not fit the image, or offsets do not fit it.
    """
    kernel = jnp.asarray(kernel)
    _checks.rank("kernel", kernel, 4)
    if 0 in kernel.shape:
        raise ValueError(f"kernel must not be empty; got shape {kernel.shape}.")
    shape = _checks.sizes("shape", shape, "HW")
    height, width = kernel.shape[:2]
    if offsets is None:
        if height > shape[0] or width > shape[1]:
            raise ValueError(f"kernel must fit the image {tuple(shape)}; got shape {kernel.shape}.")
        offsets = square_offsets(height, width)
    offsets = np.asarray(offsets)
    _checks.integers("offsets", offsets, (height * width, 2))
    rows, columns = offsets[:, 0] % shape[0], offsets[:, 1] % shape[1]
    grid = jnp.zeros((*shape, *kernel.shape[2:]), kernel.dtype)
    grid = grid.at[rows, columns].add(kernel.reshape(-1, *kernel.shape[2:]))
    return jnp.fft.fft2(grid, axes=(0, 1))


@checked
def conv_predictor(
    kernels: Sequence[ArrayLike],
    readout: ArrayLike,
    *,
    padding: str = "circular",
    offsets: Sequence[ArrayLike] | None = None,
) -> Array:
    """Effective predictor of a linear convolutional network, as a product of its layers' DFTs.

    fft2(beta)[f] = W_1[f] W_2[f] ... W_L[f] V[f], matrices over channels, for each frequency.

    Args:
      kernels: one [Kh, Kw, Cin, Cout] per hidden layer, input side first, of any size up to the
        image; (1, K) kernels on [1, N] images are the one-dimensional case.
      readout: the full-width last layer, [H, W, C, K].
      padding: must be ``"circular"``: no other layer is diagonal in the Fourier basis.
      offsets: of the taps, one per layer, as in ``kernel_response``; centred by default.

    Returns:
      beta [H, W, Cin, K], the weights of ``affine_predictor``.

    Raises:
      ValueError: padding is not circular, or shapes do not fit.

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), section 2.
    """
    if padding.lower() != "circular":
        raise ValueError(
            f"padding must be 'circular' for a product of DFTs; got {padding!r}, which is not "
            f"circulant. Use affine_predictor."
        )
    readout = jnp.asarray(readout)
    _checks.rank("readout", readout, 4)
    if 0 in readout.shape:
        raise ValueError(f"readout must not be empty; got shape {readout.shape}.")
    spectrum = jnp.fft.fft2(readout, axes=(0, 1))
    where = [None] * len(kernels) if offsets is None else offsets
    if len(where) != len(kernels):
        raise ValueError(
            f"offsets must be one for each of {len(kernels)} kernels; got {len(where)}."
        )
    for kernel, taps in reversed(list(zip(kernels, where, strict=True))):
        response = kernel_response(kernel, readout.shape[:2], offsets=taps)
        _check_channels(response.shape[-1], spectrum.shape[-2])
        spectrum = jnp.einsum("hwio,hwok->hwik", response, spectrum, precision="highest")
    return jnp.fft.ifft2(spectrum, axes=(0, 1)).real


@checked
def locally_connected_predictor(
    layers: Sequence[ArrayLike], readout: ArrayLike, offsets: ArrayLike
) -> Array:
    """Effective predictor of a linear locally connected network with circular borders.

    One layer: beta[d + offset_t, i] = sum over (d, t) that meet there of sum_o W[d,t,i,o] v[d,o].
    No DFT diagonalises it.

    Args:
      layers: one [H, W, T, Cin, Cout] per hidden layer, input side first: the taps of each
        output pixel.
      readout: [H, W, C, K].
      offsets: int [T, 2], (dy, dx) of the taps, as ``ops.square_offsets`` gives them.

    Returns:
      beta [H, W, Cin, K].

    Raises:
      ValueError: shapes do not fit.
    """
    beta = jnp.asarray(readout)
    _checks.rank("readout", beta, 4)
    taps = np.asarray(offsets)
    _checks.integers("offsets", taps, (None, 2))
    height, width = beta.shape[:2]
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    pixel = (y - taps[:, 0]) % height * width + (x - taps[:, 1]) % width
    meeting = pixel * len(taps) + np.arange(len(taps))  # [H, W, T], the terms that meet at a pixel
    for weights in reversed([jnp.asarray(layer) for layer in layers]):
        _checks.rank("layers", weights, 5)
        if weights.shape[:3] != (*beta.shape[:2], len(taps)):
            raise ValueError(
                f"layers must begin with (H, W, taps) = {(*beta.shape[:2], len(taps))}; "
                f"got {weights.shape}."
            )
        _check_channels(weights.shape[-1], beta.shape[2])
        terms = jnp.einsum("hwtio,hwok->hwtik", weights, beta, precision="highest")
        flat = terms.reshape(-1, *terms.shape[3:])
        met = flat.at[meeting].get(mode="promise_in_bounds", unique_indices=True)
        beta = jnp.sum(met, axis=2)
    return beta


@checked
def dense_predictor(kernels: Sequence[ArrayLike], image_shape: Sequence[int]) -> Array:
    """Effective predictor of a linear fully connected network, W_1 W_2 ... W_L.

    Args:
      kernels: one [in, out] per layer, input side first.
      image_shape: (H, W, C), flattened in this order.

    Returns:
      beta [H, W, C, K].
    """
    shape = _checks.sizes("image_shape", image_shape, "HWC")
    widths = [(np.prod(shape),), *map(np.shape, kernels)]
    fits = (len(own) == 2 and before[-1] == own[0] for before, own in pairwise(widths))
    if not kernels or not all(fits):
        raise ValueError(
            f"kernels must be [in, out] and feed each other, the first fed by image_shape {shape}; "
            f"got shapes {widths[1:]}."
        )
    product = jnp.asarray(kernels[-1])
    for kernel in reversed(kernels[:-1]):
        product = jnp.matmul(jnp.asarray(kernel), product, precision="highest")
    return product.reshape(*image_shape, product.shape[-1])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _affinity_error(
    apply_fn: ApplyFn, image_shape: tuple[int, ...], dtype: DTypeLike, params: Params
) -> Array:
    """The error of ``check_affine``."""
    predictor = affine_predictor(apply_fn, params, image_shape, dtype)
    probes = jax.random.uniform(jax.random.key(0), (4, *image_shape), dtype)
    product = jnp.einsum("nhwc,hwck->nk", probes, predictor.weights, precision="highest")
    deviation = jnp.abs(apply_fn(params, probes) - product - predictor.bias[None])
    norms = jnp.linalg.norm(predictor.weights.reshape(probes[0].size, -1), axis=0)
    scale = norms[None] * jnp.linalg.norm(probes.reshape(4, -1), axis=1, keepdims=True)
    # A class which ignores the input has scale 0: it is affine only if it deviates by 0 too.
    return jnp.max(deviation / jnp.where(scale > 0, scale, 1.0))


def _check_channels(outgoing: int, incoming: int) -> None:
    """Raises ValueError unless a layer feeds the next."""
    if outgoing != incoming:
        raise ValueError(
            f"kernels (or layers) and readout must feed each other; one of {outgoing} output "
            f"channels cannot feed one of {incoming} input channels."
        )

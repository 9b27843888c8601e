"""The effective linear predictor: what a network computes, as one array the shape of an image.

A network affine in its input is f(x) = <beta, x> + b whatever its depth, and beta = grad_x f(0).
For circular convolutions beta is also a closed product of the layers' DFTs. A non-linear network
is read through its local linearisation: the gradient of its margin.

Layers are cross-correlations, h[d] = sum_k w[k] x[d + k - p], as ``jax.lax.conv``. The origin
p = (K - 1) // 2 centres the kernel, as "SAME" padding does.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from freqbias import _checks
from freqbias.typing import ApplyFn, Array, ArrayLike, Params


class AffinePredictor(NamedTuple):
    """f(x) = <weights, x> + bias, and how far the network is from being this."""

    weights: Array  # [H, W, C, K]
    bias: Array  # [K]
    error: Array  # []: max |f(x) - bias - <weights, x>| / (||weights|| ||x||) over probes


def affine_predictor(
    apply_fn: ApplyFn,
    params: Params,
    image_shape: Sequence[int],
    *,
    tolerance: float | None = None,
) -> AffinePredictor:
    """Effective linear predictor of any network that is affine in its input.

    weights[..., k] = grad_x f_k(0), by one vector-Jacobian product per class at the zero image.

    Args:
      apply_fn: maps params and images [N, H, W, C] to logits [N, K].
      params: of one network, with floating leaves; ``jax.vmap`` over a seed axis works.
      image_shape: (H, W, C).
      tolerance: largest relative affinity error allowed; default 1e-4 in float32, 1e-10 in
        float64. Under ``jit`` and ``vmap`` nothing is raised: read ``error``.

    Returns:
      Weights [H, W, C, K], bias [K] and the error on four images drawn uniformly from [0, 1].

    Raises:
      ValueError: image_shape is not (H, W, C), or the network is not affine.

    Example:
      >>> predictor = affine_predictor(apply_fn, params, (28, 28, 1))
      >>> logits = jnp.einsum("nhwc,hwck->nk", images, predictor.weights) + predictor.bias

    Reference:
      Gunasekar et al. 2018 (arXiv 1806.00468), section 2.
    """
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (H, W, C); got {tuple(image_shape)}.")
    leaves = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = jnp.result_type(*leaves) if leaves else jnp.float32
    weights, bias, error = _linearise(apply_fn, tuple(image_shape), dtype, params)
    if tolerance is None:
        tolerance = 1e-10 if dtype == jnp.float64 else 1e-4
    if _checks.is_concrete(error) and not float(error) <= tolerance:
        raise ValueError(
            f"apply_fn must be affine in its input; its relative deviation from its "
            f"linearisation at zero is {float(error):.2g}, above {tolerance:g}. For a non-linear "
            f"network use margin_gradient."
        )
    return AffinePredictor(weights, bias, error)


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
    weights = jnp.moveaxis(predictor.weights, -1, 0)
    return weights[label] - weights[other], predictor.bias[label] - predictor.bias[other]


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


def kernel_response(kernel: ArrayLike, shape: Sequence[int], *, centred: bool = True) -> Array:
    """DFT of a layer's kernels, zero-padded to the image, unnormalised.

    W[f] = sum_k w[k] exp(-2 pi i f.(k - p)).

    The layer multiplies the DFT of its input by conj(W), and the DFT of what it passes back by W.

    Args:
      kernel: [Kh, Kw, Cin, Cout], real.
      shape: (H, W) of the image.
      centred: p = (K - 1) // 2 if true, else 0. A phase only: power spectra do not see it.

    Returns:
      Complex [H, W, Cin, Cout], in ``fftfreq`` order.
    """
    kernel = jnp.asarray(kernel)
    _checks.rank("kernel", kernel, 4)
    height, width = kernel.shape[:2]
    if height > shape[0] or width > shape[1]:
        raise ValueError(f"kernel must fit the image {tuple(shape)}; got shape {kernel.shape}.")
    padded = jnp.pad(kernel, ((0, shape[0] - height), (0, shape[1] - width), (0, 0), (0, 0)))
    if centred:
        padded = jnp.roll(padded, (-((height - 1) // 2), -((width - 1) // 2)), (0, 1))
    return jnp.fft.fft2(padded, axes=(0, 1))


def conv_predictor(
    kernels: Sequence[ArrayLike],
    readout: ArrayLike,
    *,
    padding: str = "circular",
    centred: bool = True,
) -> Array:
    """Effective predictor of a linear convolutional network, as a product of its layers' DFTs.

    fft2(beta)[f] = W_1[f] W_2[f] ... W_L[f] V[f], matrices over channels, for each frequency.

    Args:
      kernels: one [Kh, Kw, Cin, Cout] per hidden layer, input side first, of any size up to the
        image; (1, K) kernels on [1, N] images are the one-dimensional case.
      readout: the full-width last layer, [H, W, C, K].
      padding: must be ``"circular"``: no other layer is diagonal in the Fourier basis.
      centred: whether kernels are centred on their output pixel.

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
    spectrum = jnp.fft.fft2(readout, axes=(0, 1))
    for kernel in reversed(kernels):
        response = kernel_response(kernel, readout.shape[:2], centred=centred)
        _check_channels(response.shape[-1], spectrum.shape[-2])
        spectrum = jnp.einsum("hwio,hwok->hwik", response, spectrum, precision="highest")
    return jnp.fft.ifft2(spectrum, axes=(0, 1)).real


def locally_connected_predictor(layers: Sequence[ArrayLike], readout: ArrayLike) -> Array:
    """Effective predictor of a linear locally connected network with circular borders.

    One layer: beta[d + k - p, i] = sum over (d, k) of sum_o W[d, k, i, o] v[d, o]. No DFT
    diagonalises it.

    Args:
      layers: one [H, W, Kh, Kw, Cin, Cout] per hidden layer, input side first: the taps of each
        output pixel.
      readout: [H, W, C, K].

    Returns:
      beta [H, W, Cin, K].

    Raises:
      ValueError: shapes do not fit.
    """
    beta = jnp.asarray(readout)
    _checks.rank("readout", beta, 4)
    for layer in reversed(layers):
        layer = jnp.asarray(layer)  # noqa: PLW2901
        _checks.rank("layers", layer, 6)
        if layer.shape[:2] != beta.shape[:2]:
            raise ValueError(f"layers must be over {beta.shape[:2]}; got {layer.shape}.")
        _check_channels(layer.shape[-1], beta.shape[2])
        height, width = layer.shape[2:4]
        terms = jnp.einsum("hwabio,hwok->abhwik", layer, beta, precision="highest")
        beta = jnp.zeros_like(terms[0, 0])
        for a in range(height):
            for b in range(width):
                offset = (a - (height - 1) // 2, b - (width - 1) // 2)
                beta += jnp.roll(terms[a, b], offset, (0, 1))
    return beta


def dense_predictor(kernels: Sequence[ArrayLike], image_shape: Sequence[int]) -> Array:
    """Effective predictor of a linear fully connected network, W_1 W_2 ... W_L.

    Args:
      kernels: one [in, out] per layer, input side first.
      image_shape: (H, W, C), flattened in this order.

    Returns:
      beta [H, W, C, K].
    """
    product = jnp.asarray(kernels[-1])
    for kernel in reversed(kernels[:-1]):
        product = jnp.matmul(jnp.asarray(kernel), product, precision="highest")
    return product.reshape(*image_shape, product.shape[-1])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _linearise(
    apply_fn: ApplyFn, image_shape: tuple[int, ...], dtype: DTypeLike, params: Params
) -> tuple[Array, Array, Array]:
    """Returns the gradient at zero [H, W, C, K], the value [K] and the affinity error []."""

    def logits(image: Array) -> Array:
        return apply_fn(params, image[None])[0]

    bias, pullback = jax.vjp(logits, jnp.zeros(image_shape, dtype))
    (rows,) = jax.vmap(pullback)(jnp.eye(bias.shape[0], dtype=bias.dtype))
    weights = jnp.moveaxis(rows, 0, -1)
    probes = jax.random.uniform(jax.random.key(0), (4, *image_shape), dtype)
    affine = jnp.einsum("nhwc,hwck->nk", probes, weights, precision="highest") + bias[None]
    deviation = jnp.abs(apply_fn(params, probes) - affine)
    scale = jnp.linalg.norm(weights.reshape(-1, bias.shape[0]), axis=0)[None] * jnp.linalg.norm(
        probes.reshape(4, -1), axis=1, keepdims=True
    )
    # A class which ignores the input has scale 0: it is affine only if it deviates by 0 too.
    return weights, bias, jnp.max(deviation / jnp.where(scale > 0, scale, 1.0))


def _check_channels(outgoing: int, incoming: int) -> None:
    """Raises ValueError unless a layer feeds the next."""
    if outgoing != incoming:
        raise ValueError(
            f"a layer of {outgoing} output channels cannot feed one of {incoming} input channels."
        )

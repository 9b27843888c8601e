r"""Convolution over a kernel size that may be as large as the image.

.. math:: y[n, h, w, o] = \sum_{t, i} K[t, i, o]\; x[n, h + dy_t, w + dx_t, i]

is cross-correlation, as in ``jax.lax`` and all of deep learning. With circular padding the indices
wrap, the layer is a circulant matrix, and the discrete Fourier transform diagonalises it:
``Y(f) = conj(DFT(k))(f) X(f)`` for every frequency f, whatever the size of the kernel.

Three routes compute the same numbers:

* ``direct``: XLA's convolution. On accelerators as good as any for 3 x 3 taps.
* ``im2col``: T shifted copies side by side, then one matrix product.
* ``fft``: a product per frequency. Its cost does not depend on the kernel's size.

`choose_method` is the one rule that picks; ``benchmarks/convolution.py`` prints the table it rests
on. XLA's convolution on CPU is slow inside ``scan`` and under ``vmap`` over kernels, and its weight
gradient is slow everywhere, so the rule never picks it there.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias.ops import offsets as offsets_lib
from freqbias.typing import Array

Method: TypeAlias = Literal["auto", "direct", "im2col", "fft"]
Padding: TypeAlias = Literal["circular", "SAME", "VALID"]
METHODS = ("auto", "direct", "im2col", "fft")
PADDINGS = ("circular", "SAME", "VALID")

_IM2COL_MAX_COLUMNS = 32  # CPU: taps * input channels up to which im2col beats fft
_DIRECT_MAX_TAPS = {"gpu": 9, "tpu": 81}  # taps up to which direct is used; TPUs not measured


def choose_method(num_taps: int, in_channels: int, backend: str) -> str:
    """The route that ``method="auto"`` takes.

    On CPU: im2col while its columns (taps x input channels) are few, else fft. On GPUs: direct up
    to 3 x 3 taps, else fft, which at 7 x 7 was twice as fast on an H100. On TPUs, where nothing was
    measured: direct up to 9 x 9 taps, else fft.

    Args:
      num_taps: T, taps per kernel and channel.
      in_channels: input channels.
      backend: ``jax.default_backend()``: "cpu", "gpu" or "tpu".

    Returns:
      "direct", "im2col" or "fft".
    """
    if backend == "cpu":
        return "im2col" if num_taps * in_channels <= _IM2COL_MAX_COLUMNS else "fft"
    return "direct" if num_taps <= _DIRECT_MAX_TAPS.get(backend, 81) else "fft"


def conv(
    images: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: Padding = "circular",
    method: Method = "auto",
) -> Array:
    """Convolution (cross-correlation); the formula is in the module's docstring.

    Args:
      images: [N, H, W, I], float.
      kernel: [Kh, Kw, I, O], taps centred as in `square_offsets`.
      stride: s; of the outputs of stride 1, the rows and columns 0, s, 2 s, ... are kept.
      padding: "circular" wraps (a kernel as large as the image is an exact circulant); "SAME" pads
        with zeros to the same size; "VALID" keeps only outputs whose inputs all exist.
      method: "auto" (`choose_method`), "direct", "im2col" or "fft".

    Returns:
      [N, H, W, O]; with "VALID" [N, H - Kh + 1, W - Kw + 1, O]; of R rows or columns, a stride
      keeps ceil(R / s).

    Raises:
      TypeError: images or kernel are not float32 or float64, or differ in dtype.
      ValueError: ranks or channels do not fit, unknown option, or a kernel larger than the image
        with "circular" or "VALID" padding.

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import ops
      >>> images = jnp.arange(4.0).reshape(1, 1, 4, 1)  # one row of four pixels
      >>> right = jnp.array([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1)  # reads the next pixel
      >>> ops.conv(images, right, method="im2col").ravel().tolist()
      [1.0, 2.0, 3.0, 0.0]
    """
    _check_arguments(images, kernel, rank=4)
    _check_options(images, kernel, stride, padding, method, METHODS)
    rows, columns, in_channels = kernel.shape[:3]
    if method == "auto":
        method = choose_method(rows * columns, in_channels, jax.default_backend())  # type: ignore[assignment]
    if method == "direct":
        return _direct(images, kernel, padding, stride)
    weights, offsets = kernel.reshape(-1, *kernel.shape[2:]), _square(kernel)

    def circular(padded: Array) -> Array:
        return _circular(padded, weights, offsets, method)

    return _with_padding(circular, images, (rows, columns), padding)[:, ::stride, ::stride]


def depthwise_conv(
    images: Array, kernel: Array, *, padding: Padding = "circular", method: Method = "auto"
) -> Array:
    """Convolution of each channel by a kernel of its own.

        y[n, h, w, c] = sum_t K[t, c] x[n, h + dy_t, w + dx_t, c]

    Args:
      images: [N, H, W, C], float.
      kernel: [Kh, Kw, C], taps centred as in `square_offsets`.
      padding: as in `conv`.
      method: "direct", "fft", or "auto": "fft" on CPU, where XLA's gradients are 5 to 100 times
        slower (``benchmarks/convolution.py``), elsewhere as in `choose_method`.

    Returns:
      [N, H, W, C]; with "VALID" [N, H - Kh + 1, W - Kw + 1, C].

    Raises:
      TypeError: images or kernel are not float32 or float64, or differ in dtype.
      ValueError: ranks or channels do not fit, unknown option, or a kernel larger than the image
        with "circular" or "VALID" padding.
    """
    _check_arguments(images, kernel, rank=3, axis=-1)
    _check_options(images, kernel, 1, padding, method, ("auto", "direct", "fft"))
    rows, columns, channels = kernel.shape
    if method == "auto":
        backend = jax.default_backend()
        on_cpu = backend == "cpu"
        method = "fft" if on_cpu else choose_method(rows * columns, 1, backend)  # type: ignore[assignment]
    if method == "direct":
        return _direct(images, kernel[:, :, None], padding, groups=channels)
    weights, offsets = kernel.reshape(-1, channels), _square(kernel)

    def circular(padded: Array) -> Array:
        grid = on_torus(weights, offsets, padded.shape[1:3])
        return _on_frequencies(padded, grid, "nhwc,hwc->nhwc")

    return _with_padding(circular, images, (rows, columns), padding)


def scattered_conv(
    images: Array, weights: Array, offsets: np.ndarray, *, method: Method = "auto"
) -> Array:
    """Circular convolution whose taps lie at any fixed offsets: circulant, but not local.

    Args:
      images: [N, H, W, I], float.
      weights: [T, I, O], one matrix per tap.
      offsets: int [T, 2], (dy, dx) of each tap, modulo the image size.
      method: "auto", "im2col" or "fft".

    Returns:
      [N, H, W, O].

    Raises:
      TypeError: images or weights are not float32 or float64, or differ in dtype.
      ValueError: ranks, channels or the number of offsets do not fit, or unknown method.
    """
    _check_arguments(images, weights, rank=3, name="weights")
    _checks.one_of("method", method, ("auto", "im2col", "fft"))
    if np.shape(offsets) != (weights.shape[0], 2):
        raise ValueError(
            f"offsets must have shape ({weights.shape[0]}, 2), one (dy, dx) per tap; "
            f"got {np.shape(offsets)}."
        )
    if method == "auto":
        # XLA has no direct route for scattered taps, so the choice is that of the CPU.
        method = choose_method(weights.shape[0], weights.shape[1], "cpu")  # type: ignore[assignment]
    return _circular(images, weights, np.asarray(offsets), method)


def torus_conv(images: Array, kernel: Array) -> Array:
    """Circular convolution with a kernel on the torus of the image, by the fft route.

    Args:
      images: [N, H, W, I], float.
      kernel: [H, W, I, O]; entry (dy, dx) is the tap that reads the input at that offset, modulo
        the image size, as `on_torus` lays it.

    Returns:
      [N, H, W, O].

    Raises:
      TypeError: images or kernel are not float32 or float64, or differ in dtype.
      ValueError: ranks, channels or sizes do not fit.
    """
    _check_arguments(images, kernel, rank=4)
    if kernel.shape[:2] != images.shape[1:3]:
        raise ValueError(
            f"kernel must have the size of the image, {images.shape[1:3]}; got {kernel.shape[:2]}."
        )
    return _on_frequencies(images, kernel)


def on_torus(weights: Array, offsets: np.ndarray, shape: Sequence[int]) -> Array:
    """Lays taps at their offsets on an otherwise zero torus; taps at one place add up.

    Args:
      weights: [T, I, O].
      offsets: int [T, 2], (dy, dx), modulo the image size.
      shape: (H, W) of the image.

    Returns:
      [H, W, I, O].
    """
    flat = (offsets[:, 0] % shape[0]) * shape[1] + offsets[:, 1] % shape[1]
    if len(np.unique(flat)) == len(flat) and len(flat) == shape[0] * shape[1]:
        grid = weights[np.argsort(flat)]  # full width: a permutation of the taps
    else:
        grid = jnp.zeros((shape[0] * shape[1], *weights.shape[1:]), weights.dtype)
        grid = grid.at[flat].add(weights)
    return grid.reshape(*shape, *weights.shape[1:])


def views(array: Array, offsets: np.ndarray, axes: tuple[int, int]) -> list[Array]:
    """The inputs that the taps read: for each offset, ``array`` shifted circularly to meet it.

    Args:
      array: any shape, with rows and columns of pixels along ``axes``.
      offsets: int [T, 2], (dy, dx).
      axes: of rows and columns.

    Returns:
      T arrays of the same shape; entry t holds at pixel (h, w) the input (h + dy_t, w + dx_t).
    """
    shape = tuple(array.shape[axis] for axis in axes)
    low = offsets.min(axis=0)
    span = offsets.max(axis=0) - low
    if (span >= shape).any():
        return [jnp.roll(array, (-dy, -dx), axes) for dy, dx in offsets.tolist()]
    # One wrap pad, then slices: cheaper than T rolls.
    margins = [(0, 0)] * array.ndim
    for axis, width in zip(axes, span.tolist(), strict=True):
        margins[axis] = (0, width)
    wrapped = jnp.pad(jnp.roll(array, tuple((-low).tolist()), axes), margins, mode="wrap")
    out = []
    for start in (offsets - low).tolist():
        piece = wrapped
        for axis, first, size in zip(axes, start, shape, strict=True):
            piece = jax.lax.slice_in_dim(piece, first, first + size, axis=axis)
        out.append(piece)
    return out


def _with_padding(
    circular: Callable[[Array], Array], images: Array, taps: tuple[int, int], padding: Padding
) -> Array:
    """A circular convolution of ``taps``, with the padding asked for."""
    if padding == "circular":
        return circular(images)
    (height, width), (rows, columns) = images.shape[1:3], taps
    # Zeros around the image make the wrapped sum equal to the zero-padded one.
    full = circular(jnp.pad(images, ((0, 0), (0, rows - 1), (0, columns - 1), (0, 0))))
    if padding == "SAME":
        return full[:, :height, :width]
    top, left = (rows - 1) // 2, (columns - 1) // 2
    return full[:, top : top + height - rows + 1, left : left + width - columns + 1]


def _circular(images: Array, weights: Array, offsets: np.ndarray, method: str) -> Array:
    return (_im2col if method == "im2col" else _fft)(images, weights, offsets)


def _im2col(images: Array, weights: Array, offsets: np.ndarray) -> Array:
    # Channels and images before pixels: every copy then moves whole rows of pixels.
    planes = jnp.transpose(images, (3, 0, 1, 2))
    columns = jnp.stack(views(planes, offsets, (2, 3)))  # [T, I, N, H, W]
    out = jnp.tensordot(weights, columns, axes=[(0, 1), (0, 1)])  # [O, N, H, W]
    return jnp.transpose(out, (1, 2, 3, 0))


def _fft(images: Array, weights: Array, offsets: np.ndarray) -> Array:
    return _on_frequencies(images, on_torus(weights, offsets, images.shape[1:3]))


def _on_frequencies(images: Array, kernel: Array, channels: str = "nhwi,hwio->nhwo") -> Array:
    spectrum = jnp.conj(jnp.fft.rfft2(kernel, axes=(0, 1)))
    product = jnp.einsum(channels, jnp.fft.rfft2(images, axes=(1, 2)), spectrum)
    return jnp.fft.irfft2(product, s=images.shape[1:3], axes=(1, 2))


def _direct(images: Array, kernel: Array, padding: str, stride: int = 1, groups: int = 1) -> Array:
    rows, columns = kernel.shape[:2]
    margins = ((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2)
    if padding == "circular":
        images = jnp.pad(images, ((0, 0), *margins, (0, 0)), mode="wrap")
    # XLA's own "SAME" would centre kernels of an even stride between the pixels.
    zeros = margins if padding == "SAME" else ((0, 0), (0, 0))
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        zeros,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _square(kernel: Array) -> np.ndarray:
    return offsets_lib.square_offsets(kernel.shape[0], kernel.shape[1])


def _check_options(  # noqa: PLR0917 (of one call)
    images: Array,
    kernel: Array,
    stride: int,
    padding: str,
    method: str,
    methods: Sequence[str],
) -> None:
    _checks.positive_int("stride", stride)
    _checks.one_of("padding", padding, PADDINGS)
    _checks.one_of("method", method, methods)
    (height, width), (rows, columns) = images.shape[1:3], kernel.shape[:2]
    if padding != "SAME" and (rows > height or columns > width):
        raise ValueError(
            f"kernel_size must be at most the image size ({height}, {width}) with "
            f"padding={padding!r}; got ({rows}, {columns})."
        )


def _check_arguments(
    images: Array, weights: Array, *, rank: int, name: str = "kernel", axis: int = -2
) -> None:
    _checks.rank("images", images, 4)
    _checks.rank(name, weights, rank)
    _checks.floating("images", images)
    _checks.floating(name, weights)
    if images.dtype != weights.dtype:
        raise TypeError(
            f"images and {name} must have one dtype; got {images.dtype} and {weights.dtype}."
        )
    if images.shape[-1] != weights.shape[axis]:
        raise ValueError(
            f"{name} must take {images.shape[-1]} input channels (axis {axis}), as images have; "
            f"got shape {weights.shape}."
        )

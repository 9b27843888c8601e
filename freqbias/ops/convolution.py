r"""Convolution over a kernel size that may be as large as the image.

.. math:: y[n, h, w, o] = \sum_{t, i} K[t, i, o]\; x[n, h + dy_t, w + dx_t, i]

is cross-correlation, as in ``jax.lax`` and all of deep learning. With circular padding the indices
wrap, the layer is a circulant matrix, and the discrete Fourier transform diagonalises it:
``Y(f) = conj(DFT(k))(f) X(f)`` for every frequency f, whatever the size of the kernel.

Four routes compute the same numbers:

* ``direct``: XLA's convolution. On accelerators as good as any for 3 x 3 taps.
* ``im2col``: T shifted copies side by side, then one matrix product.
* ``dft``: a product per frequency; transforms are matrix products too (`freqbias.ops.dft`).
* ``fft``: a product per frequency, by the fast transform. Of both the cost does not depend on the
  kernel's size.

`choose_method` is the one rule that picks; ``python -m benchmarks --suites=routes`` makes the table
it rests on. On CPU it also goes by what is differentiated: shifted copies are cheap to make, and
to multiply for the kernel's gradient, but dear to add up for that of the images. XLA's convolution
on CPU is slow inside ``scan`` and under ``vmap`` over kernels, and its weight gradient is slow
everywhere, so the rule never picks it there.

Layers here work on arrays whose images come last, [H, W, C, N] (``images_last=True``): on a
processor neighbours in memory then take the same steps, shifts copy long rows, and the ``dft``
route moves nothing. Arrays with images first are turned at the entry and at the exit.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from freqbias import _checks
from freqbias._checked import checked
from freqbias.ops import dft
from freqbias.ops import offsets as offsets_lib
from freqbias.typing import Array

Method: TypeAlias = Literal["auto", "direct", "im2col", "dft", "fft"]
Padding: TypeAlias = Literal["circular", "SAME", "VALID"]
METHODS = ("auto", "direct", "im2col", "dft", "fft")
PADDINGS = ("circular", "SAME", "VALID")

_DFT_MAX_SIDE = 64  # CPU: beyond it the fast transform is faster
_DIRECT_MAX_TAPS = {"gpu": 9, "tpu": 81}  # taps up to which direct is used; TPUs not measured


@checked
def choose_method(
    num_taps: int,
    in_channels: int,
    out_channels: int,
    shape: Sequence[int],
    backend: str,
    *,
    images_gradient: bool = True,
) -> str:
    """The route that ``method="auto"`` takes.

    On CPU: im2col while a pixel costs less by it than by dft, which beyond 64 pixels a side gives
    way to fft. On GPUs: direct up to 3 x 3 taps, else fft, which at 7 x 7 was twice as fast on an
    H100. On TPUs, where nothing was measured: direct up to 9 x 9 taps, else fft.

    Args:
      num_taps: T, taps per kernel and channel.
      in_channels: I, input channels.
      out_channels: O, output channels.
      shape: (H, W) of the images.
      backend: ``jax.default_backend()``: "cpu", "gpu" or "tpu".
      images_gradient: whether there is a gradient with respect to the images, as in attacks and in
        every layer but the first of a training. ``method="auto"`` sees that by itself.

    Returns:
      "direct", "im2col", "dft" or "fft".
    """
    for name, number in (("num_taps", num_taps), ("in_channels", in_channels),
                         ("out_channels", out_channels)):  # fmt: skip
        _checks.positive_int(name, number)
    _checks.sizes("shape", shape, "HW")
    if backend == "cpu":
        # Per pixel and image: each of the T I columns is copied, multiplied into O channels, and
        # has a gradient; a transform of a channel has H products along one axis, in half as many
        # frequencies, and 2 (A + B) along the other, W = A B. The factors fit the table.
        along_rows = 2 * sum(factor for factor in dft.factors(shape[1]) if factor > 1)
        per_channel = shape[0] + along_rows
        if images_gradient:
            by_columns = num_taps * in_channels * (out_channels + 24)
            by_transforms = 0.7 * (in_channels + out_channels) * per_channel
        else:
            by_columns = num_taps * in_channels * (2 * out_channels + 8)
            by_transforms = (in_channels + 2 * out_channels) * per_channel
        if by_columns <= by_transforms:
            return "im2col"
        return "dft" if max(shape) <= _DFT_MAX_SIDE else "fft"
    return "direct" if num_taps <= _DIRECT_MAX_TAPS.get(backend, 81) else "fft"


@checked
def conv(
    images: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: Padding = "circular",
    method: Method = "auto",
    images_last: bool = False,
) -> Array:
    """Convolution (cross-correlation); the formula is in the module's docstring.

    Args:
      images: [N, H, W, I], float; [H, W, I, N] if ``images_last``.
      kernel: [Kh, Kw, I, O], taps centred as in `square_offsets`.
      stride: s; of the outputs of stride 1, the rows and columns 0, s, 2 s, ... are kept.
      padding: "circular" wraps (a kernel as large as the image is an exact circulant); "SAME" pads
        with zeros to the same size; "VALID" keeps only outputs whose inputs all exist.
      method: "auto" (`choose_method`), "direct", "im2col", "dft" or "fft".
      images_last: whether images and result have the images on the last axis.

    Returns:
      [N, H, W, O]; with "VALID" [N, H - Kh + 1, W - Kw + 1, O]; of R rows or columns, a stride
      keeps ceil(R / s). With ``images_last`` the N comes last.

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
    shape = _check_arguments(images, kernel, rank=4, images_last=images_last)
    _check_options(shape, kernel, stride, padding, method, METHODS)

    def by(method: str, images: Array, kernel: Array) -> Array:
        if method == "direct":
            return _direct(images, kernel, padding, stride, images_last=images_last)
        rows, columns = _square(kernel)

        def circular(padded: Array) -> Array:
            if method == "dft":
                return dft.conv(padded, kernel, rows, columns)
            weights = kernel.reshape(-1, *kernel.shape[2:])
            if method == "im2col":
                return _im2col(padded, weights, partial(grid_views, rows=rows, columns=columns))
            return _fft(padded, weights, offsets_lib.square_offsets(*kernel.shape[:2]))

        def layer(images: Array) -> Array:
            return _with_padding(circular, images, kernel.shape[:2], padding)[::stride, ::stride]

        return turned(layer, images, images_last)

    if method == "auto":
        rows, columns, inputs, outputs = kernel.shape
        return _by_gradient(by, images, kernel, (rows * columns, inputs, outputs, shape))
    return by(method, images, kernel)


@checked
def depthwise_conv(
    images: Array,
    kernel: Array,
    *,
    padding: Padding = "circular",
    method: Method = "auto",
    images_last: bool = False,
) -> Array:
    """Convolution of each channel by a kernel of its own.

        y[n, h, w, c] = sum_t K[t, c] x[n, h + dy_t, w + dx_t, c]

    Args:
      images: [N, H, W, C], float; [H, W, C, N] if ``images_last``.
      kernel: [Kh, Kw, C], taps centred as in `square_offsets`.
      padding: as in `conv`.
      method: "direct", "dft", "fft", or "auto": on CPU, where XLA's gradients are 5 to 100 times
        slower (the benchmarks' suite ``routes``), one of the last two; elsewhere `choose_method`.
      images_last: as in `conv`.

    Returns:
      [N, H, W, C]; with "VALID" [N, H - Kh + 1, W - Kw + 1, C]; with ``images_last`` the N last.

    Raises:
      TypeError: images or kernel are not float32 or float64, or differ in dtype.
      ValueError: ranks or channels do not fit, unknown option, or a kernel larger than the image
        with "circular" or "VALID" padding.
    """
    shape = _check_arguments(images, kernel, rank=3, axis=-1, images_last=images_last)
    _check_options(shape, kernel, 1, padding, method, ("auto", "direct", "dft", "fft"))
    if method == "auto":
        taps = kernel.shape[0] * kernel.shape[1]
        method = choose_method(taps, 1, 1, shape, jax.default_backend())  # type: ignore[assignment]
        if method == "im2col":
            method = "dft"
    if method == "direct":
        channels = kernel.shape[2]
        return _direct(images, kernel[:, :, None], padding, 1, channels, images_last=images_last)
    rows, columns = _square(kernel)

    def circular(padded: Array) -> Array:
        if method == "dft":
            return dft.depthwise_conv(padded, kernel, rows, columns)
        offsets = offsets_lib.square_offsets(*kernel.shape[:2])
        grid = on_torus(kernel.reshape(-1, kernel.shape[2]), offsets, padded.shape[:2])
        return _on_frequencies(padded, grid[..., None], "hwcn,hwco->hwcn")

    def layer(images: Array) -> Array:
        return _with_padding(circular, images, kernel.shape[:2], padding)

    return turned(layer, images, images_last)


@checked
def scattered_conv(
    images: Array,
    weights: Array,
    offsets: np.ndarray,
    *,
    method: Method = "auto",
    images_last: bool = False,
) -> Array:
    """Circular convolution whose taps lie at any fixed offsets: circulant, but not local.

    Args:
      images: [N, H, W, I], float; [H, W, I, N] if ``images_last``.
      weights: [T, I, O], one matrix per tap.
      offsets: int [T, 2], (dy, dx) of each tap, modulo the image size.
      method: "auto", "im2col", "dft" or "fft".
      images_last: as in `conv`.

    Returns:
      [N, H, W, O]; with ``images_last`` [H, W, O, N].

    Raises:
      TypeError: images or weights are not float32 or float64, or differ in dtype.
      ValueError: ranks, channels or the number of offsets do not fit, or unknown method.
    """
    shape = _check_arguments(images, weights, rank=3, name="weights", images_last=images_last)
    _checks.one_of("method", method, ("auto", "im2col", "dft", "fft"))
    _checks.integers("offsets", offsets, (weights.shape[0], 2))
    offsets = np.asarray(offsets)

    def by(method: str, images: Array, weights: Array) -> Array:
        def layer(images: Array) -> Array:
            if method == "im2col":
                return _im2col(
                    images, weights, lambda planes: jnp.stack(views(planes, offsets, (1, 2)))
                )
            if method == "dft":
                return _dft_on_torus(images, on_torus(weights, offsets, shape))
            return _fft(images, weights, offsets)

        return turned(layer, images, images_last)

    if method == "auto":  # XLA has no direct route for scattered taps: the choice is the CPU's
        taps, inputs, outputs = weights.shape
        return _by_gradient(by, images, weights, (taps, inputs, outputs, shape), "cpu")
    return by(method, images, weights)


@checked
def torus_conv(images: Array, kernel: Array, *, images_last: bool = False) -> Array:
    """Circular convolution with a kernel on the torus of the image, on the frequencies.

    Args:
      images: [N, H, W, I], float; [H, W, I, N] if ``images_last``.
      kernel: [H, W, I, O]; entry (dy, dx) is the tap that reads the input at that offset, modulo
        the image size, as `on_torus` lays it.
      images_last: as in `conv`.

    Returns:
      [N, H, W, O]; with ``images_last`` [H, W, O, N].

    Raises:
      TypeError: images or kernel are not float32 or float64, or differ in dtype.
      ValueError: ranks, channels or sizes do not fit.
    """
    shape = _check_arguments(images, kernel, rank=4, images_last=images_last)
    if kernel.shape[:2] != shape:
        raise ValueError(
            f"kernel must have the size of the image, {shape}; got {kernel.shape[:2]}."
        )
    by_dft = jax.default_backend() == "cpu" and max(shape) <= _DFT_MAX_SIDE
    layer = _dft_on_torus if by_dft else _on_frequencies
    return turned(lambda images: layer(images, kernel), images, images_last)


@checked
def on_torus(weights: Array, offsets: np.ndarray, shape: Sequence[int]) -> Array:
    """Lays taps at their offsets on an otherwise zero torus; taps at one place add up.

    Args:
      weights: [T, I, O].
      offsets: int [T, 2], (dy, dx), modulo the image size.
      shape: (H, W) of the image.

    Returns:
      [H, W, I, O].
    """
    _checks.sizes("shape", shape, "HW")
    _checks.rank("weights", weights, (1, 2, 3))
    _checks.integers("offsets", offsets, (np.shape(weights)[0], 2))
    flat = (offsets[:, 0] % shape[0]) * shape[1] + offsets[:, 1] % shape[1]
    if len(np.unique(flat)) == len(flat) and len(flat) == shape[0] * shape[1]:
        grid = weights[np.argsort(flat)]  # full width: a permutation of the taps
    else:
        grid = jnp.zeros((shape[0] * shape[1], *weights.shape[1:]), weights.dtype)
        grid = grid.at[flat].add(weights)
    return grid.reshape(*shape, *weights.shape[1:])


@checked
def views(array: Array, offsets: np.ndarray, axes: tuple[int, int]) -> list[Array]:
    """The inputs that the taps read: for each offset, ``array`` shifted circularly to meet it.

    Args:
      array: any shape, with rows and columns of pixels along ``axes``.
      offsets: int [T, 2], (dy, dx).
      axes: of rows and columns.

    Returns:
      T arrays of the same shape; entry t holds at pixel (h, w) the input (h + dy_t, w + dx_t).
    """
    _checks.integers("offsets", offsets, (None, 2))
    _checks.rank("array", array, range(2, 9))
    if len(set(axes)) != 2 or not all(-array.ndim <= axis < array.ndim for axis in axes):
        raise ValueError(f"axes must be two of the {array.ndim} of array; got {axes}.")
    if 0 in array.shape or not len(offsets):
        raise ValueError(
            f"array and offsets must not be empty; got {array.shape}, {offsets.shape}."
        )
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


def grid_views(planes: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """The inputs that taps at all pairs of consecutive rows and columns read, as `views`.

    Shifted along columns first, then along rows: those copies are long and few.

    Args:
      planes: [C, H, W, N].
      rows: int [Kh], consecutive dy, at most H.
      columns: int [Kw], consecutive dx, at most W.

    Returns:
      [Kh * Kw, C, H, W, N].
    """
    height, width = planes.shape[1:3]
    start = (-int(rows[0]), -int(columns[0]))
    margins = ((0, 0), (0, len(rows) - 1), (0, len(columns) - 1), (0, 0))
    wrapped = jnp.pad(jnp.roll(planes, start, (1, 2)), margins, mode="wrap")
    across = jnp.stack([wrapped[:, :, left : left + width] for left in range(len(columns))])
    both = jnp.stack([across[:, :, top : top + height] for top in range(len(rows))])
    return both.reshape(-1, *planes.shape)


def turned(layer: Callable[[Array], Array], images: Array, images_last: bool) -> Array:
    """``layer(images)`` of a layer [H, W, I, N] -> [H, W, O, N], on images that may come first."""
    if images_last:
        return layer(images)
    return jnp.moveaxis(layer(jnp.moveaxis(images, 0, -1)), -1, 0)


def _with_padding(
    circular: Callable[[Array], Array], images: Array, taps: Sequence[int], padding: Padding
) -> Array:
    """A circular convolution of ``taps``, with the padding asked for."""
    if padding == "circular":
        return circular(images)
    (height, width), (rows, columns) = images.shape[:2], taps
    # Zeros around the image make the wrapped sum equal to the zero-padded one.
    full = circular(jnp.pad(images, ((0, rows - 1), (0, columns - 1), (0, 0), (0, 0))))
    if padding == "SAME":
        return full[:height, :width]
    top, left = (rows - 1) // 2, (columns - 1) // 2
    return full[top : top + height - rows + 1, left : left + width - columns + 1]


def _im2col(images: Array, weights: Array, shifted: Callable[[Array], Array]) -> Array:
    """``shifted``: planes [I, H, W, N] -> [T, I, H, W, N], what each tap sees of them."""
    height, width, _, num = images.shape
    # One row per tap and channel, one column per pixel and image.
    table = shifted(jnp.transpose(images, (2, 0, 1, 3)))
    table = table.reshape(-1, height * width * num)
    out = jnp.tensordot(weights.reshape(-1, weights.shape[2]).T, table, axes=1)
    return jnp.transpose(out.reshape(-1, height, width, num), (1, 2, 0, 3))


def _dft_on_torus(images: Array, kernel: Array) -> Array:
    rows, columns = (np.arange(size) for size in kernel.shape[:2])
    return dft.conv(images, kernel, rows, columns)


def _fft(images: Array, weights: Array, offsets: np.ndarray) -> Array:
    return _on_frequencies(images, on_torus(weights, offsets, images.shape[:2]))


def _on_frequencies(images: Array, kernel: Array, channels: str = "hwin,hwio->hwon") -> Array:
    spectrum = jnp.conj(jnp.fft.rfft2(kernel, axes=(0, 1)))
    product = jnp.einsum(channels, jnp.fft.rfft2(images, axes=(0, 1)), spectrum)
    return jnp.fft.irfft2(product, s=images.shape[:2], axes=(0, 1))


def _direct(
    images: Array,
    kernel: Array,
    padding: str,
    stride: int,
    groups: int = 1,
    *,
    images_last: bool,
) -> Array:
    rows, columns = kernel.shape[:2]
    margins = ((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2)
    layout, others = ("HWCN", ((0, 0), (0, 0))) if images_last else ("NHWC", ((0, 0),))
    if padding == "circular":
        around = (*margins, *others) if images_last else (*others, *margins, (0, 0))
        images = jnp.pad(images, around, mode="wrap")
    # XLA's own "SAME" would centre kernels of an even stride between the pixels.
    zeros = margins if padding == "SAME" else ((0, 0), (0, 0))
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        zeros,
        dimension_numbers=(layout, "HWIO", layout),
        feature_group_count=groups,
    )


def _by_gradient(
    layer: Callable[[str, Array, Array], Array],
    images: Array,
    weights: Array,
    sizes: tuple[int, int, int, tuple[int, int]],
    backend: str | None = None,
) -> Array:
    """``layer(method, images, weights)`` by the route for the derivative that is taken, if any.

    ``sizes`` are the first arguments of `choose_method`. Without a derivative it is the route of
    the kernel's gradient, which like the result itself needs no sum of shifted copies.
    """
    backend = backend or jax.default_backend()
    without, with_images = (
        choose_method(*sizes, backend, images_gradient=wanted) for wanted in (False, True)
    )
    if without == with_images:
        return layer(without, images, weights)

    @jax.custom_jvp
    def auto(images: Array, weights: Array) -> Array:
        return layer(without, images, weights)

    @partial(auto.defjvp, symbolic_zeros=True)
    def _(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
        moving = [i for i in (0, 1) if not isinstance(tangents[i], SymbolicZero)]
        method = with_images if 0 in moving else without

        def moved(*arguments: Array) -> Array:
            given = dict(zip(moving, arguments, strict=True))
            return layer(method, *(given.get(i, primals[i]) for i in (0, 1)))

        return jax.jvp(moved, [primals[i] for i in moving], [tangents[i] for i in moving])

    return auto(images, weights)


def _square(kernel: Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the rows and of the columns of a kernel, as in `square_offsets`."""
    rows, columns = (np.arange(size) - (size - 1) // 2 for size in kernel.shape[:2])
    return rows, columns


def _check_options(  # noqa: PLR0917 (of one call)
    shape: tuple[int, int],
    kernel: Array,
    stride: int,
    padding: str,
    method: str,
    methods: Sequence[str],
) -> None:
    _checks.positive_int("stride", stride)
    _checks.one_of("padding", padding, PADDINGS)
    _checks.one_of("method", method, methods)
    (height, width), (rows, columns) = shape, kernel.shape[:2]
    if padding != "SAME" and (rows > height or columns > width):
        raise ValueError(
            f"kernel_size must be at most the image size ({height}, {width}) with "
            f"padding={padding!r}; got ({rows}, {columns})."
        )


def _check_arguments(
    images: Array,
    weights: Array,
    *,
    rank: int,
    images_last: bool,
    name: str = "kernel",
    axis: int = -2,
) -> tuple[int, int]:
    """(H, W) of the images."""
    _checks.rank("images", images, 4)
    _checks.rank(name, weights, rank)
    _checks.floating("images", images)
    _checks.floating(name, weights)
    for argument, array in (("images", images), (name, weights)):
        if 0 in array.shape:
            raise ValueError(f"{argument} must not be empty; got shape {array.shape}.")
    if images.dtype != weights.dtype:
        raise TypeError(
            f"images and {name} must have one dtype; got {images.dtype} and {weights.dtype}."
        )
    height, width, channels = images.shape[:3] if images_last else images.shape[1:]
    if channels != weights.shape[axis]:
        raise ValueError(
            f"{name} must take {channels} input channels (axis {axis}), as images have; "
            f"got shape {weights.shape}."
        )
    return height, width

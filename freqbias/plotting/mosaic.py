"""Pictures in rows and columns: images, signed arrays and two-dimensional spectra."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from freqbias.plotting.panels import say
from freqbias.plotting.style import DPI, GREY, PAGE_WIDTH

_SPECTRUM_RANGE = 1.5  # decades on either side of white noise


def mosaic_grid(num_rows: int, num_cols: int, *, group: int) -> tuple[Figure, list[list[Axes]]]:
    """Square cells at fixed places; rows come in groups with a title above each."""
    num_rows, num_cols = max(num_rows, group), max(num_cols, 1)
    left, right, top, bottom, gap, title = 0.42, 0.62, 0.3, 0.3, 0.07, 0.22
    cell = min(0.95, (PAGE_WIDTH - left - right) / num_cols - gap)
    num_groups = num_rows // group
    height = top + bottom + num_rows * (cell + gap) + num_groups * title
    width = left + right + num_cols * (cell + gap)
    figure = Figure(figsize=(width, height), dpi=DPI)
    axes = []
    for row in range(num_rows):
        y = height - top - (row + 1) * (cell + gap) - (row // group + 1) * title + gap
        axes.append([
            figure.add_axes((
                (left + column * (cell + gap)) / width, y / height, cell / width, cell / height
            ))
            for column in range(num_cols)
        ])  # fmt: skip
    for ax in (ax for row in axes for ax in row):
        # Where no ticks are shown none are made: small pictures spend most of their time there.
        ax.xaxis.set_major_locator(NullLocator())
        ax.yaxis.set_major_locator(NullLocator())
        ax.xaxis.set_visible(ax in axes[-1])
        ax.yaxis.set_visible(any(ax is row[0] for row in axes))
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_linewidth(0.4)
    return figure, axes


def finish_mosaic(
    figure: Figure, axes: list[list[Axes]], names: Sequence[str], spectrum_rows: Sequence[int]
) -> None:
    """Column names, frequency axes on the last row, and one colour bar."""
    width, height = figure.get_size_inches()
    for ax, name in zip(axes[0], names, strict=False):
        box = ax.get_position()
        figure.text((box.x0 + box.x1) / 2, 1 - 0.04 / height, name, ha="center", va="top",
                    fontsize=7, fontweight="bold", linespacing=1.05)  # fmt: skip
    for column, ax in enumerate(axes[-1]):
        if not ax.images:
            continue
        ax.set_xticks([-0.25, 0, 0.25], ["\N{MINUS SIGN}¼", "0", "¼"])
        ax.tick_params(length=2, pad=1.5)
        if column == 0:
            ax.set_xlabel("cycles/pixel", fontsize=7, labelpad=0)
    images = [im for row in axes for ax in row for im in ax.images if im.get_clim()[0] < 0]
    if images:
        box = axes[spectrum_rows[0]][-1].get_position()
        bar = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.08 / width, box.height))
        colours = figure.colorbar(images[0], cax=bar, extend="both")
        colours.set_ticks([-1, 0, 1], labels=["0.1", "1", "10"])
        colours.outline.set_linewidth(0.4)  # type: ignore[operator]
        bar.tick_params(length=2, pad=1.5)
        bar.set_title("\N{MULTIPLICATION SIGN} white", fontsize=7, pad=4, loc="left")


def block_title(figure: Figure, ax: Axes, text: str) -> None:
    """A title above the row of pictures that starts with ``ax``."""
    box = ax.get_position()
    figure.text(box.x0, box.y1 + 0.05 / figure.get_size_inches()[1], text, ha="left", va="bottom",
                fontsize=8, fontweight="bold", color=GREY)  # fmt: skip


def show_image(ax: Axes, image: np.ndarray) -> None:
    """An image [H, W, C] with values in [0, 1]."""
    ax.imshow(_rgb(image).clip(0, 1))


def show_signed(ax: Axes, array: np.ndarray | None) -> None:
    """A signed array [H, W, C], scaled to its largest absolute value: grey is 0, NaN white."""
    if array is None or not np.nanmax(np.abs(array), initial=0) > 0:
        say(ax, "not run" if array is None else "no live\nnetwork")
        return
    scaled = 0.5 + 0.5 * _rgb(array) / np.nanmax(np.abs(_rgb(array)))
    ax.imshow(np.where(np.isnan(scaled), 1.0, scaled).clip(0, 1))


def show_spectrum(ax: Axes, power: np.ndarray | None) -> None:
    """A spectrum [H, W], relative to white noise, fft order, in log10, DC (NaN) in white."""
    if power is None or not np.any(power > 0):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(np.fft.fftshift(power))
    h, w = power.shape
    corner = np.fft.fftshift(np.fft.fftfreq(w)), np.fft.fftshift(np.fft.fftfreq(h))
    extent = (corner[0][0] - 0.5 / w, corner[0][-1] + 0.5 / w,
              corner[1][-1] + 0.5 / h, corner[1][0] - 0.5 / h)  # fmt: skip
    ax.imshow(decades, cmap="RdBu_r", vmin=-_SPECTRUM_RANGE, vmax=_SPECTRUM_RANGE, extent=extent)


def _rgb(array: np.ndarray) -> np.ndarray:
    """[H, W, C] as three channels; other than three channels are averaged."""
    array = np.asarray(array, dtype=np.float64)
    if array.shape[-1] != 3:
        array = np.repeat(array.mean(axis=-1, keepdims=True), 3, axis=-1)
    return array


def tile_kernels(kernels: np.ndarray, most: int = 9) -> np.ndarray:
    """Kernels [K, K, I, O] of the first output channels as one image, NaN between them."""
    size, num = kernels.shape[0], min(most, kernels.shape[-1])
    side = int(np.ceil(np.sqrt(num)))
    zoom = max(1, round(24 / size))
    pitch, gap = size * zoom, max(2, round(0.12 * size * zoom))
    out = np.full((side * (pitch + gap) - gap, side * (pitch + gap) - gap, 3), np.nan)
    for o in range(num):
        y, x = (index * (pitch + gap) for index in divmod(o, side))
        tile = _rgb(kernels[..., o]).repeat(zoom, axis=0).repeat(zoom, axis=1)
        out[y : y + pitch, x : x + pitch] = tile
    return out


def normalised_power(images: np.ndarray, shape: Sequence[int] | None = None) -> np.ndarray | None:
    """Mean power [H, W] of images [..., h, w, C], each normalised without DC; 1 is white."""
    spectrum = np.fft.fft2(np.asarray(images, dtype=np.float64), s=shape, axes=(-3, -2))
    power = np.sum(np.abs(spectrum) ** 2, axis=-1)
    power[..., 0, 0] = 0
    power = power.reshape(-1, *power.shape[-2:])
    total = power.sum(axis=(1, 2))
    keep = np.isfinite(total) & (total > 0)
    if not keep.any():
        return None
    return relative_power(np.mean(power[keep] / total[keep, None, None], axis=0))


def relative_power(power: np.ndarray) -> np.ndarray:
    """Normalised power times the number of frequencies, with DC masked: white noise is 1."""
    relative = np.array(power, dtype=np.float64) * power.size
    relative[0, 0] = np.nan
    return relative

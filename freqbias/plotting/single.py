"""Figures of single networks, or a few side by side: no study, no arms, any names.

Everything comes as plain arrays under the networks' and attacks' names; `Drawn` says how each
network is drawn.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias.plotting.mosaic import (
    block_title,
    finish_mosaic,
    mosaic_grid,
    relative_power,
    show_image,
    show_signed,
    show_spectrum,
)
from freqbias.plotting.panels import arm_handle, grid_of_panels, laid_out, null_handle, say
from freqbias.plotting.style import GREY, INK, PALE, STYLE, Drawn


class Point(NamedTuple):
    """A mean with its interval; NaN where there is none."""

    network: str
    row: str  # what stands at the left
    mean: float
    low: float
    high: float
    hollow: bool = False


class Band(NamedTuple):
    """A line over radii with its band, each [R]."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@mpl.rc_context(STYLE)
def mean_frequencies(
    points: Sequence[Point], *, images: float, white_noise: float, looks: Drawn
) -> Figure:
    """Mean frequency by attack, a line of points for each network; bars: 95 % intervals.

    Dashed: the images themselves; dotted: white noise of their shape.
    """
    rows = list(dict.fromkeys(point.row for point in points))
    names = looks.in_order({point.network for point in points})
    figure, (ax,) = grid_of_panels(1, 1, height=0.5 + (0.16 + 0.13 * len(names)) * len(rows))
    figure.set_figwidth(5.6)
    for point in points:
        if not np.isfinite(point.mean):
            continue
        style = looks[point.network]
        shift = (names.index(point.network) - (len(names) - 1) / 2) * 0.7 / max(1, len(names))
        y = rows.index(point.row) + shift
        ax.plot([point.low, point.high], [y, y], color=style.color, linewidth=1.3,
                solid_capstyle="butt")  # fmt: skip
        ax.plot(point.mean, y, marker=style.marker, color=style.color, markersize=5,
                linestyle="none", markerfacecolor="white" if point.hollow else style.color,
                markeredgewidth=0.9)  # fmt: skip
    if np.isfinite(images):
        ax.axvline(images, color=GREY, linestyle=(0, (3, 2)), linewidth=1.0, zorder=0)
    ax.axvline(white_noise, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(x=0.08)
    ax.set_xlabel("mean frequency (cycles/pixel)")
    dashed = Line2D([], [], color=GREY, linestyle=(0, (3, 2)), linewidth=1, label="the images")
    shown = [arm_handle(looks[name]) for name in names] if len(names) > 1 else []
    return laid_out(figure, [*shown, dashed, null_handle()])


@mpl.rc_context(STYLE)
def profiles(
    bands: Mapping[str, Mapping[str, Band]],
    frequency: np.ndarray,
    images: np.ndarray,
    *,
    looks: Drawn,
) -> Figure:
    """Power by radius relative to white noise, a panel for each attack, a line for each network.

    Args:
      bands: attack -> network -> `Band`.
      frequency: [R], cycles per pixel.
      images: [R], that of the images (dashed).
      looks: of the networks.
    """
    num_cols = min(2 if len(bands) in (2, 4) else 3, max(1, len(bands)))
    figure, axes = grid_of_panels(len(bands), num_cols, height=1.9, sharex=True, sharey=True)
    keep = frequency > 0
    names = looks.in_order({name for found in bands.values() for name in found})
    floor, ceiling = 1.0, 1.0
    for ax, (attack, found) in zip(axes, bands.items(), strict=False):
        ax.axvspan(0.5, np.sqrt(0.5), color=PALE, linewidth=0, zorder=0)
        ax.axhline(1, color=GREY, linewidth=0.7, zorder=1)
        ax.plot(frequency[keep], images[keep], color=GREY, linestyle=(0, (3, 2)), linewidth=1.0)
        own = images[keep][images[keep] > 0]  # not NaN
        floor, ceiling = min([floor, *own]), max([ceiling, *own])
        empty = True
        for name in (name for name in names if name in found):
            band, style = found[name], looks[name]
            shown = keep & (band.mean > 0)
            if not shown.any():
                continue
            empty = False
            ax.plot(frequency[shown], band.mean[shown], color=style.color,
                    linestyle=style.linestyle)  # fmt: skip
            low = np.maximum(band.low[shown], 1e-3 * band.mean[shown])
            ax.fill_between(frequency[shown], low, band.high[shown], color=style.color, alpha=0.2,
                            linewidth=0)  # fmt: skip
            floor = min(floor, *band.mean[shown])
            ceiling = max(ceiling, *band.mean[shown])
        if empty:
            say(ax, "no spectrum")
        ax.set_title(attack, loc="left", fontweight="bold")
    axes[0].set_yscale("log")
    for ax in axes:
        ax.minorticks_off()
    axes[0].set_xlim(0, np.sqrt(0.5))
    axes[0].set_ylim(max(floor, 1e-4) / 1.6, ceiling * 1.8)
    figure.supylabel("power relative to white noise", fontsize=8)
    for index, ax in enumerate(axes[: len(bands)]):
        if index + num_cols >= len(bands):
            ax.set_xlabel("spatial frequency (cycles/pixel)")
            ax.tick_params(axis="x", labelbottom=True)
    handles = [arm_handle(looks[name], line=True) for name in names] if len(names) > 1 else []
    return laid_out(figure, [
        *handles,
        Line2D([], [], color=GREY, linestyle=(0, (3, 2)), linewidth=1, label="the images"),
        Line2D([], [], color=GREY, linewidth=0.7, label="white noise"),
    ])  # fmt: skip


@mpl.rc_context(STYLE)
def mean_spectra(spectra: Mapping[str, Mapping[str, np.ndarray]], columns: Sequence[str]) -> Figure:
    """Mean power over the plane of frequencies, log10 relative to white noise, DC left out.

    Args:
      spectra: network -> column -> power [H, W], fftfreq order, summing to 1; NaN for nothing.
      columns: names of the columns, in order.
    """
    figure, axes = mosaic_grid(len(spectra), len(columns), group=1)
    for row, (name, found) in zip(axes, spectra.items(), strict=True):
        for ax, column in zip(row, columns, strict=True):
            power = found.get(column)
            if power is None or not np.isfinite(power).any():
                say(ax, "no\nspectrum")
            else:
                show_spectrum(ax, relative_power(power))
        if len(spectra) > 1:
            block_title(figure, row[0], name)
    finish_mosaic(figure, axes, [_two_lines(column) for column in columns], [0])
    return figure


@mpl.rc_context(STYLE)
def examples(
    images: np.ndarray,
    labels: Sequence[str],
    found: Mapping[str, tuple[np.ndarray, Sequence[str]]],
) -> Figure:
    """Images, and below each its perturbations, each scaled to its largest value (grey is none).

    Args:
      images: [n, H, W, C] in [0, 1].
      labels: n texts, at the top.
      found: title of a row -> perturbations [n, H, W, C], and n texts, what is predicted then.
    """
    figure, axes = mosaic_grid(1 + len(found), len(images), group=1)
    for ax, image in zip(axes[0], images, strict=True):
        show_image(ax, image)
    block_title(figure, axes[0][0], "images")
    for row, (title, (deltas, answers)) in zip(axes[1:], found.items(), strict=True):
        block_title(figure, row[0], title)
        for ax, delta, answer in zip(row, deltas, answers, strict=True):
            if np.any(delta != 0):
                show_signed(ax, delta)
            else:
                say(ax, "zero")
            _corner(ax, answer)
    height = figure.get_size_inches()[1]
    for ax, label in zip(axes[0], labels, strict=True):
        box = ax.get_position()
        figure.text((box.x0 + box.x1) / 2, 1 - 0.04 / height, label, ha="center", va="top",
                    fontsize=7, fontweight="bold")  # fmt: skip
    return figure


def _corner(ax: Axes, text: str) -> None:
    """A word in the lower left corner, readable on any picture."""
    frame = {"facecolor": "white", "alpha": 0.85, "pad": 1, "linewidth": 0}
    ax.text(0.03, 0.03, text, transform=ax.transAxes, fontsize=6, va="bottom", ha="left",
            color=INK, bbox=frame)  # fmt: skip


def _two_lines(text: str) -> str:
    """A title for a narrow column: broken at the space nearest to its middle."""
    spaces = [index for index, letter in enumerate(text) if letter == " "]
    if len(text) <= 11 or not spaces:
        return text
    middle = min(spaces, key=lambda index: abs(index - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


@mpl.rc_context(STYLE)
def plane_waves(errors: Mapping[str, tuple[np.ndarray, str]]) -> Figure:
    """Error rate under a plane wave of every frequency, a panel for each network.

    Args:
      errors: network -> error rates [H, W], fftfreq order, and a line for the title.
    """
    num_cols = min(4, max(1, len(errors)))
    figure, axes = grid_of_panels(len(errors), num_cols, height=2.0, sharex=True, sharey=True)
    image = None
    for ax, (name, (plane, says)) in zip(axes, errors.items(), strict=False):
        size = plane.shape
        edges = [(np.fft.fftshift(np.fft.fftfreq(n))[[0, -1]], 0.5 / n) for n in size]
        (low_y, high_y), half_y = edges[0]
        (low_x, high_x), half_x = edges[1]
        extent = (low_x - half_x, high_x + half_x, high_y + half_y, low_y - half_y)
        image = ax.imshow(np.fft.fftshift(plane), cmap="cividis", vmin=0, vmax=1, extent=extent)
        ax.set_title(f"{name}\n{says}", loc="left", fontsize=7)
        ax.set_xlabel("cycles/pixel")
    axes[0].set_ylabel("cycles/pixel")
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.7, aspect=25).set_label("error rate")
    return laid_out(figure, [])

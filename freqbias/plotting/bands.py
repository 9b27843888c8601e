"""Robustness resolved by frequency: the smallest epsilon in each band."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from freqbias._checked import checked
from freqbias.plotting.panels import arm_handle, grid_of_panels, laid_out, say, seed_interval
from freqbias.plotting.style import PALE, STYLE, UNKNOWN, Drawn, Style

_CORNER = float(np.sqrt(0.5))  # cycles/pixel: no frequency lies beyond


@checked
@mpl.rc_context(STYLE)
def band_curve(
    edges: Sequence[float],
    radii: Mapping[str, np.ndarray],
    *,
    norm: str = "L2",
    looks: Drawn = UNKNOWN,
) -> Figure:
    """The smallest perturbation that succeeds in each band of frequencies, arm by arm.

    Points: geometric mean over seeds, side by side within a band; bars: its 95 % t interval (of
    the logarithm). Lower is more vulnerable. Shaded: beyond 1/2 cycle per pixel, where only the
    corners of the frequency plane lie.

    A seed with a NaN (dead or diverged) is left out. A band in which a radius is infinite for some
    seed, where too few images fall, has no mean and is a gap: the mean of the other seeds would
    make it look more vulnerable than it is.

    Args:
      edges: B + 1 increasing radii, cycles per pixel, as of `freqbias.attacks.band_masks`; the last
        may be infinite.
      radii: arm -> smallest epsilon [S, B], positive, in pixel units.
      norm: of the perturbations, for the axis.
      looks: how the arms are drawn.

    Returns:
      The figure.

    Raises:
      ValueError: edges do not increase from at least 0, or radii are not positive [S, B].

    Example:
      With ``distance`` [B, S, N] of `freqbias.attacks.evaluate_bands`, the median over images is
      one radius per seed and band; here of 2 seeds and 3 bands:

      >>> radius = np.array([[0.9, 0.5, 0.4], [1.1, 0.6, 0.4]])
      >>> figure = band_curve([0, 1 / 8, 1 / 4, 1], {"conv_k3_d1": radius})
    """
    ends = np.asarray(edges, dtype=np.float64)
    if ends.ndim != 1 or len(ends) < 2 or ends[0] < 0 or not np.all(np.diff(ends) > 0):
        raise ValueError(f"edges must be at least two radii >= 0 that increase; got {edges!r}.")
    num_bands = len(ends) - 1
    for arm, radius in radii.items():
        if np.ndim(radius) != 2 or np.shape(radius)[1] != num_bands:
            raise ValueError(
                f"radii of {arm!r} must be [S, B] with {num_bands} bands; got {np.shape(radius)}."
            )
        if np.any(np.asarray(radius) <= 0):
            raise ValueError(f"radii of {arm!r} must be positive; got {np.nanmin(radius)}.")
    figure, (ax,) = grid_of_panels(1, 1, height=2.6)
    shown = np.minimum(ends, max(_CORNER, ends[-2] + 1e-3))
    ax.axvspan(0.5, _CORNER, color=PALE, linewidth=0, zorder=0)
    for edge in shown[1:-1]:
        ax.axvline(edge, color=PALE, linewidth=0.7, zorder=0)
    looks, drawn = looks.with_arms(radii), {}
    for index, (arm, radius) in enumerate(radii.items()):
        share = (index + 1) / (len(radii) + 1)
        at = (1 - share) * shown[:-1] + share * shown[1:]
        if _arm(ax, looks[arm], at, np.asarray(radius, dtype=np.float64)):
            drawn[arm] = looks[arm]
    if not drawn:
        say(ax, "no radius in any band")
    else:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    ax.set_xlim(min(shown[0], 0.0), max(shown[-1], _CORNER))
    ax.set_xlabel("spatial frequency (cycles/pixel)")
    ax.set_ylabel(f"smallest {norm} perturbation\n(pixel units)")
    return laid_out(figure, [arm_handle(style) for style in drawn.values()])


def _arm(ax: Axes, style: Style, at: np.ndarray, radius: np.ndarray) -> bool:
    """Draws the radii [S, B] of one arm at ``at`` [B]; whether there was anything to draw."""
    radius = radius[~np.any(np.isnan(radius), axis=1)]
    means = np.full(len(at), np.nan)
    for band, values in enumerate(radius.T):
        if len(values) and np.all(np.isfinite(values)):
            means[band], low, high = np.exp(seed_interval(np.log(values)))
            ax.plot([at[band]] * 2, [low, high], color=style.color, linewidth=1.2,
                    solid_capstyle="butt")  # fmt: skip
    ax.plot(at, means, color=style.color, linestyle=style.linestyle, linewidth=0.9, alpha=0.7,
            marker=style.marker, markersize=4.5)  # fmt: skip
    return bool(np.any(np.isfinite(means)))

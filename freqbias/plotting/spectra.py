"""Spectra of perturbations, kernels and predictors: radial profiles and pictures."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import schema
from freqbias._checked import checked
from freqbias.plotting.mosaic import (
    block_title,
    finish_mosaic,
    mosaic_grid,
    normalised_power,
    relative_power,
    show_image,
    show_signed,
    show_spectrum,
    tile_kernels,
)
from freqbias.plotting.panels import (
    arm_handle,
    arrays_of_field,
    grid_of_panels,
    laid_out,
    panel_order,
    seed_interval,
)
from freqbias.plotting.style import (
    GREY,
    PALE,
    STYLE,
    UNKNOWN,
    Drawn,
    Style,
    panel_name,
    regime_name,
)


@checked
@mpl.rc_context(STYLE)
def radial_profiles(
    spectra: Mapping[str, np.ndarray],
    *,
    init_scale: float = 1.0,
    groups: Mapping[str, Sequence[str]] | None = None,
    looks: Drawn = UNKNOWN,
) -> Figure:
    """Radial profiles of the perturbations' power, relative to white noise.

    A row per data set and regime; a column per group of arms, by default those of
    `profile_groups`. Lines: geometric mean over live seeds; bands: its 95 % t
    interval. Dashed grey: the images themselves; line at 1: white noise; shaded: beyond 1/2 cycle
    per pixel, where only the corners of the frequency plane lie.
    """
    settings = arrays_of_field(spectra, "profile", init_scale)
    panels = panel_order(settings)
    looks = looks.with_arms(arm for found in settings.values() for arm in found)
    groups = groups or profile_groups(spectra, init_scale=init_scale, looks=looks) or {"": []}
    figure, grid = grid_of_panels(
        max(1, len(panels)) * len(groups), len(groups), height=1.55, sharex=True, sharey=True
    )
    axes = np.reshape(np.array(grid, dtype=object), (-1, len(groups)))
    key = 0.15 * max(map(len, groups.values()))
    figure.set_figheight(figure.get_figheight() + max(0.0, key - 0.6))
    floor, ceiling = 1.0, 1.0
    for row, panel in zip(axes, panels, strict=False):
        dataset = panel[0]
        frequency = np.asarray(spectra.get(f"{dataset}.frequency", ()))
        if not frequency.size:
            continue
        keep = frequency > 0
        data = spectra.get(f"{dataset}.data_profile")
        for ax, arms in zip(row, groups.values(), strict=True):
            ax.axvspan(0.5, np.sqrt(0.5), color=PALE, linewidth=0, zorder=0)
            ax.axhline(1, color=GREY, linewidth=0.7, zorder=1)
            if data is not None:
                ax.plot(frequency[keep], np.asarray(data)[keep], color=GREY, linestyle=(0, (3, 2)),
                        linewidth=1.0)  # fmt: skip
            for arm in arms:
                if arm in settings[panel]:
                    mean = _profile_line(ax, frequency, settings[panel][arm], looks[arm])
                    floor, ceiling = min(floor, *mean), max(ceiling, *mean)
        row[0].set_ylabel(panel_name(*panel, "\n"))
    for (title, arms), ax in zip(groups.items(), axes[0], strict=True):
        handles = [arm_handle(looks[arm], line=True) for arm in arms]
        legend = ax.legend(handles=handles, title=title, alignment="left", loc="lower left",
                           bbox_to_anchor=(0, 1.02), borderaxespad=0, borderpad=0)  # fmt: skip
        legend.get_title().set(fontweight="bold", fontsize=8)
    figure.supylabel("power relative to white noise", fontsize=8)
    axes[0, 0].set_yscale("log")
    for ax in axes.flat:
        ax.minorticks_off()
    axes[0, 0].set_xlim(0, np.sqrt(0.5))
    axes[0, 0].set_ylim(max(floor, 1e-4) / 1.6, ceiling * 2.2)
    for ax in axes[-1]:
        ax.set_xlabel("spatial frequency (cycles/pixel)")
    handles = [
        Line2D([], [], color=GREY, linestyle=(0, (3, 2)), linewidth=1, label="the images"),
        Line2D([], [], color=GREY, linewidth=0.7, label="white noise"),
    ]
    return laid_out(figure, handles)


def _profile_line(
    ax: Axes, frequency: np.ndarray, profile: np.ndarray, style: Style
) -> list[float]:
    """Draws the profiles [S, R] of one arm; returns the line's finite, positive values."""
    profile = np.asarray(profile, dtype=np.float64)
    live = np.all(np.isfinite(profile), axis=1) & np.any(profile > 0, axis=1)
    keep = (frequency > 0) & np.all(profile[live] > 0, axis=0)
    if not live.any() or not keep.any():
        return [1.0]
    bands = np.array([seed_interval(ring) for ring in np.log(profile[live][:, keep]).T])
    mean, low, high = np.exp(bands).T
    ax.plot(frequency[keep], mean, color=style.color, linestyle=style.linestyle)
    if np.all(np.isfinite(low)):
        ax.fill_between(frequency[keep], low, high, color=style.color, alpha=0.2, linewidth=0)
    return list(mean)


@checked
def profile_groups(
    spectra: Mapping[str, np.ndarray], *, init_scale: float = 1.0, looks: Drawn = UNKNOWN
) -> dict[str, list[str]]:
    """Arms whose profiles are to be compared within one panel, by what they differ in."""
    settings = arrays_of_field(spectra, "profile", init_scale)
    return looks.groups_of(arm for found in settings.values() for arm in found)


@checked
@mpl.rc_context(STYLE)
def perturbation_gallery(
    spectra: Mapping[str, np.ndarray],
    dataset: str,
    *,
    init_scale: float = 1.0,
    max_arms: int = 7,
    looks: Drawn = UNKNOWN,
) -> Figure:
    """One image's L2 perturbations by arm, and their 2-D spectra.

    Per regime three rows: the perturbation (grey is no change; each scaled to its own largest
    value), its power spectrum, and the mean spectrum over images and live seeds. Spectra: log10 of
    the power relative to white noise, zero frequency at the centre and left out.
    """
    examples = arrays_of_field(spectra, "examples", init_scale)
    means = arrays_of_field(spectra, "spectrum", init_scale)
    regimes = [panel for panel in panel_order(examples) if panel[0] == dataset]
    arms = _few([arm for panel in regimes for arm in examples[panel]], max_arms, looks)
    images = spectra.get(f"{dataset}.example_images")
    figure, axes = mosaic_grid(3 * len(regimes), 1 + len(arms), group=3)
    for block, panel in enumerate(regimes):
        rows = axes[3 * block : 3 * block + 3]
        index = _shown_example([examples[panel][arm] for arm in arms if arm in examples[panel]])
        if images is not None:
            show_image(rows[0][0], np.asarray(images)[index])
            show_spectrum(rows[1][0], normalised_power(np.asarray(images)[index]))
            show_spectrum(rows[2][0], normalised_power(np.asarray(images)))
        for column, arm in enumerate(arms, start=1):
            delta = examples[panel].get(arm)
            mean = means.get(panel, {}).get(arm)
            show_signed(rows[0][column], None if delta is None else np.asarray(delta)[index])
            show_spectrum(
                rows[1][column],
                None if delta is None else normalised_power(np.asarray(delta)[index]),
            )
            show_spectrum(
                rows[2][column], None if mean is None else relative_power(np.asarray(mean))
            )
        for ax, text in zip(
            (row[0] for row in rows),
            ("perturbation", "its\nspectrum", "mean\nspectrum"),
            strict=True,
        ):
            ax.set_ylabel(text, fontsize=7, labelpad=2)
        block_title(figure, rows[0][0], regime_name(panel[1]))
    finish_mosaic(figure, axes, ["image", *(looks.column(arm) for arm in arms)], [1, 2])
    return figure


@checked
@mpl.rc_context(STYLE)
def kernels_and_predictors(
    spectra: Mapping[str, np.ndarray],
    dataset: str,
    *,
    init_scale: float = 1.0,
    max_arms: int = 7,
    looks: Drawn = UNKNOWN,
) -> Figure:
    """Learned first-layer kernels and effective predictors beta of seed 0, with their spectra.

    Kernels: up to nine output channels, on the arm's common scale (grey is zero), and the mean
    power spectrum of all of them, zero-padded to the image. beta (linear nets): its first class
    less the mean over classes, and the mean power spectrum over classes, so centred. Spectra: log10
    of the power relative to white noise, zero frequency at the centre and left out.
    """
    kernels = {
        p: a for p, a in arrays_of_field(spectra, "kernels", init_scale).items() if p[0] == dataset
    }
    betas = {
        p: a for p, a in arrays_of_field(spectra, "beta", init_scale).items() if p[0] == dataset
    }
    blocks = [("kernels", panel) for panel in panel_order(kernels)]
    blocks += [("beta", panel) for panel in panel_order(betas)]
    source = {"kernels": kernels, "beta": betas}
    arms = _few([arm for kind, panel in blocks for arm in source[kind][panel]], max_arms, looks)
    shape = _image_shape(spectra, dataset)
    figure, axes = mosaic_grid(2 * len(blocks), len(arms), group=2)
    for block, (kind, panel) in enumerate(blocks):
        top, bottom = axes[2 * block], axes[2 * block + 1]
        for column, arm in enumerate(arms):
            array = source[kind][panel].get(arm)
            if array is None:
                top[column].set_visible(False)
                bottom[column].set_visible(False)
                continue
            array = np.asarray(array, dtype=np.float64)
            if kind == "kernels":
                show_signed(top[column], tile_kernels(array))
                stack = np.moveaxis(array, -1, 0)
            else:
                stack = np.moveaxis(array - array.mean(axis=-1, keepdims=True), -1, 0)
                show_signed(top[column], stack[0])
            show_spectrum(bottom[column], normalised_power(stack, shape))
        word = "kernels" if kind == "kernels" else "beta"
        top[0].set_ylabel(word, fontsize=7, labelpad=2)
        bottom[0].set_ylabel("spectrum", fontsize=7, labelpad=2)
        what = "first-layer kernels" if kind == "kernels" else "effective predictor beta"
        block_title(figure, top[0], f"{regime_name(panel[1])}: {what}")
    finish_mosaic(figure, axes, [looks.column(arm) for arm in arms], [1])
    return figure


def _few(arms: Sequence[str], most: int, looks: Drawn) -> list[str]:
    """At most ``most`` distinct arms, those that differ most from each other first."""
    ordered = looks.in_order(arms)
    typical = [arm for arm in looks.typical if arm in ordered]
    chosen = [*typical, *(arm for arm in ordered if arm not in typical)][:most]
    return looks.in_order(chosen)


def _shown_example(deltas: Sequence[np.ndarray]) -> int:
    """The first example that most arms perturb."""
    if not deltas:
        return 0
    moved = [np.any(np.asarray(delta) != 0, axis=(1, 2, 3)) for delta in deltas]
    num = min(map(len, moved))
    return int(np.argmax(np.sum([m[:num] for m in moved], axis=0))) if num else 0


def _image_shape(spectra: Mapping[str, np.ndarray], dataset: str) -> tuple[int, int] | None:
    for name, array in spectra.items():
        key = schema.parse_array_key(name)
        if key and (key.dataset, key.field) == (dataset, "spectrum"):
            return np.shape(array)[0], np.shape(array)[1]
    return None

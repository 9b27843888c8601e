"""Spectra of perturbations, kernels and predictors: radial profiles and pictures."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
    ARM_NAME,
    BLOCKS,
    GREY,
    PALE,
    STYLE,
    Style,
    arm_style,
    in_order,
    panel_name,
    regime_name,
)


@mpl.rc_context(STYLE)
def radial_profiles(
    spectra: Mapping[str, np.ndarray],
    *,
    init_scale: float = 1.0,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Radial profiles of the perturbations' power, relative to white noise.

    A row per data set and regime; a column per group of arms, by default those of
    `profile_groups`. Lines: geometric mean over live seeds; bands: its 95 % t
    interval. Dashed grey: the images themselves; line at 1: white noise; shaded: beyond 1/2 cycle
    per pixel, where only the corners of the frequency plane lie.
    """
    settings = arrays_of_field(spectra, "profile", init_scale)
    panels = panel_order(settings)
    groups = groups or profile_groups(spectra, init_scale=init_scale) or {"": []}
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
                    mean = _profile_line(ax, frequency, settings[panel][arm], arm_style(arm))
                    floor, ceiling = min(floor, *mean), max(ceiling, *mean)
        row[0].set_ylabel(panel_name(*panel, "\n"))
    for (title, arms), ax in zip(groups.items(), axes[0], strict=True):
        handles = [arm_handle(arm_style(arm), line=True) for arm in arms]
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


def profile_groups(
    spectra: Mapping[str, np.ndarray], *, init_scale: float = 1.0
) -> dict[str, list[str]]:
    """Arms whose profiles are to be compared within one panel, by the factor they differ in."""
    settings = arrays_of_field(spectra, "profile", init_scale)
    arms = [arm for found in settings.values() for arm in found]
    parts = {arm: ARM_NAME.fullmatch(arm) for arm in in_order(arms)}
    known = {arm: match for arm, match in parts.items() if match}
    blocks = [a for a, m in known.items() if m["architecture"] in BLOCKS]
    changed = [a for a, m in known.items() if a not in blocks and any(m.groups()[3:])]
    padded = [a for a in changed if not any(known[a].groups()[4:])]
    varied = [a for a in changed if a not in padded]
    plain = {a: m for a, m in known.items() if a not in (*blocks, *changed)}
    pair = ("fc", "conv")
    shallow = [a for a, m in plain.items() if m["architecture"] in pair and m["depth"] == "1"]
    deep = [
        a for a, m in plain.items() if m["architecture"] == "conv" and m["kernel"] in (None, "k3")
    ]
    fully = [a for a, m in plain.items() if m["architecture"] == "fc"]
    reference = [a for a in ("conv_k3_d1",) if a in plain]
    unshared = [a for a, m in plain.items() if m["architecture"] not in pair]

    def usual(arms: Sequence[str]) -> list[str]:
        """The arms that these vary."""
        names = {arm: arm[: known[arm].end("depth")] for arm in arms}
        return [arm for arm in plain if arm in names.values()]

    groups = {
        "Kernel size": shallow,
        "Depth": [*(fully if len(fully) > 1 else ()), *deep] if len(deep) > 1 else [],
        "Sharing and locality": [*reference, *unshared] if unshared else [],
        "Padding": [*usual(padded), *padded],
        "Channels, optimiser, decay": [*usual(varied), *varied],
        "Blocks": blocks,
    }
    shown = {arm for group in groups.values() for arm in group}
    groups["Other"] = [arm for arm in parts if arm not in shown]
    return {title: group for title, group in groups.items() if group}


@mpl.rc_context(STYLE)
def perturbation_gallery(
    spectra: Mapping[str, np.ndarray], dataset: str, *, init_scale: float = 1.0, max_arms: int = 7
) -> Figure:
    """One image's L2 perturbations by arm, and their 2-D spectra.

    Per regime three rows: the perturbation (grey is no change; each scaled to its own largest
    value), its power spectrum, and the mean spectrum over images and live seeds. Spectra: log10 of
    the power relative to white noise, zero frequency at the centre and left out.
    """
    examples = arrays_of_field(spectra, "examples", init_scale)
    means = arrays_of_field(spectra, "spectrum", init_scale)
    regimes = [panel for panel in panel_order(examples) if panel[0] == dataset]
    arms = _few([arm for panel in regimes for arm in examples[panel]], max_arms)
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
    finish_mosaic(figure, axes, ["image", *(_column_name(arm) for arm in arms)], [1, 2])
    return figure


@mpl.rc_context(STYLE)
def kernels_and_predictors(
    spectra: Mapping[str, np.ndarray], dataset: str, *, init_scale: float = 1.0, max_arms: int = 7
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
    arms = _few([arm for kind, panel in blocks for arm in source[kind][panel]], max_arms)
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
    finish_mosaic(figure, axes, [_column_name(arm) for arm in arms], [1])
    return figure


_TYPICAL = (
    *("fc_d1", "conv_k3_d1", "conv_full_d1", "conv_k3_d3", "locally_connected_k3_d1"),
    *("resnet_k3_d2_same_adam", "vit_d2_adam"),
)


def _few(arms: Sequence[str], most: int) -> list[str]:
    """At most ``most`` distinct arms, those that differ most from each other first."""
    ordered = in_order(arms)
    typical = [arm for arm in _TYPICAL if arm in ordered]
    chosen = [*typical, *(arm for arm in ordered if arm not in typical)][:most]
    return in_order(chosen)


def _column_name(arm: str) -> str:
    """An arm's label on a few lines, for a narrow column."""
    label = arm_style(arm).label.replace("Fully connected", "Fully\nconnected")
    label = label.replace("Locally connected", "Locally\nconnected")
    if arm.startswith(("conv", *BLOCKS)) and ", " in label:
        return label.replace(", ", "\n")
    if "layers" in label:
        return label.replace(", ", "\n", 1)
    return label.replace("Conv ", "Conv\n").replace("Scattered, ", "Scattered\n")


def _shown_example(deltas: Sequence[np.ndarray]) -> int:
    """The first example that most arms perturb."""
    if not deltas:
        return 0
    moved = [np.any(np.asarray(delta) != 0, axis=(1, 2, 3)) for delta in deltas]
    num = min(map(len, moved))
    return int(np.argmax(np.sum([m[:num] for m in moved], axis=0))) if num else 0


def _image_shape(spectra: Mapping[str, np.ndarray], dataset: str) -> tuple[int, int] | None:
    for key, array in spectra.items():
        if key.startswith(f"{dataset}/") and key.endswith(".spectrum"):
            return np.shape(array)[0], np.shape(array)[1]
    return None

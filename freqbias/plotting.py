"""Figures of a study, from its tables and arrays to matplotlib `Figure` objects.

Pure functions: nothing is shown or written (`save` does that), pyplot is not used, and no global
state is left changed. One arm of a study has one colour and marker in every figure (`arm_style`).

Inputs, as an experiment writes them:

- ``rows``: one row per seed, setting and attack, with columns dataset, regime, arm, architecture,
  kernel, kernel_size, depth, init_scale, seed, attack, box, status, mean_frequency and
  null_mean_frequency (cycles per pixel). Rows whose status is not ``ok`` are counted, not plotted.
- ``spectra``: arrays under ``{dataset}/{regime}/{arm}/{init_scale:g}.{field}``, fields ``profile``
  [S, R] and ``spectrum`` [H, W] (normalised power, DC out; the profile times the number of
  frequencies, so that white noise is 1), ``examples`` [n, H, W, C], ``kernels`` [K, K, I, O],
  ``beta`` [H, W, C, classes]; and ``{dataset}.frequency`` [R] (cycles per pixel),
  ``{dataset}.data_profile`` [R], ``{dataset}.example_images`` [n, H, W, C].
- ``claims``: the mappings of ``claims.json``.

Settings, arms and numbers that are missing leave a gap, never an error.
"""

import io
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from freqbias import inference

PAGE_WIDTH = 7.0
"""Width of a figure that spans a page, in inches."""
L2_ATTACKS = ("closed_form_l2", "pgd_l2")
"""The attacks of the primary geometry, the exact one first."""

_INK, _GREY, _PALE = "#1a1a1a", "#6b6b6b", "#e9edf1"
_VERDICT_COLORS = {
    "supported": "#00664a",
    "opposite": "#a33b00",
    "equivalent": "#00558a",
    "inconclusive": "#595959",
    "init-dependent": "#7a3d74",
    "not decided": "#595959",
}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "image.interpolation": "nearest",
    "hatch.linewidth": 0.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
}
"""The look of every figure, for ``matplotlib.rc_context``."""


# --- One look per arm -----------------------------------------------------------------------------


class Style(NamedTuple):
    """How an arm is drawn and named in every figure."""

    label: str
    color: str
    marker: str
    linestyle: Literal["-", "--", "-.", ":"]


_ARM = re.compile(
    r"(fc|conv|locally_connected_tied|locally_connected|scattered_unshared|scattered)"
    r"(?:_(k\d+|full))?_d(\d+)"
)
_FAMILIES = {  # name, colour (Okabe and Ito's colour-blind safe set), marker
    "fc": ("Fully connected", "#000000", "s"),
    "conv": ("Conv", "#0072b2", "o"),
    "locally_connected": ("Locally connected", "#d55e00", "^"),
    "locally_connected_tied": ("Locally connected, tied init", "#e69f00", "v"),
    "scattered": ("Scattered, shared", "#cc79a7", "D"),
    "scattered_unshared": ("Scattered, unshared", "#84376b", ">"),
}
_KERNEL_RAMP = ((np.log2(3), "#0072b2"), (np.log2(7), "#56b4e9"), (np.log2(32), "#009e73"))
_DEPTH_RAMP = {2: "#5e4fa2", 3: "#2e1c63"}
_LINESTYLES: dict[int, Literal["-", "--", "-."]] = {1: "-", 2: "--", 3: "-."}


def arm_style(arm: str) -> Style:
    """The label, colour, marker and line of an arm, e.g. ``conv_k3_d1``.

    The architecture fixes marker and hue; within convolutions the hue runs from blue (K = 3) to
    green (full width), and to violet with depth. Unknown arms are grey, under their own name.
    """
    match = _ARM.fullmatch(arm)
    if match is None:
        return Style(arm.replace("_", " "), _GREY, "X", "-")
    architecture, kernel, depth = match[1], match[2] or "", int(match[3])
    label, color, marker = _FAMILIES[architecture]
    size = "full width" if kernel == "full" else kernel.replace("k", "K=")
    if architecture == "conv":
        label = f"{label} {size}".strip()
        color = _kernel_color(kernel) if depth == 1 else _DEPTH_RAMP.get(depth, _DEPTH_RAMP[3])
    elif size and size != "K=3":
        label = f"{label}, {size}"
    if depth > 1:
        label = f"{label}, {depth} layers"
    return Style(label, color, marker, _LINESTYLES.get(depth, ":"))


def _kernel_color(kernel: str) -> str:
    if not kernel:
        return _FAMILIES["conv"][1]
    if kernel == "full":
        return _KERNEL_RAMP[-1][1]
    positions = [position for position, _ in _KERNEL_RAMP]
    channels = np.array([to_rgb(color) for _, color in _KERNEL_RAMP]).T
    size = np.log2(int(kernel[1:]))
    red, green, blue = (float(np.interp(size, positions, channel)) for channel in channels)
    return to_hex((red, green, blue))


# --- Numbers against architecture -----------------------------------------------------------------


@mpl.rc_context(STYLE)
def arm_overview(rows: pd.DataFrame, *, init_scale: float = 1.0) -> Figure:
    """Mean frequency of the perturbations of every arm, a panel per data set and regime.

    Filled: L2 attack; hollow: L-inf attack. Bars: 95 % t intervals over live seeds; dotted: white
    noise. The share of live seeds stands at the right where some are not.
    """
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    arms = list(dict.fromkeys(rows["arm"]))
    panels = _panels(rows)
    num_cols = min(2, max(1, len(panels)))
    figure, axes = _grid(
        len(panels), num_cols, height=0.55 + 0.2 * len(arms), sharex=True, sharey=True
    )
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        panel = rows[(rows["dataset"] == dataset) & (rows["regime"] == regime)]
        _null_line(ax, panel, vertical=True)
        for y, arm in enumerate(arms):
            style = arm_style(arm)
            for attack, filled, offset in _geometries(panel):
                seeds = panel[(panel["arm"] == arm) & (panel["attack"] == attack)]
                values = _live(seeds)
                if len(values):
                    _point(ax, style, values, y + offset, filled=filled, vertical=False)
                if filled and len(seeds) and len(values) < len(seeds):
                    text = f"{len(values)}/{len(seeds)} live"
                    ax.text(0.99, y, text, fontsize=7, ha="right", va="center",
                            transform=ax.get_yaxis_transform())  # fmt: skip
        ax.set_title(_panel_name(dataset, regime), loc="left", fontweight="bold")
        ax.set_yticks(range(len(arms)), [arm_style(arm).label for arm in arms])
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=_PALE, linewidth=0.8)
        ax.set_axisbelow(True)
    for ax in axes[-num_cols:]:
        ax.set_xlabel("mean frequency (cycles/pixel)")
    return _laid_out(figure, [*_geometry_handles(rows), _null_handle()])


@mpl.rc_context(STYLE)
def frequency_against(
    rows: pd.DataFrame, axis: Literal["kernel_size", "depth"], *, init_scale: float = 1.0
) -> Figure:
    """Mean frequency of convolutional nets against kernel size, or against depth.

    The other factor stays at the level with the most arms. Filled: L2 attack, with every seed as a
    small dot; hollow: L-inf attack. Bars: 95 % t intervals over seeds; black line and band: fully
    connected (of the same depth where depth is fixed); dotted: white noise.

    Raises:
      ValueError: ``axis`` is neither.
    """
    if axis not in ("kernel_size", "depth"):
        raise ValueError(f"axis must be 'kernel_size' or 'depth'; got {axis!r}.")
    rows = rows[np.isclose(rows["init_scale"], init_scale)]
    fixed = "depth" if axis == "kernel_size" else "kernel"
    conv = rows[rows["architecture"] == "conv"]
    fully = rows[rows["architecture"] == "fc"]
    if len(conv):
        conv = conv[conv[fixed] == conv.groupby(fixed)[axis].nunique().idxmax()]
        depths = sorted(set(conv["depth"]))
        fully = fully[fully["depth"] == (depths[0] if depths[0] in set(fully["depth"]) else 1)]
    panels = _panels(rows)
    figure, axes = _grid(len(panels), min(4, max(1, len(panels))), height=2.1, sharey=True)
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        here = _where(dataset, regime)
        _null_line(ax, here(rows), vertical=False)
        _reference_band(ax, here(fully))
        _sweep(ax, here(conv), axis)
        ax.set_title(_panel_name(dataset, regime, "\n"), loc="left", fontweight="bold")
        ax.set_xlabel("kernel size K (pixels)" if axis == "kernel_size" else "hidden layers")
        ax.margins(y=0.12)
    for ax in axes[:: min(4, max(1, len(panels)))]:
        ax.set_ylabel("mean frequency\n(cycles/pixel)")
    handles = [*_geometry_handles(rows, _FAMILIES["conv"][1], "convolutional, "), _null_handle()]
    if len(fully):
        handles.insert(-1, Line2D([], [], color="black", label="fully connected, L2"))
    return _laid_out(figure, handles)


def _sweep(ax: Axes, panel: pd.DataFrame, axis: str) -> None:
    """Points of one panel over the levels of ``axis``, joined."""
    levels = sorted(set(panel[axis]))
    for attack, filled, _ in _geometries(panel):
        line: list[tuple[float, float]] = []
        for level in levels:
            seeds = panel[(panel[axis] == level) & (panel["attack"] == attack)]
            values = _live(seeds)
            if not len(values):
                continue
            style = arm_style(seeds["arm"].iloc[0])
            if filled:
                beside = level * 1.12 if axis == "kernel_size" else level + 0.1
                ax.plot(np.full(len(values), beside), values, ".", color=style.color, alpha=0.4,
                        markersize=3.5, markeredgewidth=0)  # fmt: skip
            mean = _point(ax, style, values, level, filled=filled, vertical=True)
            line.append((level, mean))
        if line:
            ax.plot(*zip(*line, strict=True), color=_FAMILIES["conv"][1], zorder=1,
                    linewidth=1.0, linestyle="-" if filled else (0, (3, 2)), alpha=0.7)  # fmt: skip
    if not levels:
        _say(ax, "not run")
        return
    if axis == "kernel_size":
        names = dict(zip(panel["kernel_size"], panel["kernel"], strict=True))
        ax.set_xscale("log", base=2)
        ax.set_xlim(min(levels) / 1.4, max(levels) * 1.4)
        labels = [f"full\n({k:g})" if names[k] == "full" else f"{k:g}" for k in levels]
        ax.set_xticks(levels, labels)
    else:
        ax.set_xlim(min(levels) - 0.4, max(levels) + 0.4)
        ax.set_xticks(levels)
    ax.minorticks_off()


def _reference_band(ax: Axes, panel: pd.DataFrame) -> None:
    """The fully connected net's mean and interval under L2, across the panel."""
    attacks = [attack for attack, filled, _ in _geometries(panel) if filled]
    values = _live(panel[panel["attack"].isin(attacks)])
    if len(values):
        mean, low, high = _interval(values)
        ax.axhline(mean, color="black", linewidth=1.0, zorder=0.5)
        if np.isfinite(low):
            ax.axhspan(low, high, color="black", alpha=0.12, linewidth=0, zorder=0.4)


@mpl.rc_context(STYLE)
def init_scale_effect(rows: pd.DataFrame, scales: tuple[float, float] = (1.0, 0.5)) -> Figure:
    """Mean frequency (L2) of every arm at one init scale against that at another.

    Bars: 95 % t intervals over seeds. An arm on the diagonal does not depend on the scale.
    """
    panels = _panels(rows)
    num_cols = min(4, max(1, len(panels)))
    figure, axes = _grid(len(panels), num_cols, height=2.55, sharex=True, sharey=True)
    limits: list[float] = []
    drawn: dict[str, Style] = {}
    for ax, (dataset, regime) in zip(axes, panels, strict=False):
        panel = _where(dataset, regime)(rows)
        primary = [attack for attack, filled, _ in _geometries(panel) if filled]
        panel = panel[panel["attack"].isin(primary)]
        none = True
        for arm in dict.fromkeys(panel["arm"]):
            of_arm = panel[panel["arm"] == arm]
            values = [_live(of_arm[np.isclose(of_arm["init_scale"], s)]) for s in scales]
            if min(map(len, values)) == 0:
                continue
            (x, *x_range), (y, *y_range) = map(_interval, values)
            style = drawn[arm] = arm_style(arm)
            ax.plot(x_range, [y, y], color=style.color, linewidth=0.9)
            ax.plot([x, x], y_range, color=style.color, linewidth=0.9)
            ax.plot(x, y, style.marker, color=style.color, markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
            limits += [x, y, *x_range, *y_range]
            none = False
        if none:
            _say(ax, "no two scales")
        ax.axline((0, 0), slope=1, color=_GREY, linewidth=0.7, zorder=0)
        ax.locator_params(nbins=4, steps=[1, 2, 5, 10])
        ax.set_title(_panel_name(dataset, regime, "\n"), loc="left", fontweight="bold")
        ax.set_xlabel(f"at init scale {scales[0]:g}\n(cycles/pixel)")
    if limits:
        low, high = np.nanmin(limits), np.nanmax(limits)
        pad = 0.06 * (high - low) + 1e-3
        axes[0].set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
    for ax in axes[::num_cols]:
        ax.set_ylabel(f"mean frequency\nat init scale {scales[1]:g}")
    return _laid_out(figure, [_handle(style) for style in drawn.values()])


# --- Spectra --------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def radial_profiles(spectra: Mapping[str, np.ndarray], *, init_scale: float = 1.0) -> Figure:
    """Radial profiles of the perturbations' power, relative to white noise.

    A row per data set and regime; columns: kernel size, depth, and weight sharing with locality,
    each with the arms that differ in it. Lines: geometric mean over live seeds; bands: its 95 % t
    interval. Dashed grey: the images themselves; line at 1: white noise; shaded: beyond 1/2 cycle
    per pixel, where only the corners of the frequency plane lie.
    """
    settings = _settings(spectra, "profile", init_scale)
    panels = _panel_order(settings)
    groups = _profile_groups([arm for arms in settings.values() for arm in arms])
    figure, grid = _grid(
        max(1, len(panels)) * len(groups), len(groups), height=1.55, sharex=True, sharey=True
    )
    axes = np.reshape(np.array(grid, dtype=object), (-1, len(groups)))
    floor, ceiling = 1.0, 1.0
    for row, panel in zip(axes, panels, strict=False):
        dataset = panel[0]
        frequency = np.asarray(spectra.get(f"{dataset}.frequency", ()))
        if not frequency.size:
            continue
        keep = frequency > 0
        data = spectra.get(f"{dataset}.data_profile")
        for ax, arms in zip(row, groups.values(), strict=True):
            ax.axvspan(0.5, np.sqrt(0.5), color=_PALE, linewidth=0, zorder=0)
            ax.axhline(1, color=_GREY, linewidth=0.7, zorder=1)
            if data is not None:
                ax.plot(frequency[keep], np.asarray(data)[keep], color=_GREY, linestyle=(0, (3, 2)),
                        linewidth=1.0)  # fmt: skip
            for arm in arms:
                if arm in settings[panel]:
                    mean = _profile_line(ax, frequency, settings[panel][arm], arm_style(arm))
                    floor, ceiling = min(floor, *mean), max(ceiling, *mean)
        row[0].set_ylabel(_panel_name(*panel, "\n"))
    for (title, arms), ax in zip(groups.items(), axes[0], strict=True):
        handles = [_handle(arm_style(arm), line=True) for arm in arms]
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
        Line2D([], [], color=_GREY, linestyle=(0, (3, 2)), linewidth=1, label="the images"),
        Line2D([], [], color=_GREY, linewidth=0.7, label="white noise"),
    ]
    return _laid_out(figure, handles)


def _profile_line(
    ax: Axes, frequency: np.ndarray, profile: np.ndarray, style: Style
) -> list[float]:
    """Draws the profiles [S, R] of one arm; returns the line's finite, positive values."""
    profile = np.asarray(profile, dtype=np.float64)
    live = np.all(np.isfinite(profile), axis=1) & np.any(profile > 0, axis=1)
    keep = (frequency > 0) & np.all(profile[live] > 0, axis=0)
    if not live.any() or not keep.any():
        return [1.0]
    bands = np.array([_interval(ring) for ring in np.log(profile[live][:, keep]).T])
    mean, low, high = np.exp(bands).T
    ax.plot(frequency[keep], mean, color=style.color, linestyle=style.linestyle)
    if np.all(np.isfinite(low)):
        ax.fill_between(frequency[keep], low, high, color=style.color, alpha=0.2, linewidth=0)
    return list(mean)


def _profile_groups(arms: Sequence[str]) -> dict[str, list[str]]:
    """Arms to be compared within one panel, by the factor in which they differ."""
    parts = {arm: _ARM.fullmatch(arm) for arm in dict.fromkeys(arms)}
    known = {arm: match for arm, match in parts.items() if match}
    shallow = [a for a, m in known.items() if m[1] in ("fc", "conv") and m[3] == "1"]
    deep = [a for a, m in known.items() if m[1] == "conv" and m[2] in (None, "k3")]
    reference = [a for a in ("conv_k3_d1",) if a in known]
    unshared = [a for a, m in known.items() if m[1] not in ("fc", "conv")]
    groups = {
        "Kernel size": shallow,
        "Depth": deep if len(deep) > 1 else [],
        "Sharing and locality": [*reference, *unshared] if unshared else [],
    }
    shown = {arm for group in groups.values() for arm in group}
    groups["Other"] = [arm for arm in parts if arm not in shown]
    return {title: group for title, group in groups.items() if group} or {"": []}


@mpl.rc_context(STYLE)
def perturbation_gallery(
    spectra: Mapping[str, np.ndarray], dataset: str, *, init_scale: float = 1.0, max_arms: int = 7
) -> Figure:
    """One image's L2 perturbations by arm, and their 2-D spectra.

    Per regime three rows: the perturbation (grey is no change; each scaled to its own largest
    value), its power spectrum, and the mean spectrum over images and live seeds. Spectra: log10 of
    the power relative to white noise, zero frequency at the centre and left out.
    """
    examples = _settings(spectra, "examples", init_scale)
    means = _settings(spectra, "spectrum", init_scale)
    regimes = [panel for panel in _panel_order(examples) if panel[0] == dataset]
    arms = _few([arm for panel in regimes for arm in examples[panel]], max_arms)
    images = spectra.get(f"{dataset}.example_images")
    figure, axes = _mosaic(3 * len(regimes), 1 + len(arms), group=3)
    for block, panel in enumerate(regimes):
        rows = axes[3 * block : 3 * block + 3]
        index = _shown_example([examples[panel][arm] for arm in arms if arm in examples[panel]])
        if images is not None:
            _show_image(rows[0][0], np.asarray(images)[index])
            _show_spectrum(rows[1][0], _normalised_power(np.asarray(images)[index]))
            _show_spectrum(rows[2][0], _normalised_power(np.asarray(images)))
        for column, arm in enumerate(arms, start=1):
            delta = examples[panel].get(arm)
            mean = means.get(panel, {}).get(arm)
            _show_signed(rows[0][column], None if delta is None else np.asarray(delta)[index])
            _show_spectrum(
                rows[1][column],
                None if delta is None else _normalised_power(np.asarray(delta)[index]),
            )
            _show_spectrum(rows[2][column], None if mean is None else _relative(np.asarray(mean)))
        for ax, text in zip(
            (row[0] for row in rows),
            ("perturbation", "its\nspectrum", "mean\nspectrum"),
            strict=True,
        ):
            ax.set_ylabel(text, fontsize=7, labelpad=2)
        _block_title(figure, rows[0][0], _regime_name(panel[1]))
    _finish_mosaic(figure, axes, ["image", *(_column_name(arm) for arm in arms)], [1, 2])
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
        p: a for p, a in _settings(spectra, "kernels", init_scale).items() if p[0] == dataset
    }
    betas = {p: a for p, a in _settings(spectra, "beta", init_scale).items() if p[0] == dataset}
    blocks = [("kernels", panel) for panel in _panel_order(kernels)]
    blocks += [("beta", panel) for panel in _panel_order(betas)]
    source = {"kernels": kernels, "beta": betas}
    arms = _few([arm for kind, panel in blocks for arm in source[kind][panel]], max_arms)
    shape = _image_shape(spectra, dataset)
    figure, axes = _mosaic(2 * len(blocks), len(arms), group=2)
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
                _show_signed(top[column], _tile(array))
                stack = np.moveaxis(array, -1, 0)
            else:
                stack = np.moveaxis(array - array.mean(axis=-1, keepdims=True), -1, 0)
                _show_signed(top[column], stack[0])
            _show_spectrum(bottom[column], _normalised_power(stack, shape))
        word = "kernels" if kind == "kernels" else "beta"
        top[0].set_ylabel(word, fontsize=7, labelpad=2)
        bottom[0].set_ylabel("spectrum", fontsize=7, labelpad=2)
        what = "first-layer kernels" if kind == "kernels" else "effective predictor beta"
        _block_title(figure, top[0], f"{_regime_name(panel[1])}: {what}")
    _finish_mosaic(figure, axes, [_column_name(arm) for arm in arms], [1])
    return figure


# --- Claims ---------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def claim_forest(claims: Sequence[Mapping[str, Any]]) -> Figure:
    """Effects with their intervals, a panel per claim, against the claim's margin (shaded).

    Filled: L2 attack; hollow: L-inf attack. The verdict stands beside each interval.
    """
    ids = list(dict.fromkeys(str(claim["id"]) for claim in claims))
    panels = _panel_order((str(claim["dataset"]), str(claim["regime"])) for claim in claims)
    attacks = sorted(dict.fromkeys(str(claim["attack"]) for claim in claims), key=is_linf)
    lines = [(panel, linf) for panel in panels for linf in sorted({is_linf(a) for a in attacks})]
    num_cols = min(3, max(1, len(ids)))
    figure, axes = _grid(len(ids), num_cols, height=0.75 + 0.13 * len(lines), sharey=True)
    for ax, name in zip(axes, ids, strict=False):
        members = [claim for claim in claims if claim["id"] == name]
        _forest_panel(ax, members, lines)
        ax.set_yticks(
            [np.mean([y for y, (p, _) in enumerate(lines) if p == panel]) for panel in panels],
            [_panel_name(*panel) for panel in panels],
        )
    return _laid_out(
        figure,
        [
            Line2D([], [], color=_INK, marker="o", markersize=4, label="L2 attack"),
            Line2D([], [], color=_INK, marker="o", markersize=4, markerfacecolor="white",
                   label="L∞ attack"),
            Line2D([], [], color="#cfd6dd", linewidth=6, label="within the margin"),
        ],
    )  # fmt: skip


def _forest_panel(
    ax: Axes, members: Sequence[Mapping[str, Any]], lines: Sequence[tuple[tuple[str, str], bool]]
) -> None:
    """One claim: a line per data set, regime and geometry, empty where it was not tested."""
    first = members[0]
    margin = _number(first.get("margin"))
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color="#dfe5ea", linewidth=0, zorder=0)
    ax.axvline(0, color=_GREY, linewidth=0.7, zorder=1)
    for y, (panel, linf) in enumerate(lines):
        here = [
            claim
            for claim in members
            if (claim["dataset"], claim["regime"], is_linf(claim["attack"])) == (*panel, linf)
        ]
        for claim in sorted(here, key=lambda c: c["attack"] not in L2_ATTACKS[:1])[:1]:
            color = _VERDICT_COLORS.get(claim["verdict"], _INK)
            ax.text(1.02, y, claim["verdict"], color=color, fontsize=7, va="center",
                    transform=ax.get_yaxis_transform())  # fmt: skip
            estimate, low, high = (_number(claim.get(k)) for k in ("estimate", "low", "high"))
            if np.isfinite(estimate):
                ax.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
                ax.plot(estimate, y, "o", color=color, markersize=4,
                        markerfacecolor="white" if linf else color)  # fmt: skip
    ax.set_ylim(len(lines) - 0.3, -0.7)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=3, steps=[1, 2, 5, 10])
    ax.spines["left"].set_visible(False)
    title = textwrap.fill(f"{first['id']}: {first.get('title') or ''}", 34)
    ax.set_title(title, loc="left", fontweight="bold", fontsize=7)
    ax.set_xlabel(f"effect ({first.get('unit') or 'no unit'})", fontsize=7, labelpad=1)


def is_linf(attack: Any) -> bool:
    """Whether an attack, by its name in the rows, is in the L-inf geometry."""
    return "inf" in str(attack).lower()


# --- Files ----------------------------------------------------------------------------------------


def png_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as PNG, without metadata: the same figure gives the same bytes."""
    return _encoded(figure, "png", {"Software": None}, dpi)


def pdf_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as PDF, without dates: the same figure gives the same bytes."""
    return _encoded(figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None}, dpi)


def save(figure: Figure, path_stem: str | os.PathLike, *, dpi: int = 150) -> tuple[Path, Path]:
    """Writes ``path_stem`` + ``.png`` and ``.pdf``, the same bytes for the same figure.

    Args:
      figure: from the functions above.
      path_stem: path without suffix, in a folder that exists.
      dpi: pixels per inch of the PNG, and of images within the PDF.

    Returns:
      The two files.
    """
    stem = Path(path_stem)
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    png.write_bytes(png_bytes(figure, dpi=dpi))
    pdf.write_bytes(pdf_bytes(figure, dpi=dpi))
    return png, pdf


@mpl.rc_context(STYLE)
def _encoded(figure: Figure, kind: str, metadata: dict[str, Any], dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


# --- Parts of panels ------------------------------------------------------------------------------


def _grid(num: int, num_cols: int, *, height: float, **share: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``num`` panels, row by row, laid out without overlap."""
    num_rows = max(1, -(-num // num_cols))
    width = PAGE_WIDTH if num > 1 else 4.0
    figure = Figure(figsize=(width, height * num_rows + 0.45), layout="constrained")
    axes = list(figure.subplots(num_rows, num_cols, squeeze=False, **share).ravel())
    for ax in axes[num:] if num else axes:
        ax.set_axis_off()
    return figure, axes


def _laid_out(figure: Figure, handles: Sequence[Line2D]) -> Figure:
    """Adds the legend and settles the layout, once for all files."""
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=4)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    return figure


def _handle(style: Style, *, line: bool = False) -> Line2D:
    return Line2D(
        [],
        [],
        color=style.color,
        label=style.label,
        linestyle=style.linestyle if line else "none",
        marker=None if line else style.marker,
        markersize=5,
    )


def _null_handle() -> Line2D:
    return Line2D([], [], color=_GREY, linestyle=":", linewidth=1.2, label="white noise")


def _geometry_handles(rows: pd.DataFrame, color: str = _INK, name: str = "") -> list[Line2D]:
    attacks = set(rows["attack"])
    handles = []
    if any(not is_linf(attack) for attack in attacks):
        handles.append(Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1,
                              label=f"{name}L2 attack"))  # fmt: skip
    if any(is_linf(attack) for attack in attacks):
        handles.append(Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1,
                              markerfacecolor="white", linestyle=(0, (3, 2)),
                              label=f"{name}L∞ attack"))  # fmt: skip
    return handles


def _geometries(panel: pd.DataFrame) -> list[tuple[str, bool, float]]:
    """(attack, filled, offset) of the L2 attack shown and of the L-inf attack, where run."""
    attacks = list(dict.fromkeys(panel["attack"]))
    l2 = [a for a in L2_ATTACKS if a in attacks] or [a for a in attacks if not is_linf(a)]
    linf = [attack for attack in attacks if is_linf(attack)]
    both = bool(l2 and linf)
    out = [(attack, True, -0.14 * both) for attack in l2[:1]]
    return out + [(attack, False, 0.16 * both) for attack in linf[:1]]


def _point(
    ax: Axes, style: Style, values: np.ndarray, at: float, *, filled: bool, vertical: bool
) -> float:
    """A mean with its interval at ``at``; returns the mean."""
    mean, low, high = _interval(values)
    bar = ([at, at], [low, high]) if vertical else ([low, high], [at, at])
    point = (at, mean) if vertical else (mean, at)
    ax.plot(*bar, color=style.color, linewidth=1.2, solid_capstyle="butt")
    ax.plot(*point, style.marker, color=style.color, markersize=4.5 if filled else 4,
            markerfacecolor=style.color if filled else "white", markeredgewidth=0.9)  # fmt: skip
    return mean


def _null_line(ax: Axes, panel: pd.DataFrame, *, vertical: bool) -> None:
    if "null_mean_frequency" in panel and panel["null_mean_frequency"].notna().any():
        draw = ax.axvline if vertical else ax.axhline
        draw(panel["null_mean_frequency"].mean(), color=_GREY, linestyle=":", linewidth=1.2)


def _say(ax: Axes, text: str) -> None:
    """A word in the middle of an empty panel."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=7,
            color=_GREY)  # fmt: skip


# --- Parts of image mosaics -----------------------------------------------------------------------

_SPECTRUM_RANGE = 1.5  # decades on either side of white noise


def _mosaic(num_rows: int, num_cols: int, *, group: int) -> tuple[Figure, list[list[Axes]]]:
    """Square cells at fixed places; rows come in groups with a title above each."""
    num_rows, num_cols = max(num_rows, group), max(num_cols, 1)
    left, right, top, bottom, gap, title = 0.42, 0.62, 0.3, 0.3, 0.07, 0.22
    cell = min(0.95, (PAGE_WIDTH - left - right) / num_cols - gap)
    num_groups = num_rows // group
    height = top + bottom + num_rows * (cell + gap) + num_groups * title
    width = left + right + num_cols * (cell + gap)
    figure = Figure(figsize=(width, height))
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
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_linewidth(0.4)
    return figure, axes


def _finish_mosaic(
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


def _block_title(figure: Figure, ax: Axes, text: str) -> None:
    box = ax.get_position()
    figure.text(box.x0, box.y1 + 0.05 / figure.get_size_inches()[1], text, ha="left", va="bottom",
                fontsize=8, fontweight="bold", color=_GREY)  # fmt: skip


def _show_image(ax: Axes, image: np.ndarray) -> None:
    """An image [H, W, C] with values in [0, 1]."""
    ax.imshow(_rgb(image).clip(0, 1))


def _show_signed(ax: Axes, array: np.ndarray | None) -> None:
    """A signed array [H, W, C], scaled to its largest absolute value: grey is 0, NaN white."""
    if array is None or not np.nanmax(np.abs(array), initial=0) > 0:
        _say(ax, "not run" if array is None else "no live\nnetwork")
        return
    scaled = 0.5 + 0.5 * _rgb(array) / np.nanmax(np.abs(_rgb(array)))
    ax.imshow(np.where(np.isnan(scaled), 1.0, scaled).clip(0, 1))


def _show_spectrum(ax: Axes, power: np.ndarray | None) -> None:
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


def _tile(kernels: np.ndarray, most: int = 9) -> np.ndarray:
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


def _normalised_power(images: np.ndarray, shape: Sequence[int] | None = None) -> np.ndarray | None:
    """Mean power [H, W] of images [..., h, w, C], each normalised without DC; 1 is white."""
    spectrum = np.fft.fft2(np.asarray(images, dtype=np.float64), s=shape, axes=(-3, -2))
    power = np.sum(np.abs(spectrum) ** 2, axis=-1)
    power[..., 0, 0] = 0
    power = power.reshape(-1, *power.shape[-2:])
    total = power.sum(axis=(1, 2))
    keep = np.isfinite(total) & (total > 0)
    if not keep.any():
        return None
    return _relative(np.mean(power[keep] / total[keep, None, None], axis=0))


def _relative(power: np.ndarray) -> np.ndarray:
    """Normalised power times the number of frequencies, with DC masked: white noise is 1."""
    relative = np.array(power, dtype=np.float64) * power.size
    relative[0, 0] = np.nan
    return relative


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


# --- Selection and names --------------------------------------------------------------------------


def _settings(
    spectra: Mapping[str, np.ndarray], field: str, init_scale: float
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(dataset, regime) -> arm -> array, of one field at one init scale."""
    out: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    ending = f"/{init_scale:g}.{field}"
    for key, array in spectra.items():
        if key.endswith(ending) and key.count("/") == 3:
            dataset, regime, arm, _ = key.split("/")
            out.setdefault((dataset, regime), {})[arm] = array
    return out


def _panels(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return _panel_order(zip(rows["dataset"], rows["regime"], strict=True))


def _panel_order(panels: Any) -> list[tuple[str, str]]:
    """Distinct (dataset, regime), data sets as they come, linear before ReLU."""
    distinct = list(dict.fromkeys(panels))
    datasets = list(dict.fromkeys(dataset for dataset, _ in distinct))
    return sorted(distinct, key=lambda panel: (datasets.index(panel[0]), panel[1]))


def _where(dataset: str, regime: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows[(rows["dataset"] == dataset) & (rows["regime"] == regime)]


def _few(arms: Sequence[str], most: int) -> list[str]:
    """At most ``most`` distinct arms, fully connected and convolutional ones first."""
    distinct = list(dict.fromkeys(arms))
    return sorted(distinct, key=lambda arm: not arm.startswith(("fc", "conv")))[:most]


def _live(rows: pd.DataFrame) -> np.ndarray:
    """The mean frequencies of the live seeds; where both are there, without the box."""
    rows = rows[(rows["status"] == "ok") & rows["mean_frequency"].notna()]
    if "box" in rows and rows["box"].nunique() > 1:
        rows = rows[~rows["box"].astype(bool)]
    return rows["mean_frequency"].to_numpy(dtype=np.float64)


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and its 95 % t interval over seeds (NaN for a single seed)."""
    if len(values) < 2:
        return float(values[0]), np.nan, np.nan
    estimate = inference.mean_interval(values)
    return estimate.estimate, estimate.low, estimate.high


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def dataset_name(dataset: str) -> str:
    """The name of a data set as people write it."""
    known = {"fashion_mnist_mini": "Fashion-MNIST mini", "natural_patches": "Natural patches"}
    first, *transforms = dataset.split("+")
    return ", ".join([known.get(first, first), *transforms]).replace("_", " ")


def _regime_name(regime: str) -> str:
    return {"linear": "linear", "relu": "ReLU"}.get(regime, regime)


def _panel_name(dataset: str, regime: str, separator: str = ", ") -> str:
    return f"{dataset_name(dataset)}{separator}{_regime_name(regime)}"


def _column_name(arm: str) -> str:
    """An arm's label on two lines, for a narrow column."""
    label = arm_style(arm).label.replace("Fully connected", "Fully\nconnected")
    label = label.replace("Locally connected", "Locally\nconnected")
    if "layers" in label:
        return label.replace(", ", "\n", 1)
    return label.replace("Conv ", "Conv\n").replace("Scattered, ", "Scattered\n")

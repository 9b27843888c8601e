"""Two figures over the plane of frequencies: heat maps of plane waves, and the exact control."""

from collections.abc import Mapping

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from freqbias import spectral
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting.panels import (
    arrays_of_field,
    grid_of_panels,
    laid_out,
    panel_order,
    say,
    seed_interval,
)
from freqbias.plotting.style import GREY, STYLE, UNKNOWN, Drawn, panel_name


@checked
@mpl.rc_context(STYLE)
def heat_maps(
    spectra: Mapping[str, np.ndarray], *, init_scale: float = 1.0, looks: Drawn = UNKNOWN
) -> Figure:
    """Error rate under a plane wave of every frequency, mean over seeds; a row per set and regime.

    Zero frequency is in the centre; colours are shared, from 0 to 1. Above each panel: the arm and
    the mean over all frequencies with its 95 % interval over seeds.
    """
    found = _by_arm(spectra, "heat_map", init_scale)
    rows = panel_order((dataset, regime) for dataset, regime, _ in found)
    arms = list(dict.fromkeys(arm for _, _, arm in found))
    looks, num = looks.with_arms(arms), len(rows) * len(arms)
    figure, axes = grid_of_panels(num, max(1, len(arms)), height=1.75)
    image = None
    for row, panel in enumerate(rows):
        for column, arm in enumerate(arms):
            ax = axes[row * len(arms) + column]
            errors = found.get((*panel, arm))
            ax.set(xticks=[-0.5, 0, 0.5], yticks=[-0.5, 0, 0.5])
            if column == 0:
                ax.set_ylabel(f"{panel_name(*panel)}\nfrequency (cycles/pixel)")
            if row == len(rows) - 1:
                ax.set_xlabel("cycles/pixel")
            if errors is None or not np.isfinite(errors).any():
                say(ax, "not run" if errors is None else "no live\nnetwork")
                continue
            shown = np.fft.fftshift(np.nanmean(errors, axis=0))
            image = ax.imshow(shown, cmap="cividis", vmin=0, vmax=1, extent=_extent(shown.shape))
            mean, low, high = seed_interval(errors.mean(axis=(1, 2)))
            ax.set_title(
                f"{looks[arm].label}\nmean {mean:.2f} [{low:.2f}, {high:.2f}]",
                loc="left",
                fontsize=7,
            )
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, use_gridspec=False)
        bar.set_label("error rate")
    return laid_out(figure, [])


@checked
@mpl.rc_context(STYLE)
def exact_control(
    spectra: Mapping[str, np.ndarray], *, init_scale: float = 1.0, looks: Drawn = UNKNOWN
) -> Figure:
    """Spectra of perturbations on a set, against those on the set with its frequencies permuted.

    A dot per frequency: across, power on the plain set; up, power on ``SET+permuted_SEED`` at the
    frequency to which the permutation took it; both relative to white noise, mean over images and
    seeds. Fully connected networks must lie on the diagonal, up to what differs between seeds;
    networks that know which pixels are neighbours need not. In each panel: the correlation of the
    logarithms.
    """
    found = _by_arm(spectra, "spectrum", init_scale)
    pairs = {}
    for (dataset, regime, arm), power in found.items():
        plain, seed = titles.permutation(dataset) or ("", 0)
        if (plain, regime, arm) in found:
            drawn = spectral.fourier_permutation(jax.random.key(seed), power.shape)
            back = spectral.permute_power(power, spectral.invert_permutation(drawn))
            pairs[plain, regime, arm] = found[plain, regime, arm], np.asarray(back)
    rows = panel_order((dataset, regime) for dataset, regime, _ in pairs)
    arms = list(dict.fromkeys(arm for _, _, arm in pairs))
    looks = looks.with_arms(arms)
    figure, axes = grid_of_panels(
        len(rows) * len(arms), max(1, len(arms)), height=1.9, sharex=True, sharey=True
    )
    for index, ax in enumerate(axes[: len(rows) * len(arms)]):
        panel, arm = rows[index // len(arms)], arms[index % len(arms)]
        style = looks[arm]
        if index < len(arms):
            ax.set_title(style.label, loc="left", fontweight="bold")
        if index % len(arms) == 0:
            ax.set_ylabel(f"{panel_name(*panel)}\npermuted set, mapped back")
        if index >= (len(rows) - 1) * len(arms):
            ax.set_xlabel("plain set (\N{MULTIPLICATION SIGN} white)")
        if (*panel, arm) not in pairs:
            say(ax, "not run")
            continue
        before, after = (power.ravel()[1:] * (power.size - 1) for power in pairs[*panel, arm])
        positive = (before > 0) & (after > 0)
        ax.loglog(before[positive], after[positive], ".", color=style.color, markersize=1.5,
                  alpha=0.5)  # fmt: skip
        ax.axline((1, 1), (2, 2), color=GREY, linewidth=0.7, zorder=0)
        if positive.sum() > 2:
            logs = np.log(before[positive]), np.log(after[positive])
            ax.text(0.04, 0.95, f"r = {np.corrcoef(*logs)[0, 1]:.2f}", fontsize=7, va="top",
                    transform=ax.transAxes)  # fmt: skip
    return laid_out(figure, [])


@checked
def has_exact_control(spectra: Mapping[str, np.ndarray], init_scale: float = 1.0) -> bool:
    """Whether `exact_control` has anything to show."""
    found = _by_arm(spectra, "spectrum", init_scale)
    pairs = ((titles.permutation(dataset) or ("", 0), *rest) for dataset, *rest in found)
    return any((plain, *rest) in found for (plain, _), *rest in pairs)


def _by_arm(
    spectra: Mapping[str, np.ndarray], field: str, init_scale: float
) -> dict[tuple[str, str, str], np.ndarray]:
    """(dataset, regime, arm) -> array, of one field at one initial scale."""
    found = arrays_of_field(spectra, field, init_scale)
    return {(*panel, arm): array for panel, arms in found.items() for arm, array in arms.items()}


def _extent(shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Of an fftshifted plane [H, W], for ``imshow``: pixels centred on their frequencies."""
    first, last = zip(
        *(
            (frequencies[0] - 0.5 / size, frequencies[-1] + 0.5 / size)
            for size in shape
            for frequencies in [np.fft.fftshift(np.fft.fftfreq(size))]
        ),
        strict=True,
    )
    return first[1], last[1], last[0], first[0]

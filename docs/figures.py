"""The figures of these documents: ``python docs/figures.py``, or some by name.

* ``norms``: unit balls for an image of two pixels, and the steepest direction.
* ``attacks``: one image of one trained network under every attack, with spectra.
* ``spectra``: images, their spectra and mean frequencies; what averaging does to the nulls.

Each writes its file beside this one; the same machine gives the same bytes.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import freqbias as fb
from freqbias import plotting
from freqbias.attacks import L0, L1, L2, FourierL1, FourierLinf, Linf, Lp

HERE = Path(__file__).parent
BLUE, ORANGE = "#0072b2", "#d55e00"


def norms() -> Figure:
    """Unit balls in two dimensions: every point at distance 1, and the steepest direction."""
    shown: Mapping[str, Any] = {
        "L1": L1(),
        "L2": L2(),
        "Lp, p = 4": Lp(4.0),
        "L-inf": Linf(),
        "FourierL1": FourierL1(),
        "FourierLinf": FourierLinf(),
        "w = (1, 2)": fb.attacks.weighted_fourier_l2(jnp.array([[1.0, 2.0]])),
    }
    angle = jnp.linspace(0, 2 * np.pi, 121)
    circle = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1).reshape(-1, 1, 2, 1)
    gradient = jnp.array([2.0, 1.0]).reshape(1, 2, 1)
    figure = Figure(figsize=(7, 1.45), layout="constrained")
    for axis, (name, norm) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        ball = np.asarray(circle[:, 0, :, 0] / jax.vmap(norm.value)(circle)[:, None])
        step = np.asarray(norm.steepest(gradient)).ravel()
        axis.fill(*ball.T, facecolor="#e3eef5", edgecolor=BLUE, linewidth=1)
        axis.annotate("", step, (0, 0), arrowprops={"arrowstyle": "-|>", "color": ORANGE})
        axis.set(title=name, aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
        axis.set_axis_off()
    return figure


def attacks() -> Figure:
    """Perturbations of one image by every attack, beside their spectra."""
    key = jax.random.key(0)
    data = fb.data.load("fashion_mnist_mini")
    model = fb.models.ConvNet(
        data.num_classes,
        kernel_size=5,
        channels=8,
        mean=tuple(np.ravel(data.mean).tolist()),
        std=tuple(np.ravel(data.std).tolist()),
    )
    nets = fb.train(
        model,
        data.train,
        seeds=[0],
        key=key,
        epochs=5,
        num_images=4000,
        optimizer=fb.sgd(0.02, 0.9, clip=1.0),
    )
    params = jax.tree.map(lambda leaf: leaf[0], nets.params)
    logits = nets.apply_fn(params, data.test.images[:16])
    where = np.flatnonzero(np.argmax(logits, -1) == data.test.labels[:16])[:1]  # a correct one
    images, labels = data.test.images[where], data.test.labels[where]
    found = {
        name: (norm, attack(nets.apply_fn, params, images, labels, key).delta[0])
        for name, (norm, attack) in _attacks(data.image_shape).items()
    }
    radius = fb.spectral.mean_frequency
    figure = Figure(figsize=(7, 3.9), layout="constrained")
    cells = figure.subfigures(4, 5).ravel()
    pictures = {"the image": (None, jnp.asarray(images[0])), **found}
    for cell, (name, (norm, delta)) in zip(cells, pictures.items(), strict=False):
        size = "" if norm is None else f"{float(norm.value(delta)):.3g}, "
        cell.suptitle(f"{name}\n{size}{float(radius(delta)):.3f}", fontsize=6.5)
        space, frequency = cell.subplots(1, 2)
        largest = float(jnp.abs(delta).max())
        low = 0 if norm is None else -largest
        space.imshow(delta[..., 0], cmap="gray", vmin=low, vmax=largest)
        power = np.fft.fftshift(np.asarray(fb.spectral.normalized_power(delta)))
        frequency.imshow(np.log10(power * power.size + 1e-3), cmap="magma", vmin=-3, vmax=2)
        for axis in (space, frequency):
            axis.set_axis_off()
    return figure


def _attacks(shape: tuple[int, ...]) -> dict[str, tuple[Any, Any]]:
    """Name -> (norm it is measured in, attack)."""
    make = fb.attacks
    steps = {"num_steps": 40}
    sparse = L1(step_fraction=0.02)
    low = make.band_limited(L2(), fb.spectral.band_mask(shape[:2], 0, 0.15))
    return {
        "fgsm, L-inf": (Linf(), make.fgsm(Linf(), epsilon=0.1)),
        "pgd, L-inf": (Linf(), make.pgd(Linf(), epsilon=0.1, **steps)),
        "mi_fgsm, L-inf": (Linf(), make.mi_fgsm(Linf(), epsilon=0.1, **steps)),
        "square, L-inf": (Linf(), make.square(Linf(), epsilon=0.1, num_steps=1000)),
        "pgd, L2": (L2(), make.pgd(L2(), epsilon=1.0, **steps)),
        "apgd, L2": (L2(), make.apgd(L2(), epsilon=1.0, **steps)),
        "frank_wolfe, L2": (L2(), make.frank_wolfe(L2(), epsilon=1.0, **steps)),
        "pgd, L1": (L1(), make.pgd(sparse, epsilon=8.0, **steps)),
        "pgd, FourierL1": (FourierL1(), make.pgd(FourierL1(), epsilon=10.0, **steps)),
        "pgd, FourierLinf": (FourierLinf(), make.pgd(FourierLinf(), epsilon=0.1, **steps)),
        "pgd, L2 below 0.15": (L2(), make.pgd(low, epsilon=1.0, bounds=None, **steps)),
        "ddn, L2": (L2(), make.ddn()),
        "carlini_wagner, L2": (L2(), make.carlini_wagner()),
        "deepfool, L2": (L2(), make.deepfool(L2())),
        "fab, L2": (L2(), make.fab(L2())),
        "brendel_bethge, L2": (L2(), make.brendel_bethge(L2())),
        "fmn, L-inf": (Linf(), make.fmn(Linf())),
        "fmn, L1": (L1(), make.fmn(L1())),
        "fmn, L0": (L0(), make.fmn(L0())),
    }


def spectra() -> Figure:
    """Images beside their spectra, and nulls against the number of images averaged."""
    side, key = 32, jax.random.key(1)
    grid = np.mgrid[:side, :side]
    noise = np.asarray(jax.random.normal(key, (side, side)))
    falling = np.fft.fft2(noise) / np.maximum(fb.spectral.radius_grid((side, side)), 1 / side)
    images = {
        "one wave": np.cos(2 * np.pi * (3 * grid[0] + 4 * grid[1]) / side),
        "a photograph": fb.data.load("natural_patches").test.images[0].mean(-1),
        "1/f noise": np.fft.ifft2(falling).real,
        "white noise": noise,
    }
    figure = Figure(figsize=(7, 2.7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    panels = left.subplots(2, len(images))
    for column, (name, pixels) in zip(panels.T, images.items(), strict=True):
        image = jnp.asarray(pixels, jnp.float32)[..., None]
        power = np.asarray(fb.spectral.normalized_power(image))
        column[0].imshow(image[..., 0], cmap="gray")
        column[0].set_title(f"{name}\n{float(fb.spectral.mean_frequency(image)):.3f}")
        shown = np.log10(np.fft.fftshift(power) * power.size + 1e-3)
        column[1].imshow(shown, cmap="magma", vmin=-3, vmax=2)
        for axis in column:
            axis.set_axis_off()
    counts = (1, 2, 4, 8, 16, 32, 64)
    nulls = [fb.spectral.null((side, side), key=key, averaged=n, num_draws=32) for n in counts]
    axis = right.subplots()
    for name, label, color in (
        ("mean_frequency", "mean frequency", BLUE),
        ("participation_ratio", "participation ratio", ORANGE),
    ):
        values = np.array([float(getattr(null.mean, name)) for null in nulls])
        axis.semilogx(counts, values / values[-1], "o-", color=color, label=label, base=2)
    axis.set(xlabel="images averaged", ylabel="null, of that at 64 images", ylim=(0, 1.1))
    axis.set_xticks(counts, counts)
    axis.legend()
    return figure


def write(name: str) -> Path:
    """Draws a figure into its file."""
    with mpl.rc_context(plotting.STYLE | {"svg.hashsalt": "freqbias", "svg.fonttype": "none"}):
        figure = {"norms": norms, "attacks": attacks, "spectra": spectra}[name]()
        path = HERE / f"{name}.{'svg' if name == 'norms' else 'png'}"
        if path.suffix == ".svg":
            figure.savefig(path, metadata={"Date": None, "Creator": None})
        else:
            path.write_bytes(plotting.png_bytes(figure, dpi=200))
    return path


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ("norms", "spectra", "attacks"):
        print(write(chosen))

"""Robustness by frequency: the same attack in several bands, and the heat map of single waves.

A band is a set of waves, given by a mask of frequencies; an attack in the norm `band_limited` to it
searches among the perturbations that consist of these waves.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.attacks.evaluate import Evaluation, evaluate
from freqbias.attacks.norms import Bounds, Norm, band_limited
from freqbias.attacks.norms.band import check_mask
from freqbias.attacks.protocol import as_bounds, check_range, image_keys, predict
from freqbias.ensemble import Strategy
from freqbias.spectral import fourier
from freqbias.typing import ApplyFn, Array, ArrayLike, Keys, Params


@checked
def band_masks(shape: Sequence[int], edges: Sequence[float]) -> np.ndarray:
    """Masks of rings between consecutive radii; of its two edges a ring has the upper one.

    Args:
      shape: (H, W).
      edges: B + 1 increasing radii, cycles per pixel; if the first is 0, its band has the DC too.

    Returns:
      Boolean masks [B, H, W], fftfreq order, no two of which overlap; with edges from 0 to infinity
      they cover the plane.

    Raises:
      ValueError: fewer than two edges, or not 0 <= low < high for two neighbours.

    Example:
      >>> from freqbias import attacks
      >>> low, high = attacks.band_masks((8, 8), [0, 1 / 4, 1])
      >>> int(low.sum()), int(high.sum())
      (13, 51)
    """
    pairs = list(itertools.pairwise(edges))
    if not pairs or not all(0 <= low < high for low, high in pairs):
        raise ValueError(f"edges must be two or more increasing radii >= 0; got {list(edges)}.")
    return np.stack([fourier.band_mask(shape, *pair) for pair in pairs])


@checked
def evaluate_bands(  # noqa: PLR0917 (an attack and its arguments)
    attack: Any,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Keys,
    *,
    masks: ArrayLike,
    targets: ArrayLike | None = None,
    batch_size: int = 256,
    seeds: Sequence[int] | None = None,
    strategy: Strategy = "auto",
) -> Evaluation:
    """The same attack in each of B bands: robustness resolved by frequency.

    With a minimal attack, ``perturbation.distance`` [B, N] is the smallest epsilon per band and
    image; with a budget, ``robust_accuracy`` [B] is the accuracy left per band. All bands share one
    compilation.

    Args:
      attack: of any `Norm` and with a field ``norm``, e.g. of `smallest_budget` or `pgd`.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``seeds``, leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N].
      key: as in `evaluate`; every band draws alike.
      masks: [B, H, W], e.g. of `band_masks`.
      targets: int [N], for a targeted attack.
      batch_size: images attacked at once.
      seeds: of an ensemble, as in `evaluate`; None for one network.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      An `Evaluation` of leaves [B, ...] or, with ``seeds``, [B, S, ...], on the host.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a mask is wrong (see `band_limited`), or as in `evaluate`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> found = attacks.evaluate_bands(
      ...     attacks.smallest_budget(attacks.L2(), num_steps=3, num_radii=3),
      ...     *attacks.example(),
      ...     jax.random.key(0),
      ...     masks=attacks.band_masks((8, 8), [0, 1 / 4, 1]),
      ... )
      >>> found.perturbation.distance.shape  # [B, N]
      (2, 4)
    """
    _checks.rank("masks", masks, 3)
    if not len(masks):
        raise ValueError("masks must hold at least one; got none.")
    for mask in np.asarray(masks):
        check_mask("masks", mask)
    if not isinstance(getattr(attack, "norm", None), Norm):
        raise TypeError(f"attack must have a norm to limit; got {attack!r}.")
    results = [
        evaluate(
            dataclasses.replace(attack, norm=band_limited(attack.norm, mask)),
            apply_fn,
            params,
            images,
            labels,
            key,
            targets=targets,
            batch_size=batch_size,
            seeds=seeds,
            strategy=strategy,
        )
        for mask in np.asarray(masks)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


@checked
def heat_map(
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Keys | None = None,
    *,
    epsilon: float,
    epsilon_per: Literal["image", "channel"] = "image",
    bounds: Bounds | None = (0.0, 1.0),
    batch_size: int = 1024,
    ensemble: bool = False,
) -> np.ndarray:
    """Error rate under a single plane wave, for every frequency.

    Image n is moved by s_c a cos(2 pi (fy y + fx x)) in channel c, with signs s_c = +-1 and one
    amplitude a, then clipped to the bounds. Of f and -f, which are the same wave, one is computed.

    Args:
      apply_fn: (params, images in [0, 1]) -> logits [N, K]; any standardisation happens inside.
      params: of one network; with ``ensemble``, leaves [S, ...].
      images: [N, H, W, C] within bounds.
      labels: int [N]; the clean predictions instead, to count flips rather than errors.
      key: of the signs, one for each image, channel and frequency, the same for every seed of an
        ensemble; None: all are +1.
      epsilon: L2 norm of the wave, in pixel units: of the whole image, a ||cos||_2 sqrt(C), or of
        one channel, a ||cos||_2.
      epsilon_per: "image" or "channel". Yin et al. state it per channel; the norm of the whole wave
        is then sqrt(C) times as large.
      bounds: (low, high) of a pixel, to which the image under its wave is clipped (what is cut off
        has other frequencies), or None for no clipping.
      batch_size: perturbed images at once.
      ensemble: whether params lead with a seed axis. Seeds are evaluated one after the other.

    Returns:
      Error rates [H, W], fftfreq order, DC (a constant) at [0, 0]; with ``ensemble`` [S, H, W]. An
      image with a logit that is not finite counts as an error.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong.

    Example:
      >>> from freqbias import attacks
      >>> attacks.heat_map(*attacks.example(), epsilon=1.0).shape
      (8, 8)

    Reference:
      Yin et al., A Fourier perspective on model robustness, 1906.08988, section 3 and figure 3.
    """
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=len(images))
    _checks.rank("epsilon", epsilon, 0)
    _checks.positive("epsilon", epsilon)
    _checks.one_of("epsilon_per", epsilon_per, ("image", "channel"))
    _checks.positive_int("batch_size", batch_size)
    bounds = as_bounds(bounds)
    check_range(images, bounds)
    num_images, height, width, channels = np.shape(images)
    images, labels = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    data = _Data(images, labels, None if key is None else image_keys(key, num_images))
    if epsilon_per == "image":
        epsilon = epsilon / np.sqrt(channels)
    flat = np.arange(height * width).reshape(height, width)
    half = flat[flat <= fourier.negate_frequencies(flat)]
    pairs = np.arange(half.size * num_images)
    batch_size = min(batch_size, pairs.size)
    wrong_fn = partial(_is_wrong, apply_fn, bounds=bounds)

    def error_rates(params: Params) -> np.ndarray:
        wrong = []
        for first in range(0, pairs.size, batch_size):
            rows = np.minimum(pairs[0] + first + np.arange(batch_size), pairs.size - 1)
            wave, image = np.divmod(rows, num_images)
            wrong.append(wrong_fn(params, data, _Pairs(half[wave], image), epsilon))
        errors = np.concatenate(wrong)[: pairs.size].reshape(half.size, num_images).mean(axis=1)
        plane = np.zeros(height * width)
        plane[half] = errors
        plane[fourier.negate_frequencies(flat).ravel()[half]] = errors
        return plane.reshape(height, width)

    if not ensemble:
        return error_rates(params)
    num_seeds = len(jax.tree.leaves(params)[0])
    return np.stack([
        error_rates(jax.tree.map(lambda leaf, seed=seed: leaf[seed], params))
        for seed in range(num_seeds)
    ])  # fmt: skip


class _Data(NamedTuple):
    """What the waves are added to."""

    images: Array  # [N, H, W, C]
    labels: Array  # int32 [N]
    keys: Keys | None  # [N], of the signs; None: all are +1


class _Pairs(NamedTuple):
    """Pairs of a wave and an image."""

    waves: Array  # int [B], flat index into the plane
    rows: Array  # int [B], of the images


@partial(jax.jit, static_argnums=0, static_argnames="bounds")
def _is_wrong(
    apply_fn: ApplyFn,
    params: Params,
    data: _Data,
    pairs: _Pairs,
    epsilon: Array,
    *,
    bounds: Bounds | None,
) -> Array:
    """Whether each image under its wave [B] is misclassified."""
    (waves, rows), keys, images = pairs, data.keys, data.images[pairs.rows]
    shift = epsilon.astype(images.dtype) * _plane_waves(waves, images.shape[1:3], images.dtype)
    shift = jnp.broadcast_to(shift[..., None], images.shape)
    if keys is not None:
        drawn = jax.vmap(jax.random.fold_in)(keys[rows], waves)
        draw = partial(jax.random.rademacher, shape=images.shape[-1:], dtype=images.dtype)
        shift = shift * jax.vmap(draw)(drawn)[:, None, None, :]
    moved = images + shift
    if bounds is not None:
        moved = jnp.clip(moved, *bounds)
    return predict(apply_fn(params, moved)) != data.labels[rows]


def _plane_waves(waves: Array, shape: Sequence[int], dtype: jnp.dtype) -> Array:
    """Cosines [B, H, W] of L2 norm 1 and phase 0 at pixel (0, 0); waves are flat indices [B]."""
    height, width = shape
    ky, kx = jnp.divmod(waves, width)
    # The turns of whole pixels are reduced to [0, 1) as integers: exact for any size.
    turn_y = ky[:, None] * jnp.arange(height)[None] % height / height
    turn_x = kx[:, None] * jnp.arange(width)[None] % width / width
    turns = turn_y[:, :, None] + turn_x[:, None, :]
    own_mirror = (2 * ky % height == 0) & (2 * kx % width == 0)
    mean_square = jnp.where(own_mirror, 1.0, 0.5)[:, None, None]
    return (jnp.cos(2 * jnp.pi * turns) / jnp.sqrt(height * width * mean_square)).astype(dtype)

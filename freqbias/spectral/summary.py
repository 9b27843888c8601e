r"""One number per spectrum, and what white noise would give for it.

Every statistic takes images [..., H, W, C] (``domain="pixel"``, the default) or a power spectrum
[..., H, W] (``domain="power"``, e.g. a ``mean_spectrum``), looks at the distribution of power over
frequencies p = P / Σ P, and returns [...]. With n frequencies taking part, at radius r:

====================== ============================== ======= ==============
statistic              definition                     flat p  white noise
====================== ============================== ======= ==============
mean frequency         Σ p r                          mean r  mean r
half-power frequency   weighted median of r           median  about median
band fraction          Σ p over low < r <= high       share   share
entropy                -Σ p ln p, nats                ln n    about ln n - 0.4228
participation ratio    1 / Σ p²                       n       about n/2
Hoyer sparsity         (√n - Σ√p) / (√n - 1)          0       about 0.114 √n / (√n - 1)
====================== ============================== ======= ==============

The first three say *where* the power is, the last three *how concentrated* it is, wherever. The
flat column is a single bright pixel (its spectrum is exactly flat).

**White noise is not flat.** Each P[k] of one white image is the sum of two squared Gaussians, an
exponential variable as large as its mean, and so is never evened out by a larger image. One draw
uses effectively half of the frequencies. Averaging m images (or C channels) evens it out: the
participation ratio is about n · mC / (mC + 1). An entropy below ln n, a participation ratio of n/2
or a Hoyer sparsity of 0.13 is therefore no sign of sparsity until compared with ``null`` for the
same shape, number of channels *and* averaging. Mean frequency has no such bias: by symmetry
E p[k] = 1/n for every k.

**Two choices** are arguments of each statistic:

* ``include_dc``: whether the mean of the image takes part (default: no);
* ``max_radius``, cycles per pixel: frequencies beyond it are dropped *before* normalising.
  ``max_radius=0.5`` is the disc within which all orientations are sampled alike; the corners beyond
  hold 22 % of white noise.

**No spectrum.** A zero image (a minimal perturbation of an image that is already misclassified, the
gradient of a dead network), or without DC a constant one, has no spectrum. Its statistics are NaN,
their derivative is 0, and ``has_power`` / ``SpectralSummary.valid`` is False. Averages over images
must leave it out and say so: ``freqbias.inference.image_means`` does.

Statistics of a mean spectrum are not means of statistics. For those linear in p (mean frequency,
band fraction) the two agree; entropy and participation ratio of an average are larger.

References:
  P. O. Hoyer, Non-negative matrix factorization with sparseness constraints, JMLR 5, 2004,
  section 3.1.
  D. B. Percival, A. T. Walden, Spectral Analysis for Physical Applications, 1993, ch. 6 (the
  distribution of the periodogram of white noise).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from freqbias import _checks
from freqbias._checked import checked
from freqbias.spectral import fourier, profile
from freqbias.typing import Array, ArrayLike, Key, Unit

Domain: TypeAlias = Literal["pixel", "power"]
"""What the first argument of a statistic is: images [..., H, W, C] or power [..., H, W]."""

_CHUNK = 2**20  # pixels drawn at once by the Monte Carlo null


class SpectralSummary(NamedTuple):
    """All statistics of one spectrum; each field [...]."""

    mean_frequency: Array
    mean_frequency_disc: Array  # the same within the disc of radius 1/2 cycles per pixel
    half_power_frequency: Array
    high_fraction: Array  # share of power at radii above ``high``, 1/4 cycles per pixel
    entropy: Array  # nats
    participation_ratio: Array
    hoyer: Array
    valid: Array  # bool: there is power, the statistics mean something


class Null(NamedTuple):
    """Mean and standard deviation of statistics of white noise."""

    mean: Any
    sd: Any


@checked
def mean_frequency(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
    unit: Unit = "cycles/pixel",
) -> Array:
    """Power-weighted mean radius, Σ p r.

    Args:
      x: images [..., H, W, C], or power [..., H, W] if ``domain="power"``.
      domain: "pixel" or "power".
      include_dc: whether the DC takes part.
      max_radius: radius in cycles per pixel beyond which frequencies are dropped; None for none.
      unit: unit of the result.

    Returns:
      [...]; NaN where there is no power.

    Raises:
      TypeError: ``x`` is not float32 or float64.
      ValueError: unknown option, wrong rank, no frequency left, power that is negative or infinite,
        or (outside ``jit``) images that hold NaN or infinity.

    Example:
      A wave of 3 cycles along an image of 32 pixels has mean frequency 3/32.
    """
    return _statistic(_mean_frequency, x, (domain, include_dc, max_radius), unit)


@checked
def half_power_frequency(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
    unit: Unit = "cycles/pixel",
) -> Array:
    """The radius within which half of the power lies: the power-weighted median radius, f50.

    Let r_1 < r_2 < ... be the distinct radii of the plane, q_i the power at radius r_i, and
    c_i = q_1 + ... + q_{i-1} + q_i / 2, the power within r_i when that at r_i itself counts half.
    f50 is where the linear interpolation of the points (r_i, c_i) first reaches 1/2. Counting
    half makes the result exact for a single wave (its own radius, not a point before it) and
    symmetric in low and high. Between two equal peaks with nothing between them any radius is a
    median; then it is the lower end of that gap, up to rounding.

    Args:
      x: as in ``mean_frequency``.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.
      unit: unit of the result and of the interpolation.

    Returns:
      [...]; NaN where there is no power.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``.
    """
    return _statistic(_half_power_frequency, x, (domain, include_dc, max_radius), unit)


@checked
def band_fraction(
    x: ArrayLike,
    low: float | Array,
    high: float | Array,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
) -> Array:
    """Share of the power in the ring low < radius <= high.

    Args:
      x: as in ``mean_frequency``.
      low: cycles per pixel, excluded; 0 for no lower limit (then DC too, if ``include_dc``).
      high: cycles per pixel, included; ``math.inf`` for no upper limit.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.

    Returns:
      [...] in [0, 1]; NaN where there is no power.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``; ValueError unless 0 <= low < high.
    """
    fourier.check_band(low, high)
    return _statistic(_band_fraction, x, (domain, include_dc, max_radius), None, low, high)


@checked
def entropy(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
) -> Array:
    """Spectral entropy in nats, -Σ p ln p, from 0 (one frequency) to ln n (flat).

    The smallest value of a real image is ln 2, for a single wave: k and -k share its power; it is
    0 for a self-conjugate frequency only (Nyquist; DC).

    Args:
      x: as in ``mean_frequency``.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.

    Returns:
      [...]; NaN where there is no power.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``.
    """
    return _statistic(_entropy, x, (domain, include_dc, max_radius))


@checked
def participation_ratio(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
) -> Array:
    """The effective number of frequencies, 1 / Σ p², from 1 (one coefficient) to n (flat).

    Args:
      x: as in ``mean_frequency``.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.

    Returns:
      [...]; NaN where there is no power.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``.
    """
    return _statistic(_participation_ratio, x, (domain, include_dc, max_radius))


@checked
def hoyer(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
) -> Array:
    """Hoyer sparsity of the amplitudes, (√n - l1/l2) / (√n - 1), from 0 (flat) to 1 (one).

    The amplitude is √P (with several channels, the root of the summed power); n is the number of
    frequencies taking part. One white image, of one channel, has about

        (1 - √π / 2) √n / (√n - 1) = 0.114 √n / (√n - 1),

    since E√P = √π / 2 for an exponential P of mean one. So the null depends on the size: 0.130 for
    8 x 8 pixels, 0.118 for 28 x 28, 0.114 for large images. Compare with ``null``.

    Args:
      x: as in ``mean_frequency``.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.

    Returns:
      [...]; NaN where there is no power.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``; ValueError if fewer than two frequencies
      take part.

    Reference:
      Hoyer 2004, section 3.1.
    """
    return _statistic(_hoyer, x, (domain, include_dc, max_radius))


@checked
def has_power(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    max_radius: float | None = None,
) -> Array:
    """Whether the statistics of ``x`` mean something (see "without power" in ``profile``).

    Args:
      x: as in ``mean_frequency``.
      domain: as in ``mean_frequency``.
      include_dc: as in ``mean_frequency``.
      max_radius: as in ``mean_frequency``.

    Returns:
      Boolean [...]: False for a zero image, without DC also for a constant one, and inside ``jit``
      for one that is not finite.

    Raises:
      TypeError, ValueError: as in ``mean_frequency``.
    """
    return _statistic(_valid, x, (domain, include_dc, max_radius))


@checked
def summarize(
    x: ArrayLike,
    *,
    domain: Domain = "pixel",
    include_dc: bool = False,
    high: float = 0.25,
    unit: Unit = "cycles/pixel",
) -> SpectralSummary:
    """All statistics from one transform.

    Args:
      x: images [..., H, W, C], or power [..., H, W] if ``domain="power"``.
      domain: "pixel" or "power".
      include_dc: whether the DC takes part.
      high: radius in cycles per pixel above which power counts as ``high_fraction``.
      unit: unit of the frequencies returned.

    Returns:
      SpectralSummary of arrays [...].

    Raises:
      TypeError, ValueError: as in ``mean_frequency``.
    """
    _checks.positive("high", high)
    return _summarize(_power(x, domain), high, include_dc=bool(include_dc), unit=unit)


@partial(jax.jit, static_argnames=("include_dc", "unit"))
def _summarize(power: Array, high: Any, *, include_dc: bool, unit: Unit) -> SpectralSummary:
    plane = _restrict(power, include_dc, None)
    return SpectralSummary(
        mean_frequency=_mean_frequency(plane, unit),
        mean_frequency_disc=_mean_frequency(_restrict(power, include_dc, 0.5), unit),
        half_power_frequency=_half_power_frequency(plane, unit),
        high_fraction=_band_fraction(plane, None, high, math.inf),
        entropy=_entropy(plane),
        participation_ratio=_participation_ratio(plane),
        hoyer=_hoyer(plane),
        valid=plane.valid,
    )


@checked
def null(
    shape: Sequence[int],
    *,
    key: Key,
    statistic: Callable[[Array], Any] | None = None,
    channels: int = 1,
    averaged: int = 1,
    num_draws: int = 256,
    include_dc: bool = False,
    high: float = 0.25,
    unit: Unit = "cycles/pixel",
) -> Null:
    """What white Gaussian noise gives: mean and sd of statistics of an averaged spectrum.

    One draw is the power of ``averaged`` white images [H, W, channels], each normalised, then
    averaged, as ``mean_spectrum`` does. The null of a statistic of single images has
    ``averaged=1`` (and that of its mean over m independent images the same mean, sd / √m).

    Mean frequencies and the high fraction are linear in p, and exact: in the real Fourier basis
    the noise has n independent, equal coordinates, whose shares are Dirichlet(C/2, ..., C/2), so

        E Σ p r = mean r,   Var Σ p r = var r / (averaged · (n C/2 + 1)),

    with mean and variance of r over the n frequencies taking part. The other statistics are
    simulated, with standard error sd / √num_draws; memory does not grow with ``averaged`` or
    ``num_draws``.

    Args:
      shape: (H, W).
      key: key of the simulation.
      statistic: None for all of ``summarize``, or a function of power [H, W] returning arrays,
        e.g. ``partial(entropy, domain="power", max_radius=0.5)``; it sees power normalised
        according to ``include_dc``, and is simulated whatever it is. Pass the same object again
        to reuse its compilation.
      channels: C.
      averaged: number of images averaged.
      num_draws: number of draws, at least 2.
      include_dc: whether the DC takes part.
      high: as in ``summarize``.
      unit: as in ``summarize``.

    Returns:
      Null(mean, sd), each a SpectralSummary of scalars (with ``valid`` True), or of the structure
      that ``statistic`` returns.

    Raises:
      TypeError: a count is not an int.
      ValueError: a count is too small, or an unknown unit.

    Example:
      >>> found = null((32, 32), key=jax.random.key(0), include_dc=True)
      >>> print(f"{found.mean.mean_frequency:.6f}")
      0.382878
    """
    plane = fourier.check_shape(shape)
    for name, number in (("channels", channels), ("averaged", averaged), ("num_draws", num_draws)):
        _checks.positive_int(name, number)
    if num_draws < 2:
        raise ValueError(f"num_draws must be at least 2 to have a spread; got {num_draws}.")
    mean, sd = _simulate(
        key,
        statistic=statistic or _simulated_summary(include_dc, high, unit),
        shape=plane,
        channels=channels,
        averaged=averaged,
        num_draws=num_draws,
        include_dc=include_dc,
    )
    if statistic is not None:
        return Null(mean, sd)
    radius = fourier.radius_grid(shape, unit=unit)
    keep = _kept(shape, include_dc, None)
    exact = {
        "mean_frequency": (radius, keep),
        "mean_frequency_disc": (radius, _kept(shape, include_dc, 0.5)),
        "high_fraction": (fourier.band_mask(shape, high, math.inf).astype(float), keep),
    }
    moments = {
        name: _linear_moments(values[mask], channels, averaged)
        for name, (values, mask) in exact.items()
    }
    dtype = mean.entropy.dtype
    means = {name: jnp.asarray(m, dtype) for name, (m, _) in moments.items()}
    sds = {name: jnp.asarray(s, dtype) for name, (_, s) in moments.items()}
    valid = jnp.asarray(True)
    return Null(mean._replace(**means, valid=valid), sd._replace(**sds, valid=valid))


class _Shares(NamedTuple):
    """Normalised power and what it was normalised over."""

    p: Array  # [..., H, W], NaN where not valid
    valid: Array  # [...]
    number: int  # frequencies taking part


def _power(x: ArrayLike, domain: Domain) -> Array:
    """Power [..., H, W] of ``x``, up to a factor per image."""
    if domain == "pixel":
        return profile.rescaled_power(x, "x")
    return _rescaled(profile.check_power(x, "x"))


@jax.jit
def _rescaled(power: Array) -> Array:
    """``power`` divided by its largest entry, which derivatives hold constant."""
    largest = jnp.max(lax.stop_gradient(power), axis=(-2, -1), keepdims=True)
    return power / jnp.where(largest > 0, largest, 1)


def _kept(shape: Sequence[int], include_dc: bool, max_radius: float | None) -> np.ndarray:
    """Boolean [H, W]: the frequencies taking part."""
    keep = profile.dc_mask(shape, include_dc)
    if max_radius is not None:
        _checks.positive("max_radius", max_radius)
        keep &= fourier.radius_grid(shape) <= max_radius
    if not keep.any():
        raise ValueError(
            "include_dc and max_radius leave no frequency; got "
            f"shape {tuple(shape)}, include_dc={include_dc}, max_radius={max_radius}."
        )
    return keep


def _restrict(power: Array, include_dc: bool, max_radius: float | None) -> _Shares:
    keep = _kept(power.shape[-2:], include_dc, max_radius)
    return _Shares(*profile.normalize(power, keep), int(keep.sum()))


def _statistic(
    statistic: Callable[..., Array],
    x: ArrayLike,
    restriction: tuple[Domain, bool, float | None],
    unit: Unit | None = None,
    *limits: Any,
) -> Array:
    """One of the private statistics below, of checked arguments."""
    domain, include_dc, max_radius = restriction
    power = _power(x, domain)
    keep = (bool(include_dc), None if max_radius is None else float(max_radius))
    return _jitted(statistic, power, keep, unit, *limits)


@partial(jax.jit, static_argnums=(0, 2, 3))
def _jitted(
    statistic: Callable[..., Array],
    power: Array,
    keep: tuple[bool, float | None],
    unit: Unit | None,
    *limits: Any,
) -> Array:
    return statistic(_restrict(power, *keep), unit, *limits)


def _valid(shares: _Shares, unit: None = None) -> Array:
    return shares.valid


def _weighted(p: Array, weights: Any) -> Array:
    """Σ p · weights over the plane (a sum, not a matmul: accelerators round those)."""
    weights = jnp.asarray(weights, p.dtype)
    return jnp.sum(p * jnp.broadcast_to(weights, p.shape), axis=(-2, -1))


def _mean_frequency(shares: _Shares, unit: Unit) -> Array:
    return _weighted(shares.p, fourier.radius_grid(shares.p.shape[-2:], unit=unit))


def _half_power_frequency(shares: _Shares, unit: Unit) -> Array:
    p = shares.p
    radius = fourier.radius_grid(p.shape[-2:], unit=unit).ravel()
    order = np.argsort(radius, kind="stable")
    rings, first = np.unique(radius[order], return_index=True)
    before = np.append(first, radius.size)  # how many coefficients precede each ring
    within = jnp.cumsum(p.reshape(*p.shape[:-2], order.size)[..., order], axis=-1)
    within = jnp.pad(within, [(0, 0)] * (within.ndim - 1) + [(1, 0)])[..., before]
    middle = (within[..., :-1] + within[..., 1:]) / 2  # c_i of the docstring
    upper = jnp.clip(jnp.sum(middle < 0.5, axis=-1, keepdims=True), 1, max(rings.size - 1, 1))
    if rings.size == 1:  # a single ring: nothing to interpolate
        return jnp.where(shares.valid, jnp.asarray(rings[0], p.dtype), jnp.nan)
    c_low = jnp.take_along_axis(middle, upper - 1, axis=-1)[..., 0]
    c_high = jnp.take_along_axis(middle, upper, axis=-1)[..., 0]
    r_low, r_high = (jnp.asarray(rings, p.dtype)[i[..., 0]] for i in (upper - 1, upper))
    gap = c_high - c_low
    position = jnp.clip((0.5 - c_low) / jnp.where(gap > 0, gap, 1), 0, 1)
    return jnp.where(shares.valid, r_low + position * (r_high - r_low), jnp.nan)


def _band_fraction(shares: _Shares, unit: None, low: Any, high: Any) -> Array:
    return _weighted(shares.p, fourier.band_mask(shares.p.shape[-2:], low, high))


def _entropy(shares: _Shares, unit: None = None) -> Array:
    p = shares.p
    return -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1)), axis=(-2, -1))


def _participation_ratio(shares: _Shares, unit: None = None) -> Array:
    square = jnp.sum(jnp.square(shares.p), axis=(-2, -1))
    return jnp.where(shares.valid, 1 / jnp.where(shares.valid, square, 1), jnp.nan)


def _hoyer(shares: _Shares, unit: None = None) -> Array:
    if shares.number < 2:
        raise ValueError(f"hoyer needs at least two frequencies; got {shares.number}.")
    p = shares.p
    amplitude = jnp.where(p > 0, jnp.sqrt(jnp.where(p > 0, p, 1)), 0)
    root = math.sqrt(shares.number)
    ratio = jnp.sum(amplitude, axis=(-2, -1))  # l1/l2, since Σ p = 1
    return jnp.where(shares.valid, (root - ratio) / (root - 1), jnp.nan)


def _linear_moments(values: np.ndarray, channels: int, averaged: int) -> tuple[float, float]:
    """Mean and sd of Σ p · values for averaged white noise; values [n] of those taking part."""
    spread = values.var() / (averaged * (values.size * channels / 2 + 1))
    return float(values.mean()), float(math.sqrt(spread))


@lru_cache(maxsize=64)  # the same object for the same setting, so that jit knows it again
def _simulated_summary(include_dc: bool, high: float, unit: Unit) -> Callable[[Array], Any]:
    return partial(summarize, domain="power", include_dc=include_dc, high=high, unit=unit)


@partial(jax.jit, static_argnames=("statistic", "shape", "channels", "num_draws", "include_dc"))
def _simulate(
    key: Key,
    *,
    statistic: Callable[[Array], Any],
    shape: tuple[int, int],
    channels: int,
    averaged: int | Array,
    num_draws: int,
    include_dc: bool,
) -> tuple[Any, Any]:
    """Mean and sd over draws of a statistic of averaged white noise."""

    def draw(draw_key: Key) -> Any:
        def add(i: Array, total: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(draw_key, i), (*shape, channels))
            return total + profile.normalized_power(noise, include_dc=include_dc)

        dtype = jnp.result_type(float)
        return statistic(lax.fori_loop(0, averaged, add, jnp.zeros(shape, dtype)))

    at_once = min(num_draws, max(1, _CHUNK // (math.prod(shape) * channels)))
    values = lax.map(draw, jax.random.split(key, num_draws), batch_size=at_once)
    return (
        jax.tree.map(lambda v: jnp.mean(v, axis=0), values),
        jax.tree.map(lambda v: jnp.std(v, axis=0, ddof=1), values),
    )

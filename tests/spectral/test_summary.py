"""One number per spectrum: closed forms, nulls, and what happens where there is no spectrum."""

import itertools
import math
from functools import partial

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from freqbias import spectral
from freqbias.spectral import fourier, summary

STATISTICS = {
    "mean_frequency": spectral.mean_frequency,
    "half_power_frequency": spectral.half_power_frequency,
    "high_fraction": lambda x, **options: spectral.band_fraction(x, 0.25, math.inf, **options),
    "entropy": spectral.entropy,
    "participation_ratio": spectral.participation_ratio,
    "hoyer": spectral.hoyer,
}

KEY = jax.random.key(0)


@partial(jax.jit, static_argnames=("domain", "include_dc"))
def _all(x, **options):
    """Every statistic by its own function, [..., 6]."""
    return jnp.stack([statistic(x, **options) for statistic in STATISTICS.values()], axis=-1)


@partial(jax.jit, static_argnames=("domain", "include_dc"))
def _summary(x, **options):
    return spectral.summarize(x, **options)


def _six(summary):
    return np.stack([getattr(summary, name) for name in STATISTICS], axis=-1)


def _wave(shape, ky, kx, phase=0.3):
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = np.cos(2 * np.pi * (ky * y / shape[0] + kx * x / shape[1]) + phase)
    return np.float32(wave[..., None])


# Closed forms.


@pytest.mark.parametrize("shape", [(27, 27), (16, 24)])
@pytest.mark.parametrize("k", [(0, 3), (3, 4), (-5, 2)])
def test_a_single_wave_has_its_own_frequency_by_mean_and_median(shape, k):
    wave = _wave(shape, *k)
    radius = math.hypot(k[0] / shape[0], k[1] / shape[1])
    assert float(spectral.mean_frequency(wave)) == pytest.approx(radius, rel=1e-4)
    assert float(spectral.half_power_frequency(wave)) == pytest.approx(radius, rel=1e-4)
    per_image = spectral.mean_frequency(wave, unit="cycles/image")
    assert float(per_image) == pytest.approx(math.hypot(*k), rel=1e-4)
    per_image = spectral.half_power_frequency(wave, unit="cycles/image")
    assert float(per_image) == pytest.approx(math.hypot(*k), rel=1e-4)


def test_a_single_wave_is_a_pair_of_coefficients():
    wave = _wave((16, 16), 2, 3)
    n = 255  # without DC
    assert float(spectral.participation_ratio(wave)) == pytest.approx(2, rel=1e-4)
    assert float(spectral.entropy(wave)) == pytest.approx(math.log(2), rel=1e-3)
    expected = (math.sqrt(n) - math.sqrt(2)) / (math.sqrt(n) - 1)
    assert float(spectral.hoyer(wave)) == pytest.approx(expected, rel=1e-3)
    assert float(spectral.band_fraction(wave, 0, 0.25)) == pytest.approx(1, rel=1e-5)


def test_two_waves_weigh_by_power_not_amplitude():
    both = _wave((32, 32), 0, 2) + 2 * _wave((32, 32), 0, 8)
    assert float(spectral.mean_frequency(both, unit="cycles/image")) == pytest.approx(
        (2 + 4 * 8) / 5, rel=1e-4
    )
    # points (2, 1/10), (8, 6/10), on a plateau 1/5 between them: the median is on the last rise
    f50 = float(spectral.half_power_frequency(both, unit="cycles/image"))
    below = float(np.sqrt(61))  # the ring before 8 cycles: hypot(5, 6)
    assert f50 == pytest.approx(below + (0.5 - 0.2) / (0.6 - 0.2) * (8 - below), rel=1e-4)


# Values as derived by hand, cycles per image, of the flat spectrum of N by N.
TABLE = {
    28: dict(mean=10.72294, no_dc=10.73663, disc=9.29757, rms=11.44552,
             bands=(0.04719, 0.19005, 0.77934), entropy=6.66441),
    32: dict(mean=12.25209, no_dc=12.26407, disc=10.60463, rms=13.07670,
             bands=(0.04785, 0.19238, 0.77637), entropy=6.93147),
}  # fmt: skip
_HOYER = partial(spectral.hoyer, domain="power")
PER_PIXEL = {28: (0.382962, 0.383451, 0.332056), 32: (0.382878, 0.383252, 0.331395)}


@pytest.mark.parametrize("size", [28, 32])
def test_the_flat_spectrum_to_five_digits(size, x64):
    row = TABLE[size]
    delta, flat = np.zeros((size, size, 1)), np.ones((size, size))
    delta[3, 5] = 1.0
    for x, domain in [(delta, "pixel"), (flat, "power")]:
        mean = partial(spectral.mean_frequency, x, domain=domain)
        for unit, values, digits in [
            ("cycles/image", (row["mean"], row["no_dc"], row["disc"]), 5e-6),
            ("cycles/pixel", PER_PIXEL[size], 5e-7),
        ]:
            found = (
                mean(include_dc=True, unit=unit),
                mean(unit=unit),
                mean(include_dc=True, max_radius=0.5, unit=unit),
            )
            np.testing.assert_allclose(found, values, rtol=0, atol=digits)
        bands = [
            spectral.band_fraction(x, 0, limit, domain=domain, include_dc=True)
            for limit in (1 / 8, 1 / 4, 1 / 2)
        ]
        np.testing.assert_allclose(bands, row["bands"], rtol=0, atol=5e-6)
        full = dict(domain=domain, include_dc=True)
        np.testing.assert_allclose(spectral.entropy(x, **full), row["entropy"], atol=5e-6)
        np.testing.assert_allclose(spectral.participation_ratio(x, **full), size**2, rtol=1e-9)
        np.testing.assert_allclose(spectral.hoyer(x, **full), 0, atol=1e-9)
    rms = math.sqrt(np.mean(fourier.radius_grid((size, size), unit="cycles/image") ** 2))
    assert rms == pytest.approx(row["rms"], abs=5e-6)
    assert rms == pytest.approx(math.sqrt((size**2 + 2) / 6), rel=1e-12)


# Nulls: against closed forms and against the pipeline itself.


def test_null_of_means_is_the_flat_spectrum_exactly():
    found = spectral.null((9, 8), key=jax.random.key(0), num_draws=2, channels=3)
    flat = _summary(np.ones((9, 8), np.float32), domain="power")
    for name in ("mean_frequency", "mean_frequency_disc", "high_fraction"):
        np.testing.assert_allclose(
            getattr(found.mean, name), getattr(flat, name), rtol=1e-6, err_msg=name
        )


@pytest.mark.parametrize(
    ("channels", "averaged"), [(2, 3), pytest.param(1, 1, marks=pytest.mark.slow)]
)
def test_null_agrees_with_white_images_through_the_pipeline(rng, channels, averaged):
    """Two routes: the null, and 2,000 white data sets put through ``mean_spectrum``."""
    images = rng.standard_normal((2000, averaged, 12, 10, channels), np.float32)
    spectra = spectral.mean_spectrum(images, axis=1)
    sampled = spectral.summarize(spectra, domain="power")
    found = spectral.null(
        (12, 10), key=jax.random.key(7), channels=channels, averaged=averaged, num_draws=2000
    )
    for name in spectral.SpectralSummary._fields[:-1]:
        values, mean, sd = (np.asarray(getattr(s, name)) for s in (sampled, found.mean, found.sd))
        error = sd * math.sqrt(2 / 2000)
        assert abs(values.mean() - mean) < 4 * error, name
        assert values.std() == pytest.approx(sd, rel=0.1), name


@pytest.mark.parametrize(
    ("size", "entropy", "participation", "sd"),
    [pytest.param(28, 6.241, 393, 0.0071, marks=pytest.mark.slow), (32, 6.507, 512, 0.0065)],
)
def test_white_noise_is_far_from_flat(size, entropy, participation, sd):
    """One white image uses half of its frequencies; every random weight looks that 'sparse'."""
    found = spectral.null((size, size), key=jax.random.key(1), include_dc=True)
    assert float(found.mean.entropy) == pytest.approx(entropy, abs=0.006)
    assert float(found.mean.participation_ratio) == pytest.approx(participation, rel=0.012)
    assert float(found.mean.hoyer) == pytest.approx(0.118, abs=0.0015)
    assert float(found.sd.mean_frequency) == pytest.approx(sd, rel=0.05)
    assert float(found.mean.mean_frequency) == pytest.approx(PER_PIXEL[size][0], abs=5e-7)
    n = size**2
    root = math.sqrt(n)
    assert float(found.mean.entropy) == pytest.approx(math.log(n) - 0.4228, abs=0.01)
    assert float(found.mean.participation_ratio) == pytest.approx(n**2 / (2 * n + 4), rel=0.012)
    hoyer = root * (1 - math.sqrt(math.pi) / 2) / (root - 1)
    assert float(found.mean.hoyer) == pytest.approx(hoyer, abs=0.0015)


@pytest.mark.parametrize(("size", "expected"), [(8, 0.130), (28, 0.118), (96, 0.115)])
def test_the_hoyer_null_depends_on_the_size(size, expected):
    """(1 - sqrt(pi) / 2) sqrt(n) / (sqrt(n) - 1): no single number is the null of all sizes."""
    root = math.sqrt(size**2 - 1)  # without the DC
    assert (1 - math.sqrt(math.pi) / 2) * root / (root - 1) == pytest.approx(expected, abs=5e-4)
    found = spectral.null((size, size), key=jax.random.key(2), statistic=_HOYER, num_draws=1000)
    error = float(found.sd) / math.sqrt(1000)
    # Self-conjugate frequencies, 3 of n, have an E sqrt P of sqrt(2 / pi) instead of sqrt(pi) / 2.
    conjugate = 3 / root**2 * (math.sqrt(math.pi) / 2 - math.sqrt(2 / math.pi)) * root / (root - 1)
    assert float(found.mean) == pytest.approx(expected + conjugate, abs=4 * error + 1e-3)


@pytest.mark.slow
def test_entropy_null_against_the_dirichlet_integral():
    """E[-p ln p] is known: pairs hold Beta(1, ·) of the power, self-conjugates Beta(1/2, ·)."""
    n, alone = 81, 1  # 9 by 9: DC alone is self-conjugate
    pairs = (n - alone) // 2
    total = n / 2
    pair = (2 / n) * (digamma(2) - digamma(total + 1) - math.log(2))
    single = (1 / n) * (digamma(1.5) - digamma(total + 1))
    expected = -(pairs * pair + alone * single)
    found = spectral.null((9, 9), key=jax.random.key(3), include_dc=True, num_draws=4000)
    error = float(found.sd.entropy) / math.sqrt(4000)
    assert abs(float(found.mean.entropy) - expected) < 4 * error


@pytest.mark.parametrize(
    ("channels", "averaged", "participation"),
    [pytest.param(1, 1, 512, marks=pytest.mark.slow), (3, 1, 768), (1, 512, 1022)],
)
def test_averaging_evens_white_noise_out(channels, averaged, participation):
    """n · mC / (mC + 1) of n = 1,024, DC included: averaging alone makes spectra look less sparse.

    (A single draw of the first scatters by 23: 527 is such a draw.)
    """
    found = spectral.null(
        (32, 32),
        key=jax.random.key(2),
        channels=channels,
        averaged=averaged,
        include_dc=True,
        num_draws=16 if averaged > 1 else 256,
    )
    mean, sd = (float(s.participation_ratio) for s in found)
    assert mean == pytest.approx(participation, rel=0.01 if averaged == 1 else 0.0005)
    m = channels * averaged
    assert mean == pytest.approx(1024 * m / (m + 1), rel=0.01 if averaged == 1 else 0.0005)
    if m == 1:
        assert sd == pytest.approx(23, rel=0.2)


def test_null_of_a_given_statistic_and_of_the_same_key():
    statistic = partial(spectral.mean_frequency, domain="power", max_radius=0.5)
    options = dict(statistic=statistic, averaged=3, num_draws=1000)
    found = spectral.null((12, 12), key=jax.random.key(0), **options)
    exact = spectral.null((12, 12), key=jax.random.key(0), averaged=3, num_draws=2)
    error = float(found.sd) / math.sqrt(1000)
    assert abs(float(found.mean) - float(exact.mean.mean_frequency_disc)) < 4 * error
    assert float(found.sd) == pytest.approx(float(exact.sd.mean_frequency_disc), rel=0.1)
    assert spectral.null((12, 12), key=jax.random.key(0), **options) == found


# Properties.


@pytest.mark.parametrize("include_dc", [False, True])
def test_pixel_and_power_domain_and_summary_agree(rng, include_dc):
    images = rng.standard_normal((3, 9, 8, 2), np.float32) + np.float32(0.5)
    pixel = _all(images, include_dc=include_dc)
    power = _all(spectral.power_spectrum(images), domain="power", include_dc=include_dc)
    assert pixel.shape == (3, 6)
    np.testing.assert_allclose(pixel, power, rtol=1e-5)
    together = _summary(images, include_dc=include_dc)
    np.testing.assert_allclose(_six(together), pixel, rtol=1e-5)
    disc = spectral.mean_frequency(images, include_dc=include_dc, max_radius=0.5)
    np.testing.assert_allclose(together.mean_frequency_disc, disc, rtol=1e-5)
    assert together.valid.all()


@pytest.mark.parametrize("shape", [(8, 8), (6, 11)])
def test_transposed_shifted_and_negated_images_have_the_same_statistics(rng, shape):
    image = rng.standard_normal((*shape, 2), np.float32)
    variants = np.stack(
        [image, -image, np.roll(image, (2, 3), (0, 1)), image[::-1, ::-1], image[..., ::-1]]
    )
    found = np.asarray(_all(variants))
    np.testing.assert_allclose(found[1:], np.tile(found[:1], (4, 1)), rtol=2e-4, atol=1e-6)
    transposed = _all(np.swapaxes(variants, 1, 2))
    np.testing.assert_allclose(transposed, found, rtol=2e-4, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float32, (5, 6, 2), elements=st.floats(-1, 1, width=32)),
    st.integers(-60, 60),
)
def test_scale_does_not_matter(image, exponent):
    image = np.round(image, 3)  # far from the smallest float32, so that scaling is exact
    scaled = image * np.float32(2.0**exponent)
    for a, b in zip(_summary(scaled), _summary(image), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, (6, 5), elements=st.floats(0, 1, width=32)))
def test_statistics_stay_in_their_ranges(power):
    power[1, 1] += 1.0  # some power
    found = _summary(power, domain="power", include_dc=True)
    assert 0 <= found.mean_frequency <= 1 / math.sqrt(2)
    assert 0 <= found.half_power_frequency <= 1 / math.sqrt(2)
    assert 0 <= found.high_fraction <= 1 + 1e-6
    assert -1e-6 <= found.entropy <= math.log(30) + 1e-5
    assert 1 - 1e-5 <= found.participation_ratio <= 30 * (1 + 1e-5)
    assert -1e-5 <= found.hoyer <= 1 + 1e-5


@pytest.mark.parametrize("shape", [(9, 14)])
def test_half_power_frequency_by_another_route(rng, shape):
    """np.interp through the points (cumulative power, counting half of each ring; radius)."""
    images = rng.standard_normal((20, *shape, 1), np.float32)
    found = np.asarray(spectral.half_power_frequency(images))
    p = np.asarray(spectral.normalized_power(images), float).reshape(20, -1)
    rings, ring = np.unique(fourier.radius_grid(shape), return_inverse=True)
    for i in range(20):
        at = np.bincount(ring.ravel(), p[i])
        assert found[i] == pytest.approx(np.interp(0.5, np.cumsum(at) - at / 2, rings), rel=1e-4)


def test_bands_add_up_and_min_max_scaling_only_moves_the_dc(rng):
    images = rng.standard_normal((8, 8, 1), np.float32)
    cuts = [0, 0.1, 0.3, 0.5, math.inf]
    parts = [float(spectral.band_fraction(images, *cut)) for cut in itertools.pairwise(cuts)]
    assert sum(parts) == pytest.approx(1, abs=1e-6)
    scaled = (images - images.min()) / (images.max() - images.min())
    without = [float(spectral.mean_frequency(x)) for x in (images, scaled)]
    assert without[0] == pytest.approx(without[1], rel=1e-4)
    with_dc = [float(spectral.mean_frequency(x, include_dc=True)) for x in (images, scaled)]
    assert with_dc[1] < with_dc[0] / 2  # the DC such scaling makes would pass for low frequency


# Where there is no spectrum.


@pytest.mark.parametrize("domain", ["pixel", "power"])
@pytest.mark.parametrize("include_dc", [False, True])
def test_no_power_is_nan_with_a_slope_of_zero(domain, include_dc):
    """Zero images, and constant ones, whose Fourier coefficients are not exactly zero."""
    constants = np.float32([0.0, 0.3, -0.7])
    x = np.tile(constants[:, None, None, None], (1, 7, 31, 1))
    if domain == "power":
        x = spectral.power_spectrum(x)
    options = dict(domain=domain, include_dc=include_dc)
    weights = np.float32([1.0, -2.0, 3.0, -5.0, 7.0, -11.0])  # no sum of these hides a slope

    def weighted(x):
        values = _all(x, **options)
        return jnp.sum(values * weights[None]), values

    slope, values = jax.device_get(jax.jit(jax.grad(weighted, has_aux=True))(x))
    without = np.array([True, not include_dc, not include_dc])
    np.testing.assert_array_equal(np.isnan(values), np.tile(without[:, None], 6))
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[without], 0)
    np.testing.assert_array_equal(spectral.has_power(x, **options), ~without)
    outside_jit = [statistic(x, **options) for statistic in STATISTICS.values()]
    np.testing.assert_array_equal(np.isnan(np.stack(outside_jit, -1)), np.isnan(values))


def test_a_summary_of_nothing_is_nan_in_every_field(rng):
    images = rng.standard_normal((2, 8, 8, 1), np.float32)
    images[0] = 0
    for found in (spectral.summarize(images), jax.jit(spectral.summarize)(images)):
        assert found.valid.tolist() == [False, True]
        for name, values in zip(found._fields[:-1], found[:-1], strict=True):
            assert np.isnan(values).tolist() == [True, False], name


def test_half_of_a_single_ring_is_nan_without_power():
    """Where one ring is all there is, nothing is interpolated."""
    options = dict(max_radius=0.26)
    wave = _wave((4, 4), 0, 1)
    found = np.asarray(spectral.half_power_frequency(np.stack([0 * wave, wave]), **options))
    assert np.isnan(found[0])
    assert float(found[1]) == pytest.approx(0.25)


def test_the_spectrum_of_nothing_has_no_statistics(rng):
    """A seed of whose images none has power: its mean spectrum is NaN, and so is all from there."""
    delta = rng.standard_normal((2, 3, 8, 8, 1), np.float32)
    delta[1] = 0
    spectra = spectral.mean_spectrum(delta, axis=1)
    found = spectral.summarize(spectra, domain="power")
    assert found.valid.tolist() == [True, False]
    assert np.isnan(found.mean_frequency).tolist() == [False, True]


def test_concrete_power_is_checked_inside_jit_too():
    """The values of a constant can be read under a trace; they were once traced by the check."""
    power = np.ones((4, 4), np.float32)
    found = jax.jit(lambda scale: scale * spectral.entropy(power, domain="power"))(1.0)
    assert float(found) == pytest.approx(math.log(15), rel=1e-5)


@pytest.mark.parametrize("size", [28, 32, 31, 227])
def test_the_rounding_of_a_constant_image_is_no_power(size):
    levels = np.linspace(0.01, 1, 8, dtype=np.float32)
    images = np.tile(levels[:, None, None, None], (1, size, size, 1))
    assert not np.any(spectral.has_power(images))
    images[:, 0, 0] *= 1.01  # one pixel off by one per cent is a pattern
    assert np.all(spectral.has_power(images))


def test_gradients_are_finite_and_right(rng, x64):
    image, direction = rng.standard_normal((2, 5, 6, 1))
    jacobian = jax.jit(jax.jacrev(_all))
    slope = np.sum(np.asarray(jacobian(image)) * direction[None], axis=(1, 2, 3))
    step = 1e-6
    above, below = (np.asarray(_all(image + sign * step * direction)) for sign in (1, -1))
    np.testing.assert_allclose(slope, (above - below) / step / 2, rtol=1e-5, atol=1e-8)
    wave = np.float64(_wave((5, 6), 0, 2))  # most coefficients are zero
    assert np.isfinite(jacobian(wave)).all()


def test_one_bad_image_of_a_batch_leaves_the_others_as_alone(rng):
    """Inside jit, where its values cannot be read."""
    images = rng.standard_normal((3, 8, 8, 1), np.float32)
    images[1] = np.nan
    found = jax.device_get(jax.jit(spectral.summarize)(images))
    assert found.valid.tolist() == [True, False, True]
    alone = spectral.summarize(images[2])
    for batch, single in zip(found[:-1], alone[:-1], strict=True):
        assert np.isnan(batch[1])
        np.testing.assert_allclose(batch[2], single, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("statistic", [*STATISTICS.values(), spectral.has_power])
def test_images_that_are_not_finite_are_refused(statistic, bad):
    images = np.ones((2, 4, 4, 1), np.float32)
    images[1, 2, 3, 0] = bad
    with pytest.raises(ValueError, match="x must be finite"):
        statistic(images)


# Transformations and precision.


def test_float32_agrees_with_float64(rng, x64):
    images = rng.standard_normal((4, 28, 28, 1))
    double = _summary(images)
    single = _summary(np.float32(images))
    for name in spectral.SpectralSummary._fields[:-1]:
        wide, narrow = getattr(double, name), getattr(single, name)
        assert (wide.dtype, narrow.dtype) == (jnp.float64, jnp.float32)
        np.testing.assert_allclose(narrow, wide, rtol=2e-5, err_msg=name)


def test_jit_and_vmap_change_nothing(rng):
    images = rng.standard_normal((2, 3, 7, 8, 2), np.float32)
    batched = spectral.summarize(images)
    for a, b in zip(batched, jax.jit(jax.vmap(jax.vmap(spectral.summarize)))(images), strict=True):
        assert a.shape == (2, 3)
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_new_averaging_does_not_recompile():
    spectral.null((5, 5), key=jax.random.key(0), averaged=2, num_draws=3)
    size = summary._simulate._cache_size()
    spectral.null((5, 5), key=jax.random.key(1), averaged=9, num_draws=3)
    assert summary._simulate._cache_size() == size


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: spectral.mean_frequency(x, domain="fourier"), ValueError, "domain"),
        (lambda x: spectral.mean_frequency(x, unit="hertz"), ValueError, "unit"),
        (lambda x: spectral.mean_frequency(x, max_radius=-1.0), ValueError, "max_radius"),
        (lambda x: spectral.mean_frequency(x, max_radius=0.01), ValueError, "no frequency"),
        (lambda x: spectral.mean_frequency(x[..., 0, 0]), ValueError, "x must be"),
        (lambda x: spectral.mean_frequency(x.astype(int)), TypeError, "x must be"),
        (lambda x: spectral.entropy(x[..., 0] - 2, domain="power"), ValueError, "negative"),
        (lambda x: spectral.entropy(x[..., 0] / 0, domain="power"), ValueError, "infinite"),
        (lambda x: spectral.summarize(x * jnp.nan), ValueError, "x must be finite"),
        (lambda x: spectral.band_fraction(x, 0.3, 0.2), ValueError, "low"),
        (lambda x: spectral.hoyer(x[:1, :2]), ValueError, "two frequencies"),
        (
            lambda x: spectral.null((4, 4), key=KEY, averaged=0),
            ValueError,
            "averaged",
        ),
        (
            lambda x: spectral.null((4, 4), key=KEY, channels=1.5),
            TypeError,
            "channels",
        ),
        (
            lambda x: spectral.null((4, 4), key=KEY, num_draws=1),
            ValueError,
            "num_draws",
        ),
        (lambda x: spectral.null((4,), key=KEY), ValueError, "shape"),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call(jnp.ones((4, 4, 1)))

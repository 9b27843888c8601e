"""Localisation: the published table, then a second route to each number, then properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.signal.windows import dpss

from freqbias.spectral import radius_grid
from freqbias.theory import localization as loc


def printed(text: str) -> tuple[float, float]:
    """A printed figure and half a unit of its last digit."""
    decimals = len(text.split(".")[1])
    return float(text), 0.5001 * 10.0**-decimals


TABLE = [  # N, K, energy in r <= N/8, energy in r <= N/4, least and greatest mean radius
    (28, 1, ".0472", ".1901", ".383", ".383"),
    (28, 2, ".1754", ".5643", ".232", ".509"),
    (28, 3, ".3505", ".8353", ".167", ".564"),
    (28, 5, ".6897", ".9874", ".107", ".616"),
    (28, 7, ".8875", ".99935", ".078", ".641"),
    (28, 9, ".9654", ".99997", ".061", ".656"),
    (28, 14, ".9988", "1.", ".039", ".676"),
    (32, 3, ".3537", ".8395", ".167", ".564"),
    (32, 5, ".6923", ".9882", None, None),
    (32, 7, ".8889", ".9994", None, None),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"N{row[0]}K{row[1]}")
def test_the_table_of_a_small_kernel_s_limits(row):
    """A small kernel forces a minimum of high frequency and does not forbid more."""
    size, taps, eighth, quarter, low, high = row
    shape = (size, size)
    for text, radius in [(eighth, 1 / 8), (quarter, 1 / 4)]:
        value, tolerance = printed(text if text != "1." else "1.0000")
        got = loc.band_energy_range(taps, shape, radius).maximum
        assert abs(got - value) <= tolerance
    if low is not None:
        got = loc.mean_frequency_range(taps, shape)
        assert abs(got.minimum - printed(low)[0]) <= printed(low)[1]
        assert abs(got.maximum - printed(high)[0]) <= printed(high)[1]


def test_prolate_matrix_has_the_dirichlet_closed_form():
    """One dimension: B_ij = sin(pi (2W+1)(i-j)/N) / (N sin(pi (i-j)/N))."""
    size, taps, half_width = 28, 6, 3
    lag = np.subtract.outer(np.arange(taps), np.arange(taps)).astype(float)
    with np.errstate(invalid="ignore"):
        form = np.sin(np.pi * (2 * half_width + 1) * lag / size) / (
            size * np.sin(np.pi * lag / size)
        )
    form[np.diag_indices(taps)] = (2 * half_width + 1) / size
    got = loc.band_energy_range((1, taps), (1, size), half_width / size)
    values = np.linalg.eigvalsh(form)
    np.testing.assert_allclose([got.minimum, got.maximum], values[[0, -1]], atol=1e-14)


def test_periodic_prolate_tends_to_slepian_s():
    got = loc.band_energy_range((1, 7), (1, 4096), 1 / 8).maximum
    assert abs(got - 0.96651) < 5e-6
    (slepian,) = dpss(7, 7 / 8, 1, return_ratios=True)[1]
    assert abs(slepian - 0.96635) < 5e-6
    far = loc.band_energy_range((1, 7), (1, 2**16), 1 / 8).maximum
    assert abs(far - slepian) < abs(got - slepian) / 10


def test_square_band_is_the_square_of_the_line():
    square = loc.band_energy_range(5, (28, 28), 3 / 28, band="square").maximum
    line = loc.band_energy_range((1, 5), (1, 28), 3 / 28).maximum
    assert abs(square - 0.781775) < 5e-7
    assert abs(square - line**2) < 1e-13


def test_taps_and_band_are_dual():
    """K taps into 2W + 1 frequencies concentrate as 2W + 1 taps into K frequencies."""
    one = loc.band_energy_range((1, 7), (1, 28), 2 / 28).maximum
    other = loc.band_energy_range((1, 5), (1, 28), 3 / 28).maximum
    assert abs(one - other) < 1e-13


@pytest.mark.parametrize("include_dc", [True, False])
@pytest.mark.parametrize("taps", [1, 3, (2, 4), 8])
def test_extremal_kernels_attain_the_range_and_random_ones_stay_within(taps, include_dc):
    shape = (8, 8)
    found = loc.mean_frequency_range(taps, shape, include_dc=include_dc)
    with jax.enable_x64(True):
        for kernel, value in [(found.minimizer, found.minimum), (found.maximizer, found.maximum)]:
            got = loc.kernel_mean_frequency(kernel[..., None, None], shape, include_dc=include_dc)
            np.testing.assert_allclose(got, value, atol=1e-12)
        random = np.random.default_rng(0).standard_normal((200, *found.minimizer.shape, 2, 3))
        got = np.asarray(loc.kernel_mean_frequency(random, shape, include_dc=include_dc))
        slack = np.asarray(loc.kernel_slack(random, shape, include_dc=include_dc))
    assert found.minimum - 1e-12 <= got.min() and got.max() <= found.maximum + 1e-12
    np.testing.assert_allclose(slack, got - found.minimum, atol=1e-14)


def test_a_kernel_as_large_as_the_image_reaches_every_frequency():
    found = loc.mean_frequency_range(10, (10, 10))
    assert abs(found.minimum) < 1e-12 and abs(found.maximum - np.sqrt(0.5)) < 1e-12
    without = loc.mean_frequency_range(10, (10, 10), include_dc=False)
    assert abs(without.minimum - 1 / 10) < 1e-12 and abs(without.maximum - np.sqrt(0.5)) < 1e-12
    assert abs(loc.mean_frequency_range(1, (28, 28), include_dc=False).minimum - 0.383451) < 5e-7


def test_kernel_mean_frequency_is_one_number_per_layer():
    """Power is summed over channels before the mean: the loudest channel weighs most."""
    delta = np.zeros((3, 3))
    delta[1, 1] = 1.0
    shape = (28, 28)
    smooth = loc.mean_frequency_range(3, shape).minimizer
    kernel = jnp.asarray(np.stack([3 * smooth, delta], -1)[:, :, None, :], jnp.float32)
    got = loc.kernel_mean_frequency(kernel, shape)
    smooth_frequency = loc.mean_frequency_range(3, shape).minimum
    np.testing.assert_allclose(got, (9 * smooth_frequency + 0.3829621) / 10, rtol=1e-5)
    batched = loc.kernel_mean_frequency(jnp.stack([kernel, 2 * kernel]), shape)
    np.testing.assert_allclose(batched, [got, got], rtol=1e-6)
    slack = jax.jit(lambda k: loc.kernel_slack(k, shape))(kernel)
    np.testing.assert_allclose(slack, got - smooth_frequency, rtol=1e-4)


def test_contiguous_support_bound_is_attained():
    """K - 1 zeros per line, at the N-th roots of unity: 25 of 49 frequencies left."""
    roots = np.exp(2j * np.pi * np.array([1, -1]) / 7)
    line = np.poly(roots).real
    response = np.abs(np.fft.fft2(np.outer(line, line), (7, 7)))
    assert np.sum(response > 1e-9) == 25 == loc.contiguous_bound(3, (7, 7))
    assert loc.contiguous_bound((1, 5), (1, 28)) == 24
    assert loc.donoho_stark_bound(5, 28) == 6


def test_donoho_stark_is_attained_by_the_comb():
    comb = np.zeros(28)
    comb[::7] = 1
    assert np.sum(np.abs(np.fft.fft(comb)) > 1e-9) == 7 == loc.donoho_stark_bound(4, 28)


@pytest.mark.parametrize(
    "taps, bound, true", [(3, ".1218", ".1332"), (5, ".0824", ".0869"), (7, ".0621", ".0645")]
)
def test_fejer_s_bound_and_the_true_minimum(taps, bound, true):
    got = loc.rms_frequency_bound((1, taps), (1, 28))
    exact = np.sqrt(loc.spectral_range(np.fft.fftfreq(28)[None] ** 2, (1, taps)).minimum)
    assert abs(got - printed(bound)[0]) <= printed(bound)[1]
    assert abs(exact - printed(true)[0]) <= printed(true)[1]
    np.testing.assert_allclose(loc.rms_frequency_bound(taps, (28, 28)), np.sqrt(2) * got)


def test_fejer_s_autocorrelation_is_exact_below_full_width_only():
    cosine = np.cos(2 * np.pi * np.fft.fftfreq(9))[None]
    for taps in range(1, 9):
        got = loc.spectral_range(cosine, (1, taps)).maximum
        np.testing.assert_allclose(got, np.cos(np.pi / (taps + 1)), atol=1e-13)
    np.testing.assert_allclose(loc.spectral_range(cosine, (1, 9)).maximum, 1, atol=1e-13)
    assert loc.rms_frequency_bound((1, 9), (1, 9)) == 0


def test_harper_bound_and_the_state_that_attains_it(x64):
    assert abs(loc.harper_bound(28).minimum - 0.10908) < 5e-6
    assert abs(loc.harper_bound(32).minimum - 0.09578) < 5e-6
    bound = loc.harper_bound(28)
    np.testing.assert_allclose(loc.cosine_spread(bound.minimizer), bound.minimum, atol=1e-12)
    random = np.random.default_rng(0).standard_normal((50, 28))
    assert np.all(loc.cosine_spread(random) >= bound.minimum)


def test_massar_spindel_is_never_violated_and_is_sharp(x64):
    size = 8
    slack = jax.jit(lambda v: loc.massar_spindel_slack(v[:size] + 1j * v[size:]))
    value_and_grad = jax.jit(jax.value_and_grad(slack))
    rng = np.random.default_rng(0)
    found = [
        scipy.optimize.minimize(
            lambda v: tuple(map(np.asarray, value_and_grad(v))),
            rng.standard_normal(2 * size),
            jac=True,
            options={"gtol": 1e-9},
        ).fun
        for _ in range(10)
    ]
    assert min(found) > -1e-12
    assert min(found) < 1e-6


@pytest.mark.parametrize("taps, channels", [(3, 1), (3, 4), (28, 1)])
def test_random_kernels_are_flat_on_average_and_their_spread_is_known(taps, channels):
    shape, draws = (28, 28), 4000 if taps == 3 else 1000
    kernels = np.random.default_rng(1).standard_normal((draws, taps, taps, 1, channels))
    got = np.asarray(loc.kernel_mean_frequency(kernels.astype(np.float32), shape))
    mean, std = loc.random_kernel_mean_frequency(taps, shape, num_channels=channels)
    assert abs(mean - 0.382962) < 5e-7
    assert abs(got.mean() - mean) < 4 * std / np.sqrt(draws)
    assert abs(got.std() / std - 1) < 4 / np.sqrt(2 * draws)


def test_noise_s_mean_radius_has_the_known_spread():
    for size, text in [(28, ".0071"), (32, ".0065")]:
        std = loc.random_kernel_mean_frequency(size, (size, size)).std
        assert abs(std - float(text)) < 3e-4  # printed from 2,000 draws


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_random_kernel_power_is_the_average_over_draws(mean):
    draws = 20_000
    kernels = mean + np.random.default_rng(2).standard_normal((draws, 3, 3))
    power = np.abs(np.fft.fft2(kernels, (8, 8))) ** 2
    expected = loc.random_kernel_power(3, (8, 8), mean=mean)
    error = power.std(0) / np.sqrt(draws)
    assert np.all(np.abs(power.mean(0) - expected) < 5 * error)
    if mean == 0:
        np.testing.assert_array_equal(expected, np.full((8, 8), 9.0))


def test_depth_doubles_the_fourth_moment_and_not_the_mean():
    draws, shape = 40_000, (1, 8)
    rng = np.random.default_rng(3)
    layers = [np.fft.fft(rng.standard_normal((draws, taps)), 8) for taps in (3, 8)]
    power = np.abs(np.prod(layers, 0)) ** 2
    np.testing.assert_allclose(power.mean(0), 24, rtol=0.08)
    expected = loc.random_net_power_moment([(1, 3), (1, 8)], shape)[0]
    np.testing.assert_allclose((power**2).mean(0) / power.mean(0) ** 2, expected, rtol=0.2)
    one = loc.random_net_power_moment([28], (28, 28))
    np.testing.assert_allclose(784 / one.mean(), 391, atol=1)  # 392 measured over draws


RANDOM_NETS = [  # K of the hidden layers, layers with the full-width last one, participation
    (3, 2, 237),
    (3, 4, 129),
    (28, 2, 203),
    (28, 4, 71),
]


@pytest.mark.parametrize("taps, num_layers, participation", RANDOM_NETS)
def test_random_nets_have_the_flat_mean_frequency_at_every_depth(taps, num_layers, participation):
    """Depth concentrates a random predictor at random places; it moves the mean nowhere."""
    draws, shape = 1000, (28, 28)
    rng = np.random.default_rng(4)
    power = np.ones((draws, *shape))
    for layer in range(num_layers):
        size = taps if layer < num_layers - 1 else 28
        kernels = rng.standard_normal((draws, size, size)).astype(np.float32)
        power *= np.abs(np.fft.fft2(kernels, shape)) ** 2
    share = power / power.sum((1, 2), keepdims=True)
    means = np.sum(share * radius_grid(shape), axis=(1, 2))
    flat = loc.random_kernel_mean_frequency(taps, shape).mean
    assert abs(means.mean() - flat) < 4 * means.std() / np.sqrt(draws)
    np.testing.assert_allclose(np.mean(1 / np.sum(share**2, (1, 2))), participation, rtol=0.05)


def test_bad_arguments_say_what_was_expected():
    with pytest.raises(ValueError, match="at most the image's"):
        loc.mean_frequency_range(9, (8, 8))
    with pytest.raises(ValueError, match="even"):
        loc.spectral_range(np.arange(64.0).reshape(8, 8), 3)
    with pytest.raises(ValueError, match="band must be one of"):
        loc.band_energy_range(3, (8, 8), 0.1, band="ring")
    with pytest.raises(ValueError, match="Kh, Kw, Cin, Cout"):
        loc.kernel_mean_frequency(np.ones((3, 3), np.float32), (8, 8))
    with pytest.raises(TypeError, match="kernel must be float"):
        loc.kernel_slack(np.ones((3, 3, 1, 1), np.int32), (8, 8))
    with pytest.raises(TypeError, match="kernel_size must be an int"):
        loc.mean_frequency_range((3.0, 3.0), (8, 8))

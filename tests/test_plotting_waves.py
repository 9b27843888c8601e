"""Heat maps and the exact control, from arrays to what is drawn."""

import jax
import numpy as np
import pytest
from synthetic_study import MINOR_ARMS, looks_of

from freqbias import plotting, spectral

SHAPE = (6, 6)


def planes(*names, seed=0):
    """A normalised power spectrum, symmetric, without DC, under each name."""
    rng = np.random.default_rng(seed)
    out = {}
    for name in names:
        power = spectral.power_spectrum(rng.normal(size=(*SHAPE, 1)).astype(np.float32))
        power = np.asarray(power).copy()
        power[0, 0] = 0
        out[name] = power / power.sum()
    return out


def permuted(power, seed):
    drawn = spectral.fourier_permutation(jax.random.key(seed), SHAPE)
    return np.asarray(spectral.permute_power(power, drawn))


def text(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def test_a_network_whose_spectrum_moves_with_the_data_lies_on_the_diagonal():
    plain = planes("digits/linear/fc_d1/1.spectrum", "digits/linear/conv_k3_d1/1.spectrum")
    fc, conv = plain.values()
    spectra = {
        **plain,
        "digits+permuted_3/linear/fc_d1/1.spectrum": permuted(fc, 3),
        "digits+permuted_3/linear/conv_k3_d1/1.spectrum": conv,
    }
    assert plotting.has_exact_control(spectra)
    figure = plotting.exact_control(spectra)
    on, off = figure.axes
    assert text(figure)[0] == "r = 1.00"
    assert float(text(figure)[1].removeprefix("r = ")) < 0.9
    x, y = on.lines[0].get_data()
    np.testing.assert_allclose(x, y, rtol=1e-5)
    np.testing.assert_allclose(np.mean(x), 1, rtol=1e-5)  # relative to white noise
    assert not np.allclose(*off.lines[0].get_data())


def test_without_a_permuted_set_there_is_no_control():
    spectra = planes("digits/linear/fc_d1/1.spectrum", "digits+permuted_3/relu/fc_d1/1.spectrum")
    assert not plotting.has_exact_control(spectra)
    assert plotting.exact_control(spectra) is not None


def test_a_heat_map_shows_the_mean_over_seeds_with_zero_frequency_in_the_centre():
    errors = np.zeros((3, *SHAPE), np.float32)
    errors[:, 0, 0] = 0.9
    errors[0, 0, 1] = errors[0, 0, -1] = 0.6
    spectra = {"digits/relu/conv_k3_d1/1.heat_map": errors, "digits/relu/fc_d1/1.heat_map": errors}
    figure = plotting.heat_maps(spectra, looks=looks_of(MINOR_ARMS))
    image = figure.axes[0].images[0]
    shown = image.get_array()
    assert shown[3, 3] == pytest.approx(0.9)
    assert shown[3, 4] == pytest.approx(0.2)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((-0.5 - 1 / 12, 0.5 - 1 / 12))
    assert (bottom, top) == pytest.approx((0.5 - 1 / 12, -0.5 - 1 / 12))
    assert figure.axes[0].get_title(loc="left").startswith("Conv K=3\nmean 0.04")


def test_arms_that_nobody_described_have_colours_of_their_own():
    plain = planes("digits/linear/my_net/1.spectrum", "digits/linear/your_net/1.spectrum")
    moved = {key.replace("digits", "digits+permuted_3"): power for key, power in plain.items()}
    figure = plotting.exact_control({**plain, **moved})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["my net", "your net"]
    assert len({ax.lines[0].get_color() for ax in figure.axes}) == 2

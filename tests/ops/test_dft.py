"""The transform by matrix products, in one stage or two, is the discrete Fourier transform."""

from functools import partial

import jax
import numpy as np
import pytest

from freqbias.ops import dft

ONE_STAGE, TWO_STAGES = (7, 8, 31, 37), (12 * 12, 16, 28, 30, 32, 35)


def test_factors_are_near_each_other_and_at_least_halve_the_products():
    assert dft.factors(28) == (7, 4) and dft.factors(32) == (8, 4) and dft.factors(64) == (8, 8)
    assert all(dft.factors(width) == (width, 1) for width in ONE_STAGE)
    assert all(np.prod(dft.factors(width)) == width for width in range(1, 200))
    assert all(2 * sum(dft.factors(width)) <= width for width in TWO_STAGES)


@pytest.mark.parametrize("width", [*ONE_STAGE, *TWO_STAGES])
def test_the_transform_is_numpys_and_the_way_back_its_inverse(width, x64):
    height = 9
    images = np.random.default_rng(0).normal(size=(height, width, 2, 3))
    spectrum = np.asarray(jax.jit(dft._analysis)(images))
    long, short = dft.factors(width)
    order = [r + long * s for r in range(long) for s in range(short)]
    expected = np.fft.fft2(images, axes=(0, 1))[: height // 2 + 1, order]
    np.testing.assert_allclose(spectrum[:, :, 0] + 1j * spectrum[:, :, 1], expected, atol=1e-10)
    back = jax.jit(dft._synthesis, static_argnums=1)(spectrum, height)
    np.testing.assert_allclose(back, images, atol=1e-12)


@pytest.mark.parametrize("width", [16, 28])
def test_a_convolution_in_two_stages_is_that_of_shifted_copies(width, x64):
    rng = np.random.default_rng(1)
    images, weights = rng.normal(size=(6, width, 2, 3)), rng.normal(size=(2, 3, 2, 4))
    rows, columns = np.array([0, 4]), np.array([-1, 0, 5])
    expected = sum(
        np.einsum("hwin,io->hwon", np.roll(images, (-dy, -dx), (0, 1)), weights[r, c])
        for r, dy in enumerate(rows)
        for c, dx in enumerate(columns)
    )
    found = jax.jit(partial(dft.conv, rows=rows, columns=columns))(images, weights)
    np.testing.assert_allclose(found, expected, atol=1e-12)

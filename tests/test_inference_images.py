"""What is averaged over images, what is left out, and whom an interval speaks of."""

import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import inference, spectral


def test_images_without_a_value_are_left_out_and_the_others_counted():
    values = np.array([[0.2, np.nan, 0.4], [np.nan] * 3])
    found = inference.image_means(values)
    np.testing.assert_array_equal(found.mean, [(0.2 + 0.4) / 2, np.nan])
    np.testing.assert_array_equal(found.num_images, [2, 0])
    only = inference.image_means(values, where=[[True, True, False], [True] * 3])
    np.testing.assert_array_equal(only.mean, [0.2, np.nan])
    np.testing.assert_array_equal(only.num_images, [1, 0])


def test_image_means_are_in_float64_over_the_last_axis(rng):
    values = rng.normal(size=(2, 3, 1000)).astype(np.float32)
    found = inference.image_means(jnp.asarray(values))
    assert found.mean.dtype == np.float64
    np.testing.assert_allclose(found.mean, values.astype(np.float64).mean(axis=-1), rtol=1e-12)
    np.testing.assert_array_equal(found.num_images, 1000)
    assert inference.image_means([0.5, 0.25]).mean == 0.375


def test_zero_perturbations_do_not_count_as_low_frequencies(rng):
    """The recipe of README on what a minimal attack leaves alone: misclassified images."""
    delta = rng.normal(size=(2, 6, 8, 8, 1)).astype(np.float32)
    delta[:, ::2] = 0
    found = inference.image_means(spectral.mean_frequency(delta))
    attacked = np.mean(spectral.mean_frequency(delta[:, 1::2]), axis=1)
    np.testing.assert_allclose(found.mean, attacked, rtol=1e-6)
    np.testing.assert_array_equal(found.num_images, 3)


def test_an_estimate_says_whom_it_speaks_of(rng):
    values = rng.normal(0.2, 0.01, (8, 30))
    seeds = inference.mean_interval(values.mean(axis=1))
    images = inference.mean_interval(values[0], over="images")
    both = inference.crossed_interval([values], [1.0])
    assert [e.population for e in (seeds, images, both)] == ["seeds", "images", "seeds x images"]
    assert [(e.num_seeds, e.num_images) for e in (seeds, images, both)] == [
        (8, 0),
        (1, 30),
        (8, 30),
    ]
    assert str(seeds).endswith("95 % interval over 8 seeds")
    assert str(images).endswith("95 % interval over 30 images of one network")
    assert str(both).endswith("95 % interval over 8 seeds x 30 images")
    assert str(inference.mean_interval([1.0, 2.0, 3.0], confidence=0.9)) == (
        "2 [0.314, 3.69], 90 % interval over 3 seeds"
    )
    np.testing.assert_array_equal(images[:5], inference.mean_interval(values[0])[:5])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            inference.mean_interval,
            r"values must hold one number per seed \[S\]; got shape \(8, 30\)\. .*image_means.*"
            "crossed_interval",
        ),
        (
            lambda v: inference.difference_interval(v[:, 0], v),
            r"b must hold one number per seed \[S\]; got shape \(8, 30\)",
        ),
        (
            lambda v: inference.mean_interval(v, over="images"),
            r"values must hold one number per image \[N\]; got shape \(8, 30\)",
        ),
        (lambda v: inference.mean_interval(v[0], over="networks"), "over must be one of"),
        (
            lambda v: inference.mean_interval(v[0] * np.nan),
            "values must be finite; leave out dead and diverged seeds, and count them",
        ),
        (
            lambda v: inference.mean_interval(v[0] * np.nan, over="images"),
            "values must be finite; leave out images without a value",
        ),
        (lambda v: inference.mean_interval(v[0, :1], over="images"), "at least 2 images; got 1"),
        (lambda v: inference.image_means(v, where=np.ones(8, bool)), "where must be .*shape"),
        (lambda v: inference.image_means(v[0, 0]), "values must hold one number per image"),
    ],
)
def test_bad_input_names_the_argument(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng.normal(size=(8, 30)))


def test_values_that_are_no_numbers_are_type_errors(rng):
    with pytest.raises(TypeError, match="values must be real numbers"):
        inference.image_means(["a", "b"])
    with pytest.raises(TypeError, match="where must hold booleans"):
        inference.image_means([1.0, 2.0], where=[1, 0])


@pytest.fixture
def rng():
    """The generator of a test."""
    return np.random.default_rng(0)

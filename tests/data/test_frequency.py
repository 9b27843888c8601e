"""Frequency-controlled sets, checked where they make their promise: in the frequency domain."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from freqbias import data, spectral
from freqbias.data import teacher

SHAPE = (7, 6, 2)  # neither square nor even nor grey
KEY = jax.random.key(0)


def toy(shape=SHAPE, num=60, num_classes=3, name="toy"):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(num + 30, *shape)) ** 2  # not symmetric about mid grey
    labels = np.arange(num + 30) % num_classes
    return data.from_arrays(images[:num], labels[:num], images[num:], labels[num:], name=name)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def pairs(before, after):
    """Deviations from mid grey of train and test, before and (at full contrast) after."""
    for old, new in ((before.train, after.train), (before.test, after.test)):
        reduced = new.images.astype(float) - 0.5
        yield old.images.astype(float) - 0.5, reduced / (after.contrast / before.contrast)


def fft(images):
    return np.fft.fft2(images, axes=(1, 2), norm="ortho")


def power(images):
    return np.sum(np.abs(fft(images)) ** 2, axis=-1)


@pytest.mark.parametrize(
    ("transform", "kept"),
    [
        (lambda d: data.low_pass(d, 0.25), lambda r: r <= 0.25),
        (lambda d: data.high_pass(d, 0.25), lambda r: r > 0.25),
        (lambda d: data.band_pass(d, 0.15, 0.4), lambda r: (r > 0.15) & (r <= 0.4)),
        (lambda d: data.band_pass(d, 0, 0.25), lambda r: r <= 0.25),
    ],
    ids=["low", "high", "band", "band_with_dc"],
)
@pytest.mark.parametrize("source", ["toy", "digits"])
def test_filters_empty_what_they_remove_and_leave_the_rest_alone(source, transform, kept, digits):
    dataset = {"toy": toy(), "digits": digits}[source]
    filtered = transform(dataset)
    mask = kept(spectral.radius_grid(dataset.image_shape[:2]))
    for old, new in pairs(dataset, filtered):
        np.testing.assert_allclose(fft(new), fft(old) * mask[None, :, :, None], atol=3e-6)
        removed = power(new)[:, ~mask].sum(axis=1)
        assert np.all(removed < 1e-12 * power(old).sum(axis=(1, 2)))


def test_a_wave_has_the_closed_form_and_costs_no_contrast():
    """1/2 + 0.2 cos(one cycle) + 0.2 cos(three cycles): the low-pass is the first wave."""
    x = np.arange(8) / 8
    waves = [0.2 * np.cos(2 * np.pi * cycles * x)[None, :, None] for cycles in (1, 3)]
    images = 0.5 + np.broadcast_to(waves[0] + waves[1], (4, 8, 8, 1))
    dataset = data.from_arrays(images, [0, 1, 0, 1], images, [0, 1, 0, 1])
    low, high = data.low_pass(dataset, 0.25), data.high_pass(dataset, 0.25)
    assert low.contrast == high.contrast == 1
    for filtered, wave in ((low, waves[0]), (high, waves[1])):
        expected = np.broadcast_to(0.5 + wave, images.shape)
        np.testing.assert_allclose(filtered.train.images, expected, atol=1e-6)


# Range.

TRANSFORMS = {
    "low_pass_0.25": lambda d: data.low_pass(d, 0.25),
    "high_pass_0.25": lambda d: data.high_pass(d, 0.25),
    "band_pass_0.2_0.4": lambda d: data.band_pass(d, 0.2, 0.4),
    "spectrum_toy": lambda d: data.replace_spectrum(d, toy()),
    "permuted": lambda d: data.permute_frequencies(
        d, spectral.fourier_permutation(KEY, d.image_shape[:2])
    ),
    "planted_0.3_2": lambda d: data.plant_pattern(d, 0.3, 2, key=KEY),
    "windowed_0.5": lambda d: data.window(d, 0.5),
    "teacher_0.1_0.3": lambda d: data.label_by_teacher(d, 0.1, 0.3, key=KEY),
    "shuffled": lambda d: data.shuffle_labels(d, key=KEY),
}
each_transform = pytest.mark.parametrize("name", TRANSFORMS)


@each_transform
def test_images_fill_the_range_that_contrast_leaves_and_nothing_is_clipped(name):
    dataset = toy()
    changed = TRANSFORMS[name](dataset)
    images = np.concatenate([changed.train.images, changed.test.images])
    assert images.min() >= 0 and images.max() <= 1 and images.dtype == np.float32
    if changed.contrast < 1:
        assert np.abs(images - 0.5).max() == pytest.approx(0.5, abs=1e-5)  # no more than needed
        assert np.sum((images <= 0) | (images >= 1)) == 0  # clipped pixels would pile up there
    assert 0 < changed.contrast <= 1


@each_transform
def test_a_transform_is_a_function_of_its_arguments(name):
    dataset = toy()
    once, again = TRANSFORMS[name](dataset), TRANSFORMS[name](toy())
    assert once.checksum == again.checksum != dataset.checksum
    assert once.name == f"toy+{name}"
    assert once.image_shape == SHAPE and len(once.test) == 30
    np.testing.assert_allclose(once.mean, once.train.images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(once.std, once.train.images.std((0, 1, 2)), rtol=1e-4)
    assert dataset.checksum == toy().checksum  # the argument is as before


@each_transform
def test_precision_in_force_changes_no_bit(name):
    """A run in float64 must train on the very images of a run in float32."""
    narrow = TRANSFORMS[name](toy())
    with jax.enable_x64(True):
        wide = TRANSFORMS[name](toy())
    assert narrow.checksum == wide.checksum


def test_contrast_multiplies_along_a_chain():
    high = data.high_pass(toy(), 0.2)
    twice = TRANSFORMS["permuted"](high)
    alone = TRANSFORMS["permuted"](dataclasses.replace(high, contrast=1.0))
    assert twice.contrast == pytest.approx(high.contrast * alone.contrast)
    assert twice.name == "toy+high_pass_0.2+permuted"


# Spectrum of another set.


def test_the_mean_spectrum_is_the_others_and_phases_and_contrast_are_kept():
    dataset = toy()
    x = np.linspace(-1, 1, 9)
    images = np.random.default_rng(1).uniform(size=(20, 9, 9, 1)) * (0.2 + x[:, None, None] ** 2)
    other = data.from_arrays(images / 1.2, [0, 1] * 10, images / 1.2, [0, 1] * 10, name="ramp")
    replaced = data.replace_spectrum(dataset, other)
    wanted = spectral.mean_spectrum(other.train.images[:, 1:8, 1:7], axis=0)  # cropped to 7 x 6
    assert float(np.abs(wanted - spectral.mean_spectrum(dataset.train.images, axis=0)).max()) > 0.01
    for old, new in pairs(dataset, replaced):
        found = spectral.mean_spectrum(new.astype(np.float32), axis=0)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        before, after = fft(old), fft(new)
        aligned = after * np.conj(before)
        np.testing.assert_allclose(aligned.real, np.abs(before) * np.abs(after), atol=1e-4)
        np.testing.assert_allclose(new.mean((1, 2)), old.mean((1, 2)), atol=1e-5)
        np.testing.assert_allclose(new.std((1, 2)), old.std((1, 2)), rtol=1e-4)


def test_the_own_spectrum_of_one_image_changes_nothing():
    image = toy((8, 8, 1), num=1).train.images
    dataset = data.from_arrays(image, [0], image, [0])
    ((old, new), _) = pairs(dataset, data.replace_spectrum(dataset, dataset))
    np.testing.assert_allclose(new, old, atol=1e-5)


# The exact control.


@pytest.mark.parametrize("shape", [(6, 5, 1), (4, 6, 2)])
def test_the_permutation_of_a_set_is_one_orthogonal_map_with_an_inverse(shape):
    dataset = toy(shape)
    permutation = spectral.fourier_permutation(KEY, shape[:2])
    permuted = data.permute_frequencies(dataset, permutation)
    inverse = spectral.invert_permutation(permutation)
    for old, new in pairs(dataset, permuted):
        flat, moved = old.reshape(len(old), -1), new.reshape(len(new), -1)
        np.testing.assert_allclose(moved @ moved.T, flat @ flat.T, atol=2e-5)  # inner products
        np.testing.assert_allclose(power(new), spectral.permute_power(
            power(old).astype(np.float32), permutation), atol=1e-5)  # fmt: skip
        back = spectral.permute_spectrum(new.astype(np.float32), inverse)
        np.testing.assert_allclose(back, old, atol=1e-5)
        assert np.abs(new - old).max() > 0.1
    # What standardisation inside a model undoes: the factor, per channel.
    np.testing.assert_allclose(permuted.std, permuted.contrast * dataset.std, rtol=1e-5)
    centred = permuted.contrast * (dataset.mean - 0.5)
    np.testing.assert_allclose(permuted.mean - 0.5, centred, atol=1e-6)


def test_a_permutation_is_drawn_alike_in_both_precisions():
    narrow = spectral.fourier_permutation(KEY, (7, 8)).source
    with jax.enable_x64(True):
        wide = spectral.fourier_permutation(KEY, (7, 8)).source
    np.testing.assert_array_equal(narrow, wide)


# Planted patterns.


def test_the_pattern_is_found_where_it_was_put():
    dataset = toy(num_classes=3)
    planted = data.plant_pattern(dataset, 0.3, 2, key=KEY)
    added = []
    for split, (old, new) in zip(("train", "test"), pairs(dataset, planted), strict=True):
        labels = getattr(dataset, split).labels
        spectra = fft(new - old)
        for k in range(3):
            of_class = spectra[labels == k]
            np.testing.assert_allclose(of_class, of_class[:1].repeat(len(of_class), 0), atol=1e-5)
        added.append(np.stack([spectra[labels == k][0] for k in range(3)]))
    np.testing.assert_allclose(added[0], added[1], atol=1e-5)  # one pattern for both splits
    modulus = np.abs(added[0])  # [3, H, W, C]
    here = modulus[0, ..., 0] > 1
    np.testing.assert_allclose(modulus, 2.0 * np.broadcast_to(here[None, ..., None], modulus.shape),
                               atol=1e-5)  # fmt: skip
    assert here.sum() == 2 * round(0.3 * 20)  # 7 x 6 has 20 pairs, and DC and one Nyquist alone
    np.testing.assert_array_equal(here, spectral.negate_frequencies(here))
    phases = np.angle(added[0][:, here, 0])
    for one, other in itertools.combinations(phases, 2):
        assert np.abs(np.exp(1j * (one - other)) - 1).mean() > 0.3  # classes differ by phase
    spread = (new - old).std(axis=(1, 2))
    np.testing.assert_allclose(spread, 2 * np.sqrt(here.mean()), rtol=1e-5)


def test_another_key_plants_another_set():
    dataset = toy()
    supports = []
    for key in (KEY, jax.random.key(1)):
        (old, new), _ = pairs(dataset, data.plant_pattern(dataset, 0.3, 2, key=key))
        supports.append(np.abs(fft(new - old))[0, ..., 0] > 1)
    assert np.any(supports[0] != supports[1])
    everywhere = data.plant_pattern(dataset, 1, 1, key=KEY)
    (old, new), _ = pairs(dataset, everywhere)
    assert np.sum(np.abs(fft(new - old))[0, ..., 0] > 0.5) == 40  # all but the self-conjugate


# Teachers and synthetic sets.


@pytest.mark.parametrize(("num_classes", "band"), [(2, (0.2, 0.4)), (5, (0.2, 0.4)), (3, (0, 0.2))])
def test_labels_depend_on_the_teachers_band_alone_and_classes_are_balanced(
    digits, num_classes, band
):
    taught = data.label_by_teacher(digits, *band, key=KEY, num_classes=num_classes)
    np.testing.assert_array_equal(taught.train.pixels, digits.train.pixels)
    counts = np.bincount(taught.train.labels, minlength=num_classes)
    assert taught.num_classes == num_classes
    assert np.abs(counts - 1400 / num_classes).max() <= 1 + 0.01 * 1400 / num_classes

    def relabelled(dataset):
        return data.label_by_teacher(dataset, *band, key=KEY, num_classes=num_classes)

    within = relabelled(data.band_pass(digits, *band))
    for split in ("train", "test"):
        np.testing.assert_array_equal(getattr(within, split).labels, getattr(taught, split).labels)
    with pytest.raises(ValueError, match="frequencies in which digits"):
        relabelled(data.high_pass(digits, 0.4))  # nothing is left that the teacher could see
    other = data.label_by_teacher(digits, 0.4, 0.6, key=KEY, num_classes=num_classes)
    assert np.mean(other.train.labels == taught.train.labels) < 0.8


def test_one_teacher_labels_both_splits():
    """Test images that are training images get the labels they have there."""
    images = toy().train.images
    labels = np.arange(60) % 3
    dataset = data.from_arrays(images, labels, images[5:16], labels[5:16])
    taught = data.label_by_teacher(dataset, 0.1, 0.4, key=KEY)
    np.testing.assert_array_equal(taught.test.labels, taught.train.labels[5:16])


def test_a_linear_model_can_be_the_teacher(digits):
    """Labels are those of an affine argmax: least squares on band-passed pixels finds a median."""
    taught = data.label_by_teacher(digits, 0.2, 0.4, key=KEY, num_classes=2)
    x = np.asarray(spectral.band_pass(digits.train.images, 0.2, 0.4)).reshape(1400, -1)
    x = np.column_stack([x, np.ones(1400)])
    fitted = x @ np.linalg.lstsq(x, 2.0 * taught.train.labels - 1, rcond=1e-4)[0]
    assert np.mean((fitted > 0) == taught.train.labels) > 0.9


@pytest.mark.parametrize("alpha", [0, 1])
def test_synthetic_images_have_the_spectrum_they_are_named_after(alpha):
    made = data.power_law(
        key=KEY, alpha=alpha, image_shape=(12, 10, 2), num_classes=3, num_train=900, num_test=90
    )
    assert made.name == f"power_law_{alpha}_12x10x2_3"
    assert made.image_shape == (12, 10, 2) and (len(made.train), len(made.test)) == (900, 90)
    assert np.abs(np.bincount(made.train.labels) - 300).max() <= 3
    images = made.train.images.astype(float) - 0.5
    assert np.abs(np.concatenate([made.train.images, made.test.images]) - 0.5).max() == (
        pytest.approx(0.5, abs=1e-5)
    )
    np.testing.assert_allclose(images.mean((1, 2)), 0, atol=1e-6)
    spectrum = power(images).mean(0)
    radius = spectral.radius_grid((12, 10))
    level = spectrum[radius > 0] * radius[radius > 0] ** (2 * alpha)
    # Each entry is a mean of 900 x 2 x (1 or 2) squared normals: standard error 0.033 at most.
    np.testing.assert_allclose(level / level.mean(), 1, atol=5 * 0.034)


def test_a_band_of_the_synthetic_set_is_that_of_the_transform():
    small = {"key": KEY, "alpha": 1.0, "image_shape": (8, 8, 1), "num_train": 64, "num_test": 16}
    made = data.power_law(**small, teacher_band=(0.2, 0.4))
    taught = data.label_by_teacher(data.power_law(**small), 0.2, 0.4, key=KEY)
    assert made.checksum == taught.checksum and made.name == taught.name
    assert made.name == "power_law_1_8x8x1_2+teacher_0.2_0.4"


# The filters of a test set.


@pytest.mark.parametrize("source", ["toy", "digits"])
def test_low_and_high_passed_test_images_add_up(source, digits):
    """Without the loss of contrast they are the two halves of the image about the centre."""
    dataset = {"toy": toy(), "digits": digits}[source]
    centre = dataset.mean  # one per channel
    parts = []
    for band in ({"high": 0.25}, {"low": 0.25}):
        split, contrast = data.filter_split(dataset.test, **band, centre=centre)
        assert split.images.min() >= 0 and split.images.max() <= 1 and contrast < 1
        assert min(split.images.min(), 1 - split.images.max()) < 1e-5  # the largest that fits
        np.testing.assert_array_equal(split.labels, dataset.test.labels)
        parts.append((split.images.astype(float) - centre) / contrast)
    np.testing.assert_allclose(sum(parts), dataset.test.images - centre, atol=1e-5)
    radius = spectral.radius_grid(dataset.image_shape[:2])
    assert power(parts[0])[:, radius > 0.25].max() < 1e-10
    assert power(parts[1])[:, radius <= 0.25].max() < 1e-10


def test_the_reference_of_a_filtered_split_has_its_contrast(digits):
    _, contrast = data.filter_split(digits.test, low=0.25, centre=digits.mean)
    reference, same = data.filter_split(digits.test, centre=digits.mean, contrast=contrast)
    assert same == contrast
    expected = digits.mean + contrast * (digits.test.images - digits.mean)
    np.testing.assert_allclose(reference.images, expected, atol=1e-6)


def test_a_window_fades_both_sides_alike_and_leaves_the_middle():
    """Tukey: cos^2 over half the taper at either side, 1 between; deviations from mid grey."""
    dataset = toy()
    images, windowed = dataset.test.images, data.window(dataset, 0.5).test.images
    height, width = SHAPE[:2]
    rows, columns = (
        np.minimum(1, np.minimum(side, side[::-1]))
        for side in (
            np.where(t < 0.25, np.sin(2 * np.pi * t) ** 2, 1)
            for t in (np.arange(n) / (n - 1) for n in (height, width))
        )
    )
    factor = (rows[:, None] * columns)[None, ..., None]
    np.testing.assert_allclose(windowed - 0.5, (images - 0.5) * factor, atol=1e-6)
    assert np.all(windowed[:, 0] == 0.5) and np.all(windowed[:, :, -1] == 0.5)


def test_a_window_takes_the_cross_of_images_that_do_not_wrap():
    """A ramp has a step where its sides meet: power along one axis at all frequencies."""
    ramp = np.linspace(0, 1, 16, dtype=np.float32)[None, :, None, None] * np.ones((4, 1, 16, 1))
    images = ramp.astype(np.float32) + np.zeros((4, 16, 16, 1), np.float32)
    dataset = data.from_arrays(images, np.arange(4) % 2, images, np.arange(4) % 2, name="ramp")
    high = [
        float(spectral.summarize(d.test.images).high_fraction[0])
        for d in (dataset, data.window(dataset, 1))
    ]
    assert high[1] < 0.1 * high[0]


def test_shuffled_labels_are_the_same_labels_in_another_order():
    dataset = toy()
    shuffled = data.shuffle_labels(dataset, key=KEY)
    for before, after in ((dataset.train, shuffled.train), (dataset.test, shuffled.test)):
        np.testing.assert_array_equal(before.images, after.images)
        np.testing.assert_array_equal(np.bincount(before.labels), np.bincount(after.labels))
        assert np.any(before.labels != after.labels)


# Names.

NAMED = {
    "digits+low_pass_0.25": lambda d: data.low_pass(d, 0.25),
    "digits+high_pass_0.25": lambda d: data.high_pass(d, 0.25),
    "digits+band_pass_0.125_0.25": lambda d: data.band_pass(d, 0.125, 0.25),
    "digits+spectrum_natural_patches": lambda d: data.replace_spectrum(
        d, data.load("natural_patches")
    ),
    "digits+permuted_3": lambda d: data.permute_frequencies(
        d, spectral.fourier_permutation(jax.random.key(3), (8, 8))
    ),
    "digits+planted_0.1_0.5": lambda d: data.plant_pattern(d, 0.1, 0.5, key=KEY),
    "digits+windowed_1": lambda d: data.window(d, 1),
    "digits+shuffled_3": lambda d: data.shuffle_labels(d, key=jax.random.key(3)),
    "digits+teacher_0.2_inf": lambda d: data.label_by_teacher(d, 0.2, np.inf, key=KEY),
    "digits+low_pass_0.375+permuted_0": lambda d: data.permute_frequencies(
        data.low_pass(d, 0.375), spectral.fourier_permutation(KEY, (8, 8))
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_what_the_functions_give(name, digits):
    data.check_name(name)
    loaded, called = data.load(name), NAMED[name](digits)
    assert loaded.name == name
    assert loaded.checksum == called.checksum != digits.checksum
    assert loaded.contrast == called.contrast
    assert loaded.description.startswith("Handwritten digits")
    assert len(loaded.description) > len(digits.description) and loaded.licence == digits.licence


def test_different_names_are_different_sets(digits):
    assert len({data.load(name).checksum for name in NAMED}) == len(NAMED)
    assert data.load("digits+permuted_0").checksum != data.load("digits+permuted_1").checksum


def test_synthetic_sets_have_names():
    made = data.load("power_law_1_4x4x1_2")
    assert made.name == "power_law_1_4x4x1_2"
    direct = data.power_law(key=KEY, alpha=1, image_shape=(4, 4, 1), num_classes=2)
    assert made.checksum == direct.checksum
    taught = data.load("power_law_1_4x4x1_2+teacher_0.3_0.6")
    assert taught.name == "power_law_1_4x4x1_2+teacher_0.3_0.6"
    assert taught.checksum != made.checksum


def test_names_are_safe_as_names_of_files(tmp_path):
    for name in (*NAMED, "power_law_1_28x28x1_2"):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_+.-")
        (tmp_path / f"{name}.npz").touch()
    assert len(list(tmp_path.iterdir())) == len(NAMED) + 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagenet", "name must be one of 'fashion_mnist_mini'.*low_pass_CUTOFF.*set 'imagenet'"),
        ("", "name must be one of .*got the set ''"),
        ("digits+", "transforms out of low_pass_CUTOFF, .*got ''"),
        ("digits+blur_3", "transforms out of .*spectrum_SET.*got 'blur_3'"),
        ("digits+low_pass", "got 'low_pass'"),
        ("digits+low_pass_", "got 'low_pass_'"),
        ("digits+low_pass_0.250", "got 'low_pass_0.250'"),  # one spelling for one set
        ("digits+low_pass_1e-1", "got 'low_pass_1e-1'"),
        ("digits+low_pass_-0.2", "got 'low_pass_-0.2'"),
        ("digits+low_pass_nan", "got 'low_pass_nan'"),
        ("digits+low_pass_0.1_0.2", "got 'low_pass_0.1_0.2'"),
        ("digits+band_pass_0.1", "got 'band_pass_0.1'"),
        ("digits+spectrum_moon", "got the set 'moon'"),
        ("digits+spectrum_", "got the set ''"),
        ("power_law_1", "got the set 'power_law_1'"),
        ("power_law_1_8x8_2", "got the set"),
        ("power_law_1_8x0x1_2", "got the set"),
        ("power_law_1_8x8x1_02", "got the set"),
        ("power_law_1_8x8x1_2_3", "got the set"),
    ],
)
def test_a_malformed_name_is_refused_before_anything_is_loaded(name, message):
    for call in (data.load, data.check_name):
        with pytest.raises(ValueError, match=message):
            call(name)


TOY = toy()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.low_pass(TOY, 4), ValueError, "cutoff must lie in .*cycles per pixel"),
        (lambda: data.low_pass(TOY, 0.01), ValueError, "cutoff must lie in"),
        (lambda: data.high_pass(TOY, 0.0), ValueError, "cutoff must be positive"),
        (lambda: data.band_pass(TOY, 0.3, 0.2), ValueError, "low and high must satisfy"),
        (lambda: data.band_pass(TOY, -0.1, 0.2), ValueError, "low and high must satisfy"),
        (lambda: data.band_pass(TOY, 0.001, 0.002), ValueError, "enclose a frequency"),
        (lambda: data.replace_spectrum(TOY, toy((6, 6, 1))), ValueError, "other must have images"),
        (lambda: data.permute_frequencies(TOY, spectral.fourier_permutation(KEY, (6, 7))),
         ValueError, r"permutation must have shape \(H, W\) = \(7, 6\)"),
        (lambda: data.plant_pattern(TOY, 0, 1, key=KEY), ValueError, "fraction must lie"),
        (lambda: data.plant_pattern(TOY, 0.01, 1, key=KEY), ValueError, "fraction must plant"),
        (lambda: data.plant_pattern(TOY, 0.5, -1, key=KEY), ValueError, "amplitude"),
        (lambda: data.label_by_teacher(TOY, 0.4, 0.2, key=KEY), ValueError, "low and high"),
        (lambda: data.label_by_teacher(TOY, 0, 1, key=KEY, num_classes=1), ValueError,
         "num_classes must lie in 2..60"),
        (lambda: data.label_by_teacher(TOY, 0, 1, key=KEY, num_classes=2.0), TypeError,
         "num_classes"),
        (lambda: data.power_law(key=KEY, alpha=-1), ValueError, "alpha"),
        (lambda: data.power_law(key=KEY, alpha=np.inf), ValueError, "alpha"),
        (lambda: data.power_law(key=KEY, alpha=1, image_shape=(8, 8)), TypeError, "image_shape"),
        (lambda: data.power_law(key=KEY, alpha=1, image_shape=(8, 0, 1)), ValueError,
         "image_shape: W"),
        (lambda: data.power_law(key=KEY, alpha=1, image_shape=(1, 1, 1)), ValueError,
         "image_shape must have a frequency"),
        (lambda: data.power_law(key=KEY, alpha=1, num_train=1.5), TypeError, "num_train"),
        (lambda: data.filter_split(TOY.test, 0.3, 0.2), ValueError, "low and high"),
        (lambda: data.filter_split(TOY.test, centre=0.0), ValueError, "centre must lie"),
        (lambda: data.filter_split(TOY.test, centre=np.full(3, 0.5)), ValueError, "centre must be"),
        (lambda: data.filter_split(TOY.test, contrast=0), ValueError, "contrast must lie"),
        (lambda: data.filter_split(TOY.test, 0.1, contrast=0.999), ValueError,
         "contrast must lie"),
        (lambda: data.load("digits+permuted_0.5"), ValueError, "SEED must be an int"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_constant_images_have_no_spectrum_to_give():
    flat = np.full((4, 7, 6, 1), 0.3)
    constant = data.from_arrays(flat, [0, 1, 0, 1], flat, [0, 1, 0, 1], name="flat")
    with pytest.raises(ValueError, match="other must have images that are not constant"):
        data.replace_spectrum(TOY, constant)


def test_classes_that_cannot_be_balanced_are_refused():
    """Two values of one pixel cannot be divided into three equal classes."""
    rng = np.random.default_rng(0)
    images = np.zeros((90, 4, 4, 1))
    images[:, 1, 2, 0] = rng.integers(2, size=90)
    labels = np.arange(90) % 3
    dataset = data.from_arrays(images, labels, images, labels)
    with pytest.raises(ValueError, match="divide the images equally"):
        data.label_by_teacher(dataset, 0, 1, key=KEY)


def test_offsets_balance_scores_of_different_size():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1000, 4)) * [1, 2, 3, 1] + [0, 5, -3, 1]
    offsets = teacher._balancing_offsets(scores)
    counts = np.bincount(np.argmax(scores + offsets, axis=1), minlength=4)
    assert np.abs(counts - 250).max() <= 2.5

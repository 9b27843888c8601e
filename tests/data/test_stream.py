"""Batches of a stream: each image once an epoch, every batch a function of key and step alone."""

import importlib.util

import jax
import numpy as np
import pytest

from freqbias.data import stream_source, stream_tfds
from freqbias.data.stream import fit

NUM, BATCH = 23, 4
needs_grain = pytest.mark.skipif(
    importlib.util.find_spec("grain") is None, reason="streams need the extra 'tfds'"
)
needs_tensorflow = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("grain", "tensorflow", "tensorflow_datasets"))),
    reason="preparing needs the extra 'tfds'",
)


def _images(num=NUM):
    """Photographs of all shapes, each as bright as its label says."""
    rng = np.random.default_rng(0)
    shapes = rng.integers(5, 20, (num, 2))
    return [np.full((*shape, 3), 10 * index, np.uint8) for index, shape in enumerate(shapes)]


def _source():
    return [{"image": image, "label": index} for index, image in enumerate(_images())]


def _brightness(labels):
    return (10 * labels.astype(np.float32) / np.float32(255))[:, None, None, None]


@needs_grain
def test_an_epoch_visits_each_image_once_in_an_order_of_its_own(key):
    stream = stream_source(_source(), side=8, batch_size=BATCH, key=key)
    assert stream.steps_per_epoch == NUM // BATCH
    orders = []
    for epoch in range(3):
        steps = range(epoch * stream.steps_per_epoch, (epoch + 1) * stream.steps_per_epoch)
        orders.append(np.concatenate([stream[step].labels for step in steps]))
        assert len(set(orders[-1])) == stream.steps_per_epoch * BATCH
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
    assert len(set(np.concatenate(orders))) == NUM  # nobody sits out every epoch
    other = stream_source(_source(), side=8, batch_size=BATCH, key=jax.random.key(1))
    assert not np.array_equal(other[0].labels, stream[0].labels)


@needs_grain
def test_a_batch_holds_its_images_in_the_unit_range(key):
    images, labels = stream_source(_source(), side=8, batch_size=BATCH, key=key)[2]
    assert images.shape == (BATCH, 8, 8, 3) and images.dtype == np.float32
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(images, np.broadcast_to(_brightness(labels), images.shape))


@needs_grain
def test_iteration_resumes_at_any_step_and_does_not_depend_on_threads(key):
    stream = stream_source(_source(), side=8, batch_size=BATCH, key=key)
    again = stream_source(_source(), side=8, batch_size=BATCH, key=key)
    for start, stop, num_threads in ((0, 12, 8), (7, 12, 1), (7, 7, 2)):
        batches = list(stream.batches(start, stop, num_threads=num_threads))
        assert len(batches) == stop - start
        for step, batch in zip(range(start, stop), batches, strict=True):
            np.testing.assert_array_equal(batch.images, again[step].images)
            np.testing.assert_array_equal(batch.labels, again[step].labels)
    endless = stream.batches(11)
    np.testing.assert_array_equal(next(endless).labels, again[11].labels)
    for step in range(12, 40):
        np.testing.assert_array_equal(next(endless).labels, again[step].labels)


def test_fitting_keeps_the_centre_and_the_frequencies_that_fit():
    square = np.random.default_rng(0).integers(256, size=(8, 8, 3)).astype(np.uint8)
    assert fit(square, 8) is square
    wide = np.zeros((8, 20, 1), np.uint8)
    wide[:, 6:14] = 200  # the central square
    np.testing.assert_array_equal(fit(wide, 8), np.full((8, 8, 1), 200))
    np.testing.assert_array_equal(fit(wide.transpose(1, 0, 2), 8), np.full((8, 8, 1), 200))
    # The highest frequency there is would become a constant, were pixels dropped.
    checks = (255 * (np.indices((64, 64)).sum(axis=0) % 2)).astype(np.uint8)[..., None]
    np.testing.assert_allclose(fit(checks, 16)[1:-1, 1:-1], 127.5, atol=2)
    assert fit(np.full((5, 4, 3), 9, np.uint8), 16).shape == (16, 16, 3)
    with pytest.raises(TypeError, match="image must be uint8; got float32"):
        fit(np.zeros((4, 4, 1), np.float32), 4)
    with pytest.raises(ValueError, match=r"must be \[H, W, 1\] or \[H, W, 3\]; got shape \(4, 4\)"):
        fit(np.zeros((4, 4), np.uint8), 4)


@needs_grain
@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: s[-1], ValueError, "step must be at least 0; got -1"),
        (lambda s: s[1.0], TypeError, "step must be an int; got 1.0"),
        (lambda s: s.batches(3, 2), ValueError, r"stop must be at least start \(3\); got 2"),
        (lambda s: s.batches(num_threads=0), ValueError, "num_threads must be at least 1; got 0"),
    ],
)
def test_bad_steps_are_named(key, ask, error, message):
    stream = stream_source(_source(), side=8, batch_size=BATCH, key=key)
    with pytest.raises(error, match=message):
        ask(stream)


def test_bad_settings_are_named(key):
    with pytest.raises(ValueError, match=r"batch_size must be at most .* \(23\); got 24"):
        stream_source(_source(), side=8, batch_size=24, key=key)
    with pytest.raises(ValueError, match="side must be at least 1; got 0"):
        stream_source(_source(), side=0, batch_size=4, key=key)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set of 23 images of all shapes, prepared as ``array_record``."""
    import tensorflow_datasets as tfds  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("prepared")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=[f"class {index}" for index in range(NUM)]),
        }
    )

    class Brightness(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Grey images."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples(), "validation": self._generate_examples()}

        def _generate_examples(self):
            for index, image in enumerate(_images()):
                yield index, {"image": image, "label": index}

    Brightness.name = "brightness"
    builder = Brightness(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return folder


@needs_tensorflow
def test_a_prepared_set_is_streamed(prepared, key):
    stream = stream_tfds(
        "brightness", "validation", side=8, batch_size=BATCH, key=key, data_dir=prepared
    )
    assert stream.class_names[3] == "class 3" and stream.steps_per_epoch == NUM // BATCH
    for images, labels in stream.batches(0, 2 * stream.steps_per_epoch):
        expected = _brightness(labels)
        np.testing.assert_allclose(images, np.broadcast_to(expected, images.shape), atol=1e-6)
    part = stream_tfds(
        "brightness", "train[:50%]", side=8, batch_size=BATCH, key=key, data_dir=prepared
    )
    assert part.steps_per_epoch == (NUM // 2 + 1) // BATCH


@needs_tensorflow
def test_what_is_not_there_is_named_with_the_way_to_it(prepared, key):
    settings = {"side": 8, "batch_size": BATCH, "key": key, "data_dir": prepared}
    with pytest.raises(ValueError, match="split must be one of 'train', 'validation'; got 'test'"):
        stream_tfds("brightness", "test", **settings)
    with pytest.raises(ValueError, match=r"name must be a set .* one prepared in .*got 'darkness'"):
        stream_tfds("darkness", **settings)
    for name, manual in (
        ("imagenet2012", " --manual_dir=MANUAL_DIR"),
        ("imagenet_resized/32x32", ""),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            stream_tfds(name, **settings)
        command = f"freqbias.data.prepare --name={name} --data_dir={prepared}{manual} (needs"
        assert command in str(caught.value)

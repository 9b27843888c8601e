"""Folders of pictures: which label each has, in which order they come, and what is refused."""

import re

import numpy as np
import pytest

from freqbias import data

Image = pytest.importorskip("PIL.Image")


def picture(path, value, shape=(4, 4, 3)):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8).squeeze()).save(path)


def test_a_folder_for_each_class_in_turn(tmp_path):
    for name, values in {"dog": (10, 20, 30), "cat": (40, 50)}.items():
        for number, value in enumerate(values):
            picture(tmp_path / name / f"{number}.png", value)
    (tmp_path / "notes.txt").write_text("no picture")
    split, names = data.load_pictures(tmp_path)
    assert names == ("cat", "dog")
    assert split.labels.tolist() == [0, 1, 0, 1, 1]
    assert split.pixels[:, 0, 0, 0].tolist() == [40, 10, 50, 20, 30]
    few, _ = data.load_pictures(tmp_path, num_images=3)
    assert few.labels.tolist() == [0, 1, 0]


def test_numbers_as_names_are_the_labels(tmp_path):
    for label in (2, 10):
        picture(tmp_path / str(label) / "a.png", label)
    split, names = data.load_pictures(tmp_path)
    assert sorted(split.labels.tolist()) == [2, 10]
    assert (split.pixels[:, 0, 0, 0] == split.labels).all()
    assert names == ()


def test_labels_at_the_end_of_names_and_grey_among_colours(tmp_path):
    picture(tmp_path / "x_7.png", 5)
    picture(tmp_path / "y_3.png", 9, shape=(4, 4, 1))
    split, _ = data.load_pictures(tmp_path)
    assert split.labels.tolist() == [7, 3]
    assert split.pixels.shape == (2, 4, 4, 3)
    (tmp_path / "x_7.png").unlink()
    assert data.load_pictures(tmp_path)[0].pixels.shape == (1, 4, 4, 1)


def test_pictures_are_resized_by_their_shorter_side_and_cut_about_the_centre(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200  # the middle third
    Image.fromarray(wide).save(tmp_path / "wide_0.png")
    picture(tmp_path / "small_1.png", 100, shape=(2, 2, 3))
    split, _ = data.load_pictures(tmp_path, size=4)
    small, wide = split.pixels  # in the order of names
    assert (small == 100).all()
    assert wide.shape == (4, 4, 3)
    assert wide.mean() > 150  # of the middle, and a little of what is beside it


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ((), FileNotFoundError, "holds none"),
        (("cat.png",), ValueError, "end in their label (name_7.png); got cat.png"),
        (("a_0.png", "b_1.big.png"), ValueError, "got b_1.big.png"),
        (("a_0.png", "b_1.png"), ValueError, "of one size; got [(4, 4), (6, 6)]"),
    ],
)
def test_what_is_no_such_folder_is_told(names, error, words, tmp_path):
    for number, name in enumerate(names):
        side = 4 + 2 * number
        picture(tmp_path / name, 1, shape=(side, side, 3))
    with pytest.raises(error, match=re.escape(words)):
        data.load_pictures(tmp_path)


def test_files_that_are_no_pictures_are_named(tmp_path):
    (tmp_path / "x_1.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"x_1\.png is none"):
        data.load_pictures(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is none at"):
        data.load_pictures(tmp_path / "nowhere")

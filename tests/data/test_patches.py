"""The chequerboard: no shared pixels, no repeated patch, prefixes that cover everything."""

import itertools

import numpy as np
import pytest

from freqbias.data.patches import GAP, PATCH_SIZE, corners, cut_patches

SHAPE = (150, 225)


def _covered(parity, num):
    mask = np.zeros(SHAPE, bool)
    for row, column in corners(SHAPE, parity=parity, num=num):
        mask[row : row + PATCH_SIZE, column : column + PATCH_SIZE] = True
    return mask


def test_train_and_test_stay_apart_by_the_gap():
    train, test = _covered(0, 6 * 289), _covered(1, 6 * 289)
    grown = np.zeros_like(train)
    for rows, columns in itertools.product(range(-GAP, GAP + 1), repeat=2):
        grown |= np.roll(train, (rows, columns), (0, 1))
    assert (train & test).sum() == 0
    # diagonal and straight neighbours: up to GAP pixels away from a training pixel, none of a test
    assert (grown & test).sum() == 0


def test_all_offsets_of_all_blocks_cover_whole_blocks():
    assert _covered(0, 6 * 289).sum() == 6 * 48**2
    assert _covered(1, 6 * 289).sum() == 6 * 48**2


@pytest.mark.parametrize("parity", [0, 1])
def test_no_patch_comes_twice_and_none_leaves_the_photograph(parity):
    places = corners(SHAPE, parity=parity, num=6 * 289)
    assert len(set(places)) == 6 * 289
    assert all(0 <= r <= SHAPE[0] - PATCH_SIZE for r, _ in places)
    assert all(0 <= c <= SHAPE[1] - PATCH_SIZE for _, c in places)


def test_a_prefix_visits_every_block():
    blocks = {(r // 50, c // 50) for r, c in corners(SHAPE, parity=0, num=6)}
    assert len(blocks) == 6


def test_more_patches_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"num must be at most 1734 .* got 1735"):
        corners(SHAPE, parity=0, num=1735)


def test_patches_are_pieces_of_their_photograph_right_way_up():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.uint8)
    photographs = [np.stack([rows, columns, np.full(SHAPE, k, np.uint8)], -1) for k in (0, 1)]
    split = cut_patches(photographs, parity=1, num_per_class=5)
    np.testing.assert_array_equal(split.labels, [0, 1] * 5)
    steps = np.arange(PATCH_SIZE)
    for patch, label in zip(split.pixels, split.labels, strict=True):
        np.testing.assert_array_equal(patch[:, 0, 0] - patch[0, 0, 0], steps)  # row grows downwards
        np.testing.assert_array_equal(patch[0, :, 1] - patch[0, 0, 1], steps)
        assert (patch[..., 2] == label).all()

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import remove_small_holes, remove_small_objects

from pellucid.core.types import IGNORE
from pellucid.transforms.remove_small_regions import tidied

MASKS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 0, 0, 1, 1, 2, IGNORE]),
)
VOLUMES = hnp.arrays(
    np.uint8, st.tuples(*[st.integers(1, 5)] * 3), elements=st.sampled_from([0, 0, 1, 2])
)


def pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Each connected piece as booleans, found class by class."""
    touching = np.ones((3,) * mask.ndim)
    found = []
    for value in np.unique(mask[mask != IGNORE]):
        numbered, count = ndimage.label(mask == value, touching)
        found += [numbered == number for number in range(1, count + 1)]
    return found


@given(st.one_of(MASKS, VOLUMES), st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_twice_is_once_and_large_pieces_lose_nothing(mask: np.ndarray, smallest: int) -> None:
    before = mask.copy()
    after = tidied(mask, smallest, 3)
    assert (mask == before).all() and after.dtype == np.uint8 and after.shape == mask.shape
    assert (tidied(after, smallest, 3) == after).all()
    assert ((after == IGNORE) == (mask == IGNORE)).all()
    large = [piece for piece in pieces(mask) if piece.sum() >= smallest]
    assert all((after[piece] == mask[piece]).all() for piece in large)
    if large and not (mask == IGNORE).any():
        assert all(piece.sum() >= smallest for piece in pieces(after))


@given(MASKS, st.integers(0, 1))
@settings(max_examples=20, deadline=None)
def test_nothing_is_smaller_than_one_pixel(mask: np.ndarray, smallest: int) -> None:
    assert (tidied(mask, smallest, 3) == mask).all()


def test_small_regions_match_scikit_image() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(80, 90)), 1.5)
    mask = noise > 0.1
    # Pieces of the two kinds that touch each other would depend on which go first.
    specks = remove_small_objects(mask, max_size=19, connectivity=2)
    expected = remove_small_holes(specks, max_size=19, connectivity=2)
    assert (mask != expected).sum() > 50
    np.testing.assert_array_equal(tidied(mask.astype(np.uint8), 20, 2).astype(bool), expected)


def test_a_piece_becomes_what_most_of_its_sides_touch() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 5:] = 1
    mask[3:5, 4:7] = 2  # six sides touch class 1, four the background
    after = tidied(mask, 7, 3)
    assert (after[3:5, 4:7] == 1).all() and after.sum() == mask.astype(bool).sum()
    mask[3:5, 4:7] = mask[3:5, 5:6] = 0
    mask[3:5, 4:6] = 2  # four and four
    assert (tidied(mask, 5, 3)[3:5, 4:6] == 0).all()


def test_a_speck_within_a_speck_goes_with_it() -> None:
    mask = np.ones((12, 12), np.uint8)
    mask[4:7, 4:7] = 2
    mask[5, 5] = 0
    assert (tidied(mask, 10, 3) == 1).all()


def test_a_diagonal_crack_is_one_object() -> None:
    crack = np.eye(12, dtype=np.uint8)
    assert (tidied(crack, 12, 2) == crack).all() and not tidied(crack, 13, 2).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 2, 2)])
def test_where_all_is_small_all_is_background(shape: tuple[int, ...]) -> None:
    assert not tidied(np.ones(shape, np.uint8), 100, 2).any()

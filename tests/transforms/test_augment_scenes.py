"""Pictures with objects in them: boxes move as the pixels do, in one piece and in four."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.rng import Draws
from pellucid.core.types import Objects
from pellucid.transforms.augment import POLICIES, Augmentation, change
from pellucid.transforms.augment.scenes import (
    CENTRE,
    LAST,
    SMALLEST,
    VISIBLE,
    _mosaics,
    _objects,
    _painted,
    scenes,
)

SIZE = 64, 80
ROWS = 4
BLACK = torch.zeros(ROWS)

seeds = st.integers(0, 10_000)
upright = st.builds(
    Augmentation,
    mirror=st.sampled_from([0.0, 0.5, 1.0]),
    zoom=st.floats(0, 0.9),
    shift=st.floats(0, 0.3),
    crop=st.floats(0, 0.3),
    mosaic=st.sampled_from([0.0, 0.5, 1.0]),
)
bent = st.builds(
    replace,
    upright,
    rotate=st.floats(0, 180),
    shear=st.floats(0, 15),
    elastic=st.sampled_from([0.0, 0.02]),
)
rectangles = st.tuples(
    st.integers(0, 55), st.integers(0, 40), st.integers(12, 25), st.integers(12, 24)
).map(lambda r: (r[0], r[1], r[0] + r[2], r[1] + r[3]))


def draws(seed: int = 0, rows: Sequence[int] = range(ROWS)) -> Draws:
    return Draws(seed, 0, np.array(rows))


def one(box: Sequence[float], label: int = 0, ignore: bool = False) -> Objects:
    return Objects(np.array([box]), np.array([label]), np.array([ignore]))


def bright(box: tuple[int, int, int, int], rows: int = ROWS) -> tuple[torch.Tensor, list[Objects]]:
    """Each picture has the rectangle in a channel of its own, and its number as a label."""
    images = torch.zeros(rows, rows, *SIZE)
    for row in range(rows):
        images[row, row, box[1] : box[3], box[0] : box[2]] = 1
    return images, [one(box, row) for row in range(rows)]


def agree(shown: np.ndarray, box: np.ndarray, how: Augmentation) -> None:
    """A box in a piece h×w against the pixels there. Of a turned rectangle that is cut, the box may
    be wider than what is left of it."""
    height, width = shown.shape
    assert (box[:2] >= 0).all() and (box[2:] <= (width, height)).all()
    cut = (box[:2] == 0).any() or (box[2:] == (width, height)).any()
    turned = how.rotate or how.shear or how.elastic
    if (box[2:] - box[:2]).min() > 4 and not (turned and cut):
        np.testing.assert_allclose(found(shown), box, atol=2 if turned else 1.01)


def found(channel: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(channel > 0.5)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)


@settings(max_examples=60, deadline=None)
@given(upright | bent, seeds, rectangles)
def test_a_box_is_where_its_pixels_are(
    how: Augmentation, seed: int, box: tuple[int, int, int, int]
) -> None:
    images, objects = bright(box)
    new, targets = scenes(images, objects, replace(how, mosaic=0.0), draws(seed), BLACK, 0.0)
    for row in range(ROWS):
        assert targets[row].labels.tolist() in ([], [row])
        for each in targets[row].boxes:
            agree(new[row, row].numpy(), each, how)


@settings(max_examples=60, deadline=None)
@given(upright | bent, seeds, rectangles)
def test_boxes_follow_their_pixels_in_a_mosaic(
    how: Augmentation, seed: int, box: tuple[int, int, int, int]
) -> None:
    images, objects = bright(box)
    for pieces in _mosaics(change(how, draws(seed), SIZE), how, draws(seed + 1)):
        picture = _painted(images, [pieces], BLACK)[0]
        for piece in pieces:
            (height, width), here = piece.moved.size, _objects(objects, [piece])
            shown = picture[
                piece.source, piece.top : piece.top + height, piece.left : piece.left + width
            ].numpy()
            for each in here.boxes - [piece.left, piece.top] * 2:
                agree(shown, each, how)


@settings(max_examples=60, deadline=None)
@given(upright, seeds, rectangles)
def test_an_object_is_kept_where_a_quarter_of_it_is_left(
    how: Augmentation, seed: int, box: tuple[int, int, int, int]
) -> None:
    images, objects = bright(box)
    for pieces in _mosaics(change(how, draws(seed), SIZE), how, draws(seed + 1)):
        picture = _painted(images, [pieces], BLACK)[0]
        for piece in pieces:
            height, width = piece.moved.size
            left = (
                (
                    picture[
                        piece.source,
                        piece.top : piece.top + height,
                        piece.left : piece.left + width,
                    ]
                    > 0.5
                )
                .sum()
                .item()
            )
            whole = (
                (box[2] - box[0])
                * (box[3] - box[1])
                / abs(np.linalg.det(piece.moved.maps[0, :, :2]))
            )
            kept, rim = len(_objects(objects, [piece])), 3 * np.sqrt(whole)
            assert left >= VISIBLE * whole - rim if kept else left <= VISIBLE * whole + rim


@settings(max_examples=60, deadline=None)
@given(upright, seeds)
def test_four_pieces_cover_the_picture_at_scales_of_their_own(how: Augmentation, seed: int) -> None:
    for row, pieces in enumerate(_mosaics(change(how, draws(seed), SIZE), how, draws(seed))):
        cover = np.zeros(SIZE, int)
        for piece in pieces:
            height, width = piece.moved.size
            cover[piece.top : piece.top + height, piece.left : piece.left + width] += 1
            scale = 1 / np.sqrt(abs(np.linalg.det(piece.moved.maps[0, :, :2])))
            assert SMALLEST - 1e-9 <= scale <= 1 + how.zoom + 1e-9
        assert (cover == 1).all()
        assert [piece.source == row for piece in pieces] == [True, False, False, False]
        centre = pieces[3].left / SIZE[1], pieces[3].top / SIZE[0]
        assert all(CENTRE[0] - 0.01 <= share <= CENTRE[1] + 0.01 for share in centre)


@settings(max_examples=20, deadline=None)
@given(upright | bent, seeds)
def test_a_piece_is_what_opencv_makes_of_it(how: Augmentation, seed: int) -> None:
    how = replace(how, elastic=0.0)
    # Smooth, because OpenCV knows places to 1/32 of a pixel, and without a border, which it blends
    # otherwise.
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    smooth = (np.sin(x / 7) + np.cos(y / 5)).astype(np.float32)
    images = torch.from_numpy(np.stack([smooth * k for k in range(1, ROWS + 1)]))[:, None]
    for pieces in _mosaics(change(how, draws(seed), SIZE), how, draws(seed)):
        picture = _painted(images, [pieces], torch.zeros(1))[0, 0].numpy()
        for piece in pieces:
            height, width = piece.moved.size
            # OpenCV counts from the centre of the first pixel.
            matrix = piece.moved.maps[0].copy()
            matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            expected = cv2.warpAffine(
                images[piece.source, 0].numpy(), matrix, (width, height), flags=flags, borderValue=0
            )
            inside = (
                cv2.warpAffine(
                    np.ones(SIZE, np.float32), matrix, (width, height), flags=flags, borderValue=0
                )
                > 0.99
            )
            difference = np.abs(
                picture[piece.top : piece.top + height, piece.left : piece.left + width] - expected
            )
            assert difference[inside].max(initial=0) < 0.05


def test_augmentation_of_a_row_ignores_its_neighbors() -> None:
    images, objects = bright((20, 20, 50, 45))
    how = replace(POLICIES["scenes"], rotate=10, elastic=0.01, mosaic=0.0)
    together = scenes(images, objects, how, draws(3), BLACK, 0.0)
    alone = scenes(images[2:3], objects[2:3], how, draws(3, [2]), BLACK, 0.0)
    assert torch.allclose(together[0][2], alone[0][0], atol=1e-5)
    assert np.allclose(together[1][2].boxes, alone[1][0].boxes)


def test_in_a_mosaic_other_pictures_change_only_their_pieces() -> None:
    images, objects = bright((5, 5, 70, 60))
    how = Augmentation(mosaic=1.0, zoom=0.5)
    first, targets = scenes(images, objects, how, draws(1), BLACK, 0.0)
    again, same = scenes(images, objects, how, draws(1), BLACK, 0.0)
    other, _ = scenes(torch.cat([images[:1], images[1:] / 2]), objects, how, draws(1), BLACK, 0.0)
    assert torch.equal(first, again)
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(targets, same, strict=True))
    corner = first[0, :, : int(0.3 * SIZE[0]), : int(0.3 * SIZE[1])]
    assert torch.equal(corner, other[0, :, : int(0.3 * SIZE[0]), : int(0.3 * SIZE[1])])
    assert not torch.equal(first[0], other[0])


def test_mosaics_end_before_the_run() -> None:
    rows = 200
    images, objects = (
        torch.zeros(rows, 1, 16, 16),
        [one((0, 0, 16, 16), row) for row in range(rows)],
    )
    how = Augmentation(mirror=0.5, zoom=0.5, mosaic=0.3)

    def mixed(progress: float) -> int:
        targets = scenes(images, objects, how, draws(0, range(rows)), torch.zeros(1), progress)[1]
        return sum(set(each.labels.tolist()) - {row} != set() for row, each in enumerate(targets))

    # 0.3 of 200, within four standard deviations.
    assert abs(mixed(0.0) - 60) < 26
    assert mixed(LAST - 0.01) == mixed(0.0)
    assert mixed(LAST) == 0


def test_ignored_objects_stay_marked() -> None:
    images = torch.zeros(2, 3, *SIZE, dtype=torch.uint8)
    none = Objects(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    two = Objects(
        np.array([[10, 10, 40, 40], [30, 20, 70, 60]]), np.array([1, 2]), np.array([True, False])
    )
    new, targets = scenes(
        images, [two, none], Augmentation(mirror=1.0), draws(0, [0, 1]), torch.zeros(3), 0.0
    )
    assert targets[0].labels.tolist() == [1, 2] and targets[0].ignore.tolist() == [True, False]
    np.testing.assert_allclose(targets[0].boxes, [[40, 10, 70, 40], [10, 20, 50, 60]])
    assert len(targets[1]) == 0
    assert scenes(
        images,
        [none, none],
        replace(POLICIES["scenes"], mosaic=1.0),
        draws(0, [0, 1]),
        torch.zeros(3),
        0.0,
    )[1][0].boxes.shape == (0, 4)
    assert new.dtype == torch.float32


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.float32])
def test_units_stay_and_the_fill_comes_in_from_outside(kind: torch.dtype) -> None:
    images = torch.full((3, 2, *SIZE), 100.0).to(kind)
    how = Augmentation(shift=0.9, zoom=0.2, mosaic=0.0)
    objects = [one((0, 0, 80, 64))] * 3
    new, _ = scenes(images, objects, how, draws(0, range(3)), torch.tensor([100.0, 7.0]), 0.0)
    assert torch.allclose(new[:, 0], torch.tensor(100.0))
    assert new[:, 1].amin() == pytest.approx(7, abs=1e-3)
    assert new[:, 1].amax() == pytest.approx(100, abs=1e-3)


def test_one_image_makes_a_mosaic_of_itself() -> None:
    images, objects = torch.rand(1, 3, *SIZE), [one((10, 10, 60, 50))]
    how = replace(POLICIES["scenes"], mosaic=1.0)
    plain, targets = scenes(images, objects, how, draws(5, [0]), torch.ones(3), 0.0)
    last, same = scenes(
        images.to(memory_format=torch.channels_last),
        objects,
        how,
        draws(5, [0]),
        torch.ones(3),
        0.0,
    )
    assert torch.allclose(plain, last, atol=1e-5)
    assert np.array_equal(targets[0].boxes, same[0].boxes)
    assert len(targets[0]) > 1

"""Proposals from pixels: what they find, and that they travel with a picture."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.boxes import iou
from pellucid.core.types import Objects
from pellucid.transforms import selective_search
from pellucid.transforms.selective_search import apart, propose, remembered, with_proposals

BOXES = np.array([[10.0, 12, 50, 44], [60, 50, 88, 90], [20, 60, 44, 80]])
COLOURS = [(220, 40, 40), (40, 60, 220), (40, 200, 60)]


def scene(channels: int = 3) -> np.ndarray:
    """Three rectangles on a noisy ground; the first one of two halves of different brightness."""
    picture = np.random.default_rng(0).integers(90, 110, (96, 96, 3)).astype(np.uint8)
    for (x1, y1, x2, y2), colour in zip(BOXES.astype(int), COLOURS, strict=True):
        picture[y1:y2, x1:x2] = colour
    picture[12:44, 30:50] = (150, 20, 20)
    return picture[..., :channels]


@pytest.mark.parametrize("channels", [1, 3])
def test_even_rectangles_are_found_also_one_of_two_parts(channels: int) -> None:
    found = propose(scene(channels))
    assert (iou(BOXES, found).max(1) > 0.8).all()
    assert found.dtype == np.float64 and found.min() >= 0 and found.max() <= 96
    assert (
        len(np.unique(found, axis=0)) == len(found) and ((found[:, 2:] - found[:, :2]) >= 4).all()
    )
    assert (iou(found, np.array([[0.0, 0, 96, 96]])) == 1).any()


def test_few_are_the_first_of_many_and_the_same_each_time() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    many = propose(picture)
    np.testing.assert_array_equal(propose(picture, 5), many[:5])
    np.testing.assert_array_equal(propose(picture), many)


def test_an_even_picture_is_one_region() -> None:
    np.testing.assert_array_equal(propose(np.full((20, 30, 3), 7, np.uint8)), [[0, 0, 30, 20]])


def test_merging_takes_the_two_most_alike_first() -> None:
    """Four stripes; the second and third differ least,
    so theirs is the first box that is not a stripe's."""
    stripes = np.repeat(np.array([0, 120, 122, 255], np.uint8), 16)
    picture = np.broadcast_to(stripes[None, :, None], (64, 64, 1)).copy()
    labels = np.broadcast_to(np.repeat(np.arange(4), 16), (64, 64))
    boxes = selective_search._merged(selective_search._Regions(labels, picture))
    assert len(boxes) == 7
    np.testing.assert_array_equal(boxes[:4, 0], [0, 16, 32, 48])
    np.testing.assert_array_equal(boxes[4], [16, 0, 48, 64])
    np.testing.assert_array_equal(boxes[6], [0, 0, 64, 64])


def test_joined_regions_equal_one_region() -> None:
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
    labels = np.repeat(np.arange(3), 4)[None].repeat(12, 0)
    three, two = (
        selective_search._Regions(labels, picture),
        selective_search._Regions(np.maximum(labels, 1) - 1, picture),
    )
    three.join(0, 1)
    np.testing.assert_allclose(three.histograms[0], two.histograms[0])
    np.testing.assert_array_equal(three.boxes[0], two.boxes[0])
    assert (
        three.pixels[0] == two.pixels[0]
        and three.touch[0].tolist() == [False, False, True]
        and not three.touch[1].any()
    )
    np.testing.assert_allclose(three.likeness(0, np.array([2])), two.likeness(0, np.array([1])))


def test_a_picture_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, searched = scene(), []
    monkeypatch.setattr(selective_search, "_memory", {})
    monkeypatch.setattr(
        selective_search, "propose", lambda picture, most: searched.append(most) or np.zeros((1, 4))
    )
    first = remembered(picture)
    assert remembered(picture.copy()) is first and searched == [300]
    remembered(picture, 30), remembered(255 - picture), remembered(picture.reshape(48, 192, 3))
    assert searched == [300, 30, 300, 300]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_memory_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selective_search, "_memory", {})
    monkeypatch.setattr(selective_search, "_KEPT", 2)
    pictures = [np.full((8, 8, 1), value, np.uint8) for value in range(3)]
    first, second, _ = (remembered(each) for each in pictures)
    assert remembered(pictures[1]) is second and len(selective_search._memory) == 2
    assert remembered(pictures[0]) is not first


def test_proposals_travel_with_the_objects() -> None:
    objects = Objects(BOXES, [0, 2, 1], [False, True, False])
    again, boxes = apart(with_proposals(objects, BOXES[::-1] + 1))
    np.testing.assert_array_equal(boxes, BOXES[::-1] + 1)
    np.testing.assert_array_equal(again.boxes, objects.boxes)
    assert again.labels.tolist() == [0, 2, 1] and again.ignore.tolist() == [False, True, False]

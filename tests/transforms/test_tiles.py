from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.transforms.tiles import cut, merge, seen, tiles, views

SIZE, TILE, OVERLAP = (150, 210), (64, 64), 16


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 90), st.integers(8, 90), st.data())
def test_tiles_cover_the_picture_and_overlap_by_what_was_asked(
    height: int, width: int, down: int, across: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, min(down, across) - 1))
    found = tiles((height, width), (down, across), overlap)
    x1, y1, x2, y2 = found.T
    assert set(x2 - x1) == {min(across, width)} and set(y2 - y1) == {min(down, height)}
    assert found.min() >= 0 and x2.max() == width and y2.max() == height
    for low, high, part in ((x1, x2, across), (y1, y2, down)):
        starts, ends = np.unique(low), np.unique(high)
        assert (ends[:-1] - starts[1:] >= overlap).all()
        # One tile fewer could not cover it.
        assert len(starts) == 1 or (len(starts) - 1) * (part - overlap) + overlap < high.max()
    assert len(found) == len(np.unique(x1)) * len(np.unique(y1)) == len(np.unique(found, axis=0))


def test_tiles_that_cannot_overlap_so_are_refused() -> None:
    for overlap in (0, 64, -1):
        with pytest.raises(ValueError, match="overlap"):
            tiles((100, 100), (64, 80), overlap)


@pytest.mark.parametrize("size", [(40, 50), (64, 64), (150, 210), (30, 200), (200, 30)])
def test_every_view_shows_the_picture_where_its_placement_says(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.stack([x + 1, y + 1], axis=2).astype(np.uint16)
    whole, *cuts = views(picture, TILE, 0)
    assert whole[0].shape == (*TILE, 2) and (size[0] <= 64 and size[1] <= 64) == (not cuts)
    assert seen(whole[1])[:2].tolist() == [0, 0] and seen(whole[1])[2:].tolist() == pytest.approx(
        [size[1], size[0]]
    )
    covered = np.zeros(size, bool)
    for view, transform in cuts:
        assert view.shape == (*TILE, 2)
        left, top, right, bottom = seen(transform).astype(int)
        shown = view[: bottom - top, : right - left]
        assert (
            (shown == picture[top:bottom, left:right]).all()
            and not view[bottom - top :].any()
            and not view[:, right - left :].any()
        )
        covered[top:bottom, left:right] = True
    assert covered.all() or not cuts


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Objects up to twice the overlap and labels; no two of a class meet,
    those of different classes may."""
    boxes, labels = [], []
    for _ in range(draw(st.integers(0, 12))):
        w, h = draw(st.floats(3, 2 * OVERLAP)), draw(st.floats(3, 2 * OVERLAP))
        x, y = draw(st.floats(0, SIZE[1] - w)), draw(st.floats(0, SIZE[0] - h))
        box, label = np.array([x, y, x + w, y + h]), draw(st.integers(0, 1))
        apart = [
            box[0] > o[2] + 2 or o[0] > box[2] + 2 or box[1] > o[3] + 2 or o[1] > box[3] + 2
            for o in boxes
        ]
        if all(free or label != other for free, other in zip(apart, labels, strict=True)):
            boxes.append(box)
            labels.append(label)
    return np.array(boxes).reshape(-1, 4), np.array(labels, np.int64)


def seen_in_tiles(
    boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator, tile: tuple[int, int] = TILE
) -> tuple[np.ndarray, ...]:
    """What a detector without fault says: in each tile the part of each object that lies in it,
    by scores of its own."""
    rows = []
    for window in tiles(SIZE, tile, OVERLAP).astype(float):
        low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
        for i in np.flatnonzero((high - low > 0.05).all(axis=1)):
            rows.append(
                (np.concatenate([low[i], high[i]]), rng.uniform(0.5, 0.9), labels[i], window)
            )
    rows = [rows[i] for i in rng.permutation(len(rows))]
    found, scores, said, windows = zip(*rows, strict=True) if rows else ((), (), (), ())
    return (
        np.array(found).reshape(-1, 4),
        np.array(scores, np.float64),
        np.array(said, np.int64),
        np.array(windows).reshape(-1, 4),
    )


def in_order(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.column_stack([labels, boxes])
    return rows[np.lexsort(rows.T[::-1])]


@given(scenes(), st.integers(0, 5))
def test_no_object_is_seen_twice_and_none_is_lost(
    scene: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    boxes, scores, labels = merge(*seen_in_tiles(*scene, np.random.default_rng(seed)), SIZE)
    assert len(boxes) == len(scene[0]) and (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(in_order(boxes, labels), in_order(*scene), atol=0.06)


def test_an_object_larger_than_a_tile_is_joined() -> None:
    large, one = np.array([[5.0, 30, 200, 140]]), np.array([0])
    found = seen_in_tiles(large, one, np.random.default_rng(0))
    boxes, scores, _ = merge(*found, SIZE)
    np.testing.assert_allclose(boxes, large)
    assert scores == found[1].max()


def test_a_small_object_before_a_cut_one_is_kept() -> None:
    both = np.array([[30.0, 20, 62, 60], [40, 30, 46, 36]])
    boxes, _, labels = merge(*seen_in_tiles(both, np.array([1, 1]), np.random.default_rng(1)), SIZE)
    np.testing.assert_allclose(in_order(boxes, labels), in_order(both, np.array([1, 1])))


def test_a_cut_object_yields_to_the_whole_image() -> None:
    window, whole = [0.0, 0, 64, 64], [0.0, 0, 210, 150]
    boxes, views_ = np.array([[20.0, 20, 64, 50], [20, 20, 190, 50]]), np.array([window, whole])
    for sure, kept in ((0.8, [1]), (0.05, [0, 1])):
        scores = np.array([0.9, sure])
        merged, _, _ = merge(boxes, scores, np.zeros(2, int), views_, SIZE)
        np.testing.assert_array_equal(merged, boxes[kept])


def test_an_edge_of_the_picture_cuts_nothing() -> None:
    windows = np.array([[0.0, 0, 64, 64]] * 4)
    boxes = np.array([[0.0, 0, 20, 20], [10, 10, 63.9, 20], [0, 50, 10, 70], [10, 10, 62, 20]])
    assert cut(boxes, windows, SIZE).tolist() == [False, True, True, False]
    assert cut(boxes, windows, (64, 64)).tolist() == [False] * 4


def test_classes_do_not_meet() -> None:
    window = np.array([[0.0, 0, 64, 64]] * 2)
    box = np.array([[10.0, 10, 20, 20]] * 2)
    assert len(merge(box, np.array([0.9, 0.8]), np.array([0, 1]), window, SIZE)[0]) == 2
    assert len(merge(box, np.array([0.9, 0.8]), np.array([1, 1]), window, SIZE)[0]) == 1


def test_pieces_of_different_classes_are_not_joined() -> None:
    both = np.repeat([[40.0, 20, 100, 50]], 2, axis=0)
    boxes, _, labels = merge(*seen_in_tiles(both, np.array([0, 1]), np.random.default_rng(2)), SIZE)
    np.testing.assert_allclose(in_order(boxes, labels), in_order(both, np.array([0, 1])))


def test_boxes_that_are_a_little_off_are_still_one_object() -> None:
    """A detector with an error of a pixel and a half at each side: as many objects as there are,
    each near its place."""
    rng = np.random.default_rng(3)
    objects = np.array(
        [
            [5.0, 10, 60, 40],
            [70, 5, 120, 60],
            [150, 20, 200, 80],
            [20, 80, 90, 140],
            [110, 90, 140, 120],
        ]
    )
    labels = np.zeros(5, np.int64)
    for seed in range(20):
        boxes, scores, said, windows = seen_in_tiles(objects, labels, np.random.default_rng(seed))
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 6
        inner = (boxes != windows) * rng.uniform(-1.5, 1.5, boxes.shape)
        found, _, _ = merge(
            (boxes + inner)[large], scores[large], said[large], windows[large], SIZE
        )
        assert len(found) == 5
        np.testing.assert_allclose(in_order(found, labels), in_order(objects, labels), atol=6)


def test_nothing_seen_is_nothing_found() -> None:
    none = np.zeros((0, 4))
    boxes, scores, labels = merge(none, np.zeros(0), np.zeros(0, np.int64), none, SIZE)
    assert boxes.shape == (0, 4) and len(scores) == len(labels) == 0

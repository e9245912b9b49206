"""RoIAlign and RoI pooling against plain loops, one cell after another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.models.roi import RoIAlign, level_of, roi_align, roi_pool


def bilinear(x: np.ndarray, row: float, column: float) -> np.ndarray:
    """C×h×w at a point given in places, centres at whole numbers."""
    row, column = min(max(row, 0.0), x.shape[1] - 1.0), min(max(column, 0.0), x.shape[2] - 1.0)
    top, left = math.floor(row), math.floor(column)
    bottom, right = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
    v, h = row - top, column - left
    upper = (1 - h) * x[:, top, left] + h * x[:, top, right]
    lower = (1 - h) * x[:, bottom, left] + h * x[:, bottom, right]
    return (1 - v) * upper + v * lower


def aligned(x: np.ndarray, box: np.ndarray, stride: float, side: int, samples: int) -> np.ndarray:
    """RoIAlign of one box on one map, C×h×w → C×side×side."""
    x1, y1, x2, y2 = box / stride
    answer = np.zeros((len(x), side, side))
    for i in range(side):
        for j in range(side):
            for a in range(samples):
                for b in range(samples):
                    row = y1 + (i + (a + 0.5) / samples) * (y2 - y1) / side
                    column = x1 + (j + (b + 0.5) / samples) * (x2 - x1) / side
                    answer[:, i, j] += bilinear(x, row - 0.5, column - 0.5) / samples**2
    return answer


def pooled(x: np.ndarray, box: np.ndarray, stride: float, side: int) -> np.ndarray:
    height, width = x.shape[1:]
    left, top = (
        min(max(math.floor(v / stride), 0), n - 1)
        for v, n in zip(box[:2], (width, height), strict=True)
    )
    right = max(min(math.ceil(box[2] / stride), width), left + 1)
    bottom = max(min(math.ceil(box[3] / stride), height), top + 1)
    answer = np.zeros((len(x), side, side), x.dtype)
    for i in range(side):
        for j in range(side):
            rows = slice(
                top + i * (bottom - top) // side, top - (-(i + 1) * (bottom - top) // side)
            )
            columns = slice(
                left + j * (right - left) // side, left - (-(j + 1) * (right - left) // side)
            )
            answer[:, i, j] = x[:, rows, columns].max((1, 2))
    return answer


def some_boxes(rng: np.random.Generator, shape: tuple[int, ...], extent: float) -> np.ndarray:
    """Boxes in and a little outside a square of this side, the smallest without area."""
    corner = rng.uniform(-0.2 * extent, extent, (*shape, 2))
    return np.concatenate(
        [corner, corner + rng.choice([0, 0.1, 0.5, 1.0], (*shape, 2)) * extent], -1
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    side=st.integers(1, 7),
    samples=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_roi_align_is_that_of_plain_loops(
    seed: int, side: int, samples: int, sizes: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    x, boxes = (
        rng.normal(size=(2, 3, *sizes)),
        some_boxes(rng, (2, 4), 8.0 * max(sizes)).astype(np.float32),
    )
    got = roi_align([torch.tensor(x)], torch.tensor(boxes), [8.0], side, samples).reshape(
        2, 4, 3, side, side
    )
    for picture in range(2):
        for box in range(4):
            np.testing.assert_allclose(
                got[picture, box],
                aligned(x[picture], boxes[picture, box], 8.0, side, samples),
                atol=1e-4,
            )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    side=st.integers(1, 7),
    sizes=st.tuples(st.integers(1, 16), st.integers(1, 16)),
)
def test_roi_pool_is_that_of_plain_loops(seed: int, side: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, *sizes)).astype(np.float32)
    # whole and half pixels: cell borders are then exact in both ways of computing them
    boxes = np.round(some_boxes(rng, (2, 4), 16.0 * max(sizes)) * 2).astype(np.float32) / 2
    got = roi_pool(torch.tensor(x), torch.tensor(boxes), 16.0, side).reshape(2, 4, 3, side, side)
    for picture in range(2):
        for box in range(4):
            np.testing.assert_array_equal(
                got[picture, box], pooled(x[picture], boxes[picture, box], 16.0, side)
            )


def test_each_box_is_read_from_its_own_level_and_picture() -> None:
    maps = [
        torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, n, n) + 10 * level
        for level, n in enumerate((40, 20, 10))
    ]
    boxes = torch.tensor([[0.0, 0, 50, 50], [0, 0, 112, 112], [0, 0, 320, 160], [5, 5, 5, 5]])
    assert level_of(boxes, (8, 16, 32)).tolist() == [0, 1, 2, 0]
    got = roi_align(maps, boxes.expand(2, 4, 4), (8.0, 16.0, 32.0)).mean((1, 2, 3)).reshape(2, 4)
    torch.testing.assert_close(got, torch.tensor([[0.0, 10, 20, 0], [1, 11, 21, 1]]))


def test_a_map_that_rises_evenly_is_read_exactly() -> None:
    """On a plane interpolation makes no error: a cell has the value at its centre."""
    place = (torch.arange(20.0) + 0.5) * 8
    x = torch.stack([place.expand(20, 20), place[:, None].expand(20, 20)])[None]
    box = torch.tensor([[[31.0, 23.0, 101.0, 93.0]]])
    got = roi_align([x], box, [8.0])[0]
    torch.testing.assert_close(got[0, 0], 31 + (torch.arange(7.0) + 0.5) * 10)
    torch.testing.assert_close(got[1, :, 0], 23 + (torch.arange(7.0) + 0.5) * 10)


@pytest.mark.parametrize("kind", ["align", "pool"])
def test_gradients_are_those_of_differences(kind: str) -> None:
    rng = np.random.default_rng(0)
    fine, coarse = (torch.tensor(rng.normal(size=(2, 2, n, n)), requires_grad=True) for n in (6, 3))
    boxes = torch.tensor(some_boxes(rng, (2, 3), 48.0))
    if kind == "align":
        assert torch.autograd.gradcheck(
            lambda a, b: roi_align([a, b], boxes, (8.0, 16.0), 3), (fine, coarse)
        )
    else:
        assert torch.autograd.gradcheck(lambda a: roi_pool(a, boxes, 8.0, 3), (fine,))


def test_shapes_alone_are_enough() -> None:
    maps = [torch.empty(2, 5, n, n, device="meta") for n in (8, 4)]
    boxes = torch.empty(2, 3, 4, device="meta")
    layer = RoIAlign((8.0, 16.0))
    assert layer(maps, boxes).shape == (2, 3, 5, 7, 7) and roi_pool(maps[0], boxes, 8.0).shape == (
        6,
        5,
        7,
        7,
    )
    assert layer.macs((3, 5, 7, 7)) == 3 * 5 * 49 * 16


def test_half_precision_gives_nearly_the_same() -> None:
    x, boxes = torch.rand(1, 4, 8, 8), torch.tensor([[[3.0, 5, 40, 50]]])
    torch.testing.assert_close(
        roi_align([x.bfloat16()], boxes, [8.0]).float(),
        roi_align([x], boxes, [8.0]),
        atol=0.02,
        rtol=0,
    )

"""Codes of boxes: each pair is exactly inverse, and says what its paper says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pellucid.core.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from pellucid.core.boxes import coding as C

EXAMPLES = settings(max_examples=50, deadline=None)


def numbers(low: float, high: float, count: int = 2) -> st.SearchStrategy[Tensor]:
    return arrays(np.float64, (3, 5, count), elements=st.floats(low, high)).map(torch.from_numpy)


def boxes(least: float = 8, most: float = 200) -> st.SearchStrategy[Tensor]:
    """3×5×4 xyxy in a picture of 640, none more than 25 times as large as another."""
    return st.tuples(numbers(0, 640), numbers(least, most)).map(
        lambda parts: box_cxcywh_to_xyxy(torch.cat(parts, -1))
    )


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@EXAMPLES
@given(boxes(), boxes(), st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]))
def test_deltas_come_back(target: Tensor, anchors: Tensor, weights: C.Weights) -> None:
    deltas = C.encode_deltas(target, anchors, weights)
    same(C.decode_deltas(deltas, anchors, weights), target)
    same(C.encode_deltas(C.decode_deltas(deltas, anchors, weights), anchors, weights), deltas)


@EXAMPLES
@given(boxes(), numbers(8, 200), st.sampled_from([8.0, 16.0, 32.0]))
def test_anchored_codes_come_back(target: Tensor, anchors: Tensor, stride: float) -> None:
    cells = (box_xyxy_to_cxcywh(target)[..., :2] / stride).floor()
    same(
        C.decode_anchored(
            C.encode_anchored(target, anchors, cells, stride), anchors, cells, stride
        ),
        target,
    )


@EXAMPLES
@given(numbers(-8, 8), numbers(-3, 3), numbers(8, 200))
def test_anchored_answers_come_back(shift: Tensor, growth: Tensor, anchors: Tensor) -> None:
    codes, cells, strides = (
        torch.cat([shift, growth], -1),
        torch.full((2,), 3.0),
        torch.full((5, 1), 16.0),
    )
    found = C.encode_anchored(
        C.decode_anchored(codes, anchors, cells, strides), anchors, cells, strides
    )
    torch.testing.assert_close(found, codes, rtol=1e-6, atol=1e-5)


@EXAMPLES
@given(numbers(0, 1), numbers(0, 1), st.sampled_from([(7, 7), (5, 9)]))
def test_grid_codes_come_back(centres: Tensor, sizes: Tensor, grid: tuple[int, int]) -> None:
    target = torch.cat([centres, sizes], -1)
    cells = (centres * torch.tensor([grid[1], grid[0]])).floor()
    same(C.decode_grid(C.encode_grid(target, cells, grid), cells, grid), target)


@EXAMPLES
@given(boxes(), numbers(0, 640), st.sampled_from([8.0, 32.0]))
def test_distances_come_back(target: Tensor, points: Tensor, stride: float) -> None:
    codes = C.encode_distances(target, points, stride)
    same(C.decode_distances(codes, points, stride), target)
    inside = (points > target[..., :2]).all(-1) & (points < target[..., 2:]).all(-1)
    assert torch.equal((codes > 0).all(-1), inside)


def test_deltas_are_those_of_the_paper() -> None:
    anchor, box = torch.tensor([0.0, 0, 10, 20]), torch.tensor([3.0, 0, 23, 10])
    torch.testing.assert_close(
        C.encode_deltas(box, anchor), torch.tensor([0.8, -0.25, math.log(2), math.log(0.5)])
    )
    torch.testing.assert_close(
        C.encode_deltas(box, anchor, (10, 10, 5, 5))[:2], torch.tensor([8.0, -2.5])
    )


def test_anchored_answers_are_those_of_the_paper() -> None:
    """A centre at σ(0) = 1/2 of cell (3, 2), an anchor doubled in height."""
    found = C.decode_anchored(
        torch.tensor([0.0, 0, 0, math.log(2)]), torch.tensor([10.0, 20]), torch.tensor([3, 2]), 32
    )
    torch.testing.assert_close(box_xyxy_to_cxcywh(found), torch.tensor([112.0, 80, 10, 40]))


def test_grid_codes_are_those_of_the_paper() -> None:
    found = C.encode_grid(torch.tensor([0.5, 0.25, 0.25, 0.04]), torch.tensor([3, 1]), (7, 7))
    torch.testing.assert_close(found, torch.tensor([0.5, 0.75, 0.5, 0.2]))


def test_a_growth_stays_finite_and_a_centre_on_a_border_too() -> None:
    anchor = torch.tensor([0.0, 0, 16, 16])
    wide = C.decode_deltas(torch.tensor([0.0, 0, 900, 0]), anchor)
    assert (wide[2] - wide[0]).item() == pytest.approx(1000)
    border = torch.tensor([0.0, 0, 64, 64])
    codes = C.encode_anchored(border, anchor[2:], torch.tensor([1, 1]), 32.0)
    assert codes.isfinite().all()
    torch.testing.assert_close(
        C.decode_anchored(codes, anchor[2:], torch.tensor([1, 1]), 32.0), border, atol=1e-4, rtol=0
    )


def test_codes_keep_their_type_and_pass_gradients() -> None:
    codes = torch.zeros(2, 4, requires_grad=True)
    anchors = torch.tensor([[0.0, 0, 16, 16], [8, 8, 24, 40]])
    for found in (
        C.decode_deltas(codes, anchors),
        C.decode_anchored(codes, anchors[:, 2:], torch.zeros(2, 2), 8),
        C.decode_distances(codes + 1, anchors[:, :2], 8),
    ):
        assert found.dtype == torch.float32
        (gradient,) = torch.autograd.grad(found[..., 2:].sum(), codes)
        assert (gradient[:, 2:] != 0).all()


@EXAMPLES
@given(numbers(0, 1), numbers(0.01, 1), st.sampled_from([(7, 7), (4, 9)]))
def test_who_is_responsible(centres: Tensor, sizes: Tensor, grid: tuple[int, int]) -> None:
    anchors = torch.tensor([[0.1, 0.1], [0.2, 0.5], [0.6, 0.3]], dtype=torch.float64)
    rows, columns, chosen = C.responsible(torch.cat([centres, sizes], -1), anchors, grid)
    for at in np.ndindex(3, 5):
        (x, y), (w, h) = centres[at].tolist(), sizes[at].tolist()
        assert (rows[at], columns[at]) == (
            min(int(y * grid[0]), grid[0] - 1),
            min(int(x * grid[1]), grid[1] - 1),
        )
        shared = [min(w, wide) * min(h, high) for wide, high in anchors.tolist()]
        shapes = [
            both / (w * h + wide * high - both)
            for both, (wide, high) in zip(shared, anchors.tolist(), strict=True)
        ]
        assert shapes[int(chosen[at])] == pytest.approx(max(shapes), rel=1e-12)


def test_the_first_of_equal_anchors_is_responsible() -> None:
    row, column, anchor = C.responsible(
        torch.tensor([1.0, 0, 0.3, 0.3]), torch.tensor([[0.1, 0.1], [0.2, 0.3], [0.3, 0.2]]), (3, 3)
    )
    assert (int(row), int(column), int(anchor)) == (0, 2, 1)

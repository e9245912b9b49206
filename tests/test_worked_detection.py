"""Worked examples, detection: overlap, what a grid says, who is responsible for a box, suppression,
and what counts as correct."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.core.boxes import iou, paired, suppress, suppress_batch, suppress_by_class
from pellucid.core.boxes.coding import grid_shape, responsible


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float64)


# ------------------------------------------------------------------------------------------ overlap


def test_two_boxes_that_share_one_pixel() -> None:
    """A 2×2 and a 2×3 box that overlap in 1×1: 1/(4 + 6 - 1), not 1/(1 - 1 + 4 + 6)."""
    two, three = boxes((0, 0, 2, 2)), boxes((1, 1, 3, 4))
    assert iou(two, three).tolist() == [[pytest.approx(1 / 9)]]
    assert paired(torch.from_numpy(two), torch.from_numpy(three)).tolist() == [pytest.approx(1 / 9)]


# ----------------------------------------------------------------------------- the output of a grid


@pytest.mark.parametrize(
    ("grid", "anchors", "classes", "shared", "expected"),
    [
        (19, 5, 20, False, 125),
        (19, 2, 5, False, 20),
        (7, 2, 5, True, 15),
        (7, 2, 20, True, 30),
        (19, 1, 3, False, 8),
    ],
    ids=[
        "five anchors",
        "two anchors",
        "one set of classes a cell",
        "the first YOLO",
        "no anchors",
    ],
)
def test_the_shape_of_what_a_grid_says(
    grid: int, anchors: int, classes: int, shared: bool, expected: int
) -> None:
    assert grid_shape((grid, grid), anchors, classes, shared) == (grid, grid, expected)


# ------------------------------------------------------------------------------- who is responsible


def test_responsible_cell_and_anchor() -> None:
    """On 3×3 cells a standing person and a lying car may share a centre: the tall and the wide
    anchor tell them apart."""
    anchors = torch.tensor([[0.1, 0.4], [0.4, 0.1]])
    person, car, corner = [0.5, 0.6, 0.15, 0.5], [0.5, 0.6, 0.5, 0.2], [0.9, 0.1, 0.1, 0.1]
    rows, columns, chosen = responsible(torch.tensor([person, car, corner]), anchors, (3, 3))
    assert rows.tolist() == [1, 1, 0]
    assert columns.tolist() == [1, 1, 2]
    assert chosen.tolist() == [0, 1, 0]


# -------------------------------------------------------------------------------------- suppression


def test_low_scores_go_first_then_overlaps_then_again() -> None:
    """p > 0.6 stays in question; the highest is taken; those with an IoU above 0.5 to it go; again,
    class by class."""
    car, car_again, second, third = (0, 0, 10, 10), (1, 0, 11, 10), (6, 0, 16, 10), (7, 0, 17, 10)
    rows = [
        (*car, 0.9, 0),
        (*car_again, 0.8, 0),
        (*second, 0.7, 0),
        (*third, 0.65, 0),
        (*car, 0.75, 1),
        (30, 30, 40, 40, 0.6, 0),
    ]
    (kept,) = suppress_batch(np.array([rows]), threshold=0.5, floor=0.6)
    assert kept.tolist() == [0, 4, 2]
    table = np.array(rows[:5])
    assert suppress_by_class(table[:, :4], table[:, 4], table[:, 5], 0.5).tolist() == [0, 4, 2]
    assert suppress(table[:, :4], table[:, 4], 0.5).tolist() == [0, 2]


def test_what_is_dropped_drops_nothing() -> None:
    """The middle box overlaps both others and goes with the first; so the last stays."""
    row = boxes((0, 0, 10, 10), (3, 0, 13, 10), (6, 0, 16, 10))
    assert suppress(row, [0.9, 0.8, 0.7], 0.5).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    half = boxes((0, 0, 2, 1), (0, 0, 1, 1))
    assert iou(half, half)[0, 1] == 0.5
    assert suppress(half, [0.9, 0.8], 0.5).tolist() == [0, 1]
    assert suppress(half, [0.9, 0.8], 0.499).tolist() == [0]


def test_equal_scores_keep_their_input_order() -> None:
    apart = boxes((0, 0, 1, 1), (5, 0, 6, 1), (9, 0, 10, 1))
    assert suppress(apart, [0.7, 0.9, 0.7], 0.5).tolist() == [1, 0, 2]
    same = boxes((0, 0, 2, 2), (0, 0, 2, 2))
    assert suppress(same, [0.7, 0.7], 0.5).tolist() == [0]


# ------------------------------------------------------------------------------------ what is right


def test_a_detection_is_correct_from_an_overlap_of_one_half() -> None:
    target, said = boxes((0, 0, 2, 1)), boxes((0, 0, 1, 1), (0, 0, 0.99, 1), (0, 0, 2, 1))
    assert (iou(said, target)[:, 0] >= 0.5).tolist() == [True, False, True]

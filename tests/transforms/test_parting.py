"""Objects that touch are parted where a wall is faint, and only there."""

from __future__ import annotations

import numpy as np

from pellucid.metrics.segmentation import rand_score
from pellucid.transforms.split_touching import parted


def rooms(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Two rooms with a wall between them that is faint along a third of its length: how likely a
    pixel is inside, and the truth."""
    inside = np.full((60, 80), 0.97, np.float32)
    inside[:, 38:42] = 0.05
    inside[20:40, 38:42] = gap
    target = np.ones((60, 80), np.uint8)
    target[:, 38:42] = 0
    return inside, target


def score(target: np.ndarray, inside: np.ndarray, wall: float) -> float:
    return rand_score(target, target, parted(inside, wall, 0.0))


def test_a_wall_with_a_gap_separates_two_cells() -> None:
    inside, target = rooms(0.9)
    assert rand_score(target, (inside > 0.5).astype(np.uint8)) < 0.7
    found = parted(inside, 0.5, 0.0)
    assert found.dtype == np.int32 and found.max() == 2
    assert score(target, inside, 0.5) > 0.999


def test_a_line_that_is_faint_all_along_parts_nothing() -> None:
    inside, _ = rooms(0.7)
    inside[:, 38:42] = 0.7
    assert parted(inside, 0.5, 0.0).max() == 1
    assert parted(inside, 0.2, 0.0).max() == 2


def test_where_nothing_is_between_there_is_one_room() -> None:
    inside, _ = rooms(0.97)
    inside[:, 38:42] = 0.97
    noise = np.random.default_rng(0).normal(0, 0.02, inside.shape).astype(np.float32)
    assert (parted((inside + noise).clip(0, 1), 0.5, 0.0) == 1).all()
    assert (parted(np.ones((20, 30)), 0.5, 0.0) == 1).all()


def test_below_the_floor_there_is_no_object() -> None:
    inside, _ = rooms(0.6)
    found = parted(inside, 0.5, 0.5)
    assert (found[inside < 0.5] == 0).all() and (found[inside > 0.5] > 0).all()

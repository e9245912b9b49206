"""Boxes: against formulas written out for one pair at a time,
and suppression against the plain greedy loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from pellucid.core import boxes as B

# Whole numbers and quarters: boxes that touch, hide each other, and have no width, come up often.
COORDINATE = st.integers(-40, 400).map(lambda quarter: quarter / 4)
# A deadline would be a test of the machine.
EXAMPLES = settings(max_examples=100, deadline=None)
KINDS = ("iou", "giou", "diou", "ciou")


def corners(least: int = 1, most: int = 6) -> st.SearchStrategy[np.ndarray]:
    """N×4 xyxy with x1 <= x2 and y1 <= y2, points and lines among them."""
    points = st.integers(least, most).flatmap(
        lambda n: arrays(np.float64, (n, 2, 2), elements=COORDINATE)
    )
    return points.map(lambda pair: np.concatenate([pair.min(axis=1), pair.max(axis=1)], axis=1))


# ------------------------------------------------------------------------------------------ formats


@pytest.mark.parametrize(
    ("there", "back"),
    [(B.box_xyxy_to_cxcywh, B.box_cxcywh_to_xyxy), (B.box_xyxy_to_xywh, B.box_xywh_to_xyxy)],
)
@EXAMPLES
@given(boxes=corners())
def test_each_format_comes_back_and_torch_says_the_same(
    there: Callable[[Any], Any], back: Callable[[Any], Any], boxes: np.ndarray
) -> None:
    assert_allclose(back(there(boxes)), boxes, rtol=1e-12, atol=1e-12)
    assert_array_equal(there(torch.from_numpy(boxes)).numpy(), there(boxes))


def test_a_format_is_what_its_name_says() -> None:
    box = np.array([[[2.0, 10, 6, 30]]])
    assert B.box_xyxy_to_cxcywh(box).tolist() == [[[4, 20, 4, 20]]]
    assert B.box_xyxy_to_xywh(box).tolist() == [[[2, 10, 4, 20]]]
    assert B.area(box).tolist() == [[80]]


@EXAMPLES
@given(boxes=corners())
def test_clipping_keeps_what_is_inside(boxes: np.ndarray) -> None:
    frame = np.array([[0.0, 0, 60, 30]])
    inside = B.clip(boxes, (30, 60))
    assert (inside >= 0).all() and (inside[:, 0::2] <= 60).all() and (inside[:, 1::2] <= 30).all()
    assert_allclose(
        B.area(inside), B.overlap_of_first(boxes, frame)[:, 0] * B.area(boxes), atol=1e-9
    )
    assert_array_equal(B.clip(torch.from_numpy(boxes), (30, 60)).numpy(), inside)


def test_an_empty_box_has_no_area() -> None:
    assert B.area(np.array([[5.0, 5, 1, 1], [5, 5, 1, 9], [3, 3, 3, 9]])).tolist() == [0, 0, 0]


# ----------------------------------------------------------------------------------------- overlaps


def alike(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    """One pair, from the papers: Rezatofighi et al. 2019, algorithm 1; Zheng et al. 2020, equations
    5, 7, 9 to 11. 0 for 0/0."""

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.tolist(), b.tolist()
    both = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    iou = ratio(both, union)
    wide, high = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    apart = ((ax1 + ax2) / 2 - (bx1 + bx2) / 2) ** 2 + ((ay1 + ay2) / 2 - (by1 + by2) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan2(ax2 - ax1, ay2 - ay1) - math.atan2(bx2 - bx1, by2 - by1)) ** 2
    near = ratio(apart, wide**2 + high**2)
    return {
        "iou": iou,
        "giou": iou - ratio(wide * high - union, wide * high),
        "diou": iou - near,
        "ciou": iou - near - ratio(v, 1 - iou + v) * v,
    }[kind]


@EXAMPLES
@given(a=corners(), b=corners())
def test_the_overlap_of_all_pairs(a: np.ndarray, b: np.ndarray) -> None:
    expected = [[alike(one, other, "iou") for other in b] for one in a]
    assert_allclose(B.iou(a, b), expected, atol=1e-12)
    assert_allclose(B.iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(), expected, atol=1e-12)


def test_the_share_of_the_first() -> None:
    a, crowd = (
        np.array([[0.0, 0, 2, 2], [9, 9, 9, 9]]),
        np.array([[1.0, 0, 100, 100], [50, 50, 60, 60]]),
    )
    assert B.overlap_of_first(a, crowd).tolist() == [[0.5, 0], [0, 0]]
    assert_array_equal(
        B.overlap_of_first(torch.from_numpy(a), torch.from_numpy(crowd)).numpy(),
        B.overlap_of_first(a, crowd),
    )


def test_no_boxes_overlap_none() -> None:
    none, one = np.zeros((0, 4)), np.array([[0.0, 0, 1, 1]])
    assert B.iou(none, one).shape == (0, 1) and B.iou(one, none).shape == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
@EXAMPLES
@given(a=corners(4, 4), b=corners(4, 4))
def test_the_overlap_of_rows_and_its_gradient(kind: Any, a: np.ndarray, b: np.ndarray) -> None:
    first, second = (torch.tensor(boxes, requires_grad=True) for boxes in (a, b))
    found = B.paired(first, second, kind)
    assert_allclose(
        found.detach().numpy(), [alike(*row, kind) for row in zip(a, b, strict=True)], atol=1e-6
    )
    found.sum().backward()
    for boxes in (first, second):
        assert boxes.grad is not None and boxes.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_gradient_is_that_of_differences(kind: Any) -> None:
    a = torch.tensor(
        [[0.0, 0, 4, 3], [1, 1, 9, 9], [20, 3, 22, 9]], dtype=torch.float64, requires_grad=True
    )
    b = torch.tensor([[1.0, 1, 5, 6], [3, 2, 5, 4], [1, 1, 3, 3]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda boxes: B.paired(boxes, b, kind), (a,))


def test_the_weight_of_the_shape_passes_no_gradient() -> None:
    """With α held, the gradient of CIoU is that of DIoU less α times that of the
    shapes' difference."""
    a = torch.tensor([0.0, 0, 4, 3], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([1.0, 1, 3, 8], dtype=torch.float64)
    v = 4 / math.pi**2 * (torch.atan((a[2] - a[0]) / (a[3] - a[1])) - math.atan(2 / 7)) ** 2
    alpha = (v / (1 - B.paired(a, b, "iou") + v)).item()
    (expected,) = torch.autograd.grad(B.paired(a, b, "diou") - alpha * v, a)
    (found,) = torch.autograd.grad(B.paired(a, b, "ciou"), a)
    torch.testing.assert_close(found, expected)


# -------------------------------------------------------------------------------------- suppression


def greedy(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """The plain loop: take the best, drop what overlaps it by more than the threshold, again."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]))
        height = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]))
        both = width * height
        with np.errstate(invalid="ignore"):
            order = rest[~(both / (areas[best] + areas[rest] - both) > threshold)]
    return np.array(kept, np.int64)


def greedy_by_class(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float
) -> np.ndarray:
    """Class after class; then all in the order of score, and of input where scores agree."""
    alone = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    kept = np.concatenate(
        [
            np.zeros(0, np.int64),
            *(here[greedy(boxes[here], scores[here], threshold)] for here in alone),
        ]
    )
    return kept[np.lexsort((kept, -scores[kept]))]


def whole(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers and few scores: exact ties of both, equal boxes,
    and boxes without area."""
    low = rng.integers(0, 9, (count, 2))
    return np.concatenate([low, low + rng.integers(0, 7, (count, 2))], axis=1).astype(
        np.float64
    ), rng.integers(0, 5, count) / 4


def uniform(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    low = rng.uniform(0, 600, (count, 2))
    return np.concatenate([low, low + rng.uniform(4, 200, (count, 2))], axis=1), rng.random(count)


def clustered(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates around some twenty objects, as a detector gives them."""
    which, sizes, centres = (
        rng.integers(0, 20, count),
        rng.uniform(20, 200, (20, 2)),
        rng.uniform(0, 600, (20, 2)),
    )
    half = sizes[which] * np.exp(rng.normal(0, 0.2, (count, 2))) / 2
    middle = centres[which] + rng.normal(0, 0.1, (count, 2)) * sizes[which]
    return np.concatenate([middle - half, middle + half], axis=1), rng.random(count)


def test_the_greedy_loop_ten_thousand_times() -> None:
    rng = np.random.default_rng(0)
    for case in range(10_000):
        make, threshold = (
            (whole, uniform, clustered)[case % 3],
            (0.5, 0.3, 0.7, 0.0, 1 / 3, 1.0)[case % 6],
        )
        boxes, scores = make(rng, int(rng.integers(0, 20)))
        assert_array_equal(
            B.suppress(boxes, scores, threshold),
            greedy(boxes, scores, threshold),
            err_msg=f"case {case}",
        )


@pytest.mark.parametrize("make", [whole, uniform, clustered])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_greedy_loop_on_a_thousand_boxes(make: Callable[..., Any], threshold: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        boxes, scores = make(rng, 1000)
        kept = B.suppress(boxes, scores, threshold)
        assert kept.dtype == np.int64
        assert_array_equal(kept, greedy(boxes, scores, threshold))
        # Far away, thin and tiny: the windows of whole numbers must not lose a pair.
        moved = boxes * [1e-3, 50, 1e-3, 50] + 1e5
        assert_array_equal(B.suppress(moved, scores, threshold), greedy(moved, scores, threshold))
        labels = rng.integers(0, 4, 1000)
        assert_array_equal(
            B.suppress_by_class(boxes, scores, labels, threshold),
            greedy_by_class(boxes, scores, labels, threshold),
        )


def test_one_large_box_among_many_small_ones() -> None:
    boxes, scores = uniform(np.random.default_rng(2), 600)
    boxes[300:] = boxes[:300] + 0.5
    boxes[0] = [-1e6, -1e6, 1e6, 1e6]
    assert_array_equal(B.suppress(boxes, scores, 0.5), greedy(boxes, scores, 0.5))


def test_suppression_takes_tensors_lists_and_nothing() -> None:
    boxes, scores = uniform(np.random.default_rng(3), 40)
    assert_array_equal(
        B.suppress(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5),
        B.suppress(boxes.tolist(), scores.tolist(), 0.5),
    )
    assert B.suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
    assert B.suppress_by_class([], [], [], 0.5).tolist() == []


@EXAMPLES
@given(
    seed=st.integers(0, 10_000),
    pictures=st.integers(0, 4),
    rows=st.integers(1, 120),
    classes=st.integers(1, 5),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_many_pictures_at_once_are_as_many_alone(
    seed: int, pictures: int, rows: int, classes: int, threshold: float
) -> None:
    rng, floor = np.random.default_rng(seed), 0.2
    made = [(whole, uniform, clustered)[int(rng.integers(3))](rng, rows) for _ in range(pictures)]
    labels = rng.integers(0, classes, (pictures, rows))
    table = np.zeros((pictures, rows, 6))
    for picture, (boxes, scores) in enumerate(made):
        table[picture] = np.column_stack([boxes, scores, labels[picture]])
    found = B.suppress_batch(torch.from_numpy(table), threshold, floor)
    assert len(found) == pictures
    for kept, (boxes, scores), of in zip(found, made, labels, strict=True):
        used = np.flatnonzero(scores > floor)
        assert_array_equal(
            kept, used[greedy_by_class(boxes[used], scores[used], of[used], threshold)]
        )


@pytest.mark.parametrize(
    ("make", "threshold"), [(uniform, 0.85), (clustered, 0.6)], ids=["loose", "crowded"]
)
def test_large_groups(make: Callable[..., Any], threshold: float) -> None:
    """Loose enough to be swept, in more than one block, and too crowded for it."""
    rng = np.random.default_rng(4)
    made = [make(rng, 1500) for _ in range(3)]
    table = np.stack([np.column_stack([boxes, scores, np.zeros(1500)]) for boxes, scores in made])
    for kept, (boxes, scores) in zip(B.suppress_batch(table, threshold), made, strict=True):
        assert_array_equal(kept, greedy(boxes, scores, threshold))


def test_rows_that_are_not_used_are_not_looked_at() -> None:
    table = np.zeros((2, 5, 6), np.float32)
    table[1, 3] = [0, 0, 4, 4, 0.5, 2]
    assert [kept.tolist() for kept in B.suppress_batch(table, 0.5)] == [[], [3]]
    assert [kept.tolist() for kept in B.suppress_batch(table, 0.5, floor=0.5)] == [[], []]


# --------------------------------------------------------------------------------- soft suppression


def softly(boxes: np.ndarray, scores: np.ndarray, kind: str) -> list[tuple[int, float]]:
    """Figure 2 of Bodla et al. 2017, with Python lists."""
    left, said = dict(enumerate(scores.tolist())), []
    while left := {i: score for i, score in left.items() if score >= 0.001}:
        best = max(left, key=lambda i: (left[i], -i))
        said.append((best, left.pop(best)))
        for i in left:
            share = alike(boxes[best], boxes[i], "iou")
            left[i] *= (
                math.exp(-(share**2) / 0.5)
                if kind == "gaussian"
                else 1 - share
                if share > 0.3
                else 1.0
            )
    return said


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_soft_suppression_lowers_scores_instead(kind: Any) -> None:
    rng = np.random.default_rng(5)
    for case in range(60):
        boxes, scores = (whole, clustered)[case % 2](rng, 30)
        kept, left = B.soft_suppress(boxes, scores, kind)
        expected = softly(boxes, scores, kind)
        assert kept.tolist() == [i for i, _ in expected]
        assert_allclose(left, [score for _, score in expected])
        assert (np.diff(left) <= 0).all()

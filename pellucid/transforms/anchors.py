"""Anchors: a few widths and heights that the boxes of a data set resemble, found by k-means on 1 −
IoU.

Source: J. Redmon, A. Farhadi, YOLO9000: Better, Faster, Stronger, CVPR 2017, section 2 (dimension
clusters). Euclidean distance would give most anchors to large boxes, whose errors are large in
pixels; 1 − IoU counts every box alike. The paper moves an anchor to the mean of its boxes, which
may make the distance larger; here it moves only where that makes it smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.boxes import iou_of_sizes
from ..core.errors import DataError
from ..core.rng import generator

# Below this overlap with every anchor a box is a poor match: one that is as high as the anchor is
# then over four times as wide.
POOR = 0.25
# What is clustered of many boxes, and how often anew: more changes little, fewer starts are often
# stuck.
MOST, STARTS = 5_000, 16


@dataclass(frozen=True, eq=False)
class Anchors:
    """sizes: float64 K×2, width and height in pixels of a view, smallest area first. mean_iou: of
    each box with its best anchor. poor: the share of boxes whose best is below 0.25."""

    sizes: np.ndarray
    mean_iou: float
    poor: float

    def __str__(self) -> str:
        cover = f"{len(self.sizes)} anchors cover the boxes with a mean IoU of {self.mean_iou:.2f}"
        return f"{cover}; {self.poor:.1%} of boxes fit none better than {POOR}."


def fit(sizes: np.ndarray, count: int, seed: int = 0) -> Anchors:
    """The best `count` anchors of 16 starts for boxes N×2 (width, height in pixels); boxes without
    area are left out.

    Of more than 5,000 boxes as many are clustered, drawn at random; mean and share are of all.
    Where fewer sizes differ than anchors are asked for, some anchors are equal. Raises DataError
    where no box has an area.
    """
    boxes = with_area(sizes)
    rng = generator(seed, count, len(boxes))
    some = boxes if len(boxes) <= MOST else boxes[rng.choice(len(boxes), MOST, replace=False)]
    found = [cluster(some, spread(some, count, rng)) for _ in range(STARTS)]
    best, _ = min(found, key=lambda each: each[1][-1])
    return judge(boxes, best)


def judge(sizes: np.ndarray, anchors: np.ndarray) -> Anchors:
    """How well given anchors K×2 cover boxes N×2. Raises DataError where no box has an area."""
    anchors = anchors[np.argsort(anchors.prod(1), kind="stable")]
    best = iou_of_sizes(with_area(sizes), anchors).max(1)
    return Anchors(anchors, float(best.mean()), float((best < POOR).mean()))


def spread(sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ (Arthur and Vassilvitskii 2007): each first anchor is a box, more likely the
    further it is from those before."""
    chosen = sizes[rng.integers(len(sizes))][None]
    far = 1 - iou_of_sizes(sizes, chosen)[:, 0]
    while len(chosen) < count:
        # A little for all, where every box is an anchor already.
        likely = far.clip(0) + 1e-12
        new = sizes[rng.choice(len(sizes), p=likely / likely.sum())][None]
        chosen, far = (
            np.concatenate([chosen, new]),
            np.minimum(far, 1 - iou_of_sizes(sizes, new)[:, 0]),
        )
    return chosen


def cluster(sizes: np.ndarray, anchors: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Lloyd's rounds until no anchor moves: anchors K×2, and the mean of 1 − IoU before each round,
    which never rises."""
    means: list[float] = []
    while True:
        apart = 1 - iou_of_sizes(sizes, anchors)
        nearest = apart.argmin(1)
        means.append(float(apart.min(1).mean()))
        moved = np.stack([_centre(sizes[nearest == k], anchor) for k, anchor in enumerate(anchors)])
        if np.array_equal(moved, anchors):
            return anchors, means
        anchors = moved


def _centre(sizes: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The mean or the median of some boxes, or what there is: of the three,
    the one that overlaps them most."""
    if not len(sizes):
        return now
    candidates = np.stack([now, sizes.mean(0), np.median(sizes, axis=0)])
    gained = iou_of_sizes(sizes, candidates).mean(0)
    # Not for a rounding error: the rounds would never end.
    return candidates[gained.argmax()] if gained.max() > gained[0] + 1e-9 else now


def with_area(sizes: np.ndarray) -> np.ndarray:
    """float64 N×2: the widths and heights of boxes that have an area. Raises DataError for none."""
    boxes = np.asarray(sizes, np.float64).reshape(-1, 2)
    boxes = boxes[(boxes > 0).all(1)]
    if not len(boxes):
        raise DataError("there is no box with an area to fit anchors to; look at the annotations")
    return boxes

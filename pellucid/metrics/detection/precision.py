"""Average precision with 101 recalls, as COCO's, of any number of resamples of the images at
once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.boxes import area
from .table import LEFT_OUT, LIMIT, RIGHT, WRONG, Table, match, outcomes, pairs

# 0.5 to 0.95 in steps of 0.05, and the recalls that precision is looked up at, in the very
# floating-point numbers of COCO's code.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Areas in square pixels, COCO's; both ends belong to a size.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_CHUNK = 100


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Detections, highest score first, and what became of them: labels, picture: D; outcome: int8
    T×D; positives: P×C objects."""

    labels: np.ndarray
    picture: np.ndarray
    outcome: np.ndarray
    positives: np.ndarray


def judge(
    table: Table,
    thresholds: np.ndarray = THRESHOLDS,
    size: str | None = None,
    limit: int | None = LIMIT,
) -> Judged:
    """Every detection at every threshold of IoU, up to `limit` of a class in a picture; of objects
    of one size of SIZES where asked."""
    close = pairs(table, float(thresholds.min()), same_class=True)
    unwanted, outside = table.objects.ignore, None
    if size is not None:
        low, high = SIZES[size]
        ours, theirs = area(table.boxes), area(table.objects.boxes)
        unwanted, outside = (
            unwanted | (theirs < low) | (theirs > high),
            (ours < low) | (ours > high),
        )
    outcome = outcomes(table, match(table, close, thresholds, unwanted), unwanted, outside)
    if limit is not None:
        outcome[:, table.rank >= limit] = LEFT_OUT
    return Judged(table.labels, table.picture, outcome, table.positives(~unwanted))


def average_precision(judged: Judged, weights: np.ndarray | None = None) -> np.ndarray:
    """T×C×R: of each class at each threshold of overlap in each of R resamples; NaN where it has no
    objects.

    weights: P×R, how often each resample holds each picture; without them every picture once. A
    picture that is drawn twice is one that counts twice, so detections are sorted and matched once.
    """
    weights = np.ones((len(judged.positives), 1)) if weights is None else weights
    result = np.full((len(judged.outcome), judged.positives.shape[1], weights.shape[1]), np.nan)
    for label in np.flatnonzero(judged.positives.any(axis=0)):
        mine = np.flatnonzero(judged.labels == label)
        for start in range(0, weights.shape[1], _CHUNK):
            drawn = weights[:, start : start + _CHUNK]
            objects = judged.positives[:, label] @ drawn
            for threshold, outcome in enumerate(judged.outcome[:, mine]):
                right, precision = _envelope(outcome, judged.picture[mine], drawn)
                result[threshold, label, start : start + _CHUNK] = _area(right, precision, objects)
    return result


def _envelope(
    outcome: np.ndarray, picture: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """K×R at the K detections that are right: how many are by then,
    and the highest precision there or further down."""
    from scipy.sparse import csr_array

    # Only where a right one comes does recall rise, and a wrong one counts through the next right
    # one alone.
    right = np.flatnonzero(outcome == RIGHT)
    wrong = np.flatnonzero(outcome == WRONG)
    before = np.searchsorted(right, wrong)
    wrong, before = wrong[before < len(right)], before[before < len(right)]
    steps = (
        csr_array((np.ones(len(wrong)), (before, picture[wrong])), shape=(len(right), len(weights)))
        @ weights
    )
    found = np.cumsum(weights[picture[right]], axis=0)
    precision = found / np.maximum(found + np.cumsum(steps, axis=0), 1)
    return found, np.maximum.accumulate(precision[::-1], axis=0)[::-1]


def _area(right: np.ndarray, precision: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The mean precision at the 101 recalls; right, precision: K×R, objects: R.
    NaN without objects."""
    recall = right / np.maximum(objects, 1)
    reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
    areas = (precision * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / len(RECALLS)
    return np.where(objects > 0, areas, np.nan)


def curve(judged: Judged, label: int) -> np.ndarray:
    """The 101 precisions of one class at RECALLS, at the first threshold of overlap;
    0 beyond the highest recall."""
    mine = np.flatnonzero(judged.labels == label)
    ones = np.ones((len(judged.positives), 1))
    right, precision = _envelope(judged.outcome[0, mine], judged.picture[mine], ones)
    recall = right[:, 0] / max(judged.positives[:, label].sum(), 1)
    return np.append(precision[:, 0], 0.0)[np.searchsorted(recall, RECALLS)]


def mean_precision(of_classes: np.ndarray) -> np.ndarray:
    """T×C×R to R: the mean over thresholds and over the classes that have objects;
    NaN where none has."""
    known = ~np.isnan(of_classes).all(axis=(0, 1))
    result = np.full(of_classes.shape[2], np.nan)
    result[known] = np.nanmean(of_classes[:, :, known], axis=(0, 1))
    return result


def highest_recall(judged: Judged, weights: np.ndarray | None = None) -> np.ndarray:
    """T×C×R: the share of objects found at all, of each class, at each threshold of overlap,
    in each resample."""
    pictures, classes = judged.positives.shape
    weights = np.ones((pictures, 1)) if weights is None else weights
    objects = (judged.positives.T @ weights)[None]
    cells = judged.labels * pictures + judged.picture
    right = np.stack(
        [np.bincount(cells[row == RIGHT], minlength=classes * pictures) for row in judged.outcome]
    )
    found = right.reshape(-1, classes, pictures).astype(np.float64) @ weights
    return np.where(objects > 0, found / np.maximum(objects, 1), np.nan)

"""From candidates to detections: suppression within a view, and merging of the detections of
several views or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...core.boxes import clip, iou, suppress_batch, suppress_by_class
from ...core.types import ViewTransform
from ...transforms import tiles
from .result import DetectionResult
from .views import through

Found = tuple[np.ndarray, np.ndarray, np.ndarray]

# Two boxes of one class and view with a larger IoU are one object; and boxes that two views or
# models give for one object have at least this IoU.
SAME, ALIKE = 0.6, 0.55
# Detections a view.
MOST = 300


def in_images(
    candidates: torch.Tensor, transforms: Sequence[ViewTransform], least: float = 0.0
) -> list[Found]:
    """The detections of each view in pixels of its image, clipped to it. candidates: B×K×6 in
    pixels of their views, unused rows with score 0; those below `least` are left out, the others
    suppressed."""
    rows = candidates.double().cpu().numpy()
    # Suppression leaves out what scores its floor or less. One view by itself costs less than a
    # batch of one.
    floor = float(np.nextafter(least, 0))
    kept = (
        suppress_batch(rows, SAME, floor)
        if len(rows) > 1
        else [_kept(view, floor) for view in rows]
    )
    return [
        _in_image(view[best[:MOST]], transform)
        for view, best, transform in zip(rows, kept, transforms, strict=True)
    ]


def _kept(rows: np.ndarray, floor: float) -> np.ndarray:
    asked = np.flatnonzero(rows[:, 4] > floor)
    return asked[suppress_by_class(rows[asked, :4], rows[asked, 4], rows[asked, 5], SAME)]


def _in_image(rows: np.ndarray, transform: ViewTransform) -> Found:
    boxes = clip(through(rows[:, :4], transform.backward), transform.source_size)
    return _left(boxes, rows[:, 4].clip(0, 1), rows[:, 5].astype(np.int64))


def merged(found: Sequence[Found], transforms: Sequence[ViewTransform], tta: str) -> Found:
    """The detections of the views of one image as one, highest score first; all in pixels of the
    image."""
    if len(found) == 1:
        return found[0]
    if tta == "flip":
        return fuse(found)
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    seen_by = np.concatenate(
        [
            np.tile(tiles.seen(p), (len(part[1]), 1))
            for p, part in zip(transforms, found, strict=True)
        ]
    )
    return _left(*tiles.merge(boxes, scores, labels, seen_by, transforms[0].source_size))


def _left(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Found:
    """Without boxes that the picture's edge left nothing of."""
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[kept], scores[kept], labels[kept]


def fuse(parts: Sequence[Found]) -> Found:
    """Weighted boxes fusion (Solovyev, Wang, Gabruseva 2021): boxes of one class that overlap a
    cluster's box join it; the cluster's box is the mean weighted by score, and its score the mean
    over all parts, also those without a box in it.

    Other than in the paper each part has one box in a cluster: two neighbors that one view
    separates stay two, and do not raise each other's score. So a single part is returned as it is.
    """
    if len(parts) == 1:
        return parts[0]
    boxes, scores, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    owner = np.repeat(np.arange(len(parts)), [len(part[1]) for part in parts])
    clusters: list[list[int]] = []
    means, joined = np.empty((0, 4)), np.empty((0, len(parts)), bool)
    for i in np.argsort(-scores, kind="stable"):
        open_ = (
            (labels[[c[0] for c in clusters]] == labels[i]) & ~joined[:, owner[i]]
            if clusters
            else np.zeros(0, bool)
        )
        overlap = iou(boxes[i : i + 1], means)[0] * open_
        if overlap.max(initial=0) > ALIKE:
            at = int(overlap.argmax())
            clusters[at].append(int(i))
            means[at] = np.average(boxes[clusters[at]], axis=0, weights=scores[clusters[at]])
        else:
            at = len(clusters)
            clusters.append([int(i)])
            means, joined = (
                np.concatenate([means, boxes[i : i + 1]]),
                np.concatenate([joined, np.zeros((1, len(parts)), bool)]),
            )
        joined[at, owner[i]] = True
    worth = np.array([min(1.0, float(scores[each].sum()) / len(parts)) for each in clusters])
    order = np.argsort(-worth, kind="stable")[:MOST]
    return (
        means[order],
        worth[order],
        labels[[each[0] for each in clusters]][order] if clusters else labels,
    )


def fused(results: Sequence[DetectionResult]) -> DetectionResult:
    """The detections of several models for one image, in the classes of the first; its threshold is
    the mean of theirs."""
    first = results[0]
    parts = []
    for each in results:
        number = np.array([first.classes.index(name) for name in each.classes], np.int64)
        parts.append((each.boxes, each.scores, number[each.class_ids]))
    boxes, scores, class_ids = fuse(parts)
    threshold = float(np.mean([each.threshold for each in results]))
    return replace(first, boxes=boxes, scores=scores, class_ids=class_ids, threshold=threshold)

"""From candidates to objects: suppression within a view,
and one answer out of several views or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...core.boxes import clip, iou, suppress_batch, suppress_by_class
from ...core.types import Prediction, ViewTransform
from ...transforms import tiles
from .views import through

Found = tuple[np.ndarray, np.ndarray, np.ndarray]

# Two boxes of one class that overlap more are one object; and what two views or models say of one
# object overlaps at least so much.
SAME, ALIKE = 0.6, 0.55
# Objects a view.
MOST = 300


def in_pictures(
    candidates: torch.Tensor, transforms: Sequence[ViewTransform], least: float = 0.0
) -> list[Found]:
    """B×K×6 candidates in pixels of their views: of each view those of a score of `least` and more,
    suppressed, in pixels of its picture, clipped to it. Unused rows score 0."""
    rows = candidates.double().cpu().numpy()
    # The floor of suppression is what is not looked at: the number just below. One view by itself
    # costs less than a batch of one.
    floor = float(np.nextafter(least, 0))
    kept = (
        suppress_batch(rows, SAME, floor)
        if len(rows) > 1
        else [_kept(view, floor) for view in rows]
    )
    return [
        _in_picture(view[best[:MOST]], transform)
        for view, best, transform in zip(rows, kept, transforms, strict=True)
    ]


def _kept(rows: np.ndarray, floor: float) -> np.ndarray:
    asked = np.flatnonzero(rows[:, 4] > floor)
    return asked[suppress_by_class(rows[asked, :4], rows[asked, 4], rows[asked, 5], SAME)]


def _in_picture(rows: np.ndarray, transform: ViewTransform) -> Found:
    boxes = clip(through(rows[:, :4], transform.backward), transform.source_size)
    return _left(boxes, rows[:, 4].clip(0, 1), rows[:, 5].astype(np.int64))


def merged(found: Sequence[Found], transforms: Sequence[ViewTransform], crops: str) -> Found:
    """One answer out of what the views of one picture say,
    each in pixels of the picture: highest score first."""
    if len(found) == 1:
        return found[0]
    if crops == "flip":
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


def fuse(said: Sequence[Found]) -> Found:
    """Weighted boxes fusion (Solovyev, Wang, Gabruseva 2021): boxes of one class that overlap a
    cluster's box join it; the cluster's box is the mean weighted by score, and its score the mean
    over all who were asked, also those who saw nothing.

    Other than in the paper each who was asked has one box in a cluster: two neighbours that one
    view tells apart stay two, and do not vouch for each other. So what a single one says comes out
    as it is.
    """
    if len(said) == 1:
        return said[0]
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*said, strict=True))
    who = np.repeat(np.arange(len(said)), [len(part[1]) for part in said])
    clusters: list[list[int]] = []
    means, heard = np.empty((0, 4)), np.empty((0, len(said)), bool)
    for i in np.argsort(-scores, kind="stable"):
        open_ = (
            (labels[[c[0] for c in clusters]] == labels[i]) & ~heard[:, who[i]]
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
            means, heard = (
                np.concatenate([means, boxes[i : i + 1]]),
                np.concatenate([heard, np.zeros((1, len(said)), bool)]),
            )
        heard[at, who[i]] = True
    worth = np.array([min(1.0, float(scores[each].sum()) / len(said)) for each in clusters])
    order = np.argsort(-worth, kind="stable")[:MOST]
    return (
        means[order],
        worth[order],
        labels[[each[0] for each in clusters]][order] if clusters else labels,
    )


def fused(answers: Sequence[Prediction]) -> Prediction:
    """What several models say of one picture, as one answer in the classes of the first; its
    threshold is the mean of theirs."""
    first = answers[0]
    said = []
    for each in answers:
        assert each.boxes is not None and each.scores is not None and each.labels is not None
        number = np.array([first.classes.index(name) for name in each.classes], np.int64)
        said.append((each.boxes, each.scores, number[each.labels]))
    boxes, scores, labels = fuse(said)
    return replace(
        first,
        boxes=boxes,
        scores=scores,
        labels=labels,
        threshold=float(np.mean([each.threshold for each in answers])),
    )

"""Suppression: of boxes that say the same thing, the most certain stays. Exact, in NumPy.

Greedy suppression is a loop, and a loop over boxes is slow. So the best `HEAD` boxes are settled
among themselves at once, then drop what they meet of all the rest, and so on. Most pairs are told
apart by whole numbers of 16 bits: with an IoU above t the centres are at most (1/t - 1)/2 widths
and heights of either box apart, and only pairs within these windows, rounded outwards, are
measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .geometry import area, iou, over

HEAD = 128
STEPS = 65_000
# Of many pictures at once: the pairs measured together, so that they stay in the processor's cache;
# the part, 1/8, that a round must settle to pay; and the pairs a box from which a sweep costs more
# than one group after another.
BLOCK = 1 << 15
SETTLED_IN_A_ROUND = 8
CROWDED = 40


def suppress(boxes_xyxy: Any, scores: Any, threshold: float) -> np.ndarray:
    """The boxes that stay, as int64 indices, highest score first (greedy non-maximum suppression).

    boxes: N×4 and scores: N, finite, arrays or CPU tensors; computed in float64. A box is dropped
    when its IoU with a better box that stays is above the threshold, from 0 to 1; of equal scores
    the earlier is the better.
    """
    return _greedy(boxes_xyxy, scores, threshold, None)


def suppress_by_class(boxes_xyxy: Any, scores: Any, labels: Any, threshold: float) -> np.ndarray:
    """As `suppress`, but a box drops only boxes of its own label (N whole numbers). Highest score
    first, over all classes."""
    return _greedy(
        boxes_xyxy,
        scores,
        threshold,
        np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1),
    )


def suppress_batch(candidates: Any, threshold: float, floor: float = 0.0) -> list[np.ndarray]:
    """`suppress_by_class` of many pictures in one call: for each, the rows that stay, as int64
    indices, highest score first.

    candidates: B×K×6, array or CPU tensor; a row is x1 y1 x2 y2 score label. Rows that score
    `floor` or less are not looked at: a row that is not used scores 0.
    """
    table = np.asarray(candidates)
    picture, row = np.nonzero(table[..., 4] > floor)
    used = table[picture, row].astype(np.float64)
    rank = np.argsort(-used[:, 4], kind="stable")
    picture, row, used = picture[rank], row[rank], used[rank]
    groups = picture * (used[:, 5].max(initial=0) + 1) + used[:, 5]
    order = np.argsort(groups, kind="stable")
    kept = np.sort(order[_by_group(used[order, :4], groups[order], threshold)])
    kept = kept[np.argsort(picture[kept], kind="stable")]
    ends = np.cumsum(np.bincount(picture[kept], minlength=len(table)))
    return np.split(row[kept], ends[:-1])[: len(table)]


def soft_suppress(
    boxes_xyxy: Any,
    scores: Any,
    kind: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.3,
    floor: float = 0.001,
) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression (Bodla et al. 2017): (int64 indices, their new scores), highest new score
    first, without what sinks below `floor`.

    Each box lowers the scores of those still to come, by exp(-IoU²/σ), or, "linear", by 1 - IoU
    where that is above the threshold.
    """
    boxes, left = (
        np.asarray(boxes_xyxy, np.float64).reshape(-1, 4),
        np.array(scores, np.float64).reshape(-1),
    )
    rest = np.flatnonzero(left >= floor)
    kept: list[int] = []
    while len(rest):
        best = rest[np.argmax(left[rest])]
        kept.append(best)
        rest = rest[rest != best]
        share = iou(boxes[best, None], boxes[rest])[0]
        left[rest] *= (
            np.exp(-(share**2) / sigma)
            if kind == "gaussian"
            else np.where(share > threshold, 1 - share, 1.0)
        )
        rest = rest[left[rest] >= floor]
    chosen = np.array(kept, np.int64)
    return chosen, left[chosen]


def _greedy(
    boxes_xyxy: Any, scores: Any, threshold: float, classes: np.ndarray | None
) -> np.ndarray:
    rank = np.argsort(-np.asarray(scores, np.float64).reshape(-1), kind="stable")
    crowd = _Crowd.of(
        np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)[rank],
        threshold,
        None if classes is None else classes[rank],
    )
    rest, kept = np.arange(len(rank)), [np.zeros(0, np.int64)]
    while len(rest):
        head, rest = rest[:HEAD], rest[HEAD:]
        better, worse = crowd.meeting(head, head, threshold)
        head = head[_stay(better[better < worse], worse[better < worse], len(head))]
        kept.append(head)
        if len(rest):
            rest = np.delete(rest, crowd.meeting(head, rest, threshold)[1])
    return rank[np.concatenate(kept)]


def _stay(better: np.ndarray, worse: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` boxes stay, given all pairs that meet. Each round settles every box that no
    box still in question could drop."""
    stays = np.ones(count, np.bool_)
    while len(better):
        settled = stays.copy()
        settled[worse] = False
        stays[worse[settled[better]]] = False
        open_ = stays[better] & stays[worse]
        better, worse = better[open_], worse[open_]
    return stays


def _meet(
    sides: np.ndarray, areas: np.ndarray, a: np.ndarray, b: np.ndarray, threshold: float
) -> np.ndarray:
    """Where the pairs are whose IoU is above the threshold. sides: 4×N, one after the other, which
    is quicker; a, b: numbers of boxes."""
    x1, y1, x2, y2 = sides
    width = np.minimum(x2[a], x2[b]) - np.maximum(x1[a], x1[b])
    height = np.minimum(y2[a], y2[b]) - np.maximum(y1[a], y1[b])
    both = np.maximum(width, 0) * np.maximum(height, 0)
    return np.flatnonzero(over(both, areas[a] + areas[b] - both) > threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _Crowd:
    """Boxes, and for each the window in which the centre of a box that meets it lies: `low` to
    `low + room`, in steps of the boxes' extent.

    sides: 4×N; places (of the centres), low, room: 2×N of 16 bits, and a third row of classes where
    these matter.
    """

    sides: np.ndarray
    areas: np.ndarray
    places: np.ndarray
    low: np.ndarray
    room: np.ndarray

    @staticmethod
    def of(boxes: np.ndarray, threshold: float, classes: np.ndarray | None) -> _Crowd:
        sides = np.ascontiguousarray(boxes.T)
        at = sides - sides.min(initial=np.inf)
        at *= STEPS / max(at.max(initial=0), 1e-100)
        centre, size = (at[:2] + at[2:]) / 2, np.maximum(at[2:] - at[:2], 0)
        reach = (1 / max(threshold, 1e-300) - 1) / 2 * size
        places = centre.astype(np.uint16)
        low = np.maximum(centre - reach - 1, 0).astype(np.uint16)
        room = np.minimum(centre + reach + 1, STEPS + 1).astype(np.uint16) - low
        if classes is not None:
            places, low = (np.vstack([rows, classes.astype(np.uint16)]) for rows in (places, low))
            room = np.vstack([room, np.zeros_like(room[:1])])
        return _Crowd(sides, area(boxes), places, low, room)

    def meeting(
        self, a: np.ndarray, b: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pairs, as positions in a and in b, whose IoU is above the threshold."""
        near = np.ones((len(a), len(b)), np.bool_)
        for place, low, room in zip(self.places, self.low, self.room, strict=True):
            # Without a sign, what lies below the window comes out far above it: one comparison for
            # both ends.
            near &= place[b] - low[a, None] <= room[a, None]
        flat = np.flatnonzero(near)
        i = flat // len(b)
        j = flat - i * len(b)
        found = _meet(self.sides, self.areas, a[i], b[j], threshold)
        return i[found], j[found]


def _by_group(boxes: np.ndarray, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Which boxes stay, among those of their group; sorted by group, the best of each first.

    In a round the best box of every group drops what it meets. Rounds pay while they settle many
    boxes. Then the pairs are swept that begin close enough together; where those are too many, the
    groups are few and large, and are looked at one after another.
    """
    sides, areas = np.ascontiguousarray(boxes.T), area(boxes)
    rest, kept, open_ = np.arange(len(boxes)), [], np.ones(len(boxes), np.bool_)
    settled = len(rest)
    while settled * SETTLED_IN_A_ROUND > len(rest) > 0:
        first = np.flatnonzero(np.diff(groups[rest], prepend=-1))
        best = np.repeat(rest[first], np.diff(first, append=len(rest)))
        open_[rest[first]] = open_[rest[_meet(sides, areas, best, rest, threshold)]] = False
        kept.append(rest[first])
        settled = len(rest) - int(np.count_nonzero(open_[rest]))
        rest = rest[open_[rest]]
    order, count = _followers(sides.take(rest, 1), groups[rest], threshold)
    if count.sum() > CROWDED * len(rest):
        alone = np.split(rest, np.flatnonzero(np.diff(groups[rest])) + 1)
        return np.concatenate(
            [*kept, *(some[_greedy(boxes[some], -some, threshold, None)] for some in alone)]
        )
    first, second = _swept(sides.take(rest[order], 1), areas[rest[order]], count, threshold)
    pair = order[np.stack([first, second])]
    return np.concatenate([*kept, rest[_stay(pair.min(axis=0), pair.max(axis=0), len(rest))]])


def _followers(
    sides: np.ndarray, groups: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes 4×N in the order of their left sides, group after group; and how many of those that
    follow begin soon enough to meet each."""
    left, width = sides[0], np.maximum(sides[2] - sides[0], 0)
    # Groups lie side by side, further apart than any box is wide; what rounding adds to the pairs,
    # the measure takes away.
    left = left + groups * (1.001 * (sides[2].max(initial=0) - left.min(initial=0)) + 1)
    order = np.argsort(left, kind="stable")
    reach = (left + (1 - threshold) * width)[order]
    last = np.searchsorted(left[order], reach + 1e-12 * np.abs(reach), side="right")
    return order, np.maximum(last - np.arange(1, len(order) + 1), 0)


def _swept(
    sides: np.ndarray, areas: np.ndarray, count: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, of each box and one of the `count` that follow it,
    whose IoU is above the threshold."""
    ends = np.cumsum(count)
    found, start = [np.zeros((2, 0), np.int64)], 0
    while start < len(count):
        stop = max(
            start + 1, int(np.searchsorted(ends, ends[start] - count[start] + BLOCK, side="right"))
        )
        many, before = count[start:stop], (ends - count)[start:stop]
        a = np.repeat(np.arange(start, stop), many)
        b = a + 1 + np.arange(before[0], ends[stop - 1]) - np.repeat(before, many)
        met = _meet(sides, areas, a, b, threshold)
        found.append(np.stack([a[met], b[met]]))
        start = stop
    first, second = np.concatenate(found, axis=1)
    return first, second

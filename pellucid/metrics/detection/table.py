"""All detections and targets of a set of images in flat arrays, and which detection found which
object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...core.boxes import area
from ...core.types import Objects

RIGHT, WRONG, LEFT_OUT = 1, 0, -1
# COCO looks at so many detections of a class in a picture.
LIMIT = 100
# Pairs of boxes that are compared at once: 64 MB of coordinates.
_CHUNK = 1_000_000


class Detections(Protocol):
    """What is read of the result for one image."""

    @property
    def boxes(self) -> np.ndarray:
        """float64 D×4, x1 y1 x2 y2 in pixels."""

    @property
    def scores(self) -> np.ndarray:
        """float64 D, from 0 to 1."""

    @property
    def class_ids(self) -> np.ndarray:
        """int64 D, indices of classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """D detections and N objects of P pictures.

    Detections come highest score first, equal ones in the order of their pictures. boxes: float64
    D×4, x1 y1 x2 y2; scores: D; labels: D, numbers below `classes`; picture: D; rank: D, the place
    among the detections of its class in its picture, from 0.
    objects: of all pictures; owner: N, the picture of each, ascending.
    """

    pictures: int
    classes: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    picture: np.ndarray
    rank: np.ndarray
    objects: Objects
    owner: np.ndarray

    def positives(self, counted: np.ndarray | None = None) -> np.ndarray:
        """float64 P×C: the objects of each class in each picture, of those that count (N booleans;
        without them, all not ignored)."""
        chosen = ~self.objects.ignore if counted is None else counted
        cells = self.owner[chosen] * self.classes + self.objects.labels[chosen]
        return (
            np.bincount(cells, minlength=self.pictures * self.classes)
            .reshape(self.pictures, self.classes)
            .astype(np.float64)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Detections and objects of one picture that overlap: detection, object: indices; overlap: IoU,
    or for an ignored object the share of the detection that lies in it, as COCO does with crowds.
    """

    detection: np.ndarray
    object: np.ndarray
    overlap: np.ndarray

    def part(self, which: np.ndarray) -> Pairs:
        return Pairs(self.detection[which], self.object[which], self.overlap[which])


def gather(targets: Sequence[Objects], results: Sequence[Detections], classes: int) -> Table:
    """targets, results: of P images, one each, in the same order. Raises ValueError where they are
    not as many."""
    if len(targets) != len(results):
        raise ValueError(f"{len(results)} results need a target each, not {len(targets)}")
    counts = np.array([len(result.scores) for result in results], np.int64)
    owner = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
    picture = np.repeat(np.arange(len(results)), counts)
    boxes, scores, labels = (
        _stacked(results, name, width)
        for name, width in (("boxes", 4), ("scores", 1), ("class_ids", 1))
    )
    scores, labels = scores.ravel(), labels.ravel().astype(np.int64)
    order = np.argsort(-scores, kind="stable")
    picture, labels = picture[order], labels[order]
    rank = places(picture * classes + labels)
    return Table(
        len(targets),
        classes,
        boxes[order],
        scores[order],
        labels,
        picture,
        rank,
        Objects.joined(targets),
        owner,
    )


def _stacked(results: Sequence[Detections], name: str, width: int) -> np.ndarray:
    parts = (np.asarray(getattr(result, name)).reshape(-1, width) for result in results)
    return np.concatenate([np.zeros((0, width)), *parts])


def places(groups: np.ndarray) -> np.ndarray:
    """The place of each element among those of its group before it, from 0."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(
        begins, np.diff(np.append(begins, len(groups)))
    )
    return rank


def pairs(table: Table, least: float, same_class: bool) -> Pairs:
    """All detections and objects of one picture, of one class where asked,
    that overlap by `least` or more."""
    objects = table.objects
    ours, theirs = table.picture, table.owner
    if same_class:
        ours, theirs = ours * table.classes + table.labels, theirs * table.classes + objects.labels
    by_key = np.argsort(theirs, kind="stable")
    begin, end = (np.searchsorted(theirs[by_key], ours, side) for side in ("left", "right"))
    found = [Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))]
    for part in _slices(end - begin):
        counts = (end - begin)[part]
        detection = np.repeat(np.arange(part.start, part.stop), counts)
        inner = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
        thing = by_key[np.repeat(begin[part], counts) + inner]
        overlap = _overlap(table.boxes[detection], objects.boxes[thing], objects.ignore[thing])
        found.append(Pairs(detection, thing, overlap).part(overlap >= least))
    return Pairs(
        *(
            np.concatenate([getattr(each, name) for each in found])
            for name in ("detection", "object", "overlap")
        )
    )


def _slices(counts: np.ndarray) -> list[slice]:
    """Runs of detections with some million pairs each."""
    total = np.cumsum(counts)
    inner = np.searchsorted(total, np.arange(_CHUNK, total[-1:].sum(), _CHUNK))
    edges = np.unique([0, *inner, len(counts)]).tolist()
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def _overlap(detections: np.ndarray, objects: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """N×4 and N×4 to N, row by row."""
    size = np.clip(
        np.minimum(detections[:, 2:], objects[:, 2:])
        - np.maximum(detections[:, :2], objects[:, :2]),
        0,
        None,
    )
    both = size[:, 0] * size[:, 1]
    whole = np.where(crowd, area(detections), area(detections) + area(objects) - both)
    return np.where(whole > 0, both / np.where(whole > 0, whole, 1), 0.0)


def match(
    table: Table, close: Pairs, thresholds: np.ndarray, unwanted: np.ndarray | None = None
) -> np.ndarray:
    """int64 T×D: the object that each detection found at each of T thresholds of overlap, -1 for
    none.

    close: pairs of one class. unwanted: N booleans, what is counted neither as found nor as missed;
    without them the ignored ones.
    As COCO does it: detections of a class in a picture choose in the order of their scores, each
    the object with the greatest overlap that is still free, among those that count if there is one;
    an ignored object (a crowd) may be found any number of times.
    """
    # All pictures, classes and thresholds choose at once: a round for each place in the queue, of
    # which only those near an object wait.
    unwanted = table.objects.ignore if unwanted is None else unwanted
    order = np.lexsort((-close.object, -close.overlap, unwanted[close.object], close.detection))
    close = close.part(order)
    found = np.full((len(thresholds), len(table.scores)), -1)
    taken = np.zeros((len(thresholds), len(table.objects)), bool)
    waiting, first = np.unique(close.detection, return_index=True)
    turn = places(table.picture[waiting] * table.classes + table.labels[waiting])
    turns = np.repeat(turn, np.diff(np.append(first, len(close.detection))))
    for which in _groups(turns):
        now = close.part(which)
        begins = np.flatnonzero(np.diff(now.detection, prepend=-1))
        free = (now.overlap >= thresholds[:, None]) & ~taken[:, now.object]
        best = np.minimum.reduceat(
            np.where(free, np.arange(len(which)), len(which)), begins, axis=1
        )
        rows, columns = np.nonzero(best < len(which))
        chosen = now.object[best[rows, columns]]
        found[rows, now.detection[begins[columns]]] = chosen
        taken[rows, chosen] = ~table.objects.ignore[chosen]
    return found


def _groups(numbers: np.ndarray) -> list[np.ndarray]:
    """The indices of each number, ascending."""
    order = np.argsort(numbers, kind="stable")
    return [
        part for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(part)
    ]


def outcomes(
    table: Table,
    found: np.ndarray,
    unwanted: np.ndarray | None = None,
    outside: np.ndarray | None = None,
) -> np.ndarray:
    """int8 T×D of RIGHT, WRONG and LEFT_OUT, from what `match` found.

    Left out are detections of unwanted objects, and those `outside` (D booleans: of another size)
    that found nothing.
    """
    unwanted = np.append(table.objects.ignore if unwanted is None else unwanted, False)
    result = np.where(found >= 0, RIGHT, WRONG).astype(np.int8)
    result[unwanted[found]] = LEFT_OUT
    if outside is not None:
        result[(found < 0) & outside] = LEFT_OUT
    return result

"""Large pictures in tiles: where they lie, the views that are made of them, and one list of objects
out of what each tile saw.

A detector sees objects at the size it was trained on; a large picture fitted into its input shows
them too small. So it is asked about tiles at the picture's own scale, which overlap, and about the
whole picture, for what is larger than a tile (slicing aided inference, Akyon et al. 2022). An
object on a seam is then seen twice or in pieces; `merge` makes it one again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.boxes import iou, suppress_by_class
from ..core.types import ViewTransform
from ..data.images import fit
from .tta import View

# An object up to this share of a tile is seen whole by at least one.
OVERLAP = 0.25
# A box this near to the edge of its tile, as a share of the tile's longer side, may go on beyond
# it.
SLACK = 0.01
# What two tiles see of one object agrees at least so well (IoU) where both can see it.
AGREE = 0.5


def tiles(size: tuple[int, int], tile: tuple[int, int], overlap: int) -> np.ndarray:
    """Crops that cover a picture, int64 K×4 (x1 y1 x2 y2), row by row, all of one size; the last
    ones are moved inward.

    size, tile: (height, width). overlap: pixels that neighbours share at least. A picture smaller
    than a tile along an axis has one crop of its own length there. Raises ValueError unless 0 <
    overlap < tile.
    """
    if not 0 < overlap < min(tile):
        raise ValueError(
            f"an overlap of {overlap} pixels is not between 0 and the tile of {tile[0]}×{tile[1]}"
        )
    y, x = (_starts(whole, part, overlap) for whole, part in zip(size, tile, strict=True))
    left, top = (axis.ravel() for axis in np.meshgrid(x, y))
    return np.stack([left, top, left + min(tile[1], size[1]), top + min(tile[0], size[0])], axis=1)


def _starts(whole: int, part: int, overlap: int) -> np.ndarray:
    """Where crops of `part` pixels begin along an axis of `whole`: as few as there can be,
    evenly spread."""
    count = max(1, -(-(whole - overlap) // (part - overlap)))
    return np.linspace(0, max(0, whole - part), count).astype(np.int64)


def views(
    image: np.ndarray,
    size: tuple[int, int],
    fill: float | Sequence[float],
    overlap: float = OVERLAP,
) -> list[View]:
    """The whole picture, H×W×C, fitted into `size` (height, width), then its tiles of that size at
    its own scale.

    Where a tile is larger than the picture along one axis, the rest is `fill`. A picture no larger
    than a tile is one view.
    """
    height, width = image.shape[:2]
    whole = fit(image, size, fill)
    if height <= size[0] and width <= size[1]:
        return [whole]
    return [
        whole,
        *(
            _cut(image, box, size, fill)
            for box in tiles((height, width), size, max(1, round(overlap * min(size)))).tolist()
        ),
    ]


def _cut(
    image: np.ndarray, box: Sequence[int], size: tuple[int, int], fill: float | Sequence[float]
) -> View:
    x1, y1, x2, y2 = box
    view = np.empty((*size, image.shape[2]), image.dtype)
    view[0] = fill
    view[1:] = view[0]
    view[: y2 - y1, : x2 - x1] = image[y1:y2, x1:x2]
    return view, ViewTransform(
        np.array([[1.0, 0, -x1], [0, 1.0, -y1]]), (image.shape[0], image.shape[1]), size
    )


def seen(transform: ViewTransform) -> np.ndarray:
    """The part of the source that a view shows, float64 (x1 y1 x2 y2)."""
    height, width = transform.size
    corners = transform.backward(np.array([[0, 0], [width, height]], np.float64))
    limit = np.array([transform.source_size[1], transform.source_size[0]])
    return np.clip(np.sort(corners, axis=0), 0, limit).ravel()


def merge(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    seen_by: np.ndarray,
    size: tuple[int, ...],
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One list of objects out of what overlapping views of one picture say: boxes M×4, scores M,
    labels M, highest score first.

    boxes: float64 N×4 (x1 y1 x2 y2) in pixels of the picture of `size` (height, width), as each
    view sees them. labels: int64 N. seen_by: N×4, the part of the picture that the view of each box
    shows (`seen`). threshold: of suppression, within a class.

    A box that ends at an edge of its view inside the picture is a piece. Two boxes of a class are
    one object where they agree in what both views show. A piece of an object that another view sees
    whole goes away, unless that view is less than half as sure; pieces that no view completes
    become one box around them, as sure as the surest.
    """
    windows, view = np.unique(seen_by, axis=0, return_inverse=True)
    said = _Said(boxes, scores, labels, windows, view.ravel())
    piece = cut(boxes, seen_by, size)
    whole = _suppressed(boxes, scores, labels, np.flatnonzero(~piece), threshold)
    pieces = _suppressed(
        boxes, scores, labels * len(windows) + said.view, np.flatnonzero(piece), threshold
    )
    pieces = pieces[~_completed(said, pieces, whole)]
    hulls, surest = _joined(said, pieces, _links(said, pieces))
    boxes = np.concatenate([boxes[whole], hulls])
    scores, labels = (np.concatenate([each[whole], each[surest]]) for each in (scores, labels))
    kept = _suppressed(boxes, scores, labels, np.arange(len(boxes)), threshold)
    return boxes[kept], scores[kept], labels[kept]


@dataclass(frozen=True, eq=False)
class _Said:
    """N boxes as the views see them; the V windows that the views show,
    and the number of the window of each box."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    windows: np.ndarray
    view: np.ndarray


def cut(boxes: np.ndarray, seen_by: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Which boxes, N×4, end at an edge of their view, N×4,
    that is not an edge of the picture: bool N."""
    slack = _slack(seen_by)
    picture = np.array([0, 0, size[1], size[0]])
    inner = np.abs(seen_by - picture) > 1e-6
    # Beyond the edge counts as at it: a box may reach out of its view.
    outward = np.array([-1, -1, 1, 1])
    return (inner & ((boxes - seen_by) * outward >= -slack)).any(axis=1)


def _slack(windows: np.ndarray) -> np.ndarray:
    """…×4 to …×1."""
    return SLACK * (windows[..., 2:] - windows[..., :2]).max(axis=-1, keepdims=True)


def _suppressed(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, which: np.ndarray, threshold: float
) -> np.ndarray:
    """Those of `which` that are left when boxes of one group are held against each other,
    highest score first."""
    return which[suppress_by_class(boxes[which], scores[which], groups[which], threshold)]


def _completed(said: _Said, pieces: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Which pieces are of an object that is among the `whole`, both indices: bool."""
    found = np.zeros(len(pieces), bool)
    for number, window in enumerate(said.windows):
        here = np.flatnonzero(said.view[pieces] == number)
        ours, theirs = pieces[here], whole[_meet(said.boxes[whole], window)]
        agree = _agreement(said.boxes[ours], said.boxes[theirs], window) > AGREE
        agree &= (said.labels[ours, None] == said.labels[theirs]) & (
            said.scores[ours, None] <= 2 * said.scores[theirs]
        )
        found[here] = agree.any(axis=1)
    return found


def _links(said: _Said, pieces: np.ndarray) -> dict[int, set[int]]:
    """Of each piece, those of the same class that other views saw in the same place,
    as far as both could see it."""
    links: dict[int, set[int]] = {piece: set() for piece in pieces.tolist()}
    for number, window in enumerate(said.windows):
        ours = pieces[said.view[pieces] == number]
        for other in np.flatnonzero(_meet(said.windows[:number], window)):
            theirs = pieces[said.view[pieces] == other]
            agree = (
                _agreement(
                    said.boxes[ours], said.boxes[theirs], _within(window, said.windows[other])
                )
                > AGREE
            )
            agree &= said.labels[ours, None] == said.labels[theirs]
            for i, j in np.argwhere(agree):
                links[int(ours[i])].add(int(theirs[j]))
                links[int(theirs[j])].add(int(ours[i]))
    return links


def _joined(
    said: _Said, pieces: np.ndarray, links: dict[int, set[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The hulls M×4 of pieces (highest score first) that belong together,
    and of each the surest piece's index, M."""
    hulls, surest, done = [], [], set[int]()
    for first in pieces.tolist():
        if first in done:
            continue
        members = _chain(said, first, links, done)
        done.update(members)
        hulls.append(
            np.concatenate(
                [said.boxes[members, :2].min(axis=0), said.boxes[members, 2:].max(axis=0)]
            )
        )
        surest.append(first)
    return np.array(hulls).reshape(-1, 4), np.array(surest, np.int64)


def _chain(said: _Said, first: int, links: dict[int, set[int]], done: set[int]) -> list[int]:
    """A piece, the surest of those linked to it, the surest of those linked to either, and so on;
    one of each view."""
    members, near, views = [first], links[first] - done, {said.view[first]}
    while near := {piece for piece in near if said.view[piece] not in views}:
        members.append(max(near, key=lambda piece: (said.scores[piece], -piece)))
        views.add(said.view[members[-1]])
        near |= links[members[-1]] - done
    return members


def _agreement(ours: np.ndarray, theirs: np.ndarray, window: np.ndarray) -> np.ndarray:
    """IoU of each of N boxes with each of M, as far as they lie in a window: N×M; 0 where they do
    not meet there.

    All are wider by the slack, so that slivers along an edge are not judged by a pixel.
    """
    wider = _slack(window) * np.array([-1, -1, 1, 1])
    return iou(_within(ours + wider, window + wider), _within(theirs + wider, window + wider))


def _meet(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Which boxes, N×4, reach into a window or touch it."""
    touch: np.ndarray = (boxes[:, :2] <= window[2:]) & (boxes[:, 2:] >= window[:2])
    return touch[:, 0] & touch[:, 1]


def _within(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """The part of each box in its window, …×4; empty (x2 < x1 or y2 < y1) where they
    do not meet."""
    return np.concatenate(
        [
            np.maximum(boxes[..., :2], windows[..., :2]),
            np.minimum(boxes[..., 2:], windows[..., 2:]),
        ],
        axis=-1,
    )

"""Objects that touch, parted along the walls between them: where a wall has a gap, a threshold
would join what it divides."""

from __future__ import annotations

from typing import Any

import numpy as np

# Deviation in pixels of the smoothing before basins are looked for, and how deep one is at least:
# many small pieces, and few across a wall.
SMOOTH, DEPTH = 2.0, 0.02


def parted(inside: np.ndarray, wall: float, floor: float) -> np.ndarray:
    """int32 H×W: the objects, numbered from 1; 0 where there is none.

    inside: float H×W, how likely a pixel is inside an object. The walls are a landscape, 1 −
    inside, that is flooded from its basins (watershed; Meyer 1994; h-minima; Soille 2003, section
    6.3.4), which parts too much; then pieces are joined, those first whose common border is least
    of a wall in the mean, until every border is `wall` or more (region adjacency graph; Trémeau and
    Colantoni 2000). So one gap in a wall joins nothing, and a line inside an object that is faint
    all along parts nothing. floor: a pixel that is less likely inside than this is in no object.
    """
    from scipy.ndimage import gaussian_filter, label
    from skimage.graph import merge_hierarchical, rag_boundary
    from skimage.morphology import h_minima
    from skimage.segmentation import relabel_sequential, watershed

    inside = np.asarray(inside, np.float32)
    smooth = 1 - gaussian_filter(inside, SMOOTH)
    # Whole steps: h_minima compares for equality, and rounding would tear plateaus.
    grounds, _ = label(h_minima(np.round(smooth * 1000).astype(np.int32), round(DEPTH * 1000)))
    if not grounds.any():  # no place is lower than another by so much: all is one basin
        grounds[np.unravel_index(smooth.argmin(), smooth.shape)] = 1
    pieces: Any = watershed(smooth, grounds)
    if pieces.max() > 1:
        borders = rag_boundary(pieces, (1 - inside).astype(np.float64))
        pieces = 1 + merge_hierarchical(pieces, borders, wall, True, True, _nothing, _of_both)
    found = relabel_sequential(pieces)[0].astype(np.int32)
    return np.where(inside >= floor, found, 0).astype(np.int32) if floor > 0 else found


def _nothing(graph: Any, one: int, other: int) -> None:
    """What is kept of a piece itself when it is joined to another: all that counts are borders."""


def _of_both(graph: Any, one: int, other: int, beside: int) -> dict[str, float]:
    """The border of two joined pieces with a third: the mean over the pixels of both."""
    none = {"weight": 0.0, "count": 0}
    borders = [graph[piece].get(beside, none) for piece in (one, other)]
    count = sum(border["count"] for border in borders)
    return {
        "count": count,
        "weight": sum(border["count"] * border["weight"] for border in borders) / count,
    }

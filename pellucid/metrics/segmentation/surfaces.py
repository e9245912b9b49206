"""Outlines: how far the surface of what is said lies from the surface of what is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def outline(part: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """float64 N×axes, where the elements of `part` lie that have a neighbour outside it, or the
    picture's edge, at a side."""
    from scipy.ndimage import binary_erosion

    spans = [
        np.flatnonzero(part.any(axis=tuple(a for a in range(part.ndim) if a != axis)))
        for axis in range(part.ndim)
    ]
    if not len(spans[0]):
        return np.zeros((0, part.ndim))
    box = part[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    inside = np.argwhere(box & ~binary_erosion(box)) + [span[0] for span in spans]
    return inside * np.asarray(spacing, np.float64)


def outline_distances(
    a: np.ndarray, b: np.ndarray, spacing: Sequence[float] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """From each point of a's outline to the nearest one of b's, and the other way.

    a, b: bool of one shape, H×W or D×H×W. spacing: millimetres along each axis; without it
    distances are in pixels. Nothing, twice, where one of them is empty. A search tree of outline
    points: its cost does not grow with the volume around them.
    """
    from scipy.spatial import KDTree

    ours, theirs = (outline(part, spacing or (1.0,) * part.ndim) for part in (a, b))
    if not len(ours) or not len(theirs):
        return np.zeros(0), np.zeros(0)
    return KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0]


def hausdorff95(a: np.ndarray, b: np.ndarray, spacing: Sequence[float] = ()) -> float:
    """The larger of the two 95th percentiles of `outline_distances` (Huttenlocher et al. 1993, with
    a share in place of the maximum).

    Arguments as there. NaN where one of them is empty.
    """
    return _hausdorff95(*outline_distances(a, b, spacing))


def surface_distance(a: np.ndarray, b: np.ndarray, spacing: Sequence[float] = ()) -> float:
    """The average symmetric surface distance: the mean over all points of both outlines. NaN where
    one of them is empty."""
    return _average(*outline_distances(a, b, spacing))


def both_distances(
    a: np.ndarray, b: np.ndarray, spacing: Sequence[float] = ()
) -> tuple[float, float]:
    """`hausdorff95` and `surface_distance` for the price of one."""
    there, back = outline_distances(a, b, spacing)
    return _hausdorff95(there, back), _average(there, back)


def _hausdorff95(there: np.ndarray, back: np.ndarray) -> float:
    return (
        float(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))
        if len(there)
        else float("nan")
    )


def _average(there: np.ndarray, back: np.ndarray) -> float:
    return float(np.concatenate([there, back]).mean()) if len(there) else float("nan")

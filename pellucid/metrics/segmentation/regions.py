"""Objects of a mask, and whether two masks divide the same pixels into the same objects."""

from __future__ import annotations

import numpy as np

from ...core.types import IGNORE


def objects(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The connected parts of each class other than 0, numbered from 1, in int32 of the mask's
    shape; and how many there are.

    mask: uint8 H×W or D×H×W. Pixels are connected by sides (4 in a picture, 6 in a volume): two
    objects that touch at a corner are two. IGNORE and background are 0.
    """
    from scipy.ndimage import label

    numbered, count = np.zeros(mask.shape, np.int32), 0
    for name in np.unique(mask):
        if name not in (0, IGNORE):
            parts, more = label(mask == name)
            np.add(parts, count, out=numbered, where=parts > 0)
            count += more
    return numbered, count


# Where the objects of an answer are the connected parts of its mask.
NO_REGIONS = np.empty(0, np.int32)


def rand_score(target: np.ndarray, answer: np.ndarray, regions: np.ndarray = NO_REGIONS) -> float:
    """1 − the adapted Rand error: the F1 of pairs of pixels that lie in one object of both masks
    (Arganda-Carreras et al. 2015).

    target, answer: masks, whose objects are compared. Only pixels in the objects of the target
    count: the exact place of a border does not matter, and one gap in a wall, which joins two
    objects, costs much. In the answer the background is one segment like the others, as in
    scikit-image's `adapted_rand_error(…, ignore_labels=(0,))`; pairs are of different pixels. NaN
    where neither side has a pair. regions: the objects of the answer, int numbers from 1, where
    touching ones were separated; else empty.
    """
    known, _ = objects(target)
    found, count = (regions, int(regions.max())) if regions.size else objects(answer)
    kept = known > 0
    both = known[kept].astype(np.int64) * (count + 1) + found[kept]
    together, mine, yours = (_pairs(which) for which in (both, known[kept], found[kept]))
    return 2 * together / (mine + yours) if mine + yours else float("nan")


def _pairs(numbers: np.ndarray) -> float:
    """Ordered pairs of different pixels with the same number."""
    sizes = np.unique(numbers, return_counts=True)[1].astype(np.float64)
    return float((sizes * (sizes - 1)).sum())

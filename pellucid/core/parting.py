"""Objects that touch, parted along the walls between them: where a wall is faint, a threshold would join what it divides."""

from __future__ import annotations

import numpy as np

# Deviation in pixels of the smoothing before basins are looked for: noise alone makes no basin.
SMOOTH = 3.0


def parted(inside: np.ndarray, basin: float, floor: float) -> np.ndarray:
    """int32 H×W: the objects, numbered from 1; 0 where there is none.

    inside: float H×W, how likely a pixel is inside an object. The walls are a landscape, 1 − inside, that is flooded from its basins;
    where two floods meet, two objects touch (watershed; Meyer 1994). basin: how much higher than its ground the lowest way out of a basin
    must be; shallower ones are part of their neighbour (h-minima; Soille 2003, section 6.3.4). floor: a pixel that is less likely inside
    than this is in no object.
    """
    from scipy.ndimage import gaussian_filter, label
    from skimage.morphology import h_minima
    from skimage.segmentation import watershed

    walls = 1 - gaussian_filter(np.asarray(inside, np.float32), SMOOTH)
    # Whole steps: h_minima compares for equality, and rounding would tear plateaus.
    grounds, _ = label(h_minima(np.round(walls * 1000).astype(np.int32), max(1, round(basin * 1000))))
    if not grounds.any():  # no place is lower than another by so much: all is one basin
        grounds[np.unravel_index(walls.argmin(), walls.shape)] = 1
    found: np.ndarray = watershed(walls, grounds, mask=None if floor <= 0 else inside >= floor)
    return found.astype(np.int32)

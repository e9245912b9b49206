"""The views of an image at inference, each with its `ViewTransform`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...core.types import Objects, ViewTransform
from ...data.images import fit
from ...transforms import tiles, tta
from ...transforms.tta import View

Fill = float | Sequence[float]


def whole(image: np.ndarray, size: tuple[int, int], fill: Fill, resolution: float) -> list[View]:
    """The image, H×W×C, fitted into `size` (height, width)."""
    return tta.one(image, size, fill)


def flip(image: np.ndarray, size: tuple[int, int], fill: Fill, resolution: float) -> list[View]:
    """The fitted image and its mirror image."""
    return tta.flip(image, size, fill)


def in_tiles(image: np.ndarray, size: tuple[int, int], fill: Fill, resolution: float) -> list[View]:
    """The fitted image and its overlapping tiles at the resolution (pixels of a view for one of the
    image) of training."""
    height, width = image.shape[:2]
    scaled, transform = fit(
        image, (max(1, round(height * resolution)), max(1, round(width * resolution))), fill
    )
    return [(view, transform.then(cut)) for view, cut in tiles.views(scaled, size, fill)]


# By the value of `tta`.
VIEWS: Mapping[str, Callable[[np.ndarray, tuple[int, int], Fill, float], list[View]]] = {
    "none": whole,
    "flip": flip,
    "tiles": in_tiles,
}


def moved(objects: Objects, transform: ViewTransform) -> Objects:
    """Objects in pixels of their image, to pixels of a view that shows all of it."""
    return Objects(through(objects.boxes, transform.forward), objects.labels, objects.ignore)


def through(boxes_xyxy: np.ndarray, way: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Boxes N×4 through `forward` or `backward` of a `ViewTransform`; corners change places where
    a view is mirrored."""
    corners = way(boxes_xyxy.reshape(-1, 2)).reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1)], 1)

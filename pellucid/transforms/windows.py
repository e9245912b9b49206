"""The windows of a picture at several scales: where a classifier is asked when it is to say where
something is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.types import ViewTransform


def windows(size: tuple[int, ...], window: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """float64 N×4, x1 y1 x2 y2: every whole window of a picture, the upper row first, from left to
    right; none in one that is smaller.

    size, window: (height, width). stride: (down, across). Where the stride does not divide what is
    left, the rest at the right and at the bottom lies in no window.
    """
    rows, columns = (
        np.arange(0, side - part + 1, step)
        for side, part, step in zip(size, window, stride, strict=True)
    )
    top, left = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
    return np.stack([left, top, left + window[1], top + window[0]], 1).astype(np.float64)


def pyramid(
    image: np.ndarray, scales: Sequence[float], window: tuple[int, int]
) -> list[tuple[np.ndarray, ViewTransform]]:
    """The picture H×W×C at each scale, in the order given, with its placement; scales at which no
    window fits are left out.

    A window of constant size over a picture of half the scale is one of twice the size over the
    picture itself. Shrinks by area averaging, enlarges bilinearly.
    """
    height, width = image.shape[:2]
    sizes = [(round(height * scale), round(width * scale)) for scale in scales]
    return [_scaled(image, size) for size in sizes if size[0] >= window[0] and size[1] >= window[1]]


def _scaled(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, ViewTransform]:
    import cv2

    height, width = image.shape[:2]
    method = cv2.INTER_AREA if size[0] < height else cv2.INTER_LINEAR
    scaled = (
        image
        if size == (height, width)
        else cv2.resize(image, size[::-1], interpolation=method).reshape(*size, -1)
    )
    # The sides are rounded each for itself; the map follows what was drawn.
    return scaled, ViewTransform(
        np.array([[size[1] / width, 0, 0], [0, size[0] / height, 0]]), (height, width), size
    )

"""The views of one picture that are asked about at test time, each with its `ViewTransform`:
answers are averaged over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..core.types import ViewTransform
from ..data.images import fit

View = tuple[np.ndarray, ViewTransform]
Crops = Callable[[np.ndarray, tuple[int, int], float | Sequence[float]], list[View]]

# Krizhevsky et al. 2012 cut 224×224 out of 256×256.
MARGIN = 8 / 7


def one(image: np.ndarray, size: tuple[int, int], fill: float | Sequence[float]) -> list[View]:
    """The whole picture, H×W×C, fitted into `size` (height, width)."""
    return [fit(image, size, fill)]


def flip(image: np.ndarray, size: tuple[int, int], fill: float | Sequence[float]) -> list[View]:
    """The fitted picture and its mirror image."""
    whole = fit(image, size, fill)
    return [whole, mirrored(*whole)]


def ten(image: np.ndarray, size: tuple[int, int], fill: float | Sequence[float]) -> list[View]:
    """The picture fitted at 8/7 of `size`: four corners, the centre and the mirror images of these
    five (Krizhevsky et al. 2012, 4.1)."""
    height, width = round(size[0] * MARGIN), round(size[1] * MARGIN)
    large = fit(image, (height, width), fill)
    down, right = height - size[0], width - size[1]
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    cut = [_cut(*large, top, left, size) for top, left in corners]
    return cut + [mirrored(*view) for view in cut]


CROPS: Mapping[str, Crops] = {"one": one, "flip": flip, "ten": ten}


def mirrored(view: np.ndarray, transform: ViewTransform) -> View:
    """A view H×W×C with left and right exchanged."""
    height, width = view.shape[:2]
    exchange = ViewTransform(
        np.array([[-1.0, 0, width], [0, 1, 0]]), (height, width), (height, width)
    )
    return view[:, ::-1], transform.then(exchange)


def _cut(
    view: np.ndarray, transform: ViewTransform, top: int, left: int, size: tuple[int, int]
) -> View:
    moved = ViewTransform(np.array([[1.0, 0, -left], [0, 1, -top]]), transform.size, size)
    return view[top : top + size[0], left : left + size[1]], transform.then(moved)

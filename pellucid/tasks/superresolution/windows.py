"""Windows of an image: cut with their margins, mirrored, extended after degradation, and merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core.types import ViewTransform
from ...transforms.sliding_window import Windows, origin_of, translation

if TYPE_CHECKING:
    from ..task import View

Span = tuple[int, int]


def to_upscale(transform: ViewTransform) -> bool:
    """Whether a view is of an image that is to be upscaled, and not of a high-resolution one, which
    is degraded first."""
    return transform.channels > 0


def windows_of(image: np.ndarray, windows: Windows, source_size: tuple[int, ...]) -> list[View]:
    """Windows of an image H×W×C with their margins, which may lie outside it. Outside, its last
    pixels are repeated, as `transforms.resize` does: a window that is degraded at the border then
    gives what the whole image gives."""
    found = []
    for start in windows.starts(image.shape[:2]):
        origin = [at - windows.margin for at in start]
        sides = zip(origin, windows.size, image.shape[:2], strict=True)
        rows, columns = (np.arange(at, at + side).clip(0, whole - 1) for at, side, whole in sides)
        transform = ViewTransform(translation(origin), source_size, windows.size)
        found.append((image[np.ix_(rows, columns)], transform))
    return found


def of_file(view: View, channels: int, bits: int) -> View:
    """The view of an image that is to be upscaled and written in the format of its file."""
    image, transform = view
    return image, replace(transform, channels=channels, bits=bits)


def mirrored(view: View) -> View:
    image, transform = view
    matrix = np.array([[-1.0, 0, transform.size[1]], [0, 1, 0]])
    mirror = ViewTransform(matrix, transform.size, transform.size)
    return np.ascontiguousarray(image[:, ::-1]), transform.then(mirror)


def merge(
    windows: Iterable[torch.Tensor],
    transforms: Sequence[ViewTransform],
    margin: int,
    scale: int,
    channels: int,
    size: tuple[int, ...],
) -> torch.Tensor:
    """The results for the windows of one image, each channels×h×w without margins, to
    channels×size; their mean where they overlap.

    margin: pixels of a window that its result lacks on every side. scale: pixels of the result for
    one of the window.
    """
    total, times = torch.zeros(channels, *size), torch.zeros(size)
    for window, transform in zip(windows, transforms, strict=True):
        origin, flipped = _origin(transform)
        top, left = ((at + margin) * scale for at in origin)
        height, width = (
            min(side, whole - at)
            for side, whole, at in zip(window.shape[1:], size, (top, left), strict=True)
        )
        place = (slice(top, top + height), slice(left, left + width))
        total[(slice(None), *place)] += (window.flip(-1) if flipped else window)[:, :height, :width]
        times[place] += 1
    return total.div_(times)


def valid_part(transform: ViewTransform, factor: int) -> tuple[Span, Span]:
    """Where a window shows its high-resolution image and not what is repeated outside it: rows and
    columns of the window, the first and the one after the last."""
    (y, x), flipped = _origin(transform)
    sides = [side - side % factor for side in transform.source_size]
    rows, columns = (
        (max(0, -at), min(part, side - at))
        for at, part, side in zip((y, x), transform.size, sides, strict=True)
    )
    if not flipped:
        return rows, columns
    return rows, (transform.size[1] - columns[1], transform.size[1] - columns[0])


def extend(low: torch.Tensor, transforms: Iterable[ViewTransform], factor: int) -> torch.Tensor:
    """Degraded windows B×C×h×w, whose last pixels are repeated outside their images as those of
    stored low-resolution images are."""
    return torch.stack(
        [_extended(window, t, factor) for window, t in zip(low, transforms, strict=True)]
    )


def _extended(window: torch.Tensor, transform: ViewTransform, factor: int) -> torch.Tensor:
    for axis, (first, last) in enumerate(valid_part(transform, factor), 1):
        if (first, last) != (0, transform.size[axis - 1]):
            side = torch.arange(window.shape[axis])
            valid = side.clamp(first // factor, last // factor - 1)
            window = window.index_select(axis, valid.to(window.device))
    return window


def _origin(transform: ViewTransform) -> tuple[tuple[int, ...], bool]:
    """Where a window begins in its image (y, x), and whether it is mirrored."""
    y, x = origin_of(transform)
    flipped = bool(transform.matrix[0, 0] < 0)
    return (y, -x - transform.size[1] if flipped else x), flipped

"""The views of an image or a volume, and how their outputs become one output of its size.

"picture": windows of an image. "volume": windows of a volume. "neighbours": each slice of a volume
with the one before and the one after it as channels (2.5-D). "planes": such slices along all three
axes, whose outputs are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...core.types import IGNORE, ViewTransform, VolumeGeometry
from ...transforms.sliding_window import View, Windows, origin_of, taken_labels

# Along which axes slices are taken.
AXES = {"neighbours": (0,), "planes": (0, 1, 2)}
# Slices that one view has as channels.
SLICES = 3
# The largest overlap of neighboring windows: twice what a U-Net of four halvings sees on each side
# of a pixel, and a little to fade.
OVERLAP = 224


def num_channels(look: str, channels: int) -> int:
    """Of the network input."""
    return SLICES * channels if look in AXES else channels


def default_windows(size: tuple[int, ...], margin: int, step: int) -> Windows:
    """Windows whose outputs overlap by half, or by `OVERLAP` pixels where that is less. Outputs of
    fewer pixels than a step leave no gap."""
    overlap = () if margin else tuple(min(side // 2, OVERLAP) for side in size)
    return Windows(size, margin, overlap, min(step, *(side - 2 * margin for side in size)))


def output_windows(transforms: Sequence[ViewTransform], output: Sequence[int]) -> Windows:
    """The windows of these views, for `merge`. output: the size of the output for one of them."""
    size = transforms[0].size
    return default_windows(size, (size[0] - output[0]) // 2, 1)


def make_views(
    image: np.ndarray, look: str, windows: Windows, space: VolumeGeometry | None
) -> list[View]:
    """H×W×C or D×H×W×C, to views of the windows' size."""
    if look not in AXES:
        return windows.views(image, space)
    return [view for axis in AXES[look] for view in _slices(image, axis, windows, space)]


def merge(
    outputs: torch.Tensor, transforms: Sequence[ViewTransform], windows: Windows
) -> torch.Tensor:
    """The outputs for all views of one source, M×K×…, to float32 K×the source's size."""
    first = transforms[0]
    if first.plane is None:
        return windows.blended(list(outputs), transforms)
    total = torch.zeros(outputs.shape[1], *first.source_size)
    flat = [_flat(transform) for transform in transforms]
    places = [transform.plane or (0, 0) for transform in transforms]
    begins = [row for row in range(len(places)) if row == 0 or places[row] != places[row - 1]]
    for row, end in zip(begins, [*begins[1:], len(places)], strict=True):
        axis, at = places[row]
        total.select(axis + 1, at).add_(windows.blended(list(outputs[row:end]), flat[row:end]))
    return total / len({axis for axis, _ in places})


def labels_in_view(labels: np.ndarray, transform: ViewTransform) -> np.ndarray:
    """Of the labels of an image or a volume, those of one view; IGNORE outside."""
    if transform.plane is not None:
        axis, at = transform.plane
        labels = labels.take(at, axis=axis)
    return taken_labels(labels, origin_of(transform), transform.size, IGNORE)


def _slices(
    image: np.ndarray, axis: int, windows: Windows, space: VolumeGeometry | None
) -> list[View]:
    flat, count = np.moveaxis(image, axis, 0), image.shape[axis]
    found = []
    for at in range(count):
        beside = [flat[min(max(at + step, 0), count - 1)] for step in (-1, 0, 1)]
        for view, transform in windows.views(np.concatenate(beside, axis=2)):
            plane = replace(transform, source_size=image.shape[:3], plane=(axis, at), space=space)
            found.append((view, plane))
    return found


def _flat(transform: ViewTransform) -> ViewTransform:
    """Of the slice alone."""
    assert transform.plane is not None
    sides = enumerate(transform.source_size)
    whole = tuple(side for axis, side in sides if axis != transform.plane[0])
    return replace(transform, source_size=whole, plane=None)

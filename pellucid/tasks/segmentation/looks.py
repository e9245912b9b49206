"""How a picture or a volume is seen, and how what is said of its views becomes one answer again.

"picture": windows of a picture. "volume": windows of a volume. "neighbours": each slice of a volume
with the one before and the one after it as channels (2.5-D). "planes": such slices along all three
axes, whose answers are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...core.types import IGNORE, Mask, ViewTransform, VolumeGeometry
from ...transforms.sliding_window import View, Windows, origin_of, taken_labels

# Along which axes slices are taken.
AXES = {"neighbours": (0,), "planes": (0, 1, 2)}
# Slices that one view holds as channels.
SLICES = 3


def channels_seen(look: str, channels: int) -> int:
    return SLICES * channels if look in AXES else channels


def views(
    image: np.ndarray, look: str, windows: Windows, space: VolumeGeometry | None
) -> list[View]:
    """H×W×C or D×H×W×C, to views of the windows' size."""
    if look not in AXES:
        return windows.views(image, space)
    return [view for axis in AXES[look] for view in _slices(image, axis, windows, space)]


def _slices(
    image: np.ndarray, axis: int, windows: Windows, space: VolumeGeometry | None
) -> list[View]:
    flat, count = np.moveaxis(image, axis, 0), image.shape[axis]
    found = []
    for at in range(count):
        beside = [flat[min(max(at + step, 0), count - 1)] for step in (-1, 0, 1)]
        for view, transform in windows.views(np.concatenate(beside, axis=2)):
            found.append(
                (
                    view,
                    replace(transform, source_size=image.shape[:3], plane=(axis, at), space=space),
                )
            )
    return found


def joined(
    answers: torch.Tensor, transforms: Sequence[ViewTransform], windows: Windows
) -> torch.Tensor:
    """What is said of all views of one source, M×K×…, to float32 K×the source's size."""
    first = transforms[0]
    if first.plane is None:
        return windows.blended(list(answers), transforms)
    total, axes = (
        torch.zeros(answers.shape[1], *first.source_size),
        {p.plane[0] for p in transforms if p.plane},
    )
    flat = [_flat(transform) for transform in transforms]
    places = [transform.plane for transform in transforms]
    begins = [row for row in range(len(places)) if row == 0 or places[row] != places[row - 1]]
    for row, end in zip(begins, [*begins[1:], len(places)], strict=True):
        axis, at = places[row] or (0, 0)
        total.select(axis + 1, at).add_(windows.blended(list(answers[row:end]), flat[row:end]))
    return total / len(axes)


def _flat(transform: ViewTransform) -> ViewTransform:
    """Of the slice alone."""
    assert transform.plane is not None
    whole = tuple(
        side for axis, side in enumerate(transform.source_size) if axis != transform.plane[0]
    )
    return replace(transform, source_size=whole, plane=None)


def labels_in(labels: np.ndarray, transform: ViewTransform) -> np.ndarray:
    """Of a picture's or volume's labels, those that a view shows; IGNORE outside."""
    if transform.plane is not None:
        axis, at = transform.plane
        labels = labels.take(at, axis=axis)
    return taken_labels(labels, origin_of(transform), transform.size, IGNORE)


def renumbered(mask: Mask, table: np.ndarray) -> Mask:
    """The mask with each label looked up in a table of 256."""
    labels = [table[mask.labels(number)] for number in range(len(mask.packed))]
    return Mask.of(*labels, names=mask.names, spacing=mask.spacing, kind=mask.kind)

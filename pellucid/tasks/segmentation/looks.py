"""How a picture or a volume is seen, and how what is said of its views becomes one answer again.

"picture": windows of a picture. "volume": windows of a volume. "neighbours": each slice of a volume with the one before and the one after
it as channels (2.5-D). "planes": such slices along all three axes, whose answers are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...core.patches import View, Windows, origin_of, taken_labels
from ...core.types import IGNORE, Mask, Placement, Space

# Along which axes slices are taken.
AXES = {"neighbours": (0,), "planes": (0, 1, 2)}
# Slices that one view holds as channels.
SLICES = 3


def channels_seen(look: str, channels: int) -> int:
    return SLICES * channels if look in AXES else channels


def views(image: np.ndarray, look: str, windows: Windows, space: Space | None) -> list[View]:
    """H×W×C or D×H×W×C, to views of the windows' size."""
    if look not in AXES:
        return windows.views(image, space)
    return [view for axis in AXES[look] for view in _slices(image, axis, windows, space)]


def _slices(image: np.ndarray, axis: int, windows: Windows, space: Space | None) -> list[View]:
    flat, count = np.moveaxis(image, axis, 0), image.shape[axis]
    found = []
    for at in range(count):
        beside = [flat[min(max(at + step, 0), count - 1)] for step in (-1, 0, 1)]
        for view, placement in windows.views(np.concatenate(beside, axis=2)):
            found.append((view, replace(placement, source_size=image.shape[:3], plane=(axis, at), space=space)))
    return found


def joined(answers: torch.Tensor, placements: Sequence[Placement], windows: Windows) -> torch.Tensor:
    """What is said of all views of one source, M×K×…, to float32 K×the source's size."""
    first = placements[0]
    if first.plane is None:
        return windows.blended(list(answers), placements)
    total, axes = torch.zeros(answers.shape[1], *first.source_size), {p.plane[0] for p in placements if p.plane}
    flat = [_flat(placement) for placement in placements]
    places = [placement.plane for placement in placements]
    begins = [row for row in range(len(places)) if row == 0 or places[row] != places[row - 1]]
    for row, end in zip(begins, [*begins[1:], len(places)], strict=True):
        axis, at = places[row] or (0, 0)
        total.select(axis + 1, at).add_(windows.blended(list(answers[row:end]), flat[row:end]))
    return total / len(axes)


def _flat(placement: Placement) -> Placement:
    """Of the slice alone."""
    assert placement.plane is not None
    whole = tuple(side for axis, side in enumerate(placement.source_size) if axis != placement.plane[0])
    return replace(placement, source_size=whole, plane=None)


def labels_in(labels: np.ndarray, placement: Placement) -> np.ndarray:
    """Of a picture's or volume's labels, those that a view shows; IGNORE outside."""
    if placement.plane is not None:
        axis, at = placement.plane
        labels = labels.take(at, axis=axis)
    return taken_labels(labels, origin_of(placement), placement.size, IGNORE)


def renumbered(mask: Mask, table: np.ndarray) -> Mask:
    """The mask with each label looked up in a table of 256."""
    labels = [table[mask.labels(number)] for number in range(len(mask.packed))]
    return Mask.of(*labels, names=mask.names, spacing=mask.spacing, kind=mask.kind)

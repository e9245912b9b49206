"""Suggested values for the settings that the user left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...data.formats import Dataset
from ...data.images import Header
from ...models.unet import valid_size
from ...transforms.augment import POLICIES
from .settings import STEP, SegmentationSettings

# An image of up to so many pixels is one window; a larger one has windows of this side. A volume
# has windows of this box.
WHOLE, WINDOW = 1024 * 1024, 512
BOX = (64, 96, 96)
STEPS = 3000


def suggest_defaults(
    settings: SegmentationSettings, dataset: Dataset, headers: Sequence[Header]
) -> dict[str, Any]:
    solid = headers[0].depth is not None
    many = len(dataset.classes) > 3 and headers[0].channels == 3
    policy = settings.augment or ("volumes" if solid else "photos" if many else "fields")
    look = settings.look or "neighbours"
    annotators = dataset.samples[0].target.names
    return {
        "look": look if solid else None,
        **window_sizes(settings, headers, look if solid else "picture"),
        "model": "unet",
        "width": 64 if settings.model == "unet_2015" else 16,
        "annotator": annotators[0] if annotators else None,
        "batch": 2 if look == "volume" and solid else 4,
        "epochs": epochs(settings, headers),
        "loss": "dice_cross_entropy",
        "optimizer": "adamw",
        "lr": 2e-3 if settings.optimizer in (None, "adamw") else None,
        "stage_lr": 0.3 if settings.weights else 1.0,
        "clip": 1.0,
        "ema": 0.99,
        "augment": policy,
        **asdict(POLICIES[policy]),
        "refine": "none",
        "score": "dice",
    }


def window_sizes(
    settings: SegmentationSettings, headers: Sequence[Header], look: str
) -> dict[str, Any]:
    """`size` and `depth` of the windows."""
    if look == "volume":
        return _box(settings.patch, headers)
    sides = [_faces(header, look) for header in headers]
    height, width = (_round_up(max(side)) for side in zip(*sides, strict=True))
    if height * width > WHOLE:
        height, width = min(height, WINDOW), min(width, WINDOW)
    if settings.model == "unet_2015":
        side = valid_size(min(max(height, width), WINDOW))
        return {"size": (side, side)}
    return {"size": (height, width)}


def epochs(settings: SegmentationSettings, headers: Sequence[Header]) -> int:
    """As many as make about `STEPS` steps of four crops: some twenty minutes on two cores for a
    U-Net of 16 channels."""
    if headers[0].depth is not None:
        return 20
    crops = sum(
        max(1, header.height * header.width / (settings.patch or 256) ** 2) for header in headers
    )
    return int(np.clip(STEPS * 4 / max(0.7 * crops, 400), 5, 60))


def _box(patch: int | None, headers: Sequence[Header]) -> dict[str, Any]:
    # Normalization over an image measures what it is given: windows of another size than the
    # training crops cost 15 points of Dice on a brain.
    box = BOX if patch is None else (patch,) * 3
    whole = np.array([header.size for header in headers]).max(0)
    depth, *rest = (
        min(_round_up(most), _round_up(int(side))) for most, side in zip(box, whole, strict=True)
    )
    return {"size": tuple(rest), "depth": depth}


def _faces(header: Header, look: str) -> tuple[int, int]:
    """The largest height and width of the slices of a volume, or of an image."""
    if look != "planes" or header.depth is None:
        return header.height, header.width
    return max(header.depth, header.height), max(header.height, header.width)


def _round_up(side: int) -> int:
    return -(-side // STEP) * STEP

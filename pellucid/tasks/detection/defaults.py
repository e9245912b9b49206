"""Values for the settings that the user left open, from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ... import models
from ...data.formats import Dataset
from ...data.images import Header
from ...transforms.augment import POLICIES
from .settings import LARGEST_STRIDE, LOSSES, DetectionSettings

# The largest default side of a view.
LARGEST_SIDE = 320


def suggest_defaults(
    settings: DetectionSettings, dataset: Dataset, headers: Sequence[Header]
) -> dict[str, Any]:
    policy = settings.augment or "scenes"
    detector = settings.detector or "yolo"
    return {
        "size": models.fixed_size(settings.model or "") or _common_size(headers),
        "model": "csp_nano",
        "detector": detector,
        "neck": 96,
        "aim": "f1",
        "epochs": int(np.clip(30_000 / len(dataset.samples), 30, 150)),
        "batch": 16,
        "loss": LOSSES[detector][0],
        "optimizer": "adamw",
        "lr": 1.5e-3 if settings.optimizer in (None, "adamw") else None,
        # Neck and head are new and need the whole rate, which destroys pretrained weights: at 0.8
        # the last map of a MobileNetV2 went flat within twenty epochs.
        "stage_lr": 0.3 if settings.weights else 1.0,
        "clip": 10.0,
        "ema": 0.998,
        "augment": policy,
        **asdict(POLICIES[policy]),
        "score": "map",
    }


def _common_size(headers: Sequence[Header]) -> tuple[int, int]:
    """A square of the median longer side of the images, in multiples of the largest stride, so that
    the sides of all feature maps are whole."""
    longer = float(np.median([max(header.height, header.width) for header in headers]))
    side = int(np.ceil(longer / LARGEST_STRIDE) * LARGEST_STRIDE)
    return (min(max(side, 2 * LARGEST_STRIDE), LARGEST_SIDE),) * 2

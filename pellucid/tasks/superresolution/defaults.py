"""Values for the settings that the user left open, from the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import UsageError, did_you_mean
from ...data.formats import Dataset
from ...data.images import Header
from ...models import ENLARGERS
from ...transforms.augment import POLICIES
from .data import validate
from .margins import margin_of
from .settings import SuperResolutionSettings

# The largest side of the middle of a window, in pixels of the high-resolution image: larger images
# have several windows.
MIDDLE = 384


def suggest_defaults(
    settings: SuperResolutionSettings, dataset: Dataset, headers: Sequence[Header]
) -> dict[str, Any]:
    """Raises UsageError for a model that does not upscale, DataError for a single image."""
    validate(dataset)
    factor, model = settings.factor or 2, settings.model or "residual_sr"
    if model not in ENLARGERS:
        raise UsageError(
            f'model: "{model}" makes no picture larger; {did_you_mean(model, ENLARGERS)}'
        )
    shorter = int(np.median([min(header.height, header.width) for header in headers]))
    policy = settings.augment or "quarters"
    return {
        "model": model,
        "factor": factor,
        "colours": "luma",
        "size": _window(headers, factor, margin_of(model, factor, settings.width)),
        "patch": min(32 * factor, max(8, shorter // factor) * factor),
        "epochs": 40,
        "batch": 16,
        "loss": "l1",
        "optimizer": "adam",
        "lr": 1e-3 if settings.optimizer in (None, "adam", "adamw") else None,
        # Decay pulls a network that adds to bicubic upscaling toward bicubic upscaling.
        "weight_decay": 0.0,
        "clip": 1.0,
        "augment": policy,
        "mirror": POLICIES[policy].mirror,
        "turn": POLICIES[policy].turn,
        "score": "psnr",
    }


def _window(headers: Sequence[Header], factor: int, margin: int) -> tuple[int, int]:
    """Height and width of a window with its margins: the largest image, or MIDDLE."""
    height, width = (
        min(MIDDLE, max(getattr(header, side) for header in headers))
        for side in ("height", "width")
    )
    frame = 2 * factor * margin
    return -(-height // factor) * factor + frame, -(-width // factor) * factor + frame

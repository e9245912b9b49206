"""What a window of super-resolution cannot answer at its border."""

from __future__ import annotations

from typing import Any

from ... import models

# Degradation reads so many low-resolution pixels on each side; and so does bicubic upscaling, which
# gives the colors.
REACH = 3


def margin_of(model: str, factor: int, width: int | None) -> int:
    """Low-resolution pixels on each side of a window for which there is no result, because the
    network sees too little around them. Raises UsageError for an unknown model."""
    network: Any = models.enlarger(model, factor, 1, width)
    return int(network.margin) + REACH

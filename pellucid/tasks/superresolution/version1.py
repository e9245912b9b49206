"""Models of version 1: the fields of its `room`, as those of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHARED = {"bits": "bits", "factor": "upscale", "colours": "color_space", "margin": "margin"}


def migrate(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """stored: the `room` of a version-1 `model.json`. Raises KeyError where a field is missing."""
    shared = {new: stored[old] for old, new in _SHARED.items()}
    architecture = {
        "model": stored["model"],
        "upscale": stored["factor"],
        "channels": 1 if stored["colours"] == "luma" else stored["channels"],
        "width": stored["width"],
    }
    return {
        "preprocess": {"size": stored["size"], "channels": stored["channels"], **shared},
        "architecture": architecture,
        "inference": shared,
    }

"""Models of version 1: the fields of its `room`, as those of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREPROCESS = {
    "size": "size",
    "channels": "channels",
    "bits": "bits",
    "mean": "mean",
    "std": "std",
    "fill": "pad_value",
    "scale": "normalization",
}


def migrate(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """stored: the `room` of a version-1 `model.json`. Raises KeyError for one that lacks a field
    without a default."""
    preprocess = {new: stored[old] for old, new in _PREPROCESS.items() if old in stored}
    architecture = {
        "model": stored["model"],
        "num_outputs": len(stored["classes"]),
        "channels": stored["channels"],
        "size": stored["size"],
    }
    inference = {"classes": stored["classes"], "temperature": stored.get("temperature", 1.0)}
    return {"preprocess": preprocess, "architecture": architecture, "inference": inference}

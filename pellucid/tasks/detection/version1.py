"""Models of version 1: the fields of its `room`, as those of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .designs import DESIGNS

_PREPROCESS = {
    "size": "size",
    "channels": "channels",
    "bits": "bits",
    "mean": "mean",
    "std": "std",
    "fill": "pad_value",
    "scale": "normalization",
    "resolution": "resolution",
}
_ARCHITECTURE = ("model", "detector", "neck", "channels", "size", "anchors", "cover")
_INFERENCE = ("classes", "detector", "threshold", "aim", "note")


def migrate(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """stored: the `room` of a version-1 `model.json`. Raises KeyError for one that lacks a field
    without a default."""
    preprocess = {new: stored[old] for old, new in _PREPROCESS.items() if old in stored}
    architecture = {name: stored[name] for name in _ARCHITECTURE if name in stored}
    return {
        "preprocess": preprocess | {"proposals": DESIGNS[stored["detector"]].proposals},
        "architecture": architecture | {"classes": len(stored["classes"])},
        "inference": {name: stored[name] for name in _INFERENCE if name in stored},
    }

"""Models of version 1: the fields of its `room`, as those of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...plots.masks import MASK_FILES, VOLUME_FILES
from .volume_views import num_channels

_PREPROCESS = {
    "size": "size",
    "channels": "channels",
    "bits": "bits",
    "mean": "mean",
    "std": "std",
    "scale": "normalization",
    "look": "look",
    "parts": "channel_names",
    "margin": "margin",
    "step": "step",
}
_ARCHITECTURE = ("model", "size", "width", "upsampling", "skips", "look")
_INFERENCE = ("classes", "bits", "threshold", "refine", "smallest", "wall", "floor", "annotator")


def migrate(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """stored: the `room` of a version-1 `model.json`. Raises KeyError for one that lacks a field
    without a default."""
    look, refine = stored.get("look", "picture"), stored.get("refine", "none")
    architecture = {name: stored[name] for name in _ARCHITECTURE if name in stored}
    inference = {name: stored[name] for name in _INFERENCE if name in stored}
    suffixes = MASK_FILES if look == "picture" else VOLUME_FILES
    return {
        "preprocess": {new: stored[old] for old, new in _PREPROCESS.items() if old in stored},
        "architecture": architecture
        | {
            "classes": len(stored["classes"]),
            "channels": num_channels(look, stored["channels"]),
            "crf_rnn": refine == "crf_rnn",
        },
        "inference": inference
        | {
            "refine": "none" if refine == "crf_rnn" else refine,
            "output_suffixes": list(suffixes),
        },
    }

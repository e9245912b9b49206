"""Boxes: formats (in the names), areas and overlaps, and suppression of what says the same thing
twice.

Coordinates are continuous: pixel i covers [i, i+1), so a box's width is x2 - x1. A box whose x2 <
x1 or y2 < y1 is empty.
"""

from __future__ import annotations

from .geometry import (
    area,
    box_cxcywh_to_xyxy,
    box_xywh_to_xyxy,
    box_xyxy_to_cxcywh,
    box_xyxy_to_xywh,
    clip,
    iou,
    iou_of_sizes,
    overlap_of_first,
    paired,
)
from .suppression import soft_suppress, suppress, suppress_batch, suppress_by_class

__all__ = [
    "area",
    "box_cxcywh_to_xyxy",
    "box_xywh_to_xyxy",
    "box_xyxy_to_cxcywh",
    "box_xyxy_to_xywh",
    "clip",
    "iou",
    "iou_of_sizes",
    "overlap_of_first",
    "paired",
    "soft_suppress",
    "suppress",
    "suppress_batch",
    "suppress_by_class",
]

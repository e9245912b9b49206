"""The sizes of boxes and the anchors fitted to them, drawn."""

from __future__ import annotations

import math

import numpy as np

from ..core.boxes import iou_of_sizes
from ..transforms.anchors import POOR, Anchors, with_area
from . import svg

# Boxes that are drawn at most.
DRAWN = 1_500


def figure(sizes: np.ndarray, anchors: Anchors) -> str:
    """SVG: every box by width and height, and the anchors among them. Both axes are logarithmic:
    so, equal distances are about equal overlaps."""
    boxes = with_area(sizes)
    boxes = boxes[:: math.ceil(len(boxes) / DRAWN)]
    poor = iou_of_sizes(boxes, anchors.sizes).max(1) < POOR
    low, high = (
        float(min(boxes.min(), anchors.sizes.min())) * 0.9,
        float(max(boxes.max(), anchors.sizes.max())) * 1.1,
    )
    left, top, side = 46.0, 60.0, 330.0
    across, up = (
        svg.Scale(low, high, left, left + side, log=True),
        svg.Scale(low, high, top + side, top, log=True),
    )
    levels = [
        level
        for level in (svg.decades(low, high) if high > 4 * low else svg.ticks(low, high))
        if low <= level <= high
    ]
    parts = [
        svg.text(0, 14, "Sizes of boxes (log scales)", "ink bold"),
        svg.text(0, 32, "blue: boxes · rings: those that no anchor fits · orange: anchors"),
    ]
    for level in levels:
        parts += [
            svg.line(left, up(level), left + side, up(level), "hair"),
            svg.line(across(level), top, across(level), top + side, "hair"),
        ]
        parts += [
            svg.text(left - 8, up(level) + 4, f"{level:g}", "end"),
            svg.text(across(level), top + side + 17, f"{level:g}", "mid"),
        ]
    for (width, height), alone in zip(boxes.tolist(), poor.tolist(), strict=True):
        parts.append(
            _dot(across(width), up(height), 2.6, "rule")
            if alone
            else _dot(across(width), up(height), 2, "a", ' fill-opacity=".4"')
        )
    for width, height in anchors.sizes.tolist():
        parts.append(_dot(across(width), up(height), 5, "b", tip=f"{width:.0f}×{height:.0f}"))
    parts += [
        svg.text(left + side, top + side + 34, "width, pixels", "end"),
        svg.text(left, top - 6, "height, pixels"),
    ]
    return svg.document(left + side + 12, top + side + 40, "Sizes of boxes and anchors", parts)


def _dot(x: float, y: float, radius: float, css: str, extra: str = "", tip: str = "") -> str:
    inner = f"<title>{tip}</title>" if tip else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}"{extra}>{inner}</circle>'

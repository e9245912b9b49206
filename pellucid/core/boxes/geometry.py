"""Formats, areas and overlaps of boxes, for NumPy arrays and torch tensors alike: the two name
these operations alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

B = TypeVar("B", np.ndarray, "torch.Tensor")
Kind = Literal["iou", "giou", "diou", "ciou"]


def box_xyxy_to_cxcywh(boxes: B) -> B:
    """…×4: corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return _library(boxes).concatenate([(low + high) / 2, high - low], -1)


def box_cxcywh_to_xyxy(boxes: B) -> B:
    """…×4: centre and size to corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return _library(boxes).concatenate([centre - half, centre + half], -1)


def box_xywh_to_xyxy(boxes: B) -> B:
    """…×4: upper left corner and size, as COCO writes boxes, to corners."""
    return _library(boxes).concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def box_xyxy_to_xywh(boxes: B) -> B:
    """…×4: corners to upper left corner and size."""
    return _library(boxes).concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)


def area(boxes_xyxy: B) -> B:
    """…×4 to …, in square pixels; an empty box has 0."""
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clip(min=0)
    return size[..., 0] * size[..., 1]


def clip(boxes_xyxy: B, size: tuple[int, ...]) -> B:
    """The part of each box, …×4, inside a picture of `size` (height, width).
    A box outside becomes empty, on the edge."""
    x, y = boxes_xyxy[..., 0::2].clip(0, size[1]), boxes_xyxy[..., 1::2].clip(0, size[0])
    return _library(boxes_xyxy).stack([x, y], -1).reshape(boxes_xyxy.shape)


def iou(a_xyxy: B, b_xyxy: B) -> B:
    """Intersection over union of each of N boxes with each of M: N×4 and M×4 to N×M.
    0 where both are empty."""
    both = _intersection(a_xyxy[:, None], b_xyxy[None])
    return over(both, area(a_xyxy)[:, None] + area(b_xyxy)[None] - both)


def overlap_of_first(a_xyxy: B, b_xyxy: B) -> B:
    """The share of each of N boxes that lies in each of M: N×4 and M×4 to N×M. COCO compares with
    crowds so: b has no one size."""
    return over(_intersection(a_xyxy[:, None], b_xyxy[None]), area(a_xyxy)[:, None])


def iou_of_sizes(a_wh: B, b_wh: B) -> B:
    """IoU of …×2 widths and heights with each of K×2, as if their centres agreed: …×K."""
    sizes = a_wh[..., None, :]
    both = _library(a_wh).minimum(sizes, b_wh).prod(-1)
    return over(both, sizes.prod(-1) + b_wh.prod(-1) - both)


def paired(a_xyxy: torch.Tensor, b_xyxy: torch.Tensor, kind: Kind = "iou") -> torch.Tensor:
    """How alike the boxes of two equal stacks are, row by row: …×4 and …×4 to …; 1 for equal boxes.
    A loss is 1 minus it.

    "iou"; "giou" also says how far apart boxes are that do not meet, by their hull (Rezatofighi et
    al. 2019); "diou" by the distance of the centres, "ciou" by the difference of the shapes besides
    (Zheng et al. 2020), whose weight α passes no gradient. Equal empty boxes are 0 alike, and every
    gradient is finite.
    """
    import torch

    both = _intersection(a_xyxy, b_xyxy)
    union = area(a_xyxy) + area(b_xyxy) - both
    alike = over(both, union)
    if kind == "iou":
        return alike
    hull = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(
        a_xyxy[..., :2], b_xyxy[..., :2]
    )
    if kind == "giou":
        around = hull.prod(-1)
        return alike - over(around - union, around)
    a, b = box_xyxy_to_cxcywh(a_xyxy), box_xyxy_to_cxcywh(b_xyxy)
    alike_and_near = alike - over((a[..., :2] - b[..., :2]).square().sum(-1), hull.square().sum(-1))
    if kind == "diou":
        return alike_and_near
    shape = 4 / math.pi**2 * (_slope(a) - _slope(b)).square()
    with torch.no_grad():
        weight = over(shape, 1 - alike + shape)
    return alike_and_near - weight * shape


def _slope(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """arctan(w/h); 0 for a point."""
    import torch

    width, height = boxes_cxcywh[..., 2], boxes_cxcywh[..., 3]
    # Where both are 0 the arctangent has no gradient, not even a one-sided one.
    return torch.atan2(width, height + ((width == 0) & (height == 0)))


def _intersection(a_xyxy: B, b_xyxy: B) -> B:
    name = _library(a_xyxy)
    size = (
        name.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
        - name.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    ).clip(min=0)
    return size[..., 0] * size[..., 1]


def over(part: B, whole: B) -> B:
    """part / whole, and part where the whole is 0: adding the comparison keeps the gradient finite,
    as a `where` would not."""
    return part / (whole + (whole == 0))


def _library(boxes: Any) -> Any:
    """The module whose functions take these boxes."""
    if isinstance(boxes, np.ndarray):
        return np
    import torch

    return torch

"""What a detector's head says instead of a box: four ways to write a box relative to an anchor, a
cell or a point, and back.

Each pair is exactly inverse. All take torch tensors …×4 that broadcast against their references,
keep the dtype, and let gradients through.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, iou_of_sizes

Weights = tuple[float, float, float, float]

# A box grows to at most 1000/16 of its anchor, as in Detectron: the exponential of a young
# network's answer would overflow.
MOST_GROWTH = math.log(1000 / 16)


def encode_deltas(
    boxes_xyxy: Tensor, anchors_xyxy: Tensor, weights: Weights = (1, 1, 1, 1)
) -> Tensor:
    """(tx, ty, tw, th), the regression targets of R-CNN (Girshick et al. 2014, equations 6 to 9),
    each times its weight.

    The centre's shift in sizes of the anchor, and the logarithm of the growth. Sizes must be
    positive.
    """
    boxes, anchors = box_xyxy_to_cxcywh(boxes_xyxy), box_xyxy_to_cxcywh(anchors_xyxy)
    shift = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    growth = torch.log(boxes[..., 2:] / anchors[..., 2:])
    return torch.cat([shift, growth], -1) * boxes.new_tensor(weights)


def decode_deltas(deltas: Tensor, anchors_xyxy: Tensor, weights: Weights = (1, 1, 1, 1)) -> Tensor:
    """The boxes xyxy of which `deltas` are the code;
    they grow to at most 62.5 times the anchor's width and height."""
    anchors, deltas = box_xyxy_to_cxcywh(anchors_xyxy), deltas / deltas.new_tensor(weights)
    centre = deltas[..., :2] * anchors[..., 2:] + anchors[..., :2]
    size = deltas[..., 2:].clamp(max=MOST_GROWTH).exp() * anchors[..., 2:]
    return box_cxcywh_to_xyxy(torch.cat([centre, size], -1))


def encode_anchored(
    boxes_xyxy: Tensor, anchors_wh: Tensor, cells_xy: Tensor, stride: float | Tensor
) -> Tensor:
    """(tx, ty, tw, th) of YOLO 9000 (Redmon and Farhadi 2017) and YOLOv3: centre = (σ(t) +
    cell)·stride, size = anchor·e^t.

    boxes and anchors (…×2, w h) in pixels; cells: …×2, the column and row that hold the centre;
    stride: pixels a cell, a number or …×1. A centre on the border of its cell would need an
    infinite t and is taken one rounding step inside. Sizes must be positive.
    """
    boxes = box_xyxy_to_cxcywh(boxes_xyxy)
    share = boxes[..., :2] / stride - cells_xy
    return torch.cat(
        [
            torch.logit(share, eps=torch.finfo(share.dtype).eps),
            torch.log(boxes[..., 2:] / anchors_wh),
        ],
        -1,
    )


def decode_anchored(
    codes: Tensor, anchors_wh: Tensor, cells_xy: Tensor, stride: float | Tensor
) -> Tensor:
    """The boxes xyxy, in pixels, of which `codes` are the code;
    the growth is bounded as in `decode_deltas`."""
    centre = (codes[..., :2].sigmoid() + cells_xy) * stride
    size = codes[..., 2:].clamp(max=MOST_GROWTH).exp() * anchors_wh
    return box_cxcywh_to_xyxy(torch.cat([centre, size], -1))


def encode_grid(boxes_cxcywh: Tensor, cells_xy: Tensor, grid: tuple[int, int]) -> Tensor:
    """(x, y, √w, √h) of the first YOLO (Redmon et al. 2016, section 2): the centre as a share of
    its cell, roots of shares of the picture.

    boxes in shares of the picture; cells: …×2, the column and row that hold the centre; grid: rows
    and columns.
    """
    return torch.cat(
        [
            boxes_cxcywh[..., :2] * _columns_rows(boxes_cxcywh, grid) - cells_xy,
            boxes_cxcywh[..., 2:].sqrt(),
        ],
        -1,
    )


def decode_grid(codes: Tensor, cells_xy: Tensor, grid: tuple[int, int]) -> Tensor:
    """The boxes cxcywh, in shares of the picture, of which `codes` are the code. A negative root
    counts as its magnitude."""
    return torch.cat(
        [(codes[..., :2] + cells_xy) / _columns_rows(codes, grid), codes[..., 2:].square()], -1
    )


def encode_distances(boxes_xyxy: Tensor, points_xy: Tensor, stride: float | Tensor) -> Tensor:
    """(left, top, right, bottom) from a point to the box's sides, in strides (FCOS, Tian et al.
    2019, equation 1; YOLOv8).

    boxes and points (…×2) in pixels; stride: a number or …×1. All four are positive where the point
    lies inside the box.
    """
    return (
        torch.cat([points_xy - boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - points_xy], -1) / stride
    )


def decode_distances(distances: Tensor, points_xy: Tensor, stride: float | Tensor) -> Tensor:
    """The boxes xyxy, in pixels, of which `distances` are the code."""
    reach = distances * stride
    return torch.cat([points_xy - reach[..., :2], points_xy + reach[..., 2:]], -1)


def responsible(
    boxes_cxcywh: Tensor, anchors_wh: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Who must find each box: the row and column of the cell that holds its centre, and the anchor
    of the highest IoU with its shape.

    boxes: …×4 and anchors: A×2 (w h), both in shares of the picture; grid: rows and columns. Gives
    three int64 tensors of shape ….
    Shapes are compared as if their centres agreed; of equal anchors the first is responsible. A
    centre on the far edge is in the last cell.
    """
    most = boxes_cxcywh.new_tensor([grid[1] - 1, grid[0] - 1])
    cells = (
        (boxes_cxcywh[..., :2] * _columns_rows(boxes_cxcywh, grid))
        .floor()
        .clamp(min=torch.zeros_like(most), max=most)
        .long()
    )
    return cells[..., 1], cells[..., 0], iou_of_sizes(boxes_cxcywh[..., 2:], anchors_wh).argmax(-1)


def grid_shape(
    grid: tuple[int, int], boxes: int, classes: int, shared_classes: bool = False
) -> tuple[int, int, int]:
    """Rows × columns × numbers a cell, of what a head over a grid says: for each of a cell's boxes
    an objectness, four coordinates and the classes, B·(5 + C); with `shared_classes` one set of
    class scores a cell, 5·B + C, as in the first YOLO.

    boxes: anchors a cell, 1 without anchors.
    """
    return (*grid, 5 * boxes + classes if shared_classes else boxes * (5 + classes))


def _columns_rows(like: Tensor, grid: tuple[int, int]) -> Tensor:
    return like.new_tensor([grid[1], grid[0]])

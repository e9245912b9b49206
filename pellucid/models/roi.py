"""From a box of any size to a map of one size: RoIAlign and RoI pooling, all boxes at once.

Sources: K. He et al., Mask R-CNN, ICCV 2017 (arXiv 1703.06870), section 3: RoIAlign; R. Girshick,
Fast R-CNN, ICCV 2015 (arXiv 1504.08083), section 2.1: RoI pooling; T.-Y. Lin et al., Feature
Pyramid Networks, CVPR 2017 (arXiv 1612.03144), eq. 1: which level of a pyramid a box is read from.

Both read a table that has a row for each place of each map: what a cell of the answer is made of is
then a few row numbers, and a weighted sum or a maximum of rows is what `embedding_bag` computes,
without ever holding the rows side by side.

Choices and deviations:
- Place (x, y) of a map of stride s covers the pixels from s·x to s·(x + 1), so its centre lies half
  a stride in. (The first code of RoIAlign left the half out and shifted every box.) Beyond the
  outermost centres the map goes on as it ends.
- Boxes have no gradient: they are where to look, not what is seen.
- A box is read from the coarsest level on which it is still 7 places wide, where the paper of
  pyramids asks for 14: their pictures have 800 pixels a side, ours some 300, and at 14 the coarse
  levels would hardly ever be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACES_WIDE = 7


class RoIAlign(nn.Module):
    """Maps of B×C×h×w and boxes B×K×4 → B×K×C×side×side: bilinear samples, their mean in each cell.

    strides: of the maps, finest first. side: cells along a side of the answer. samples: along a
    side of a cell.
    """

    def __init__(self, strides: Sequence[float], side: int = 7, samples: int = 2) -> None:
        super().__init__()
        self.strides, self.side, self.samples = tuple(strides), side, samples

    def macs(self, output: tuple[int, ...]) -> int:
        return math.prod(output) * 4 * self.samples**2

    def forward(self, maps: Sequence[Tensor], boxes_xyxy: Tensor) -> Tensor:
        return roi_align(maps, boxes_xyxy, self.strides, self.side, self.samples).unflatten(
            0, boxes_xyxy.shape[:2]
        )


class RoIPool(nn.Module):
    """Maps, of which the last, B×C×h×w, is read, and boxes B×K×4 → B×K×C×side×side: the greatest
    number in each cell."""

    def __init__(self, stride: float, side: int = 7) -> None:
        super().__init__()
        self.stride, self.side = stride, side

    def forward(self, maps: Sequence[Tensor], boxes_xyxy: Tensor) -> Tensor:
        return roi_pool(maps[-1], boxes_xyxy, self.stride, self.side).unflatten(
            0, boxes_xyxy.shape[:2]
        )


def roi_align(
    maps: Sequence[Tensor],
    boxes_xyxy: Tensor,
    strides: Sequence[float],
    side: int = 7,
    samples: int = 2,
) -> Tensor:
    """B×C×h×w maps of one C, finest first, and B×K×4 boxes in pixels → (B·K)×C×side×side,
    differentiable in the maps.

    Each cell is the mean of samples×samples points on a regular grid in it, each interpolated
    between the four places around it.
    """
    boxes = boxes_xyxy.detach().float()
    level = level_of(boxes, strides).reshape(-1)
    sizes = torch.tensor([each.shape[2:] for each in maps], device=boxes.device)[level]
    stride = torch.tensor(strides, device=boxes.device)[level]
    x1, y1, x2, y2 = boxes.reshape(-1, 4).unbind(1)
    columns, across = _interpolated(x1, x2, stride, sizes[:, 1], side, samples)
    rows, down = _interpolated(y1, y2, stride, sizes[:, 0], side, samples)
    table = _table(maps)
    shares = (down[:, :, None, :, None] * across[:, None, :, None, :]).to(table.dtype)
    index = _index(rows, columns, _first_rows(maps, level, boxes.shape[1]), sizes[:, 1])
    return _cells(table, index, side, shares.flatten(3).flatten(0, 2))


def roi_pool(x: Tensor, boxes_xyxy: Tensor, stride: float, side: int = 7) -> Tensor:
    """A B×C×h×w map and B×K×4 boxes in pixels → (B·K)×C×side×side, differentiable in the map.

    A box takes all places that it touches; a cell of it, from the place where it begins to the one
    where it ends, so neighbours may share places and none is empty.
    """
    x1, y1, x2, y2 = boxes_xyxy.detach().float().reshape(-1, 4).unbind(1)
    height, width = x.shape[2:]
    columns = _touched(x1 / stride, x2 / stride, width, side)
    rows = _touched(y1 / stride, y2 / stride, height, side)
    level = torch.zeros(len(x1), dtype=torch.long, device=x.device)
    index = _index(
        rows, columns, _first_rows([x], level, boxes_xyxy.shape[1]), torch.full_like(level, width)
    )
    return _cells(_table([x]), index, side)


def level_of(boxes_xyxy: Tensor, strides: Sequence[float]) -> Tensor:
    """…×4 boxes in pixels → int64 …, the number of the coarsest level on which √(area) is 7 places;
    the finest for smaller boxes."""
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(-1).sqrt()
    return sum((size >= PLACES_WIDE * stride).long() for stride in strides[1:]) + torch.zeros_like(
        size, dtype=torch.long
    )


def _table(maps: Sequence[Tensor]) -> Tensor:
    """One row of C numbers a place: map after map, picture after picture, row by row."""
    return torch.cat([each.permute(0, 2, 3, 1).reshape(-1, each.shape[1]) for each in maps])


def _first_rows(maps: Sequence[Tensor], level: Tensor, boxes: int) -> Tensor:
    """The row of the table at which the map of each box begins; `boxes` a picture."""
    pixels = [each.shape[2] * each.shape[3] for each in maps]
    starts = [len(each) * sum(pixels[:at]) for at, each in enumerate(maps)]
    picture = torch.arange(len(maps[0]), device=level.device).repeat_interleave(boxes)
    return (
        torch.tensor(starts, device=level.device)[level]
        + picture * torch.tensor(pixels, device=level.device)[level]
    )


def _index(rows: Tensor, columns: Tensor, first: Tensor, width: Tensor) -> Tensor:
    """R×side×m rows and as many columns → (R·side·side)×(m·m) rows of the table."""
    rows = first[:, None, None] + rows * width[:, None, None]
    return (rows[:, :, None, :, None] + columns[:, None, :, None, :]).flatten(3).flatten(0, 2)


def _cells(table: Tensor, index: Tensor, side: int, shares: Tensor | None = None) -> Tensor:
    """The weighted sum of the rows in each row of `index`, or without shares their maximum:
    (R·side·side)×m → R×C×side×side."""
    found = F.embedding_bag(
        index, table, mode="max" if shares is None else "sum", per_sample_weights=shares
    )
    return found.reshape(-1, side, side, table.shape[1]).permute(0, 3, 1, 2)


def _interpolated(
    low: Tensor, high: Tensor, stride: Tensor, length: Tensor, side: int, samples: int
) -> tuple[Tensor, Tensor]:
    """Along one side of R boxes: R×side×(2·samples) places of the map,
    and what each counts for in its cell."""
    steps = (torch.arange(side * samples, device=low.device) + 0.5) / (side * samples)
    at = (low[:, None] + (high - low)[:, None] * steps) / stride[:, None] - 0.5
    last = length[:, None] - 1
    at = at.clamp(min=0).minimum(last)
    before = at.floor()
    share = at - before
    places = torch.stack([before, (before + 1).minimum(last)], -1).long()
    shares = torch.stack([1 - share, share], -1) / samples
    return places.reshape(len(low), side, -1), shares.reshape(len(low), side, -1)


def _touched(low: Tensor, high: Tensor, length: int, side: int) -> Tensor:
    """Along one side of R boxes (in places): R×side×m places; a cell that touches fewer than m has
    its last one several times."""
    first = low.floor().clamp(0, length - 1)[:, None]
    end = high.ceil().clamp(max=length)[:, None].maximum(first + 1)
    cells = torch.arange(side, device=low.device)
    begin = (first + cells * (end - first) / side).floor()
    until = (first + (cells + 1) * (end - first) / side).ceil()
    most = -(-length // side) + 1
    return (
        (begin[..., None] + torch.arange(most, device=low.device))
        .minimum(until[..., None] - 1)
        .long()
    )

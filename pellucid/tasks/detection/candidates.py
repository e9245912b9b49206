"""What every design of a detector takes and gives: targets as tensors, and candidates B×K×6."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.types import Objects

# Of each view: enough for crowded images before suppression, and the lowest score that can change
# an average precision.
CANDIDATES, FLOOR = 1000, 0.001


def padded(targets: Sequence[Objects], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """float32 B×M×4 boxes, int64 B×M labels, int64 B×M kinds: 1 an object, 2 one to be ignored, 0
    padding. M is at least 1."""
    most = max(1, *(len(each) for each in targets))
    boxes, labels, kinds = (
        torch.zeros(len(targets), most, 4),
        torch.zeros(len(targets), most).long(),
        torch.zeros(len(targets), most).long(),
    )
    for row, each in enumerate(targets):
        boxes[row, : len(each)] = torch.from_numpy(each.boxes).float()
        labels[row, : len(each)] = torch.from_numpy(each.labels)
        kinds[row, : len(each)] = torch.from_numpy(each.ignore).long() + 1
    return boxes.to(device), labels.to(device), kinds.to(device)


def best(boxes: Tensor, scores: Tensor, most: int = CANDIDATES, floor: float = FLOOR) -> Tensor:
    """The `most` highest of B×N×classes scores, with their boxes B×N×4, as B×most×6;
    padded with zeros."""
    flat = scores.flatten(1)
    values, at = flat.topk(min(most, flat.shape[1]), dim=1)
    found = boxes.gather(1, (at // scores.shape[2])[..., None].expand(-1, -1, 4))
    rows = torch.cat(
        [
            found,
            torch.where(values > floor, values, 0)[..., None],
            (at % scores.shape[2])[..., None].to(found),
        ],
        2,
    )
    return F.pad(rows, (0, 0, 0, most - rows.shape[1]))

"""The classic loss of the YOLO line: weighted squares, and one cell with one anchor that is
responsible for an object.

Source: J. Redmon et al., You Only Look Once, CVPR 2016 (arXiv 1506.02640), equation 3, with the
anchors of YOLO9000 (CVPR 2017).

It is here for comparison. Later losses improve on it: an object has one responsible place, however
many others cover it; squares of probabilities have small gradients where the prediction is most
wrong; and the squared error of a box is not its overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.boxes import box_xyxy_to_cxcywh, paired
from ...core.boxes.coding import encode_grid, responsible
from ...core.types import Objects
from ...models.yolo import Grid
from .candidates import best, padded

# Equation 3: λ_coord and λ_noobj.
PLACE, NOTHING = 5.0, 0.5


def loss(network: Grid, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
    """Sums of squares over cells and anchors, means over the batch: centre and roots of the size,
    in cells and shares of the image (λ 5); confidence, whose target is the IoU where an object is,
    and 0 elsewhere (λ 0.5); classes where an object is.

    images: B×C×H×W, normalized. targets: in pixels of these. Cells and anchors in objects to ignore
    have no target.
    """
    raw = network(images).float()
    boxes = network.boxes(raw)
    wanted, labels, kinds = padded(targets, raw.device)
    grid = raw.shape[1], raw.shape[2]
    picture, thing = (kinds == 1).nonzero(as_tuple=True)
    goals, sides = wanted[picture, thing], wanted.new_tensor([images.shape[3], images.shape[2]])
    shares = box_xyxy_to_cxcywh(goals) / sides.repeat(2)
    row, column, anchor = responsible(shares, network.anchors / sides, grid)
    said, found = raw[picture, row, column, anchor], boxes[picture, row, column, anchor]
    fit = paired(found.detach(), goals).clamp(0)
    confidence = raw[..., 4].sigmoid()
    nothing = NOTHING * confidence**2 * ~_excused(boxes.detach(), wanted, kinds)
    nothing = nothing.index_put((picture, row, column, anchor), nothing.new_zeros(()))
    cells = torch.stack([column, row], 1)
    mine, theirs = (
        encode_grid(each, cells, grid)
        for each in (box_xyxy_to_cxcywh(found) / sides.repeat(2), shares)
    )
    place = (mine - theirs).square().sum()
    classes = (
        (
            said[:, 5:].sigmoid()
            - torch.nn.functional.one_hot(labels[picture, thing], network.classes)
        )
        .square()
        .sum()
    )
    parts = {
        "box": PLACE * place,
        "object": (said[:, 4].sigmoid() - fit).square().sum(),
        "nothing": nothing.sum(),
        "class": classes,
    }
    parts = {name: value / len(images) for name, value in parts.items()}
    total = torch.stack(list(parts.values())).sum()
    return {"total": total, "loss": total.detach()} | {
        name: value.detach() for name, value in parts.items()
    }


def _excused(boxes: Tensor, wanted: Tensor, kinds: Tensor) -> Tensor:
    """bool B×S×S×A: the center of the box lies in an object to ignore."""
    centre = (boxes[..., None, :2] + boxes[..., None, 2:]) / 2
    low, high = wanted[:, None, None, None, :, :2], wanted[:, None, None, None, :, 2:]
    return (((centre > low) & (centre < high)).all(-1) & (kinds == 2)[:, None, None, None]).any(-1)


def candidates(network: Grid, images: Tensor) -> Tensor:
    """B×most×6, as in `one_stage`; the score is confidence times class (section 2 of the paper)."""
    raw = network(images).float()
    scores = raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()
    return best(network.boxes(raw).flatten(1, 3), scores.flatten(1, 3))

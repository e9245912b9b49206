"""The loss of the one-stage detectors: which places are responsible for which objects, and the
terms.

Source of the assignment: C. Feng et al., TOOD: Task-aligned One-stage Object Detection, ICCV 2021
(arXiv 2108.07755); of the loss of boxes: Z. Zheng et al., Distance-IoU Loss, AAAI 2020 (arXiv
1911.08287) and X. Li et al., Generalized Focal Loss, NeurIPS 2020 (arXiv 2006.04388).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.boxes import paired
from ...core.types import Objects
from ...models.yolo import BINS, Yolo
from .candidates import best, padded

# How much score and fit count when places compete for an object, and how many it may have: as the
# YOLO line has set them since 2022.
SCORE_POWER, FIT_POWER, MOST = 0.5, 6.0, 10
# As weighed by the detectors of the YOLO line since 2023.
WEIGHTS = {"class": 0.5, "box": 7.5, "side": 1.5}


@dataclass(frozen=True)
class Assigned:
    """Which places are responsible for objects, P of them in the whole batch.

    picture, place, object: int64 P: indices of the image, of the place in it, of the object among
    the targets of that image.
    score: P, the target score of the object's class at the place, from 0 to 1. excused: bool B×N,
    places that lie in objects to ignore.
    """

    picture: Tensor
    place: Tensor
    object: Tensor
    score: Tensor
    excused: Tensor


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    centres: Tensor,
    finest: float,
    targets: tuple[Tensor, Tensor, Tensor],
) -> Assigned:
    """Task-aligned assignment (TOOD): an object is given to the ten places inside it that score
    √s·u⁶ highest, s being their score of its class and u the IoU of their box; a place that several
    objects want is responsible for the one it overlaps most.

    scores: B×N×classes, 0 to 1. boxes: B×N×4. centres: N×2. finest: the smallest stride; a smaller
    object counts as so large when places inside it are looked for, or it could fall between all of
    them. targets: from `padded`. The target score of a place is its √s·u⁶, scaled so that the best
    place of an object has that object's best IoU.
    """
    wanted, labels, kinds = targets
    middle, half = (
        (wanted[..., :2] + wanted[..., 2:]) / 2,
        (wanted[..., 2:] - wanted[..., :2]).clamp(min=finest) / 2,
    )
    inside = ((centres - middle[:, :, None]).abs() <= half[:, :, None]).all(-1)  # B×M×N
    excused = (inside & (kinds == 2)[..., None]).any(1)
    picture, thing, place = (inside & (kinds == 1)[..., None]).nonzero(as_tuple=True)
    fit = paired(wanted[picture, thing], boxes[picture, place], "iou").clamp(0)
    # In double precision: a sixth power of a small overlap must not become zero, or a small object
    # would be nobody's for ever.
    aligned = (
        scores[picture, place, labels[picture, thing]].double() ** SCORE_POWER
    ) * fit.double() ** FIT_POWER
    rows = picture * wanted.shape[1] + thing
    chosen = _best_of_each(rows, aligned, MOST)
    picture, thing, place, rows, fit, aligned = (
        each[chosen] for each in (picture, thing, place, rows, fit, aligned)
    )
    chosen = _best_of_each(picture * len(centres) + place, fit, 1)
    picture, thing, place, rows, fit, aligned = (
        each[chosen] for each in (picture, thing, place, rows, fit, aligned)
    )
    count = wanted.shape[0] * wanted.shape[1]
    best_fit = torch.zeros(count, device=fit.device).scatter_reduce_(0, rows, fit, "amax")
    best_aligned = torch.zeros(count, device=fit.device, dtype=torch.float64).scatter_reduce_(
        0, rows, aligned, "amax"
    )
    score = (aligned / best_aligned[rows].clamp(min=1e-300)).float() * best_fit[rows]
    excused[picture, place] = False
    return Assigned(picture, place, thing, score, excused)


def _best_of_each(rows: Tensor, values: Tensor, most: int) -> Tensor:
    """Indices of the up to `most` highest values of each row number; among equals the first."""
    by_value = torch.argsort(values, descending=True, stable=True)
    order = by_value[torch.argsort(rows[by_value], stable=True)]
    ordered = rows[order]
    begins = (
        torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
        if len(ordered)
        else ordered.bool()
    )
    at = torch.arange(len(ordered), device=rows.device)
    first = torch.where(begins, at, 0).cummax(0).values if len(ordered) else at
    return order[at - first < most]


def loss(
    network: Yolo, images: Tensor, targets: Sequence[Objects], criterion: str = "bce"
) -> dict[str, Tensor]:
    """class: of all places and classes, binary cross-entropy ("bce") or varifocal ("focal"); box:
    1 - CIoU, and side: the distribution of each side's distance, of responsible places.
    All are sums over the batch, divided by the sum of its target scores.

    images: B×C×H×W, normalized. targets: in pixels of these. Means of B pictures, as the loop
    expects: the divisor is the batch's own.
    """
    maps = network.features(images)
    sizes = [tuple(each.shape[2:]) for each in maps]
    raw = network.head(maps).float()
    boxes, logits = network.boxes(raw, sizes), raw[..., network.sides :]  # type: ignore[arg-type]
    centres, strides = network.places(sizes)  # type: ignore[arg-type]
    wanted = padded(targets, raw.device)
    found = assign(logits.detach().sigmoid(), boxes.detach(), centres, network.strides[0], wanted)
    aims = torch.zeros_like(logits)
    aims[found.picture, found.place, wanted[1][found.picture, found.object]] = found.score
    # At least one a picture: nothing but background would else weigh as much as a batch full of
    # objects.
    total = found.score.sum().clamp(min=len(images))
    parts = {"class": _of_classes(logits, aims, found.excused, criterion) / total}
    mine, theirs = boxes[found.picture, found.place], wanted[0][found.picture, found.object]
    parts["box"] = ((1 - paired(mine, theirs, "ciou")) * found.score).sum() / total
    if network.anchors is None:
        ends = _distances(theirs, centres[found.place], strides[found.place])
        parts["side"] = (
            _of_sides(raw[found.picture, found.place, : network.sides], ends) * found.score
        ).sum() / total
    weighed = torch.stack([WEIGHTS[name] * value for name, value in parts.items()])
    return {"total": weighed.sum(), "loss": weighed.sum().detach()} | {
        name: value.detach() for name, value in parts.items()
    }


def _of_classes(logits: Tensor, aims: Tensor, excused: Tensor, criterion: str) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits, aims, reduction="none")
    if criterion == "focal":
        # Varifocal (Zhang et al. 2021, arXiv 2008.13367): what should be said counts by its worth,
        # what should not by how sure it is.
        each = each * torch.where(aims > 0, aims, 0.75 * logits.detach().sigmoid() ** 2)
    return (each * ~excused[..., None]).sum()


def _distances(boxes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """P×4 in strides, within what the distribution can say."""
    ends = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], 1) / strides[:, None]
    return ends.clamp(0, BINS - 1 - 0.01)


def _of_sides(raw: Tensor, ends: Tensor) -> Tensor:
    """P: cross-entropy with the two whole distances around the true one, by nearness to each (Li et
    al. 2020, eq. 6); mean of 4 sides."""
    logs = raw.unflatten(1, (4, BINS)).log_softmax(2)
    low = ends.floor().long()
    share = ends - low
    at_low, at_high = (logs.gather(2, each[..., None])[..., 0] for each in (low, low + 1))
    return -((1 - share) * at_low + share * at_high).mean(1)


def candidates(network: Yolo, images: Tensor) -> Tensor:
    """B×K×6: x1 y1 x2 y2 score label of the likeliest pairs of place and class, highest first."""
    maps = network.features(images)
    raw = network.head(maps).float()
    boxes = network.boxes(raw, [tuple(each.shape[2:]) for each in maps])  # type: ignore[misc]
    return best(boxes, raw[..., network.sides :].sigmoid())

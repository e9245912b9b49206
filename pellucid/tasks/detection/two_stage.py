"""Losses and candidates of the R-CNN line: sampling of anchors and regions, and their losses.

Sources: S. Ren et al., Faster R-CNN, NeurIPS 2015, sections 3.1.2 and 3.1.3 (anchors); R. Girshick,
Fast R-CNN, ICCV 2015, section 2.3 (regions, smooth L1).

Choices and deviations:
- The sample follows from the draws of each image, so a resumed run samples the same.
- Regions below an IoU of 0.5 are background, those below 0.1 too, which Fast R-CNN leaves out: data
  sets here are small.
- The target boxes are among the regions of training: a fresh network proposes nothing that meets an
  object.
- An anchor or region more than half inside an object to ignore is neither positive nor negative.
- Fast R-CNN and R-CNN are trained with the proposals of the view before augmentation, found once
  (`transforms.selective_search.remembered`) and moved with the image by augmentation as boxes
  (`with_proposals`, `apart`). Searching each augmented image would take longer than its training
  step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.boxes import area, clip, iou, overlap_of_first
from ...core.boxes.coding import decode_deltas, encode_deltas
from ...core.rng import Draws
from ...core.types import Objects
from ...models.rcnn import DELTA_WEIGHTS, RCNN, FasterRCNN, FastRCNN
from ...transforms.selective_search import apart
from .candidates import best

Network = FasterRCNN | FastRCNN | RCNN

ANCHORS, ANCHOR_SHARE = 256, 0.5
REGION_SHARE = 0.25
SOMETHING, NOTHING, REGION = 0.7, 0.3, 0.5
# The label of a region that is not trained on.
UNUSED = -100


class Met(NamedTuple):
    """How N boxes meet the objects of a picture. overlap: float N, IoU with the nearest; which:
    int64 N, its number; first: bool N, whether none meets some object better; excused: bool N,
    whether it lies in what is to be ignored."""

    overlap: np.ndarray
    which: np.ndarray
    first: np.ndarray
    excused: np.ndarray


def loss(
    network: Network, images: Tensor, targets: Sequence[Objects], draws: Draws
) -> dict[str, Tensor]:
    """Of B normalized images, float B×C×H×W, and their targets in their pixels: the parts by name,
    and their sum "total".

    targets: with proposals (`with_proposals`) for networks that propose no boxes themselves. draws:
    a row an image. Raises ValueError for such a network where no image has any.
    """
    maps = network.features(images)
    objects, proposals = zip(*map(apart, targets), strict=True)
    losses: dict[str, Tensor] = {}
    if isinstance(network, FasterRCNN):
        logits, deltas = network.rpn(maps)
        losses = proposal_losses(
            logits.float(), deltas.float(), network.anchors_of(maps), objects, draws
        )
        proposals = tuple(
            each[area(each) > 0]
            for each in network.proposed(maps, logits, deltas).cpu().double().numpy()
        )
    if not any(map(len, proposals)):
        raise ValueError("this network needs proposals, and the targets hold none")
    sampled = sampled_regions(proposals, objects, draws, network.sampled, network.classes)
    boxes, labels, aims = (torch.from_numpy(each).to(images.device) for each in sampled)
    what, where = network.regions(maps, boxes)
    losses |= region_losses(what.float(), where.float(), boxes, labels, aims)
    return losses | {"total": torch.stack(list(losses.values())).sum()}


def candidates(network: Network, images: Tensor, proposals: Tensor | None = None) -> Tensor:
    """Of B normalized images, and of proposals B×P×4 in their pixels for a network that takes any:
    float B×K×6, x1 y1 x2 y2 in their pixels, score, label; rows of score 0 hold nothing. Before
    suppression.

    Each region has a score for every class, with one box; the 1000 highest are kept. An empty
    proposal scores 0.
    """
    found = network(images) if proposals is None else network(images, proposals)
    boxes = clip(
        decode_deltas(found.deltas.float(), found.boxes.float(), DELTA_WEIGHTS),
        tuple(images.shape[2:]),
    )
    shares = found.logits.float().softmax(-1)[..., :-1] * (area(found.boxes) > 0)[..., None]
    return best(boxes, shares)


# --- anchors --------------------------------------------------------------------------------------


def proposal_losses(
    logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Sequence[Objects], draws: Draws
) -> dict[str, Tensor]:
    """B×N logits and B×N×4 deltas of N anchors: whether something is there,
    over 256 sampled ones a picture, and where."""
    places = anchors.cpu().double().numpy()
    picked, states, aims = [], [], []
    for number, (objects, keys) in enumerate(zip(targets, draws.uniform(len(places)), strict=True)):
        met, boxes = meet(places, objects), objects.boxes[~objects.ignore]
        positive = sample(
            (met.overlap >= SOMETHING) | met.first, keys, round(ANCHORS * ANCHOR_SHARE)
        )
        negative = sample(
            (met.overlap < NOTHING) & ~met.first & ~met.excused, keys, ANCHORS - len(positive)
        )
        picked.append(np.concatenate([positive, negative]) + number * len(places))
        states.append(np.arange(len(positive) + len(negative)) < len(positive))
        aims.append(boxes[met.which[positive]] if len(positive) else np.zeros((0, 4)))
    index, something = (
        torch.from_numpy(np.concatenate(each)).to(logits.device) for each in (picked, states)
    )
    wanted = torch.from_numpy(np.concatenate(aims)).to(logits)
    chosen = index[something]
    far = F.smooth_l1_loss(
        deltas.flatten(0, 1)[chosen],
        encode_deltas(wanted, anchors[chosen % len(anchors)]),
        reduction="sum",
        beta=1 / 9,
    )
    found = F.binary_cross_entropy_with_logits(logits.flatten()[index], something.to(logits.dtype))
    return {"proposal": found, "proposal_box": far / max(1, len(index))}


# --- regions --------------------------------------------------------------------------------------


def sampled_regions(
    proposals: Sequence[np.ndarray],
    targets: Sequence[Objects],
    draws: Draws,
    count: int,
    classes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each image `count` regions, a quarter of them objects where there are as many: boxes
    B×count×4, labels B×count (`classes` is background, UNUSED not trained on), and the target boxes
    B×count×4; float32 and int64."""
    boxes, aims = np.zeros((2, len(targets), count, 4), np.float32)
    labels = np.full((len(targets), count), UNUSED)
    most = max(len(each) + len(objects) for each, objects in zip(proposals, targets, strict=True))
    for row, (each, objects, keys) in enumerate(
        zip(proposals, targets, draws.uniform(most), strict=True)
    ):
        wanted = objects.part(~objects.ignore)
        places = np.concatenate([wanted.boxes, each])
        met = meet(places, objects)
        positive = sample(met.overlap >= REGION, keys, round(count * REGION_SHARE))
        negative = sample((met.overlap < REGION) & ~met.excused, keys, count - len(positive))
        used = len(positive) + len(negative)
        boxes[row, :used] = places[np.concatenate([positive, negative])]
        labels[row, :used] = np.concatenate(
            [wanted.labels[met.which[positive]], np.full(len(negative), classes)]
        )
        aims[row, : len(positive)] = wanted.boxes[met.which[positive]]
    return boxes, labels, aims


def region_losses(
    logits: Tensor, deltas: Tensor, boxes: Tensor, labels: Tensor, aims: Tensor
) -> dict[str, Tensor]:
    """B×K×(classes + 1) logits and B×K×4 deltas of regions: what is there, over all that are used,
    and where, over the objects."""
    nothing = logits.shape[-1] - 1
    objects = (labels >= 0) & (labels < nothing)
    far = F.smooth_l1_loss(
        deltas[objects],
        encode_deltas(aims[objects], boxes[objects], DELTA_WEIGHTS),
        reduction="sum",
    )
    used = (labels != UNUSED).sum().clamp(min=1)
    what = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=UNUSED, reduction="sum"
    )
    return {"class": what / used, "box": far / used}


# --- both -----------------------------------------------------------------------------------------


def meet(boxes: np.ndarray, objects: Objects) -> Met:
    """N×4 boxes and what is in their picture; where there is nothing, all overlaps are 0."""
    wanted, ignored = objects.boxes[~objects.ignore], objects.boxes[objects.ignore]
    excused = (overlap_of_first(boxes, ignored) > 0.5).any(1)
    if not len(wanted) or not len(boxes):
        return Met(
            np.zeros(len(boxes)),
            np.zeros(len(boxes), np.int64),
            np.zeros(len(boxes), bool),
            excused,
        )
    overlaps = iou(boxes, wanted)
    most = overlaps.max(0)
    first = ((overlaps == most) & (most > 0)).any(1)
    return Met(overlaps.max(1), overlaps.argmax(1), first, excused)


def sample(which: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """The numbers of at most `count` of those where `which` is true: those with the lowest keys."""
    candidates = np.flatnonzero(which)
    return candidates[np.argsort(keys[candidates], kind="stable")[:count]]

"""Localization: the targets and losses of a `Localiser` and of `Landmarks`, and their outputs in
pixels.

An image has one object at most; of several the largest counts, and those marked to be ignored do
not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.boxes import area, box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, clip
from ...core.types import Objects
from ...losses import localization
from ...models.localiser import Localiser


def encode_targets(
    targets: Sequence[Objects], size: tuple[int, int], classes: int, *, sized: bool = True
) -> Tensor:
    """float B×(1 + 4 + classes) (1 + 2 without `sized`) from objects in pixels of views of `size`
    (height, width)."""
    return torch.stack([_encode_target(target, size, classes, sized) for target in targets])


def _encode_target(target: Objects, size: tuple[int, int], classes: int, sized: bool) -> Tensor:
    boxes = clip(target.boxes, size)
    areas = np.where(target.ignore, 0.0, area(boxes))
    if not areas.any():
        return localization.target(None, None, classes, sized=sized)
    largest = int(areas.argmax())
    shares = box_xyxy_to_cxcywh(boxes[largest] / np.tile(size[::-1], 2))
    place = shares if sized else shares[:2]
    return localization.target(
        place.clip(0, 1).tolist(),
        int(target.labels[largest]) if classes else None,
        classes,
        sized=sized,
    )


def loss(network: Localiser, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
    """`total`: the squared error of a `Localiser` for B×C×H×W pictures and objects in their pixels,
    a mean over pictures."""
    outputs = network(images).float()
    wanted = encode_targets(
        targets, (images.shape[2], images.shape[3]), network.classes, sized=network.sized
    )
    return {"total": localization.loss(outputs, wanted.to(outputs.device))}


def candidates(network: Localiser, images: Tensor) -> Tensor:
    """B×1×6 from a `Localiser` with sizes: x1 y1 x2 y2 in pixels of the pictures, p between 0 and
    1, the class (0 where there is none)."""
    outputs = network(images).float()
    present, x, y, height, width = outputs[:, :5].unbind(1)
    shares = box_cxcywh_to_xyxy(torch.stack([x, y, width.clamp(min=0), height.clamp(min=0)], 1))
    boxes = clip(
        shares * shares.new_tensor([images.shape[3], images.shape[2]]).repeat(2),
        (images.shape[2], images.shape[3]),
    )
    labels = outputs[:, 5:].argmax(1) if outputs.shape[1] > 5 else torch.zeros_like(present)
    return torch.cat([boxes, present.clamp(0, 1)[:, None], labels[:, None].float()], 1)[:, None]


def landmark_loss(outputs: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """Squared error of B×2N shares against B×N×2 points (x, y) in pixels of pictures of `size`
    (height, width): of a picture the sum, a mean over pictures."""
    shares = points.to(outputs) / outputs.new_tensor(size[::-1])
    return (outputs - shares.flatten(1)).square().sum(1).mean()


def landmarks_in_pixels(outputs: Tensor, size: tuple[int, int]) -> Tensor:
    """B×2N shares to B×N×2 points (x, y) in pixels of pictures of `size` (height, width)."""
    return outputs.unflatten(1, (-1, 2)) * outputs.new_tensor(size[::-1])

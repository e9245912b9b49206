"""Proposals of selective search for a batch, as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...plots.annotate import to_rgb8
from ...transforms.selective_search import remembered


def search(images: Tensor) -> list[np.ndarray]:
    """The proposals of each image, float64 M×4 x1 y1 x2 y2, likeliest first. images: B×C×H×W of the
    stored depth. An image that was searched before is not searched again."""
    return [remembered(to_rgb8(view)) for view in images.permute(0, 2, 3, 1).cpu().numpy()]


def stacked(boxes: Sequence[np.ndarray], most: int) -> Tensor:
    """float32 B×P×4: the first `most` boxes of each image, padded with empty ones (0 0 0 0) to as
    many as the image with the most has, and at least one.

    An empty box scores 0, so an exported network of fixed shape may get more of them. Here they
    would only cost time, and change the order of equal scores.
    """
    found = torch.zeros(len(boxes), min(most, max(1, *map(len, boxes))), 4)
    for row, each in zip(found, boxes, strict=True):
        row[: len(each)] = torch.from_numpy(np.array(each[:most], np.float32))
    return found

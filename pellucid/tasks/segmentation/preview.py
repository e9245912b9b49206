"""The sheet of a training batch: images with their masks drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...core.types import IGNORE
from ...plots import masks
from ...plots.annotate import to_rgb8


def preview(
    images: torch.Tensor, targets: torch.Tensor, classes: Sequence[str]
) -> list[tuple[np.ndarray, str]]:
    """Each row with its mask drawn, and the shares of its classes. images: float B×C×… in 0..1, of
    volumes the middle slice is drawn, of other channels than 1 or 3 the middle one; targets: int64
    B×…, or float B×K×… of several annotators."""
    if targets.is_floating_point():
        targets = torch.where(targets.sum(1) > 0, targets.argmax(1), IGNORE)
    if images.ndim == 5:
        images, targets = (each.select(-3, each.shape[-3] // 2) for each in (images, targets))
    if images.shape[1] not in (1, 3):
        middle = images.shape[1] // 2
        images = images[:, middle : middle + 1]
    pixels = images.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    labels = targets.cpu().numpy().astype(np.uint8)
    return [
        (masks.overlay(to_rgb8(each), mask), _shares(mask, classes))
        for each, mask in zip(pixels, labels, strict=True)
    ]


def _shares(mask: np.ndarray, classes: Sequence[str]) -> str:
    """`vessel 9%, disc 2%`."""
    parts = np.bincount(mask.ravel(), minlength=256)[1 : len(classes)] / max(
        1, (mask != IGNORE).sum()
    )
    named = zip(classes[1:], parts, strict=True)
    return ", ".join(f"{name} {part:.0%}" for name, part in named if part) or classes[0]

"""One picture of two: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).
Truth becomes a share of each class."""

from __future__ import annotations

import numpy as np
import torch

from ...core.rng import Draws
from .pixels import rectangles
from .policy import Augmentation


def mix(
    images: torch.Tensor, targets: torch.Tensor, how: Augmentation, draws: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row with the next one of the batch, the last with the first: pictures B×C×H×W, truths
    float B×K that sum to 1.

    Share and place are a row's own random numbers; who its partner is follows from the batch alone.
    Where mixup and CutMix are both on, each row takes one of them by a coin of its own. mixup makes
    floats, CutMix keeps the type.
    """
    if not how.mixes:
        return images, targets
    cut = np.full(len(draws), bool(how.cutmix))
    if how.mixup and how.cutmix:
        cut = draws.uniform()[:, 0] < 0.5
    partners, own = images.roll(-1, 0), np.ones(len(draws))
    if how.mixup:
        own = np.where(cut, own, _beta(draws, how.mixup))
        weight = torch.from_numpy(own).to(images.device, torch.float32)[:, None, None, None]
        images = partners + weight * (images - partners)
    if how.cutmix:
        pasted = (
            _pasted(how.cutmix, draws, (images.shape[2], images.shape[3]))
            & torch.from_numpy(cut)[:, None, None, None]
        )
        own = own - pasted.double().mean((1, 2, 3)).numpy()
        images = torch.where(pasted.to(images.device), partners, images)
    weight = torch.from_numpy(own).to(targets)[:, None]
    return images, weight * targets + (1 - weight) * targets.roll(-1, 0)


def _pasted(alpha: float, draws: Draws, size: tuple[int, int]) -> torch.Tensor:
    """bool B×1×H×W: a rectangle of the picture's shape whose area is Beta(α, α) of it, around any
    point, clipped to the picture."""
    height, width = size
    side = np.sqrt(_beta(draws, alpha))
    y, x = draws.uniform(2).T * [[height], [width]]
    half_h, half_w = side * height / 2, side * width / 2
    return rectangles(
        np.rint(y - half_h), np.rint(x - half_w), np.rint(y + half_h), np.rint(x + half_w), size
    )


def _beta(draws: Draws, alpha: float) -> np.ndarray:
    """N numbers of the Beta(α, α) distribution, one random number each: its inverse at a
    uniform one."""
    from scipy.special import betaincinv

    return betaincinv(alpha, alpha, draws.uniform()[:, 0])

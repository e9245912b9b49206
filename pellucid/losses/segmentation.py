"""What learning makes small where every pixel is asked: losses of logits against masks, and the
weight of narrow gaps.

Two kinds: those that add up pixels (cross-entropy, focal) and those of areas that overlap (Dice,
Tversky), which do not mind how rare a class is. Pixels of IGNORE count nowhere, and a batch of
nothing else costs 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.types import IGNORE

# False positives and false negatives of the Tversky loss: what is missed costs more (Salehi et al.
# 2017).
ALPHA, BETA = 0.3, 0.7


def cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None, gamma: float
) -> Tensor:
    """Σ ω (−ln p) / Σ ω over the pixels and, where the truth is soft, its classes c; ω = t_c (λ_c +
    border) with p = softmax(logits).

    The weights add up as in U-Net (Ronneberger et al. 2015, eq. 1 and 2), w(x) = w_c(x) + w0
    exp(…).
    """
    likely, shares = _likelihoods(logits, targets, weights, border)
    return -_mean(likely, shares)


def focal(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None, gamma: float
) -> Tensor:
    """Cross-entropy with each −ln p times (1 − p)^γ (Lin et al. 2017, eq. 5);
    pixels that are easy count for little."""
    likely, shares = _likelihoods(logits, targets, weights, border)
    # At p = 1 the slope of a power below 1 is infinite, and times the logarithm's 0 not a number.
    missed = (-torch.expm1(likely)).clamp_min(torch.finfo(likely.dtype).tiny)
    return -_mean(missed**gamma * likely, shares)


def dice(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None, gamma: float
) -> Tensor:
    """1 − the mean over the classes of (2 Σ p t + 1) / (Σ p² + Σ t² + 1) (Milletari et al., V-Net,
    2016, sec. 3), sums over the batch.

    The squares let p = t be best for soft truths too. The 1, a pixel, lets a class that is nowhere
    be learnt as absent.
    """
    likely, true = _areas(logits, targets)
    both, said, there = _sums(likely * true), _sums(likely.square()), _sums(true.square())
    return _missing((2 * both + 1) / (said + there + 1), weights)


def tversky(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None, gamma: float
) -> Tensor:
    """1 − the mean over the classes of (Σ p t + 1) / (Σ p t + 0.3 Σ p (1 − t) + 0.7 Σ (1 − p)
    t + 1) (Salehi et al. 2017, eq. 2 and 3).

    With both factors ½ this would be Dice without the squares; so it finds more of a small object,
    and says more in vain.
    """
    likely, true = _areas(logits, targets)
    both, said, there = _sums(likely * true), _sums(likely), _sums(true)
    return _missing(
        (both + 1) / (both + ALPHA * (said - both) + BETA * (there - both) + 1), weights
    )


def dice_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None, gamma: float
) -> Tensor:
    """The sum of both: the slope of cross-entropy where Dice is flat, at the beginning (Isensee et
    al., nnU-Net, 2021).

    Dice is here of the classes that are in the batch: that of an absent one is best where it is
    nowhere, at any price, and batches without a rare class would unlearn what the others taught.
    Cross-entropy says what is absent.
    """
    likely, true = _areas(logits, targets)
    both, said, there = _sums(likely * true), _sums(likely.square()), _sums(true.square())
    present = there > 0
    own = None if weights is None else weights[-len(there) :][present]
    missing = (
        _missing(((2 * both + 1) / (said + there + 1))[present], own)
        if present.any()
        else 0 * both.sum()
    )
    return missing + cross_entropy(logits, targets, weights, border, gamma)


Loss = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, float], Tensor]
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "tversky": tversky,
    "dice_cross_entropy": dice_cross_entropy,
}
# Those that heed `border`.
OF_PIXELS = ("cross_entropy", "focal", "dice_cross_entropy")


def mean_loss(
    kind: str,
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    border: Tensor | None = None,
    focal_gamma: float = 2.0,
) -> Tensor:
    """A scalar, float32 whatever the logits are (float64 of float64).

    kind: one of LOSSES. logits: B×K×…, K of 2 or more. truths: int64 B×…, or float B×K×… whose
    classes sum to 1, or to 0 where nothing is asked. weights: K class weights λ: of pixels, and of
    the classes in the mean of areas. border: B×…, added to each pixel's weight; areas do not heed
    it. focal_gamma: of focal. With two classes areas are those of the second one alone, the
    foreground.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return LOSSES[kind](
        logits.to(wide), targets, None if weights is None else weights.to(wide), border, focal_gamma
    )


def _likelihoods(
    logits: Tensor, targets: Tensor, weights: Tensor | None, border: Tensor | None
) -> tuple[Tensor, Tensor]:
    """ln p and ω: B×1×… of the true class, or B×K×… of a soft truth."""
    likely = F.log_softmax(logits, dim=1)
    extra = 0 if border is None else border.to(logits.dtype)[:, None]
    if targets.is_floating_point():
        by_class = 1 if weights is None else weights.view(-1, *[1] * (logits.ndim - 2))
        return likely, targets.to(logits.dtype) * (by_class + extra)
    asked = (targets != IGNORE)[:, None]
    true = targets[:, None].where(asked, 0)
    by_class = torch.ones_like(true, dtype=logits.dtype) if weights is None else weights[true]
    return likely.gather(1, true), (by_class + extra) * asked


def _mean(values: Tensor, shares: Tensor) -> Tensor:
    return (values * shares).sum() / shares.sum().clamp_min(torch.finfo(values.dtype).tiny)


def _areas(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and truth, B×K×…, 0 where nothing is asked; of two classes the second alone,
    B×1×…."""
    likely = torch.softmax(logits, dim=1)
    if targets.is_floating_point():
        true = targets.to(logits.dtype)
        asked = true.sum(1, keepdim=True) > 0
    else:
        asked = (targets != IGNORE)[:, None]
        true = (
            F.one_hot(targets.where(asked[:, 0], 0), logits.shape[1])
            .movedim(-1, 1)
            .to(logits.dtype)
            * asked
        )
    first = 1 if logits.shape[1] == 2 else 0
    return (likely * asked)[:, first:], true[:, first:]


def _sums(areas: Tensor) -> Tensor:
    """Of each class over the batch and its pixels."""
    return areas.transpose(0, 1).flatten(1).sum(1)


def _missing(overlaps: Tensor, weights: Tensor | None) -> Tensor:
    """1 − the mean over the classes."""
    if weights is None or len(overlaps) == 1:
        return 1 - overlaps.mean()
    return 1 - (overlaps * weights).sum() / weights.sum()


def border_weights(mask: np.ndarray, w0: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """w0 exp(−(d1 + d2)² / 2σ²), with the distances of a background pixel to the nearest object and
    to the second nearest one.

    mask: uint8 H×W or D×H×W; an object is a connected part of one class other than 0. float32 of
    its shape, 0 on objects, where nothing is asked, and where there are fewer than two objects
    (Ronneberger et al. 2015, eq. 2, without the class weights). Distances are in pixels. Two
    distance transforms for each doubling of the objects: 0.3 s for 100 of them in 512×512.
    """
    from scipy.ndimage import distance_transform_edt

    from ..metrics.segmentation import objects

    labels, count = objects(mask)
    if count < 2:
        return np.zeros(mask.shape, np.float32)
    near, where = distance_transform_edt(labels == 0, return_indices=True)
    nearest, second = labels[tuple(where)], np.full(mask.shape, np.inf)
    # Another object than the nearest has a number that differs in some bit.
    for bit in range(count.bit_length()):
        for value in (0, 1):
            others = (labels > 0) & (labels >> bit & 1 == value)
            if others.any():
                mine = nearest >> bit & 1 != value
                second[mine] = np.minimum(second, distance_transform_edt(~others))[mine]
    return (w0 * np.exp(-((near + second) ** 2) / (2 * sigma**2)) * (mask == 0)).astype(np.float32)

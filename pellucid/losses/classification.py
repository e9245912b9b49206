"""What learning makes small: five losses of logits, weighted by class and averaged in one way.

Each loss gives one number a picture; `mean_loss` averages them. A truth may be soft (mixup,
cutmix): weights, focal loss and hinge are then expectations over it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# (logits B×C, targets B×C that sum to 1 in each row, class weights C or none, γ of the focal loss)
# → B
Loss = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """−Σ_c t_c λ_c ln p_c with p = softmax(logits): the logits are log-probabilities up
    to a constant."""
    return F.cross_entropy(logits, targets, weights, reduction="none")


def focal(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """−Σ_c t_c λ_c (1 − p_c)^γ ln p_c (Lin et al., Focal Loss for Dense Object Detection, 2017, eq.
    5); γ = 0 is cross-entropy.

    Easy pictures count for little, so that the logits come out less sure than under cross-entropy.
    """
    likely = F.log_softmax(logits, dim=1)
    # At p = 1 the slope of a power below 1 is infinite, and times the logarithm's 0 not a number.
    missed = (-torch.expm1(likely)).clamp_min(torch.finfo(logits.dtype).tiny)
    return -(_weighted(targets, weights) * missed**gamma * likely).sum(1)


def l2(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Σ_c (p_c − t_c)² with p = softmax(logits), times Σ_c t_c λ_c: the Brier score, from 0 to 2.

    The logits mean what they do under cross-entropy, but a picture that is answered wrongly and
    surely has hardly any gradient.
    """
    return (torch.softmax(logits, dim=1) - targets).square().sum(1) * _of_truth(targets, weights)


def l2_logits(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Σ_c (s_c − t_c)², times Σ_c t_c λ_c: regression on one-hot. The logits s estimate
    probabilities themselves, not their logarithms."""
    return (logits - targets).square().sum(1) * _of_truth(targets, weights)


def hinge(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Σ_y t_y λ_y Σ_{j≠y} max(0, s_j − s_y + 1) (Weston and Watkins, Multi-class Support Vector
    Machines, 1998).

    The logits are scores of which only the differences count, and those up to 1; torch's
    `multi_margin_loss` is this divided by C.
    """
    # Only the classes that the batch's truths name are tried: one a picture, or two after mixup,
    # rather than C.
    most = int((targets > 0).sum(1).max())
    shares, classes = (targets if weights is None else targets * weights).topk(most, dim=1)
    margins = logits[:, None, :] - logits.gather(1, classes)[:, :, None] + 1
    # j = y adds max(0, 1), always.
    return (shares * (margins.clamp_min(0).sum(2) - 1)).sum(1)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "l2": l2,
    "l2_logits": l2_logits,
    "hinge": hinge,
}
# Those of a likelihood: a smoothed target means something to them.
LIKELIHOODS = ("cross_entropy", "focal")


def mean_loss(
    name: str,
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    gamma: float = 2.0,
    smoothing: float = 0.0,
) -> Tensor:
    """The weighted mean over a batch: Σ_i loss_i / Σ_i Σ_c t_ic λ_c, a scalar.

    logits: float B×C. targets: int64 B, or float B×C whose rows sum to 1. weights: C class weights
    λ, not all 0 in the batch; without them the plain mean. gamma: of focal. smoothing: the share of
    each target that is spread evenly over all classes, before the loss but not in the sum of
    weights; for cross_entropy and focal, ignored by the others.
    For int64 targets this is F.cross_entropy with `weight` and `label_smoothing`. For soft ones
    torch divides by B instead, so that a one-hot row and its class number disagree; here they
    agree.
    Whatever the loss, `ClassificationTraining.calibrate` fits a temperature to the logits, so that
    their softmax can be read as probabilities; after hinge and l2_logits it is nothing more than
    that fit.
    """
    whole = not targets.is_floating_point()
    if whole and name == "cross_entropy":
        return F.cross_entropy(logits, targets, weights, label_smoothing=smoothing)
    soft = (
        F.one_hot(targets, logits.shape[1]).to(logits.dtype) if whole else targets.to(logits.dtype)
    )
    smoothed = (
        soft * (1 - smoothing) + smoothing / logits.shape[1]
        if smoothing and name in LIKELIHOODS
        else soft
    )
    losses = LOSSES[name](logits, smoothed, weights, gamma)
    return losses.mean() if weights is None else losses.sum() / _of_truth(soft, weights).sum()


def _weighted(targets: Tensor, weights: Tensor | None) -> Tensor:
    return targets if weights is None else targets * weights


def _of_truth(targets: Tensor, weights: Tensor | None) -> Tensor:
    """What each picture counts for: Σ_c t_c λ_c, B."""
    return _weighted(targets, weights).sum(1)

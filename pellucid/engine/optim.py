"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .recipe import Recipe


def optimizer(recipe: Recipe, parameters: Sequence[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """Weight decay falls on weights only: a parameter with one axis is a bias or a normalisation scale.

    AdamW decouples the decay (Loshchilov and Hutter 2019); Adam and SGD add it to the gradient, as in their papers.
    """
    assert recipe.lr is not None and recipe.weight_decay is not None
    groups = [
        {"params": [p for _, p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, fused=True)
    nesterov = recipe.optimizer == "nesterov"
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int, history: Sequence[Mapping[str, float]]) -> float:
    """The rate of one step, from its number and what validation said before: a schedule has no state to save.

    step: from 0. history: a row an epoch, with `validation_loss` (plateau alone reads it).
    """
    assert recipe.lr is not None and recipe.epochs is not None
    total = max(1, recipe.epochs * steps_per_epoch)
    warm = round(recipe.warmup * steps_per_epoch)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    part = (step - warm) / max(1, total - warm)
    epoch = step // steps_per_epoch
    if recipe.schedule == "onecycle":
        return recipe.lr * _one_cycle(part)
    if recipe.schedule == "cosine":
        return recipe.lr * (1 + math.cos(math.pi * part)) / 2
    if recipe.schedule == "step":
        return recipe.lr * 0.1 ** ((part >= 0.5) + (part >= 0.75))
    if recipe.schedule == "exponential":
        # A hundredth at the end, whatever the number of epochs.
        return recipe.lr * 0.01 ** (epoch / recipe.epochs)
    if recipe.schedule == "plateau":
        return recipe.lr * 0.1 ** _stalls([row["validation_loss"] for row in history])
    return recipe.lr


def _one_cycle(part: float, rise: float = 0.25) -> float:
    """Smith and Topin 2018, with cosine flanks: from 1/25 up over the first quarter, then down to nearly nothing."""
    if part < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * part / rise)) / 2
    return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (part - rise) / (1 - rise))) / 2


def _stalls(losses: Sequence[float], patience: int = 5) -> int:
    """How often the loss went `patience` epochs without falling by a thousandth of itself."""
    best, waited, stalls = math.inf, 0, 0
    for loss in losses:
        if loss < best * 0.999:
            best, waited = loss, 0
        else:
            waited += 1
        if waited == patience:
            stalls, waited = stalls + 1, 0
    return stalls

"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .settings import CYCLIC, Recipe


def optimizer(
    recipe: Recipe,
    parameters: Sequence[tuple[str, nn.Parameter]],
    scales: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Weight decay falls on weights only: a parameter with one axis is a bias or a normalisation
    scale.

    scales: the share of the learning rate that a parameter has, by name; 1 where nothing is said. A
    group's share is its `scale`.

    AdamW decouples the decay (Loshchilov and Hutter 2019); Adam and SGD add it to the gradient, as
    in their papers.
    """
    assert (
        recipe.lr is not None and recipe.weight_decay is not None and recipe.optimizer is not None
    )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        kind = (scales or {}).get(name, 1.0), recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault(kind, []).append(parameter)
    rows = [
        {"params": held, "scale": scale, "weight_decay": decay}
        for (scale, decay), held in groups.items()
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(rows, lr=recipe.lr, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(rows, lr=recipe.lr, fused=True)
    nesterov = recipe.optimizer == "nesterov"
    return torch.optim.SGD(
        rows, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True
    )


def learning_rate(
    recipe: Recipe, step: int, steps_per_epoch: int, history: Sequence[Mapping[str, float]]
) -> float:
    """The rate of one step, from its number and what validation said before: a schedule has no
    state to save.

    step: from 0. history: a row an epoch, with `validation_loss` (plateau alone reads it).
    """
    assert recipe.lr is not None and recipe.epochs is not None
    total = max(1, recipe.epochs * steps_per_epoch)
    warm = round(recipe.warmup * steps_per_epoch)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    part = (step - warm) / max(1, total - warm)
    epoch = step // steps_per_epoch
    low = recipe.lr_low or recipe.lr * (1e-6 if recipe.schedule == "ramp" else 0.1)
    # Without a length given, a cyclic schedule comes back to its lowest rate four times in a run.
    cycle = (step - warm) / steps_per_epoch / (recipe.cycle or (total - warm) / steps_per_epoch / 4)
    if recipe.schedule in CYCLIC:
        return low + (recipe.lr - low) * _triangle(cycle) * _amplitude(recipe.schedule, cycle, part)
    if recipe.schedule == "restarts":
        return recipe.lr * (1 + math.cos(math.pi * _since_restart(recipe, cycle))) / 2
    if recipe.schedule == "ramp":
        return low * (recipe.lr / low) ** (step / max(1, total - 1))
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


def _triangle(cycle: float) -> float:
    """From 0 up to 1 in the middle of each cycle and down again (Smith, Cyclical Learning Rates,
    2017)."""
    return 1 - abs(2 * (cycle % 1) - 1)


def _amplitude(schedule: str, cycle: float, part: float) -> float:
    """What is left of the triangle's height: halved each cycle, or, for exp_range,
    a hundredth at the end of the run."""
    return (
        0.5 ** int(cycle)
        if schedule == "triangular2"
        else 0.01**part
        if schedule == "exp_range"
        else 1.0
    )


def _since_restart(recipe: Recipe, cycle: float) -> float:
    """Where in its cycle a run stands, 0 to 1, when each cycle is twice as long as the one before
    (Loshchilov and Hutter, SGDR, 2017).

    Without a length given, one, two and four parts of seven: three cycles fill the run.
    """
    if recipe.cycle is None:
        cycle *= 7 / 4
    number = int(math.log2(cycle + 1))
    return (cycle + 1) / 2**number - 1


def _one_cycle(part: float, rise: float = 0.25) -> float:
    """Smith and Topin 2018, with cosine flanks: from 1/25 up over the first quarter,
    then down to nearly nothing."""
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

"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ...tasks.settings import CYCLIC, SharedSettings


def optimizer(
    settings: SharedSettings,
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
        settings.lr is not None
        and settings.weight_decay is not None
        and settings.optimizer is not None
    )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        kind = (scales or {}).get(name, 1.0), settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault(kind, []).append(parameter)
    rows = [
        {"params": held, "scale": scale, "weight_decay": decay}
        for (scale, decay), held in groups.items()
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(rows, lr=settings.lr, fused=True)
    if settings.optimizer == "adam":
        return torch.optim.Adam(rows, lr=settings.lr, fused=True)
    nesterov = settings.optimizer == "nesterov"
    return torch.optim.SGD(
        rows, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov, fused=True
    )


def learning_rate(
    settings: SharedSettings,
    step: int,
    steps_per_epoch: int,
    history: Sequence[Mapping[str, float]],
) -> float:
    """The rate of one step, from its number and what validation said before: a schedule has no
    state to save.

    step: from 0. history: a row an epoch, with `validation_loss` (plateau alone reads it).
    """
    assert settings.lr is not None and settings.epochs is not None
    total = max(1, settings.epochs * steps_per_epoch)
    warm = round(settings.warmup * steps_per_epoch)
    if step < warm:
        return settings.lr * (step + 1) / warm
    part = (step - warm) / max(1, total - warm)
    epoch = step // steps_per_epoch
    low = settings.lr_low or settings.lr * (1e-6 if settings.schedule == "ramp" else 0.1)
    # Without a length given, a cyclic schedule comes back to its lowest rate four times in a run.
    cycle = (
        (step - warm) / steps_per_epoch / (settings.cycle or (total - warm) / steps_per_epoch / 4)
    )
    if settings.schedule in CYCLIC:
        return low + (settings.lr - low) * _triangle(cycle) * _amplitude(
            settings.schedule, cycle, part
        )
    if settings.schedule == "restarts":
        return settings.lr * (1 + math.cos(math.pi * _since_restart(settings, cycle))) / 2
    if settings.schedule == "ramp":
        return low * (settings.lr / low) ** (step / max(1, total - 1))
    if settings.schedule == "onecycle":
        return settings.lr * _one_cycle(part)
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * part)) / 2
    if settings.schedule == "step":
        return settings.lr * 0.1 ** ((part >= 0.5) + (part >= 0.75))
    if settings.schedule == "exponential":
        # A hundredth at the end, whatever the number of epochs.
        return settings.lr * 0.01 ** (epoch / settings.epochs)
    if settings.schedule == "plateau":
        return settings.lr * 0.1 ** _stalls([row["validation_loss"] for row in history])
    return settings.lr


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


def _since_restart(settings: SharedSettings, cycle: float) -> float:
    """Where in its cycle a run stands, 0 to 1, when each cycle is twice as long as the one before
    (Loshchilov and Hutter, SGDR, 2017).

    Without a length given, one, two and four parts of seven: three cycles fill the run.
    """
    if settings.cycle is None:
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

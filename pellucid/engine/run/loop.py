"""The only training loop of the project. What is read top to bottom is what runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.errors import NonFiniteLoss, UsageError
from ...core.rng import Draws, generator
from ...core.types import Batch
from ...losses import class_balance
from ...tasks.settings import SharedSettings
from ...tasks.task import Phase
from . import processes
from .batches import Views, ahead
from .checkpoint import State
from .machine import autocast, laid_out
from .optim import learning_rate
from .transfer import learning, quiet


@dataclass(frozen=True)
class Step:
    """One training step, after all its phases. number: from 0 over the whole run; losses: means
    over the batch, all processes, keyed "critic/total" where there are several phases; grad_norm:
    of all phases together; last: ends an epoch."""

    number: int
    epoch: int
    losses: Mapping[str, float]
    grad_norm: float
    lr: float
    last: bool


def steps(
    training: Any,
    views: Views,
    settings: SharedSettings,
    state: State,
    where: torch.device,
    head: nn.Module | None = None,
) -> Iterator[Step]:
    """Trains `state.network` from where the state stands, one step at a time; the state is complete
    whenever a step is out. Yields nothing for a model without phases. head: what the loss is asked
    of in place of the network, where the views hold features (see `features`).

    Every random number comes from (seed, epoch, sample), so it does not matter where the run was
    interrupted or how many processes share a batch. Raises NonFiniteLoss, before anything is
    updated, when the loss is not finite.
    """
    assert settings.epochs is not None
    phases: list[Phase] = training.phases(state.network)
    if not phases:
        return
    network = head or state.network
    resting = quiet(state.network, settings, training.preprocess.input_shape)
    for epoch in range(state.epoch, settings.epochs):
        rng = generator(settings.seed, epoch)
        order = training.batches(views.samples, views.counts, epoch, rng)
        learning(state.network, resting)
        keys = _keys(order, int(views.counts.sum()))[state.position :]
        for (chosen, mine, batch), own in zip(
            _batches(views, order[state.position :], where), keys, strict=True
        ):
            number = epoch * len(order) + state.position
            progress = number / (settings.epochs * len(order))
            _seed_dropout(settings.seed + 7919 * number + processes.rank(), where)
            draws = Draws(settings.seed, epoch, processes.share(own))
            if len(mine):
                batch = laid_out(training.augment(batch, draws, progress), settings)
            lr = learning_rate(settings, number, len(order), state.history)
            share = len(mine) / len(chosen)
            update = Update(number, epoch, lr, settings.clip or 0.0, share)
            losses, norm = _all_phases(
                training, phases, state.optimizers, network, batch, draws, settings, update
            )
            state.totals["seen"] = state.totals.get("seen", 0) + len(chosen)
            for key, value in {**losses, "grad_norm": norm}.items():
                state.totals[key] = state.totals.get(key, 0.0) + value * len(chosen)
            state.position += 1
            average(state, settings.ema or 0.0, number)
            yield Step(number, epoch, losses, norm, lr, last=state.position == len(order))
        state.epoch, state.position, state.totals = epoch + 1, 0, {}


@dataclass(frozen=True)
class Update:
    """What the phases of one step have in common. share: of the batch, of this process."""

    number: int
    epoch: int
    lr: float
    clip: float
    share: float


def _all_phases(
    training: Any,
    phases: list[Phase],
    optimizers: list[torch.optim.Optimizer],
    network: nn.Module,
    batch: Batch,
    draws: Draws,
    settings: SharedSettings,
    update: Update,
) -> tuple[dict[str, float], float]:
    """One update per phase, in order; the losses by phase and the norm of the whole gradient."""
    losses: dict[str, float] = {}
    norms = []
    for phase, optimizer in zip(phases, optimizers, strict=True):
        optimizer.zero_grad()
        found = _backward(training, network, batch, phase.name, draws, settings, update.share)
        prefix = f"{phase.name}/" if phase.name else ""
        found = {prefix + key: value for key, value in found.items()}
        _refuse_non_finite(found, update)
        parameters = [parameter for _, parameter in phase.parameters]
        processes.sum_gradients(parameters)
        norms.append(_update(optimizer, parameters, update.lr, update.clip))
        losses |= found
    return losses, norms[0] if len(norms) == 1 else math.hypot(*norms)


def _keys(order: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Of each batch, whose random numbers its images draw: their own, and others each time that an
    image comes again in the epoch."""
    indices = np.concatenate(order)
    return np.split(
        indices + count * class_balance.repeats(indices),
        np.cumsum([len(rows) for rows in order])[:-1],
    )


def average(state: State, decay: float, number: int) -> None:
    """Moves `state.average` a little towards the network: an exponential moving average of weights
    and statistics.

    The decay is at most (1 + n)/(10 + n) at step n, so that the first weights, drawn at random, are
    soon forgotten.
    """
    if not decay:
        return
    now = {k: v for k, v in state.network.state_dict().items() if v.is_floating_point()}
    if not state.average:
        state.average = {key: value.clone() for key, value in now.items()}
    kept = [state.average[key] for key in now]
    torch._foreach_lerp_(kept, list(now.values()), 1 - min(decay, (1 + number) / (10 + number)))


def _batches(
    views: Views, order: list[np.ndarray], where: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
    """Each batch's views, those of this process, and what they show on the device."""

    def made() -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
        for chosen in order:
            mine = processes.share(chosen)
            batch = views.some(mine)
            if where.type == "cuda":
                batch = replace(batch, images=batch.images.pin_memory())
            yield chosen, mine, batch

    slow = where.type != "cpu" or isinstance(views.images, np.memmap)
    for chosen, mine, batch in ahead(made()) if slow else made():
        yield chosen, mine, batch.to(where)


def _seed_dropout(seed: int, where: torch.device) -> None:
    # torch.manual_seed formats a stack trace for devices that are not awake yet, which costs more
    # than a step of a small network.
    torch.default_generator.manual_seed(seed)
    if where.type == "cuda":
        torch.cuda.manual_seed(seed)


def _backward(
    training: Any,
    network: nn.Module,
    batch: Batch,
    phase: str,
    draws: Draws,
    settings: SharedSettings,
    share: float,
) -> dict[str, float]:
    """Gradients of this process's share of the batch's mean; the losses of the whole batch."""
    losses: dict[str, torch.Tensor] = {}
    if len(batch):
        try:
            with autocast(settings, batch.images.device):
                losses = training.loss(network, batch, phase, draws)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                f"batch norm cannot measure {len(batch)} picture on a map of one pixel; "
                "set --batch to 2 or more"
            ) from None
        total = losses["total"] * share if share != 1 else losses["total"]
        total.backward()  # type: ignore[no-untyped-call]
    return processes.sum_numbers({key: value.item() * share for key, value in losses.items()})


def _refuse_non_finite(losses: Mapping[str, float], update: Update) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(
                f'the loss "{name}" became {value} at step {update.number + 1} '
                f"(epoch {update.epoch + 1}, learning rate {update.lr:.3g}); "
                "nothing was updated with it: start a new run with a lower --lr, "
                "or bound the gradient with --clip 1"
            )


def _update(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], lr: float, clip: float
) -> float:
    """One step of the optimizer; the norm of the gradient before it was clipped."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    optimizer.step()
    return norm.item()

"""The only training loop of the project. What is read top to bottom is what runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...core.errors import NonFiniteLoss, UsageError
from ...core.rng import Draws, generator
from ...core.types import Batch
from ...losses import class_balance
from ...tasks.task import Task
from . import processes
from .batches import Views, ahead
from .checkpoint import State
from .machine import autocast, laid_out
from .optim import learning_rate
from .settings import Recipe
from .transfer import learning, quiet


@dataclass(frozen=True)
class Step:
    """One update. number: from 0 over the whole run; losses: means over the batch, all processes;
    last: ends an epoch."""

    number: int
    epoch: int
    turn: int
    losses: Mapping[str, float]
    grad_norm: float
    lr: float
    last: bool


def steps(
    room: Task, views: Views, recipe: Recipe, state: State, where: torch.device
) -> Iterator[Step]:
    """Trains `state.network` from where the state stands, one update at a time; the state is
    complete whenever a step is out.

    Every random number comes from (seed, epoch, sample), so it does not matter where the run was
    interrupted or how many processes share a batch. Raises NonFiniteLoss, before anything is
    updated, when the loss is not finite.
    """
    assert recipe.epochs is not None
    turns = [[parameter for _, parameter in named] for named in room.turns(state.network)]
    resting = quiet(state.network, recipe, room.input)
    for epoch in range(state.epoch, recipe.epochs):
        order = room.order(views.samples, views.counts, epoch, generator(recipe.seed, epoch))
        learning(state.network, resting)
        whose = _keys(order, int(views.counts.sum()))
        for (chosen, mine, batch), keys in zip(
            _batches(views, order[state.position :], where), whose[state.position :], strict=True
        ):
            number = epoch * len(order) + state.position
            _seed_dropout(recipe.seed + 7919 * number + processes.rank(), where)
            draws = Draws(recipe.seed, epoch, processes.share(keys))
            if len(mine):
                batch = laid_out(
                    room.augment(batch, draws, number / (recipe.epochs * len(order))), recipe
                )
            lr = learning_rate(recipe, number, len(order), state.history)
            state.totals["seen"] = state.totals.get("seen", 0) + len(chosen)
            for turn, parameters in enumerate(turns):
                losses = _backward(
                    room, state, batch, turn, draws, recipe, share=len(mine) / len(chosen)
                )
                _refuse_non_finite(losses, number, epoch, lr)
                processes.sum_gradients(parameters)
                norm = _update(state.optimizers[turn], parameters, lr, recipe.clip or 0.0)
                for key, value in {**losses, "grad_norm": norm}.items():
                    state.totals[key] = state.totals.get(key, 0.0) + value * len(chosen)
                if turn == len(turns) - 1:
                    state.position += 1
                    average(state, recipe.ema or 0.0, number)
                yield Step(number, epoch, turn, losses, norm, lr, last=state.position == len(order))
        state.epoch, state.position, state.totals = epoch + 1, 0, {}


def _keys(order: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Of each batch, whose random numbers its pictures draw: their own, and others each time that a
    picture comes again in the epoch."""
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
    now = {
        key: value for key, value in state.network.state_dict().items() if value.is_floating_point()
    }
    if not state.average:
        state.average = {key: value.clone() for key, value in now.items()}
    torch._foreach_lerp_(
        [state.average[key] for key in now],
        list(now.values()),
        1 - min(decay, (1 + number) / (10 + number)),
    )


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
    room: Task, state: State, batch: Batch, turn: int, draws: Draws, recipe: Recipe, share: float
) -> dict[str, float]:
    """Gradients of this process's share of the batch's mean; the losses of the whole batch."""
    state.optimizers[turn].zero_grad()
    losses: dict[str, torch.Tensor] = {}
    if len(batch):
        try:
            with autocast(recipe, batch.images.device):
                losses = room.loss(state.network, batch, turn, draws)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                f"batch norm cannot measure {len(batch)} picture on a map of one pixel; set "
                "--batch to 2 or more"
            ) from None
        (losses["total"] * share if share != 1 else losses["total"]).backward()
    return processes.sum_numbers({key: value.item() * share for key, value in losses.items()})


def _refuse_non_finite(losses: Mapping[str, float], number: int, epoch: int, lr: float) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(
                f'the loss "{name}" became {value} at step {number + 1} (epoch {epoch + 1}, '
                f"learning rate {lr:.3g}); "
                "nothing was updated with it: start a new run with a lower --lr, or bound the "
                "gradient with --clip 1"
            )


def _update(
    optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], lr: float, clip: float
) -> float:
    """One step of the optimiser; the norm of the gradient before it was clipped."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    optimizer.step()
    return norm.item()

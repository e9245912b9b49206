"""The end of an epoch: what validation says, and whether these weights are the best so far."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from ...core.errors import NonFiniteLoss, NonFiniteOutput
from ...tasks.task import Task
from ..inference.evaluate import predictions
from . import processes
from .batches import Views
from .checkpoint import State
from .loop import Step
from .settings import Recipe


def close_epoch(
    room: Task, validation: Views, recipe: Recipe, state: State, step: Step, where: torch.device
) -> None:
    """Appends the epoch's row to the history, and keeps the weights if they are the best so far."""
    processes.align_buffers(state.network)
    try:
        with averaged(state):
            answers = predictions(room, state.network, validation, recipe, where)
    except NonFiniteOutput:
        raise NonFiniteLoss(
            f"the weights exploded at step {step.number + 1} (epoch {step.epoch + 1}, learning "
            f"rate {step.lr:.3g}), so that answers about "
            "the validation pictures are not finite: lower --lr, "
            "or bound the gradient with --clip 1"
        ) from None
    metric = room.metric()
    metric.add(answers, [sample.target for sample in validation.samples])
    said = metric.quick()
    row = _row(state, step) | {f"validation_{key}": value for key, value in said.items()}
    # Accuracy on a small validation set comes in steps; among equals the later epoch, which has
    # been trained longer, is kept.
    if all(said["score"] >= earlier["validation_score"] for earlier in state.history):
        state.best = copy.deepcopy(state.network.state_dict() | state.average)
        state.plain = copy.deepcopy(state.network.state_dict()) if state.average else {}
        state.best_epoch = step.epoch + 1
    state.history.append(row)


def _row(state: State, step: Step) -> dict[str, float]:
    """The epoch as training saw it; `seen`: pictures shown since the beginning."""
    count = state.totals["seen"]
    row = {
        "epoch": step.epoch + 1,
        "step": step.number + 1,
        "seconds": round(state.seconds, 3),
        "lr": step.lr,
    }
    row["seen"] = int(count + (state.history[-1]["seen"] if state.history else 0))
    return row | {
        key if key == "grad_norm" else f"train_{key}": v / count
        for key, v in state.totals.items()
        if key != "seen"
    }


@contextmanager
def averaged(state: State) -> Iterator[None]:
    """The network with the averaged weights, where there are any, for the length of the block."""
    if not state.average:
        yield
        return
    now = copy.deepcopy(state.network.state_dict())
    state.network.load_state_dict(now | state.average)
    try:
        yield
    finally:
        state.network.load_state_dict(now)


def epochs_without_gain(history: Sequence[Mapping[str, float]]) -> int:
    """How many epochs ago the validation score was last better than ever before: early stopping
    waits for `patience` of them."""
    scores = [row["validation_score"] for row in history]
    return len(scores) - 1 - scores.index(max(scores))

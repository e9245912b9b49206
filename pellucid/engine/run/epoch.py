"""The end of an epoch: validation, and whether these weights are the best so far."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ...core.errors import NonFiniteLoss, NonFiniteOutput
from ..inference.infer import predictions
from . import processes
from .checkpoint import State
from .loop import Step
from .prepare import Prepared


def close_epoch(
    prepared: Prepared,
    state: State,
    step: Step,
    where: torch.device,
    head: nn.Module | None = None,
) -> None:
    """Appends the epoch's row to the history, and keeps the weights if they are the best so far.
    Without a metric the last weights are kept. head: as in `loop.steps`."""
    processes.align_buffers(state.network)
    scores = _validated(prepared, state, step, where, head or state.network)
    row = _row(state, step) | {f"validation_{key}": value for key, value in scores.items()}
    # Accuracy on a small validation set comes in steps; among equals the later epoch, which has
    # been trained longer, is kept.
    if not scores or all(scores["score"] >= each["validation_score"] for each in state.history):
        state.best = copy.deepcopy(state.network.state_dict() | state.average)
        state.plain = copy.deepcopy(state.network.state_dict()) if state.average else {}
        state.best_epoch = step.epoch + 1
    state.history.append(row)


def _validated(
    prepared: Prepared, state: State, step: Step, where: torch.device, network: nn.Module
) -> dict[str, float]:
    """The scores of the validation part; none for a task without a metric."""
    kind, spec = prepared.task.parts.metric, prepared.spec
    if kind is None:
        return {}
    validation = prepared.part("validation")
    try:
        with averaged(state):
            results = predictions(spec, network, validation, prepared.settings, where)
    except NonFiniteOutput:
        raise NonFiniteLoss(
            f"the weights exploded at step {step.number + 1} "
            f"(epoch {step.epoch + 1}, learning rate {step.lr:.3g}), so that answers about "
            "the validation pictures are not finite: lower --lr, "
            "or bound the gradient with --clip 1"
        ) from None
    chosen_by = getattr(prepared.settings, "score", None)
    metric = kind.create(spec.preprocess, spec.inference, chosen_by)
    metric.add(results, [sample.target for sample in validation.samples])
    return metric.scores()


def _row(state: State, step: Step) -> dict[str, float]:
    """The epoch as training saw it; `seen`: images shown since the beginning."""
    count = state.totals["seen"]
    row = {
        "epoch": step.epoch + 1,
        "step": step.number + 1,
        "seconds": round(state.seconds, 3),
        "lr": step.lr,
    }
    row["seen"] = int(count + (state.history[-1]["seen"] if state.history else 0))
    return row | {
        key if key == "grad_norm" else f"train_{key}": value / count
        for key, value in state.totals.items()
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
    waits for `patience` of them. 0 without a metric."""
    scores = [row["validation_score"] for row in history if "validation_score" in row]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0

"""The last open settings of a run: what depends on the network and the machine;
and the state that a run begins with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import anatomy
from ...models.initialise import initialise
from ...tasks.settings import SharedSettings, completed
from ...tasks.task import ModelSpec
from . import machine, processes, transfer
from .checkpoint import State
from .loop import steps
from .optim import optimizer
from .prepare import Prepared

# The greatest rate of Adam times the inputs of a dense unit: with it VGG-11 learns at once, with
# four times as much it does not.
WIDEST = 3.0
# The rate of sgd for a head on frozen features: the best of four, ten epochs long, by the
# validation parts of five folds of hymenoptera300.
HEAD = 3e-3


def built(spec: ModelSpec, settings: SharedSettings) -> nn.Module:
    """A fresh network, drawn from the seed of the settings."""
    torch.manual_seed(settings.seed)
    network: nn.Module = spec.architecture.build()
    if settings.weights is None:
        initialise(network, settings.init)
    transfer.freeze(network, settings, spec.preprocess.input_shape)
    return network


def settled(prepared: Prepared, network: nn.Module, where: torch.device) -> Any:
    """The settings with what depends on network and machine filled in; the first process's choice
    holds for all."""
    settings = prepared.settings
    macs = anatomy.describe(network, prepared.preprocess.input_shape).macs
    # Features that are computed once are exact, and without the cache they are to be the same.
    if settings.freeze == "all":
        settings = completed(settings, {"precision": "float32"})
    settings = completed(settings, machine.propose(where, network, macs))
    settings = completed(settings, {"clip": 0.0, "ema": 0.0, "stage_lr": 1.0})
    norms = "kept" if transfer.norms_kept(settings) else "learned"
    decay = 0.05 if settings.optimizer == "adamw" else 5e-4
    rate = _default_lr(settings, network)
    settings = completed(settings, {"norms": norms, "lr": rate, "weight_decay": decay})
    if settings.threads is None:
        settings = completed(settings, {"threads": _threads(prepared, settings, where)})
    return processes.same(settings)


def _default_lr(settings: SharedSettings, network: nn.Module) -> float:
    """For batches of about 32; large batches bear a little more; pretrained weights are to be
    changed, not lost.

    Adam moves every weight by up to the rate whatever its gradient, so a dense unit by the rate
    times its inputs: VGG's, with 25,088, would be thrown off by what suits others.
    """
    assert settings.batch is not None and settings.optimizer is not None
    inputs = [each.in_features for each in network.modules() if isinstance(each, nn.Linear)]
    adams = {"adamw": 3e-3 if settings.batch < 64 else 5e-3, "adam": 2e-3}
    fresh = 0.05
    if settings.optimizer in adams:
        fresh = min(adams[settings.optimizer], round(WIDEST / max(inputs, default=1), 6))
    if settings.weights is None:
        return fresh
    if settings.freeze != "all":
        return round(fresh / 10, 6)
    # A head on frozen features learns from the beginning, but soon overfits a few hundred images.
    return HEAD if settings.optimizer in ("sgd", "nesterov") else 1e-3


def _threads(prepared: Prepared, settings: SharedSettings, where: torch.device) -> int:
    """Which number of threads takes this network through a batch quickest."""
    if where.type != "cpu":
        return 1
    with torch.random.fork_rng(devices=[]):
        network = built(prepared.spec, settings)
        trial = replace(prepared, settings=settings.model_copy(update={"epochs": 10_000}))
        state = fresh(trial, network, where)
        if not state.optimizers:
            return torch.get_num_threads()
        views = prepared.part("train")
        every = views.part(np.arange(len(views)))
        run = steps(prepared.training, every, trial.settings, state, where)
        return machine.fastest_threads(lambda: next(run))


def fresh(prepared: Prepared, network: nn.Module, where: torch.device) -> State:
    """The state that a run begins with: one optimizer per phase."""
    settings = prepared.settings
    machine.place(network, where, machine.memory_format(settings))
    rates = transfer.rates(network, settings, prepared.preprocess.input_shape)
    phases = prepared.training.phases(network)
    return State(network, [optimizer(settings, phase.parameters, rates) for phase in phases])

"""The last open settings of a run: what depends on the network and the machine;
and the state that a run begins with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ... import anatomy
from ...models.initialise import initialise
from ...tasks.task import Task
from . import machine, processes, transfer
from .checkpoint import State
from .loop import steps
from .optim import optimizer
from .prepare import Prepared
from .settings import Recipe

# The greatest rate of Adam times the inputs of a dense unit: with it VGG-11 learns at once, with
# four times as much it does not.
WIDEST = 3.0
# The rate of sgd for a head on frozen features: the best of four, ten epochs long, by the
# validation parts of five folds of hymenoptera300.
HEAD = 3e-3


def built(room: Task, recipe: Recipe) -> nn.Module:
    """A fresh network, drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    network = room.build()
    if recipe.weights is None:
        initialise(network, recipe.init)
    transfer.freeze(network, recipe, room.input)
    return network


def settled(prepared: Prepared, network: nn.Module, where: torch.device) -> Recipe:
    """The recipe with what depends on network and machine filled in;
    the first process's choice holds for all."""
    recipe = prepared.recipe
    macs = anatomy.describe(network, prepared.room.input).macs
    # features that are computed once are exact, and without the cache they are to be the same
    if recipe.freeze == "all":
        recipe = recipe.completed({"precision": "float32"})
    recipe = recipe.completed(machine.propose(where, network, macs))
    recipe = recipe.completed({"clip": 0.0, "ema": 0.0, "stage_lr": 1.0})
    recipe = recipe.completed({"norms": "kept" if transfer.norms_kept(recipe) else "learned"})
    recipe = recipe.completed(
        {
            "lr": _default_lr(recipe, network),
            "weight_decay": 0.05 if recipe.optimizer == "adamw" else 5e-4,
        }
    )
    if recipe.threads is None:
        recipe = replace(
            recipe, threads=1 if where.type != "cpu" else _trial(prepared, recipe, where)
        )
    return processes.same(recipe)


def _default_lr(recipe: Recipe, network: nn.Module) -> float:
    """For batches of about 32; large batches bear a little more; weights that others trained are to
    be changed, not lost.

    Adam moves every weight by up to the rate whatever its gradient, so a dense unit by the rate
    times its inputs: VGG's, with 25,088, would be thrown off by what suits others.
    """
    assert recipe.batch is not None and recipe.optimizer is not None
    widest = max(
        (layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear)),
        default=1,
    )
    adams = {"adamw": 3e-3 if recipe.batch < 64 else 5e-3, "adam": 2e-3}
    fresh = (
        min(adams[recipe.optimizer], round(WIDEST / widest, 6))
        if recipe.optimizer in adams
        else 0.05
    )
    if recipe.weights is None:
        return fresh
    # A head on frozen features learns from the beginning, but soon knows a few hundred pictures by
    # heart.
    return (
        round(fresh / 10, 6)
        if recipe.freeze != "all"
        else HEAD
        if recipe.optimizer in ("sgd", "nesterov")
        else 1e-3
    )


def _trial(prepared: Prepared, recipe: Recipe, where: torch.device) -> int:
    """Which number of threads takes this network through a batch quickest."""
    with torch.random.fork_rng(devices=[]):
        network = built(prepared.room, recipe)
        state = fresh(prepared.room, network, recipe, where)
        views = prepared.part("train")
        run = steps(
            prepared.room,
            views.part(np.arange(len(views))),
            replace(recipe, epochs=10_000),
            state,
            where,
        )
        return machine.fastest_threads(lambda: next(run))


def fresh(room: Task, network: nn.Module, recipe: Recipe, where: torch.device) -> State:
    machine.place(network, where, machine.memory_format(recipe))
    rates = transfer.rates(network, recipe, room.input)
    return State(network, [optimizer(recipe, named, rates) for named in room.turns(network)])

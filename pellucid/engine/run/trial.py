"""Training that leaves nothing behind: for searches,
which look at validation alone and keep the numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from . import features, machine, pretrained
from .checkpoint import State
from .epoch import close_epoch
from .loop import steps
from .prepare import Prepared
from .progress import Say
from .resolve import built, fresh, settled


def begun(prepared: Prepared, where: torch.device) -> tuple[Prepared, State]:
    """With its recipe settled, and a state that nothing was learnt in,
    with the weights that the recipe begins with."""
    network = built(prepared.room, prepared.recipe)
    recipe = settled(prepared, network, where)
    with machine.threads(recipe.threads):
        state = fresh(prepared.room, network, recipe, where)
        if recipe.weights is not None:
            pretrained.begin(
                network, prepared.room, recipe, prepared.part("train"), where, Say(quiet=True)
            )
    return replace(prepared, recipe=recipe), state


def epochs(prepared: Prepared, where: torch.device) -> Iterator[dict[str, float]]:
    """A fresh network learns by `prepared.recipe`; after each epoch the row of `metrics.csv` comes
    out. Test pictures are not looked at.

    Leaving the iteration early ends the training. Raises what the loop raises, NonFiniteLoss above
    all.
    """
    with torch.random.fork_rng(devices=[]):
        prepared, state = begun(prepared, where)
        recipe = prepared.recipe
        with machine.threads(recipe.threads):
            prepared = features.views(prepared, state.network, where, Say(quiet=True))
            validation, started = prepared.part("validation"), time.perf_counter()
            for step in steps(prepared.room, prepared.part("train"), recipe, state, where):
                if step.last:
                    state.seconds = time.perf_counter() - started
                    close_epoch(prepared.room, validation, recipe, state, step, where)
                    yield state.history[-1]

"""Training that leaves nothing behind, for searches: they look at validation alone."""

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
    """With its settings complete, and a fresh state, with the initial weights of the settings."""
    network = built(prepared.spec, prepared.settings)
    prepared = replace(prepared, settings=settled(prepared, network, where))
    with machine.threads(prepared.settings.threads):
        state = fresh(prepared, network, where)
        if prepared.settings.weights is not None:
            views, say = prepared.part("train"), Say(quiet=True)
            pretrained.begin(network, prepared.spec, prepared.settings, views, where, say)
    return prepared, state


def epochs(prepared: Prepared, where: torch.device) -> Iterator[dict[str, float]]:
    """A fresh network is trained by `prepared.settings`; after each epoch the row of `metrics.csv`
    comes out. Test images are not looked at.

    Leaving the iteration early ends the training. Raises what the loop raises, NonFiniteLoss above
    all.
    """
    with torch.random.fork_rng(devices=[]):
        prepared, state = begun(prepared, where)
        settings = prepared.settings
        with machine.threads(settings.threads):
            prepared, head = features.cached(prepared, state.network, where, Say(quiet=True))
            views, started = prepared.part("train"), time.perf_counter()
            for step in steps(prepared.training, views, settings, state, where, head):
                if step.last:
                    state.seconds = time.perf_counter() - started
                    close_epoch(prepared, state, step, where, head)
                    yield state.history[-1]

"""Short trainings on the built-in digits, for the figures that show a network at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.rng import generator
from ...engine.run.optim import optimizer
from ...tasks.settings import SharedSettings


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797×8×8 in [0, 1] and their classes: scikit-learn's digits, in an order of our own, so that
    any cut is a random one."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = generator(0).permutation(len(found.target))
    return found.images[order] / 16, found.target[order]


def standard(pictures: np.ndarray) -> Tensor:
    """N×1×8×8 of mean 0 and deviation 1."""
    return torch.tensor((pictures - pictures.mean()) / pictures.std(), dtype=torch.float32)[:, None]


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Weights and dropout from this seed, on one thread, which is quickest for networks so small;
    the caller's state is left alone."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def fit(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    settings: SharedSettings,
    steps: int,
    batch: int | None = None,
) -> Iterator[float]:
    """Trains by cross-entropy and yields the loss after each step, with its gradients still in
    place. batch: all pictures by default."""
    method = optimizer(settings, list(network.named_parameters()))
    for step in range(steps):
        chosen = (
            slice(None)
            if batch is None
            else torch.from_numpy(
                generator(settings.seed, step).choice(len(y), batch, replace=False)
            )
        )
        network.train()
        method.zero_grad()
        loss = F.cross_entropy(network(x[chosen]), y[chosen])
        loss.backward()
        method.step()
        yield loss.item()


def asked(network: nn.Module, x: Tensor) -> Tensor:
    """Logits of a network that is not training."""
    network.eval()
    with torch.no_grad():
        return network(x)

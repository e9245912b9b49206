"""Several processes or machines under torchrun: plain torch.distributed, and nothing at all when
there is one process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the processes that torchrun started, for the length of the block."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(indices: np.ndarray) -> np.ndarray:
    """This process's part of a batch: as even as it goes, in order; may be empty."""
    return np.array_split(indices, count())[rank()] if count() > 1 else indices


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Adds the gradients of all processes, in one message."""
    if count() == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    start = 0
    for p in parameters:
        assert p.grad is not None
        p.grad.copy_(flat[start : start + p.numel()].view_as(p))
        start += p.numel()


def sum_numbers(values: dict[str, float]) -> dict[str, float]:
    """The sum over processes of each value."""
    if count() == 1:
        return values
    totals: dict[str, float] = {}
    for part in gather(values):
        for key, value in part.items():
            totals[key] = totals.get(key, 0.0) + value
    return totals


def gather(value: Any) -> list[Any]:
    """What each process holds, in the order of their ranks, known to all."""
    if count() == 1:
        return [value]
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, value)
    return parts


def same(value: Any) -> Any:
    """The first process's value, known to all."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def align_buffers(network: nn.Module) -> None:
    """Running statistics differ between processes, each having seen its own part;
    the first one's are taken."""
    if count() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)

"""The only forward pass: validation, evaluate, predict, video and the service use it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.errors import NonFiniteOutput
from ...core.types import Batch
from ...tasks.task import ModelSpec
from ..run import processes
from ..run.batches import Views
from ..run.machine import autocast, laid_out

NOT_FINITE = (
    "an answer of the network is not a finite number; its weights are damaged: train it again"
)
# Views that a network computes at a time, of 64×64 pixels; fewer of larger ones, so that they have
# about a megapixel together.
VIEWS, PIXELS = 256, 256 * 64 * 64


@dataclass(frozen=True)
class Numerics:
    """How numbers are computed. precision: "float32" or "bfloat16"; layout: "channels_last" or
    "contiguous"."""

    precision: str
    layout: str


# Scores and answers are those of the weights, not of the machine: training may round for speed.
SCORING = Numerics("float32", "channels_last")


def infer(
    spec: ModelSpec, network: nn.Module, batch: Batch, numerics: Numerics, device: torch.device
) -> list[Any]:
    """One result a source. batch: all views of each source, on any device. Raises NonFiniteOutput
    where the network returns a number that is not finite."""
    outputs = forward_outputs(spec, network, batch, numerics, device)
    if not torch.isfinite(outputs).all():
        raise NonFiniteOutput(NOT_FINITE)
    return spec.inference.decode(outputs, batch)


def forward_outputs(
    spec: ModelSpec, network: nn.Module, batch: Batch, numerics: Numerics, device: torch.device
) -> torch.Tensor:
    """What `Inference.forward` returns for each view, on the CPU; a few views at a time, in
    evaluation mode."""
    network.eval()
    few = views_at_once(batch.images.shape[2:])
    batch = replace(batch, targets=None)
    parts = (batch.part(start, start + few) for start in range(0, len(batch), few))
    with torch.inference_mode(), autocast(numerics, device):
        outputs = (
            spec.inference.forward(
                network, spec.preprocess.network_input(laid_out(part.to(device), numerics))
            ).cpu()
            for part in parts
        )
        return _gathered(outputs, len(batch))


def _gathered(parts: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Parts with `count` rows together, in one tensor that is filled as they come: of a large image
    they are a gigabyte or more."""
    parts = iter(parts)
    first = next(parts)
    if len(first) == count:
        return first
    whole, filled = first.new_empty(count, *first.shape[1:]), 0
    for part in chain([first], parts):
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole


def predictions(
    spec: ModelSpec, network: nn.Module, views: Views, numerics: Numerics, device: torch.device
) -> list[Any]:
    """One result a sample, in order: computed by all processes together, known to each of them. A
    few samples at a time, so that outputs for every pixel need not fit in memory. Raises
    NonFiniteOutput in all processes."""
    mine = processes.share(np.arange(len(views)))
    results: list[Any] = []
    failed = False
    for few in slices(mine, views):
        try:
            results += infer(spec, network, views.batch(few), numerics, device)
        except NonFiniteOutput:
            failed = True
            break
    parts = processes.gather((results, failed))
    if any(failed for _, failed in parts):
        raise NonFiniteOutput(NOT_FINITE)
    return [result for part, _ in parts for result in part]


def slices(indices: np.ndarray, views: Views) -> Iterator[np.ndarray]:
    """The samples, as many at a time as have `views_at_once` views."""
    size = max(1, views_at_once(views.images.shape[1:-1]) // int(views.counts.max(initial=1)))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def views_at_once(size: Sequence[int]) -> int:
    """How many views a network computes at a time. size: (height, width), or (depth, height, width)
    of a view."""
    return max(1, min(VIEWS, PIXELS // math.prod(size)))

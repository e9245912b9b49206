"""`pellucid.slide`: a classifier asked about every window of a picture, at several scales, and so a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.boxes import suppress_by_class
from ..core.errors import UsageError, did_you_mean
from ..core.types import Placement, Prediction, Sample
from ..core.windows import pyramid, windows
from ..models.convolutional import as_convolutions, by_crops
from ..tasks.classification import Classification
from ..tasks.pixels import stored
from ..tasks.task import Task
from .checkpoint import load_model

# Of windows that overlap by more than this IoU the surest of a class is kept. Windows lie a few pixels apart, so it is stricter than
# the 0.5 of detectors that place each box by itself; R-CNN took 0.3 too (Girshick et al. 2014, its published code).
OVERLAP = 0.3
LEAST_SCORE, MOST_BOXES = 0.001, 300
WAYS = ("convolutional", "crops")


def slide(
    model: str | Path | tuple[Task, nn.Module],
    picture: str | Path | np.ndarray,
    *,
    scales: Sequence[float] = (1.0,),
    way: str = "convolutional",
    background: str | None = None,
    threshold: float = 0.5,
) -> Prediction:
    """Where in the picture a classifier sees its classes: a box for each window that is surest among its neighbours.

    model: a run folder of a classification, or its room and network. picture: a file, or H×W×C. scales: of the picture; at 0.5 a
    window is twice as large as the network's own size, in pixels of the picture. way: "convolutional", all windows of a scale in one
    pass, for networks without padding (see `models.convolutional`), or "crops", each window by itself, for any network; both use the
    network's total stride. background: the class that is nothing; without one every window is something. A box's score is the
    probability of its class; those of `threshold` and more are said, and the others, down to 0.001, serve curves.
    Raises UsageError for a way, class or scale that is not there and for a network that cannot slide, DataError, ModelError.
    """
    room, network = _opened(model)
    _check(room, way, background)
    sample = Sample(picture, None, "") if isinstance(picture, np.ndarray) else Sample(Path(picture), None, str(picture))
    picture = stored(sample.pixels(), room.channels, room.bits)
    levels = pyramid(picture, scales, room.size)
    if not levels:
        raise UsageError(f"slide: at no scale of {list(scales)} does a window of {room.size[0]}×{room.size[1]} fit; enlarge the scales")
    found = [_candidates(room, network, view, placement, way, background) for view, placement in levels]
    boxes, scores, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    kept = suppress_by_class(boxes, scores, labels, OVERLAP)[:MOST_BOXES]
    size = (picture.shape[0], picture.shape[1])
    return Prediction(sample.source, size, room.classes, None, boxes[kept], scores[kept], labels[kept], threshold)


def _opened(model: str | Path | tuple[Task, nn.Module]) -> tuple[Classification, nn.Module]:
    room, network = model if isinstance(model, tuple) else load_model(Path(model))[:2]
    if not isinstance(room, Classification):
        raise UsageError(f"slide: a model of the task {room.name} finds places by itself; use predict, or give one of classification")
    return room, network.eval()


def _check(room: Classification, way: str, background: str | None) -> None:
    if way not in WAYS:
        raise UsageError(f'slide: unknown way "{way}"; {did_you_mean(way, WAYS)}')
    if background is not None and background not in room.classes:
        raise UsageError(f'slide: there is no class "{background}"; {did_you_mean(background, room.classes)}')


def _candidates(
    room: Classification, network: nn.Module, view: np.ndarray, placement: Placement, way: str, background: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes in original pixels, scores and labels: of each window the likeliest class that is something."""
    where = next(network.parameters()).device
    images = room.normalised(torch.tensor(view).permute(2, 0, 1)[None].to(where))
    logits, stride = _logits(room, network, images, way)
    probabilities = torch.softmax(logits.double() / room.temperature, 1)[0].flatten(1).cpu().numpy()
    something = np.array([number for number, name in enumerate(room.classes) if name != background])
    best, scores = probabilities[something].argmax(0), probabilities[something].max(0)
    kept = scores >= LEAST_SCORE
    boxes = windows(placement.size, room.size, stride)[kept]
    return placement.backward(boxes.reshape(-1, 2)).reshape(-1, 4), scores[kept], something[best[kept]]


@torch.inference_mode()
def _logits(room: Classification, network: nn.Module, images: Tensor, way: str) -> tuple[Tensor, tuple[int, int]]:
    """1×classes×rows×columns, and the stride (down, across)."""
    if way == "convolutional":
        sliding = as_convolutions(network, room.input)
        return sliding(images), sliding.stride
    coarsest: Any = network.feature_strides
    step = max(1, int(coarsest[-1]))
    return by_crops(network, images, room.size, (step, step)), (step, step)

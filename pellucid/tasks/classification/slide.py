"""A classifier asked about every window of a picture, at several scales, and so a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.boxes import suppress_by_class
from ...core.errors import UsageError, did_you_mean
from ...core.types import Prediction, ViewTransform
from ...data.sample import Sample
from ...models.convolutional import as_convolutions, by_crops
from ...transforms.windows import pyramid, windows
from ..pixels import stored

if TYPE_CHECKING:
    from . import Classification

# Of windows that overlap by more than this IoU the surest of a class is kept. Windows lie a few
# pixels apart, so it is stricter than the 0.5 of detectors that place each box by itself; R-CNN
# took 0.3 too (Girshick et al. 2014, its published code).
OVERLAP = 0.3
LEAST_SCORE, MOST_BOXES = 0.001, 300
WAYS = ("convolutional", "crops")


def slid(
    room: Classification,
    network: nn.Module,
    sample: Sample,
    scales: Sequence[float],
    way: str,
    background: str | None,
    threshold: float,
) -> Prediction:
    """As `pellucid.slide`. Raises UsageError for a way, class or scale that is not there and for a
    network that cannot slide, DataError."""
    _check(room, way, background)
    picture = stored(sample.pixels(), room.channels, room.bits)
    levels = pyramid(picture, scales, room.size)
    if not levels:
        raise UsageError(
            f"slide: at no scale of {list(scales)} does a window of {room.size[0]}×{room.size[1]} "
            "fit; enlarge the scales"
        )
    found = [
        _candidates(room, network, view, transform, way, background) for view, transform in levels
    ]
    boxes, scores, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    kept = suppress_by_class(boxes, scores, labels, OVERLAP)[:MOST_BOXES]
    size = (picture.shape[0], picture.shape[1])
    return Prediction(
        sample.source, size, room.classes, None, boxes[kept], scores[kept], labels[kept], threshold
    )


def _check(room: Classification, way: str, background: str | None) -> None:
    if way not in WAYS:
        raise UsageError(f'slide: unknown way "{way}"; {did_you_mean(way, WAYS)}')
    if background is not None and background not in room.classes:
        raise UsageError(
            f'slide: there is no class "{background}"; {did_you_mean(background, room.classes)}'
        )


def _candidates(
    room: Classification,
    network: nn.Module,
    view: np.ndarray,
    transform: ViewTransform,
    way: str,
    background: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes in original pixels, scores and labels: of each window the likeliest class that
    is something."""
    where = next(network.parameters()).device
    images = room.normalised(torch.tensor(view).permute(2, 0, 1)[None].to(where))
    logits, stride = _logits(room, network, images, way)
    probabilities = torch.softmax(logits.double() / room.temperature, 1)[0].flatten(1).cpu().numpy()
    something = np.array([number for number, name in enumerate(room.classes) if name != background])
    best, scores = probabilities[something].argmax(0), probabilities[something].max(0)
    kept = scores >= LEAST_SCORE
    boxes = windows(transform.size, room.size, stride)[kept]
    return (
        transform.backward(boxes.reshape(-1, 2)).reshape(-1, 4),
        scores[kept],
        something[best[kept]],
    )


@torch.inference_mode()
def _logits(
    room: Classification, network: nn.Module, images: Tensor, way: str
) -> tuple[Tensor, tuple[int, int]]:
    """1×classes×rows×columns, and the stride (down, across)."""
    if way == "convolutional":
        sliding = as_convolutions(network, room.input)
        return sliding(images), sliding.stride
    coarsest: Any = network.feature_strides
    step = max(1, int(coarsest[-1]))
    return by_crops(network, images, room.size, (step, step)), (step, step)

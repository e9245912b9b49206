"""A classifier at every window of an image, at several scales: a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.boxes import suppress_by_class
from ...core.errors import UsageError, did_you_mean
from ...core.types import Batch, ViewTransform
from ...data.sample import Sample
from ...models.convolutional import as_convolutions, by_crops
from ...transforms.windows import pyramid, windows
from ..pixels import stored
from ..task import ModelSpec
from .window_detections import WindowDetections

# Of windows of a class that overlap by more than this IoU the one with the highest score is kept.
# Windows lie a few pixels apart, so it is stricter than the 0.5 of detectors that place each box by
# itself; R-CNN took 0.3 too (Girshick et al. 2014, its published code).
OVERLAP = 0.3
LEAST_SCORE, MOST_BOXES = 0.001, 300
WAYS = ("convolutional", "crops")


def slid(
    spec: ModelSpec,
    network: nn.Module,
    sample: Sample,
    scales: Sequence[float],
    way: str,
    background: str | None,
    threshold: float,
) -> WindowDetections:
    """As `pellucid.slide`. spec: of a classification. Raises UsageError for an unknown way or
    class, for scales at which no window fits and for a network that cannot slide, DataError."""
    classes, window = spec.inference.classes, spec.preprocess.size
    _check(classes, way, background)
    image = stored(sample.pixels(), spec.preprocess.channels, spec.preprocess.bits)
    levels = pyramid(image, scales, window)
    if not levels:
        raise UsageError(
            f"slide: at no scale of {list(scales)} does a window of {window[0]}×{window[1]} "
            "fit; enlarge the scales"
        )
    found = [
        _candidates(spec, network, view, transform, way, background) for view, transform in levels
    ]
    boxes, scores, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    kept = suppress_by_class(boxes, scores, labels, OVERLAP)[:MOST_BOXES]
    size = (image.shape[0], image.shape[1])
    return WindowDetections(
        sample.source, size, classes, boxes[kept], scores[kept], labels[kept], threshold
    )


def _check(classes: Sequence[str], way: str, background: str | None) -> None:
    if way not in WAYS:
        raise UsageError(f'slide: unknown way "{way}"; {did_you_mean(way, WAYS)}')
    if background is not None and background not in classes:
        raise UsageError(
            f'slide: there is no class "{background}"; {did_you_mean(background, classes)}'
        )


def _candidates(
    spec: ModelSpec,
    network: nn.Module,
    view: np.ndarray,
    transform: ViewTransform,
    way: str,
    background: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes in pixels of the image, scores and labels: of each window the likeliest class other
    than the background."""
    where = next(network.parameters()).device
    pixels = torch.tensor(view).permute(2, 0, 1)[None].to(where)
    inputs = spec.preprocess.network_input(Batch(pixels, None, (transform,), ("",)))
    logits, stride = _logits(spec, network, inputs, way)
    classes, temperature = spec.inference.classes, spec.inference.temperature
    probabilities = torch.softmax(logits.double() / temperature, 1)[0].flatten(1).cpu().numpy()
    objects = np.array([number for number, name in enumerate(classes) if name != background])
    best, scores = probabilities[objects].argmax(0), probabilities[objects].max(0)
    kept = scores >= LEAST_SCORE
    boxes = windows(transform.size, spec.preprocess.size, stride)[kept]
    return (
        transform.backward(boxes.reshape(-1, 2)).reshape(-1, 4),
        scores[kept],
        objects[best[kept]],
    )


@torch.inference_mode()
def _logits(
    spec: ModelSpec, network: nn.Module, images: Tensor, way: str
) -> tuple[Tensor, tuple[int, int]]:
    """1×classes×rows×columns, and the stride (down, across)."""
    if way == "convolutional":
        sliding = as_convolutions(network, spec.preprocess.input_shape)
        return sliding(images), sliding.stride
    coarsest: Any = network.feature_strides
    step = max(1, int(coarsest[-1]))
    return by_crops(network, images, spec.preprocess.size, (step, step)), (step, step)

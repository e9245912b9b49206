"""`pellucid.slide`: a classifier asked about every window of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ...core.errors import UsageError
from ...data.sample import Sample
from ...tasks.classification.slide import slid
from ...tasks.task import ModelSpec
from .model import load

if TYPE_CHECKING:
    from ...tasks.classification.window_detections import WindowDetections


def slide(
    model: str | Path | tuple[ModelSpec, nn.Module],
    picture: str | Path | np.ndarray,
    *,
    scales: Sequence[float] = (1.0,),
    way: str = "convolutional",
    background: str | None = None,
    threshold: float = 0.5,
) -> WindowDetections:
    """Where in the image a classifier sees its classes: a box for each window that is surest among
    its neighbors.

    model: a run folder of a classification, or its spec and network. picture: a file, or H×W×C.
    scales: of the image; at 0.5 a window is twice as large as the network's own size, in pixels of
    the image. way: "convolutional", all windows of a scale in one pass, for networks without
    padding (see `models.convolutional`), or "crops", each window by itself, for any network; both
    use the network's total stride. background: the class that is nothing; without one every window
    is something. A box's score is the probability of its class; those of `threshold` and more are
    objects, and the others, down to 0.001, serve curves.
    Raises UsageError for a way, class or scale that is not there and for a network that cannot
    slide, DataError, ModelError.
    """
    if isinstance(model, tuple):
        spec, network = model
    else:
        loaded = load(model)
        spec, network = loaded.spec, loaded.network
    if spec.task.name != "classification":
        raise UsageError(
            f"slide: a model of the task {spec.task.name} finds places by itself; use predict, or "
            "give one of classification"
        )
    sample = (
        Sample(picture, None, "")
        if isinstance(picture, np.ndarray)
        else Sample(Path(picture), None, str(picture))
    )
    return slid(spec, network.eval(), sample, scales, way, background, threshold)

"""`pellucid.slide`: a classifier asked about every window of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ...core.errors import UsageError
from ...core.types import Prediction
from ...data.sample import Sample
from ...tasks.classification import Classification
from ...tasks.classification.slide import slid
from ...tasks.task import Task
from ..run.checkpoint import load_model


def slide(
    model: str | Path | tuple[Task, nn.Module],
    picture: str | Path | np.ndarray,
    *,
    scales: Sequence[float] = (1.0,),
    way: str = "convolutional",
    background: str | None = None,
    threshold: float = 0.5,
) -> Prediction:
    """Where in the picture a classifier sees its classes: a box for each window that is surest
    among its neighbours.

    model: a run folder of a classification, or its room and network. picture: a file, or H×W×C.
    scales: of the picture; at 0.5 a window is twice as large as the network's own size, in pixels
    of the picture. way: "convolutional", all windows of a scale in one pass, for networks without
    padding (see `models.convolutional`), or "crops", each window by itself, for any network; both
    use the network's total stride. background: the class that is nothing; without one every window
    is something. A box's score is the probability of its class; those of `threshold` and more are
    said, and the others, down to 0.001, serve curves.
    Raises UsageError for a way, class or scale that is not there and for a network that cannot
    slide, DataError, ModelError.
    """
    room, network = model if isinstance(model, tuple) else load_model(Path(model))[:2]
    if not isinstance(room, Classification):
        raise UsageError(
            f"slide: a model of the task {room.name} finds places by itself; use predict, or give "
            "one of classification"
        )
    sample = (
        Sample(picture, None, "")
        if isinstance(picture, np.ndarray)
        else Sample(Path(picture), None, str(picture))
    )
    return slid(room, network.eval(), sample, scales, way, background, threshold)

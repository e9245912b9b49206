"""The worst errors of a detector, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.boxes import iou
from ...core.draw import boxes, sheet, to_rgb8
from ...core.types import Objects, Prediction, Sample

SHOWN, SIDE = 12, 400


def worst(samples: Sequence[Sample], predictions: Sequence[Prediction], classes: Sequence[str]) -> np.ndarray | None:
    """The twelve pictures with the most misses and false alarms at the threshold, side by side in pairs: truth, then answer."""
    wrong = [mistakes(sample.truth, prediction) for sample, prediction in zip(samples, predictions, strict=True)]
    order = sorted((i for i in range(len(wrong)) if sum(wrong[i])), key=lambda i: -sum(wrong[i]))[:SHOWN]
    if not order:
        return None
    pictures, titles = [], []
    for i in order:
        picture, truth = to_rgb8(samples[i].pixels()), samples[i].truth
        pictures += [boxes(picture, truth.boxes, truth.labels.tolist(), [classes[label] for label in truth.labels])]
        pictures += [predictions[i].draw(picture)]
        titles += [f"{samples[i].source}: truth", f"{wrong[i][0]} missed, {wrong[i][1]} false"]
    return sheet(pictures, titles, columns=4, side=SIDE)


def mistakes(truth: Objects, said: Prediction, overlap: float = 0.5) -> tuple[int, int]:
    """Objects that were missed, and answers at the threshold that are of no object, surest answers matched first."""
    assert said.boxes is not None and said.scores is not None and said.labels is not None
    asked = said.scores >= said.threshold
    free, false = ~truth.ignore, 0
    fits = iou(said.boxes[asked], truth.boxes)
    for row, label in zip(fits, said.labels[asked], strict=True):
        mine = (truth.labels == label) & (row >= overlap)
        if (mine & free).any():
            free = free & (np.arange(len(free)) != np.where(mine & free, row, -1).argmax())
        elif not (mine & truth.ignore).any():
            false += 1
    return int(free.sum()), false

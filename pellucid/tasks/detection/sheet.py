"""The worst errors of a detector, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.types import Prediction
from ...data.sample import Sample
from ...metrics.detection import gather
from ...metrics.detection.threshold import per_picture
from ...plots.annotate import boxes, sheet, to_rgb8

SHOWN, SIDE = 12, 400


def worst(
    samples: Sequence[Sample], predictions: Sequence[Prediction], classes: Sequence[str]
) -> np.ndarray | None:
    """The twelve pictures with the most misses and false alarms at the threshold, side by side in
    pairs: truth, then answer."""
    missed, false = mistakes(samples, predictions, len(classes))
    wrong = missed + false
    order = [i for i in np.argsort(-wrong, kind="stable")[:SHOWN].tolist() if wrong[i]]
    if not order:
        return None
    pictures, titles = [], []
    for i in order:
        picture, target = to_rgb8(samples[i].pixels()), samples[i].target
        pictures += [
            boxes(
                picture,
                target.boxes,
                target.labels.tolist(),
                [classes[label] for label in target.labels],
            )
        ]
        pictures += [predictions[i].draw(picture)]
        titles += [f"{samples[i].source}: truth", f"{missed[i]} missed, {false[i]} false"]
    return sheet(pictures, titles, columns=4, side=SIDE)


def mistakes(
    samples: Sequence[Sample], predictions: Sequence[Prediction], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each picture how many objects were missed at the threshold, which all predictions share,
    and how many answers are of no object."""
    table = gather([sample.target for sample in samples], predictions, classes)
    threshold = predictions[0].threshold if predictions else 0.0
    right, wrong, objects = (each.sum(axis=1).astype(int) for each in per_picture(table, threshold))
    return objects - right, wrong

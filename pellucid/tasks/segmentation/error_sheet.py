"""The sheet of the worst errors."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ...core.types import IGNORE
from ...data.sample import Sample
from ...plots import masks
from ...plots.annotate import sheet, to_rgb8
from .result import SegmentationResult

SHOWN, SIDE = 8, 300


def worst(
    samples: Sequence[Sample],
    results: Sequence[SegmentationResult],
    classes: Sequence[str],
    annotator: int = 0,
) -> np.ndarray | None:
    """The eight images with the lowest Dice: image, target, result, errors, over their legend; None
    where all is right.

    Of a volume the slice with the most errors is shown. annotator: whose masks are the targets, a
    number.
    """
    scores = [
        dice(sample.target.labels(annotator), result.mask)
        for sample, result in zip(samples, results, strict=True)
    ]
    order = [i for i in np.argsort(scores, kind="stable")[:SHOWN].tolist() if scores[i] < 1]
    if not order:
        return None
    cells, titles, seen = [], [], []
    for i in order:
        image, target, answer, name = _flat(samples[i], results[i], annotator)
        cells += [
            image,
            masks.drawn(image, target),
            masks.drawn(image, answer),
            masks.error_map(image, target, answer),
        ]
        titles += [name, "truth", "answer", f"errors: Dice {scores[i]:.3f}"]
        seen += [np.unique(target), np.unique(answer)]
    page = sheet(cells, titles, columns=4, side=SIDE)
    return _with_legends(page, np.unique(np.concatenate(seen)), classes)


def dice(target: np.ndarray, answer: np.ndarray) -> float:
    """The mean over the classes that either has, but the background; 1 where neither has any.
    Ignored pixels do not count."""
    asked = target != IGNORE
    counts = np.bincount(
        target[asked].astype(np.int64) * 256 + answer[asked], minlength=1 << 16
    ).reshape(256, 256)
    both = (counts.sum(0) + counts.sum(1))[1:]
    if not both.any():
        return 1.0
    return float((2 * np.diagonal(counts)[1:][both > 0] / both[both > 0]).mean())


def _flat(
    sample: Sample, result: SegmentationResult, annotator: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Image uint8 H×W×3, target and result H×W, all of a cell's size, and a title."""
    target, answer = sample.target.labels(annotator), result.mask
    pixels, name, geometry = sample.pixels(), sample.source, result.geometry
    if target.ndim == 3:
        wrong = (target != answer) & (target != IGNORE)
        at = int(wrong.reshape(len(target), -1).sum(1).argmax())
        pixels, target, answer = masks.grey8(pixels[at : at + 1])[0], target[at], answer[at]
        pixels, target, answer = (
            masks.upright(each, geometry) for each in (pixels, target, answer)
        )
        name += f", slice {at + 1}"
    size = masks.sized(target.shape, geometry, SIDE)[::-1]
    way = cv2.INTER_AREA if max(target.shape) > SIDE else cv2.INTER_NEAREST_EXACT
    image = cv2.resize(to_rgb8(pixels), size, interpolation=way)
    target, answer = (
        cv2.resize(each, size, interpolation=cv2.INTER_NEAREST_EXACT) for each in (target, answer)
    )
    return image, target, answer, name


def _with_legends(page: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    named = [
        (classes[label], masks.colour_of(label))
        for label in labels.tolist()
        if 0 < label < len(classes)
    ]
    errors = [
        (f"errors: {name}" if name == "right" else name, fill)
        for name, fill in masks.ERRORS.items()
    ]
    return masks.above(page, [*named, *errors])

"""All figures of a detector, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..significance import UNDEFINED, Score, interval, resamples
from . import coco
from .errors import table_of_errors
from .precision import (
    RECALLS,
    SIZES,
    average_precision,
    curve,
    highest_recall,
    judge,
    mean_precision,
)
from .table import Table
from .threshold import per_image

# Points of a curve that is drawn, of 101.
_EVERY = 2


def evaluation(
    table: Table, classes: Sequence[str], threshold: float, seed: int = 0
) -> dict[str, Any]:
    """All scores, ready for JSON; values of average precision are those of faster-coco-eval.

    threshold: the score from which on a detection counts, for precision, recall and F1 at IoU 0.5
    (all classes together, and each). A class without objects has no average precision and is left
    out of means. Raises UsageError where faster-coco-eval is not installed.
    """
    reference = coco.evaluate(table)
    weights = np.ascontiguousarray(resamples(table.pictures, seed).T)
    judged = judge(table)
    drawn = average_precision(judged, weights)
    seen = judged.positives > 0
    believed = _believed(table, threshold, weights)
    return {
        "map": _mean(reference.ap[:, :, 0], mean_precision(drawn), seen),
        "map50": _mean(reference.ap[:1, :, 0], mean_precision(drawn[:1]), seen),
        "recall100": _mean(reference.recall, mean_precision(highest_recall(judged, weights)), seen),
        **believed["all"],
        "per_class": {
            name: {
                "ap50": _mean(
                    reference.ap[:1, [c], 0], mean_precision(drawn[:1, [c]]), seen[:, [c]]
                ),
                "ap": _mean(reference.ap[:, [c], 0], mean_precision(drawn[:, [c]]), seen[:, [c]]),
                **believed[c],
                "objects": int(judged.positives[:, c].sum()),
            }
            for c, name in enumerate(classes)
        },
        "per_size": {
            size: _of_size(table, size, reference.ap[:, :, k], weights)
            for k, size in enumerate(SIZES, start=1)
        },
        "errors": table_of_errors(table, threshold),
        "curves": {
            name: {
                "recall": RECALLS[::_EVERY].round(2).tolist(),
                "precision": curve(judged, c)[::_EVERY].round(6).tolist(),
            }
            for c, name in enumerate(classes)
            if seen[:, c].any()
        },
        "pictures": table.pictures,
        "objects": int(judged.positives.sum()),
    }


def _of_size(table: Table, size: str, reference: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    judged = judge(table, size=size)
    drawn, seen = average_precision(judged, weights), judged.positives > 0
    return {
        "ap50": _mean(reference[:1], mean_precision(drawn[:1]), seen),
        "ap": _mean(reference, mean_precision(drawn), seen),
        "objects": int(judged.positives.sum()),
    }


def _mean(values: np.ndarray, drawn: np.ndarray, seen: np.ndarray) -> Score:
    """The mean of T×C values, those that are NaN left out, and quantiles of R resamples. seen: P×C,
    whether a picture holds the class."""
    if np.isnan(values).all():
        return UNDEFINED
    if seen.any(axis=1).sum() < 2:
        return UNDEFINED | {"value": float(np.nanmean(values))}
    pictures = seen.sum(axis=0)
    return interval(float(np.nanmean(values)), drawn, pictures[pictures > 0])


def _believed(
    table: Table, threshold: float, weights: np.ndarray
) -> dict[str | int, dict[str, Score]]:
    """Precision, recall and F1 at a threshold: of "all" classes together,
    and of each by its number."""
    counts = per_image(table, threshold)
    ones = [each.sum(axis=0) for each in counts]
    drawn = [each.T @ weights for each in counts]
    named: dict[str | int, dict[str, Score]] = {
        "all": _at(counts, [each.sum() for each in ones], [each.sum(axis=0) for each in drawn])
    }
    for c in range(table.classes):
        named[c] = _at(
            [each[:, [c]] for each in counts],
            [each[c] for each in ones],
            [each[c] for each in drawn],
        )
    return named


def _at(
    counts: Sequence[np.ndarray], ones: Sequence[Any], drawn: Sequence[np.ndarray]
) -> dict[str, Score]:
    """Three scores of right and wrong detections and of objects: P×C in `counts`, their sums in
    `ones`, R resampled sums in `drawn`."""
    told, held = (counts[0] + counts[1]).any(axis=1).sum(), counts[2].any(axis=1).sum()
    pictures = {"precision": told, "recall": held, "f1": max(told, held)}
    found, again = _shares(*ones), _shares(*drawn)
    return {
        name: UNDEFINED
        if np.isnan(found[name])
        else interval(float(found[name]), again[name], np.array([pictures[name]]))
        for name in found
    }


def _shares(right: Any, wrong: Any, objects: Any) -> dict[str, np.ndarray]:
    """NaN where there is nothing to be a share of. F1 is of all that is said and all
    that is there."""

    def share(part: Any, whole: Any) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    return {
        "precision": share(right, right + wrong),
        "recall": share(right, objects),
        "f1": share(2 * right, right + wrong + objects),
    }

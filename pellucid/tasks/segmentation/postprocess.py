"""From probabilities to classes and objects: thresholds, and what refines the masks after the
network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch

from ...core.types import IGNORE, Mask
from ...metrics.segmentation import rand_score
from ...transforms.remove_small_regions import tidied
from ...transforms.split_touching import parted
from .result import SegmentationResult, no_regions

# What `calibrated` tries where each has to be scored by itself: thresholds, and the `wall` and
# `floor` of the watershed.
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
WALLS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FLOORS = (0.0, 0.5)


@dataclass(frozen=True)
class Postprocessing:
    """threshold: with two classes, the least probability of the second one. refine: "none", "crf"
    or "watershed". smallest: regions of fewer pixels take the class around them. wall, floor: of
    the watershed, see `transforms.split_touching.parted`."""

    threshold: float = 0.5
    refine: str = "none"
    smallest: int = 0
    wall: float = 0.5
    floor: float = 0.0


def postprocess(
    shares: torch.Tensor, image: torch.Tensor | None, how: Postprocessing
) -> dict[str, Any]:
    """Probabilities K×size (and, for the CRF, the image C×size in 0..1), to the fields `mask`,
    `probabilities` and `regions` of a result."""
    probabilities = (shares.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if how.refine == "crf" and image is not None:
        from ...models.crf import refined

        _, probabilities = refined(probabilities, image.movedim(0, -1).numpy())
    return {
        "mask": label_mask(probabilities, how),
        "probabilities": probabilities,
        "regions": separated(probabilities, how),
    }


def label_mask(probabilities: np.ndarray, how: Postprocessing) -> np.ndarray:
    """uint8 of the size of K×size, in 255ths: the most probable class; of two classes the second
    from the threshold on."""
    mask = (
        (probabilities[1] >= how.threshold * 255).astype(np.uint8)
        if len(probabilities) == 2
        else probabilities.argmax(0).astype(np.uint8)
    )
    return tidied(mask, how.smallest, len(probabilities)) if how.smallest else mask


def separated(probabilities: np.ndarray, how: Postprocessing) -> np.ndarray:
    """int32 of the size of 2×size: the objects of the second class; empty without watershed."""
    if how.refine != "watershed":
        return no_regions()
    return parted(probabilities[1].astype(np.float32) / 255, how.wall, how.floor)


def calibrated(
    how: Postprocessing,
    targets: Sequence[Mask],
    results: Sequence[SegmentationResult],
    score: str,
    annotator: int,
) -> Postprocessing:
    """With what is best on these images of two classes: the threshold for `score`, and the numbers
    of the watershed for the Rand score."""
    known = [result.probabilities for result in results if result.probabilities.size]
    labels = [target.labels(annotator) for target in targets]
    if how.refine == "watershed":
        grid = [replace(how, wall=wall, floor=floor) for wall, floor in product(WALLS, FLOORS)]
        how = _best(grid, known, labels)
    elif score == "rand":
        return _best([replace(how, threshold=at) for at in THRESHOLDS], known, labels)
    return replace(how, threshold=_best_threshold(known, labels))


def _best(
    grid: Sequence[Postprocessing],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
) -> Postprocessing:
    """By the mean Rand score; the middle one where several are as good."""
    values = np.zeros(len(grid))
    for each, target in zip(probabilities, labels, strict=True):
        known = np.where(target == IGNORE, 0, target)
        for at, how in enumerate(grid):
            values[at] += rand_score(known, label_mask(each, how), separated(each, how))
    best = np.flatnonzero(np.isclose(values, np.nanmax(values), atol=1e-9))
    return grid[int(best[len(best) // 2])]


def _best_threshold(probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """By Dice of all pixels together at each of 255 thresholds; intersection over union is best at
    the same one."""
    right, wrong = np.zeros(256), np.zeros(256)
    for each, target in zip(probabilities, labels, strict=True):
        right += np.bincount(each[1][target == 1], minlength=256)
        wrong += np.bincount(each[1][target == 0], minlength=256)
    positive, false = (np.cumsum(counts[::-1])[::-1] for counts in (right, wrong))
    dice = (2 * positive / np.maximum(positive + false + right.sum(), 1))[1:]
    best = np.flatnonzero(np.isclose(dice, dice.max(), atol=1e-9))
    return float((best[len(best) // 2] + 1) / 255)

"""From probabilities to classes and objects: thresholds,
and what is done to an answer after the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch

from ...core.types import IGNORE, Mask, Prediction
from ...metrics.segmentation import rand_score
from ...transforms.remove_small_regions import tidied
from ...transforms.split_touching import parted

# What is tried where each has to be judged by itself: thresholds, how much of a wall parts two
# objects, and from which probability on a pixel is in one.
TRIED = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
WALLS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FLOORS = (0.0, 0.5)


@dataclass(frozen=True)
class Finding:
    """threshold: of two classes, the probability from which on a pixel is of the second one.
    refine: "none", "crf" or "watershed" (what is trained, as "crf_rnn", is no part of it).
    smallest: objects of fewer pixels are removed, and such holes filled. wall, floor: of the
    watershed, see `transforms.split_touching.parted`."""

    threshold: float = 0.5
    refine: str = "none"
    smallest: int = 0
    wall: float = 0.5
    floor: float = 0.0


def answered(shares: torch.Tensor, picture: torch.Tensor | None, how: Finding) -> dict[str, Any]:
    """Probabilities K×size (and, for the CRF, the picture C×size in 0..1), to the fields of a
    `Prediction`: mask, soft, regions."""
    soft = (shares.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if how.refine == "crf" and picture is not None:
        from ...models.crf import refined

        _, soft = refined(soft, picture.movedim(0, -1).numpy())
    return {"mask": said(soft, how), "soft": soft, "regions": regions(soft, how)}


def said(soft: np.ndarray, how: Finding) -> np.ndarray:
    """uint8 of the size of K×size: the likeliest class; of two,
    the second from the threshold on."""
    mask = (
        (soft[1] >= how.threshold * 255).astype(np.uint8)
        if len(soft) == 2
        else soft.argmax(0).astype(np.uint8)
    )
    return tidied(mask, how.smallest, len(soft)) if how.smallest else mask


def regions(soft: np.ndarray, how: Finding) -> np.ndarray | None:
    """int32 of the size of 2×size: the objects of the second class."""
    return (
        parted(soft[1].astype(np.float32) / 255, how.wall, how.floor)
        if how.refine == "watershed"
        else None
    )


def fitted(
    how: Finding, targets: Sequence[Mask], answers: Sequence[Prediction], score: str, annotator: int
) -> Finding:
    """With what is best on these pictures of two classes: the threshold for `score`, and the
    watershed's numbers for the Rand score."""
    softs = [answer.soft for answer in answers if answer.soft is not None]
    labels = [target.labels(annotator) for target in targets]
    if how.refine == "watershed":
        grid = [replace(how, wall=wall, floor=floor) for wall, floor in product(WALLS, FLOORS)]
        how = _best(grid, softs, labels)
    elif score == "rand":
        return _best([replace(how, threshold=at) for at in TRIED], softs, labels)
    return replace(how, threshold=_best_threshold(softs, labels))


def _best(
    grid: Sequence[Finding], softs: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> Finding:
    """By the mean Rand score; the middle one where several are as good."""
    values = np.zeros(len(grid))
    for soft, target in zip(softs, labels, strict=True):
        there = np.where(target == IGNORE, 0, target)
        for at, how in enumerate(grid):
            values[at] += rand_score(there, said(soft, how), regions(soft, how))
    best = np.flatnonzero(np.isclose(values, np.nanmax(values), atol=1e-9))
    return grid[int(best[len(best) // 2])]


def _best_threshold(softs: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """By Dice of all pixels together at each of 255 thresholds;
    intersection over union is best at the same one."""
    right, wrong = np.zeros(256), np.zeros(256)
    for soft, target in zip(softs, labels, strict=True):
        right += np.bincount(soft[1][target == 1], minlength=256)
        wrong += np.bincount(soft[1][target == 0], minlength=256)
    found, vain = (np.cumsum(each[::-1])[::-1] for each in (right, wrong))
    dice = (2 * found / np.maximum(found + vain + right.sum(), 1))[1:]
    best = np.flatnonzero(np.isclose(dice, dice.max(), atol=1e-9))
    return float((best[len(best) // 2] + 1) / 255)

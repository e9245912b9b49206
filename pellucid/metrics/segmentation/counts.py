"""Areas: how many pixels of each class two masks share, and the scores that follow from these
counts alone.

Counts are int64 …×3×K: of each class the pixels that both masks give it, those of the truth, those
of the answer. They add up over pictures, so a score of many pictures is one of a sum. A score that
is not defined is NaN.
"""

from __future__ import annotations

import numpy as np

from ...core.types import IGNORE


def counts(target: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """int64 3×K of two masks, uint8 of one shape; pixels that are IGNORE in either are left out.

    Raises ValueError for another shape, or a class that is none of `classes`.
    """
    if target.shape != answer.shape:
        raise ValueError(f"masks of {target.shape} and {answer.shape} have no overlap")
    asked = (target != IGNORE) & (answer != IGNORE)
    there, said = target[asked], answer[asked]
    if max(there.max(initial=0), said.max(initial=0)) >= classes:
        raise ValueError(
            f"a mask says {max(there.max(), said.max())}, which is none of {classes} classes"
        )
    cells = np.bincount(
        there.astype(np.intp) * classes + said, minlength=classes * classes
    ).reshape(classes, classes)
    return np.stack([np.diag(cells), cells.sum(axis=1), cells.sum(axis=0)]).astype(np.int64)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to be a share of."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def dice(found: np.ndarray) -> np.ndarray:
    """…×K, 2|A∩B| / (|A| + |B|) (Dice 1945), the F1 of pixels;
    NaN of a class that neither mask has."""
    return share(2 * found[..., 0, :], found[..., 1, :] + found[..., 2, :])


def iou(found: np.ndarray) -> np.ndarray:
    """…×K, |A∩B| / |A∪B| (Jaccard 1912), which is D / (2 − D) of Dice D;
    NaN of a class that neither mask has."""
    return share(found[..., 0, :], found[..., 1, :] + found[..., 2, :] - found[..., 0, :])


def precision(found: np.ndarray) -> np.ndarray:
    """…×K, of the pixels that are said to be a class the share that are;
    NaN of one that is never said."""
    return share(found[..., 0, :], found[..., 2, :])


def recall(found: np.ndarray) -> np.ndarray:
    """…×K, of the pixels of a class the share that are found; NaN of one that is nowhere."""
    return share(found[..., 0, :], found[..., 1, :])


def pixel_accuracy(found: np.ndarray) -> np.ndarray:
    """…, the share of right pixels, those of the background with them."""
    return share(found[..., 0, :].sum(axis=-1), found[..., 1, :].sum(axis=-1))


def mean_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    return share(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def mean_dice(found: np.ndarray) -> np.ndarray:
    """…, the mean over the classes that either mask has. Give it `found[..., 1:]` for a mean
    without the background."""
    return mean_defined(dice(found))


def mean_iou(found: np.ndarray) -> np.ndarray:
    """As `mean_dice`."""
    return mean_defined(iou(found))


def together(found: np.ndarray) -> np.ndarray:
    """…×3×1: all classes as one sum, in which what is found must still be of the right class."""
    return found.sum(axis=-1, keepdims=True)

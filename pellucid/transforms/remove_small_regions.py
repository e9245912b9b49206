"""Specks out of a mask: what is smaller than anything that was asked for becomes what
surrounds it."""

from __future__ import annotations

import numpy as np

from ..core.types import IGNORE


def tidied(mask: np.ndarray, smallest: int, classes: int) -> np.ndarray:
    """uint8 H×W or D×H×W, without connected pieces of fewer than `smallest` pixels, of any class:
    objects and holes alike.

    A piece (diagonal neighbours belong to it) takes the commonest label among the pixels that touch
    its sides and lie in pieces that are large enough; of equals the lower one, which is the
    background's if it is among them. A speck among specks waits until those beside it are settled;
    where no piece is large enough, all becomes background. Pixels of IGNORE stay and have no say.
    Larger pieces lose nothing.
    """
    mask = mask.copy()
    while smallest > 1:
        pieces, small = _small(mask, smallest)
        votes = _votes(mask, pieces, small, classes)
        labels = np.where(small, votes.argmax(1), 0)
        settled = small & (votes.sum(1) > 0)
        if not settled.any():
            mask[small[pieces]] = 0
            break
        mask = np.where(settled[pieces], labels[pieces], mask).astype(np.uint8)
    return mask


def _small(mask: np.ndarray, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's piece, from 1, and of each number whether the piece
    is too small."""
    from skimage.measure import label

    pieces = label(mask.astype(np.int64), background=-1, connectivity=mask.ndim)
    small = np.bincount(pieces.ravel()) < smallest
    small[np.unique(pieces[mask == IGNORE])] = False
    return pieces, small


def _votes(mask: np.ndarray, pieces: np.ndarray, small: np.ndarray, classes: int) -> np.ndarray:
    """Pieces × classes: how many sides of each small piece touch a large one of each class."""
    votes = np.zeros(len(small) * classes, np.int64)
    for axis in range(mask.ndim):
        first, second = np.arange(mask.shape[axis] - 1), np.arange(1, mask.shape[axis])
        for own, other in ((first, second), (second, first)):
            inside, beside = pieces.take(own, axis), pieces.take(other, axis)
            label = mask.take(other, axis)
            touches = small[inside] & ~small[beside] & (label != IGNORE)
            votes += np.bincount(inside[touches] * classes + label[touches], minlength=len(votes))
    return votes.reshape(-1, classes)

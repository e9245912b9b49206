"""Scores of many masks with intervals: units are resampled, and what is a sum over images is summed
again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..significance import UNDEFINED, Score, interval, resamples
from .counts import share


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """value: of all images. drawn: float64 R, of each resample. held: how many units count, an
    element for each class of a mean over classes. unit: what is resampled. NaN where it is not
    defined."""

    value: float
    drawn: np.ndarray
    held: np.ndarray
    unit: str

    def score(self) -> Score:
        """Of a share, from 0 to 1."""
        if np.isnan(self.value):
            return UNDEFINED
        return interval(self.value, self.drawn, self.held, self.unit)

    def distance(self) -> Score:
        """Of a length, from 0 up."""
        if np.isnan(self.value):
            return UNDEFINED
        return interval(self.value, self.drawn, self.held, self.unit, share=False)


class Units:
    """What is resampled: images, or groups of them (patients) where images of one group are not
    independent."""

    def __init__(self, groups: Sequence[str], seed: int = 0) -> None:
        """groups: of each image; all different where each stands alone."""
        names, self.of_picture = np.unique(np.asarray(groups, str), return_inverse=True)
        self.count = len(names)
        self.name = "pictures" if self.count == len(groups) else "groups"
        # In the memory order of version 1: products round as they did there.
        self.weights = np.ascontiguousarray(resamples(self.count, seed).T)

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """P×… to U×…."""
        result = np.zeros((self.count, *rows.shape[1:]))
        np.add.at(result, self.of_picture, rows)
        return result

    def drawn(self, sums: np.ndarray) -> np.ndarray:
        """U×… to R×…, the sum over each resample."""
        return np.tensordot(self.weights.T, sums, axes=1)

    def pixels(self, found: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """A score of the pixels of all pictures together. found: P×3×K, `counts` of the classes
        that it is of; score: …×3×K to …."""
        sums = self.sums(found)
        held = (sums[:, 1:].sum(axis=1) > 0).sum(axis=0)
        return Estimate(
            float(score(sums.sum(axis=0))), score(self.drawn(sums)), held[held > 0], self.name
        )

    def pictures(self, values: np.ndarray) -> Estimate:
        """The mean over pictures of a score, P, NaN where a picture has none."""
        known = ~np.isnan(values)
        sums = self.sums(np.stack([np.where(known, values, 0), known], axis=1))
        once, drawn = sums.sum(axis=0), self.drawn(sums)
        held = np.array([(sums[:, 1] > 0).sum()])
        return Estimate(
            float(share(once[0], once[1])), share(drawn[:, 0], drawn[:, 1]), held, self.name
        )


def weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R means over P samples of what is not NaN, each sample as often as R×P weights say; NaN where
    none counts."""
    known = ~np.isnan(values)
    sums = np.tensordot(weights, np.stack([np.where(known, values, 0), known], axis=1), axes=1)
    return share(sums[:, 0], sums[:, 1])

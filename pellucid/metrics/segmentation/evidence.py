"""Scores of many masks with intervals: units are drawn again, and everything that is a sum over
pictures is summed anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..detection.evidence import interval
from ..detection.precision import resamples
from ..evidence import RESAMPLES, UNDEFINED, Score, chance_of
from .counts import share


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """value: of all pictures. drawn: float64 R, of each resample. held: how many units say
    anything, an element for each class of a mean over classes. unit: what was drawn. NaN where it
    is not defined."""

    value: float
    drawn: np.ndarray
    held: np.ndarray
    unit: str

    def score(self) -> Score:
        """Of a share, from 0 to 1: Wilson's limits where all is right, or nothing,
        for no resample can show otherwise."""
        if np.isnan(self.value):
            return UNDEFINED
        found = interval(self.value, self.drawn, self.held)
        return found | {
            "interval": found["interval"] and found["interval"].replace("pictures", self.unit)
        }

    def distance(self) -> Score:
        """Of a length, from 0 up; no interval where fewer than two units count or all
        resamples are alike."""
        drawn = self.drawn[~np.isnan(self.drawn)]
        if np.isnan(self.value):
            return UNDEFINED
        if self.held.sum() < 2 or np.ptp(drawn) < 1e-12:
            return UNDEFINED | {"value": self.value}
        low, high = np.quantile(drawn, [0.025, 0.975])
        said = f"bootstrap 95 %, {RESAMPLES} resamples of {self.unit}"
        return {
            "value": self.value,
            "low": float(min(low, self.value)),
            "high": float(max(high, self.value)),
            "interval": said,
        }


class Units:
    """What chance draws: pictures, or groups of them (the patients) where pictures of one group are
    not independent."""

    def __init__(self, groups: Sequence[str], seed: int = 0) -> None:
        """groups: of each picture; all different where each stands alone."""
        names, self.of_picture = np.unique(np.asarray(groups, str), return_inverse=True)
        self.count = len(names)
        self.name = "pictures" if self.count == len(groups) else "groups"
        self.weights = resamples(self.count, seed)

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


def gain(ours: Estimate, *theirs: Estimate) -> dict[str, Any]:
    """What one set of answers gains over another, or over the mean of several, estimated with the
    same `Units`, so that the same pictures were drawn for all.

    Returns `ours` and `theirs`, their difference (`value`, `low`, `high`, `interval`) and its `p`;
    None, and p 1, where one is undefined. p is twice the smaller share of resamples on one side of
    0 (Davison and Hinkley 1997, 4.4); where none reaches 0 the normal one, from their standard
    deviation, but not below the sign test's of as many units, 2·½^U.
    """
    first, other = ours.value, float(np.mean([each.value for each in theirs]))
    value = first - other
    if np.isnan(value):
        return UNDEFINED | {"ours": None, "theirs": None, "p": 1.0}
    drawn = ours.drawn - np.mean([each.drawn for each in theirs], axis=0)
    units = int(ours.held.max())
    found = Estimate(value, drawn, ours.held, ours.unit).distance()
    return found | {
        "ours": first,
        "theirs": other,
        "p": chance_of(value, drawn[~np.isnan(drawn)], units),
    }

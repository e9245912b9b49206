"""The resampler: how often each image counts in each bootstrap resample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.rng import generator

RESAMPLES = 1000
# Weights that are held at a time, as float64: 64 MB.
_AT_ONCE = 2**23


def blocks(units: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Rows of the R×N weights, R = RESAMPLES, a few resamples at a time where there are many units.

    units: N, what chance draws: images, or groups of them. Each float64 row says how often its
    resample holds each unit. The same units and seed give the same rows, so that whatever is
    compared is drawn alike. Takes 4·R·N bytes.
    """
    drawn = generator(seed, units).integers(units, size=(units, RESAMPLES), dtype=np.int32)
    at_once = max(1, _AT_ONCE // units)
    for start in range(0, RESAMPLES, at_once):
        few = drawn[:, start : start + at_once]
        rows = few.shape[1]
        cells = few + units * np.arange(rows)
        held = np.bincount(cells.ravel(), minlength=rows * units)
        yield held.reshape(rows, units).astype(np.float64)


def resamples(units: int, seed: int = 0) -> np.ndarray:
    """All `blocks` at once, R×N: for numbers of units whose weights fit in memory."""
    return np.concatenate(list(blocks(units, seed)))


def chance_of(value: float, drawn: np.ndarray, units: int) -> float:
    """The two-sided p of a difference, from its resamples: twice the smaller share on one side of 0
    (Davison and Hinkley 1997, 4.4).

    Where no resample reaches 0, their number alone would set p. It is then the normal one, from
    their standard deviation. It is never below 2·½^units, the sign test's where all of so many
    units differ in the same direction: resamples of few units vary too little.
    """
    from scipy.special import ndtr

    if side := min((drawn <= 0).sum(), (drawn >= 0).sum()):
        p = 2 * float(side + 1) / (len(drawn) + 1)
    else:
        p = 2 * float(ndtr(-abs(value) / max(drawn.std(), 1e-12)))
    return min(1.0, max(p, 2 * 0.5**units))

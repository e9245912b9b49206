"""Random numbers that depend on (seed, epoch, sample) alone.

A generator that is advanced draw by draw gives other numbers when a run is resumed or its batches
are shared out over processes. Here each number is a hash of where it belongs, so any process can
compute any of them at any time.
"""

from __future__ import annotations

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), on whole arrays; wraps modulo 2^64."""
    with np.errstate(over="ignore"):
        x = x + _GAMMA
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hash(*keys: np.ndarray | int) -> np.ndarray:
    state = np.zeros(1, np.uint64)
    for key in keys:
        state = _mix(state ^ np.asarray(key).astype(np.uint64))
    return state


class Draws:
    """Random numbers for some samples of one epoch: row i belongs to `indices[i]`, whatever else is
    in the batch.

    Each call draws the next `count` numbers of every sample.
    """

    def __init__(self, seed: int, epoch: int, indices: np.ndarray) -> None:
        self._keys = seed, epoch, np.asarray(indices, np.int64)
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._keys[2])

    def uniform(self, count: int = 1, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float64 N×count in [low, high)."""
        columns = np.arange(self._drawn, self._drawn + count, dtype=np.uint64)
        self._drawn += count
        bits = _mix(_hash(*self._keys)[:, None] ^ _mix(columns)[None, :])
        return low + (high - low) * ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def generator(*keys: int) -> np.random.Generator:
    """A NumPy generator whose whole sequence follows from the keys, for work that is done in one
    piece (a split, a shuffle)."""
    return np.random.Generator(np.random.Philox(key=int(_hash(*keys)[0])))

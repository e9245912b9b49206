"""Which positions of one map each position of the next one reads, along one side; and what of the
picture it sees through them.

Two exact accounts run side by side: the map as it is, borders and all, and the map of a picture
that goes on for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# Far outside any picture, and still far from the ends of 64 bits after any shift.
NOWHERE = -(2**40)
LONGEST_PERIOD = 2**16


@dataclass(frozen=True, eq=False)
class Taps:
    """Unit i + q·period reads the positions table[i] + q·shift, where period = len(table); NOWHERE
    reads nothing.

    length: units of the map that reads. border: what is read outside the map: nothing ("zeros"), or
    by "replicate", "reflect" or "circular" a position inside. A shift of 0 means that all units
    read the same.
    """

    length: int
    table: np.ndarray
    shift: int = 1
    border: str = "zeros"

    def of(self, units: np.ndarray) -> np.ndarray:
        """units × taps: positions as if the map had no end."""
        period = len(self.table)
        if period == 1:
            return self.table + (units * self.shift)[:, None]
        return self.table[units % period] + (units // period * self.shift)[:, None]

    def inside(self, side: int) -> np.ndarray:
        """length × taps: positions in a map of `side` units;
        NOWHERE or beyond the ends where nothing is read."""
        positions = self.of(np.arange(self.length))
        if self.border == "zeros":
            return positions
        last = side - 1
        if self.border == "replicate":
            within = positions.clip(0, last)
        elif self.border == "circular":
            within = positions % side
        else:
            within = last - abs(last - positions % max(2 * last, 1))
        return np.where(positions < NOWHERE // 2, NOWHERE, within)


def same(side: int) -> Taps:
    return Taps(side, np.zeros((1, 1), np.int64))


def everything(side: int, length: int = 1) -> Taps:
    """Each of `length` units reads all positions."""
    return Taps(length, np.arange(side)[None], 0)


def spread(length: int) -> Taps:
    """Each of `length` units reads the only position there is."""
    return everything(1, length)


def window(
    length: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    border: str = "zeros",
) -> Taps:
    """Unit i reads i·stride − padding + dilation·k for k = 0 … kernel − 1."""
    return Taps(length, (dilation * np.arange(kernel) - padding)[None], stride, border)


def transposed(length: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Unit i reads each j with j·stride − padding + dilation·k = i for a k."""
    numerators = np.arange(stride)[:, None] + padding - dilation * np.arange(kernel)
    return Taps(length, np.where(numerators % stride == 0, numerators // stride, NOWHERE))


def adaptive(side: int, length: int) -> Taps:
    """Unit i reads from ⌊i·side/length⌋ up to, without, ⌈(i + 1)·side/length⌉;
    a single unit reads everything."""
    if length == 1:
        return everything(side)
    step = Fraction(side, length)
    units = range(step.denominator)
    return _phases(
        length, step, [list(range(math.floor(i * step), math.ceil((i + 1) * step))) for i in units]
    )


def resampled(length: int, step: Fraction, offset: Fraction, mode: str) -> Taps:
    """Unit i lies at i·step + offset of the map that is read; a tap of weight 0 is not read.

    mode: "nearest" reads the position below, "linear" the two around, "cubic" the four around.
    """
    around = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[mode]
    places = [i * step + offset for i in range(step.denominator)]
    rows = [
        [math.floor(place) + k for k in (around if place.denominator > 1 else (0,))]
        for place in places
    ]
    return _phases(length, step, rows, "replicate")


def _phases(
    length: int, step: Fraction, rows: Sequence[Sequence[int]], border: str = "zeros"
) -> Taps:
    width = max(map(len, rows))
    table = np.array([[*row, *[NOWHERE] * (width - len(row))] for row in rows], np.int64)
    return Taps(length, table, step.numerator, border)


# ------------------------------------------------------------------------ what is seen through taps


@dataclass(frozen=True, eq=False)
class Endless:
    """Unit i + q·period sees the pixels low[i] + q·shift to high[i] + q·shift; −NOWHERE to NOWHERE
    where it sees none.

    A shift of 0 means that all units see the same.
    """

    low: np.ndarray
    high: np.ndarray
    shift: int

    @property
    def stride(self) -> Fraction:
        return Fraction(self.shift, len(self.low))

    def of(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turns, phases = np.divmod(units, len(self.low))
        return self.low[phases] + turns * self.shift, self.high[phases] + turns * self.shift

    def through(self, taps: Taps) -> Endless | None:
        """None where the pattern would repeat only after LONGEST_PERIOD units."""
        turns = len(self.low) // math.gcd(len(self.low), taps.shift)
        period = len(taps.table) * turns
        if period > LONGEST_PERIOD:
            return None
        positions = taps.of(np.arange(period))
        low, high = self.of(positions)
        shift = turns * taps.shift * self.shift // len(self.low)
        return _shortest(*_hull(low, high, positions > NOWHERE // 2), shift)


def _shortest(low: np.ndarray, high: np.ndarray, shift: int) -> Endless:
    """The same pattern, written down with its least period."""
    seen = low <= high
    for parts in range(len(low), 1, -1):
        if len(low) % parts or shift % parts:
            continue
        period, step = len(low) // parts, shift // parts
        moves = [np.where(seen[:-period], x[period:] - x[:-period], step) for x in (low, high)]
        if np.array_equal(seen[period:], seen[:-period]) and all(
            (move == step).all() for move in moves
        ):
            return Endless(low[:period], high[:period], step)
    return Endless(low, high, shift)


@dataclass(frozen=True, eq=False)
class Side:
    """What each position of a map sees along one side of the picture.

    low, high: first and last pixel of the real picture, −NOWHERE and NOWHERE where there is none.
    endless: without borders.
    """

    low: np.ndarray
    high: np.ndarray
    endless: Endless

    def through(self, taps: Taps) -> Side | None:
        endless = self.endless.through(taps)
        if endless is None:
            return None
        positions = taps.inside(len(self.low))
        inside = (positions >= 0) & (positions < len(self.low))
        positions = np.where(inside, positions, 0)
        return Side(*_hull(self.low[positions], self.high[positions], inside), endless)

    @property
    def sees(self) -> bool:
        return bool((self.low <= self.high).any())

    def blind(self) -> Side:
        return Side(
            np.full_like(self.low, -NOWHERE), np.full_like(self.high, NOWHERE), self.endless
        )


def picture(side: int) -> Side:
    pixels = np.arange(side)
    return Side(pixels, pixels, Endless(np.zeros(1, np.int64), np.zeros(1, np.int64), 1))


def union(sides: Sequence[Side]) -> Side | None:
    """What is seen through any of several maps of one length; None where their strides differ, so
    that they would drift apart.

    A map whose units all see the same has no stride: with it, all units are given what all of this
    map's units see together.
    """
    first, *others = {id(side): side for side in sides}.values()
    if not others:
        return first
    low, high = (
        np.array([getattr(side, name) for side in (first, *others)]) for name in ("low", "high")
    )
    endless = _endless_union([side.endless for side in (first, *others)], len(first.low))
    return None if endless is None else Side(low.min(0), high.max(0), endless)


def blind_alike(sides: Sequence[Side]) -> bool:
    """Whether all that see anything see nothing at the same positions."""
    blind = [side.low > side.high for side in {id(side): side for side in sides}.values()]
    return len({each.tobytes() for each in blind if not each.all()}) < 2


def _endless_union(parts: Sequence[Endless], length: int) -> Endless | None:
    strides = {part.stride for part in parts}
    fixed = 0 in strides
    if len(strides - {Fraction(0)}) > 1:
        return None
    period = length if fixed else math.lcm(*(len(part.low) for part in parts))
    if period > LONGEST_PERIOD:
        return None
    low, high = (
        np.array(each) for each in zip(*(part.of(np.arange(period)) for part in parts), strict=True)
    )
    if fixed:
        return Endless(np.array([low.min()]), np.array([high.max()]), 0)
    return _shortest(*_hull(low.T, high.T, np.array(True)), int(parts[0].stride * period))


def _hull(low: np.ndarray, high: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of units × taps, over the taps; `read` says which taps there are."""
    seen = read & (low <= high)
    return np.where(seen, low, -NOWHERE).min(1), np.where(seen, high, NOWHERE).max(1)

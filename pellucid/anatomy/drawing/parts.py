"""The parts that the drawing of a network is put together from: marks around a baseline, and how
parts stand beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..trace import by
from .structure import JOINS, Item, Shape

SIZE = 11.0  # of labels, in pixels
GAP = 12.0  # between neighbours in a series; an arrow's length at least
APART = 8.0  # between branches
RADIUS = 8.0  # of a join
TALLEST, THINNEST, LOWEST = 104.0, 4.0, 9.0
SHORTEST = 128.0
OBLIQUE = 0.18  # how far a block goes back for each pixel of its width in space


@dataclass(frozen=True)
class Block:
    """A layer. (x, y) is where the way enters it, the middle of its left edge; left, right: heights
    of the front's edges, which differ for what shrinks or enlarges; depth: how far it goes back, up
    and to the right. A join is a disc of this width.
    """

    x: float
    y: float
    width: float
    left: float
    right: float
    depth: float
    item: Item

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of everything that is seen of it."""
        half = max(self.left, self.right) / 2
        return self.x, self.y - half - self.depth, self.x + self.width + self.depth, self.y + half


@dataclass(frozen=True)
class Wire:
    """A way through points, whose corners are rounded;
    kind: "way" or "skip" (a branch without layers)."""

    points: Points
    kind: str = "way"
    arrow: bool = False


@dataclass(frozen=True)
class Label:
    """Text around its middle x on the line y; css: its class."""

    x: float
    y: float
    text: str
    css: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        half = text_width(self.text) / 2
        return self.x - half, self.y - SIZE * 0.8, self.x + half, self.y + SIZE * 0.25


@dataclass(frozen=True)
class Frame:
    """A line around what is folded."""

    x: float
    y: float
    width: float
    height: float


Mark = Block | Wire | Label | Frame
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Part:
    """Marks around a baseline: x from 0 to width, y from −up to down. The way comes in at
    (enter, 0) and goes out at (leave, 0).

    arrow: whether the way in ends in an arrow; where it forks first it does not.
    """

    width: float
    up: float
    down: float
    enter: float
    leave: float
    marks: tuple[Mark, ...]
    arrow: bool = True


# What an edge takes of a column that it passes, and a branch without layers of a stack.
SLOT = Part(0, 4, 4, 0, 0, ())


def text_width(text: str, size: float = SIZE) -> float:
    """About, on the generous side."""
    return sum(0.35 if c in " ,.:ijl" else 0.85 if c in "×∝mwMW" else 0.64 for c in text) * size


def moved(marks: Iterable[Mark], dx: float, dy: float) -> tuple[Mark, ...]:
    """The same, further right and down."""
    return tuple(
        replace(mark, points=tuple((x + dx, y + dy) for x, y in mark.points))
        if isinstance(mark, Wire)
        else replace(mark, x=mark.x + dx, y=mark.y + dy)
        for mark in marks
    )


# -------------------------------------------------------------------------------------------- scale


@dataclass(frozen=True)
class Scale:
    """Numbers to pixels, by square roots: the largest side, the most maps and the longest vector of
    the network fill the measure.

    A vector of two numbers never does: the measure holds SHORTEST units at least.
    """

    side: float
    maps: float
    units: float

    @classmethod
    def of(cls, items: Sequence[Item]) -> Scale:
        maps = [item.shape for item in items if _is_map(item.shape)]
        return cls(
            max((side for shape in maps for side in shape[1:]), default=1),
            max((shape[0] for shape in maps), default=1),
            max(
                [
                    SHORTEST,
                    *(item.shape[0] for item in items if item.shape and not _is_map(item.shape)),
                ]
            ),
        )

    def height(self, shape: Shape) -> float:
        if _is_map(shape):
            return max(TALLEST * math.sqrt(shape[-2 if len(shape) > 2 else -1] / self.side), LOWEST)
        return (
            max(0.6 * TALLEST * math.sqrt(math.prod(shape) / self.units), LOWEST)
            if shape
            else LOWEST
        )

    def block(self, item: Item) -> Block:
        """Of anything but a join, with its way in at (0, 0)."""
        right = self.height(item.shape)
        if item.kind in ("pool", "up"):
            left = self.height(item.before) if _is_map(item.before) else right
            return Block(
                0,
                0,
                2 * THINNEST + 2,
                left,
                right if _is_map(item.shape) else min(left, LOWEST),
                0,
                item,
            )
        if not _is_map(item.shape):
            return Block(0, 0, THINNEST + 2, right, right, 0, item)
        width = max(
            min(36.0, 4 * math.sqrt(self.maps)) * math.sqrt(item.shape[0] / self.maps), THINNEST
        )
        back = (
            OBLIQUE * TALLEST * math.sqrt(item.shape[-1] / self.side)
            if len(item.shape) > 2
            else 0.0
        )
        return Block(0, 0, width, right, right, min(back, 0.42 * right), item)


def _is_map(shape: Shape) -> bool:
    return len(shape) > 1 and math.prod(shape[1:]) > 1


# -------------------------------------------------------------------------------------------- parts


def leaf(item: Item, scale: Scale) -> Part:
    """One item: what happens above its block, what changes of the shape below."""
    if item.kind in JOINS:
        return _join(item)
    block = scale.block(item)
    what, shape = item.label, _shape_label(item)
    wide = block.width + block.depth
    width = max(wide, text_width(what), text_width(shape))
    x = (width - wide) / 2
    block = replace(block, x=x)
    _, top, _, bottom = block.box
    marks: list[Mark] = [block]
    if what:
        marks.append(Label(width / 2, top - 5, what, "ink"))
        top -= SIZE + 5
    if shape:
        marks.append(Label(width / 2, bottom + SIZE + 2, shape))
        bottom += SIZE + 5
    return Part(width, -top + 2, bottom + 2, x, x + wide, tuple(marks))


def _join(item: Item) -> Part:
    """The shape of a stack stands to its right under the way out, where no branch arrives."""
    shape = _shape_label(item)
    block = Block(0, 0, 2 * RADIUS, 2 * RADIUS, 2 * RADIUS, 0, item)
    width = 2 * RADIUS + (text_width(shape) + 4 if shape else 0)
    marks: tuple[Mark, ...] = (block,)
    if shape:
        marks += (Label(2 * RADIUS + 3 + text_width(shape) / 2, SIZE + 4, shape),)
    return Part(width, RADIUS + 1, RADIUS + 1 + (8 if shape else 0), 0, 2 * RADIUS, marks)


def _shape_label(item: Item) -> str:
    """What differs from what comes in: all of the shape, or only the number of maps, or nothing."""
    shape = (
        item.shape
        if _is_map(item.shape)
        else item.shape[:1]
        if len(set(item.shape[1:])) < 2
        else item.shape
    )
    before = item.before if _is_map(item.before) else item.before[:1]
    if shape == before and item.kind != "dense":
        return ""
    return by(shape[:1] if shape[1:] == before[1:] else shape)


def beside(parts: Sequence[Part]) -> Part:
    """Left to right on one baseline, with the way between neighbours."""
    x, end = 0.0, 0.0
    marks: list[Mark] = []
    for number, part in enumerate(parts):
        if number:
            x += GAP
            marks.append(Wire(((end, 0), (x + part.enter, 0)), arrow=part.arrow))
        marks += moved(part.marks, x, 0)
        end, x = x + part.leave, x + part.width
    first = parts[0]
    return Part(
        x,
        max(p.up for p in parts),
        max(p.down for p in parts),
        first.enter,
        end,
        tuple(marks),
        first.arrow,
    )


def closed(part: Part, join: Item | None) -> Part:
    """With the disc of its join at (leave, 0)."""
    if join is None:
        return part
    disc = _join(join)
    x = part.leave - RADIUS
    marks = (*part.marks, *moved(disc.marks, x, 0))
    return Part(
        max(part.width, x + disc.width),
        max(part.up, disc.up),
        max(part.down, disc.down),
        0,
        x + disc.leave,
        marks,
        False,
    )


def around(rows: Sequence[Part]) -> list[float]:
    """The baselines of parts that are stacked around 0, the first on top."""
    total = sum(row.up + row.down for row in rows) + APART * (len(rows) - 1)
    levels, top = [], -total / 2
    for row in rows:
        levels.append(top + row.up)
        top += row.up + row.down + APART
    # One that nearly meets the baseline goes straight on, and takes the others with it.
    nearest = min(levels, key=abs)
    return [level - nearest for level in levels] if abs(nearest) < 3 * RADIUS else levels

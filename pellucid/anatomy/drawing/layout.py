"""Where everything in the drawing of a network stands: parts that are put beside and above each
other, so that nothing can overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .parts import (
    APART,
    GAP,
    RADIUS,
    SIZE,
    SLOT,
    Frame,
    Label,
    Mark,
    Part,
    Points,
    Scale,
    Wire,
    around,
    beside,
    closed,
    leaf,
    moved,
    text_width,
)
from .structure import Fold, Item, Series, Split, Tangle, items_of

BUS = 8.0  # from where a branch turns off the baseline to what stands beside it
GUTTER = 40.0  # between the columns of a tangle
WIDEST_ROW = 1500.0

Edge = tuple[int, int]


def arrange(series: Series) -> Part:
    """The whole network, in rows where it is longer than WIDEST_ROW;
    the baseline is that of the first row."""
    scale = Scale.of(list(items_of(series)))
    return _in_rows([_part(element, scale) for element in series])


def _row(series: Series, scale: Scale) -> Part:
    return beside([_part(element, scale) for element in series]) if series else SLOT


def _part(element: Item | Split | Tangle | Fold, scale: Scale) -> Part:
    if isinstance(element, Item):
        return leaf(element, scale)
    if isinstance(element, Fold):
        return _fold(element, scale)
    return _split(element, scale) if isinstance(element, Split) else _tangle(element, scale)


def _fold(fold: Fold, scale: Scale) -> Part:
    inside = _row(fold.body, scale)
    text = f"×{fold.times}"
    if len(fold.body) == 1 and isinstance(fold.body[0], Split) and _grows(fold.body[0]):
        text = f"dense block: {fold.times} layers"
    width = max(inside.width + 16, text_width(text))
    x = (width - inside.width) / 2
    frame = Frame(0, -inside.up - 4, width, inside.up + inside.down + 8)
    label = Label(text_width(text) / 2, -inside.up - 9, text, "bold")
    way_in = Wire(((0, 0), (x + inside.enter, 0)), arrow=inside.arrow)
    way_out = Wire(((x + inside.leave, 0), (width, 0)))
    marks = (frame, label, way_in, way_out, *moved(inside.marks, x, 0))
    return Part(width, inside.up + SIZE + 12, inside.down + 6, 0, width, marks, False)


def _grows(split: Split) -> bool:
    """A skip whose end is stacked on, as in DenseNet."""
    return split.join is not None and split.join.kind == "stack" and () in split.branches


def _split(split: Split, scale: Scale) -> Part:
    """Branches one above the other between a fork and where they meet."""
    rows = [_row(branch, scale) for branch in split.branches]
    levels = _levels(split, rows)
    start = 2 * BUS + GAP
    end = start + max(row.width for row in rows) + GAP + RADIUS
    marks: list[Mark] = []
    for branch, row, y in zip(split.branches, rows, levels, strict=True):
        meets = _meets(end, y, split.join is not None)
        if not branch:
            marks.append(Wire(((0, 0), (BUS, 0), (BUS, y), *meets), "skip", split.join is not None))
            continue
        x = start + (end - start - GAP - RADIUS - row.width) / 2
        marks.append(Wire(((0, 0), (BUS, 0), (BUS, y), (x + row.enter, y)), arrow=row.arrow))
        marks += moved(row.marks, x, y)
        if not split.loose:
            marks.append(Wire(((x + row.leave, y), *meets), arrow=split.join is not None))
    up = max(row.up - y for row, y in zip(rows, levels, strict=True))
    down = max(row.down + y for row, y in zip(rows, levels, strict=True))
    return closed(Part(end + BUS / 2, up, down, 0, end, tuple(marks), False), split.join)


def _meets(x: float, y: float, disc: bool) -> Points:
    """The last points of a branch at height y, which ends in a disc around (x, 0) from above, from
    the left or from below."""
    if not disc:
        return ((x - BUS / 2, y), (x - BUS / 2, 0), (x, 0))
    return ((x - RADIUS, 0),) if y == 0 else ((x, y), (x, math.copysign(RADIUS, y)))


def _levels(split: Split, rows: Sequence[Part]) -> list[float]:
    """The baseline of each branch, down from the fork's. What goes to a coarser map and comes back
    hangs below, as in a U; of two branches the longer one goes straight on and the other above it;
    more are stacked around the baseline."""
    low = [_dips(branch, split) for branch in split.branches]
    if all(low) or not any(low):
        if len(rows) > 2 or split.loose:
            return around(rows)
        low = [False] * len(rows)
    straight = [n for n in range(len(rows)) if not low[n]]
    main = max(straight, key=lambda n: (rows[n].width, -n))
    levels = [0.0] * len(rows)
    up, down = rows[main].up, rows[main].down
    for n in range(len(rows)):
        if low[n]:
            levels[n] = down + APART + rows[n].up
            down = levels[n] + rows[n].down
        elif n != main:
            levels[n] = -(up + APART + rows[n].down)
            up = rows[n].up - levels[n]
    return levels


def _dips(branch: Series, split: Split) -> bool:
    """Whether the maps of a branch become coarser than both where it begins and where it ends."""
    sides = [math.prod(item.shape[1:]) for item in items_of(branch)]
    end = math.prod(split.join.shape[1:]) if split.join else 0
    return bool(sides) and min(sides) < min(math.prod(split.before[1:]), end)


# ------------------------------------------------------------------------------------------ tangles


def _tangle(tangle: Tangle, scale: Scale) -> Part:
    """Columns by the longest way from the fork. An edge past a column takes a slot in it, and runs
    aslant only between columns."""
    column = _columns(tangle)
    marks: list[Mark] = []
    route: dict[tuple[int, Edge], tuple[Points, Points]] = {}
    x, up, down = GUTTER, RADIUS, RADIUS
    for place, cells in enumerate(_cells(tangle, column)):
        parts = [
            leaf(tangle.items[start], scale) if start == stop else SLOT for start, stop in cells
        ]
        width = max(part.width for part in parts)
        for cell, part, y in zip(cells, parts, around(parts), strict=True):
            at = x + (width - part.width) / 2
            marks += moved(part.marks, at, y)
            route[place, cell] = (
                ((x, y), (at + part.enter, y)),
                ((at + part.leave, y), (x + width, y)),
            )
            up, down = max(up, part.up - y), max(down, part.down + y)
        x += width + GUTTER
    marks += [_edge(edge, column, route, x, tangle.join is not None) for edge in _drawn(tangle)]
    # A line of text more: the label of a join in the outermost slot hangs a little lower than its
    # slot.
    return closed(Part(x + GAP / 2, up, down + SIZE, 0, x, tuple(marks), False), tangle.join)


def _drawn(tangle: Tangle) -> list[Edge]:
    return [edge for edge in tangle.edges if not (tangle.loose and edge[1] == len(tangle.items))]


def _columns(tangle: Tangle) -> list[int]:
    """The column of each item, and last that of the join."""
    column = [0] * len(tangle.items)
    for start, stop in sorted(tangle.edges):
        if start >= 0 and stop < len(column):
            column[stop] = max(column[stop], column[start] + 1)
    return [*column, max(column) + 1]


def _cells(tangle: Tangle, column: Sequence[int]) -> list[list[Edge]]:
    """What stands in each column: (n, n) for an item, an edge for its slot."""
    cells: list[list[Edge]] = [[] for _ in range(column[-1])]
    for n in range(len(tangle.items)):
        cells[column[n]].append((n, n))
    for start, stop in _drawn(tangle):
        for place in range((column[start] if start >= 0 else -1) + 1, column[stop]):
            cells[place].append((start, stop))
    return cells


def _edge(
    edge: Edge,
    column: Sequence[int],
    route: dict[tuple[int, Edge], tuple[Points, Points]],
    end: float,
    disc: bool,
) -> Wire:
    """From the fork or an item, through its slots, to an item or to what stands at (end, 0)."""
    start, stop = edge
    points: Points = route[column[start], (start, start)][1] if start >= 0 else ((0, 0),)
    for place in range((column[start] if start >= 0 else -1) + 1, column[stop]):
        points += (*route[place, edge][0], *route[place, edge][1])
    if stop < len(column) - 1:
        return Wire((*points, *route[column[stop], (stop, stop)][0]), arrow=True)
    return Wire((*points, (end - RADIUS if disc else end, 0)), arrow=disc)


# --------------------------------------------------------------------------------------------- rows


def _in_rows(parts: Sequence[Part]) -> Part:
    """As few rows as WIDEST_ROW allows, as even as they get;
    the way runs back to the left between two of them."""
    rows = [beside(row) for row in _broken(parts)]
    if len(rows) == 1:
        return rows[0]
    width = max(row.width for row in rows) + 2 * GAP
    marks, y = list(moved(rows[0].marks, GAP, 0)), 0.0
    for before, row in zip(rows, rows[1:], strict=False):
        between = y + before.down + 2 * APART
        below = between + 2 * APART + row.up
        right = GAP + before.width + GAP / 2
        back = (
            (GAP + before.leave, y),
            (right, y),
            (right, between),
            (GAP / 2 - 4, between),
            (GAP / 2 - 4, below),
        )
        marks.append(Wire((*back, (GAP + row.enter, below)), arrow=row.arrow))
        marks += moved(row.marks, GAP, below)
        y = below
    return Part(width, rows[0].up, y + rows[-1].down, 0, width, tuple(marks))


def _broken(parts: Sequence[Part]) -> list[list[Part]]:
    total = sum(part.width + GAP for part in parts)
    # A part that fills a row by itself, such as a U, keeps what stands before and after it.
    count = math.ceil(total / max(WIDEST_ROW, 1.4 * max(part.width for part in parts)))
    limit = total / count
    while True:
        rows = _filled(parts, limit)
        if len(rows) <= count:
            return rows
        limit *= 1.03


def _filled(parts: Sequence[Part], limit: float) -> list[list[Part]]:
    rows: list[list[Part]] = [[]]
    room = limit
    for part in parts:
        if rows[-1] and part.width > room:
            rows.append([])
            room = limit
        rows[-1].append(part)
        room -= part.width + GAP
    return rows

"""What each unit of each map sees of the picture: receptive fields, derived from the operations
alone.

Each operation says which positions of the map before each position reads (`Taps`); the fields
follow by taking the first and the last pixel over them. For chains of convolutions and pools this
is the recursion of Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural
Networks (Distill, 2019), "Single-path networks"; here it holds position by position, at borders
too. What an operation without a rule gives is unavailable, and so is all that follows from it:
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from . import kernel_offsets as via
from .kernel_offsets import Side, Taps
from .op_rules import Wires, wiring
from .trace import Graph


@dataclass(frozen=True, eq=False)
class Reach:
    """One side of the picture as the positions of one map see it, over all channels of a position
    and all of the other sides.

    size: least and greatest number of pixels from the first to the last that a unit would see if
    the picture went on for ever; they differ where it depends on the position, and 0 is a unit that
    sees nothing.
    stride: pixels between neighbouring units, on average over a period; 0 where all see the same,
    negative after a flip.
    start: centre of what unit 0 would see, in pixels from the centre of the first pixel (of the
    first unit that sees anything). low, high: for each position of this map, the first and the last
    pixel of the real picture that it sees; 0 and −1 where it sees none. One entry where the map has
    no such side (a vector sees what all positions saw that made it).
    whole: all units see all that the map before them sees, so that the field grows with the picture
    (global pooling, dense layers).
    """

    size: tuple[int, int]
    stride: Fraction
    start: Fraction
    low: np.ndarray
    high: np.ndarray
    whole: bool


def receptive_fields(graph: Graph) -> tuple[tuple[Reach, ...] | None, ...]:
    """For each node one Reach a side of the picture; None where it cannot be derived.

    A field runs from the first to the last pixel, and pixels between them may be skipped
    (dilation). It is taken over all channels: channels that are picked out later keep the field of
    all. Each side stands for itself, over all positions of the others; where joined branches see
    nothing at different positions of a side (holes of a transposed convolution with a kernel below
    its stride), the sides of what follows hang together, and it is unavailable.
    """
    sides = _forward(graph)
    reaches: dict[int, Reach] = {}
    for side in (side for each in sides if each is not None for side in each):
        if id(side) not in reaches:
            reaches[id(side)] = _reach(side)
    return tuple(
        None if each is None else tuple(reaches[id(side)] for side in each) for each in sides
    )


def backwards(graph: Graph, node: int, unit: int = 0) -> tuple[tuple[np.ndarray, ...] | None, ...]:
    """For each node, the positions of its map that one unit of `node` sees, along each side of the
    picture; borders left aside.

    `unit` is the position along every side. Positions before 0 or past the end lie in the padding.
    None for a node that the unit does not see, or not only by ways that can be derived.
    """
    wires = wiring(graph)
    sides = len(graph.nodes[0].output) - 2
    seen: dict[int, tuple[np.ndarray, ...]] = (
        {node: (np.array([unit]),) * sides} if wires[node] else {}
    )
    for place in range(node, 0, -1):
        wired = wires[place] if place in seen else None
        for source, taps in wired.links.items() if wired else ():
            read = tuple(_read(units, tap) for units, tap in zip(seen[place], taps, strict=True))
            before = seen.get(source, (np.array([], np.int64),) * len(read))
            seen[source] = tuple(map(np.union1d, before, read))
    return tuple(seen.get(place) for place in range(len(graph.nodes)))


def _read(units: np.ndarray, taps: Taps | None) -> np.ndarray:
    if taps is None:
        return units
    positions = np.unique(taps.of(units))
    return positions[positions > via.NOWHERE // 2]


def _forward(graph: Graph) -> list[tuple[Side, ...] | None]:
    known: list[tuple[Side, ...] | None] = []
    wires = wiring(graph)
    for place in range(len(graph.nodes)):
        known.append(
            _seen(wires[place], known)
            if place
            else tuple(map(via.picture, graph.nodes[0].output[2:]))
        )
    return known


def _seen(wires: Wires | None, known: Sequence[tuple[Side, ...] | None]) -> tuple[Side, ...] | None:
    if wires is None:
        return None
    parts: list[list[Side]] = [[] for _ in wires.dims]
    for source, taps in wires.links.items():
        before = known[source]
        if before is None:
            return None
        for part, side, tap in zip(parts, before, taps, strict=True):
            through = side if tap is None else side.through(tap)
            if through is None:
                return None
            part.append(through)
    if len(parts) > 1 and not all(map(via.blind_alike, parts)):
        return None
    joined = tuple(side for side in map(via.union, parts) if side is not None)
    if len(joined) < len(parts):
        return None
    # What sees nothing along one side sees nothing at all.
    return joined if all(side.sees for side in joined) else tuple(side.blind() for side in joined)


def _reach(side: Side) -> Reach:
    endless = side.endless
    sizes = np.maximum(endless.high - endless.low + 1, 0)
    first = int((sizes > 0).argmax())
    start = (
        Fraction(int(endless.low[first] + endless.high[first]), 2) if sizes[first] else Fraction(0)
    )
    seen = side.low <= side.high
    low, high = np.where(seen, side.low, 0), np.where(seen, side.high, -1)
    return Reach(
        (int(sizes.min()), int(sizes.max())), endless.stride, start, low, high, endless.shift == 0
    )

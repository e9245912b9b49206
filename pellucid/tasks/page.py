"""What a room says in a report: sections of figures, tables and figures in words;
the engine lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..plots.formatting import interval, percent

EVIDENCE = "Evidence"  # the title of the section that stands before the course of the training


@dataclass(frozen=True)
class Figure:
    """name: of its file in `plots/`. svg: drawn by `plots.curves`. sentence: made from the same
    numbers. wide: may be wider than the page, and then scrolls."""

    name: str
    svg: str
    sentence: str
    wide: bool = False


@dataclass(frozen=True)
class Column:
    """name: in the head. css: "n" a number, "wide" left out on a narrow screen. scale: marks from
    its low to its high end, of a column of intervals, which are drawn and bear the scale in place
    of a name."""

    name: str = ""
    css: str = "n"
    scale: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cell:
    """text, and what stands beside it in small. score: value, low and high, of a column with a
    scale; text then tells it aloud."""

    text: str
    aside: str = ""
    score: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """rows: a cell for each column, the first one a name. ours: the row in blue."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    ours: int | None = None
    css: str = ""


@dataclass(frozen=True)
class Values:
    """Name, number and what stands beside it in small, of a few figures that need no table."""

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Section:
    """pair: its figures stand side by side where there is room."""

    title: str
    parts: Sequence[Figure | Table | Values]
    pair: bool = False


def row(*texts: str | Cell) -> list[Cell]:
    return [text if isinstance(text, Cell) else Cell(text) for text in texts]


def scored(score: Mapping[str, Any]) -> Cell:
    """`97.2 %` and its interval."""
    return Cell(percent(score.get("value")), interval(score))


def drawn(name: str, score: Mapping[str, Any]) -> Cell:
    """A score as a point with its interval on the column's scale."""
    return Cell(f"{name}: {percent(score['value'])}", interval(score), score)

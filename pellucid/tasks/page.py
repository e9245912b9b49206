"""The sections of a report that a task adds: figures, tables and values; the engine lays them
out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..plots.formatting import interval, percent

EVIDENCE = "Evidence"  # the title of the section that comes before the course of training


@dataclass(frozen=True)
class Figure:
    """name: of its file in `plots/`. svg: from `plots.curves`. sentence: what it shows, from the
    same numbers. wide: may be wider than the page, and then scrolls."""

    name: str
    svg: str
    sentence: str
    wide: bool = False


@dataclass(frozen=True)
class Column:
    """name: in the header. css: "n" for a number, "wide" for a column that a narrow screen leaves
    out. scale: for a column of drawn intervals, the marks from its low to its high end, which the
    header shows in place of the name."""

    name: str = ""
    css: str = "n"
    scale: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cell:
    """aside: small text beside it. score: value, low and high, in a column with a scale; text is
    then the label for screen readers."""

    text: str
    aside: str = ""
    score: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """rows: a cell for each column, the first one a name. ours: the number of the row in blue."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    ours: int | None = None
    css: str = ""


@dataclass(frozen=True)
class Values:
    """A few numbers that need no table: name, number and small text beside it."""

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Section:
    """pair: its figures are side by side where the page is wide enough."""

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

"""From the values in the files of masks to classes: what the numbers or colours of a whole set mean
is seen in all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....core.errors import DataError
from ....core.types import IGNORE
from ..dataset import first
from .files import Raw
from .legend import Legend

_COLOURS = 32  # classes by colour alone; more are a drawing
_BINARY = ("background", "foreground")


@dataclass(frozen=True)
class Coding:
    """classes: in order. of: each value, or each colour (0xRRGGBB), to its class or IGNORE. said:
    how masks were read, for people. notes: what the user should know."""

    classes: tuple[str, ...]
    of: dict[int, int]
    by_colour: bool
    said: str
    notes: tuple[str, ...] = ()

    def labels(self, raw: Raw) -> np.ndarray:
        """uint8 H×W."""
        table = np.array([self.of[key] for key in raw.keys(self.by_colour).tolist()], np.uint8)
        return table[raw.places()]


def decide(raws: Sequence[Raw], legend: Legend | None) -> Coding:
    """Raises DataError for a value or colour that the legend lacks, by file and place, and for
    masks of one class alone."""
    by_colour = _by_colour(raws, legend)
    totals: Counter[int] = Counter()
    for raw in raws:
        totals.update(dict(zip(raw.keys(by_colour).tolist(), raw.counts.tolist(), strict=True)))
    coding = _colours(raws, totals, legend) if by_colour else _numbers(raws, totals, legend)
    present = {coding.of[key] for key in totals} - {IGNORE}
    if len(present) < 2:
        name = coding.classes[present.pop()] if present else "nothing"
        said = f"{len(raws):,} masks" if len(raws) > 1 else "the only mask"
        raise DataError(
            f"{raws[0].path}: {said} hold {name} alone, so there is nothing to learn; "
            "check how they were saved"
        )
    return coding


def _by_colour(raws: Sequence[Raw], legend: Legend | None) -> bool:
    """A file in colour is read by colours, and then are all. Grey and palettes are read by number,
    unless a legend of colours fits them."""
    if any(raw.form == "colour" for raw in raws):
        return True
    if legend is None or not legend.colours or legend.numbered:
        return False
    return all(
        raw.colours is not None and set(raw.colours.tolist()) <= legend.colours.keys()
        for raw in raws
    )


def _colours(raws: Sequence[Raw], totals: Counter[int], legend: Legend | None) -> Coding:
    if legend is not None and legend.colours:
        _known(raws, legend.colours, legend, True)
        return Coding(
            legend.names,
            legend.colours,
            True,
            f"by the colours of {legend.path.name}",
            _void(legend, legend.colours, totals),
        )
    if legend is not None:
        raise DataError(
            f"{legend.path}: names no colours, but the masks are in colour; write name and colour, "
            "such as: road 128 64 128"
        )
    if len(totals) > _COLOURS:
        worst = max(raws, key=lambda raw: len(raw.values))
        advice = "write legend.csv beside the masks, a line a class: name,r,g,b"
        raise DataError(
            f"{worst.path}: the masks hold {len(totals):,} colours and no legend says which are "
            f"classes; {advice}"
        )
    # The first class is the background: black, or what most pixels are.
    found = sorted(
        totals, key=lambda colour: (colour != 0, colour != totals.most_common(1)[0][0], colour)
    )
    names = tuple(f"#{colour:06x}" for colour in found)
    said = (
        f"the masks hold {len(found)} colours and no legend names them, "
        "so classes are called by colour"
    )
    note = (
        f"{said}: {first(names)}; {names[0]} is taken for the background; "
        "legend.csv would name and order them"
    )
    return Coding(
        names, {colour: place for place, colour in enumerate(found)}, True, "by colour", (note,)
    )


def _numbers(raws: Sequence[Raw], totals: Counter[int], legend: Legend | None) -> Coding:
    values = sorted(totals)
    top = 65535 if values[-1] > 255 else 255
    two = legend is None or len(legend.names) == 2
    names = legend.names if legend is not None and two else _BINARY
    if two and values[-1] == top and len(values) == 2 and values[0] == 0:
        note = f"the masks hold 0 and {top} alone, which are read as {names[0]} and {names[1]}"
        return Coding(names, {0: 0, top: 1}, False, f"grey, 0 and {top}", (note,))
    if two and _smeared(totals):
        blurred = (
            sum(number for value, number in totals.items() if value not in (0, 255))
            / totals.total()
        )
        note = (
            f"the masks hold 0 and 255, smeared as by JPEG ({blurred:.1%} of their pixels lie "
            f"between); above 127 is {names[1]}"
        )
        return Coding(
            names, {value: int(value > 127) for value in values}, False, "grey, above 127", (note,)
        )
    if legend is not None:
        table = legend.numbers | ({} if top in legend.numbers else {top: IGNORE})
        _known(raws, table, legend, False)
        return Coding(
            legend.names,
            table,
            False,
            f"by the numbers of {legend.path.name}",
            _void(legend, table, totals),
        )
    return _unnamed(raws, values, top)


def _unnamed(raws: Sequence[Raw], values: list[int], top: int) -> Coding:
    labels = [value for value in values if value != top] if len(values) > 2 else values
    if len(labels) > IGNORE:
        advice = "are they pictures, or do they number single objects?"
        raise DataError(
            f"{raws[0].path}: the masks hold {len(labels):,} different numbers, "
            f"more than {IGNORE} classes; {advice}"
        )
    notes: tuple[str, ...] = ()
    if labels[-1] >= len(labels):
        notes = (
            (
                f"the masks hold the numbers {first(labels, 6)} with holes between; classes are "
                "called by them and counted without holes"
            ),
        )
    names = _BINARY if labels == [0, 1] else tuple(map(str, labels))
    ignored = f", {top} ignored" if top in values and top not in labels else ""
    of = {value: place for place, value in enumerate(labels)} | (
        {} if top in labels else {top: IGNORE}
    )
    return Coding(names, of, False, f"by number{ignored}", notes)


def _smeared(totals: Counter[int]) -> bool:
    """Two values that a lossy format or a change of size has blurred: nearly all near 0 or 255,
    some near both, and many in all."""
    if len(totals) <= 32 or max(totals) > 255:
        return False
    low = sum(number for value, number in totals.items() if value < 32)
    high = sum(number for value, number in totals.items() if value >= 224)
    return (
        any(224 <= value < 255 for value in totals)
        and min(low, high) > 0
        and low + high >= 0.9 * totals.total()
    )


def _known(raws: Sequence[Raw], table: dict[int, int], legend: Legend, by_colour: bool) -> None:
    for raw in raws:
        for place, key in enumerate(raw.keys(by_colour).tolist()):
            if key not in table:
                x, y = raw.first(place)
                what = (
                    f"the colour {key >> 16 & 255} {key >> 8 & 255} {key & 255}"
                    if by_colour
                    else f"the number {key}"
                )
                raise DataError(
                    f"{raw.path}: holds {what} at x {x}, y {y}, which {legend.path} does not name; "
                    "add it there or mend the mask"
                )


def _void(legend: Legend, table: dict[int, int], totals: Counter[int]) -> tuple[str, ...]:
    pixels = sum(number for key, number in totals.items() if table[key] == IGNORE)
    return (
        (f"{pixels / totals.total():.1%} of the pixels are ignored: neither learnt nor counted",)
        if pixels
        else ()
    )

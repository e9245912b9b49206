"""A network held against data: each fact becomes a sentence that says whether the two fit, and what
to do where they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .measure import Anatomy, Finding
from .memory import Memory
from .table import bytes_text

# More than this many times the picture, and most of what the last maps could see is padding.
WIDE = 1.5
# Less than this share of the picture, and no unit of the last map knows what the picture is as a
# whole.
NARROW = 0.75
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Level:
    """The last map of one resolution, which sees most. cell: pixels from one unit to the next,
    along each side; sees: their field."""

    cell: tuple[float, ...]
    sees: tuple[int, ...]


def levels(anatomy: Anatomy) -> list[Level]:
    """The last map of each resolution on the way, finest first; empty where none can be derived."""
    found: dict[tuple[float, ...], Level] = {}
    for level in _maps(anatomy):
        if level.cell not in found or math.prod(level.sees) >= math.prod(found[level.cell].sees):
            found[level.cell] = level
    return sorted(found.values(), key=lambda level: math.prod(level.cell))


def _maps(anatomy: Anatomy) -> list[Level]:
    """Every map on the way, in the order of work."""
    reaches = [
        row.reach
        for row in anatomy.rows
        if row.reach is not None and len(row.output) == 1 + len(row.reach)
    ]
    derived = [reach for reach in reaches if not any(axis.whole for axis in reach)]
    return [
        Level(tuple(float(axis.stride) for axis in reach), tuple(axis.size[1] for axis in reach))
        for reach in derived
    ]


def objects(anatomy: Anatomy, sizes: np.ndarray) -> Finding | None:
    """sizes: N×2, height and width of each object in pixels of the network's input. None where
    there is nothing to hold together.

    An object is smaller than a cell when both of its sides are: the last map then has at most one
    unit for it and what is around it.
    """
    maps = levels(anatomy)
    if not maps or not len(sizes):
        return None
    last = _maps(anatomy)[-1]
    cell = np.array(last.cell)
    smaller = float((np.asarray(sizes) < cell).all(1).mean())
    size = _pixels(last.cell)
    least = _pixels(np.asarray(sizes)[np.prod(sizes, axis=1).argmin()])
    if not smaller:
        return Finding(
            "ok",
            f"the smallest of {len(sizes):,} objects is {least} at this input, "
            f"and a cell of the last map {size}",
        )
    said = (
        f"{_percent(smaller)} of your objects are smaller than one cell of the last map ({size}; "
        f"the smallest is {least})"
    )
    return Finding("look" if smaller < 0.1 else "wrong", f"{said}: {_remedy(anatomy, maps, sizes)}")


def _remedy(anatomy: Anatomy, maps: Sequence[Level], sizes: np.ndarray) -> str:
    """What gives nine objects in ten a cell of their own: larger pictures, or fewer stages."""
    typical = float(np.quantile(np.asarray(sizes).max(1), 0.1))
    cell, side = max(maps[-1].cell), max(anatomy.input[1:])
    larger = math.ceil(side * cell / typical / 32) * 32
    fewer = next(
        (number for number, level in enumerate(maps[::-1]) if max(level.cell) <= typical), len(maps)
    )
    drop = f", or drop {_stages(fewer)}" if 0 < fewer < len(maps) else ""
    return f"to give nine in ten a cell, set --size {larger}{drop}"


def sight(anatomy: Anatomy) -> Finding | None:
    """The field of the last map against the picture; None for a network without maps,
    where every unit sees all."""
    maps = levels(anatomy)
    if not maps and all(row.reach is not None for row in anatomy.rows):
        return None
    if not maps:
        return Finding(
            "look",
            "the receptive field is unavailable: the network does something that cannot be "
            "followed pixel by pixel",
        )
    sides, last = anatomy.input[1:], _maps(anatomy)[-1]
    share = [seen / side for seen, side in zip(last.sees, sides, strict=True)]
    field = f"the receptive field of the last map ({_pixels(last.sees)})"
    # A network that grows its maps again answers for each pixel: what it sees around one may well
    # be wider than the picture.
    if min(share) > WIDE and last.cell == maps[-1].cell:
        return _too_wide(maps, sides, f"{field} is {min(share):.1f} × your picture ({_by(sides)})")
    if max(share) < NARROW:
        part = f"{field} covers {_percent(max(share))} of a side of your picture ({_by(sides)})"
        answers = any(
            len(anatomy.graph.nodes[number].output) > 2 for number in anatomy.graph.outputs
        )
        after = (
            "no answer depends on more"
            if answers
            else "what is larger is only put together by the pooling or the dense layers after it"
        )
        return Finding("look", f"{part}: {after}")
    return Finding(
        "ok",
        f"{field} fits your picture ({_by(sides)}): "
        f"{' and '.join(f'{s:.1f} ×' for s in dict.fromkeys(share))}",
    )


def _too_wide(maps: Sequence[Level], sides: Sequence[int], said: str) -> Finding:
    """Stages that can go until the field is no wider than WIDE pictures."""
    fits = [
        min(seen / side for seen, side in zip(level.sees, sides, strict=True)) <= WIDE
        for level in maps
    ]
    enough = max((number for number, fit in enumerate(fits) if fit), default=None)
    if enough is None:
        return Finding("look", f"{said}: use a larger --size")
    left = maps[enough]
    fewer = len(maps) - 1 - enough
    return Finding(
        "look",
        f"{said}: drop {_stages(fewer)} (to steps of {_pixels(left.cell)}, seeing "
        f"{_pixels(left.sees)}) or use a larger --size",
    )


def _stages(number: int) -> str:
    word = NUMBERS[number] if number < len(NUMBERS) else str(number)
    return f"{word} stage" if number == 1 else f"{word} stages"


def columns(width: int, texts: Sequence[str]) -> Finding | None:
    """CTC writes at most one character a column, and a blank between two equal neighbours (Graves
    et al. 2006, section 3.1).

    width: columns that the network puts out. texts: the truths.
    """
    if not texts:
        return None
    worst = max(texts, key=least_columns)
    least = least_columns(worst)
    need = f'CTC needs at least {least} columns for {len(worst)} characters ("{worst}")'
    if width < least:
        hurt = sum(least_columns(text) > width for text in texts)
        return Finding(
            "wrong",
            f"{need}, you have {width}: {hurt} of {len(texts):,} texts cannot be learnt; "
            "halve the width once less",
        )
    return Finding("ok", f"{need}, you have {width}")


def least_columns(text: str) -> int:
    return len(text) + sum(a == b for a, b in pairwise(text))


def pictures(anatomy: Anatomy, sizes: np.ndarray) -> Finding:
    """sizes: N×2, height and width of the pictures as they are. They are fitted whole into the
    input, keeping their proportions."""
    height, width = anatomy.input[1:3]
    scale = np.minimum(height / sizes[:, 0], width / sizes[:, 1])
    middle = float(np.median(scale))
    typical = _by(np.median(sizes, axis=0).astype(int))
    here = f"the input of {height}×{width}"
    if (scale == 1).all() and (sizes == (height, width)).all():
        return Finding("ok", f"all pictures have the size of {here}")
    if middle > 2:
        return Finding(
            "look",
            f"your pictures ({typical}) are enlarged {middle:.1f} × for {here}: a smaller --size "
            "loses nothing and is faster",
        )
    if middle < 0.25:
        said = f"your pictures ({typical}) are shrunk to {_percent(middle)} for {here}"
        return Finding(
            "look",
            f"{said}: what is smaller than {1 / middle:.0f} pixels disappears; "
            "use a larger --size if that matters",
        )
    change = (
        f"enlarged {middle:.2g} ×"
        if middle > 1.005
        else f"shrunk to {_percent(middle)}"
        if middle < 0.995
        else "kept at their size"
    )
    return Finding("ok", f"your pictures ({typical}) are {change} for {here}")


def batch(memory: Memory, free: int, wanted: int, optimizer: str) -> Finding:
    """free: bytes. wanted: pictures a step."""
    most, needed = memory.largest_batch(free, optimizer), memory.training(wanted, optimizer)
    if most is None or needed is None:
        return Finding(
            "look",
            "the memory of training is unavailable: "
            "the network does not run in training mode at this size",
        )
    said = (
        f"a batch of {wanted} takes {bytes_text(needed)} to train with {optimizer}, "
        f"{bytes_text(free)} are free here"
    )
    if most < 1:
        return Finding(
            "wrong", f"{said}: not even one picture fits; take a smaller network or --size"
        )
    if most < wanted:
        return Finding("wrong", f"{said}: at most {most:,} pictures fit; set --batch {most}")
    return Finding(
        "ok", f"{said}; up to {most:,} pictures would fit" if most < 100 * wanted else said
    )


def answers(anatomy: Anatomy, classes: int) -> Finding | None:
    """Whether there is one answer a class; nothing where there is."""
    shapes = [anatomy.graph.nodes[number].output[1:] for number in anatomy.graph.outputs]
    if (classes,) in shapes:
        return None
    given = ", ".join(map(_by, shapes)) or "nothing that comes from the picture"
    return Finding(
        "wrong", f"your data has {classes} classes, the network answers with {given} numbers"
    )


def epoch(seconds: float, steps: int, pictures: int, trial: str) -> Finding:
    """seconds: of one whole epoch. trial: how they were found."""
    said = (
        f"{seconds / 60:.0f} minutes"
        if seconds >= 600
        else f"{seconds:.0f} seconds"
        if seconds >= 10
        else f"{seconds:.2g} seconds"
    )
    return Finding(
        "ok",
        f"an epoch of {pictures:,} training pictures in {steps:,} steps takes about {said} here "
        f"(estimated from {trial})",
    )


def _pixels(sides: Sequence[float] | np.ndarray) -> str:
    numbers = [f"{round(float(side), 1):g}" for side in sides]
    return f"{numbers[0]} px" if len(set(numbers)) == 1 else f"{'×'.join(numbers)} px"


def _by(sides: Sequence[int] | np.ndarray) -> str:
    return "×".join(str(side) for side in sides)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"

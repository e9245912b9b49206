"""What the readers of boxes share: pictures below a folder, boxes held to their picture, and one
`Dataset` at the end."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import DataError
from ...core.types import Objects
from ..images import PICTURE_SUFFIXES, header
from ..sample import Sample
from .dataset import PART_NAMES, PARTS, Dataset, counted, natural, plural

LeftOut = list[tuple[str, str]]
Box = tuple[float, float, float, float]
Size = tuple[int, int]  # width, height
# What a format cannot say stands here, beside its own files: the order of classes (VOC), the marks
# of objects to ignore (YOLO).
SIDE = "pellucid.json"
NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)  # of an object that cannot be read


class Row(NamedTuple):
    """One object as it is written. box: x1 y1 x2 y2 in pixels, not yet held to the picture. where:
    the place that says so, for people. fault: why it cannot be read, if so."""

    label: str
    box: Box
    ignore: bool
    where: str
    fault: str = ""

    def unreadable(self) -> str:
        """Why; nothing where all is well."""
        return self.fault or (
            ""
            if all(map(math.isfinite, self.box))
            else f"a box of numbers that are not finite ({self.label})"
        )


class Marked(NamedTuple):
    """A picture and its rows. part: train, validation, test, or "". size: None where the picture
    cannot be read, which others report."""

    picture: Path
    part: str
    size: Size | None
    rows: list[Row]


def reading(
    where: Path,
    kind: str,
    classes: Sequence[str] | None,
    marked: Iterable[Marked],
    left_out: LeftOut,
    also: str = "",
) -> Dataset:
    """All pictures in the natural order of their names, whatever folder they lie in, so that a
    converted set keeps its order.

    classes: None for those that occur, in natural order. also: what else is to be said of how it
    was read. A picture that has objects of which none can be read is left out: it is no background.
    Raises DataError when there is no picture, no object, or a split without train.
    """
    marked = list(marked)
    root = _root(where, marked)
    found = _by_source(marked, root, left_out)
    ordered = sorted(
        found, key=lambda source: (natural(source.rsplit("/", 1)[-1]), natural(source))
    )
    held = {source: _held(found[source].rows, found[source].size, left_out) for source in ordered}
    if not any(held.values()):
        reason = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise DataError(
            f"{where}: {kind.upper()} format, but no object in "
            f"{plural(len(found), 'picture')}{reason}; add boxes"
        )
    names = tuple(
        classes
        if classes is not None
        else sorted({row.label for rows in held.values() for row in rows}, key=natural)
    )
    number = {name: i for i, name in enumerate(names)}
    broken = {
        source: rows
        for source in ordered
        if (rows := [row for row in found[source].rows if row.unreadable()])
    }
    lost = {source: None for source in broken if not held[source] and found[source].size}
    left_out += [(source, "a picture with objects of which none can be read") for source in lost]
    kept = [source for source in ordered if source not in lost]
    samples = tuple(
        Sample(root / source, _objects(held[source], number), source) for source in kept
    )
    given = _given(where, [found[source].part for source in kept])
    unread = sum(found[source].size is None and not held[source] for source in kept)
    why = _why(kind, names, samples, given, unread) + also + counted(left_out)
    return Dataset(
        samples,
        names,
        kind,
        why,
        where.resolve().name or "data",
        tuple(left_out),
        given,
        root,
        _notes(broken),
    )


def _by_source(marked: list[Marked], root: Path, left_out: LeftOut) -> dict[str, Marked]:
    """Each image once, by its path below the root."""
    found: dict[str, Marked] = {}
    for each in marked:
        source = os.path.relpath(each.picture, root).replace(os.sep, "/")
        if source in found:
            left_out.append((source, f"named again by {each.part or 'the list'}"))
        else:
            found[source] = each
    return found


def _notes(broken: dict[str, list[Row]]) -> tuple[str, ...]:
    rows = [row for each in broken.values() for row in each]
    if not rows:
        return ()
    objects = f"{plural(len(rows), 'object')} of {plural(len(broken), 'picture')} cannot be read"
    return (
        (
            f"WARNING: {objects}, such as {rows[0].where}: {rows[0].unreadable()}; "
            "mend or remove what is left out"
        ),
    )


def _root(where: Path, marked: list[Marked]) -> Path:
    """The folder itself, or where its pictures lie elsewhere,
    the nearest one above that holds both."""
    outside = [
        each.picture
        for each in marked
        if ".." in each.picture.parts or not each.picture.is_relative_to(where)
    ]
    if not outside:
        return where
    return Path(
        os.path.commonpath(
            [os.path.abspath(path) for path in [where, *(path.parent for path in outside)]]
        )
    )


def _held(rows: list[Row], size: Size | None, left_out: LeftOut) -> list[Row]:
    """The rows with their boxes clipped to the picture; without those that nobody can learn from,
    which are named."""
    width, height = size or (math.inf, math.inf)
    kept: dict[tuple[str, Box], Row] = {}
    for row in rows:
        x1, y1, x2, y2 = row.box
        box = (
            min(max(x1, 0.0), width),
            min(max(y1, 0.0), height),
            min(max(x2, 0.0), width),
            min(max(y2, 0.0), height),
        )
        reason = row.unreadable() or _fault(row, box)
        if not reason and (row.label, box) in kept:
            reason = f"the same box twice ({row.label})"
        if reason:
            left_out.append((row.where, reason))
            continue
        # Up to a pixel is rounding, or counting from one.
        if max(abs(a - b) for a, b in zip(row.box, box, strict=True)) > 1:
            left_out.append(
                (row.where, f"the part of a box that lies outside the picture ({row.label})")
            )
        kept[row.label, box] = row._replace(box=box)
    return list(kept.values())


def _fault(row: Row, clipped: Box) -> str:
    if row.box[2] <= row.box[0] or row.box[3] <= row.box[1]:
        return f"a box of no size ({row.label})"
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return f"a box outside the picture ({row.label})"
    return ""


def _objects(rows: list[Row], number: dict[str, int]) -> Objects:
    boxes = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    return Objects(
        boxes,
        np.array([number[row.label] for row in rows], np.int64),
        np.array([row.ignore for row in rows], bool),
    )


def _given(where: Path, parts: list[str]) -> dict[str, np.ndarray]:
    """One part alone is no split. Pictures of no part join train, if others have one."""
    present = set(parts)
    if len(present) < 2:
        return {}
    of_row = np.array([part or "train" for part in parts])
    if "train" not in of_row:
        raise DataError(
            f"{where}: holds {' and '.join(sorted(present))} but no train; add it, "
            "or name one of them"
        )
    return {part: np.flatnonzero(of_row == part) for part in PARTS if part in of_row}


def _why(
    kind: str,
    classes: Sequence[str],
    samples: Sequence[Sample],
    given: dict[str, np.ndarray],
    unread: int,
) -> str:
    """unread: pictures whose size is not known, so that their objects are not either."""
    empty = sum(not len(sample.target) for sample in samples) - unread
    total = sum(len(sample.target) for sample in samples)
    counts = [
        f"{number:,} {what}"
        for number, what in ((empty, "of background"), (unread, "unreadable"))
        if number
    ]
    background = f" ({', '.join(counts)})" if counts else ""
    split = (
        f", split into {', '.join(f'{part} ({len(given[part]):,})' for part in given)}"
        if given
        else ""
    )
    found = (
        f"found {plural(len(classes), 'class')} of objects in {kind.upper()} format, "
        f"{plural(len(samples), 'picture')}{background}"
    )
    return f"{found} with {plural(total, 'object')}{split}"


# Files and sizes


def below(folder: Path, suffixes: Collection[str], most: int | None = None) -> Iterator[Path]:
    """The files in a folder and all folders in it, by suffix (lower case).
    most: how many folders to look into."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        # A link back to a folder above would be walked for ever.
        folders[:] = (
            []
            if real in seen
            else sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        )
        if real in seen:
            continue
        seen.add(real)
        yield from (
            Path(parent, n)
            for n in sorted(names)
            if os.path.splitext(n)[1].lower() in suffixes and not n.startswith(".")
        )
        if most is not None and len(seen) >= most:
            return


def pictures(folder: Path, left_out: LeftOut) -> list[Path]:
    """Every picture below a folder; a name that is not valid UTF-8 is left out,
    since no table could name it."""
    found = []
    for path in below(folder, PICTURE_SUFFIXES):
        name = path.name.encode(errors="replace").decode()
        if name == path.name:
            found.append(path)
        else:
            left_out.append((name, "a name that is not valid UTF-8"))
    return found


def without(root: Path, there: Iterable[Path], used: Iterable[Path], reason: str) -> LeftOut:
    """Those of the files that are there and not used, each with the reason."""
    known = {os.path.normpath(path) for path in used}
    return [(relative(path, root), reason) for path in there if os.path.normpath(path) not in known]


def relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/").encode(errors="replace").decode()


def measure(picture: Path, said: Size | None, where: str, left_out: LeftOut) -> Size | None:
    """Width and height from the head of the file, upright; a size that the annotation says and the
    picture does not have is reported.

    None where the picture cannot be read and nothing else says its size: whoever decodes it reports
    the file by name.
    """
    try:
        head = header(picture)
    except DataError:
        return said
    if said is not None and said != (head.width, head.height):
        left_out.append((where, "a size that is not the picture's"))
    return head.width, head.height


def part_of(*names: str) -> str:
    """train, validation, test, or "" by the first of the names that has such a word in it:
    instances_val2017, train."""
    for name in names:
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in PART_NAMES or word == "trainval":
                return PART_NAMES.get(word, "train")
    return ""


def side_file(root: Path) -> dict[str, Any]:
    """What `pellucid.json` beside the data says; {} when there is none.
    Raises DataError when it is not ours."""
    path = root / SIDE
    if not path.is_file():
        return {}
    found = parse_json(path)
    classes, ignore = found.get("classes", []), found.get("ignore", {})
    if (
        isinstance(classes, list)
        and isinstance(ignore, dict)
        and all(isinstance(name, str) for name in classes)
    ):
        return found
    raise DataError(f"{path}: is not a side file of a conversion; remove it or convert again")


def parse_json(path: Path) -> dict[str, Any]:
    """Raises DataError for what is not one JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); save or download it again") from None
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: holds a {type(found).__name__}, not one JSON object with images, "
            "annotations and categories"
        )
    return found


def read_lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None

"""Pascal VOC: one XML a picture, lists in ImageSets/Main (Everingham et al. 2010).

Wherever the XML files lie: `Annotations/` beside `JPEGImages/`, `annots/` beside `images/`, or each
beside its picture. Corners are taken as they stand: the standard counts pixels from 1 and both
corners as inside, but most tools write continuous corners from 0, and nothing in the file tells
which; the difference is at most a pixel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ...core.errors import DataError
from .dataset import PART_NAMES, Dataset, first, natural
from .objects import (
    NOWHERE,
    SIDE,
    LeftOut,
    Marked,
    Row,
    below,
    measure,
    part_of,
    pictures,
    read_lines,
    reading,
    relative,
    side_file,
    without,
)

_NO_LIST = "in no list of ImageSets/Main"


def recognise(folder: Path) -> bool:
    """Whether an XML file in it, at most 200 folders wide, is an annotation."""
    if not folder.is_dir():
        return False
    found = next(below(folder, {".xml"}, most=200), None)
    return found is not None and _is_annotation(found)


def _is_annotation(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<annotation" in file.read(4096)


def read(source: Path) -> Dataset:
    """Raises DataError for XML that cannot be read, or that declares entities,
    and when no picture has an annotation."""
    left_out: LeftOut = []
    files = sorted(
        (path for path in below(source, {".xml"}) if _is_annotation(path)),
        key=lambda path: natural(str(path)),
    )
    there = pictures(source, left_out)
    near = _Nearest(there)
    lists = _lists(source)
    marked = []
    for path in files:
        where = relative(path, source)
        tree = _parse(path)
        picture = near.find(path, tree.findtext("filename") or "")
        part = _part(path, source, lists)
        if picture is None:
            left_out.append((where, "an annotation without a picture"))
        elif part is None:
            left_out.append((where, _NO_LIST))
            near.taken.append(picture)
        else:
            near.taken.append(picture)
            marked.append(
                Marked(
                    picture,
                    part,
                    measure(picture, _size(tree), where, left_out),
                    list(_rows(tree, where)),
                )
            )
    if not marked:
        raise DataError(
            f"{source}: none of {len(files):,} annotations has a picture beside it; put the "
            "pictures into JPEGImages/"
        )
    left_out += without(source, there, near.taken, "a picture without an annotation")
    listed = [stem for stem in lists or {} if stem not in {path.stem for path in files}]
    left_out += [(stem, "named by a list of ImageSets/Main but not there") for stem in listed]
    classes = side_file(source).get("classes")
    if classes is not None:
        _all_named(source, marked, classes)
    return reading(source, "voc", classes, marked, left_out)


def _all_named(source: Path, marked: list[Marked], classes: list[str]) -> None:
    strange = sorted(
        {row.label for each in marked for row in each.rows if not row.fault} - set(classes),
        key=natural,
    )
    if strange:
        raise DataError(
            f"{source / SIDE}: its classes lack {first(strange)}; add them, or remove the file"
        )


class _Nearest:
    """Pictures by their stem; of several with the same stem,
    the one that shares most folders with its annotation."""

    def __init__(self, there: list[Path]) -> None:
        self.taken: list[Path] = []
        self._by_stem: dict[str, list[Path]] = {}
        for path in there:
            self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, annotation: Path, filename: str) -> Path | None:
        """By the name of the annotation itself, or else by the file that it names: people rename
        the first, and forget the second."""
        for stem in (
            annotation.stem,
            os.path.splitext(filename.strip().replace("\\", "/").rsplit("/", 1)[-1])[0],
        ):
            # A mask lies beside its picture as a .png of the same name, so other suffixes come
            # first.
            found = sorted(
                self._by_stem.get(stem, ()),
                key=lambda path: (-_shared(path, annotation), path.suffix.lower() == ".png"),
            )
            if found:
                return found[0]
        return None


def _shared(one: Path, other: Path) -> int:
    return len(Path(os.path.commonpath([one.parent, other.parent])).parts)


def _lists(source: Path) -> dict[str, str] | None:
    """The part of each stem that a list names; train and val come before trainval, which joins
    them. None without lists."""
    files = {
        path.stem.lower(): path for path in below(source, {".txt"}) if path.parent.name == "Main"
    }
    chosen = [name for name in files if name in PART_NAMES] or [
        name for name in files if name == "trainval"
    ]
    if "trainval" in files and not {PART_NAMES[name] for name in chosen if name in PART_NAMES} & {
        "train",
        "validation",
    }:
        chosen.append("trainval")
    found: dict[str, str] = {}
    for name in sorted(set(chosen), key=lambda name: part_of(name) != "train"):
        for line in read_lines(files[name]):
            if line.strip():
                found.setdefault(line.strip(), part_of(name))
    return found or None


def _part(path: Path, source: Path, lists: dict[str, str] | None) -> str | None:
    if lists is not None:
        return lists.get(path.stem)
    return part_of(*reversed(path.relative_to(source).parts[:-1]))


def _parse(path: Path) -> Element:
    """Raises DataError for a DOCTYPE before any entity in it is defined: expanding entities can
    fill the memory, or read other files."""

    def refuse(*_: object) -> None:
        raise DataError(
            f"{path}: declares a DOCTYPE, which no annotation needs and which can hide an attack; "
            "remove it"
        )

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = (
        builder.start,
        builder.end,
        builder.data,
    )
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DataError(f"{path}: is not XML ({error}); save or copy it again") from None


def _size(tree: Element) -> tuple[int, int] | None:
    """None for the zeros that some tools write when they do not know."""
    try:
        width, height = (
            int(float(tree.findtext("size/width") or 0)),
            int(float(tree.findtext("size/height") or 0)),
        )
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _rows(tree: Element, file: str) -> Iterator[Row]:
    for number, each in enumerate(tree.findall("object"), 1):
        where, label = f"{file}, object {number}", (each.findtext("name") or "").strip()
        corners = [each.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if not label:
            yield Row(label, NOWHERE, False, where, "an object without a name")
        elif None in corners:
            yield Row(label, NOWHERE, False, where, f"an object without a box ({label})")
        else:
            try:
                x1, y1, x2, y2 = (float(corner or "") for corner in corners)
            except ValueError:
                yield Row(label, NOWHERE, False, where, f"a box that is not four numbers ({label})")
                continue
            yield Row(
                label,
                (x1, y1, x2, y2),
                (each.findtext("difficult") or "").strip().lower() in ("1", "true"),
                where,
            )

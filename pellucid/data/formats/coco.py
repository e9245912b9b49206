"""COCO: one JSON a part with images, annotations and categories (Lin et al. 2014); boxes are x, y,
width, height in pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.errors import DataError
from ..images import PICTURE_SUFFIXES
from .dataset import Dataset, first
from .objects import (
    NOWHERE,
    Box,
    LeftOut,
    Marked,
    Row,
    measure,
    parse_json,
    part_of,
    reading,
    relative,
    without,
)

_LOOK = 1 << 16
# The same pictures described for other questions: not boxes, or boxes that are not all there.
_OTHER = (b'"segments_info"', b'"isthing"', b'"caption"')


def recognise(source: Path) -> bool:
    """By the first and last 64 KB of a JSON: official files begin with thousands of pictures and
    end with the categories."""
    return any(
        _is_coco(path)
        for path in (
            _json_files(source) if source.is_dir() else [source] if source.suffix == ".json" else []
        )
    )


def _json_files(root: Path) -> Iterator[Path]:
    """Of the folder itself, of annotations/, and of train/, valid/, test/."""
    for folder in [
        root,
        *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")),
    ]:
        if (
            folder == root
            or folder.name.lower() in ("annotations", "labels")
            or part_of(folder.name)
        ):
            yield from sorted(
                path
                for path in folder.glob("*.json")
                if path.is_file() and not path.name.startswith(".")
            )


def _is_coco(path: Path) -> bool:
    with path.open("rb") as file:
        text = file.read(_LOOK)
        file.seek(max(_LOOK, os.path.getsize(path) - _LOOK))
        text += file.read()
    said = b'"images"' in text and (b'"annotations"' in text or b'"categories"' in text)
    return (
        said
        and text.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{")
        and not any(word in text for word in _OTHER)
    )


def read(source: Path) -> Dataset:
    """source: a data set's folder, or one JSON of it.
    Raises DataError that names the file and the entry."""
    left_out: LeftOut = []
    root = (
        source
        if source.is_dir()
        else source.parent.parent
        if source.parent.name.lower() == "annotations"
        else source.parent
    )
    files = _chosen(source, left_out) if source.is_dir() else [source]
    classes: dict[str, None] = {}
    marked = [each for path in files for each in _pictures(root, path, classes, left_out)]
    if not marked:
        raise DataError(
            f"{source}: none of the pictures it names was found; expected in images/, in a folder "
            "of the part, or beside it"
        )
    taken = [each.picture for each in marked]
    there = (
        path
        for folder in sorted({path.parent for path in taken})
        for path in sorted(folder.iterdir())
    )
    left_out += without(
        root,
        (path for path in there if path.suffix.lower() in PICTURE_SUFFIXES),
        taken,
        "a picture without an annotation",
    )
    return reading(root, "coco", list(classes), marked, left_out)


def _chosen(root: Path, left_out: LeftOut) -> list[Path]:
    """instances_*.json where there are such, otherwise all that look like COCO."""
    found = [path for path in _json_files(root) if _is_coco(path)]
    instances = [path for path in found if path.name.startswith("instances")]
    left_out += [
        (relative(path, root), "not the instances")
        for path in found
        if instances and path not in instances
    ]
    return instances or found


def _pictures(
    root: Path, path: Path, classes: dict[str, None], left_out: LeftOut
) -> Iterator[Marked]:
    found = parse_json(path)
    images, annotations, categories = (
        _entries(path, found, name) for name in ("images", "annotations", "categories")
    )
    names = {
        _field(path, "categories", each, "id"): str(_field(path, "categories", each, "name"))
        for each in categories
    }
    classes |= dict.fromkeys(names.values())
    part = part_of(path.stem, "" if path.parent == root else path.parent.name)
    places = _places(root, path, part)
    files: dict[Any, Path] = {}
    sizes: dict[Path, tuple[int, int] | None] = {}
    numbers = [_field(path, "images", each, "id") for each in images]
    for number, each in zip(numbers, images, strict=True):
        name = str(_field(path, "images", each, "file_name"))
        picture = _locate(name, places)
        if picture is None:
            left_out.append((name, f"named by {path.name} but not there"))
            continue
        files[number] = picture
        sizes[picture] = measure(picture, _size(each), relative(picture, root), left_out)
    rows: dict[Path, list[Row]] = {picture: [] for picture in files.values()}
    listed = set(numbers)
    for place, each in enumerate(annotations, 1):
        number = _known(each.get("image_id"))
        picture = files.get(number)
        where = f"{relative(picture or path, root)}, annotation {each.get('id', place)}"
        if picture is not None:
            rows[picture].append(_row(path, each, names, where))
        elif number not in listed:
            left_out.append((where, "an annotation without a picture"))
    yield from (Marked(picture, part, sizes[picture], rows[picture]) for picture in rows)


def _entries(path: Path, found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = found.get(name)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise DataError(
            f"{path}: {name} is missing or not a list of entries; a COCO file holds images, "
            "annotations and categories"
        )
    return entries


def _field(path: Path, name: str, entry: dict[str, Any], field: str) -> Any:
    value = entry.get(field)
    if not isinstance(value, int | str) or value == "":
        raise DataError(
            f"{path}: an entry of {name} has no usable {field} "
            f"({first(list(entry.items()))[:100]}); add it"
        )
    return value


def _known(number: Any) -> int | str | None:
    """What a dictionary can be asked for: None for a list or a table in the place of a number."""
    return number if isinstance(number, int | str) else None


def _places(root: Path, path: Path, part: str) -> list[Path]:
    """Where the pictures of a JSON may lie. Never the folder of another part, which may hold other
    pictures of the same names."""
    places = [path.parent, root, root / "images", root / "data"]
    inside = [
        folder
        for place in (root, root / "images")
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.is_dir()
    ]
    own = [folder for folder in inside if part and part_of(folder.name) == part]
    return own + places + [folder for folder in inside if not part_of(folder.name)]


def _locate(name: str, places: list[Path]) -> Path | None:
    """As it is written, or by its last folder or name alone,
    which is what is left of a path of another machine."""
    name = name.replace("\\", "/")
    for tail in dict.fromkeys((name, "/".join(name.split("/")[-2:]), name.rsplit("/", 1)[-1])):
        for number, place in enumerate(places):
            if (place / tail).is_file():
                places.insert(0, places.pop(number))  # the next picture most likely lies there too
                return Path(os.path.normpath(place / tail))
    return None


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    return (
        (width, height)
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
        else None
    )


def _row(path: Path, entry: dict[str, Any], names: dict[Any, str], where: str) -> Row:
    label = names.get(_known(entry.get("category_id")))
    if label is None:
        raise DataError(
            f"{path}: {where} has the category {entry.get('category_id')}, "
            "which categories does not name; add it"
        )
    box = _four(entry.get("bbox"))
    if box is None:
        return Row(label, NOWHERE, False, where, f"an annotation without a box ({label})")
    return Row(label, _corners(box, _four(entry.get("xyxy"))), bool(entry.get("iscrowd", 0)), where)


def _four(value: Any) -> Box | None:
    """By way of text, so that an integer of 400 digits becomes infinite."""
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(type(side) in (int, float) for side in value)
    ):
        return None
    x, y, other_x, other_y = (float(str(side)) for side in value)
    return x, y, other_x, other_y


def _corners(box: Box, exact: Box | None) -> Box:
    """x + width cannot give every x2 in floating point: where it does not, a conversion adds the
    corners, used while both agree."""
    x, y, width, height = box
    corners = (x, y, x + width, y + height)
    if exact and all(
        abs(a - b) <= 1e-9 * max(1, abs(a)) for a, b in zip(corners, exact, strict=True)
    ):
        return exact
    return corners

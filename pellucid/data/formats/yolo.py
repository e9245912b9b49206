"""YOLO: one text file a picture, one line an object: class, centre x, centre y, width, height as
shares of the picture.

`data.yaml` names the parts and the classes; `images/…/a.jpg` belongs to `labels/…/a.txt`, or the
text lies beside its picture. A line of a polygon counts as the box around it. Numbers are decimal
fractions and are computed with as such, and rounded once, as pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import DataError
from ..images import PICTURE_SUFFIXES
from .dataset import PART_NAMES, Dataset, first
from .objects import (
    NOWHERE,
    Box,
    LeftOut,
    Marked,
    Row,
    Size,
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

_SETTINGS = ("data.yaml", "data.yml", "dataset.yaml", "config.yaml")
_NAMES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
# Sums and products of decimals are exact in it, however many digits a line has.
EXACT = Context(prec=4000)
_LOOK = 1000  # label files, most of which may be of background
_HALF = Decimal("0.5")
Entry = tuple[str, Path]  # of a part: a folder of pictures or a list of them


def recognise(source: Path) -> bool:
    """Text files of pictures, of which one begins with five numbers, or all are empty or damaged
    where the settings or the folders are YOLO's; polygons alone are for another question."""
    if source.is_file():
        return (
            source.suffix.lower() in (".yaml", ".yml")
            and _has_names(source)
            and recognise(source.parent)
        )
    files = list(islice(_label_files(source), _LOOK))
    if any(_numbers_of_first_line(path) == 5 for path in files):
        return True
    laid_out = all((source / name).is_dir() for name in ("images", "labels")) or (
        source.is_dir() and any(map(_has_names, _yaml_files(source)))
    )
    return bool(files) and laid_out and all(_numbers_of_first_line(path) == 0 for path in files)


def _yaml_files(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in (".yaml", ".yml") and path.is_file()
    )
    return sorted(
        found,
        key=lambda path: _SETTINGS.index(path.name) if path.name in _SETTINGS else len(_SETTINGS),
    )


def _has_names(path: Path) -> bool:
    with path.open("rb") as file:
        return any(line.startswith(b"names") for line in file.read(1 << 20).splitlines())


def _label_files(folder: Path) -> Iterator[Path]:
    """Text files in labels/, in labels/ of a part, or beside the pictures of their names."""
    for path in below(folder, {".txt"}, most=200):
        inside = path.relative_to(folder).parts[:-1]
        own = inside[:1] == ("labels",) or (inside[1:2] == ("labels",) and part_of(inside[0]) != "")
        if path.name not in _NAMES and (
            own or any(path.with_suffix(suffix).exists() for suffix in PICTURE_SUFFIXES)
        ):
            yield path


def _numbers_of_first_line(path: Path) -> int:
    """5 of a box, 7 or more of a polygon; 0 where it is neither."""
    with path.open("rb") as file:
        words = file.readline(8000).split()
    shaped = len(words) == 5 or (len(words) >= 7 and len(words) % 2)
    return (
        len(words)
        if shaped
        and words[0].isdigit()
        and all(_number(word.decode(errors="replace")) is not None for word in words)
        else 0
    )


def read(source: Path) -> Dataset:
    """source: a data set's folder, or its settings file.
    Raises DataError that names file and line."""
    folder, settings = (source.parent, source) if source.is_file() else (source, _settings(source))
    left_out: LeftOut = []
    said = _load(settings) if settings else {}
    names = _names(settings, said) if settings else _listed_names(folder)
    entries = (
        (_entries(settings, said, left_out) if settings else []) or _lists(folder) or [("", folder)]
    )
    ignore = side_file(folder).get("ignore", {})
    marked, labels, unmarked = [], [], 0
    for part, entry in entries:
        for picture in _pictures(folder, entry, left_out):
            label = _label(folder, picture)
            size = measure(picture, None, "", left_out)
            rows: list[Row] = []
            if label is None:
                unmarked += 1
            else:
                labels.append(label)
                rows = _rows(label, folder, names, size, ignore)
            marked.append(
                Marked(
                    picture,
                    part or part_of(*reversed(picture.relative_to(folder).parts[:-1])),
                    size,
                    rows,
                )
            )
    if not labels:
        raise DataError(
            f"{source}: {len(marked):,} pictures but no label file; "
            "images/…/a.jpg belongs to labels/…/a.txt"
        )
    beside = (
        path
        for place in sorted({label.parent for label in labels})
        for path in sorted(place.glob("*.txt"))
    )
    lists = {entry for _, entry in entries} | {
        folder / "train.txt",
        folder / "val.txt",
        folder / "test.txt",
    }
    spare = (path for path in beside if path.name not in _NAMES and path not in lists)
    left_out += without(folder, spare, labels, "a label file without a picture")
    also = f", {unmarked:,} without a label file taken as background" if unmarked else ""
    also += "" if names else ", classes without names"
    return reading(folder, "yolo", list(names.values()) if names else None, marked, left_out, also)


# The settings file


def _settings(folder: Path) -> Path | None:
    found = [path for path in _yaml_files(folder) if _has_names(path)]
    if len(found) > 1 and found[0].name not in _SETTINGS:
        raise DataError(
            f"{folder}: holds several settings files ({first([path.name for path in found])}); "
            "name one"
        )
    return found[0] if found else None


def _load(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        # Every scalar stays text: a class called `no` or `1e3` is not a truth value or a number.
        # Nothing is ever constructed.
        found = yaml.load("\n".join(read_lines(path)), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise DataError(
            f"{path}{line}: is not YAML ({getattr(error, 'problem', None) or 'damaged'}); mend it"
        ) from None
    except RecursionError:
        raise DataError(f"{path}: is nested too deeply for a settings file; mend it") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no settings; expected train, val and names")
    return found


def _names(path: Path, said: dict[str, Any]) -> dict[int, str]:
    """Number to name, by number; from a list or from a table that may have holes."""
    names = said.get("names", [])
    rows = (
        list(names.items())
        if isinstance(names, dict)
        else list(enumerate(names))
        if isinstance(names, list)
        else []
    )
    try:
        found = {int(number): name for number, name in rows}
    except ValueError:
        raise DataError(
            f"{path}: names must be a list, or numbers with names; it holds "
            f"{first([key for key, _ in rows])}"
        ) from None
    if not found or not all(isinstance(name, str) and name for name in found.values()):
        raise DataError(f"{path}: names must give each class a name; write names: [cat, dog]")
    if len(set(found.values())) < len(found):
        twice = [
            name for name in dict.fromkeys(found.values()) if list(found.values()).count(name) > 1
        ]
        raise DataError(
            f"{path}: names the class {first(twice)} twice; give each number its own name"
        )
    if isinstance(said.get("nc"), str) and said["nc"] != str(len(found)):
        raise DataError(
            f"{path}: nc says {said['nc']} classes, names holds {len(found)}; mend one of them"
        )
    return dict(sorted(found.items()))


def _listed_names(folder: Path) -> dict[int, str]:
    """classes.txt, obj.names and the like, one name a line; {} when there is none,
    and classes go by their numbers."""
    for place in (folder, folder / "labels", folder / "train", *sorted(folder.glob("labels/*"))):
        for name in _NAMES:
            if (place / name).is_file():
                lines = [line.strip() for line in read_lines(place / name)]
                return {number: line for number, line in enumerate(lines) if line}
    return {}


def _entries(settings: Path, said: dict[str, Any], left_out: LeftOut) -> list[Entry]:
    """The folders and lists of each part. A path of another machine is looked for beside the
    settings, and that is said."""
    found: list[Entry] = []
    base = said["path"] if isinstance(said.get("path"), str) else ""
    for key, paths in said.items():
        part = PART_NAMES.get(str(key).lower(), "")
        # Only text is ever put together: what is nested in YAML can be small to write and endless
        # to print.
        for path in (
            each
            for each in ([paths] if isinstance(paths, str) else paths)
            if part and each and isinstance(each, str)
        ):
            place = _locate(path, base, settings.parent)
            if place is None:
                left_out.append((settings.name, f"{key}: {path}, which is not there"))
                continue
            if place != _joined(settings.parent, base.replace("\\", "/"), path.replace("\\", "/")):
                left_out.append(
                    (
                        settings.name,
                        (
                            f"the place of {key} ({path}), which was found as "
                            f"{relative(place, settings.parent)}"
                        ),
                    )
                )
            found.append((part, place))
    if not found and any(str(key).lower() in PART_NAMES for key in said):
        raise DataError(
            f"{settings}: none of its folders is there "
            f"({first([reason for _, reason in left_out])}); mend train and val"
        )
    return found


def _joined(*parts: str | Path) -> Path:
    return Path(os.path.normpath(os.path.join(*parts)))


def _locate(path: str, base: str, beside: Path) -> Path | None:
    """As it is written, from `path` of the settings, from their folder, from the one above; then
    its last folders beside the settings."""
    path, base = path.replace("\\", "/"), base.replace("\\", "/")
    tail = [
        word
        for word in PurePosixPath(path).parts
        if word not in ("..", "/") and not word.endswith(":")
    ]
    choices = [_joined(beside, base, path), _joined(beside, path), _joined(beside, "..", path)]
    choices += [_joined(beside, *tail[start:]) for start in range(len(tail))]
    return next((choice for choice in choices if choice.exists()), None)


def _lists(folder: Path) -> list[Entry]:
    return [
        (part_of(name), folder / f"{name}.txt")
        for name in ("train", "val", "valid", "test")
        if (folder / f"{name}.txt").is_file()
    ]


def _pictures(folder: Path, entry: Path, left_out: LeftOut) -> Iterator[Path]:
    """Of a folder all pictures, less the masks beside them; of a list the lines, looked for beside
    the list and in the data set."""
    if entry.is_dir():
        found = pictures(entry, left_out)
        photos = {path.with_suffix("") for path in found if path.suffix.lower() != ".png"}
        yield from (
            path
            for path in found
            if path.suffix.lower() != ".png" or path.with_suffix("") not in photos
        )
        return
    for number, line in enumerate(read_lines(entry), 1):
        if not line.strip():
            continue
        path = _locate(line.strip(), "", entry.parent) or _locate(line.strip(), "", folder)
        if path is None:
            left_out.append(
                (f"{relative(entry, folder)}, line {number}", "a picture that is not there")
            )
        else:
            yield path


# The label files


def _label(folder: Path, picture: Path) -> Path | None:
    """labels/ in the place of images/, beside the picture, or in the labels/ of the settings where
    the pictures lie elsewhere."""
    parts = list(picture.with_suffix(".txt").parts)
    choices = []
    at = [number for number, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if at:
        choices.append(Path(*parts[: at[-1]], "labels", *parts[at[-1] + 1 :]))
        choices.append(folder.joinpath("labels", *parts[at[-1] + 1 :]))
    choices.append(Path(*parts))
    return next((choice for choice in choices if choice.is_file()), None)


def _rows(
    label: Path,
    folder: Path,
    names: dict[int, str],
    size: Size | None,
    ignore: dict[str, list[int]],
) -> list[Row]:
    file, rows = relative(label, folder), []
    marks = set(ignore.get(file, ()))
    for line, text in enumerate(read_lines(label), 1):
        words = text.split()
        if not words:
            continue
        numbers = _numbers(words)
        where = f"{file}, line {line}"
        if numbers is None:
            fault = "a line that is neither a box (five numbers) nor a polygon"
            rows.append(Row("", NOWHERE, False, where, fault))
            continue
        number = int(numbers[0])
        if number < 0 or (names and number not in names):
            raise DataError(
                f"{label}, line {line}: class {number} has no name; {len(names)} are named: "
                f"{first(list(names.values()))}"
            )
        if size is not None:
            name, box = names.get(number, str(number)), to_pixels(numbers[1:], size)
            rows.append(Row(name, box, line in marks, where))
    return rows


def _numbers(words: Sequence[str]) -> list[Decimal] | None:
    """A whole class number and four numbers of a box, or six and more of a polygon; None for what
    is neither."""
    numbers = [number for number in map(_number, words) if number is not None]
    box = len(words) == 5 or (len(words) >= 7 and len(words) % 2 == 1)
    if len(numbers) < len(words) or not box or numbers[0] % 1 != 0:
        return None
    return numbers


def _number(word: str) -> Decimal | None:
    """None for what is not a finite number of a reasonable size."""
    try:
        number = Decimal(word)
    except ArithmeticError:
        return None
    return (
        number if number.is_finite() and -400 < number.adjusted() < 9 and len(word) < 2000 else None
    )


def to_pixels(shares: list[Decimal], size: Size) -> Box:
    """x1 y1 x2 y2 of a centre with its sides, or of the corners of a polygon;
    exact until the last rounding."""
    if len(shares) == 4:
        x, y, half_width, half_height = (
            shares[0],
            shares[1],
            EXACT.multiply(shares[2], _HALF),
            EXACT.multiply(shares[3], _HALF),
        )
        corners = [
            EXACT.subtract(x, half_width),
            EXACT.subtract(y, half_height),
            EXACT.add(x, half_width),
            EXACT.add(y, half_height),
        ]
    else:
        corners = [min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])]
    x1, y1, x2, y2 = (
        float(EXACT.multiply(corner, Decimal(side)))
        for corner, side in zip(corners, size * 2, strict=True)
    )
    return x1, y1, x2, y2

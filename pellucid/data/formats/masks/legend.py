"""The legend of masks: which number or colour is which class.

Read from `classes.txt`, `labelmap.txt`, `legend.csv`, `classes.json` or the `classes:` of a .yaml,
beside the data. A line is `name`, `index name`, `name r g b`, `r,g,b,name`, `index,name,r,g,b`,
`name,#rrggbb`, or `name:r,g,b::`; colours count from 0 to 255.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ....core.errors import DataError
from ....core.types import IGNORE
from ..objects import read_lines

_NAMES = ("classes", "labelmap", "label_map", "legend", "class_dict", "palette")
_FILES = (
    *(f"{name}{suffix}" for name in _NAMES for suffix in (".csv", ".txt", ".json")),
    "labels.txt",
    "codes.txt",
)
# What nobody is asked about, by the name that legends give it.
_VOID = {"void", "ignore", "ignored", "ignore_label", "don't care", "dontcare"}
_HEAD = {
    "name",
    "names",
    "class",
    "class_name",
    "label",
    "r",
    "g",
    "b",
    "red",
    "green",
    "blue",
    "id",
    "index",
    "color",
    "colour",
    "value",
}
_HOW = "write name and colour, such as: road 128 64 128"


class Entry(NamedTuple):
    name: str
    number: int | None = None
    colour: int | None = None  # 0xRRGGBB


@dataclass(frozen=True)
class Legend:
    """names: of the classes, in order. numbers, colours (0xRRGGBB): each to the place of its class
    in names, or IGNORE. numbered: whether the file says the numbers; otherwise they are the places
    of its lines."""

    path: Path
    names: tuple[str, ...]
    numbers: dict[int, int]
    colours: dict[int, int]
    numbered: bool


def find(folders: Iterable[Path], settings: tuple[Path, dict[str, Any]] | None) -> Legend | None:
    """settings: a .yaml and what it holds, whose classes win.
    Raises DataError that names the file and the line."""
    if settings is not None and settings[1].get("classes", settings[1].get("names")):
        path, said = settings
        return _legend(path, _of_json(path, said.get("classes", said.get("names"))))
    for path in (folder / name for folder in folders for name in _FILES):
        if path.is_file():
            return _legend(
                path, _of_json(path, _parsed(path)) if path.suffix == ".json" else _of_lines(path)
            )
    return None


def _legend(path: Path, entries: list[Entry]) -> Legend:
    names = [entry.name for entry in entries if entry.name.lower() not in _VOID]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not 2 <= len(names) <= IGNORE or twice is not None:
        wrong = (
            f"names the class {twice} twice"
            if twice is not None
            else f"names {len(names)} classes; expected 2 to {IGNORE}"
        )
        raise DataError(f"{path}: {wrong}; write one class a line, such as: road 128 64 128")
    place = {name: number for number, name in enumerate(names)}
    numbered = all(entry.number is not None for entry in entries)
    numbers: dict[int, int] = {}
    colours: dict[int, int] = {}
    for line, entry in enumerate(entries):
        where = place.get(entry.name, IGNORE)
        key = entry.number if numbered and entry.number is not None else line
        if key in numbers or (entry.colour is not None and entry.colour in colours):
            what = f"the number {key}" if key in numbers else f"the colour {entry.colour:06x}"
            raise DataError(
                f"{path}: gives {what} to two classes, {entry.name} is the second; "
                "give each its own"
            )
        numbers[key] = where
        if entry.colour is not None:
            colours[entry.colour] = where
    return Legend(path, tuple(names), numbers, colours, numbered)


def _of_lines(path: Path) -> list[Entry]:
    entries: list[Entry] = []
    for number, line in enumerate(read_lines(path), 1):
        fields = _fields(line)
        if (
            not fields
            or line.lstrip().startswith(("#", "//"))
            or (not entries and {field.lower() for field in fields} <= _HEAD)
        ):
            continue
        entries.append(_entry(fields, f"{path}, line {number}"))
    return entries


def _fields(line: str) -> list[str]:
    """Split at commas, semicolons, tabs or colons where there are any, else at blanks, by which
    names have words: `0 class 1`."""
    if re.search(r"[,;:=\t]", line):
        found = [field.strip().strip("\"'") for field in re.split(r"[,;:=\t]", line)]
        # `road: 128 64 128`: numbers in one field are several.
        return [
            word
            for field in found
            for word in (field.split() if re.fullmatch(r"\d+(\s+\d+)+", field) else [field])
            if word
        ]
    said = re.fullmatch(
        r"(?P<before>(?:\d+\s+)*)(?P<name>.+?)(?P<after>(?:\s+\d+){3}|\s+#[0-9a-fA-F]{6})?",
        line.strip(),
    )
    return [*said["before"].split(), said["name"], *(said["after"] or "").split()] if said else []


def _entry(fields: list[str], where: str) -> Entry:
    """Numbers in front and behind; what stands between is the name."""
    colours = [field for field in fields if re.fullmatch(r"#[0-9a-fA-F]{6}", field)]
    fields = [field for field in fields if field not in colours]
    words = [place for place, field in enumerate(fields) if not re.fullmatch(r"\d{1,5}", field)]
    if not words:
        raise DataError(f"{where}: names no class; {_HOW}")
    before, name, after = (
        fields[: words[0]],
        " ".join(fields[words[0] : words[-1] + 1]),
        fields[words[-1] + 1 :],
    )
    numbers = list(map(int, before + after))
    colour = int(colours[0][1:], 16) if colours else None
    if len(numbers) in (3, 4) and colour is None:
        in_front = len(before) == 3
        colour, numbers = (
            _colour(numbers[:3] if in_front else numbers[-3:], where),
            numbers[3:] if in_front else numbers[:-3],
        )
    if len(numbers) > 1:
        raise DataError(
            f"{where}: {len(numbers)} numbers are neither an index nor a colour; {_HOW}"
        )
    return Entry(name, numbers[0] if numbers else None, colour)


def _colour(values: Iterable[Any], where: str) -> int:
    numbers = [int(value) for value in values]
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise DataError(f"{where}: {numbers} is no colour; write red, green and blue from 0 to 255")
    return numbers[0] << 16 | numbers[1] << 8 | numbers[2]


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); save or download it again") from None


def _of_json(path: Path, said: Any) -> list[Entry]:
    """["sky", …], {"0": "sky"}, {"sky": 0}, {"sky": [0, 0, 0]}, {"sky": "#000000"}, or [{"name":
    "sky", "id": 0, "color": …}]."""
    rows = (
        list(said.items())
        if isinstance(said, dict)
        else list(enumerate(said))
        if isinstance(said, list)
        else []
    )
    try:
        return [_of_row(path, key, value) for key, value in rows]
    except (TypeError, ValueError) as error:
        raise DataError(
            f'{path}: is no legend ({error}); write {{"road": [128, 64, 128]}}'
        ) from None


def _of_row(path: Path, key: Any, value: Any) -> Entry:
    if isinstance(value, dict):
        name, number = value.get("name"), value.get("id", value.get("index"))
        colour = value.get("color", value.get("colour"))
        return Entry(
            str(name),
            None if number is None else int(number),
            None if colour is None else _any_colour(colour, str(path)),
        )
    if str(key).isdecimal():
        return Entry(str(value), int(key))
    if isinstance(value, int) or str(value).isdecimal():
        return Entry(str(key), int(value))
    return Entry(str(key), None, _any_colour(value, str(path)))


def _any_colour(value: Any, where: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", value):
        return int(value.lstrip("#"), 16)
    if isinstance(value, list) and all(str(each).isdecimal() for each in value):
        return _colour(value[:3], where)
    raise DataError(f'{where}: {value!r} is no colour; write [128, 64, 128] or "#804080"')

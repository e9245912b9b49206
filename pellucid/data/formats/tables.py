"""CSV tables `image,label[,group][,split]`, paths relative to the table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from ..sample import Sample
from .dataset import PART_NAMES, PARTS, Dataset, check_classes, counted, first, natural, plural

_COLUMNS = ("image", "label", "group", "split")
Row = tuple[int, dict[str, str]]


def find(folder: Path) -> list[Path]:
    """The CSV files of a folder that have the columns image and label."""
    tables = sorted(
        path
        for path in folder.glob("*.[cC][sS][vV]")
        if path.is_file() and not path.name.startswith(".")
    )
    return [path for path in tables if {"image", "label"} <= set(_header(path))]


def read_csv(path: Path, name: str) -> Dataset:
    """One picture a row; the first line names the columns, in any order and case. Comma,
    semicolon or tab."""
    rows = _rows(path)
    _refuse(
        path, rows, lambda row: not row["image"], "no image", "name the picture or remove the line"
    )
    _refuse(
        path, rows, lambda row: not row["label"], "an empty label", "fill it in or remove the line"
    )
    rows, left_out = _once(path, rows)
    root = path.parent
    files = [_locate(root, row["image"]) for _, row in rows]
    missing = [
        f"{row['image']} (line {line})"
        for (line, row), file in zip(rows, files, strict=True)
        if file is None
    ]
    if missing:
        raise DataError(
            f"{path}: {plural(len(missing), 'picture')} not found: {first(missing)}; "
            f"paths are relative to {root}"
        )
    classes = tuple(sorted({row["label"] for _, row in rows}, key=natural))
    number = {label: i for i, label in enumerate(classes)}
    samples = tuple(
        Sample(
            file, number[row["label"]], row["image"].replace("\\", "/"), row.get("group") or None
        )
        for (_, row), file in zip(rows, files, strict=True)
        if file is not None
    )
    given = _given(path, rows)
    check_classes(path, classes, np.array([sample.target for sample in samples]), given)
    groups = len({sample.group for sample in samples} - {None})
    extra = (f", {plural(groups, 'group')}" if groups else "") + (
        f", split into {', '.join(given)}" if given else ""
    )
    unused = [
        column for column in (rows[0][1] if rows else ()) if column and column not in _COLUMNS
    ]
    extra += f", columns not used: {', '.join(unused)}" if unused else ""
    why = (
        f"found {plural(len(classes), 'class')} in {path.name}, "
        f"{plural(len(samples), 'picture')}{extra}{counted(left_out)}"
    )
    return Dataset(samples, classes, "csv", why, name or "data", tuple(left_out), given, root)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV UTF-8"
        ) from None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        line = file.readline(10_000).decode("utf-8-sig", errors="replace").strip()
    return [column.strip().strip('"').lower() for column in line.split(_delimiter(line))]


def _rows(path: Path) -> list[Row]:
    """(line number, column → text) of every row that is not blank."""
    text = _text(path)
    if not text.strip():
        raise DataError(f"{path}: is empty; expected the columns image,label")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text.lstrip().splitlines()[0])
    )
    rows: list[Row] = []
    columns: list[str] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not columns:
                columns = _columns(path, cells)
            elif len(cells) > len(columns):
                raise DataError(
                    f"{path}: line {reader.line_num} has more cells than the header; "
                    "quote a name that holds a comma"
                )
            else:
                cells += [""] * (len(columns) - len(cells))
                rows.append((reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num} is not CSV ({error}); save the table again"
        ) from None
    if not rows:
        raise DataError(f"{path}: holds a header but no rows; add one line a picture")
    return rows


def _columns(path: Path, cells: list[str]) -> list[str]:
    columns = [cell.lower() for cell in cells]
    missing = [column for column in _COLUMNS[:2] if column not in columns]
    if missing:
        found = first(cells, 6)
        raise DataError(
            f"{path}: has no column {' and no column '.join(missing)} (found: {found}); the first "
            "line must be image,label"
        )
    return columns


def _refuse(
    path: Path, rows: list[Row], bad: Callable[[dict[str, str]], bool], what: str, advice: str
) -> None:
    lines = [line for line, row in rows if bad(row)]
    if lines:
        raise DataError(f"{path}: {what} in line {first(lines)}; {advice}")


def _once(path: Path, rows: list[Row]) -> tuple[list[Row], list[tuple[str, str]]]:
    """Each picture once. Raises DataError when it is named twice with different answers."""
    seen: dict[str, Row] = {}
    left_out = []
    for line, row in rows:
        before = seen.setdefault(row["image"].replace("\\", "/"), (line, row))
        if before[0] == line:
            continue
        for column in _COLUMNS[1:]:
            if row.get(column) != before[1].get(column):
                said = (
                    f'"{before[1][column]}" in line {before[0]} and "{row[column]}" in line {line}'
                )
                raise DataError(
                    f"{path}: {row['image']} has the {column} {said}; keep one of the lines"
                )
        left_out.append((row["image"], "named twice in the table"))
    return list(seen.values()), left_out


def _locate(root: Path, image: str) -> Path | None:
    for name in (image, image.replace("\\", "/")):
        if (root / name).is_file():
            return root / name
    return None


def _given(path: Path, rows: list[Row]) -> dict[str, np.ndarray]:
    named = [row.get("split", "").lower() for _, row in rows]
    if not any(named):
        return {}
    _refuse(
        path,
        rows,
        lambda row: row["split"].lower() not in PART_NAMES,
        "an unknown split",
        "write train, validation or test",
    )
    of_row = np.array([PART_NAMES[name] for name in named])
    if "train" not in of_row:
        raise DataError(f"{path}: the column split names no train; write train, validation or test")
    return {part: np.flatnonzero(of_row == part) for part in PARTS if part in of_row}

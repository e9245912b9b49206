"""Class folders: `<class>/…` and `train|val|test/<class>/…`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from ..images import PICTURE_SUFFIXES
from ..sample import Sample
from .dataset import PART_NAMES, PARTS, Dataset, check_classes, counted, natural, plural

LeftOut = list[tuple[str, str]]
_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}
MASK = "a mask (a .png beside a .jpg of the same name)"


def read(root: Path) -> Dataset | None:
    """None when the folder has no sub-folders with pictures.
    Raises DataError for a layout that cannot be used."""
    left_out: LeftOut = []
    folders = {name: _pictures(root, name, left_out) for name in _subfolders(root, left_out)}
    left_out += [
        (name, "a folder without pictures") for name, found in folders.items() if not found
    ]
    folders = {name: found for name, found in folders.items() if found}
    if not folders:
        return None
    own_split = _is_split(folders)
    left_out += [
        (name, _reason(name) or "a picture beside the folders, so without a class")
        for name in _files(root)
    ]
    files = (
        _by_part_and_class(root, folders, left_out)
        if own_split
        else {("", name): found for name, found in folders.items()}
    )
    classes = tuple(sorted({name for _, name in files}, key=natural))
    samples, parts = [], []
    for (part, name), found in sorted(
        files.items(), key=lambda item: (natural(item[0][0]), natural(item[0][1]))
    ):
        target = classes.index(name)
        samples += [Sample(root / source, target, source) for source in found]
        parts += [part] * len(found)
    of_part = np.array(parts)
    given = {part: np.flatnonzero(of_part == part) for part in PARTS if part in parts}
    if len(classes) == 1:
        _one_class(root, classes[0], files)
    check_classes(root, classes, np.array([sample.target for sample in samples]), given)
    split = (
        f", split into {', '.join(f'{part} ({len(given[part]):,})' for part in given)}"
        if given
        else ""
    )
    why = (
        f"found {plural(len(classes), 'class')} as folders, "
        f"{plural(len(samples), 'picture')}{split}{counted(left_out)}"
    )
    return Dataset(
        tuple(samples),
        classes,
        "folders",
        why,
        root.resolve().name or "data",
        tuple(left_out),
        given,
        root,
    )


def why_not(root: Path) -> str:
    """Why a folder without class folders is none of the layouts."""
    names = list(_files(root))
    pictures = [name for name in names if _reason(name) is None]
    if pictures:
        found = (
            f"holds {plural(len(pictures), 'picture')} but no sub-folders, "
            "so nothing says which class each is"
        )
        return f"{found} (--task superresolution needs no classes)"
    if names:
        return f"holds no picture ({plural(len(names), 'other file')}, such as {names[0]})"
    return "is empty" if not any(root.iterdir()) else "holds no picture in its sub-folders"


def _is_split(folders: dict[str, list[str]]) -> bool:
    """Whether the folders are train/val/test and not classes of such names."""
    parts = [name for name in folders if name.lower() in PART_NAMES]
    if not parts or (len(parts) == 1 and len(folders) > 1):
        return False
    nested = any(source.count("/") > 1 for name in parts for source in folders[name])
    return nested or len(parts) == len(folders)


def _by_part_and_class(
    root: Path, folders: dict[str, list[str]], left_out: LeftOut
) -> dict[tuple[str, str], list[str]]:
    files: dict[tuple[str, str], list[str]] = {}
    for folder, found in folders.items():
        part = PART_NAMES.get(folder.lower())
        for source in found:
            inside = source.split("/")[1:]
            if part is None:
                left_out.append((source, "in a folder that is neither train, val nor test"))
            elif len(inside) == 1:
                left_out.append((source, "a picture beside the folders, so without a class"))
            else:
                files.setdefault((part, inside[0]), []).append(source)
    if not any(part == "train" for part, _ in files):
        names = ", ".join(folders)
        raise DataError(
            f"{root}: holds {names} but no class folders in train/; expected train/<class>/…, or "
            "<class>/… without a split"
        )
    return files


def _one_class(root: Path, name: str, files: dict[tuple[str, str], list[str]]) -> None:
    below = {
        source.split("/")[1]
        for found in files.values()
        for source in found
        if source.count("/") > 1
    }
    if len(below) > 1 and ("", name) in files:
        raise DataError(
            f"{root}: holds one folder, {name}, with {len(below)} folders in it; "
            f"did you mean {root / name}?"
        )


def _subfolders(root: Path, left_out: LeftOut) -> list[str]:
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    left_out += [(name, "a hidden or system folder") for name in names if _hidden(name)]
    return sorted((name for name in names if not _hidden(name)), key=natural)


def _files(root: Path) -> Iterator[str]:
    with os.scandir(root) as entries:
        yield from sorted((entry.name for entry in entries if entry.is_file()), key=natural)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _reason(name: str) -> str | None:
    """Why a file is no picture, by its name; None when it is one."""
    if _hidden(name):
        return "a hidden or system file"
    if os.path.splitext(name)[1].lower() not in PICTURE_SUFFIXES:
        return "not a picture"
    if not name.isascii() and name != name.encode(errors="replace").decode():
        return "a name that is not valid UTF-8"
    return None


def _pictures(root: Path, folder: str, left_out: LeftOut) -> list[str]:
    """The pictures in a folder and all folders in it, relative to root, in natural order."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(root / folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(parent)
        hidden = [name for name in folders if _hidden(name)]
        # A link back to a folder above would be walked for ever.
        folders[:] = [] if real in seen else [name for name in folders if not _hidden(name)]
        if real in seen:
            continue
        seen.add(real)
        prefix = Path(parent).relative_to(root).as_posix()
        left_out += [(f"{prefix}/{name}", "a hidden or system folder") for name in hidden]
        photos = {
            os.path.splitext(name)[0] for name in names if name.lower().endswith((".jpg", ".jpeg"))
        }
        for name in names:
            stem, suffix = os.path.splitext(name)
            reason = MASK if suffix.lower() == ".png" and stem in photos else _reason(name)
            if reason:
                left_out.append((f"{prefix}/{name}".encode(errors="replace").decode(), reason))
            else:
                found.append(f"{prefix}/{name}")
    return sorted(found, key=natural)


def _raise(error: OSError) -> None:
    raise error

"""Pictures with masks: which mask is whose (`layout`), what a file holds (`files`), what its values
mean (`coding`, `legend`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ....core.errors import DataError
from ....core.types import Mask
from ...images import header
from ...sample import Sample
from ..dataset import PARTS, Dataset, counted, first, natural, plural
from ..objects import relative
from . import coding, files, layout, legend
from .layout import Layout, Placed

_SIDES = re.compile(
    r"^(?P<whose>.+?)(?:(?<=[\d_\-. ])(?:[LRlr]|OD|OS|od|os)|[_\-. ](?:left|right|Left|Right))$"
)


def recognise(source: Path) -> bool:
    """Whether names say so: masks/ or labels/ with pictures in it, x_mask.png, several annotators,
    or a .yaml that names masks.

    Folders of classes with x.png beside x.jpg are not recognised, since they are classes first;
    `read` reads them.
    """
    return layout.likely(source)


def has_pairs(source: Path) -> bool:
    """Whether any picture has a mask, by names, as `read` would find it."""
    return bool(layout.arrange(source).pictures)


def read(source: Path) -> Dataset:
    """Truths are `Mask`s, every one decoded once and held deflated; pictures are not decoded.

    source: a folder, or a .yaml whose train and val name images and masks. Raises DataError that
    names the files: no picture with a mask, masks that cannot be read, of another size than their
    picture, outside their legend, or of one class alone.
    """
    found = layout.arrange(source)
    if not found.pictures:
        reason = f" ({found.others[0][0]}: {found.others[0][1]})" if found.others else ""
        advice = (
            "put pictures into images/ and masks of the same names into masks/; "
            "docs/data.md shows all layouts"
        )
        raise DataError(f"{source}: holds no picture with a mask{reason}; {advice}")
    raws = files.load(
        [path for picture in found.pictures for path in found.masks[picture.path].values()]
    )
    _check_sizes(found, raws)
    said = coding.decide(raws, legend.find(_beside(found), _settings(source)))
    kinds, groups = _kinds(found.pictures), _groups(found.pictures)
    each = max(len(found.annotators), 1)

    def sample(number: int) -> Sample:
        picture = found.pictures[number]
        labels = [said.labels(raw) for raw in raws[number * each : (number + 1) * each]]
        mask = Mask.of(*labels, names=found.annotators, kind=kinds.get(picture.path, ""))
        return Sample(
            picture.path, mask, relative(picture.path, found.root), groups.get(picture.path)
        )

    with ThreadPoolExecutor(8) as pool:
        samples = tuple(pool.map(sample, range(len(found.pictures))))
    given = _given(source, found.pictures)
    alone = sum(
        int((sample.target.counts[: len(said.classes)] > 0).sum()) < 2 for sample in samples
    )
    why = _why(found, said, alone, given, kinds, groups)
    notes = (*said.notes, *_left_out_notes(found))
    return Dataset(
        samples,
        said.classes,
        "masks",
        why,
        source.resolve().name or "data",
        found.others,
        given,
        found.root,
        notes,
    )


def _settings(source: Path) -> tuple[Path, dict[str, object]] | None:
    settings = layout.configured(source)
    if settings is None:
        return None
    path = layout.settings_file(source)
    return None if path is None else (path, settings)


def _beside(found: Layout) -> list[Path]:
    """Where a legend may lie: the root, the folders of masks, and those between."""
    places = {
        parent
        for masks in found.masks.values()
        for path in masks.values()
        for parent in path.parents
    }
    return [
        found.root,
        *sorted(
            (place for place in places if place.is_relative_to(found.root) and place != found.root),
            key=str,
        ),
    ]


def _check_sizes(found: Layout, raws: list[files.Raw]) -> None:
    """A picture that cannot be read is reported by whoever decodes it."""
    owners = [picture.path for picture in found.pictures for _ in found.masks[picture.path]]
    with ThreadPoolExecutor(8) as pool:
        sizes = dict(zip(paths := list(dict.fromkeys(owners)), pool.map(_size, paths), strict=True))
    wrong = [
        (
            f"{owner} is {size[1]}×{size[0]} pixels, its mask {relative(raw.path, found.root)} "
            f"{raw.shape[1]}×{raw.shape[0]}"
        )
        for owner, raw in zip(owners, raws, strict=True)
        if (size := sizes[owner]) is not None and size != raw.shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 3:,} more)" if len(wrong) > 3 else ""
        raise DataError("; ".join(wrong[:3]) + f"{more}; a mask has the size of its picture")


def _size(picture: Path) -> tuple[int, ...] | None:
    try:
        return header(picture).size
    except DataError:
        return None


# What names say beyond pairs


def _kinds(pictures: Iterable[Placed]) -> dict[Path, str]:
    """Sub-folders whose names hold no number are kinds (MT_Crack);
    with a number they are patients or films."""
    folders = {picture.path: "/".join(picture.folder) for picture in pictures}
    names = set(folders.values())
    return folders if len(names) > 1 and not any(map(_numbered, names)) else {}


def _numbered(name: str) -> bool:
    return any(letter.isdigit() for letter in name)


def _groups(pictures: Iterable[Placed]) -> dict[Path, str]:
    """Numbered sub-folders, each a patient or a film; else both eyes of one,
    whose names differ in a last L or R."""
    pictures = list(pictures)
    folders = {picture.path: "/".join(picture.folder) for picture in pictures}
    if len(set(folders.values())) > 1 and all(map(_numbered, set(folders.values()))):
        return folders
    whose = {
        picture.path: f"{folders[picture.path]}/{match['whose']}".lstrip("/")
        for picture in pictures
        if (match := _SIDES.match(picture.stem))
    }
    times = Counter(whose.values())
    return {path: name for path, name in whose.items() if times[name] > 1}


def _given(where: Path, pictures: Iterable[Placed]) -> dict[str, np.ndarray]:
    """One part alone is no split. Pictures of no part join train, if others have one."""
    parts = [picture.part for picture in pictures]
    if len(set(parts)) < 2:
        return {}
    of_row = np.array([part or "train" for part in parts])
    if "train" not in of_row:
        raise DataError(
            f"{where}: holds {' and '.join(sorted(set(parts)))} but no train; add it, "
            "or name one of them"
        )
    return {part: np.flatnonzero(of_row == part) for part in PARTS if part in of_row}


# What is said of it


def _why(
    found: Layout,
    said: coding.Coding,
    alone: int,
    given: dict[str, np.ndarray],
    kinds: dict[Path, str],
    groups: dict[Path, str],
) -> str:
    """alone: pictures whose mask holds one class."""
    parts = [
        (
            f"found {plural(len(found.pictures), 'picture')} with masks ({found.said}) of "
            f"{plural(len(said.classes), 'class')} ({said.said})"
        )
    ]
    if alone:
        parts.append(f"{alone:,} of them with one class alone")
    if found.annotators:
        parts.append(f"each by {len(found.annotators)} annotators ({first(found.annotators)})")
    if kinds:
        names = sorted(set(kinds.values()), key=natural)
        parts.append(f"of {len(names)} kinds by sub-folder ({first(names)})")
    if groups:
        owner = next(iter(groups.values()))
        alike = [path.name for path, name in groups.items() if name == owner]
        parts.append(
            f"{plural(len(set(groups.values())), 'group')} kept together ({first(alike, 2)} are "
            "one)"
        )
    if given:
        parts.append(f"split into {', '.join(f'{part} ({len(given[part]):,})' for part in given)}")
    return ", ".join(parts) + counted(found.others)


def _left_out_notes(found: Layout) -> tuple[str, ...]:
    beyond = [
        file
        for file, reason in found.others
        if reason.startswith(("a mask beyond", "a second mask"))
    ]
    if not beyond:
        return ()
    return (
        (
            f"WARNING: {plural(len(beyond), 'mask')} beyond those that most pictures have, such as "
            f"{beyond[0]}, are left out; join them first"
        ),
    )

"""Sharp pictures to learn enlarging from, and the small ones that some sets supply with them.

Names say which is which: `img_001_SRF_2_HR.png` with `img_001_SRF_2_LR.png`, `HR/0001.png` with
`LR/x2/0001x2.png`, or `DIV2K_train_HR/` with `DIV2K_train_LR_bicubic/X2/`. Without such names every
picture is a sharp one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...core.errors import DataError
from ..images import PICTURE_SUFFIXES, header
from ..images import read as pixels
from ..sample import HighResolution, Sample
from .dataset import PART_NAMES, PARTS, Dataset, counted, first, natural, plural
from .folders import MASK
from .objects import LeftOut, below, pictures, relative, without

_SEPARATORS = re.compile(r"[_\-. ]+")
_FACTOR = re.compile(r"(?:[_\-. ]*SRF[_\-. ]?|(?<![a-z])x|(?<=\d)x)([2-8])(?!\d)", re.IGNORECASE)
_LOOK = 200  # folders


class Named(NamedTuple):
    """A picture, and what its name and folders say. role: HR, LR, or "". key: the part of the set
    and the name of what it shows."""

    path: Path
    role: str
    factor: int | None
    part: str
    key: str


def recognise(folder: Path) -> bool:
    """Whether the names of all pictures say HR or LR, and some HR."""
    roles = {_named(path, folder).role for path in below(folder, PICTURE_SUFFIXES, most=_LOOK)}
    return "HR" in roles and "" not in roles


def _read(folder: Path, left_out: LeftOut) -> list[Named]:
    found = pictures(folder, left_out)
    photos = {path.with_suffix("") for path in found if path.suffix.lower() in (".jpg", ".jpeg")}
    masks = [
        path for path in found if path.suffix.lower() == ".png" and path.with_suffix("") in photos
    ]
    left_out += [(relative(path, folder), MASK) for path in masks]
    return [
        _named(path, folder)
        for path in sorted(
            set(found) - set(masks), key=lambda path: natural(relative(path, folder))
        )
    ]


def read(folder: Path) -> Dataset:
    """A sample a sharp picture: of copies of one, such as those of several factors, the first, with
    the small pictures of all.

    Those of other sizes of the same (cropped to fit a factor) stand by themselves, in one group.
    Raises DataError for a folder without pictures, and for a small picture that is no whole part of
    its sharp one.
    """
    left_out: LeftOut = []
    found = _read(folder, left_out)
    sharp = [each for each in found if each.role == "HR"] or [
        each for each in found if not each.role
    ]
    small = [each for each in found if each.role == "LR"]
    if not sharp:
        reason = "small pictures (LR) but no sharp ones (HR)" if small else "no picture"
        raise DataError(f"{folder}: holds {reason}; name a folder of sharp pictures")
    left_out += without(
        folder,
        (each.path for each in found if not each.role),
        (each.path for each in sharp),
        "a picture without HR in its name",
    )
    sizes = _sizes([*sharp, *small])
    alike = _alike(sharp, sizes, folder, left_out)
    low = _low(alike, small, sizes, folder, left_out)
    names = [one[0] for one in alike]
    shown = defaultdict(list)
    for each in names:
        shown[each.part, each.key].append(each)
    samples = tuple(
        Sample(
            each.path,
            HighResolution(low[each.path]),
            relative(each.path, folder),
            each.key if len(shown[each.part, each.key]) > 1 else None,
        )
        for each in names
    )
    given = _given([each.part for each in names])
    why = _why(samples, given) + counted(left_out)
    return Dataset(
        samples, (), "sharp", why, folder.resolve().name or "data", tuple(left_out), given, folder
    )


def _named(path: Path, root: Path) -> Named:
    *folders, _ = path.relative_to(root).parts
    role = part = ""
    factor: int | None = None
    rest: list[str] = []
    for name in (*folders, path.stem):
        said = _FACTOR.search(name)
        factor = int(said[1]) if said else factor
        words = [word for word in _SEPARATORS.split(_FACTOR.sub("", name)) if word]
        role = next((word.upper() for word in words if word.upper() in ("HR", "LR")), role)
        part = part or next(
            (PART_NAMES[word.lower()] for word in words if word.lower() in PART_NAMES), ""
        )
        rest.append("_".join(word for word in words if word.upper() not in ("HR", "LR", "BICUBIC")))
    return Named(path, role, factor, part, "/".join(name for name in rest if name))


def _sizes(named: list[Named]) -> dict[Path, tuple[int, int] | None]:
    """None for a picture that cannot be read, which whoever decodes it reports."""
    found: dict[Path, tuple[int, int] | None] = {}
    for each in named:
        try:
            head = header(each.path)
            found[each.path] = head.height, head.width
        except DataError:
            found[each.path] = None
    return found


def _alike(
    sharp: list[Named], sizes: dict[Path, tuple[int, int] | None], root: Path, left_out: LeftOut
) -> list[list[Named]]:
    """Pictures of one name, size and pixels, together;
    only those of one name and size are decoded."""
    found: dict[tuple[str, str, tuple[int, int] | None], list[list[Named]]] = defaultdict(list)
    for each in sharp:
        others = found[each.part, each.key, sizes[each.path]]
        same = next(
            (one for one in others if sizes[each.path] and _same(one[0].path, each.path)), None
        )
        if same is None:
            others.append([each])
        else:
            same.append(each)
            left_out.append(
                (relative(each.path, root), "a copy of a sharp picture, as of another factor")
            )
    return sorted(
        (one for others in found.values() for one in others),
        key=lambda one: natural(relative(one[0].path, root)),
    )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes() or np.array_equal(pixels(one), pixels(other))
    except DataError:
        return False


def _low(
    alike: list[list[Named]],
    small: list[Named],
    sizes: dict[Path, tuple[int, int] | None],
    root: Path,
    left_out: LeftOut,
) -> dict[Path, tuple[tuple[int, Path], ...]]:
    """The small pictures of each sharp one. Of several of one name it belongs to that of its folder
    and factor, then to any that fits."""
    of_key: dict[tuple[str, str], list[tuple[Named, Path]]] = defaultdict(list)
    for one in alike:
        for each in one:
            of_key[each.part, each.key].append((each, one[0].path))
    low: dict[Path, dict[int, Path]] = {one[0].path: {} for one in alike}
    for each in small:
        owners = of_key[each.part, each.key]
        near = [pair for pair in owners if pair[0].factor == each.factor] or owners
        if not near:
            left_out.append((relative(each.path, root), "a small picture without its sharp one"))
        elif sizes[each.path] and sizes[near[0][0].path]:
            factor = _factor(near[0][0].path, each.path, sizes)
            low[near[0][1]].setdefault(factor, each.path)
    return {path: tuple(sorted(each.items())) for path, each in low.items()}


def _factor(sharp: Path, small: Path, sizes: dict[Path, tuple[int, int] | None]) -> int:
    large, little = sizes[sharp], sizes[small]
    assert large is not None and little is not None
    factor = round(large[0] / little[0])
    # Sets that were not cropped to a multiple round up or down.
    if factor < 2 or any(
        abs(side / factor - part) >= 1 for side, part in zip(large, little, strict=True)
    ):
        both = (
            f"{little[1]}×{little[0]} pixels are no whole part of {sharp} ({large[1]}×{large[0]})"
        )
        raise DataError(f"{small}: {both}; mend or remove the small picture")
    return factor


def _given(parts: list[str]) -> dict[str, np.ndarray]:
    """One part alone is no split; pictures of no part join train."""
    of_row = np.array([part or "train" for part in parts])
    return (
        {part: np.flatnonzero(of_row == part) for part in PARTS if part in of_row}
        if len(set(parts)) > 1 and "train" in of_row
        else {}
    )


def _why(samples: tuple[Sample, ...], given: dict[str, np.ndarray]) -> str:
    factors = sorted({factor for sample in samples for factor, _ in sample.target.low})
    supplied = sum(bool(sample.target.low) for sample in samples)
    groups = {sample.group for sample in samples} - {None}
    said = f"found {plural(len(samples), 'sharp picture')}"
    said += (
        (
            f", {supplied:,} with small ones supplied "
            f"({first([f'×{factor}' for factor in factors], 7)})"
        )
        if supplied
        else ""
    )
    said += (
        f", {plural(len(groups), 'group')} of the same picture in several sizes kept together"
        if groups
        else ""
    )
    return said + (
        f", split into {', '.join(f'{part} ({len(given[part]):,})' for part in given)}"
        if given
        else ""
    )

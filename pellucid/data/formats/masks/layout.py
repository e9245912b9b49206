"""Which mask belongs to which picture, by names alone; no file is opened."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....core.errors import DataError
from ..dataset import PART_NAMES, natural
from ..objects import LeftOut, below, pictures, read_lines, relative

_IMAGES = {
    "image",
    "images",
    "img",
    "imgs",
    "jpegimages",
    "picture",
    "pictures",
    "photo",
    "photos",
    "input",
    "inputs",
}
_MASKS = {
    "mask",
    "masks",
    "label",
    "labels",
    "seg",
    "segs",
    "segmentation",
    "segmentations",
    "segmentationclass",
    "gt",
    "gts",
}
_MASKS |= {"groundtruth", "annotation", "annotations", "target", "targets"}
_LOOK = 200  # folders that are looked into before a set is called one of masks
# Of two files of one stem the mask is the one that keeps numbers and that cameras do not write: the
# later one here.
_RANK = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".ppm",
    ".pnm",
    ".tif",
    ".tiff",
    ".bmp",
    ".dib",
    ".png",
    ".pgm",
    ".pbm",
    ".gif",
)
_SETTINGS = ("config.yaml", "config.yml", "data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_WORD = r"(?:mask|label|seg|segmentation|gt|groundtruth|ground_truth|annotation)s?"
_MASK_NAME = re.compile(
    rf"^{_WORD}(?:[_\-. ]|\d)|[_\-. ]{_WORD}\d*(?:$|[_\-. ][^_\-. ]*$)", re.IGNORECASE
)
_LEAD = re.compile(rf"^(?:{_WORD}|image|img)(?:[_\-. ]+(?=.)|(?=\d))", re.IGNORECASE)
_TRAIL = re.compile(r"(?<=.)[_\-. ](?:image|img|im|sat|photo)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Placed:
    """A file and what its folders say. role: picture, mask, or "". part: train, validation, test,
    or "". folder: those that say nothing of the kind. annotator: of a mask."""

    path: Path
    role: str
    part: str
    folder: tuple[str, ...]
    annotator: str = ""

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def rank(self) -> int:
        return _RANK.index(self.path.suffix.lower())


@dataclass(frozen=True, slots=True)
class Layout:
    """root: what sources are relative to. pictures: natural order. masks: of each picture the file
    by annotator, "" where there is one. by: how masks were told, `folders`, `names`, `annotators`
    or `stems`. annotators: their names, where several drew each picture. said: the same for people.
    others: files of pictures and masks that have no partner, with the reason."""

    root: Path
    pictures: tuple[Placed, ...]
    masks: dict[Path, dict[str, Path]]
    by: str
    annotators: tuple[str, ...]
    said: str
    others: tuple[tuple[str, str], ...]


def likely(source: Path) -> bool:
    """Whether names say that pictures come with masks. A .png beside a .jpg in folders of classes
    does not: those folders are classes."""
    if configured(source) is not None:
        return True
    if not source.is_dir():
        return False
    files, by = _roles(_placed(source, below(source, set(_RANK), most=_LOOK)))
    masks = sum(file.role == "mask" for file in files)
    if not masks:
        return False
    layout = _paired(source, files, by)
    paired = sum(map(len, layout.masks.values()))
    if not paired or 2 * paired < masks:
        return False
    if by == "annotators":
        return len(layout.annotators) > 1
    return by != "stems" or not any(file.folder for file in layout.pictures)


def arrange(source: Path) -> Layout:
    """source: the folder of a data set, or the .yaml that names its folders."""
    left_out: LeftOut = []
    told = configured(source)
    if told is None:
        found = sorted(pictures(source, left_out), key=lambda path: natural(relative(path, source)))
        files, by = _roles(_placed(source, found))
        layout = _paired(source, _listed(source, files), by)
    else:
        files = _told(source, told, left_out)
        layout = _paired(
            _root(source if source.is_dir() else source.parent, files), files, "folders"
        )
    return replace(layout, others=(*left_out, *layout.others))


def _root(folder: Path, files: list[Placed]) -> Path:
    """The folder itself, or where its files lie elsewhere, the nearest one above that holds all."""
    outside = [file.path.parent for file in files if not file.path.is_relative_to(folder)]
    return (
        Path(os.path.commonpath([os.path.abspath(path) for path in (folder, *outside)]))
        if outside
        else folder
    )


# What folders say


def _placed(root: Path, paths: Iterable[Path]) -> list[Placed]:
    of_folder: dict[Path, tuple[str, str, tuple[str, ...], str]] = {}
    for path in (paths := list(paths)):
        if path.parent not in of_folder:
            of_folder[path.parent] = _place(path.parent.relative_to(root).parts)
    return [Placed(path, *of_folder[path.parent]) for path in paths]


def _place(folders: Iterable[str]) -> tuple[str, str, tuple[str, ...], str]:
    """Role, part, the folders that say neither, and annotator."""
    role = part = annotator = ""
    rest: list[str] = []
    for name in folders:
        said = _meaning(name)
        # `a/masks/…` is a data set in a folder, not this one: what it is relative to is not known.
        if said is None or (said[0] and (role or rest)) or (said[1] and part):
            rest.append(name)
        else:
            role, part, annotator = said[0] or role, said[1] or part, said[2] or annotator
    return role, part, tuple(rest), annotator


def _meaning(name: str) -> tuple[str, str, str] | None:
    """Role, part and annotator that the name of a folder says; None for any other folder."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"ground[_\- ]truth", "groundtruth", name.lower()))
    parts = [word for word in words if word.rstrip("0123456789") in PART_NAMES]
    roles = [word for word in words if word in _MASKS | _IMAGES]
    others = [word for word in words if word not in parts and word not in roles]
    part = PART_NAMES[parts[0].rstrip("0123456789")] if parts else ""
    kept = [word for word in words if word not in parts]
    if roles and kept[0] in roles and any(word in _MASKS for word in roles):
        return "mask", part, "_".join(others)
    if others or not words:
        return None
    return ("picture" if roles else ""), part, ""


def _roles(files: list[Placed]) -> tuple[list[Placed], str]:
    """Every file with its role, and what told it."""
    if not any(file.role == "mask" for file in files):
        return _by_names(files)
    if any(file.role == "picture" for file in files):
        return files, "folders"
    return [file if file.role else replace(file, role="picture") for file in files], "folders"


def _by_names(files: list[Placed]) -> tuple[list[Placed], str]:
    """Where no folder is one of masks: `x_mask.png`, `x_1stHO.png` beside `x.jpg`,
    or `x.png` beside `x.jpg`."""
    plain: dict[tuple[str, tuple[str, ...], str], int] = {}
    for file in files:
        if not _MASK_NAME.search(file.stem):
            key = (file.part, file.folder, _bare(file.stem))
            plain[key] = min(plain.get(key, len(_RANK)), file.rank)
    told = [_told_by_name(file, plain) for file in files]
    by = next((word for word in ("names", "annotators", "stems") if word in told), "names")
    # A name that speaks of masks is one of a picture where none of them has a partner (a class
    # called `label`).
    named = "names" in told
    masks = [
        bool(word) or (named and bool(_MASK_NAME.search(file.stem)))
        for word, file in zip(told, files, strict=True)
    ]
    return [
        replace(file, role="mask" if mask else "picture")
        for mask, file in zip(masks, files, strict=True)
    ], by


def _told_by_name(file: Placed, plain: dict[tuple[str, tuple[str, ...], str], int]) -> str:
    if _MASK_NAME.search(file.stem):
        return (
            "names"
            if any((file.part, file.folder, stem) in plain for stem, _ in _stems(file.stem))
            else ""
        )
    for stem, more in _stems(file.stem):
        if plain.get((file.part, file.folder, stem), len(_RANK)) < file.rank and (
            more or stem == _bare(file.stem)
        ):
            return "annotators" if more else "stems"
    return ""


def _bare(stem: str) -> str:
    """Without the word for a picture or a mask: image_07 is 07, and so is 07_image."""
    return _TRAIL.sub("", _LEAD.sub("", stem))


def _stems(stem: str) -> Iterator[tuple[str, str]]:
    """What the picture of a mask may be called, longest first, each with what is left over."""
    stem = _LEAD.sub("", stem)
    yield _bare(stem), ""
    for cut in reversed([match.start() for match in re.finditer(r"[_\-. ]", stem)]):
        if cut:
            yield _bare(stem[:cut]), stem[cut + 1 :]


# Pairs


def _paired(root: Path, files: list[Placed], by: str) -> Layout:
    known: dict[tuple[str, tuple[str, ...], str], Placed] = {}
    masks: dict[Path, dict[str, Path]] = {}
    others: LeftOut = [
        (relative(file.path, root), "in a folder of neither pictures nor masks")
        for file in files
        if not file.role
    ]
    for file in files:
        if (
            file.role == "picture"
            and known.setdefault((file.part, file.folder, _bare(file.stem)), file) is not file
        ):
            others.append((relative(file.path, root), "a picture of the same name as another"))
    places = {(part, folder) for part, folder, _ in known}
    for file in files:
        if file.role == "mask":
            picture, annotator = _partner(file, known, places)
            if picture is None:
                others.append((relative(file.path, root), "a mask without a picture"))
            elif (
                masks.setdefault(picture.path, {}).setdefault(annotator, file.path) is not file.path
            ):
                others.append((relative(file.path, root), "a second mask of the same name"))
    chosen = _annotators(masks)
    held = [file for file in known.values() if _complete(file, masks, chosen, root, others)]
    kept = {file.path: {name: masks[file.path][name] for name in chosen} for file in held}
    return Layout(
        root,
        tuple(held),
        kept,
        by,
        tuple(chosen) if len(chosen) > 1 else (),
        _words(root, by, held, kept),
        tuple(others),
    )


def _partner(
    mask: Placed,
    known: dict[tuple[str, tuple[str, ...], str], Placed],
    places: set[tuple[str, tuple[str, ...]]],
) -> tuple[Placed | None, str]:
    """The picture of a mask, and who drew it: masks_a/, masks/a/ or x_a.png."""
    folder, annotator = mask.folder, mask.annotator
    if (mask.part, folder) not in places and folder:
        folder, annotator = next(
            (
                (rest, name)
                for rest, name in ((folder[1:], folder[0]), (folder[:-1], folder[-1]))
                if (mask.part, rest) in places
            ),
            (folder, annotator),
        )
    for stem, more in _stems(mask.stem):
        if (mask.part, folder, stem) in known:
            words = [word for word in re.split(r"[_\-. ]+", more) if word]
            said = "_".join(
                re.sub(rf"^{_WORD}(?=\d*$)", "", word, flags=re.IGNORECASE) for word in words
            )
            return known[mask.part, folder, stem], said.strip("_") or annotator
    return None, ""


def _annotators(masks: dict[Path, dict[str, Path]]) -> list[str]:
    """Those who drew at least half of the pictures; where there is none, whoever drew most."""
    drew = Counter(name for each in masks.values() for name in each)
    most = [name for name, times in drew.most_common() if 2 * times >= len(masks)] or [
        name for name, _ in drew.most_common(1)
    ]
    return sorted(most, key=natural)


def _complete(
    file: Placed, masks: dict[Path, dict[str, Path]], chosen: list[str], root: Path, others: LeftOut
) -> bool:
    """Whether all who draw drew this one; what is left of it otherwise is said."""
    drawn = masks.get(file.path, {})
    missing = [name for name in chosen if name not in drawn] if drawn else []
    others += [
        (relative(path, root), "a mask beyond those that most pictures have")
        for name, path in drawn.items()
        if name not in chosen
    ]
    if not drawn or missing:
        others.append(
            (
                relative(file.path, root),
                f"a picture without a mask{' of ' + ', '.join(missing) if any(missing) else ''}",
            )
        )
    return bool(drawn) and not missing


def _words(root: Path, by: str, held: list[Placed], masks: dict[Path, dict[str, Path]]) -> str:
    if not held:
        return ""
    picture = held[0].path
    names = [relative(path, root) for path in masks[picture].values()]
    beside = [name.rsplit("/", 1)[-1] for name in names] if by != "folders" else names
    return f"{relative(picture, root)} with {' and '.join(beside)}"


# What files say


def settings_file(source: Path) -> Path | None:
    path = (
        source
        if source.is_file()
        else next((source / name for name in _SETTINGS if (source / name).is_file()), None)
    )
    return path if path is not None and path.suffix.lower() in (".yaml", ".yml") else None


def configured(source: Path) -> dict[str, Any] | None:
    """The settings of a set whose parts name folders of images and of masks;
    None where there are none."""
    path = settings_file(source)
    if path is None or path.stat().st_size > 1 << 20:
        return None
    import yaml  # type: ignore[import-untyped]

    try:
        # Every scalar stays text; nothing is ever constructed.
        found = yaml.load("\n".join(read_lines(path)), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, DataError):
        return None
    return found if isinstance(found, dict) and any(_entries(found)) else None


def _entries(settings: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Part, folder of pictures, folder of masks."""
    for key, said in settings.items():
        # Panoptic sets name their masks alike, and beside them the annotations that say what their
        # colours are.
        if key.lower() not in PART_NAMES or not isinstance(said, dict) or "annotations" in said:
            continue
        if all(isinstance(said.get(name), str) for name in ("images", "masks")):
            yield PART_NAMES[key.lower()], said["images"], said["masks"]


def _told(source: Path, settings: dict[str, Any], left_out: LeftOut) -> list[Placed]:
    folder, files = source if source.is_dir() else source.parent, []
    for part, *folders in _entries(settings):
        places = [Path(os.path.normpath(folder / name)) for name in folders]
        missing = [name for name, place in zip(folders, places, strict=True) if not place.is_dir()]
        left_out += [(name, f"a folder of {part} that is not there") for name in missing]
        if not missing:
            for role, place in zip(("picture", "mask"), places, strict=True):
                files += [
                    Placed(path, role, part, path.relative_to(place).parts[:-1])
                    for path in pictures(place, left_out)
                ]
    return sorted(files, key=lambda file: natural(relative(file.path, folder)))


def _listed(root: Path, files: list[Placed]) -> list[Placed]:
    """VOC's lists give the parts: ImageSets/Segmentation/train.txt and val.txt."""
    lists = [
        path
        for name in ("train", "val", "test")
        if (path := root / "ImageSets" / "Segmentation" / f"{name}.txt").is_file()
    ]
    part = {line.strip(): PART_NAMES[path.stem] for path in lists for line in read_lines(path)}
    return [replace(file, part=part.get(file.stem, "")) for file in files] if part else files

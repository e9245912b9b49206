"""Volumes with a label for each voxel, and the volumes of a patient without.

A folder a patient, its channels and its labels in files of their own (`flair.nii.gz`, `t1c.nii.gz`,
`seg.nii.gz`); or volumes in one folder and their labels in the folder beside it, by name
(`imagesTr/`, `labelsTr/`, `dataset.json` of the Medical Segmentation Decathlon and nnU-Net;
`images/`, `labels/`), where a channel is a file with `_0000`, `_0001` … behind the name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import DataError
from ...core.types import IGNORE, Mask
from ..dicom import SUFFIX as DICOM
from ..sample import Sample
from ..volumes import Volume, check_overlay, grid, is_nifti, labels, letters, stem
from .dataset import PART_NAMES, PARTS, Dataset, counted, first, natural, plural
from .objects import LeftOut, below, parse_json, relative

_IMAGES = {
    "imagestr": "train",
    "imagests": "test",
    "images": "",
    "image": "",
    "imgs": "",
    "img": "",
    "volumes": "",
}
_LABELS = {"labelstr", "labelsts", "labels", "label", "masks", "mask", "segmentations", "seg", "gt"}
_SAYS_LABELS = {
    "label",
    "labels",
    "seg",
    "segm",
    "segmentation",
    "gt",
    "truth",
    "groundtruth",
    "annotation",
    "annotations",
    "ot",
}
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_MOST_LABELS = 32
# Both wait for a disk and for zlib, which lets go of the interpreter.
_READERS = 4


class Case(NamedTuple):
    """One patient as found. folder: of the whole patient, or nothing. files: by the name of the
    channel. part: train, test or "" """

    name: str
    folder: Path | None
    files: dict[str, Path]
    labels: Path
    part: str


def recognise(path: Path) -> bool:
    """Whether there is a volume in it, at most 200 folders wide, by names alone."""
    if not path.is_dir():
        return is_nifti(path) or path.suffix.lower() == DICOM
    return next(_below(path, most=200), None) is not None


def read(source: Path) -> Dataset:
    """Samples whose image is a `Volume` and whose truth is a `Mask` D×H×W; labels are read here,
    each once, volumes are not.

    Raises DataError for labels without a volume on the same grid, labels that are no whole numbers
    from 0 to 254, and when no patient has both. What else could not be used stands in `left_out`.
    """
    if not source.is_dir():
        raise DataError(
            f"{source}: one volume is no data set; name a folder with one sub-folder a patient, "
            "or images/ and labels/"
        )
    left_out: LeftOut = []
    said = _dataset(source)
    cases = _paired(source, left_out) or _patients(source, left_out)
    cases, channels = _complete(source, cases, left_out)
    before, cases = left_out.copy(), [case for case in cases if _readable(source, case, left_out)]
    if not cases:
        raise DataError(
            f"{source}: no volume with its labels can be read{_reason(left_out)}; docs/volumes.md "
            "shows what is expected"
        )
    with ThreadPoolExecutor(_READERS) as pool:
        masks = list(pool.map(_mask, cases))
    masks, classes, notes = _numbered(source, cases, masks, said)
    notes += _unreadable(left_out[len(before) :])
    samples = tuple(
        _sample(source, case, channels, mask) for case, mask in zip(cases, masks, strict=True)
    )
    given = _given(cases)
    why = _why(samples, classes, channels, given) + counted(
        (name, _kind(reason)) for name, reason in left_out
    )
    name = source.resolve().name or "data"
    return Dataset(
        samples, classes, "volumes", why, name, tuple(left_out), given, source, tuple(notes)
    )


def find(path: Path, names: Sequence[str]) -> list[Sample]:
    """What a user names for an answer: a NIfTI file, a DICOM file or series, the folder of a
    patient, a folder of such folders.

    names: of the channels that the model learnt from. A model of one channel takes any volume; of
    several, files are found by their name. truth is None; source is relative to `path`. Raises
    DataError for a channel that is missing, and where there is no volume.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; check the path")
    if not path.is_dir():
        if not is_nifti(path) and path.suffix.lower() != DICOM:
            raise DataError(
                f"{path}: is no volume, and this model knows volumes; name NIfTI or DICOM"
            )
        if len(names) > 1:
            raise DataError(
                f"{path}: one file, but the model looks at {len(names)} ({first(names)}); name the "
                "folder that holds them"
            )
        return [Sample(Volume((path,), tuple(names)), None, path.name, path.name)]
    folders = [
        folder for folder in _folders(path) if folder == path or folder.name.lower() not in _LABELS
    ]
    found = [sample for folder in folders for sample in _inside(path, folder, names)]
    if not found:
        raise DataError(
            f"{path}: holds no volume; name a .nii or .nii.gz file, the folder of a patient, "
            "or of a DICOM series"
        )
    return found


def _inside(root: Path, folder: Path, names: Sequence[str]) -> list[Sample]:
    """The volumes of one folder: a series, a patient's channels, or files by case."""
    where = _name(folder, root)
    files = sorted(
        (each for each in folder.iterdir() if is_nifti(each)), key=lambda each: natural(each.name)
    )
    if not files:
        if len(names) > 1:
            raise DataError(
                f"{folder}: one DICOM series, but the model looks at {len(names)} "
                f"({first(names)}); convert them to NIfTI"
            )
        return [Sample(Volume((folder,), tuple(names)), None, where, where)]
    named = {_channel(folder, file): file for file in files}
    if all(name in named for name in names):
        return [
            Sample(Volume(tuple(named[name] for name in names), tuple(names)), None, where, where)
        ]
    images = [file for file in files if not _says_labels(file) and not _says_mask(file)]
    cases = {
        case: by_channel
        for case, by_channel in _by_case(images).items()
        if set(names) <= set(by_channel)
    }
    if len(names) == 1 and not cases:
        cases = {file.name: {names[0]: file} for file in images}
    if not cases:
        missing = next(name for name in names if name not in named)
        raise DataError(
            f"{folder}: has no channel {missing}, which the model looks at; there is "
            f"{first(list(named))}: add or rename it"
        )
    found = [
        (tuple(by_channel[name] for name in names), case) for case, by_channel in cases.items()
    ]
    return [
        Sample(
            Volume(each, tuple(names)), None, relative(each[0], root), relative(folder / case, root)
        )
        for each, case in found
    ]


# What lies where


def _below(folder: Path, most: int | None = None) -> Iterator[Path]:
    return (
        path
        for path in below(folder, {".nii", ".gz", DICOM}, most)
        if path.suffix.lower() == DICOM or is_nifti(path)
    )


def _folders(root: Path) -> list[Path]:
    """Those that hold a volume themselves, in the natural order of their names."""
    return sorted({path.parent for path in _below(root)}, key=lambda folder: natural(str(folder)))


def _name(folder: Path, root: Path) -> str:
    return folder.resolve().name if folder == root else relative(folder, root)


def _channel(folder: Path, file: Path) -> str:
    """The stem, without the patient's name where that stands in front:
    BraTS_001/BraTS_001_flair.nii.gz is flair."""
    return stem(file).removeprefix(folder.resolve().name).strip("_-. ") or stem(file)


def _words(name: str) -> set[str]:
    """OTMultiClass: ot, multi, class."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _says_labels(file: Path) -> bool:
    return bool(_words(stem(file)) & _SAYS_LABELS)


def _says_mask(file: Path) -> bool:
    return any(word.endswith(("mask", "masks", "msk")) for word in _words(stem(file)))


def _by_case(files: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """The files of each case by channel: x_0000 and x_0001 are two of x. A file without such a
    number is a case of one channel, "0000"."""
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    for file in sorted(files, key=lambda file: natural(file.name)):
        numbered = _CHANNEL.fullmatch(stem(file))
        case, channel = numbered.groups() if numbered else (stem(file), "0000")
        cases[case][channel] = file
    return cases


def _paired(source: Path, left_out: LeftOut) -> list[Case]:
    """images/ and labels/ side by side, wherever below the source;
    nothing where no volume has labels there."""
    cases: list[Case] = []
    lost: LeftOut = []
    folders = _folders(source)
    for images in folders:
        kind = images.name.lower()
        if kind not in _IMAGES:
            continue
        beside = [
            each
            for each in folders
            if each.parent == images.parent and each.name.lower() in _LABELS
        ]
        beside = [
            each for each in beside if not _IMAGES[kind] or each.name.lower()[-2:] == kind[-2:]
        ]
        targets = {
            stem(file): file for each in beside[:1] for file in each.iterdir() if is_nifti(file)
        }
        part = _IMAGES[kind] or PART_NAMES.get(images.parent.name.lower(), "")
        for name, files in _by_case(each for each in images.iterdir() if is_nifti(each)).items():
            if name in targets:
                cases.append(
                    Case(
                        relative(images.parent / name, source), None, files, targets.pop(name), part
                    )
                )
            else:
                lost += [
                    (relative(file, source), "a volume without labels") for file in files.values()
                ]
        lost += [(relative(file, source), "labels without a volume") for file in targets.values()]
    left_out += lost if cases else []
    return cases


def _patients(source: Path, left_out: LeftOut) -> list[Case]:
    """A folder a patient: of its files one is the labels, by its name or else by its voxels."""
    cases = []
    for folder in _folders(source):
        where, files = (
            _name(folder, source),
            {_channel(folder, file): file for file in sorted(folder.iterdir()) if is_nifti(file)},
        )
        if pairs := _side_by_side(folder, source):
            cases += pairs
            used = {file for case in pairs for file in (*case.files.values(), case.labels)}
            left_out += [
                (relative(file, source), "a volume without labels")
                for file in files.values()
                if file not in used
            ]
            continue
        masks = {
            name: file
            for name, file in files.items()
            if _says_mask(file) and not _says_labels(file)
        }
        targets = (
            {name: file for name, file in files.items() if _says_labels(file)}
            or masks
            or _whole_numbered(files)
        )
        if len(targets) > 1:
            both = first([file.name for file in targets.values()])
            raise DataError(
                f"{folder}: several files look like labels ({both}); keep one, "
                "or rename it to seg.nii.gz"
            )
        if not targets or len(files) == 1:
            left_out.append(
                (where, "a patient without labels" if files else "DICOM, which holds no labels")
            )
            continue
        target = next(iter(targets.values()))
        left_out += [
            (relative(file, source), "a mask of where to look")
            for file in masks.values()
            if file != target
        ]
        rest = {name: file for name, file in files.items() if file != target and name not in masks}
        cases.append(Case(where, folder, rest, target, ""))
    return cases


def _side_by_side(folder: Path, source: Path) -> list[Case]:
    """Several volumes in one folder, each with its labels by name: x.nii.gz and x_seg.nii.gz."""
    files = {
        stem(file): file
        for file in sorted(folder.iterdir(), key=lambda file: natural(file.name))
        if is_nifti(file)
    }
    bases = {
        name: re.split(r"[_. -][^_. -]+$", name)[0]
        for name, file in files.items()
        if _says_labels(file) or _says_mask(file)
    }
    if len(bases) < 2 or not all(base in files and base not in bases for base in bases.values()):
        return []
    return [
        Case(_name(folder, source), None, {"0000": files[base]}, files[name], "")
        for name, base in bases.items()
    ]


def _whole_numbered(files: dict[str, Path]) -> dict[str, Path]:
    """Those that hold a few whole numbers and nothing else: what labels look like when no
    name says so."""

    def looks(file: Path) -> bool:
        try:
            return 2 <= len(np.unique(labels(file))) <= _MOST_LABELS
        except DataError:
            return False

    return {name: file for name, file in files.items() if looks(file)}


def _complete(
    source: Path, cases: list[Case], left_out: LeftOut
) -> tuple[list[Case], tuple[str, ...]]:
    """The channels that most have, and the patients that have them all."""
    counts = Counter(name for case in cases for name in case.files)
    channels = tuple(
        sorted((name for name, count in counts.items() if 2 * count > len(cases)), key=natural)
    )
    if cases and not channels:
        raise DataError(
            f"{source}: patients have no channel in common (there is {first(list(counts))}); give "
            "each channel one name in all"
        )
    kept = []
    for case in cases:
        missing = [name for name in channels if name not in case.files]
        if missing:
            left_out.append((case.name, f"a patient without the channel {missing[0]}"))
            continue
        left_out += [
            (relative(file, source), "a channel that most have not")
            for name, file in case.files.items()
            if name not in channels
        ]
        kept.append(case._replace(files={name: case.files[name] for name in channels}))
    return kept, channels


def _readable(source: Path, case: Case, left_out: LeftOut) -> bool:
    """Whether its volume is one; then its labels must lie on it.
    Raises DataError where they do not."""
    files = list(case.files.values())
    for file in files:
        try:
            grid(file)
        except DataError as error:
            left_out.append((relative(file, source), str(error).removeprefix(f"{file}: ")))
            return False
    for other in [*files[1:], case.labels]:
        check_overlay(files[0], other)
    return True


def _unreadable(left_out: LeftOut) -> list[str]:
    if not left_out:
        return []
    first, reason = left_out[0]
    return [
        (
            f"WARNING: {plural(len(left_out), 'patient')} left out, of whom a file cannot be read, "
            f"such as {first}: {reason}"
        )
    ]


# Labels


def _mask(case: Case) -> Mask:
    return Mask.of(labels(case.labels), spacing=grid(next(iter(case.files.values())))[1].spacing)


def _numbered(
    source: Path, cases: list[Case], masks: list[Mask], said: dict[int, str]
) -> tuple[list[Mask], tuple[str, ...], list[str]]:
    """Labels as numbers of classes without holes, the names of these, and what is to be said of it.

    said: names by label. 255 is a class only beside nothing but 0; else nobody is asked about it.
    """
    counts = np.sum([mask.counts for mask in masks], axis=0)
    present = np.flatnonzero(counts).tolist()
    ignored = {label for label, name in said.items() if name.lower() == "ignore"} | (
        {IGNORE} if present != [0, IGNORE] else set()
    )
    if said:
        _check_named(source, cases, masks, set(said) | ignored)
    values = sorted((set(present) | set(said)) - ignored)
    if len(set(present) - ignored) < 2:
        only = next((value for value in present if value not in ignored), "left open")
        raise DataError(
            f"{source}: all labels are {only}, so there is nothing to learn; mark something"
        )
    table = np.full(256, IGNORE, np.uint8)
    table[values] = np.arange(len(values))
    if not np.array_equal(table[present], present):
        masks = [Mask.of(table[mask.labels()], spacing=mask.spacing) for mask in masks]
    classes = (
        ("background", "foreground")
        if values == [0, IGNORE]
        else tuple(said.get(value, str(value)) for value in values)
    )
    notes = [
        f"{counts[value]:,} voxels are labelled {value}: nobody is asked about them"
        for value in present
        if value in ignored
    ]
    if values != list(range(len(values))):
        notes.append(
            f"labels {first(values, 8)} have holes; they became classes 0 to {len(values) - 1}, "
            "in this order"
        )
    return masks, classes, notes


def _check_named(source: Path, cases: list[Case], masks: list[Mask], known: set[int]) -> None:
    for case, mask in zip(cases, masks, strict=True):
        if strange := sorted(set(np.flatnonzero(mask.counts).tolist()) - known):
            raise DataError(
                f"{case.labels}: says {strange[0]}, which has no name in "
                f"{source / 'dataset.json'}; name it there"
            )


def _dataset(source: Path) -> dict[int, str]:
    """The names of labels in dataset.json, as either of its two forms says them: {"0":
    "background"}, {"background": 0}."""
    path = source / "dataset.json"
    if not path.is_file():
        return {}
    names: Any = parse_json(path).get("labels", {})
    if not isinstance(names, dict):
        raise DataError(
            f'{path}: its labels are no names with numbers; write {{"background": 0, …}}'
        )
    found = {}
    for key, value in names.items():
        number, name = (key, value) if str(key).isdecimal() else (value, key)
        if not str(number).isdecimal() or int(number) > IGNORE:
            raise DataError(
                f"{path}: the label {key} is {value}, not one number from 0 to 254; regions of "
                "several labels are not known here"
            )
        found[int(number)] = str(name)
    return found


def _sample(source: Path, case: Case, channels: tuple[str, ...], mask: Mask) -> Sample:
    name = case.name if case.folder else relative(next(iter(case.files.values())), source)
    return Sample(Volume(tuple(case.files.values()), channels), mask, name, case.name)


def _given(cases: list[Case]) -> dict[str, np.ndarray]:
    parts = np.array([case.part for case in cases])
    if len(set(parts)) < 2 or "train" not in parts:
        return {}
    parts[parts == ""] = "train"
    return {part: np.flatnonzero(parts == part) for part in PARTS if part in parts}


# What is said


def _kind(reason: str) -> str:
    """Of a refusal the first words: numbers in it would make each a kind of its own."""
    return re.split(r"[(;:]|, ", reason)[0].strip()


def _reason(left_out: LeftOut) -> str:
    return f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""


def _why(
    samples: Sequence[Sample],
    classes: Sequence[str],
    channels: Sequence[str],
    given: dict[str, np.ndarray],
) -> str:
    spaces = [sample.image.space() for sample in samples]  # type: ignore[union-attr]
    spacings = sorted(
        {"×".join(f"{side:.3g}" for side in space.spacing) for space in spaces if space},
        key=natural,
    )
    turned = sorted({letters(space.affine) for space in spaces if space})
    split = (
        f", split into {', '.join(f'{part} ({len(given[part]):,})' for part in given)}"
        if given
        else ""
    )
    seen = (
        f"{plural(len(channels), 'channel')} ({first(channels, 4)}), voxels of "
        f"{first(spacings, 2)} mm, axes {first(turned, 2)}"
    )
    return (
        f"found {plural(len(samples), 'volume')} with labels of {plural(len(classes), 'class')}: "
        f"{seen}{split}"
    )

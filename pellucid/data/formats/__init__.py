"""Recognise a data set by looking at it, and read it.

Classification: `<class>/…`, `train|val|test/<class>/…`, CSV `image,label[,group][,split]`, IDX,
NPZ, the built-in `digits`.
Detection: COCO, Pascal VOC, YOLO.
Segmentation: pictures with masks, volumes with labels.
Super-resolution: sharp pictures, with or without small ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import DataError, did_you_mean
from ..images import PICTURE_SUFFIXES
from . import arrays, coco, folders, high_resolution, idx, masks, tables, voc, volumes, yolo
from .dataset import Dataset

__all__ = ["MASKS", "OBJECTS", "Dataset", "read", "read_masks", "read_objects", "read_sharp"]
__all__ += ["recognise_masks", "recognise_objects", "recognise_sharp"]

# The most explicit description first: a set that comes in several formats is read in one of them.
OBJECTS = {"coco": coco, "voc": voc, "yolo": yolo}
MASKS = {"volumes": volumes, "masks": masks}

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")
_LAYOUTS = (
    "a folder with one sub-folder a class, train/ and test/ of such folders, a CSV with the "
    "columns image,label, "
    "IDX files, an NPZ, or digits"
)


def read(source: str | Path) -> Dataset:
    """The samples of a data set, its classes, and what was recognised and why; pictures in files
    are not opened yet.

    source: a folder or a file, or `digits` for the built-in set (a folder of that name is reached
    as `./digits`). Raises DataError that names the file, says what is wrong and what to do.
    """
    path = Path(source)
    if source == "digits" or (path == Path("digits") and not path.exists()):
        return arrays.read_digits()
    with _readable(path):
        return _read_folder(path) if path.is_dir() else _read_file(path)


def read_objects(source: str | Path) -> Dataset:
    """A data set of pictures with boxes: truths are `Objects` in original pixels, boxes held to
    their picture; pictures are not decoded.

    source: a folder, one COCO file, or the settings file of a YOLO set. What was found wrong stands
    in `left_out`, by file and line. Raises DataError that names the file, says what is wrong and
    what to do.
    """
    path = Path(source)
    with _readable(path):
        if source == "digits" and not path.exists():
            raise DataError(
                "digits: the built-in pictures have no boxes; name a data set in COCO, "
                "VOC or YOLO format"
            )
        if not path.exists():
            raise DataError(f"{path}: does not exist; {_near(path)}")
        kind = _recognise_objects(path)
        if kind is None and path.is_dir():
            inside = [
                folder
                for folder in sorted(path.iterdir())
                if folder.is_dir() and _recognise_objects(folder)
            ]
            advice = (
                f"did you mean {inside[0]}?"
                if inside
                else "expected COCO, VOC or YOLO; docs/data.md shows each"
            )
            raise DataError(f"{path}: holds no boxes that are known here; {advice}")
        if kind is None:
            raise DataError(
                f"{path}: is no set of boxes that is known here; name a folder, a COCO .json, or "
                "the .yaml of a YOLO set"
            )
        return OBJECTS[kind].read(path)


def recognise_objects(source: str | Path) -> str | None:
    """`coco`, `voc` or `yolo` by a look at names and the heads of a few files; None for what is no
    set of boxes, or is not there."""
    path = Path(source)
    with _readable(path):
        return _recognise_objects(path)


def read_masks(source: str | Path) -> Dataset:
    """A data set of pictures or volumes with masks: truths are `Mask`s of their picture's size;
    pictures are not decoded, masks are.

    source: a folder, or a .yaml whose train and val name images and masks. Pictures of a folder of
    kinds that have their mask beside them (x.jpg, x.png) are read, although `recognise_masks`
    leaves them to classification.
    Raises DataError that names the files, says what is wrong and what to do.
    """
    path = Path(source)
    with _readable(path):
        if source == "digits" and not path.exists():
            raise DataError(
                "digits: the built-in pictures have no masks; name a folder with images/ and "
                "masks/, or with volumes"
            )
        if not path.exists():
            raise DataError(f"{path}: does not exist; {_near(path)}")
        kind = _recognise_masks(path)
        if kind is None and path.is_dir() and not masks.has_pairs(path):
            inside = [
                folder
                for folder in sorted(path.iterdir())
                if folder.is_dir() and _recognise_masks(folder)
            ]
            if inside:
                raise DataError(f"{path}: is no set with masks itself; did you mean {inside[0]}?")
        if kind is None and path.is_file():
            raise DataError(
                f"{path}: is no set with masks; name its folder, "
                "or a .yaml whose train names images and masks"
            )
        return MASKS[kind or "masks"].read(path)


def recognise_masks(source: str | Path) -> str | None:
    """`volumes` or `masks` by a look at names; None for what says nothing of masks,
    or is not there."""
    path = Path(source)
    with _readable(path):
        return _recognise_masks(path)


def read_sharp(source: str | Path) -> Dataset:
    """Pictures without any answer, to learn enlarging from: truths are `HighResolution`; pictures
    are not decoded.

    source: a folder of pictures, sub-folders and all, or one with HR and LR in its names. Raises
    DataError that names the file.
    """
    path = Path(source)
    with _readable(path):
        if not path.is_dir():
            advice = "name the folder that holds it" if path.exists() else _near(path)
            raise DataError(
                f"{path}: {'is' if path.exists() else 'there is'} no folder of pictures; {advice}"
            )
        return high_resolution.read(path)


def recognise_sharp(source: str | Path) -> bool:
    """Whether names say HR, or HR and LR; a plain folder of pictures is read when super-resolution
    is asked for by name."""
    path = Path(source)
    with _readable(path):
        return path.is_dir() and high_resolution.recognise(path)


def _recognise_masks(path: Path) -> str | None:
    return next(
        (kind for kind, format in MASKS.items() if path.exists() and format.recognise(path)), None
    )


def _recognise_objects(path: Path) -> str | None:
    return next(
        (kind for kind, format in OBJECTS.items() if path.exists() and format.recognise(path)), None
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"{error.filename or path}: may not be read; change its permissions"
        ) from None
    except OSError as error:
        raise DataError(
            f"{error.filename or path}: could not be read ({error.strerror or error})"
        ) from error


def _near(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"neither does {parent}; check the path"
    siblings = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))[
        :20
    ]
    return did_you_mean(path.name, [*siblings, "digits"])


def _read_folder(path: Path) -> Dataset:
    """The most explicit description wins: a table of labels, then arrays, then folders."""
    tables_here = tables.find(path)
    if len(tables_here) == 1:
        return tables.read_csv(tables_here[0], path.resolve().name)
    pairs = idx.find(path)
    if pairs:
        return idx.read_folder(path, pairs)
    reading = folders.read(path)
    if reading:
        return reading
    if tables_here:
        names = ", ".join(table.name for table in tables_here[:3])
        raise DataError(
            f"{path}: holds several tables of labels ({names}); name one, "
            "or join them with a column split"
        )
    arrays_here = sorted(path.glob("*.npz"))
    if arrays_here:
        raise DataError(
            f"{path}: holds no pictures; for the arrays in it name the file: {arrays_here[0]}"
        )
    raise DataError(f"{path}: {folders.why_not(path)}; expected {_LAYOUTS}")


def _read_file(path: Path) -> Dataset:
    if not path.exists():
        raise DataError(f"{path}: does not exist; {_near(path)}")
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise DataError(
            f"{path}: a pickle can run code when it is opened, so it is never read as data; save "
            "it as NPZ or pictures"
        )
    if suffix == ".csv":
        return tables.read_csv(path, path.resolve().parent.name)
    if suffix == ".npz":
        return arrays.read_npz(path)
    if idx.looks_like(path):
        return idx.read_file(path)
    if suffix in _ARCHIVES:
        raise DataError(f"{path}: is an archive; unpack it and name the folder")
    if suffix == ".npy":
        raise DataError(
            f"{path}: one array holds no labels; save both with numpy.savez(file, "
            "images=…, labels=…)"
        )
    if suffix in PICTURE_SUFFIXES:
        raise DataError(
            f"{path}: one picture is no data set; name a folder with one sub-folder a class"
        )
    raise DataError(f"{path}: is not a data set that is known here; expected {_LAYOUTS}")

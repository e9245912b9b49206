"""Recognise a data set by looking at it, and read it.

Classification: `<class>/…`, `train|val|test/<class>/…`, CSV `image,label[,group][,split]`, IDX, NPZ, the built-in `digits`.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError, did_you_mean
from ..images import PICTURE_SUFFIXES
from . import arrays, folders, idx, tables
from .reading import Reading

__all__ = ["Reading", "read"]

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")
_LAYOUTS = (
    "a folder with one sub-folder a class, train/ and test/ of such folders, a CSV with the columns image,label, "
    "IDX files, an NPZ, or digits"
)


def read(source: str | Path) -> Reading:
    """The samples of a data set, its classes, and what was recognised and why; pictures in files are not opened yet.

    source: a folder or a file, or `digits` for the built-in set (a folder of that name is reached as `./digits`).
    Raises DataError that names the file, says what is wrong and what to do.
    """
    path = Path(source)
    if source == "digits" or (path == Path("digits") and not path.exists()):
        return arrays.read_digits()
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.exists():
            return _read_file(path)
    except PermissionError as error:
        raise DataError(f"{error.filename or path}: may not be read; change its permissions") from None
    except OSError as error:
        raise DataError(f"{error.filename or path}: could not be read ({error.strerror or error})") from error
    raise DataError(f"{path}: does not exist; {_near(path)}")


def _near(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"neither does {parent}; check the path"
    siblings = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))[:20]
    return did_you_mean(path.name, [*siblings, "digits"])


def _read_folder(path: Path) -> Reading:
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
        raise DataError(f"{path}: holds several tables of labels ({names}); name one, or join them with a column split")
    arrays_here = sorted(path.glob("*.npz"))
    if arrays_here:
        raise DataError(f"{path}: holds no pictures; for the arrays in it name the file: {arrays_here[0]}")
    raise DataError(f"{path}: {folders.why_not(path)}; expected {_LAYOUTS}")


def _read_file(path: Path) -> Reading:
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise DataError(f"{path}: a pickle can run code when it is opened, so it is never read as data; save it as NPZ or pictures")
    if suffix == ".csv":
        return tables.read_csv(path, path.resolve().parent.name)
    if suffix == ".npz":
        return arrays.read_npz(path)
    if idx.looks_like(path):
        return idx.read_file(path)
    if suffix in _ARCHIVES:
        raise DataError(f"{path}: is an archive; unpack it and name the folder")
    if suffix == ".npy":
        raise DataError(f"{path}: one array holds no labels; save both with numpy.savez(file, images=…, labels=…)")
    if suffix in PICTURE_SUFFIXES:
        raise DataError(f"{path}: one picture is no data set; name a folder with one sub-folder a class")
    raise DataError(f"{path}: is not a data set that is known here; expected {_LAYOUTS}")

"""Data sets that are arrays already: NPZ and the built-in digits."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from ..sample import Sample
from .dataset import PARTS, Dataset, check_classes, first, natural, plural

# (part, images N×H×W×C, labels N)
Part = tuple[str, np.ndarray, np.ndarray]

_WHOLE = (("images", "labels"), ("x", "y"), ("data", "labels"))
_SPLIT = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "validation": (("x_val", "y_val"), ("x_valid", "y_valid"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def read_digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8×8 (Alpaydin, Kaynak 1998),
    values 0 to 16 spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    why = f"the built-in digits, {plural(len(images), 'picture')} of 8×8, 10 classes"
    return to_reading([("train", images, digits.target)], "digits", None, "digits", why, "digits")


def to_reading(
    parts: Sequence[Part], where: Path | str, root: Path | None, form: str, why: str, name: str
) -> Dataset:
    """Samples of the parts one after the other; the classes are the labels that occur.
    One part alone is no split."""
    labels = np.concatenate([labels for _, _, labels in parts])
    values, targets = np.unique(labels, return_inverse=True)
    order = sorted(range(len(values)), key=lambda i: natural(str(values[i])))
    classes = tuple(str(values[i]) for i in order)
    targets = np.argsort(order)[targets]
    samples: list[Sample] = []
    given: dict[str, np.ndarray] = {}
    for part, images, _ in parts:
        start = len(samples)
        answers = targets[start : start + len(images)].tolist()
        samples += [
            Sample(image, target, f"{part}/{i}")
            for i, (image, target) in enumerate(zip(images, answers, strict=True))
        ]
        given[part] = np.arange(start, len(samples))
    given = given if len(parts) > 1 else {}
    check_classes(where, classes, targets, given)
    return Dataset(tuple(samples), classes, form, why, name or "data", (), given, root)


def read_npz(path: Path) -> Dataset:
    """images/labels or x/y, or x_train/y_train with x_test/y_test and x_val/y_val, or
    train_images/train_labels and so on.

    Images N×H×W or N×H×W×C: uint8, uint16, or numbers that fit one of them (0 to 1 become 0 to 255,
    and why says so).
    """
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle
        raise DataError(f"{path}: is cut off or no NPZ file; save it again with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = {key.lower(): key for key in archive.files}
            named = _named(path, keys)
            parts, notes = [], set()
            for part, image_key, label_key in named:
                images, note = _images(path, keys[image_key], archive[keys[image_key]])
                parts.append(
                    (
                        part,
                        images,
                        _labels(path, keys[label_key], archive[keys[label_key]], len(images)),
                    )
                )
                notes |= {note} - {""}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which can run code when read; "
                "save plain number arrays"
            ) from None
        raise DataError(f"{path}: is damaged ({error}); save it again") from None
    except (zipfile.BadZipFile, EOFError, zlib.error, KeyError, NotImplementedError) as error:
        raise DataError(f"{path}: is damaged ({error}); save it again with numpy.savez") from None
    count, size = (
        sum(len(labels) for _, _, labels in parts),
        "×".join(str(side) for side in parts[0][1].shape[1:]),
    )
    split = f", split into {', '.join(part for part, _, _ in parts)}" if len(parts) > 1 else ""
    why = f"found arrays of {plural(count, 'picture')} of {size}{split}" + "".join(
        f"; {note}" for note in sorted(notes)
    )
    return to_reading(parts, path, path.parent, "npz", why, path.stem)


def _named(path: Path, keys: dict[str, str]) -> list[tuple[str, str, str]]:
    """(part, key of images, key of labels)."""
    found = [(part, *pair) for part in PARTS for pair in _SPLIT[part] if set(pair) <= set(keys)]
    if found and found[0][0] == "train":
        return found
    for pair in _WHOLE:
        if set(pair) <= set(keys):
            return [("train", *pair)]
    raise DataError(
        f"{path}: holds the arrays {first(sorted(keys), 6)}; expected images and labels, or "
        "x_train, y_train, x_test, y_test"
    )


def _images(path: Path, key: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    """N×H×W×C, uint8 or uint16, and a note when the numbers were converted."""
    where = f"{path}: {key} of shape {'×'.join(map(str, images.shape))}"
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{where} is no list of pictures; expected N×H×W or N×H×W×C")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] > 4 and images.shape[1] <= 4:
        raise DataError(f"{where} has the channels first; save {key}.transpose(0, 2, 3, 1)")
    if images.dtype in (np.uint8, np.uint16):
        return images, ""
    if images.dtype.kind not in "biuf":
        raise DataError(f"{where} holds {images.dtype}, not numbers; save uint8")
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind in "bf" and low >= 0 and high <= 1:
        return np.rint(images * np.float32(255)).astype(
            np.uint8
        ), f"{key} from 0 to 1 were spread over 0 to 255"
    if images.dtype.kind in "iu" and low >= 0 and high <= 65535:
        kind = np.uint8 if high <= 255 else np.uint16
        return images.astype(kind), f"{key} of {images.dtype} was read as {np.dtype(kind)}"
    raise DataError(
        f"{where} holds {images.dtype} from {low:g} to {high:g}; save uint8 from 0 to 255, "
        "or numbers from 0 to 1"
    )


def _labels(path: Path, key: str, labels: np.ndarray, count: int) -> np.ndarray:
    """N whole numbers or names."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{path}: {key} of shape {'×'.join(map(str, labels.shape))} is no list of labels; save "
            "one number or name a picture"
        )
    if len(labels) != count:
        raise DataError(
            f"{path}: {key} holds {len(labels):,} labels for {count:,} pictures; "
            "they must be as many"
        )
    if labels.dtype.kind == "f":
        if not np.array_equal(labels, np.rint(labels)):
            raise DataError(
                f"{path}: {key} holds fractions, not classes; save whole numbers or names"
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise DataError(f"{path}: {key} holds {labels.dtype}; save whole numbers or names")
    return labels

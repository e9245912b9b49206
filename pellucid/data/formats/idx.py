"""IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist): big-endian header, then bytes;
plain or .gz."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ...core.errors import DataError
from ..images import MAX_PIXELS
from .arrays import Part, to_reading
from .dataset import Dataset, plural

_NAME = re.compile(
    r"^(?P<stem>.*?)(?P<part>train|t10k|test|valid|val)?[-_.]?images?[-_.]idx[34][-_.]ubyte(\.gz)?$",
    re.IGNORECASE,
)
_PART = {
    "train": "train",
    "t10k": "test",
    "test": "test",
    "val": "validation",
    "valid": "validation",
}


def looks_like(path: Path) -> bool:
    """By the name, or by the first bytes of an uncompressed file."""
    if _NAME.match(path.name) or re.search(r"idx\d[-_.]ubyte(\.gz)?$", path.name):
        return True
    with path.open("rb") as file:
        head = file.read(4)
    return head[:3] == b"\0\0\x08" and head[3:] in (b"\x01", b"\x03", b"\x04")


def find(folder: Path) -> dict[str, Path]:
    """Part ("train", "test", …) to its file of images. Raises DataError when a part has several."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix == ".gz", path.name)):
        match = _NAME.match(path.name)
        if not match or not path.is_file():
            continue
        part = _PART.get((match["part"] or "train").lower(), "train")
        if part in found and found[part].name != path.name.removesuffix(".gz"):
            raise DataError(
                f"{folder}: holds {found[part].name} and {path.name}; "
                "name the file of images to use"
            )
        found.setdefault(part, path)
    return found


def read_folder(folder: Path, images: dict[str, Path]) -> Dataset:
    """Raises DataError for a wrong magic number or length, and for counts that do not agree."""
    if "train" not in images:
        raise DataError(
            f"{folder}: holds {next(iter(images.values())).name} but no images to train on; add "
            "train-images-idx3-ubyte"
        )
    parts = [
        (part, *_pair(images[part])) for part in ("train", "validation", "test") if part in images
    ]
    return _reading(parts, folder, folder)


def read_file(path: Path) -> Dataset:
    """A file of images and the labels beside it."""
    if "label" in path.name.lower():
        raise DataError(f"{path}: holds the labels; name the file of images, or the folder")
    return _reading([("train", *_pair(path))], path, path.parent)


def _reading(parts: Sequence[Part], where: Path, root: Path) -> Dataset:
    given = (
        f" ({', '.join(f'{part} {len(labels):,}' for part, _, labels in parts)})"
        if len(parts) > 1
        else ""
    )
    count = sum(len(labels) for _, _, labels in parts)
    size = "×".join(str(side) for side in parts[0][1].shape[1:3])
    why = f"found IDX files, {plural(count, 'picture')} of {size}{given}"
    return to_reading(parts, where, root, "idx", why, root.resolve().name)


def _pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 N×H×W×C and the N labels."""
    labels_path = _labels_beside(path)
    images, labels = _array(path), _array(labels_path)
    if images.ndim not in (3, 4) or math.prod(images.shape[1:3]) > MAX_PIXELS or 0 in images.shape:
        raise DataError(
            f"{path}: an array of {'×'.join(map(str, images.shape))} is no list of pictures; "
            "name the file of images"
        )
    if labels.ndim != 1:
        raise DataError(
            f"{labels_path}: holds {labels.ndim} dimensions where labels have one; check the file"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{path}: holds {len(images):,} pictures but {labels_path.name} {len(labels):,} "
            "labels; they do not belong together"
        )
    return images.reshape(*images.shape[:3], -1), labels


def _labels_beside(path: Path) -> Path:
    name = re.sub(
        r"idx[34]", "idx1", path.name.replace("images", "labels").replace("image", "label")
    )
    for other in (name, name.removesuffix(".gz"), name + ".gz"):
        if other != path.name and path.with_name(other).is_file():
            return path.with_name(other)
    raise DataError(f"{path}: its labels, {name}, are not beside it; add them")


def _array(path: Path) -> np.ndarray:
    """uint8 of the shape that the header says."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != 8 or not 1 <= head[3] <= 4:
                raise DataError(
                    f"{path}: starts with {head.hex() or 'nothing'}, so it is no IDX file of "
                    "bytes; download it again"
                )
            sizes = file.read(4 * head[3])
            shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])
            expected = math.prod(shape)
            # Never more than was promised is unpacked, plus one byte that tells that there is more.
            data = _at_most(cast(BinaryIO, file), expected + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is cut off or damaged ({error}); download it again") from None
    if len(shape) != head[3] or len(data) != expected:
        found = "more" if len(data) > expected else f"{len(data):,}"
        raise DataError(
            f"{path}: the header promises {expected:,} bytes, the file holds {found}; "
            "download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _at_most(file: BinaryIO, count: int) -> bytearray:
    """In pieces: one read would set aside at once whatever a damaged header promises."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(count - len(data), 1 << 24))):
        data += piece
    return data

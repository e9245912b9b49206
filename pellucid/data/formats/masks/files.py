"""The file of a mask as it is: one small number a pixel,
and what each of them stands for in the file."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ....core.errors import DataError
from ...images import header, read

_MOST = 256  # different values in one file
_BLACK_WHITE = (0x000000, 0xFFFFFF)


@dataclass(frozen=True, slots=True)
class Raw:
    """A mask decoded once and held small. packed: uint8 H×W, places in `values`, deflated. values:
    int64, what the file says there: a grey value, an index of its palette, or 0xRRGGBB. counts:
    int64, pixels of each. colours: 0xRRGGBB of each; None for 16 bits.
    form: grey, palette or colour."""

    path: Path
    shape: tuple[int, int]
    packed: bytes
    values: np.ndarray
    counts: np.ndarray
    colours: np.ndarray | None
    form: str

    def places(self) -> np.ndarray:
        """uint8 H×W, read-only."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)

    def keys(self, by_colour: bool) -> np.ndarray:
        """Of each place its colour, or its value."""
        return self.colours if by_colour and self.colours is not None else self.values

    def first(self, place: int) -> tuple[int, int]:
        """x and y of the first pixel at this place in values."""
        y, x = np.unravel_index(int(np.argmax(self.places() == place)), self.shape)
        return int(x), int(y)


def load(paths: Sequence[Path]) -> list[Raw]:
    """Every mask, decoded once, in threads. Raises DataError that names those that
    cannot be read."""

    def attempt(path: Path) -> Raw | DataError:
        try:
            return raw(path)
        except DataError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, paths))
    broken = [each for each in found if isinstance(each, DataError)]
    if broken:
        more = f" (and {len(broken) - 3:,} more masks like these)" if len(broken) > 3 else ""
        raise DataError("; ".join(map(str, broken[:3])) + more)
    return [each for each in found if isinstance(each, Raw)]


def raw(path: Path) -> Raw:
    """Raises DataError for a file that cannot be read, or of more than 256 different values."""
    header(path)
    palette = _palette(path)
    if palette is not None:
        indices, table = palette
        seen = np.bincount(indices.ravel(), minlength=256) > 0
        # Black and white mean the same whatever their places in the palette are: GIF sorts them as
        # it likes.
        if seen[len(table) :].any() or not set(table[seen[: len(table)]].tolist()) <= set(
            _BLACK_WHITE
        ):
            colours = np.concatenate([table, np.zeros(256 - len(table), np.int64)])
            return _packed(path, indices, colours, "palette")
        return _packed(path, (table & 255).astype(np.uint8)[indices], _GREYS, "grey")
    pixels = read(path)
    if pixels.shape[2] in (2, 4):
        pixels = np.where(pixels[..., -1:] > 0, pixels[..., :-1], 0).astype(pixels.dtype)
    if pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if pixels.shape[2] == 1:
        return _packed(path, pixels[..., 0], _GREYS if pixels.dtype == np.uint8 else None, "grey")
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: a mask of 16-bit colour; save colours with 8 bits, "
            "or the numbers of classes as grey"
        )
    return _packed(
        path, pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32), None, "colour"
    )


_GREYS = np.arange(256, dtype=np.int64) * 0x010101


def _palette(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices and 0xRRGGBB of each; None for a file without a palette.
    Only Pillow keeps the indices."""
    try:
        with Image.open(path) as picture:
            if picture.mode != "P":
                return None
            indices = np.asarray(picture)
            table = np.array(picture.getpalette("RGB"), np.int64).reshape(-1, 3)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{path}: the picture is cut off or damaged ({error}); replace it"
        ) from error
    return indices, table @ np.array([1 << 16, 1 << 8, 1])


def _packed(path: Path, pixels: np.ndarray, colours: np.ndarray | None, form: str) -> Raw:
    """pixels: H×W of integers. colours: of each value, by value; of colours themselves None."""
    values, counts, places = _bytes(pixels) if pixels.dtype == np.uint8 else _runs(path, pixels)
    of_each = values if form == "colour" else None if colours is None else colours[values]
    packed = zlib.compress(np.ascontiguousarray(places).tobytes(), 1)
    return Raw(path, (pixels.shape[0], pixels.shape[1]), packed, values, counts, of_each, form)


def _bytes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and how often, both int64, and each pixel's place among them."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    table = np.zeros(256, np.uint8)
    table[values] = np.arange(len(values))
    return values, counts[values], table[pixels]


def _runs(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for larger numbers. Masks are made of runs,
    and only their heads are sorted: a tenth of the time."""
    flat = np.ascontiguousarray(pixels).ravel()
    heads = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values, inverse = np.unique(flat[heads], return_inverse=True)
    if len(values) > _MOST:
        raise DataError(
            f"{path}: {len(values):,} different values are no mask but a picture, or one saved as "
            "JPEG; save it as PNG"
        )
    lengths = np.diff(heads, append=flat.size)
    counts = np.bincount(inverse, lengths, minlength=len(values)).astype(np.int64)
    return values.astype(np.int64), counts, np.repeat(inverse.astype(np.uint8), lengths)

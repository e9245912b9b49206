"""Pictures to look at: any image as 8-bit RGB, captions, contact sheets. Plots are in plots.py.

Nothing here is meant for measuring: brightness is stretched to what a screen can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = 255, (34, 34, 34)


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """H×W or H×W×C of any depth and channels, to uint8 H×W×3.

    Integers beyond 8 bits are scaled by the smallest of 8, 10, 12, 14, 16… bits that holds their maximum (so 12-bit data in uint16 is not
    black); floats in [0, 1] by 255; signed or other floats from their minimum to their maximum. Four channels are RGB and
    alpha, laid over white; two show the first; more than four the first three.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[2] == 0:
        raise ValueError(f"a picture is H×W or H×W×C, not {image.shape}")
    unit = _to_unit(image)
    channels = unit.shape[2]
    if channels == 4:
        alpha = image[:, :, 3:] / (np.iinfo(image.dtype).max if image.dtype.kind == "u" else max(float(image[:, :, 3].max()), 1e-12))
        unit = _to_unit(image[:, :, :3]) * alpha + (1 - alpha)
    rgb = unit[:, :, :3] if channels >= 3 else np.repeat(unit[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(np.rint(rgb * 255).astype(np.uint8))


def _to_unit(image: np.ndarray) -> np.ndarray:
    """float H×W×C in [0, 1]."""
    if image.size == 0 or image.dtype == bool:
        return image.astype(np.float32)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    values = np.nan_to_num(image.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low >= 0 and image.dtype.kind in "ui":
        bits = max(8, 2 * int(np.ceil(int(high).bit_length() / 2)))
        return values / (2.0**bits - 1)
    if low >= 0 and high <= 1:
        return values
    return (values - low) / max(high - low, 1e-12)


def caption(picture: np.ndarray, text: str, width: int = 160) -> np.ndarray:
    """The picture (uint8 H×W×3) with the text on a strip under it, never over its pixels.

    A picture narrower than `width` is enlarged by a whole factor, pixel for pixel, so that the text can be read. Any
    Unicode text; a line that is too long is cut with an ellipsis; a line break in the text starts a second line.
    """
    factor = max(1, -(-width // max(picture.shape[1], 1)))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    strip = _strip(text, picture.shape[1], max(13, picture.shape[1] // 28))
    return np.concatenate([picture, strip])


def sheet(pictures: Sequence[np.ndarray], titles: Sequence[str] = (), columns: int = 8, side: int = 160) -> np.ndarray:
    """A contact sheet: uint8 pictures of any size in equal cells of side×side, row by row, each title under its picture.

    Small pictures grow by a whole factor, pixel for pixel; large ones shrink; all keep their shape. No titles, no strips.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    cells = [_cell(to_rgb8(picture), side) for picture in pictures]
    if titles:
        lines = max(title.count("\n") for title in titles) + 1
        strips = [_strip(title + "\n" * (lines - 1 - title.count("\n")), side, 13) for title in titles]
        cells = [np.concatenate([cell, strip]) for cell, strip in zip(cells, strips, strict=True)]
    columns = min(columns, len(cells))
    gap = 10
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    page = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), PAPER, np.uint8)
    for number, cell in enumerate(cells):
        top, left = gap + number // columns * (height + gap), gap + number % columns * (width + gap)
        page[top : top + height, left : left + width] = cell
    return page


def _cell(picture: np.ndarray, side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        picture = picture.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    else:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    cell = np.full((side, side, 3), PAPER, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    cell[top : top + height, left : left + width] = picture
    return cell


def _strip(text: str, width: int, size: int) -> np.ndarray:
    lines = ["".join(c if c.isprintable() else " " for c in line) for line in text.split("\n")]
    step = round(size * 1.4)
    strip = Image.new("RGB", (width, step * len(lines) + size // 2), (PAPER,) * 3)
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        font = ImageFont.truetype(_font_file(line), size)
        pen.text((4, size // 4 + number * step), _shorten(line, font, width - 8), fill=INK, font=font)
    return np.asarray(strip)


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(line[:middle].rstrip() + "…") <= width else (low, middle - 1)
    return line[:low].rstrip() + "…"


def _font_file(text: str) -> str:
    """DejaVu, which comes with Matplotlib; a script it lacks (Chinese, Devanagari) takes the first installed font that has it all."""
    return _font_covering(frozenset(ord(c) for c in text if ord(c) > 0x52F and not 0x2010 <= ord(c) <= 0x22FF))


@lru_cache(maxsize=256)
def _font_covering(characters: frozenset[int]) -> str:
    package = find_spec("matplotlib")
    assert package is not None and package.origin is not None
    default = str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    if not characters:
        return default
    # Half a second once, for the list of installed fonts.
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    others = (entry.fname for entry in font_manager.fontManager.ttflist if "LastResort" not in entry.fname)
    for file in (default, *others):
        if characters <= FT2Font(file).get_charmap().keys():
            return file
    return default

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
TITLES = 20
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """H×W or H×W×C of any depth and channels, to uint8 H×W×3.

    Integers beyond 8 bits are scaled by the smallest of 8, 10, 12, 14, 16… bits that holds their
    maximum (so 12-bit data in uint16 is not black); floats in [0, 1] by 255; signed or other floats
    from their minimum to their maximum. Four channels are RGB and alpha, laid over white; two show
    the first; more than four the first three.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[2] == 0:
        raise ValueError(f"a picture is H×W or H×W×C, not {image.shape}")
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.array(image, order="C")
    unit = _to_unit(image)
    channels = unit.shape[2]
    if channels == 4:
        alpha = image[:, :, 3:] / (
            np.iinfo(image.dtype).max
            if image.dtype.kind == "u"
            else max(float(image[:, :, 3].max()), 1e-12)
        )
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

    A picture narrower than `width` is enlarged by a whole factor, pixel for pixel, so that the text
    can be read. Any Unicode text; a line that is too long is cut with an ellipsis; a line break in
    the text starts a second line.
    """
    factor = max(1, -(-width // max(picture.shape[1], 1)))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    strip = _strip(text, picture.shape[1], max(13, picture.shape[1] // 28))
    return np.concatenate([picture, strip])


def boxes(
    picture: np.ndarray, boxes_xyxy: np.ndarray, labels: Sequence[int], titles: Sequence[str] = ()
) -> np.ndarray:
    """A copy of the picture (uint8 H×W×3) with a frame for each box N×4, in the colour of its
    label, and its title over it.

    boxes_xyxy: pixels, continuous coordinates; labels: N numbers of classes. titles: N, or none;
    those of the first 20 are drawn, for more of them would hide the picture.
    The first box is drawn on top of those after it and has the first choice of a place for its
    title: above its box, inside it, or below.
    """
    picture = np.array(picture, order="C")
    height, width = picture.shape[:2]
    around = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    # As the picture's size asks, but never so large that frames and titles hide what they are
    # about: cells in a scan are small.
    usual = float(np.median((around[:, 2:] - around[:, :2]).min(1))) if len(around) else np.inf
    thick = max(1, round(min(max(height, width) / 320, usual / 24)))
    letters = max(11, round(min(min(height, width) / 38, usual / 3)))
    around = np.clip(around, -9 * thick, max(height, width) + 9 * thick)
    frames = (
        np.concatenate([np.floor(around[:, :2]), np.ceil(around[:, 2:]) - 1], axis=1)
        .astype(int)
        .tolist()
    )
    for (x1, y1, x2, y2), label in reversed(list(zip(frames, labels, strict=True))):
        # Lined on both sides in black or white: a frame of one colour is lost on a ground of its
        # own brightness.
        for step in range(-1, thick + 1):
            line = colour(label) if 0 <= step < thick else ink(colour(label))
            cv2.rectangle(picture, (x1 + step, y1 + step), (x2 - step, y2 - step), line, 1)
    placed: list[tuple[int, int, int, int]] = []
    for frame, label, title in zip(frames, labels, titles[:TITLES], strict=False):
        tag = _tag(title, letters, colour(label), width)
        placed.append(_free_place(frame, tag.shape, (height, width), placed))
        left, top, right, bottom = placed[-1]
        picture[top:bottom, left:right] = tag[: bottom - top, : right - left]
    return picture


def colour(label: int) -> tuple[int, int, int]:
    """Seven colours that colour-blind people tell apart (Okabe and Ito 2008), then darker ones,
    then lighter ones, then again."""
    round_, number = divmod(int(label), len(_COLOURS))
    r, g, b = _COLOURS[number]
    shade, white = ((1.0, 0.0), (0.55, 0.0), (0.5, 127.0))[round_ % 3]
    return int(r * shade + white), int(g * shade + white), int(b * shade + white)


def ink(ground: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is easier to read on it."""
    return (
        (0, 0, 0)
        if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] > 120
        else (255, 255, 255)
    )


@lru_cache(maxsize=4096)
def _tag(title: str, size: int, colour: tuple[int, int, int], most: int) -> np.ndarray:
    """The title on its ground, uint8 h×w×3, at most `most` wide.
    Kept: pictures of a video have the same few titles."""
    text = "".join(c if c.isprintable() else " " for c in title)
    font = _font(_font_file(text), size)
    text = _shorten(text, font, most - 6)
    tag = Image.new(
        "RGB", (max(1, min(most, round(font.getlength(text)) + 6)), round(size * 1.35)), colour
    )
    ImageDraw.Draw(tag).text((3, tag.height / 2), text, fill=ink(colour), font=font, anchor="lm")
    return np.asarray(tag)


@lru_cache(maxsize=64)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def _free_place(
    frame: Sequence[int],
    tag: Sequence[int],
    size: tuple[int, int],
    placed: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a tag (h×w) of a frame: the first place in the picture that no
    other tag has, else the first one."""
    (x1, y1, x2, y2), (height, width) = frame, size
    left, right = max(0, min(x1, width - tag[1])), max(0, min(x2 + 1, width) - tag[1])
    tops = (y1 - tag[0], y1, y2 + 1, y2 + 1 - tag[0])
    inside = [
        (x, top, x + tag[1], top + tag[0])
        for top in tops
        for x in (left, right)
        if 0 <= top <= height - tag[0]
    ]
    top = max(0, min(y1, height - tag[0]))
    places = [*inside, (left, top, min(width, left + tag[1]), min(height, top + tag[0]))]
    return next(
        (place for place in places if not any(_overlap(place, other) for other in placed)),
        places[0],
    )


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def sheet(
    pictures: Sequence[np.ndarray], titles: Sequence[str] = (), columns: int = 8, side: int = 160
) -> np.ndarray:
    """A contact sheet: uint8 pictures of any size in equal cells of side×side, row by row, each
    title under its picture.

    Small pictures grow by a whole factor, pixel for pixel; large ones shrink; all keep their shape.
    No titles, no strips.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    cells = [_cell(to_rgb8(picture), side) for picture in pictures]
    if titles:
        lines = max(title.count("\n") for title in titles) + 1
        strips = [
            _strip(title + "\n" * (lines - 1 - title.count("\n")), side, 13) for title in titles
        ]
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
        pen.text(
            (4, size // 4 + number * step), _shorten(line, font, width - 8), fill=INK, font=font
        )
    return np.asarray(strip)


def legend(
    entries: Sequence[tuple[str, tuple[int, int, int] | None]], width: int, size: int = 13
) -> np.ndarray:
    """A strip uint8 h×`width`×3 of names, each behind a square of its colour (None: an empty one),
    in as many rows as it takes."""
    box, step = round(size * 0.9), round(size * 1.6)
    font = {name: ImageFont.truetype(_font_file(name), size) for name, _ in entries}
    room = max(1, width - 4 - box - 3 * size // 4)
    names = {
        name: _shorten("".join(c if c.isprintable() else " " for c in name), font[name], room)
        for name, _ in entries
    }
    x, y, places = 4, size // 3, []
    for name, _ in entries:
        long = box + size // 2 + round(font[name].getlength(names[name]))
        if x > 4 and x + long > width - 4:
            x, y = 4, y + step
        places.append((x, y))
        x += long + size
    strip = Image.new("RGB", (width, y + step), (PAPER,) * 3)
    pen = ImageDraw.Draw(strip)
    for (name, fill), (x, y) in zip(entries, places, strict=True):
        middle = y + step // 2 - size // 4
        pen.rectangle(
            (x, middle - box // 2, x + box, middle - box // 2 + box),
            fill=fill,
            outline=(120, 120, 120),
        )
        pen.text((x + box + size // 2, middle), names[name], fill=INK, font=font[name], anchor="lm")
    return np.asarray(strip)


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if font.getlength(line[:middle].rstrip() + "…") <= width
            else (low, middle - 1)
        )
    return line[:low].rstrip() + "…"


def _font_file(text: str) -> str:
    """DejaVu, which comes with Matplotlib; a script it lacks (Chinese, Devanagari) takes the first
    installed font that has it all."""
    return _font_covering(
        frozenset(ord(c) for c in text if ord(c) > 0x52F and not 0x2010 <= ord(c) <= 0x22FF)
    )


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

    others = (
        entry.fname for entry in font_manager.fontManager.ttflist if "LastResort" not in entry.fname
    )
    for file in (default, *others):
        if characters <= FT2Font(file).get_charmap().keys():
            return file
    return default

"""Pictures: look at the header, read, write, fit to a size.

A picture is an array H×W×C, uint8 or uint16, in RGB order: C = 1 grey, 2 grey and alpha, 3 RGB, 4
RGBA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..core.errors import DataError, UsageError
from ..core.files import replacing
from ..core.types import ViewTransform

# Also the bound for what decoding one picture may cost: 100 megapixels of RGB are 300 MB.
MAX_PIXELS = 100_000_000
_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} megapixels; scale it down or cut it into tiles"

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "PNM": (".pgm", ".ppm", ".pnm", ".pbm"),
}
PICTURE_SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}

# Pillow's readers by name and not Image.open, which would try dozens of exotic formats and prints a
# warning of its own for large pictures before we can refuse them.
_READERS = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
}
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    **{b"P%d" % digit: "PNM" for digit in range(1, 7)},
}
_OTHER_MAGIC = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"8BPS": "a Photoshop file; export it as PNG",
    b"\0\0\0\x0cjP": "JPEG 2000; convert it to PNG",
    b"RIFF": "sound or video",
    b"\x1aE\xdf\xa3": "a video",
}
_CHANNELS = {
    "1": 1,
    "L": 1,
    "I;16": 1,
    "I;16B": 1,
    "LA": 2,
    "RGB": 3,
    "YCbCr": 3,
    "CMYK": 3,
    "P": 3,
}
_CHANNELS |= {"RGBA": 4, "PA": 4, "RGBa": 4, "RGBX": 3}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_ORIENTATION = 0x0112
# Depth and format to the numbers of channels that write() puts into it.
_HOLDS: dict[str, dict[str, tuple[int, ...]]] = {
    "uint8": {
        "PNG": (1, 2, 3, 4),
        "TIFF": (1, 2, 3, 4),
        "JPEG": (1, 3),
        "BMP": (1, 3),
        "PNM": (1, 3),
        "WebP": (3, 4),
        "GIF": (1, 3),
    },
    "uint16": {"PNG": (1, 3, 4), "TIFF": (1, 3, 4), "PNM": (1, 3)},
}


@dataclass(frozen=True)
class Header:
    """What read() will give: size in pixels after EXIF orientation, channels 1 to 4, bits 8 or 16;
    of a volume its depth too."""

    height: int
    width: int
    channels: int
    bits: int
    depth: int | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """(height, width), or (depth, height, width)."""
        return (
            (self.height, self.width)
            if self.depth is None
            else (self.depth, self.height, self.width)
        )


def header(path: Path) -> Header:
    """Size and depth from the head of the file; no pixel is decoded.

    Raises DataError for a file that is empty, no picture, mislabelled, too large (MAX_PIXELS) or
    may not be read.
    """
    path = Path(path)
    with _opened(path) as (picture, kind):
        return _describe(path, picture, kind)


def read(path: Path) -> np.ndarray:
    """H×W×C, uint8 or uint16, RGB order, upright (EXIF orientation applied).

    Palettes become RGB(A), bits 0/255, CMYK becomes RGB; 16 bits stay 16 bits. Of an animation the
    first picture is read. Raises DataError as header() does, and for a picture that is cut off or
    damaged.
    """
    path = Path(path)
    with _opened(path) as (picture, kind):
        expected = _describe(path, picture, kind)
        try:
            pixels = _decode(path, picture, kind, expected)
        except Exception as error:
            raise DataError(
                f"{path}: the picture is cut off or damaged ({error or type(error).__name__}); "
                "replace it"
            ) from error
        pixels = _upright(pixels, _orientation(picture, kind))
    if pixels.shape != (expected.height, expected.width, expected.channels):
        raise DataError(
            f"{path}: the picture is damaged (its header promises another size or depth); "
            "replace it"
        )
    return np.ascontiguousarray(pixels)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, str]]:
    try:
        with path.open("rb") as file:
            kind = _kind(path, file.read(32))
            file.seek(0)
            try:
                picture = _READERS[kind](file, str(path))
            except Image.DecompressionBombError:
                raise DataError(f"{path}: {_TOO_LARGE}") from None
            except Exception as error:
                raise DataError(
                    f"{path}: a {kind} picture with a damaged or unusual header ({error}); "
                    "replace it"
                ) from error
            yield picture, kind
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such picture; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a picture; name a file in it") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read; change its permissions") from None
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror or error})") from error


def _kind(path: Path, head: bytes) -> str:
    """The format by its first bytes. Raises DataError for what is no picture,
    and for a suffix that says otherwise."""
    if not head:
        raise DataError(f"{path}: is empty (0 bytes); remove it or copy it again")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WebP"
    if not kind:
        raise DataError(f"{path}: is not a picture but {_looks_like(head)}; remove it")
    suffix = path.suffix.lower()
    if _KIND_OF_SUFFIX.get(suffix, kind) != kind:
        better = path.with_suffix(_SUFFIXES[kind][0]).name
        raise DataError(
            f"{path}: is mislabelled: the content is {kind}, the name says {suffix}; "
            f"rename it to {better}"
        )
    return kind


def _looks_like(head: bytes) -> str:
    for magic, name in _OTHER_MAGIC.items():
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        still = head[8:12] in (b"avif", b"heic", b"heix", b"mif1")
        return "AVIF or HEIC; convert it to JPEG or PNG" if still else "a video"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype html", b"<html")):
        return "HTML (a failed download?)"
    if not head.strip(b"\0"):
        return "zeros (a failed copy?)"
    return "text" if all(byte >= 32 or byte in b"\t\r\n" for byte in head) else "unknown bytes"


def _describe(path: Path, picture: Image.Image, kind: str) -> Header:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}×{height} pixels, {_TOO_LARGE}")
    if picture.mode not in _CHANNELS and not (kind == "PNM" and picture.mode == "I"):
        raise DataError(
            f"{path}: its pixels ({picture.mode}) are neither 8 nor 16 bit grey or colour; "
            "convert it"
        )
    bits = _bits(picture, kind)
    channels = _CHANNELS.get(picture.mode, 1)
    if bits == 8 and "transparency" in picture.info and channels in (1, 3):
        channels += 1
    if _orientation(picture, kind) >= 5:
        height, width = width, height
    return Header(height, width, channels, bits)


def _bits(picture: Image.Image, kind: str) -> int:
    """Pillow's mode hides 16-bit colour; the raw mode of its tiles, or the TIFF tag, says it."""
    if picture.mode.startswith("I"):
        return 16
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 16 if max(picture.tag_v2.get(258, (1,))) == 16 else 8
    tiles = getattr(picture, "tile", [])
    if kind == "PNM":
        return 16 if tiles and tiles[0][0] == "ppm" and tiles[0][3][1] > 255 else 8
    return 16 if kind == "PNG" and tiles and "16" in str(tiles[0][3]) else 8


def _orientation(picture: Image.Image, kind: str) -> int:
    if kind == "TIFF":  # both decoders turn a TIFF themselves
        return 1
    try:
        # The base method: a PNG's own decodes the whole picture in search of EXIF after the pixels.
        value = Image.Image.getexif(picture).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is common and says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.3, tag 0x0112: 5 to 8 swap the axes, then flips."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _decode(path: Path, picture: Image.Image, kind: str, expected: Header) -> np.ndarray:
    """H×W×C as stored, before orientation."""
    if kind == "JPEG" and picture.mode in ("L", "RGB"):
        pixels = _decode_jpeg(path, expected.channels)
        if pixels is not None:
            return pixels
    elif expected.bits == 16 and picture.mode != "I;16":
        return _decode_16(path, picture, kind, expected.channels)
    picture.load()
    if expected.bits == 16:
        return np.asarray(picture)[..., None].astype(np.uint16)
    mode = _MODES[expected.channels]
    if picture.mode == "P" and expected.channels == 3:
        picture.info.pop("transparency", None)
    pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return pixels.reshape(*pixels.shape[:2], expected.channels)


def _decode_jpeg(path: Path, channels: int) -> np.ndarray | None:
    """OpenCV takes half of Pillow's time, but up to version 4 draws grey bars for what is missing;
    so only for a file with its end."""
    import cv2

    data = path.read_bytes()
    if not data.rstrip(b"\0\r\n").endswith(b"\xff\xd9"):
        if data.endswith(b"\0" * 16) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise ValueError("its end is zeros")
        return None
    flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else pixels.reshape(*pixels.shape[:2], channels)


def _decode_16(path: Path, picture: Image.Image, kind: str, channels: int) -> np.ndarray:
    """16-bit colour, which Pillow cuts to 8 bits. Pillow decodes too: it tells when the file is cut
    off, OpenCV does not."""
    import cv2

    codec, _, offset, args = picture.tile[0]  # type: ignore[attr-defined]
    picture.load()
    if picture.mode.startswith("I"):
        return np.clip(np.asarray(picture), 0, 65535)[..., None].astype(np.uint16)
    if kind == "PNM" and codec == "ppm":
        width, height = picture.size
        raw = np.fromfile(path, ">u2", count=height * width * channels, offset=offset).reshape(
            height, width, channels
        )
        return np.rint(raw * (65535 / args[1])).astype(np.uint16)
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("an unusual 16-bit layout")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pick = {1: [0], 2: [0, -1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]  # OpenCV's order is BGRA
    return pixels[..., pick]


def write(path: Path, image: np.ndarray) -> None:
    """Write H×W×C uint8 or uint16 in the format that the suffix names; the file is whole or not
    there.

    Raises UsageError for a suffix that names no format or one that cannot hold these pixels.
    """
    import cv2

    path = Path(path)
    suffix = path.suffix.lower()
    kind = _KIND_OF_SUFFIX.get(suffix)
    channels = image.shape[2] if image.ndim == 3 else 0
    if kind is None:
        raise UsageError(
            f"{path}: {suffix or 'no suffix'} names no picture format; use one of "
            f"{', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    if channels not in _HOLDS.get(image.dtype.name, {}).get(kind, ()):
        raise UsageError(
            f"{path}: {kind} cannot hold pixels of shape {image.shape}, {image.dtype}; write a "
            ".png of 8 or 16 bits"
        )
    if image.dtype == np.uint16:  # Pillow writes no 16-bit colour
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
        _, data = cv2.imencode(
            {1: ".pgm", 3: ".ppm"}[channels] if kind == "PNM" else suffix,
            np.ascontiguousarray(image[..., order]),
        )
        with replacing(path) as file:
            file.write(data.tobytes())
        return
    picture = Image.fromarray(image[..., 0] if channels == 1 else np.ascontiguousarray(image))
    with replacing(path) as file:
        picture.save(
            file,
            format="PPM" if kind == "PNM" else kind.upper(),
            **({"quality": 95} if kind == "JPEG" else {}),
        )


def fit(
    image: np.ndarray, size: tuple[int, int], fill: float | Sequence[float]
) -> tuple[np.ndarray, ViewTransform]:
    """The whole picture, H×W×C, its aspect ratio kept, in the middle of `size` (height, width).

    The rest is `fill` (one number, or one a channel). Shrinks by area averaging, enlarges
    bilinearly; a picture of that size is passed on as it is.
    """
    import cv2

    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image, ViewTransform(np.eye(2, 3), (height, width), (height, width))
    scale = min(size[0] / height, size[1] / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size[0] - new_height) // 2, (size[1] - new_width) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=method)
    view = np.empty((*size, image.shape[2]), image.dtype)
    # One row by value and the others by copy: a quarter of the time.
    view[0] = fill
    view[1:] = view[0]
    view[top : top + new_height, left : left + new_width] = resized.reshape(
        new_height, new_width, -1
    )
    # The two scales differ by the rounding of the drawn size; the map follows what was drawn.
    matrix = np.array([[new_width / width, 0, left], [0, new_height / height, top]])
    return view, ViewTransform(matrix, (height, width), (int(size[0]), int(size[1])))


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """H×W×C to H×W×channels at the same depth: grey to RGB and back (ITU-R BT.601), alpha
    composited over white.

    Raises DataError when there is no sensible way, such as from RGB to 2 or 5 channels.
    """
    import cv2

    given = image.shape[2]
    if given == channels:
        return image
    if channels not in (1, 3) or given > 4:
        raise DataError(
            f"a picture of {given} channels cannot be made one of {channels}; build the network "
            f"for {given} channels"
        )
    if given in (2, 4):
        image = _over_white(image)
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]


def _over_white(image: np.ndarray) -> np.ndarray:
    white = np.uint32(np.iinfo(image.dtype).max)
    colour, alpha = image[..., :-1].astype(np.uint32), image[..., -1:].astype(np.uint32)
    # At most white², which fits uint32 for 16 bits too.
    return ((colour * alpha + white * (white - alpha) + white // 2) // white).astype(image.dtype)

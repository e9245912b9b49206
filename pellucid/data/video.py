"""Videos, frame by frame: what a file says of itself, its frames upright and in time, and a new
file written as frames come.

No more than a few frames are in memory at once, however long the video is. Decoding and encoding
are FFmpeg's, through PyAV.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError, MachineError, UsageError
from ..core.files import replacing
from .images import MAX_PIXELS

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm"})
# Fine enough for every usual rate to the frame, and as fine as MPEG-4 part 2 allows.
TICK = Fraction(1, 60_000)
_ENCODERS = ("libx264", "libopenh264", "mpeg4")


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself. size: (height, width), upright. rate: frames a second on
    average. frames: how many it promises, 0 where it does not say."""

    size: tuple[int, int]
    rate: Fraction
    frames: int


@dataclass(frozen=True, eq=False)
class Frame:
    """number: from 0. seconds: since the first frame. pixels: uint8 H×W×3, RGB, upright."""

    number: int
    seconds: float
    pixels: np.ndarray


def describe(path: Path) -> VideoInfo:
    """Looks at the head of the file and its first frame.
    Raises DataError for what is no video that can be shown."""
    with _opened(path) as (container, stream):
        first = next(_decoded(path, container, stream), None)
        if first is None:
            raise DataError(f"{path}: a video without a single frame that can be shown; replace it")
        size = (
            (first.height, first.width)
            if first.rotation % 180 == 0
            else (first.width, first.height)
        )
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        promised = stream.frames or (
            round(container.duration / 1e6 * rate) if container.duration else 0
        )
        return VideoInfo(size, Fraction(rate), promised)


def frames(path: Path) -> Iterator[Frame]:
    """Every frame in order, turned upright by the file's own rotation; each at its own time, so a
    varying rate is kept.

    Raises DataError where the file is damaged, once the frames before the damage are given.
    """
    with _opened(path) as (container, stream):
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        start, last, shape = None, -step, None
        for number, frame in enumerate(_decoded(path, container, stream)):
            # A frame without a time, or one that goes back, comes a usual step after the one before
            # it.
            seconds = (
                last + step
                if frame.time is None
                else frame.time - (start := frame.time if start is None else start)
            )
            last = seconds if seconds > last else last + step
            pixels = np.ascontiguousarray(
                np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            )
            if shape not in (None, pixels.shape):
                raise DataError(
                    f"{path}: its size changes at frame {number}; cut it there, "
                    "or convert it to one size"
                )
            shape = pixels.shape
            yield Frame(number, last, pixels)


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    import av

    number = 0
    try:
        for frame in container.decode(stream):
            yield frame
            number += 1
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(
            f"{path}: damaged after {number} frames ({_reason(error)}); replace it or cut it there"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    av = _av()
    try:
        if not path.stat().st_size:
            raise DataError(f"{path}: is empty (0 bytes); remove it or copy it again")
        container = av.open(str(path.absolute()))
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: is not a video that can be read ({_reason(error)}); replace it"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror or error})") from error
    with container:
        stream = next(
            (
                each
                for each in container.streams.video
                if not each.disposition & av.stream.Disposition.attached_pic
            ),
            None,
        )
        if stream is None or stream.codec_context is None:
            raise DataError(
                f"{path}: holds no pictures that can be decoded, only sound or the like; "
                "name a video"
            )
        if stream.width * stream.height > MAX_PIXELS:
            raise DataError(
                f"{path}: frames of {stream.width}×{stream.height} pixels are too large; "
                "scale them down"
            )
        stream.thread_type = "AUTO"
        yield container, stream


@contextmanager
def writing(path: Path, rate: Fraction) -> Iterator[Any]:
    """Gives a function that takes (pixels uint8 H×W×3, seconds) and adds a frame; all of one size,
    times growing.

    An .mp4, H.264 where this FFmpeg has an encoder for it, else MPEG-4. An odd last row or column
    is repeated, since these codecs count in pairs. The file is whole or not there: nothing stands
    at `path` until the block ends. Raises MachineError.
    """
    av = _av()
    with replacing(path) as file:
        container = av.open(file, "w", format="mp4")
        stream: Any = None

        def add(pixels: np.ndarray, seconds: float) -> None:
            nonlocal stream
            height, width = pixels.shape[:2]
            pixels = (
                np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if height % 2 or width % 2
                else pixels
            )
            if stream is None:
                stream = _stream(container, pixels.shape, rate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(seconds / TICK), TICK
            container.mux(stream.encode(frame))

        try:
            yield add
            if stream is not None:
                container.mux(stream.encode(None))
            container.close()
        except av.error.FFmpegError as error:
            raise MachineError(
                f"{path}: could not be written ({_reason(error)}); nothing was changed"
            ) from error


def _stream(container: Any, shape: tuple[int, ...], rate: Fraction) -> Any:
    av = _av()
    encoder = next(name for name in _ENCODERS if _has(av, name))
    stream = container.add_stream(encoder, rate=rate)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.codec_context.time_base = TICK
    if encoder == "libx264":
        # Fast, and good enough to look at: drawing is not where the time should go.
        stream.options = {"crf": "20", "preset": "veryfast"}
    else:
        stream.bit_rate = round(shape[0] * shape[1] * float(rate) * 0.2)
    return stream


def _has(av: Any, encoder: str) -> bool:
    try:
        av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError("videos need PyAV: pip install 'pellucid[detect]'") from None
    return av


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split(":")[0].strip()

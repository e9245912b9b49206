"""Videos, frame by frame: results as they come, an annotated copy beside them, a few frames in
memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import DataError
from ...data import video
from ...data.sample import Sample
from ...data.video import Frame, VideoInfo
from ..run.batches import Bad, ahead
from ..run.progress import Say, clock

# Frames that are computed at a time; twice as many more wait, decoded: 150 MB of frames of
# 1920×1080.
FRAMES = 8

# Samples of frames, to one result each.
Ask = Callable[[Sequence[Sample]], list[Any]]


@dataclass(frozen=True)
class FramePrediction:
    """The result of one frame. source: the video; frame: its number, from 0; seconds: since the
    first frame; result: without what takes memory by the pixel (see `Result.compact`)."""

    source: str
    frame: int
    seconds: float
    result: Any

    def rows(self) -> list[dict[str, Any]]:
        """Those of the result, as rows about the video."""
        place = {"source": self.source, "frame": self.frame, "seconds": f"{self.seconds:.3f}"}
        return [
            place | {key: value for key, value in row.items() if key != "source"}
            for row in self.result.rows()
        ]

    def to_json(self) -> dict[str, Any]:
        place = {"source": self.source, "frame": self.frame, "seconds": round(self.seconds, 3)}
        found: dict[str, Any] = self.result.to_json() | place
        return found


def headers(files: Sequence[Path]) -> tuple[dict[Path, VideoInfo], Bad]:
    """What the header of each video tells, and (file, reason) of those that cannot be shown. Raises
    UsageError where PyAV is missing."""
    found: dict[Path, VideoInfo] = {}
    bad: Bad = []
    for file in files:
        try:
            found[file] = video.describe(file)
        except DataError as error:
            bad.append((str(file), str(error)))
    return found, bad


def answered(
    file: Path, film: VideoInfo, ask: Ask, target: Path | None, say: Say
) -> list[FramePrediction]:
    """The result of each frame. target: where the annotated copy goes, whole or not at all; None
    for no copy.

    Raises DataError for a video that is damaged further on.
    """
    frames: list[FramePrediction] = []
    with nullcontext() if target is None else video.writing(target, film.rate) as add:
        for frame, result in say.track(_asked(file, ask), file.name, film.frames):
            # Objects below the threshold are millions in a long video, and the pixels of its masks
            # billions.
            frames.append(FramePrediction(str(file), frame.number, frame.seconds, result.compact()))
            if add is not None:
                add(result.draw(frame.pixels, legend=False), frame.seconds)
    # Containers round what they promise; a tenth missing is no rounding.
    if len(frames) < 0.9 * film.frames:
        say.line(
            f"{file}: ends after {len(frames)} of the {film.frames} frames that it promises; "
            "it may be cut off"
        )
    return frames


def line(frames: Sequence[FramePrediction]) -> str:
    """One video in one line: in how many of its frames each label was found."""
    seen = Counter(label for frame in frames for label in dict.fromkeys(frame.result.labels()))
    found = ", ".join(f"{label} in {count}" for label, count in seen.most_common())
    head = f"{frames[0].source}: {len(frames)} frames ({clock(frames[-1].seconds)}): "
    return head + (found or _nothing(frames[0].result))


def _nothing(result: Any) -> str:
    """`nothing found`, with the threshold where the result names it."""
    summary: str = result.summary().removeprefix(f"{result.source}: ")
    return summary if summary.startswith("nothing found") else "nothing found"


def _asked(file: Path, ask: Ask) -> Iterator[tuple[Frame, Any]]:
    # A thread decodes while the network computes; both let go of the interpreter.
    for few in ahead(_groups(video.frames(file))):
        samples = [Sample(frame.pixels, None, f"{file}#{frame.number}") for frame in few]
        yield from zip(few, ask(samples), strict=True)


def _groups(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    frames = iter(frames)
    while few := list(islice(frames, FRAMES)):
        yield few

"""Videos asked about frame by frame: answers as they come, an annotated copy beside them, a few
frames in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import DataError
from ...core.types import Prediction
from ...data import video
from ...data.sample import Sample
from ...data.video import Frame, VideoInfo
from ...plots.formatting import by
from ..run.batches import Bad, ahead
from ..run.progress import Say, clock

# Frames that are asked about at a time; twice as many more wait, decoded: 150 MB of frames of
# 1920×1080.
FRAMES = 8

Ask = Callable[[Sequence[Sample]], list[Prediction]]


@dataclass(frozen=True)
class FramePrediction:
    """What is said of one frame. source: the video; frame: its number, from 0; seconds: since the
    first frame; answer: of objects only those that are said to be there, of every pixel only how
    many there are of each class."""

    source: str
    frame: int
    seconds: float
    answer: Prediction

    def placed(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row about the frame as one about the video."""
        return {"source": self.source, "frame": self.frame, "seconds": f"{self.seconds:.3f}"} | {
            k: v for k, v in row.items() if k != "source"
        }

    def to_json(self) -> dict[str, Any]:
        return self.answer.to_json() | {
            "source": self.source,
            "frame": self.frame,
            "seconds": round(self.seconds, 3),
        }


def headers(files: Sequence[Path]) -> tuple[dict[Path, VideoInfo], Bad]:
    """What each video says of itself, and (file, reason) of those that cannot be shown. Raises
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
    """The answers about each frame. target: where the annotated copy goes, whole or not at all;
    None for no copy.

    Raises DataError for a video that is damaged further on.
    """
    moments: list[FramePrediction] = []
    with nullcontext() if target is None else video.writing(target, film.rate) as add:
        for frame, answer in say.track(_asked(file, ask), file.name, film.frames):
            # Objects below the threshold are millions in a long video, and the pixels of its masks
            # billions.
            moments.append(
                FramePrediction(str(file), frame.number, frame.seconds, answer.said().counted())
            )
            if add is not None:
                add(answer.frame(frame.pixels), frame.seconds)
    # Containers round what they promise; a tenth missing is no rounding.
    if len(moments) < 0.9 * film.frames:
        say.line(
            f"{file}: ends after {len(moments)} of the {film.frames} frames that it promises; "
            "it may be cut off"
        )
    return moments


def line(moments: Sequence[FramePrediction]) -> str:
    """One video in one line: in how many of its frames each label was seen."""
    seen = Counter(label for moment in moments for label in labels(moment.answer))
    of = f"{moments[0].source}: {len(moments)} frames ({clock(moments[-1].seconds)}): "
    threshold = moments[0].answer.threshold
    nothing = "nothing found" + (
        f" (threshold {threshold:.2f})" if moments[0].answer.boxes is not None else ""
    )
    return of + (", ".join(f"{label} in {count}" for label, count in seen.most_common()) or nothing)


def labels(answer: Prediction) -> list[str]:
    """What is said to be in one frame; where every pixel has a class,
    those that are not the background."""
    if answer.boxes is not None:
        return list(dict.fromkeys(each["label"] for each in answer.objects()))
    if answer.counts is not None:
        return [each["label"] for each in answer.areas()[1:] if each["pixels"]]
    return [str(answer.label)] if answer.enlarged is None else [by(answer.enlarged[::-1])]


def _asked(file: Path, ask: Ask) -> Iterator[tuple[Frame, Prediction]]:
    # A thread decodes while the network computes; both let go of the interpreter.
    for few in ahead(_groups(video.frames(file))):
        samples = [Sample(frame.pixels, None, f"{file}#{frame.number}") for frame in few]
        yield from zip(few, ask(samples), strict=True)


def _groups(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    frames = iter(frames)
    while few := list(islice(frames, FRAMES)):
        yield few

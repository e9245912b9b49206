"""`pellucid predict`: answers for pictures and videos nobody has labelled."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import DataError, UsageError
from ..core.files import write_text
from ..core.images import PICTURE_SUFFIXES
from ..core.types import Batch, Prediction, Sample
from ..core.video import VIDEO_SUFFIXES, Film
from . import machine, runs, test_time, video
from .batches import Bad, channels_first, headers, refuse
from .say import Say
from .test_time import Member
from .video import Moment

# Views that a network is asked about at a time.
BATCH = 32


@dataclass(frozen=True)
class Predictions:
    """answers: one a picture, in the order given; bad: (file, reason) of those that could not be read; moments: of videos, one a frame."""

    answers: list[Prediction]
    bad: Bad
    moments: list[Moment] = field(default_factory=list)

    def to_json(self) -> list[dict[str, Any]]:
        return [answer.to_json() for answer in self.answers] + [moment.to_json() for moment in self.moments]

    def rows(self) -> list[dict[str, Any]]:
        """A table: a row a picture or frame, or a row an object, as `rows` has them."""
        of_frames = [moment.placed(row) for moment in self.moments for row in rows(moment.answer)]
        return [row for answer in self.answers for row in rows(answer)] + of_frames

    def lines(self) -> list[str]:
        """A line a picture, then a line a video."""
        films = dict.fromkeys(moment.source for moment in self.moments)
        return [line(answer) for answer in self.answers] + [
            video.line([moment for moment in self.moments if moment.source == source]) for source in films
        ]


def predict(
    model: str | Path,
    pictures: str | Path | Sequence[str | Path],
    *,
    crops: str = "one",
    with_models: Sequence[str | Path] = (),
    threshold: float | None = None,
    csv: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    skip_bad: bool = False,
    quiet: bool = False,
) -> Predictions:
    """Asks a trained model about pictures and videos.

    model: a run folder. pictures: files, folders (read with their sub-folders) or glob patterns; a video is asked about frame by frame.
    crops: "one", "flip" or "ten" views of each picture, or "tiles" of large ones for objects; with_models: more runs of the same classes,
    whose answers are made one. threshold: the score from which on an object is said to be there, in place of the model's own. csv: a table
    to write. out: a folder for annotated copies, PNG and MP4. Nothing is written over what is read. Raises UsageError, DataError,
    ModelError.
    """
    files, say = find([pictures] if isinstance(pictures, str | Path) else pictures), Say(quiet)
    if not files:
        raise UsageError("no pictures: name files, folders or patterns")
    targets = _targets(files, Path(out)) if out is not None else {}
    if csv is not None and Path(csv).resolve() in {file.resolve() for file in files}:
        raise UsageError(f"{csv}: the table would overwrite what is read; give it another name")
    where = machine.device(device)
    asked = _members([model, *with_models], crops, threshold, where)
    # All headers first: what can be seen to be bad is told at once, before anything is computed or written.
    stills = [file for file in files if file.suffix.lower() not in VIDEO_SUFFIXES]
    heads, bad = headers([Sample(file, None, str(file)) for file in stills], say)
    films, unseen = video.headers([file for file in files if file.suffix.lower() in VIDEO_SUFFIXES])
    bad += unseen
    refuse(bad, len(files), skip_bad)
    found = Predictions([], bad)
    readable = [file for file, head in zip(stills, heads, strict=True) if head is not None]
    of_pictures = say.track(_asked(asked, where, readable), "predicting", len(readable))
    of_videos = _of_videos(films, partial(_answers_about, asked, where), targets, say)
    for file, outcome in chain(of_pictures, of_videos):
        if isinstance(outcome, DataError):
            bad.append((str(file), str(outcome)))
            refuse(bad, len(files), skip_bad)
        elif isinstance(outcome, list):
            found.moments.extend(outcome)
        else:
            found.answers.append(outcome[0])
            if file in targets:
                outcome[0].save(targets[file], outcome[1])
    if csv is not None:
        write_text(Path(csv), runs.table(found.rows()))
    return found


def _of_videos(films: Mapping[Path, Film], ask: video.Ask, targets: Mapping[Path, Path], say: Say) -> Iterator[tuple[Path, Any]]:
    """(file, its moments or the error), in order."""
    for file, film in films.items():
        try:
            yield file, video.answered(file, film, ask, targets.get(file), say)
        except DataError as error:
            yield file, error


def rows(answer: Prediction) -> list[dict[str, Any]]:
    """What a table says of one picture: one row of its label and probabilities; or a row an object, its box in pixels, and one row with
    an empty label where nothing is said to be there."""
    if answer.boxes is not None:
        sides = ("x1", "y1", "x2", "y2")
        said = [
            {"source": answer.source, "label": each["label"], "confidence": f"{each['confidence']:.6f}"}
            | {side: f"{at:.2f}" for side, at in zip(sides, each["box"], strict=True)}
            for each in answer.objects()
        ]
        return said or [{"source": answer.source} | dict.fromkeys(("label", "confidence", *sides), "")]
    row = {"source": answer.source, "answer": answer.label, "confidence": f"{answer.confidence:.6f}"}
    if answer.probabilities is not None:
        row |= {f"p_{name}": f"{p:.6f}" for name, p in zip(answer.classes, answer.probabilities, strict=True)}
    return [row]


def line(answer: Prediction) -> str:
    """What is said of one picture, in one line: `photo.jpg: 3 objects: RBC 2, WBC 1`."""
    if answer.boxes is None:
        return f"{answer.source}: {answer.label} {answer.confidence:.1%}"
    found = Counter(each["label"] for each in answer.objects())
    if not found:
        return f"{answer.source}: nothing found (threshold {answer.threshold:.2f})"
    number = f"{found.total()} object{'s' if found.total() > 1 else ''}"
    return f"{answer.source}: {number}: {', '.join(f'{name} {count}' for name, count in found.most_common())}"


def _members(models: Sequence[str | Path], crops: str, threshold: float | None, where: torch.device) -> list[Member]:
    """The models on their device, their rooms showing the views asked for. Raises UsageError for a threshold that means nothing to them."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold: {threshold:g} is not between 0 and 1")
    asked = [replace(member, room=member.room.with_crops(crops)) for member in test_time.members(models)]
    if threshold is not None:
        asked = [replace(member, room=member.room.with_threshold(threshold)) for member in asked]
    if len(asked) == 1:  # what several say of an object is joined, below their thresholds too
        asked = [replace(member, room=member.room.said_alone()) for member in asked]
    for member in asked:
        member.network.to(where)
    return asked


def find(wanted: Iterable[str | Path]) -> list[Path]:
    """The pictures and videos that names, folders and patterns stand for, each once. Raises DataError for one that stands for none."""
    files: dict[Path, None] = {}
    for name in wanted:
        if os.path.isdir(name):
            inside = _inside(Path(name))
            if not inside:
                raise DataError(f"{name}: no pictures or videos in this folder")
            files |= dict.fromkeys(inside)
        elif os.path.isfile(name):
            files[Path(name)] = None
        else:
            matches = [] if "\0" in str(name) else [Path(m) for m in sorted(glob.glob(str(name), recursive=True)) if os.path.isfile(m)]
            if not matches:
                raise DataError(f"{name}: there is no such picture, folder or pattern with matches")
            files |= dict.fromkeys(matches)
    return list(files)


def _inside(folder: Path) -> list[Path]:
    """The pictures and videos in a folder and its sub-folders. Raises DataError for one that may not be read."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: may not be read ({error.strerror}); change its permissions") from error

    found = [Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(path for path in found if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES and not path.name.startswith("."))


def _targets(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each annotated copy goes: PNG or MP4 by stem, below `out` as the pictures lie below their common folder."""
    # Not Path.absolute, which keeps "..": a copy would leave `out` by it.
    whole = {file: Path(os.path.abspath(file)) for file in files}
    common = os.path.commonpath([path.parent for path in whole.values()])
    targets = {file: out / path.relative_to(common).with_suffix(_kind_of_copy(file)) for file, path in whole.items()}
    if len(set(targets.values())) < len(files):
        targets = {file: target.with_name(f"{file.name}{_kind_of_copy(file)}") for file, target in targets.items()}
    # What lies beside a picture that is read may be the user's own, asked about or not.
    folders = {file.resolve().parent for file in files}
    for target in targets.values():
        if target.exists() and target.resolve().parent in folders:
            raise UsageError(f"{out}: an annotated copy would overwrite {target}; give another folder")
    return targets


def _kind_of_copy(file: Path) -> str:
    return ".mp4" if file.suffix.lower() in VIDEO_SUFFIXES else ".png"


def _asked(members: Sequence[Member], where: torch.device, files: Sequence[Path]) -> Iterator[tuple[Path, Any]]:
    """(file, (prediction, pixels) or the error), in order. As many pictures at a time as make up a batch of views: large ones have many."""
    read: list[tuple[Path, Any]] = []
    waiting = 0
    for number, file in enumerate(files, 1):
        read.append((file, _viewed(members, Sample(file, None, str(file)))))
        waiting += 0 if isinstance(read[-1][1], DataError) else len(read[-1][1][1][0])
        if waiting < BATCH and number < len(files):
            continue
        good = [outcome for _, outcome in read if not isinstance(outcome, DataError)]
        said = iter(_answers(members, where, good) if good else [])
        for each, outcome in read:
            yield each, outcome if isinstance(outcome, DataError) else (next(said), outcome[0].image)
        read, waiting = [], 0


def _viewed(members: Sequence[Member], sample: Sample) -> Any:
    """The picture, decoded, and its views for each member; or the error."""
    try:
        shown = sample.decoded()
        return shown, [member.room.views(shown) for member in members]
    except DataError as error:
        return error


def _answers_about(members: Sequence[Member], where: torch.device, samples: Sequence[Sample]) -> list[Prediction]:
    return _answers(members, where, [(sample, [member.room.views(sample) for member in members]) for sample in samples])


def _answers(members: Sequence[Member], where: torch.device, good: Sequence[tuple[Sample, Any]]) -> list[Prediction]:
    said = [_answers_of(member, where, [(sample, views[number]) for sample, views in good]) for number, member in enumerate(members)]
    return said[0] if len(said) == 1 else test_time.mean(members[0].room, said)


def _answers_of(member: Member, where: torch.device, good: Sequence[tuple[Sample, Any]]) -> list[Prediction]:
    flat = [(sample.source, view, placement) for sample, views in good for view, placement in views]
    images = channels_first(np.stack([view for _, view, _ in flat]))
    batch = Batch(images, None, tuple(placement for _, _, placement in flat), tuple(source for source, _, _ in flat))
    with torch.inference_mode():
        parts = [member.room.outputs(member.network, replace(batch, images=few).to(where)) for few in images.split(BATCH)]
    return member.room.decode(torch.cat(parts), batch)

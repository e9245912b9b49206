"""`pellucid predict`: answers for pictures and videos nobody has labelled."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import DataError, UsageError
from ...core.files import write_text
from ...core.types import Batch, Prediction
from ...data.images import PICTURE_SUFFIXES
from ...data.sample import Sample
from ...data.video import VIDEO_SUFFIXES, VideoInfo
from ...plots.formatting import by
from ...plots.masks import share, volume
from ..run import folders as runs
from ..run import machine
from ..run.batches import Bad, channels_first, headers, refuse
from ..run.progress import Say
from . import ensemble, video
from .ensemble import Member
from .video import FramePrediction

# Views that a network is asked about at a time, and their pixels: of each it may hold a hundred
# maps of numbers.
BATCH, PIXELS = 32, 1 << 21
# What a room says that a path holds: `Task.find`.
Known = Callable[[Path], list[Sample] | None]
# Bytes of masks and pictures that answers keep, all together.
KEPT = 1 << 30


@dataclass(frozen=True)
class Predictions:
    """answers: one a picture or volume, in the order given; bad: (file, reason) of those that could
    not be read; moments: of videos, one a frame. Masks and enlarged pictures are kept up to KEPT
    bytes in all; later answers, and moments, keep only what can be said of them in numbers, so that
    any number of pictures can be asked about."""

    answers: list[Prediction]
    bad: Bad
    moments: list[FramePrediction] = field(default_factory=list)

    def to_json(self) -> list[dict[str, Any]]:
        return [answer.to_json() for answer in self.answers] + [
            moment.to_json() for moment in self.moments
        ]

    def rows(self) -> list[dict[str, Any]]:
        """A table: a row a picture or frame, or a row an object, as `rows` has them."""
        of_frames = [moment.placed(row) for moment in self.moments for row in rows(moment.answer)]
        return [row for answer in self.answers for row in rows(answer)] + of_frames

    def lines(self) -> list[str]:
        """A line a picture, then a line a video."""
        films = dict.fromkeys(moment.source for moment in self.moments)
        return [line(answer) for answer in self.answers] + [
            video.line([moment for moment in self.moments if moment.source == source])
            for source in films
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

    model: a run folder. pictures: files, folders (read with their sub-folders) or glob patterns; a
    video is asked about frame by frame. crops: "one", "flip" or "ten" views of each picture, or
    "tiles" of large ones for objects; with_models: more runs of the same classes, whose answers are
    made one. threshold: the score from which on an object is said to be there, in place of the
    model's own. csv: a table to write. out: a folder for annotated copies, PNG and MP4. Nothing is
    written over what is read. Raises UsageError, DataError, ModelError.
    """
    say, where = Say(quiet), machine.device(device)
    asked = _members([model, *with_models], crops, threshold, where)
    room = asked[0].room
    found = find([pictures] if isinstance(pictures, str | Path) else pictures, room.find)
    if not found:
        raise UsageError("no pictures: name files, folders or patterns")
    targets = _targets(found, Path(out), room.writes) if out is not None else {}
    if csv is not None:
        _refuse_table(Path(csv), found)
    # All headers first: what can be seen to be bad is told at once, before anything is computed or
    # written.
    stills, films, bad = _readable(found, say)
    refuse(bad, len(found), skip_bad)
    answers = Predictions([], bad)
    of_pictures = say.track(_asked(asked, where, stills), "predicting", len(stills))
    of_videos = _of_videos(films, partial(_answers_about, asked, where), targets, say)
    kept = 0
    for source, outcome in chain(of_pictures, of_videos):
        if isinstance(outcome, DataError):
            bad.append((source, str(outcome)))
            refuse(bad, len(found), skip_bad)
        elif isinstance(outcome, list):
            answers.moments.extend(outcome)
        else:
            answer, pixels = outcome
            if source in targets:
                answer.save(targets[source], pixels)
            kept += sum(
                each.nbytes
                for each in (answer.mask, answer.regions, answer.picture)
                if each is not None
            )
            answers.answers.append(replace(answer, soft=None) if kept <= KEPT else answer.counted())
    if csv is not None:
        write_text(Path(csv), runs.table(answers.rows()))
    return answers


def _readable(found: Sequence[Sample], say: Say) -> tuple[list[Sample], dict[Path, VideoInfo], Bad]:
    """Pictures and videos whose heads can be read, and (source, reason) of the others."""
    stills = [sample for sample in found if not _is_video(sample)]
    heads, bad = headers(stills, say)
    films, unseen = video.headers([Path(sample.source) for sample in found if _is_video(sample)])
    return (
        [sample for sample, head in zip(stills, heads, strict=True) if head is not None],
        films,
        bad + unseen,
    )


def _is_video(sample: Sample) -> bool:
    return isinstance(sample.image, Path) and sample.image.suffix.lower() in VIDEO_SUFFIXES


def _of_videos(
    films: Mapping[Path, VideoInfo], ask: video.Ask, targets: Mapping[str, Path], say: Say
) -> Iterator[tuple[str, Any]]:
    """(source, its moments or the error), in order."""
    for file, film in films.items():
        try:
            yield str(file), video.answered(file, film, ask, targets.get(str(file)), say)
        except DataError as error:
            yield str(file), error


def rows(answer: Prediction) -> list[dict[str, Any]]:
    """What a table says of one picture: one row of its label and probabilities, of each class's
    share (of a volume also its ml) or of its new size; or a row an object, its box in pixels, and
    one row with an empty label where nothing is said to be there."""
    if answer.boxes is not None:
        sides = ("x1", "y1", "x2", "y2")
        said = [
            {
                "source": answer.source,
                "label": each["label"],
                "confidence": f"{each['confidence']:.6f}",
            }
            | {side: f"{at:.2f}" for side, at in zip(sides, each["box"], strict=True)}
            for each in answer.objects()
        ]
        return said or [
            {"source": answer.source} | dict.fromkeys(("label", "confidence", *sides), "")
        ]
    if answer.counts is not None:
        areas = answer.areas()
        shares = {f"share_{each['label']}": f"{each['share']:.6f}" for each in areas}
        return [
            {"source": answer.source}
            | shares
            | {f"ml_{each['label']}": f"{each['ml']:.4f}" for each in areas if "ml" in each}
        ]
    if answer.enlarged is not None:
        sides = ("height", "width", "new_height", "new_width")
        return [
            {"source": answer.source}
            | dict(zip(sides, (*answer.size, *answer.enlarged), strict=True))
        ]
    row = {
        "source": answer.source,
        "answer": answer.label,
        "confidence": f"{answer.confidence:.6f}",
    }
    if answer.probabilities is not None:
        row |= {
            f"p_{name}": f"{p:.6f}"
            for name, p in zip(answer.classes, answer.probabilities, strict=True)
        }
    return [row]


def line(answer: Prediction) -> str:
    """What is said of one picture, in one line: `photo.jpg: 3 objects: RBC 2, WBC 1`, `wall.png:
    crack 1.2%, background 98.8%`."""
    if answer.counts is not None:
        return f"{answer.source}: {_areas(answer)}"
    if answer.enlarged is not None:
        return f"{answer.source}: {by(answer.size[::-1])} → {by(answer.enlarged[::-1])}"
    if answer.boxes is None:
        return f"{answer.source}: {answer.label} {answer.confidence:.1%}"
    found = Counter(each["label"] for each in answer.objects())
    if not found:
        return f"{answer.source}: nothing found (threshold {answer.threshold:.2f})"
    number = f"{found.total()} object{'s' if found.total() > 1 else ''}"
    return (
        f"{answer.source}: {number}: "
        f"{', '.join(f'{name} {count}' for name, count in found.most_common())}"
    )


def _areas(answer: Prediction) -> str:
    """The classes that are there, largest first and background last; of a volume only the others,
    in millilitres."""
    background, *others = answer.areas()
    there = sorted((each for each in others if each["pixels"]), key=lambda each: -each["pixels"])
    if answer.space is not None:
        return (
            ", ".join(f"{each['label']} {volume(each['ml'])}" for each in there)
            or f"nothing but {background['label']}"
        )
    return ", ".join(
        f"{each['label']} {share(each['share'])}" for each in [*there, background] if each["pixels"]
    )


def _members(
    models: Sequence[str | Path], crops: str, threshold: float | None, where: torch.device
) -> list[Member]:
    """The models on their device, their rooms showing the views asked for. Raises UsageError for a
    threshold that means nothing to them."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold: {threshold:g} is not between 0 and 1")
    asked = [
        replace(member, room=member.room.with_crops(crops)) for member in ensemble.members(models)
    ]
    if threshold is not None:
        asked = [replace(member, room=member.room.with_threshold(threshold)) for member in asked]
    if len(asked) == 1:  # what several say of an object is joined, below their thresholds too
        asked = [replace(member, room=member.room.said_alone()) for member in asked]
    for member in asked:
        member.network.to(where)
    return asked


def find(wanted: Iterable[str | Path], known: Known) -> list[Sample]:
    """The pictures and videos that names, folders and patterns stand for, each once, and what else
    the room has `known` in them.

    A sample's `source` is the path of its file or folder. Raises DataError for a name that stands
    for nothing.
    """
    found: dict[str, Sample] = {}
    for name in wanted:
        there = [Path(name)] if os.path.exists(name) else _matches(str(name), known)
        if not there:
            raise DataError(f"{name}: there is no such picture, folder or pattern with matches")
        for path in there:
            found |= {sample.source: sample for sample in _held(path, known)}
    return list(found.values())


def _matches(pattern: str, known: Known) -> list[Path]:
    """Files, and folders for rooms that know such, as those of patients."""
    matches = (
        []
        if "\0" in pattern
        else [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    )
    return [path for path in matches if path.is_file() or known(path) is not None]


def _held(path: Path, known: Known) -> list[Sample]:
    """What a file or folder that is there holds. Raises DataError for a folder without anything."""
    special = known(path)
    if special is not None:
        return [replace(sample, source=str(_place(path, sample.source))) for sample in special]
    files = [path] if path.is_file() else _inside(path)
    if not files:
        raise DataError(f"{path}: no pictures or videos in this folder")
    return [Sample(file, None, str(file)) for file in files]


def _place(path: Path, source: str) -> Path:
    """A source as the room says it, relative to `path` or its bare name, as a path."""
    return path if source == path.resolve().name and not (path / source).exists() else path / source


def _inside(folder: Path) -> list[Path]:
    """The pictures and videos in a folder and its sub-folders.
    Raises DataError for one that may not be read."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: may not be read ({error.strerror}); change its permissions"
        ) from error

    found = [
        Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names
    ]
    return sorted(
        path
        for path in found
        if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES
        and not path.name.startswith(".")
    )


def _targets(found: Sequence[Sample], out: Path, endings: Sequence[str]) -> dict[str, Path]:
    """Where each annotated copy goes, by source: PNG or MP4 by stem, below `out` as the pictures
    lie below their common folder.

    endings: of all files that are written for a picture. Raises UsageError where one of them would
    overwrite what lies beside a picture.
    """
    # Not Path.absolute, which keeps "..": a copy would leave `out` by it.
    whole = {sample.source: Path(os.path.abspath(sample.source)) for sample in found}
    common = os.path.commonpath([path.parent for path in whole.values()])
    videos = {sample.source for sample in found if _is_video(sample)}
    kinds = {source: (".mp4",) if source in videos else tuple(endings) for source in whole}
    stems = {
        source: out / path.relative_to(common).with_name(_stem(path))
        for source, path in whole.items()
    }
    written = [
        stem.with_name(stem.name + ending)
        for source, stem in stems.items()
        for ending in kinds[source]
    ]
    if len(set(written)) < len(written):
        stems = {source: stem.with_name(whole[source].name) for source, stem in stems.items()}
        written = [
            stem.with_name(stem.name + ending)
            for source, stem in stems.items()
            for ending in kinds[source]
        ]
    # What lies beside a picture that is read, or in a folder that is one, may be the user's own,
    # asked about or not.
    folders = {
        folder for path in whole.values() for folder in (path.resolve(), path.resolve().parent)
    }
    for target in written:
        if target.exists() and target.resolve().parent in folders:
            raise UsageError(
                f"{out}: an annotated copy would overwrite {target}; give another folder"
            )
    return {source: stem.with_name(stem.name + kinds[source][0]) for source, stem in stems.items()}


def _stem(path: Path) -> str:
    """The name without its ending; that of `scan.nii.gz` has two parts;
    a folder's name is whole."""
    return path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem


def _refuse_table(table: Path, found: Sequence[Sample]) -> None:
    """Raises UsageError for a table in the place of what is read."""
    read, place = {Path(sample.source).resolve() for sample in found}, table.resolve()
    if place in read or (place.exists() and place.parent in read):
        raise UsageError(f"{table}: the table would overwrite what is read; give it another name")


def _asked(
    members: Sequence[Member], where: torch.device, samples: Sequence[Sample]
) -> Iterator[tuple[str, Any]]:
    """(source, (prediction, pixels) or the error), in order. As many pictures at a time as make up
    a batch: large ones have many views."""
    read: list[tuple[str, Any]] = []
    waiting = 0
    for number, sample in enumerate(samples, 1):
        read.append((sample.source, _viewed(members, sample)))
        waiting += 0 if isinstance(read[-1][1], DataError) else len(read[-1][1][1][0])
        if waiting < BATCH and number < len(samples):
            continue
        good = [outcome for _, outcome in read if not isinstance(outcome, DataError)]
        said = iter(_answers(members, where, good) if good else [])
        for each, outcome in read:
            yield (
                each,
                outcome if isinstance(outcome, DataError) else (next(said), outcome[0].image),
            )
        read, waiting = [], 0


def _viewed(members: Sequence[Member], sample: Sample) -> Any:
    """The picture, decoded, and its views for each member; or the error."""
    try:
        shown = sample.decoded()
        return shown, [member.room.views(shown) for member in members]
    except DataError as error:
        return error


def _answers_about(
    members: Sequence[Member], where: torch.device, samples: Sequence[Sample]
) -> list[Prediction]:
    return _answers(
        members,
        where,
        [(sample, [member.room.views(sample) for member in members]) for sample in samples],
    )


def _answers(
    members: Sequence[Member], where: torch.device, good: Sequence[tuple[Sample, Any]]
) -> list[Prediction]:
    said = [
        _answers_of(member, where, [(sample, views[number]) for sample, views in good])
        for number, member in enumerate(members)
    ]
    return said[0] if len(said) == 1 else ensemble.mean(members[0].room, said)


def _answers_of(
    member: Member, where: torch.device, good: Sequence[tuple[Sample, Any]]
) -> list[Prediction]:
    flat = [(sample.source, view, transform) for sample, views in good for view, transform in views]
    images = channels_first(np.stack([view for _, view, _ in flat]))
    batch = Batch(
        images,
        None,
        tuple(transform for _, _, transform in flat),
        tuple(source for source, _, _ in flat),
    )
    few_at_a_time = max(1, min(BATCH, PIXELS // int(np.prod(images.shape[2:]))))
    with torch.inference_mode():
        parts = (
            member.room.outputs(member.network, replace(batch, images=few).to(where)).cpu()
            for few in images.split(few_at_a_time)
        )
        said = _gathered(parts, len(images))
    return member.room.decode(said, batch)


def _gathered(parts: Iterator[torch.Tensor], count: int) -> torch.Tensor:
    """Parts with `count` rows together, in one piece that is filled as they come: of a large
    picture they are a gigabyte or more."""
    first = next(parts)
    whole, filled = first.new_empty(count, *first.shape[1:]), 0
    for part in chain([first], parts):
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole

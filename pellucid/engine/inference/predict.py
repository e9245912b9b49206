"""`pellucid predict`: results for images and videos without labels."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, UsageError
from ...core.files import write_text
from ...data.images import PICTURE_SUFFIXES
from ...data.sample import Sample
from ...data.video import VIDEO_SUFFIXES, VideoInfo
from ..run import folders as runs
from ..run.batches import Bad, headers, refuse
from ..run.progress import Say
from . import ensemble, video
from .predictor import Predictor
from .video import FramePrediction

# What a path holds besides plain images and videos: `Predictor.find_inputs`.
FindInputs = Callable[[Path], list[Sample] | None]
# Bytes of the arrays that results keep, all together.
KEPT = 1 << 30


@dataclass(frozen=True)
class Predictions:
    """results: one an image or volume, in the order given; bad: (file, reason) of those that could
    not be read; frames: of videos, one a frame. The arrays of results are kept up to KEPT bytes in
    all; later results, and frames, are compact, so that any number of images can be given."""

    results: list[Any]
    bad: Bad
    frames: list[FramePrediction] = field(default_factory=list)

    @property
    def answers(self) -> list[Any]:
        """`results`, by the name of version 0.1; goes away with the next release."""
        return self.results

    @property
    def moments(self) -> list[FramePrediction]:
        """`frames`, by the name of version 0.1; goes away with the next release."""
        return self.frames

    def to_json(self) -> list[dict[str, Any]]:
        return [each.to_json() for each in (*self.results, *self.frames)]

    def rows(self) -> list[dict[str, Any]]:
        """A table: the rows of each result, then those of each frame."""
        return [row for each in (*self.results, *self.frames) for row in each.rows()]

    def lines(self) -> list[str]:
        """A line an image, then a line a video."""
        films = dict.fromkeys(frame.source for frame in self.frames)
        return [result.summary() for result in self.results] + [
            video.line([frame for frame in self.frames if frame.source == source])
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
    """Results of a trained model for images and videos.

    model: a run folder. pictures: files, folders (read with their sub-folders) or glob patterns; a
    video is read frame by frame. crops: test-time augmentation: "one", "flip" or "ten" views of
    each image, or "tiles" of large ones for objects; with_models: more runs of the same classes,
    for an ensemble. threshold: the score from which an object counts as found, in place of the
    model's own. csv: a table to write. out: a folder for annotated copies, PNG and MP4. Nothing is
    written over what is read. Raises UsageError, DataError, ModelError.
    """
    say = Say(quiet)
    models = ensemble.members([model, *with_models])
    predictor = Predictor(models, "none" if crops == "one" else crops, threshold, device)
    wanted = [pictures] if isinstance(pictures, str | Path) else pictures
    found = find(wanted, predictor.find_inputs)
    if not found:
        raise UsageError("no pictures: name files, folders or patterns")
    targets = _targets(found, Path(out), predictor.output_suffixes) if out is not None else {}
    if csv is not None:
        _refuse_table(Path(csv), found)
    # All headers first: what can be seen to be bad is told at once, before anything is computed or
    # written.
    stills, films, bad = _readable(found, say)
    refuse(bad, len(found), skip_bad)
    predictions = Predictions([], bad)
    of_images = say.track(predictor.stream(stills), "predicting", len(stills))
    of_videos = _of_videos(films, predictor.results, targets, say)
    kept = 0
    for sample, outcome in chain(of_images, of_videos):
        if isinstance(outcome, DataError):
            bad.append((sample.source, str(outcome)))
            refuse(bad, len(found), skip_bad)
        elif isinstance(outcome, list):
            predictions.frames.extend(outcome)
        else:
            if sample.source in targets:
                outcome.save(targets[sample.source], sample.image)
            kept += array_bytes(outcome)
            predictions.results.append(outcome if kept <= KEPT else outcome.compact())
    if csv is not None:
        write_text(Path(csv), runs.table(predictions.rows()))
    return predictions


def array_bytes(result: Any) -> int:
    """Bytes of the arrays in the fields of a result."""
    values = (getattr(result, each.name) for each in fields(result))
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


def _readable(found: Sequence[Sample], say: Say) -> tuple[list[Sample], dict[Path, VideoInfo], Bad]:
    """Images and videos whose headers can be read, and (source, reason) of the others."""
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
) -> Iterator[tuple[Sample, Any]]:
    """(sample, its frames or the error), in order."""
    for file, film in films.items():
        sample = Sample(file, None, str(file))
        try:
            yield sample, video.answered(file, film, ask, targets.get(str(file)), say)
        except DataError as error:
            yield sample, error


def find(wanted: Iterable[str | Path], find_inputs: FindInputs) -> list[Sample]:
    """The images and videos that names, folders and patterns stand for, each once, and what
    `find_inputs` finds besides.

    A sample's `source` is the path of its file or folder. Raises DataError for a name that stands
    for nothing.
    """
    found: dict[str, Sample] = {}
    for name in wanted:
        there = [Path(name)] if os.path.exists(name) else _matches(str(name), find_inputs)
        if not there:
            raise DataError(f"{name}: there is no such picture, folder or pattern with matches")
        for path in there:
            found |= {sample.source: sample for sample in _held(path, find_inputs)}
    return list(found.values())


def _matches(pattern: str, find_inputs: FindInputs) -> list[Path]:
    """Files, and folders that hold inputs of their own kind, as those of patients."""
    matches = (
        []
        if "\0" in pattern
        else [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    )
    return [path for path in matches if path.is_file() or find_inputs(path) is not None]


def _held(path: Path, find_inputs: FindInputs) -> list[Sample]:
    """What a file or folder that is there holds. Raises DataError for a folder without anything."""
    special = find_inputs(path)
    if special is not None:
        return [replace(sample, source=str(_place(path, sample.source))) for sample in special]
    files = [path] if path.is_file() else _inside(path)
    if not files:
        raise DataError(f"{path}: no pictures or videos in this folder")
    return [Sample(file, None, str(file)) for file in files]


def _place(path: Path, source: str) -> Path:
    """A source, relative to `path` or the bare name of `path`, as a path."""
    return path if source == path.resolve().name and not (path / source).exists() else path / source


def _inside(folder: Path) -> list[Path]:
    """The images and videos in a folder and its sub-folders.
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
    """Where each annotated copy goes, by source: PNG or MP4 by stem, below `out` as the images
    lie below their common folder.

    endings: of all files that are written for an image. Raises UsageError where one of them would
    overwrite what lies beside an image.
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
    # What lies beside an image that is read, or in a folder that is one, may be the user's own,
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

"""`pellucid predict`: answers for pictures nobody has labelled."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import DataError, UsageError
from ..core.files import write_text
from ..core.images import PICTURE_SUFFIXES
from ..core.types import Batch, Prediction, Sample
from . import machine, runs, test_time
from .batches import Bad, headers, refuse
from .say import Say
from .test_time import Member

BATCH = 32


@dataclass(frozen=True)
class Predictions:
    """answers: one a picture, in the order given; bad: (file, reason) of those that could not be read."""

    answers: list[Prediction]
    bad: Bad


def predict(
    model: str | Path,
    pictures: str | Path | Sequence[str | Path],
    *,
    crops: str = "one",
    with_models: Sequence[str | Path] = (),
    csv: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    skip_bad: bool = False,
    quiet: bool = False,
) -> Predictions:
    """Asks a trained model about pictures.

    model: a run folder. pictures: files, folders (read with their sub-folders) or glob patterns. crops: "one", "flip" or "ten" views of
    each picture; with_models: more runs of the same classes; the probabilities of all are averaged. csv: a table to write. out: a folder
    for annotated copies. Nothing is written over a picture that is read. Raises UsageError, DataError, ModelError.
    """
    files, say = find([pictures] if isinstance(pictures, str | Path) else pictures), Say(quiet)
    if not files:
        raise UsageError("no pictures: name files, folders or patterns")
    targets = _targets(files, Path(out)) if out is not None else {}
    if csv is not None and Path(csv).resolve() in {file.resolve() for file in files}:
        raise UsageError(f"{csv}: the table would overwrite a picture; give it another name")
    asked = [replace(member, room=member.room.with_crops(crops)) for member in test_time.members([model, *with_models])]
    where = machine.device(device)
    for member in asked:
        member.network.to(where)
    answers: list[Prediction] = []
    # All headers first: what can be seen to be bad is told at once, before anything is computed or written.
    heads, bad = headers([Sample(file, None, str(file)) for file in files], say)
    refuse(bad, len(files), skip_bad)
    readable = [file for file, head in zip(files, heads, strict=True) if head is not None]
    for file, outcome in say.track(_asked(asked, readable, where), "predicting", len(readable)):
        if isinstance(outcome, DataError):
            bad.append((str(file), str(outcome)))
            refuse(bad, len(files), skip_bad)
            continue
        prediction, pixels = outcome
        answers.append(prediction)
        if file in targets:
            prediction.save(targets[file], pixels)
    if csv is not None:
        write_text(Path(csv), runs.table([_row(answer) for answer in answers]))
    return Predictions(answers, bad)


def find(wanted: Iterable[str | Path]) -> list[Path]:
    """The picture files that names, folders and patterns stand for, each once. Raises DataError for one that stands for none."""
    files: dict[Path, None] = {}
    for name in wanted:
        if os.path.isdir(name):
            inside = _inside(Path(name))
            if not inside:
                raise DataError(f"{name}: no pictures in this folder")
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
    """The pictures in a folder and its sub-folders. Raises DataError for one that may not be read."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: may not be read ({error.strerror}); change its permissions") from error

    found = [Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(path for path in found if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith("."))


def _targets(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each annotated copy goes: PNG by stem, below `out` as the pictures lie below their common folder."""
    # Not Path.absolute, which keeps "..": a copy would leave `out` by it.
    whole = {file: Path(os.path.abspath(file)) for file in files}
    common = os.path.commonpath([path.parent for path in whole.values()])
    targets = {file: out / path.relative_to(common).with_suffix(".png") for file, path in whole.items()}
    if len(set(targets.values())) < len(files):
        targets = {file: target.with_name(f"{file.name}.png") for file, target in targets.items()}
    # What lies beside a picture that is read may be the user's own, asked about or not.
    folders = {file.resolve().parent for file in files}
    for target in targets.values():
        if target.exists() and target.resolve().parent in folders:
            raise UsageError(f"{out}: an annotated copy would overwrite {target}; give another folder")
    return targets


def _asked(members: Sequence[Member], files: Sequence[Path], where: torch.device) -> Iterator[tuple[Path, Any]]:
    """(file, (prediction, pixels) or the error), in order."""
    for start in range(0, len(files), BATCH):
        read = [(file, _viewed(members, file)) for file in files[start : start + BATCH]]
        good = [outcome for _, outcome in read if not isinstance(outcome, DataError)]
        said = iter(_answers(members, good, where) if good else [])
        for file, outcome in read:
            yield file, outcome if isinstance(outcome, DataError) else (next(said), outcome[0].image)


def _viewed(members: Sequence[Member], file: Path) -> Any:
    """The picture, and its views for each member; or the error."""
    try:
        sample = Sample(Sample(file, None, str(file)).pixels(), None, str(file))
        return sample, [member.room.views(sample) for member in members]
    except DataError as error:
        return error


def _answers(members: Sequence[Member], good: Sequence[tuple[Sample, Any]], where: torch.device) -> list[Prediction]:
    return test_time.mean(
        [_answers_of(member, [(sample, views[number]) for sample, views in good], where) for number, member in enumerate(members)]
    )


def _answers_of(member: Member, good: Sequence[tuple[Sample, Any]], where: torch.device) -> list[Prediction]:
    flat = [(sample.source, view, placement) for sample, views in good for view, placement in views]
    images = torch.from_numpy(np.stack([view for _, view, _ in flat])).permute(0, 3, 1, 2)
    batch = Batch(images, None, tuple(placement for _, _, placement in flat), tuple(source for source, _, _ in flat))
    with torch.inference_mode():
        parts = [member.room.outputs(member.network, replace(batch, images=few).to(where)) for few in images.split(BATCH)]
    return member.room.decode(torch.cat(parts), batch)


def _row(answer: Prediction) -> dict[str, Any]:
    row = {"source": answer.source, "answer": answer.label, "confidence": f"{answer.confidence:.6f}"}
    if answer.probabilities is not None:
        row |= {f"p_{name}": f"{p:.6f}" for name, p in zip(answer.classes, answer.probabilities, strict=True)}
    return row

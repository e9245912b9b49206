"""`pellucid evaluate`: the score of a trained model, and the evidence for it."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import DataError, ModelError, UsageError
from ...data.sample import Sample
from ..run import folders, machine, settings
from ..run.batches import Views, load, refuse
from ..run.progress import Say
from . import ensemble
from .ensemble import Answered
from .infer import SCORING, predictions, slices
from .model import Model


@dataclass(frozen=True)
class Evaluation:
    """part: what was scored. evidence: as in `summary.json`; empty for a task without a metric.
    notes: what a reader of the score must know. test_time: what test-time augmentation and an
    ensemble gained and cost, with the score of the model as it is; empty where neither was asked
    for."""

    part: str
    pictures: int
    evidence: dict[str, Any]
    notes: list[str]
    test_time: dict[str, Any] = field(default_factory=dict)


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    crops: str = "one",
    with_models: Sequence[str | Path] = (),
    costs: str | Path | None = None,
    device: str | None = None,
    skip_bad: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Scores a finished run: on the test part of its own data, or on all images of other data with
    the same classes.

    crops: test-time augmentation: "one" or "flip", and as its task has it "ten", "tiles" or "eight"
    views of each image, merged into one result. with_models: more runs of the same classes, for an
    ensemble with `model`. costs: a CSV with a row and a column for each class, in the order of the
    classes: what it costs to answer the column for the row. Raises UsageError, DataError,
    ModelError.
    """
    say, where = Say(quiet), machine.device(device)
    tta = "none" if crops == "one" else crops
    plain = ensemble.members([model, *with_models])
    asked = [ensemble.with_options(member, tta) for member in plain]
    spec, part = plain[0].spec, "test" if data is None else "all"
    views, notes = _images(plain, data, skip_bad, say)
    spending = _costs(Path(costs), spec.inference.classes) if costs is not None else None
    # The first model as it is serves as the first member, too, where no other views are asked for.
    missing = asked[1:] if tta == "none" else asked
    shown = [(plain[0], views), *((each, _views(each, views.samples, say)) for each in missing)]
    first, *rest = _in_turn(shown, where)
    parts = rest if len(rest) == len(asked) else [first, *rest]
    if tta == "tiles" and all((views.counts == 1).all() for _, views in shown):
        notes.append(f"crops: no picture is larger than a view, so --crops {crops} changes nothing")
    if spec.task.parts.metric is None:
        notes.append(f"the task {spec.task.name} has no metric")
        return Evaluation(part, len(views), {}, notes)
    results = ensemble.mean(spec, [each.results for each in parts]) if rest else first.results
    evidence = ensemble.scored(spec, views, results, costs=spending).evidence()
    if not rest:
        return Evaluation(part, len(views), evidence, notes)
    as_it_is = ensemble.scored(spec, views, first.results, costs=spending).evidence()
    gained = ensemble.comparison(spec, views, first, parts, results)
    found = {"crops": crops, "as_it_is": as_it_is, **gained}
    return Evaluation(part, len(views), evidence, notes, found)


def _images(
    members: Sequence[Model], data: str | Path | None, skip_bad: bool, say: Say
) -> tuple[Views, list[str]]:
    """What is scored, as the first member sees it: the test part that all share, or other data; and
    which of them was trained on it."""
    first, own = members[0], data is None
    spec = first.spec
    source = spec.task.parts.data
    dataset = source.load(_own_data(first.path) if data is None else data)
    dataset = source.remap_labels(dataset, spec.inference.classes)
    splits = {member.path: _split_rows(member.path) for member in members}
    test = _common_test(splits) if own else {}
    samples = [sample for sample in dataset.samples if not own or sample.source in test]
    views, marks, bad = load(samples, spec.preprocess, folders.RUNS, say, spec.inference.tta)
    hashes = [mark.exact.hex() for mark in marks]
    if own and dict(zip((sample.source for sample in views.samples), hashes, strict=True)) != test:
        raise DataError(
            f"{first.path}: the test pictures of this run have changed or are gone; "
            "name the data to score it on"
        )
    refuse(bad, len(samples), skip_bad)
    if own:
        return views, list(dataset.notes)
    seen = [_overlap(hashes, known, path, len(splits)) for path, known in splits.items()]
    return views, [*dataset.notes, *(note for notes in seen for note in notes)]


def _views(member: Model, samples: Sequence[Sample], say: Say) -> Views:
    """The images as another member sees them."""
    spec = member.spec
    views, _, bad = load(samples, spec.preprocess, folders.RUNS, say, spec.inference.tta)
    refuse(bad, len(samples), skip=False)
    return views


def _in_turn(shown: Sequence[tuple[Model, Views]], where: torch.device) -> list[Answered]:
    """Asks all of them about a few images at a time,
    so that whatever else the machine does slows all alike."""
    parts = list(slices(np.arange(len(shown[0][1])), shown[0][1]))
    results: list[list[Any]] = [[] for _ in shown]
    seconds = [0.0 for _ in shown]
    for member, views in shown:
        machine.place(member.network, where, machine.memory_format(SCORING))
        if len(shown) > 1:  # the first batch of a network is slower, which is no part of its cost
            predictions(member.spec, member.network, views.part(parts[0]), SCORING, where)
    for few in parts:
        for number, (member, views) in enumerate(shown):
            started = time.perf_counter()
            part = views.part(few)
            results[number] += predictions(member.spec, member.network, part, SCORING, where)
            seconds[number] += time.perf_counter() - started
    return [
        Answered(member.path, answers, time_taken, int(views.counts.sum()))
        for (member, views), answers, time_taken in zip(shown, results, seconds, strict=True)
    ]


def _own_data(folder: Path) -> str:
    recipe = folder / "recipe.toml"
    data = settings.load(recipe)[0] if recipe.is_file() else None
    if data is None:
        raise UsageError(
            f"{folder}: does not say what it was trained on; name the data to score it on"
        )
    return data


def _split_rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "splits.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _common_test(splits: Mapping[Path, list[dict[str, str]]]) -> dict[str, str]:
    """Source and pixel hash of the images that these runs were all tested on."""
    first, *others = splits
    test = _own_test(first, splits[first])
    for path in others:
        if _own_test(path, splits[path]) != test:
            raise UsageError(
                f"{path}: its test pictures are not those of {first}; train both with the same "
                "--split-seed, or name data to score them on"
            )
    return test


def _own_test(folder: Path, known: list[dict[str, str]]) -> dict[str, str]:
    """Source and pixel hash of the images that the run was tested on."""
    test = {row["source"]: row["hash"] for row in known if row["part"] == "test"}
    if not test:
        raise ModelError(
            f"{folder / 'splits.csv'}: does not say which pictures were the test part; "
            "name the data to score it on"
        )
    return test


def _overlap(hashes: list[str], known: list[dict[str, str]], path: Path, models: int) -> list[str]:
    seen = {row["hash"] for row in known if row["part"] in ("train", "validation")}
    shared = sum(mark in seen for mark in hashes)
    if not shared:
        return []
    which = "this model" if models == 1 else path
    return [
        (
            f"WARNING: {shared} of {len(hashes)} pictures were used in training {which}, "
            "so the score is too good"
        )
    ]


def _costs(path: Path, classes: tuple[str, ...]) -> np.ndarray:
    """C×C, rows are targets. The file may name the classes in its first row and column."""
    if not classes:
        raise UsageError("costs: are of classes, and this model has none; leave it out")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a CSV of costs") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV in UTF-8 text ({error}); save it again") from None
    if len(rows) == len(classes) + 1:
        named = [cell.strip() for cell in rows[0]][-len(classes) :]
        if tuple(named) != classes:
            raise DataError(
                f"{path}: its columns are {', '.join(named)}; they must be the classes in order: "
                f"{', '.join(classes)}"
            )
        named = [row[0].strip() for row in rows[1:] if len(row) > len(classes)]
        if named and tuple(named) != classes:
            raise DataError(
                f"{path}: its rows are {', '.join(named)}; they must be the classes in order: "
                f"{', '.join(classes)}"
            )
        rows = [row[-len(classes) :] for row in rows[1:]]
    try:
        costs = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        if len({len(row) for row in rows}) == 1:
            raise DataError(f"{path}: {error}; costs are numbers") from None
        costs = np.empty(0)
    if costs.shape != (len(classes), len(classes)) or not np.isfinite(costs).all():
        raise DataError(
            f"{path}: needs {len(classes)} rows of {len(classes)} finite costs, one for each class"
        )
    return costs

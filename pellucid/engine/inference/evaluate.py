"""Answers for known truths, and the evidence they make."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...core.errors import DataError, ModelError, NonFiniteOutput, UsageError
from ...core.types import Batch, Prediction
from ...data.sample import Sample
from ...tasks.task import Task
from ..run import folders, machine, processes
from ..run import settings as recipes
from ..run.batches import Views, load, refuse
from ..run.machine import autocast, laid_out
from ..run.progress import Say
from ..run.settings import Recipe
from . import ensemble
from .ensemble import Member, Said

BATCH = 256
# Scores are those of the weights, not of the machine: in training numbers may be rounded for speed,
# here they are not.
SCORING = recipes.make(precision="float32", layout="channels_last")


def predictions(
    room: Task, network: nn.Module, views: Views, recipe: Recipe, where: torch.device
) -> list[Prediction]:
    """One a sample, in order: shared between processes, known to all of them. A few pictures at a
    time, so that what a network says of every pixel need not fit in memory. Raises NonFiniteOutput
    where an answer is not a number."""
    mine = processes.share(np.arange(len(views)))
    network.eval()
    said = [
        each
        for few in _slices(mine, views)
        for each in _asked(room, network, views.batch(few), recipe, where)
    ]
    parts = processes.gather(said)
    if any(each is None for part in parts for each in part):
        raise NonFiniteOutput(
            "an answer of the network is not a finite number; its weights are damaged: "
            "train it again"
        )
    return [each for part in parts for each in part]


def _asked(
    room: Task, network: nn.Module, batch: Batch, recipe: Recipe, where: torch.device
) -> Sequence[Prediction | None]:
    """One a sample; None where the network's answers are not finite."""
    said = outputs(room, network, batch, recipe, where)
    return room.decode(said, batch) if torch.isfinite(said).all() else [None]


def outputs(
    room: Task, network: nn.Module, batch: Batch, recipe: Recipe, where: torch.device
) -> torch.Tensor:
    """What the network says of each view, on the CPU;
    of the many views of a large picture few at a time."""
    few = _at_once(batch.images.shape[2:])
    parts = [batch.part(start, start + few).to(where) for start in range(0, len(batch), few)]
    with torch.inference_mode(), autocast(recipe, where):
        return torch.cat([room.outputs(network, laid_out(part, recipe)).cpu() for part in parts])


def _slices(indices: np.ndarray, views: Views) -> Iterator[np.ndarray]:
    """Small pictures many at a time, large ones, and those of many views,
    as many as have about a megapixel together."""
    size = max(1, _at_once(views.images.shape[1:-1]) // int(views.counts.max(initial=1)))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _at_once(size: Sequence[int]) -> int:
    """How many views of this size have about a megapixel together."""
    return max(1, min(BATCH, BATCH * 64 * 64 // math.prod(size)))


@dataclass(frozen=True)
class Evaluation:
    """part: what was scored. evidence: as in `summary.json`. notes: what a reader of the score must
    know. test_time: what crops and an ensemble gained and cost, with the score of the model as it
    is; empty where neither was asked for."""

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
    """Scores a finished run: on the test part of its own data, or on all pictures of other data
    with the same classes.

    crops: "one" or "flip", and as its task has it "ten", "tiles" or "eight" views of each picture,
    made one answer. with_models: more runs of the same classes, whose answers are made one with
    those of `model`. costs: a CSV with a row and a column for each class, in the order of the
    classes: what it costs to answer the column for the row. Raises UsageError, DataError,
    ModelError.
    """
    say, where = Say(quiet), machine.device(device)
    plain = ensemble.members([model, *with_models])
    asked = [replace(member, room=member.room.with_crops(crops)) for member in plain]
    room, part = plain[0].room, "test" if data is None else "all"
    views, notes = _pictures(plain, data, skip_bad, say)
    spending = _costs(Path(costs), room.to_json()["classes"]) if costs is not None else None
    missing = [member for member in asked if member != plain[0]]
    shown = [
        (plain[0], views),
        *((member, _views(member, views.samples, say)) for member in missing),
    ]
    first, *rest = _in_turn(shown, where)
    said = rest if len(rest) == len(asked) else [first, *rest]
    answers = ensemble.mean(room, [each.answers for each in said])
    evidence = ensemble.scored(room, views, answers, spending).result()
    if crops == "tiles" and all((views.counts == 1).all() for _, views in shown):
        notes.append(f"crops: no picture is larger than a view, so --crops {crops} changes nothing")
    if not rest:
        return Evaluation(part, len(views), evidence, notes)
    as_it_is = ensemble.scored(room, views, first.answers, spending).result()
    found = {
        "crops": crops,
        "as_it_is": as_it_is,
        **ensemble.comparison(room, views, first, said, answers),
    }
    return Evaluation(part, len(views), evidence, notes, found)


def _pictures(
    members: Sequence[Member], data: str | Path | None, skip_bad: bool, say: Say
) -> tuple[Views, list[str]]:
    """What is scored, as the first member sees it: the test part that all share, or other data; and
    which of them was trained on it."""
    first, own = members[0], data is None
    reading = first.room.relabelled(
        first.room.read(_own_data(first.path) if data is None else data)
    )
    splits = {member.path: _split_rows(member.path) for member in members}
    test = _common_test(splits) if own else {}
    samples = [sample for sample in reading.samples if not own or sample.source in test]
    views, marks, bad = load(samples, first.room, folders.RUNS, say)
    hashes = [mark.exact.hex() for mark in marks]
    if own and dict(zip((sample.source for sample in views.samples), hashes, strict=True)) != test:
        raise DataError(
            f"{first.path}: the test pictures of this run have changed or are gone; "
            "name the data to score it on"
        )
    refuse(bad, len(samples), skip_bad)
    seen = (
        []
        if own
        else [
            note
            for path, known in splits.items()
            for note in _overlap(hashes, known, path, len(splits))
        ]
    )
    return views, [*reading.notes, *seen]


def _views(member: Member, samples: Sequence[Sample], say: Say) -> Views:
    """The pictures as another member sees them."""
    views, _, bad = load(samples, member.room, folders.RUNS, say)
    refuse(bad, len(samples), skip=False)
    return views


def _in_turn(shown: Sequence[tuple[Member, Views]], where: torch.device) -> list[Said]:
    """Asks all of them about a few pictures at a time,
    so that whatever else the machine does slows all alike."""
    slices = list(_slices(np.arange(len(shown[0][1])), shown[0][1]))
    said: list[list[Prediction]] = [[] for _ in shown]
    seconds = [0.0 for _ in shown]
    for member, views in shown:
        machine.place(member.network, where, machine.memory_format(SCORING))
        if len(shown) > 1:  # the first batch of a network is slower, which is no part of its cost
            predictions(member.room, member.network, views.part(slices[0]), SCORING, where)
    for few in slices:
        for number, (member, views) in enumerate(shown):
            started = time.perf_counter()
            said[number] += predictions(
                member.room, member.network, views.part(few), SCORING, where
            )
            seconds[number] += time.perf_counter() - started
    return [
        Said(member.path, answers, time_taken, int(views.counts.sum()))
        for (member, views), answers, time_taken in zip(shown, said, seconds, strict=True)
    ]


def _own_data(folder: Path) -> str:
    recipe = folder / "recipe.toml"
    data = recipes.load(recipe)[0] if recipe.is_file() else None
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
    """Source and pixel hash of the pictures that these runs were all tested on."""
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
    """Source and pixel hash of the pictures that the run was tested on."""
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
    """C×C, rows are truths. The file may name the classes in its first row and column."""
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

"""Answers for known truths, and the evidence they make."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import DataError, ModelError, UsageError
from ..core.types import Batch, Prediction
from ..tasks.task import Task
from . import checkpoint, machine, processes, runs
from . import recipe as recipes
from .batches import Views, load, refuse
from .machine import autocast, memory_format
from .recipe import Recipe
from .say import Say

BATCH = 256
# Scores are those of the weights, not of the machine: in training numbers may be rounded for speed, here they are not.
SCORING = recipes.make(precision="float32", layout="channels_last")


def outputs(room: Task, network: nn.Module, views: Views, recipe: Recipe, where: torch.device) -> torch.Tensor:
    """What the network says of all views, in order, on the CPU: shared between processes, known to all of them."""
    mine = processes.share(np.arange(len(views)))
    network.eval()
    parts = [_forward(room, network, views.batch(few), recipe, where) for few in _slices(mine, views)]
    return torch.cat([part for share in processes.gather(parts) for part in share])


def _forward(room: Task, network: nn.Module, batch: Batch, recipe: Recipe, where: torch.device) -> torch.Tensor:
    batch = batch.to(where)
    batch = replace(batch, images=batch.images.contiguous(memory_format=memory_format(recipe)))
    with torch.inference_mode(), autocast(recipe, where):
        return room.outputs(network, batch).cpu()


def _slices(indices: np.ndarray, views: Views) -> Iterator[np.ndarray]:
    """Small pictures many at a time, large ones as many as have about a megapixel together."""
    pixels = views.images.shape[1] * views.images.shape[2]
    size = max(1, min(BATCH, BATCH * 64 * 64 // pixels))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def predictions(room: Task, answers: torch.Tensor, views: Views) -> list[Prediction]:
    """`outputs` as predictions, one a sample."""
    return room.decode(answers, views.batch(np.arange(len(views))))


@dataclass(frozen=True)
class Evaluation:
    """part: what was scored. evidence: as in `summary.json`. notes: what a reader of the score must know."""

    part: str
    pictures: int
    evidence: dict[str, Any]
    notes: list[str]


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    costs: str | Path | None = None,
    device: str | None = None,
    skip_bad: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Scores a finished run: on the test part of its own data, or on all pictures of other data with the same classes.

    costs: a CSV with a row and a column for each class, in the order of the classes: what it costs to answer the column for the row.
    Raises UsageError, DataError, ModelError.
    """
    folder, say = Path(model), Say(quiet)
    room, network, _ = checkpoint.load_model(folder)
    own = data is None
    where = machine.device(device)
    reading = room.relabelled(room.read(_own_data(folder) if data is None else data))
    known = _split_rows(folder)
    test = _own_test(folder, known) if own else {}
    samples = [sample for sample in reading.samples if not own or sample.source in test]
    views, marks, bad = load(samples, room, runs.RUNS, say)
    hashes = [mark.exact.hex() for mark in marks]
    if own and dict(zip((sample.source for sample in views.samples), hashes, strict=True)) != test:
        raise DataError(f"{folder}: the test pictures of this run have changed or are gone; name the data to score it on")
    refuse(bad, len(samples), skip_bad)
    notes = [] if own else _overlap(hashes, known)
    machine.place(network, where, machine.memory_format(SCORING))
    answers = predictions(room, outputs(room, network, views, SCORING, where), views)
    metric = room.metric(_costs(Path(costs), reading.classes) if costs is not None else None)
    metric.add(answers, [sample.truth for sample in views.samples])
    return Evaluation("test" if own else "all", len(views), metric.result(), notes)


def _own_data(folder: Path) -> str:
    recipe = folder / "recipe.toml"
    data = recipes.load(recipe)[0] if recipe.is_file() else None
    if data is None:
        raise UsageError(f"{folder}: does not say what it was trained on; name the data to score it on")
    return data


def _split_rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "splits.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _own_test(folder: Path, known: list[dict[str, str]]) -> dict[str, str]:
    """Source and pixel hash of the pictures that the run was tested on."""
    test = {row["source"]: row["hash"] for row in known if row["part"] == "test"}
    if not test:
        raise ModelError(f"{folder / 'splits.csv'}: does not say which pictures were the test part; name the data to score it on")
    return test


def _overlap(hashes: list[str], known: list[dict[str, str]]) -> list[str]:
    seen = {row["hash"] for row in known if row["part"] != "test"}
    shared = sum(mark in seen for mark in hashes)
    if not shared:
        return []
    return [f"WARNING: {shared} of {len(hashes)} pictures were used in training this model, so the score is too good"]


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
            raise DataError(f"{path}: its columns are {', '.join(named)}; they must be the classes in order: {', '.join(classes)}")
        named = [row[0].strip() for row in rows[1:] if len(row) > len(classes)]
        if named and tuple(named) != classes:
            raise DataError(f"{path}: its rows are {', '.join(named)}; they must be the classes in order: {', '.join(classes)}")
        rows = [row[-len(classes) :] for row in rows[1:]]
    try:
        costs = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        if len({len(row) for row in rows}) == 1:
            raise DataError(f"{path}: {error}; costs are numbers") from None
        costs = np.empty(0)
    if costs.shape != (len(classes), len(classes)) or not np.isfinite(costs).all():
        raise DataError(f"{path}: needs {len(classes)} rows of {len(classes)} finite costs, one for each class")
    return costs

"""From a source to what a run needs: read, fitted, split and measured; and all that is to be said about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import DataError, UsageError, did_you_mean
from ..core.formats import Reading
from ..core.formats.reading import check_classes
from ..core.images import Header
from ..core.splits import Splits, duplicates, fold, split, thinned
from ..models.weights import Preprocessing
from ..tasks import TASKS
from ..tasks.task import Task
from . import batches, pretrained, runs
from .batches import Bad, Views
from .recipe import Recipe, parse_fold
from .say import Say

PARTS = ("train", "validation", "test")
SETTLED_BY_DATA = ("size", "weights", "split_seed", "fold", "train_pictures", "skip_bad")


@dataclass(frozen=True)
class Prepared:
    """reading: without the pictures that could not be read. heads: theirs. room: measured on the training views. views: of all samples.
    given: what the weights to begin with expect of a picture."""

    reading: Reading
    heads: tuple[Header, ...]
    recipe: Recipe
    room: Task
    views: Views
    splits: Splits
    facts: dict[str, Any]
    hashes: tuple[str, ...]
    given: Preprocessing | None = None

    def part(self, name: str) -> Views:
        return self.views.part(getattr(self.splits, name))

    def again(self, recipe: Recipe) -> Prepared:
        """The same pictures and split for other settings of learning; `recipe` is made as for `prepare` and is completed as there.

        Raises UsageError for one that fits the pictures otherwise: what `size` or `weights` say is known only when they are decoded.
        """
        known = {"task": self.room.name, "split_seed": self.recipe.split_seed}
        recipe = recipe.completed(self.room.propose(recipe.settings(), self.reading, self.heads)).completed(known)
        for name in SETTLED_BY_DATA:
            if getattr(recipe, name) != getattr(self.recipe, name):
                raise UsageError(f"{name}: cannot vary among trials on the same prepared pictures; start a study for each")
        room = _measured(self.room.open(recipe.settings(), self.reading, self.heads), self.part("train"))
        return replace(self, recipe=recipe, room=pretrained.expecting(room, self.given))

    def split_rows(self) -> list[dict[str, str]]:
        """source, part ("unused": left out by `train_pictures`) and pixel hash of every sample, in the order of the samples."""
        part_of = {int(i): part for part in PARTS for i in getattr(self.splits, part)}
        rows = zip(self.reading.samples, self.hashes, strict=True)
        return [{"source": s.source, "part": part_of.get(i, "unused"), "hash": mark} for i, (s, mark) in enumerate(rows)]


def prepare(data: str | Path, recipe: Recipe, say: Say, any_bad: bool = False, given: Preprocessing | None = None) -> Prepared:
    """Raises DataError for data that cannot be used, UsageError for settings that do not fit it.

    any_bad: go on without the pictures that cannot be read, however many, and only list them. given: what weights to begin with expect
    of a picture, instead of what is measured.
    """
    task = room_of(recipe)
    reading = task.read(data)
    heads, unread = batches.headers(reading.samples, say)
    if not any_bad:
        batches.refuse(unread, len(heads), recipe.skip_bad)
    found = [head for head in heads if head is not None]
    if not found:
        raise DataError(f"{data}: none of the {len(heads)} pictures can be read: {unread[0][1]}")
    reading = without(reading, {source for source, _ in unread})
    recipe = recipe.completed(task.propose(recipe.settings(), reading, found)).completed({"task": task.name})
    room = pretrained.expecting(task.open(recipe.settings(), reading, found), given)
    room.build()  # an unknown model, or one that does not fit these pictures, is refused before the long part
    views, marks, undecoded = batches.load(reading.samples, room, runs.RUNS, say)
    if not any_bad:
        batches.refuse(unread + undecoded, len(heads), recipe.skip_bad)
    lost = {source for source, _ in undecoded}
    found = [head for head, sample in zip(found, reading.samples, strict=True) if sample.source not in lost]
    reading = without(reading, lost)
    copies = duplicates(marks)
    recipe = recipe.completed({"split_seed": recipe.seed})
    splits = split_of(reading, copies, recipe)
    room = pretrained.expecting(_measured(room, views.part(splits.train)), given)
    hashes = tuple(mark.exact.hex() for mark in marks)
    facts = describe(data, reading, found, splits, unread + undecoded, copies, hashes) | pretrained.kept(given)
    return Prepared(reading, tuple(found), recipe, room, views, splits, facts, hashes, given)


def room_of(recipe: Recipe) -> type[Task]:
    """Raises UsageError for an unknown task."""
    name = recipe.task or "classification"
    if name not in TASKS:
        raise UsageError(f'task: unknown "{name}"; {did_you_mean(name, TASKS)}')
    return TASKS[name]


def without(reading: Reading, sources: set[str]) -> Reading:
    """The reading without some of its samples. Raises DataError when that leaves a class without any."""
    if not sources:
        return reading
    kept = np.array([sample.source not in sources for sample in reading.samples])
    number = np.cumsum(kept) - 1
    given = {part: number[indices[kept[indices]]] for part, indices in reading.given.items()}
    samples = tuple(sample for sample, keep in zip(reading.samples, kept, strict=True) if keep)
    where, truths = reading.root or reading.name, np.array([sample.truth for sample in samples], np.int64)
    for name, count in _per_class(truths, reading.classes).items():
        if not count:
            raise DataError(f"{where}: no picture of the class {name} can be read; mend its pictures or remove the class")
    check_classes(where, reading.classes, truths, given)
    return replace(reading, samples=samples, given=given)


def split_of(reading: Reading, copies: np.ndarray, recipe: Recipe) -> Splits:
    samples, seed = reading.samples, recipe.split_seed
    assert seed is not None
    truths = np.array([sample.truth for sample in samples])
    groups = [sample.group for sample in samples]
    if recipe.fold is not None:
        splits = fold(truths, groups, copies, *parse_fold(recipe.fold), seed, classes=reading.classes)
    else:
        sources = [sample.source for sample in samples]
        splits = split(truths, groups, copies, reading.given, seed, classes=reading.classes, sources=sources)
    if recipe.train_pictures is not None:
        few = thinned(splits.train, truths, recipe.train_pictures, seed)
        notes = [*splits.notes, f"train_pictures: trained on {len(few):,} of the {len(splits.train):,} training pictures"]
        splits = replace(splits, train=few, notes=notes)
    return splits


def _measured(room: Task, train: Views) -> Task:
    images, owners = train.pixels()
    return room.measured(images, train.truths[torch.from_numpy(owners)])


def describe(
    data: str | Path,
    reading: Reading,
    heads: Sequence[Header],
    splits: Splits,
    bad: Bad,
    copies: np.ndarray,
    hashes: Sequence[str],
) -> dict[str, Any]:
    """What `data.json` holds and `pellucid check` says."""
    sides = np.array([(head.height, head.width) for head in heads])
    truths = np.array([sample.truth for sample in reading.samples])
    whole = hashlib.blake2b(digest_size=16)
    for sample, mark in zip(reading.samples, hashes, strict=True):
        whole.update(f"{sample.source}\0{sample.truth}\0{mark}\n".encode())
    return {
        "source": str(data),
        "format": reading.format,
        "why": reading.why,
        "classes": list(reading.classes),
        "counts": {part: _per_class(truths[getattr(splits, part)], reading.classes) for part in PARTS},
        "sizes": {"smallest": sides.min(0).tolist(), "largest": sides.max(0).tolist(), "median": np.median(sides, axis=0).tolist()},
        "channels": dict(sorted(Counter(str(head.channels) for head in heads).items())),
        "bits": dict(sorted(Counter(str(head.bits) for head in heads).items())),
        "bad": [list(row) for row in bad],
        "left_out": [list(row) for row in reading.left_out],
        "duplicates": int(len(copies) - len(np.unique(copies))),
        "notes": list(splits.notes),
        "fingerprint": whole.hexdigest(),
    }


def _per_class(truths: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, np.bincount(truths, minlength=len(classes)).tolist(), strict=True))

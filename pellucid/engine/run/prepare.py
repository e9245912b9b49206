"""From a source to what a run needs: read, fitted, split and measured;
and all that is to be said about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...core.errors import DataError, UsageError, did_you_mean
from ...data.formats import Dataset
from ...data.images import Header
from ...data.splits import Splits, duplicates, fold, split, thinned
from ...models.weights import Preprocessing
from ...plots.formatting import plural
from ...tasks import TASKS
from ...tasks.task import Task
from . import batches, folders, pretrained
from .batches import Bad, Views
from .progress import Say
from .settings import Recipe, parse_fold

PARTS = ("train", "validation", "test")
SETTLED_BY_DATA = (
    "size",
    "weights",
    "split",
    "test",
    "split_seed",
    "validation",
    "fold",
    "train_pictures",
    "skip_bad",
)


@dataclass(frozen=True)
class Prepared:
    """reading: without the pictures that could not be read. heads: theirs. room: measured on the
    training views. views: of all samples. given: what the weights to begin with expect of a
    picture."""

    reading: Dataset
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
        """The same pictures and split for other settings of learning; `recipe` is made as for
        `prepare` and is completed as there.

        Raises UsageError for one that fits the pictures otherwise: what `size` or `weights` say is
        known only when they are decoded.
        """
        known = {"task": self.room.name, "split_seed": self.recipe.split_seed}
        recipe = recipe.completed(
            self.room.propose(recipe.settings(), self.reading, self.heads)
        ).completed(known)
        for name in SETTLED_BY_DATA:
            if getattr(recipe, name) != getattr(self.recipe, name):
                raise UsageError(
                    f"{name}: cannot vary among trials on the same prepared pictures; "
                    "start a study for each"
                )
        room = _measured(
            self.room.open(recipe.settings(), self.reading, self.heads), self.part("train")
        )
        return replace(self, recipe=recipe, room=pretrained.expecting(room, self.given))

    def split_rows(self) -> list[dict[str, str]]:
        """source, part ("unused": left out by `train_pictures`) and pixel hash of every sample, in
        the order of the samples."""
        part_of = {int(i): part for part in PARTS for i in getattr(self.splits, part)}
        rows = zip(self.reading.samples, self.hashes, strict=True)
        return [
            {"source": s.source, "part": part_of.get(i, "unused"), "hash": mark}
            for i, (s, mark) in enumerate(rows)
        ]


def prepare(
    data: str | Path,
    recipe: Recipe,
    say: Say,
    any_bad: bool = False,
    given: Preprocessing | None = None,
) -> Prepared:
    """Raises DataError for data that cannot be used, UsageError for settings that do not fit it.

    any_bad: go on without the pictures that cannot be read, however many, and only list them.
    given: what weights to begin with expect of a picture, instead of what is measured.
    """
    task = room_of(recipe, data)
    if recipe.task is None and task is not _last():
        say.line(f"task: {task.name}, as its files show; --task overrides that")
    recipe.refuse_others(task.name)
    reading = task.read(data)
    heads, unread = batches.headers(reading.samples, say)
    if not any_bad:
        batches.refuse(unread, len(heads), recipe.skip_bad)
    found = [head for head in heads if head is not None]
    if not found:
        raise DataError(f"{data}: none of the {len(heads)} pictures can be read: {unread[0][1]}")
    reading = without(reading, {source for source, _ in unread}, task)
    recipe = recipe.completed(task.propose(recipe.settings(), reading, found)).completed(
        {"task": task.name}
    )
    room = pretrained.expecting(task.open(recipe.settings(), reading, found), given)
    # an unknown model, or one that does not fit these pictures, is refused before the long part
    room.build()
    views, marks, undecoded = batches.load(reading.samples, room, folders.RUNS, say)
    if not any_bad:
        batches.refuse(unread + undecoded, len(heads), recipe.skip_bad)
    lost = {source for source, _ in undecoded}
    found = [
        head
        for head, sample in zip(found, reading.samples, strict=True)
        if sample.source not in lost
    ]
    reading = without(reading, lost, task)
    copies = duplicates(marks)
    recipe = recipe.completed({"split_seed": recipe.seed})
    splits = split_of(reading, copies, recipe, task)
    room = pretrained.expecting(_measured(room, views.part(splits.train)), given)
    hashes = tuple(mark.exact.hex() for mark in marks)
    facts = describe(
        data, task, reading, found, splits, unread + undecoded, copies, hashes
    ) | pretrained.kept(given)
    return Prepared(reading, tuple(found), recipe, room, views, splits, facts, hashes, given)


def room_of(recipe: Recipe, data: str | Path) -> type[Task]:
    """The task that the recipe names, else the first one that recognises the data. Raises
    UsageError for an unknown task."""
    name = recipe.task
    if name is None:
        return next((task for task in TASKS.values() if task.recognises(data)), _last())
    if name not in TASKS:
        raise UsageError(f'task: unknown "{name}"; {did_you_mean(name, TASKS)}')
    return TASKS[name]


def with_weights(recipe: Recipe, data: str | Path) -> tuple[Recipe, Preprocessing | None]:
    """`pretrained.chosen` for the task of this data."""
    return pretrained.chosen(recipe, room_of(recipe, data).name)


def _last() -> type[Task]:
    """Takes whatever no other one recognises."""
    return list(TASKS.values())[-1]


def without(reading: Dataset, sources: set[str], task: type[Task]) -> Dataset:
    """The reading without some of its samples. Raises DataError when nothing can be learnt from
    what is left."""
    if not sources:
        return reading
    kept = np.array([sample.source not in sources for sample in reading.samples])
    number = np.cumsum(kept) - 1
    given = {part: number[indices[kept[indices]]] for part, indices in reading.given.items()}
    samples = tuple(sample for sample, keep in zip(reading.samples, kept, strict=True) if keep)
    kept_reading = replace(reading, samples=samples, given=given)
    task.refuse(kept_reading)
    return kept_reading


def split_of(reading: Dataset, copies: np.ndarray, recipe: Recipe, task: type[Task]) -> Splits:
    """Raises UsageError for settings of the split that do not fit the data's own parts, DataError
    for strata that are too small."""
    samples, seed = reading.samples, recipe.split_seed
    assert seed is not None
    strata, names = task.strata(reading)
    groups = [sample.group for sample in samples]
    if recipe.split == "by_heart":
        return _by_heart(reading, recipe)
    given, notes = _own_parts(reading, recipe)
    if recipe.validation is not None and ("validation" in given or recipe.fold is not None):
        why = (
            "fold has a share of its own"
            if recipe.fold is not None
            else "the data has a validation part of its own"
        )
        raise UsageError(f"validation: {why}; leave it out")
    if recipe.fold is not None:
        splits = fold(strata, groups, copies, *parse_fold(recipe.fold), seed, classes=names)
    else:
        sources = [sample.source for sample in samples]
        splits = split(
            strata,
            groups,
            copies,
            given,
            seed,
            classes=names,
            sources=sources,
            validation=recipe.validation,
        )
        splits = replace(splits, notes=[*notes, *splits.notes])
    if recipe.train_pictures is not None:
        few = thinned(splits.train, strata, recipe.train_pictures, seed)
        notes = [
            *splits.notes,
            (
                f"train_pictures: trained on {len(few):,} of the {len(splits.train):,} training "
                "pictures"
            ),
        ]
        splits = replace(splits, train=few, notes=notes)
    return splits


def _own_parts(reading: Dataset, recipe: Recipe) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The data's own parts under the names that the recipe gives them,
    and what is to be said of that."""
    given = reading.given
    where = reading.root or reading.name
    if recipe.test is not None:
        return _named(reading, recipe)
    if recipe.split == "own":
        return given, []
    if recipe.fold is not None:
        raise UsageError(
            "split: val_as_test keeps a part of the data as its test, and fold tests on every "
            "picture once; leave out one of the two"
        )
    if "validation" not in given or "test" in given:
        has = ", ".join(given) or "no parts of its own"
        raise UsageError(
            f"split: val_as_test is for data with validation and without test, and {where} has "
            f"{has}; leave out split"
        )
    own = {"train": given["train"], "test": given["validation"]}
    return own, ["the data's own validation part is the test part here, as split says"]


def _by_heart(reading: Dataset, recipe: Recipe) -> Splits:
    """Every picture in each part: whether a network can learn at all."""
    for name in ("fold", "validation", "train_pictures"):
        if getattr(recipe, name) is not None:
            raise UsageError(
                f"{name}: split is by_heart, where every part is all pictures; "
                "leave out one of the two"
            )
    every = np.arange(len(reading.samples))
    note = (
        "WARNING: by heart: train, validation and test are the same pictures, so the scores say "
        "what was learnt of these, and no more"
    )
    return Splits(every, every, every, [note], 1)


def _named(reading: Dataset, recipe: Recipe) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The pictures that `test` names as the test part, and all others as train."""
    assert recipe.test is not None
    if recipe.fold is not None or recipe.split != "own":
        raise UsageError(
            "test: names the test part, and so does fold or split; leave out one of the two"
        )
    patterns = [each.strip() for each in recipe.test.split(",") if each.strip()]
    names = [(sample.source, PurePath(sample.source).stem) for sample in reading.samples]
    hits = np.array(
        [
            [fnmatchcase(source, each) or fnmatchcase(stem, each) for each in patterns]
            for source, stem in names
        ],
        bool,
    )
    idle = [each for number, each in enumerate(patterns) if not hits[:, number].any()]
    if idle or not patterns or hits.any(1).all():
        wrong = (
            f'"{idle[0]}" is the name of no picture'
            if idle
            else "leaves no picture to learn from"
            if patterns
            else "names no picture"
        )
        raise UsageError(f"test: {wrong}; names are like {names[0][1]} or {names[0][0]}")
    test = hits.any(1)
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}, [
        f"test: the {test.sum()} pictures that were named"
    ]


def _measured(room: Task, train: Views) -> Task:
    rows, owners = train.fitting()
    return room.measured(
        train.images[rows], train.truths_at(owners), [train.transforms[row] for row in rows]
    )


def describe(
    data: str | Path,
    task: type[Task],
    reading: Dataset,
    heads: Sequence[Header],
    splits: Splits,
    bad: Bad,
    copies: np.ndarray,
    hashes: Sequence[str],
) -> dict[str, Any]:
    """What `data.json` holds and `pellucid check` says."""
    sides = np.array([(head.height, head.width) for head in heads])
    counted = _counted(task, reading, splits)
    whole = hashlib.blake2b(digest_size=16)
    for sample, mark in zip(reading.samples, hashes, strict=True):
        whole.update(f"{sample.source}\0{sample.target}\0{mark}\n".encode())
    return {
        "source": str(data),
        "format": reading.format,
        "why": reading.why,
        "classes": list(reading.classes),
        **counted,
        "sizes": {
            "smallest": sides.min(0).tolist(),
            "largest": sides.max(0).tolist(),
            "median": np.median(sides, axis=0).tolist(),
        },
        "channels": dict(sorted(Counter(str(head.channels) for head in heads).items())),
        "bits": dict(sorted(Counter(str(head.bits) for head in heads).items())),
        "bad": [list(row) for row in bad],
        "left_out": [list(row) for row in reading.left_out],
        "duplicates": int(len(copies) - len(np.unique(copies))),
        "notes": [*reading.notes, *splits.notes, *_uneven(counted)],
        "fingerprint": whole.hexdigest(),
    }


def pictures_of(facts: Mapping[str, Any], *parts: str) -> list[int]:
    """How many pictures are in these parts, by what `describe` said; classes count pictures where
    nothing else is said."""
    return [
        facts["pictures"][part] if "pictures" in facts else sum(facts["counts"][part].values())
        for part in parts
    ]


def _uneven(found: Mapping[str, Any]) -> list[str]:
    """Parts in which nothing can be scored, and classes that are asked for and never learnt, by
    what `_counted` found."""
    counts, counted = found["counts"], found.get("counted", "pictures")
    empty = [part for part in PARTS[1:] if not any(counts[part].values())]
    notes = [
        (
            f"WARNING: no {counted} in the {part} part, so nothing can be scored there; "
            "share it out otherwise"
        )
        for part in empty
    ]
    for name, learnt in counts["train"].items():
        seen = [
            f"{plural(number, counted.removesuffix('s'))} in {part}"
            for part in PARTS[1:]
            if (number := counts[part][name])
        ]
        if seen and not learnt:
            notes.append(
                f"WARNING: class {name}: {' and '.join(seen)}, none in train, so it cannot be found"
            )
    return notes


def _counted(task: type[Task], reading: Dataset, splits: Splits) -> dict[str, Any]:
    """counts: of each class in each part; where they count something else than pictures also how
    many pictures there are, and how many of them without any of it."""
    parts = {part: [reading.samples[i] for i in getattr(splits, part)] for part in PARTS}
    found: dict[str, Any] = {
        "counts": {part: task.counts(samples, reading.classes) for part, samples in parts.items()}
    }
    if task.counted == "pictures":
        return found
    empty = {
        part: sum(not any(task.counts([s], reading.classes).values()) for s in samples)
        for part, samples in parts.items()
    }
    return found | {
        "counted": task.counted,
        "pictures": {part: len(samples) for part, samples in parts.items()},
        "empty": empty,
    }

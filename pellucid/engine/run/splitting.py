"""Train, validation and test: the data's own parts, a new split, a fold, or named images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePath

import numpy as np

from ...core.errors import UsageError
from ...data.formats import Dataset
from ...data.splits import Splits, fold, split, thinned
from ...tasks.settings import SharedSettings, parse_fold
from ...tasks.task import Task


def split_of(dataset: Dataset, copies: np.ndarray, settings: SharedSettings, task: Task) -> Splits:
    """Raises UsageError for settings of the split that do not fit the data's own parts, DataError
    for strata that are too small."""
    samples, seed = dataset.samples, settings.split_seed
    assert seed is not None
    strata, names = task.parts.data.strata(dataset)
    groups = [sample.group for sample in samples]
    if settings.split == "by_heart":
        return _by_heart(dataset, settings)
    given, notes = _own_parts(dataset, settings)
    if settings.validation is not None and ("validation" in given or settings.fold is not None):
        why = (
            "fold has a share of its own"
            if settings.fold is not None
            else "the data has a validation part of its own"
        )
        raise UsageError(f"validation: {why}; leave it out")
    if settings.fold is not None:
        splits = fold(strata, groups, copies, *parse_fold(settings.fold), seed, classes=names)
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
            validation=settings.validation,
        )
        splits = replace(splits, notes=[*notes, *splits.notes])
    if settings.train_pictures is not None:
        few = thinned(splits.train, strata, settings.train_pictures, seed)
        notes = [
            *splits.notes,
            (
                f"train_pictures: trained on {len(few):,} of the {len(splits.train):,} training "
                "pictures"
            ),
        ]
        splits = replace(splits, train=few, notes=notes)
    return splits


def _own_parts(
    dataset: Dataset, settings: SharedSettings
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The data's own parts under the names that the settings give them, and notes."""
    given = dataset.given
    where = dataset.root or dataset.name
    if settings.test is not None:
        return _named(dataset, settings)
    if settings.split == "own":
        return given, []
    if settings.fold is not None:
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


def _by_heart(dataset: Dataset, settings: SharedSettings) -> Splits:
    """Every picture in each part: whether a network can learn at all."""
    for name in ("fold", "validation", "train_pictures"):
        if getattr(settings, name) is not None:
            raise UsageError(
                f"{name}: split is by_heart, where every part is all pictures; "
                "leave out one of the two"
            )
    every = np.arange(len(dataset.samples))
    note = (
        "WARNING: by heart: train, validation and test are the same pictures, so the scores say "
        "what was learnt of these, and no more"
    )
    return Splits(every, every, every, [note], 1)


def _named(
    dataset: Dataset, settings: SharedSettings
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The pictures that `test` names as the test part, and all others as train."""
    assert settings.test is not None
    if settings.fold is not None or settings.split != "own":
        raise UsageError(
            "test: names the test part, and so does fold or split; leave out one of the two"
        )
    patterns = [each.strip() for each in settings.test.split(",") if each.strip()]
    names = [(sample.source, PurePath(sample.source).stem) for sample in dataset.samples]
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

"""From a source to what a run needs: loaded, split, decoded, with statistics fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, UsageError, did_you_mean
from ...data.formats import Dataset
from ...data.images import Header
from ...data.splits import Splits, duplicates
from ...models.weights import Preprocessing
from ...tasks import TASKS
from ...tasks.settings import SharedSettings, completed
from ...tasks.task import FitData, ModelSpec, Task
from . import batches, folders, pretrained
from . import settings as configuration
from .batches import Views
from .facts import PARTS, describe
from .progress import Say
from .splitting import split_of

# Settings that decide what is decoded and how it is split.
FIXED_BY_DATA = (
    *("size", "weights", "split", "test", "split_seed", "validation", "fold"),
    *("train_pictures", "skip_bad"),
)


# Where neither the user nor the task decides.
FALLBACK = {"epochs": 10, "batch": 32, "optimizer": "adamw"}


@dataclass(frozen=True)
class Prepared:
    """dataset: without the images that could not be read. heads: theirs. preprocess: fitted to the
    training views. views: of all samples. given: the preprocessing that the initial weights
    expect."""

    task: Task
    settings: Any
    dataset: Dataset
    heads: tuple[Header, ...]
    preprocess: Any
    architecture: Any
    inference: Any
    training: Any
    views: Views
    splits: Splits
    facts: dict[str, Any]
    hashes: tuple[str, ...]
    given: Preprocessing | None = None

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec(self.task, self.preprocess, self.architecture, self.inference)

    def part(self, name: str) -> Views:
        return self.views.part(getattr(self.splits, name))

    def again(self, settings: SharedSettings) -> Prepared:
        """The same images and split for other settings; `settings` is made as for `prepare` and is
        completed as there.

        Raises UsageError for a setting that changes what is decoded or how it is split.
        """
        settings = completed_by(self.task, settings, self.dataset, self.heads)
        settings = completed(settings, {"split_seed": self.settings.split_seed})
        for name in FIXED_BY_DATA:
            if getattr(settings, name) != getattr(self.settings, name):
                raise UsageError(
                    f"{name}: cannot vary among trials on the same prepared pictures; "
                    "start a study for each"
                )
        preprocess = initial(self.task, settings, self.dataset, self.heads, self.given)
        fitted = self.part("train").fit_data()
        parts = fitted_parts(self.task, settings, self.dataset, preprocess, fitted, self.given)
        return replace(self, settings=settings, **parts)

    def split_rows(self) -> list[dict[str, str]]:
        """source, part ("unused": left out by `train_pictures`) and pixel hash of every sample, in
        the order of the samples."""
        part_of = {int(i): part for part in PARTS for i in getattr(self.splits, part)}
        rows = zip(self.dataset.samples, self.hashes, strict=True)
        return [
            {"source": s.source, "part": part_of.get(i, "unused"), "hash": mark}
            for i, (s, mark) in enumerate(rows)
        ]


def prepare(
    data: str | Path,
    given: Mapping[str, Any],
    say: Say,
    any_bad: bool = False,
    weights: Preprocessing | None = None,
) -> Prepared:
    """Raises DataError for data that cannot be used, UsageError for settings that do not fit it.

    given: settings by name. any_bad: go on without the images that cannot be read, however many,
    and only list them. weights: the preprocessing that initial weights expect, instead of what is
    fitted.
    """
    task = resolve_task(given, data)
    if given.get("task") is None and task is not _last():
        say.line(f"task: {task.name}, as its files show; --task overrides that")
    settings = configuration.of(task, given)
    dataset = task.parts.data.load(data)
    heads, unread = batches.headers(dataset.samples, say)
    if not any_bad:
        batches.refuse(unread, len(heads), settings.skip_bad)
    found = tuple(head for head in heads if head is not None)
    if not found:
        raise DataError(f"{data}: none of the {len(heads)} pictures can be read: {unread[0][1]}")
    dataset = without(dataset, {source for source, _ in unread}, task)
    settings = completed_by(task, settings, dataset, found)
    preprocess = initial(task, settings, dataset, found, weights)
    # An unknown model, or one that does not fit these images, is refused before the long part.
    task.parts.architecture.create(settings, dataset, preprocess, None).build()
    views, marks, undecoded = batches.load(dataset.samples, preprocess, folders.RUNS, say)
    bad = unread + undecoded
    if not any_bad:
        batches.refuse(bad, len(heads), settings.skip_bad)
    lost = {source for source, _ in undecoded}
    pairs = zip(found, dataset.samples, strict=True)
    found = tuple(head for head, sample in pairs if sample.source not in lost)
    dataset = without(dataset, lost, task)
    copies = duplicates(marks)
    settings = completed(settings, {"split_seed": settings.seed})
    splits = split_of(dataset, copies, settings, task)
    fitted = views.part(splits.train).fit_data()
    parts = fitted_parts(task, settings, dataset, preprocess, fitted, weights)
    hashes = tuple(mark.exact.hex() for mark in marks)
    facts = describe(data, task, dataset, found, splits, bad, copies, hashes)
    facts |= pretrained.kept(weights)
    return Prepared(
        task=task,
        settings=settings,
        dataset=dataset,
        heads=found,
        views=views,
        splits=splits,
        facts=facts,
        hashes=hashes,
        given=weights,
        **parts,
    )


def completed_by(
    task: Task, settings: SharedSettings, dataset: Dataset, heads: tuple[Header, ...]
) -> Any:
    """The settings with what the task suggests for this data."""
    suggested = task.parts.suggest_defaults(settings, dataset, heads)
    return completed(completed(settings, suggested), FALLBACK | {"task": task.name})


def initial(
    task: Task,
    settings: SharedSettings,
    dataset: Dataset,
    heads: tuple[Header, ...],
    weights: Preprocessing | None,
) -> Any:
    """The preprocessing before anything is fitted."""
    preprocess = task.parts.preprocess.create(settings, dataset, heads)
    return preprocess if weights is None else preprocess.expecting(weights)


def fitted_parts(
    task: Task,
    settings: SharedSettings,
    dataset: Dataset,
    preprocess: Any,
    fitted: FitData,
    weights: Preprocessing | None,
) -> dict[str, Any]:
    """The parts of a run, fitted to the training views."""
    preprocess = preprocess.fit_statistics(fitted)
    if weights is not None:
        preprocess = preprocess.expecting(weights)
    architecture = task.parts.architecture.create(settings, dataset, preprocess, fitted)
    return {
        "preprocess": preprocess,
        "architecture": architecture,
        "inference": task.parts.inference.create(settings, dataset, preprocess),
        "training": task.parts.training.create(settings, dataset, preprocess, architecture, fitted),
    }


def resolve_task(given: Mapping[str, Any], data: str | Path) -> Task:
    """The task that the settings name, else the first one that matches the data. Raises UsageError
    for an unknown task."""
    name = given.get("task")
    if name is None:
        return next((task for task in TASKS.values() if task.parts.data.matches(data)), _last())
    if name not in TASKS:
        raise UsageError(f'task: unknown "{name}"; {did_you_mean(str(name), TASKS)}')
    return TASKS[name]


def with_weights(
    given: Mapping[str, Any], data: str | Path
) -> tuple[dict[str, Any], Preprocessing | None]:
    """`pretrained.chosen` for the task of this data."""
    return pretrained.chosen(dict(given), resolve_task(given, data))


def _last() -> Task:
    """Takes whatever no other one matches."""
    return list(TASKS.values())[-1]


def without(dataset: Dataset, sources: set[str], task: Task) -> Dataset:
    """The data set without some of its samples. Raises DataError when nothing can be learned from
    what is left."""
    if not sources:
        return dataset
    kept = np.array([sample.source not in sources for sample in dataset.samples])
    number = np.cumsum(kept) - 1
    given = {part: number[indices[kept[indices]]] for part, indices in dataset.given.items()}
    samples = tuple(sample for sample, keep in zip(dataset.samples, kept, strict=True) if keep)
    smaller = replace(dataset, samples=samples, given=given)
    task.parts.data.validate(smaller)
    return smaller

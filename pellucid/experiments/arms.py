"""Finished runs as they lie on disk, and what is tried: an arm,
runs that differ in nothing but their seed or fold."""

from __future__ import annotations

import csv
import itertools
import math
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ModelError, UsageError, did_you_mean
from ..engine.inference import records
from ..engine.inference.model import stored_parts
from ..engine.run import folders
from ..engine.run.facts import pictures_of
from ..metrics.significance import UNDEFINED, Score, nadeau_bengio, score_of, seeds_interval
from ..plots.formatting import NO_SHARES
from ..tasks import TASKS
from ..tasks.task import Metric, ModelSpec, Task

# What may differ between the runs of one arm, and what the machine chose.
REPEATED = ("seed", "split_seed", "fold")
OF_MACHINE = ("threads", "device", "layout", "precision", "baselines", "skip_bad", "cache")

Part = tuple[str, ...]
Curves = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Result:
    """One finished run. rows: of metrics.csv. predicted: rows of predictions.csv, one a test image,
    in the order of their sources. metric: of the test part."""

    folder: Path
    task: Task
    settings: dict[str, Any]
    facts: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, float]]
    predicted: list[dict[str, str]]
    metric: Metric

    @cached_property
    def part(self) -> Part:
        """The test images, by which runs are told to be comparable image by image."""
        return tuple(sorted(self.metric.records))

    @property
    def classes(self) -> list[str]:
        return list(self.facts["classes"])

    def images(self, *parts: str) -> int:
        return sum(pictures_of(self.facts, *parts))

    @property
    def seen(self) -> np.ndarray:
        """Training images seen at the end of each epoch; an image drawn twice is seen twice."""
        return np.array([row.get("seen", row["epoch"] * self.images("train")) for row in self.rows])

    def score(self, name: str) -> float:
        """Raises ModelError where the test has no such score."""
        value = score_of(self.metric, name)
        if math.isnan(value):
            raise ModelError(
                f'{self.folder}: its test has no "{name}"; compare by another score, '
                f"or train with --score {name}"
            )
        return value

    @property
    def per_class(self) -> dict[str, dict[str, Any]]:
        return dict(self.summary["test"].get("per_class", {}))

    def at_best(self, column: str) -> float | None:
        """A column of metrics.csv at the epoch whose weights were kept."""
        found = [
            row[column]
            for row in self.rows
            if row["epoch"] == self.summary.get("best_epoch") and column in row
        ]
        return found[0] if found and math.isfinite(found[0]) else None


@dataclass(frozen=True)
class Arm:
    """What is tried. settings: those in which the arms differ. test: the mean score over the runs.
    diverged: runs that are in no mean because their loss was no longer finite."""

    name: str
    runs: tuple[Result, ...]
    diverged: int
    settings: dict[str, Any]
    test: Score

    def mean(self, values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    @property
    def train_accuracy(self) -> float | None:
        return self.mean(run.at_best("train_accuracy") for run in self.runs)

    @property
    def epochs(self) -> float | None:
        return self.mean(run.summary.get("epochs_run") for run in self.runs)

    @property
    def seconds(self) -> float | None:
        return self.mean(run.summary.get("seconds", {}).get("training") for run in self.runs)

    @property
    def parameters(self) -> int | None:
        return self.runs[0].summary.get("parameters") if self.runs else None

    @property
    def seen(self) -> float | None:
        return self.mean(float(run.seen[-1]) if run.rows else None for run in self.runs)

    @property
    def recall(self) -> dict[str, float | None]:
        """class → recall on the test part, mean over the runs; None where no run has one."""
        return {
            name: self.mean(
                run.per_class.get(name, {}).get("recall", {}).get("value") for run in self.runs
            )
            for name in (self.runs[0].classes if self.runs else [])
        }

    def curve(self, column: str) -> Curves:
        """epochs, seen, and value, low and high over the runs that came so far;
        empty where no run has the column."""
        longest = max(self.runs, key=lambda run: len(run.rows), default=None)
        if longest is None or not longest.rows:
            return {
                "epochs": np.zeros(0),
                "seen": np.zeros(0),
                "value": np.zeros(0),
                "low": np.zeros(0),
                "high": np.zeros(0),
            }
        values = np.full((len(self.runs), len(longest.rows)), np.nan)
        for i, run in enumerate(self.runs):
            values[i, : len(run.rows)] = [row.get(column, math.nan) for row in run.rows]
        values[~np.isfinite(values)] = np.nan
        some = np.isfinite(values).any(axis=0)
        kept = values[:, some]
        return {
            "epochs": np.array([row["epoch"] for row in longest.rows])[some],
            "seen": longest.seen[some],
            "value": np.nanmean(kept, axis=0),
            "low": np.nanmin(kept, axis=0, initial=np.inf),
            "high": np.nanmax(kept, axis=0, initial=-np.inf),
        }


def read(folder: Path) -> Result:
    """Raises ModelError when the folder is not that of a finished run or one of its
    files is damaged."""
    folder = Path(folder)
    if not (folder / "recipe.toml").is_file():
        raise ModelError(
            f"{folder}: is not a run folder; name folders that `pellucid train` has written"
        )
    if not (folder / "summary.json").exists() or (folder / "checkpoint.safetensors").exists():
        raise ModelError(
            f"{folder}: this run is not finished; leave it out if its loss diverged, "
            "or finish it with: "
            f"{shlex.join(['pellucid', 'train', '--resume', str(folder)])}"
        )
    summary = folders.read_json(folder / "summary.json")
    task = _task(folder, summary)
    return Result(
        folder,
        task,
        _settings(folder / "recipe.toml"),
        folders.read_json(folder / "data.json"),
        summary,
        _epochs(folder / "metrics.csv") if summary.get("epochs_run", 1) else [],
        _predicted(folder / "predictions.csv"),
        _metric(folder, task),
    )


def _task(folder: Path, summary: Mapping[str, Any]) -> Task:
    """The task of a finished run. Raises ModelError for one that is not known, or has no metric."""
    # Runs of the first version do not say it.
    name = str(summary.get("task", "classification"))
    if name not in TASKS:
        raise ModelError(f'{folder}: task "{name}" is not known to this version of Pellucid')
    if TASKS[name].parts.metric is None:
        raise ModelError(
            f"{folder}: {name} has no metric to compare runs by; compare their results"
        )
    return TASKS[name]


def _metric(folder: Path, task: Task) -> Metric:
    """Of the test part, with its records. Raises ModelError for a run of an earlier version."""
    path = folder / records.NAME
    if not path.is_file():
        raise ModelError(
            f"{folder}: has no {records.NAME}, as runs of earlier versions of Pellucid; "
            "train it again to compare it"
        )
    description = folder / "model" / "model.json"
    try:
        about = folders.read_json(description)
        spec = ModelSpec.from_json(task, stored_parts(task, about))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{description}: damaged ({error}); train it again") from None
    assert task.parts.metric is not None
    metric: Metric = task.parts.metric.create(spec.preprocess, spec.inference)
    records.load(path, metric)
    return metric


def _settings(path: Path) -> dict[str, Any]:
    """As they stand there, those of the task's table among them: a run of an earlier version may
    name settings that are no longer known."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged ({error}); copy it again from where it was whole"
        ) from None
    tables = [value for value in written.values() if isinstance(value, dict)]
    shared = {k: v for k, v in written.items() if k != "data" and not isinstance(v, dict)}
    return shared | {key: value for table in tables for key, value in table.items()}


def _epochs(path: Path) -> list[dict[str, float]]:
    return [
        {key: _number(value) for key, value in row.items()}
        for row in _table(path, ("epoch", "step"))
    ]


def _predicted(path: Path) -> list[dict[str, str]]:
    return sorted(_table(path, ("source", "truth", "answer")), key=lambda row: row["source"])


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        rows = list(
            csv.DictReader(
                path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), strict=True
            )
        )
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}), yet a finished run has it; "
            "copy it again, or train again"
        ) from None
    except csv.Error as error:
        raise ModelError(
            f"{path}: damaged ({error}); copy it again from where it was whole"
        ) from None
    if not rows or any(row.get(column) is None for row in rows for column in columns):
        raise ModelError(
            f"{path}: damaged (rows need {', '.join(columns)}); "
            "copy it again from where it was whole"
        )
    return rows


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def known_score(score: str | None, task: Task) -> str:
    """The score itself; the usual one of the task where none is named. Raises UsageError for one
    that this task does not have, and for a task without a metric."""
    if task.parts.metric is None:
        raise UsageError(f"score: {task.name} has no metric, so its runs cannot be compared")
    known: tuple[str, ...] = task.parts.metric.SCORES
    if score is None:
        return known[0]
    if score not in known:
        raise UsageError(f'score: {task.name} has no "{score}"; {did_you_mean(score, known)}')
    return score


def arm(name: str, found: Sequence[Result], diverged: int, shown: Sequence[str], score: str) -> Arm:
    """shown: the settings in which the arms differ."""
    settings = {key: found[0].settings.get(key) for key in shown} if found else {}
    return Arm(name, tuple(found), diverged, settings, _test(found, score))


def _test(found: Sequence[Result], score: str) -> Score:
    """A single run's own interval; over seeds Student's; over splits the corrected one."""
    if not found:
        return UNDEFINED
    if len(found) == 1:
        value = found[0].score(score)
        return dict(found[0].summary["test"].get(score, UNDEFINED | {"value": value}))
    parts = by_part(found)
    if len(parts) == 1:
        said = seeds_interval([run.score(score) for run in found])
    else:
        t = nadeau_bengio([mean_score(of, score) for of in parts.values()], test_share(found))
        name = (
            None
            if t["low"] is None
            else f"corrected t 95 %, {t['runs']} runs on different test pictures"
        )
        said = {"value": t["mean"], "low": t["low"], "high": t["high"], "interval": name}
    # A share stays from 0 to 1, whatever Student's distribution allows.
    return (
        said
        if said["low"] is None or score in NO_SHARES
        else said | {"low": max(0.0, said["low"]), "high": min(1.0, said["high"])}
    )


def by_part(found: Sequence[Result]) -> dict[Part, list[Result]]:
    """The runs that were tested on the same images, together."""
    parts: dict[Part, list[Result]] = {}
    for run in found:
        parts.setdefault(run.part, []).append(run)
    return parts


def mean_score(found: Sequence[Result], score: str) -> float:
    return float(np.mean([run.score(score) for run in found]))


def test_share(found: Sequence[Result]) -> float:
    """Test images for each other one. Validation images count as those trained on: they choose
    the epoch, and with k folds this is then 1/(k - 1)."""
    return float(np.mean([run.images("test") / run.images("train", "validation") for run in found]))


def differing(arms: Mapping[str, Sequence[Result]]) -> list[str]:
    """The settings in which the arms differ, in the order of the recipe."""
    first = [found[0].settings for found in arms.values() if found]
    keys = dict.fromkeys(key for settings in first for key in settings)
    return [
        k
        for k in keys
        if k not in REPEATED + OF_MACHINE and len({repr(settings.get(k)) for settings in first}) > 1
    ]


def grouped(found: Sequence[Result]) -> dict[str, list[Result]]:
    """Runs that differ only in their seed or fold, together;
    named as what their folders' names have in common."""
    groups: dict[str, list[Result]] = {}
    for run in found:
        settings = {k: v for k, v in run.settings.items() if k not in REPEATED + OF_MACHINE}
        groups.setdefault(repr(sorted(settings.items())), []).append(run)
    named: dict[str, list[Result]] = {}
    for group in groups.values():
        name = _common([run.folder.resolve().name for run in group])
        while name in named:
            name += "'"
        named[name] = group
    return named


def _common(names: Sequence[str]) -> str:
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("-_. ") or names[0]

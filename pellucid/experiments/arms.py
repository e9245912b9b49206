"""Finished runs as they lie on disk, and what is tried: an arm,
runs that differ in nothing but their seed or fold."""

from __future__ import annotations

import csv
import itertools
import math
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ModelError, UsageError, did_you_mean
from ..engine.run import folders
from ..engine.run.prepare import pictures_of
from ..metrics.evidence import Score
from ..metrics.paired import SCORES as OF_CLASSES
from ..metrics.paired import nadeau_bengio, score_of, seeds_interval
from ..plots.formatting import NO_SHARES

# What may differ between the runs of one arm, and what the machine chose.
REPEATED = ("seed", "split_seed", "fold")
OF_MACHINE = ("threads", "device", "layout", "precision", "baselines", "skip_bad", "cache")

# The test scores of each task that arms are compared by, the usual one first.
SCORES = {
    "classification": tuple(OF_CLASSES),
    "detection": ("map", "map50"),
    "segmentation": ("dice", "iou", "rand"),
    "superresolution": ("psnr", "ssim"),
}

Part = tuple[tuple[str, str], ...]
Curves = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Result:
    """One finished run. rows: of metrics.csv. answered: rows of predictions.csv, one a test
    picture, in the order of their sources. truth, answers: the class numbers of these N pictures;
    none where answers are no classes."""

    folder: Path
    settings: dict[str, Any]
    facts: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, float]]
    answered: list[dict[str, str]]
    target: np.ndarray
    answers: np.ndarray

    @property
    def task(self) -> str:
        # Runs of the first version do not say it.
        return str(self.summary.get("task", "classification"))

    @cached_property
    def part(self) -> Part:
        """The test pictures, by which runs are told to be comparable picture by picture."""
        return tuple((row["source"], row["truth"]) for row in self.answered)

    @property
    def classes(self) -> list[str]:
        return list(self.facts["classes"])

    def pictures(self, *parts: str) -> int:
        return sum(pictures_of(self.facts, *parts))

    @property
    def seen(self) -> np.ndarray:
        """Training pictures seen at the end of each epoch; a picture drawn twice is seen twice."""
        return np.array(
            [row.get("seen", row["epoch"] * self.pictures("train")) for row in self.rows]
        )

    def score(self, name: str) -> float:
        """Raises ModelError where the test has no such score."""
        if len(self.answers):
            return float(score_of(name, self.target, self.answers)[0])
        value = self.summary["test"].get(name, {}).get("value")
        if value is None:
            raise ModelError(
                f'{self.folder}: its test has no "{name}"; compare by another score, '
                f"or train with --score {name}"
            )
        return float(value)

    def of_pictures(self, score: str) -> np.ndarray:
        """float64, one a test picture, its mean over the classes where each has its own; NaN where
        it is undefined. None at all where predictions.csv does not hold the score, or where chance
        draws patients and not pictures."""
        named = (
            [score] if score in self.answered[0] else [f"{score}_{name}" for name in self.classes]
        )
        columns = [name for name in named if name in self.answered[0]]
        alone = self.summary["test"].get("units", {}).get("count", len(self.answered)) == len(
            self.answered
        )
        if not columns or not alone:
            return np.zeros(0)
        found = np.array([[_number(row[name]) for name in columns] for row in self.answered])
        known = np.isfinite(found)
        return np.where(known, found, 0).sum(axis=1) / np.where(
            known.any(axis=1), known.sum(axis=1), np.nan
        )

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
        """class → share of its test pictures that is found, mean over the runs;
        None where no run was tested on it."""
        found = {}
        for number, name in enumerate(self.runs[0].classes if self.runs else []):
            shares = [
                float((run.answers[run.target == number] == number).mean())
                for run in self.runs
                if (run.target == number).any()
            ]
            found[name] = self.mean(shares)
        return found

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
    settings = _settings(folder / "recipe.toml")
    facts, summary = (
        folders.read_json(folder / "data.json"),
        folders.read_json(folder / "summary.json"),
    )
    rows = [
        {key: _number(value) for key, value in row.items()}
        for row in _table(folder / "metrics.csv", ("epoch", "step"))
    ]
    answered = sorted(
        _table(folder / "predictions.csv", ("source", "truth", "answer")),
        key=lambda row: row["source"],
    )
    unsaid = np.zeros(0, np.int64)
    found = Result(folder, settings, facts, summary, rows, answered, unsaid, unsaid)
    if found.task != "classification":
        return found
    number = {name: i for i, name in enumerate(facts["classes"])}
    try:
        target, answers = (
            np.array([number[row[column]] for row in answered], np.int64)
            for column in ("truth", "answer")
        )
    except KeyError as error:
        raise ModelError(
            f"{folder / 'predictions.csv'}: names the class {error}, "
            "which data.json does not know; train again"
        ) from None
    return replace(found, target=target, answers=answers)


def _settings(path: Path) -> dict[str, Any]:
    """As they stand there: a run of an earlier version may name settings that are no
    longer known."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged ({error}); copy it again from where it was whole"
        ) from None
    return {key: value for key, value in settings.items() if key != "data"}


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


def known_score(score: str, task: str) -> str:
    """The score itself. Raises UsageError for one that answers to this task do not have."""
    if score not in SCORES[task]:
        raise UsageError(f'score: {task} has no "{score}"; {did_you_mean(score, SCORES[task])}')
    return score


def arm(name: str, found: Sequence[Result], diverged: int, shown: Sequence[str], score: str) -> Arm:
    """shown: the settings in which the arms differ."""
    settings = {key: found[0].settings.get(key) for key in shown} if found else {}
    return Arm(name, tuple(found), diverged, settings, _test(found, score))


def _test(found: Sequence[Result], score: str) -> Score:
    """A single run's own interval; over seeds Student's; over splits the corrected one."""
    if not found:
        return {"value": None, "low": None, "high": None, "interval": None}
    if len(found) == 1:
        found[0].score(score)
        return dict(found[0].summary["test"][score])
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
    # A share is one, whatever Student's distribution has room for.
    return (
        said
        if said["low"] is None or score in NO_SHARES
        else said | {"low": max(0.0, said["low"]), "high": min(1.0, said["high"])}
    )


def by_part(found: Sequence[Result]) -> dict[Part, list[Result]]:
    """The runs that were tested on the same pictures, together."""
    parts: dict[Part, list[Result]] = {}
    for run in found:
        parts.setdefault(run.part, []).append(run)
    return parts


def mean_score(found: Sequence[Result], score: str) -> float:
    return float(np.mean([run.score(score) for run in found]))


def test_share(found: Sequence[Result]) -> float:
    """Test pictures for each other one. Validation pictures count as those trained on: they choose
    the epoch, and with k folds this is then 1/(k - 1)."""
    return float(
        np.mean([run.pictures("test") / run.pictures("train", "validation") for run in found])
    )


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

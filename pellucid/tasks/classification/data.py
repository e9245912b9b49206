"""The data of classification: images with one class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...data import formats
from ...data.formats import Dataset
from ...data.formats.dataset import check_classes
from ...data.sample import Sample
from ..shared import class_numbers

COUNTED = "images"


def matches(source: str | Path) -> bool:
    """Always: the last task takes what no other does, and its loader says what is wrong with it."""
    return True


def load(source: str | Path) -> Dataset:
    return formats.read(source)


def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
    return None


def validate(dataset: Dataset) -> None:
    where, targets = dataset.root or dataset.name, _targets(dataset.samples)
    for name, count in class_counts(dataset.samples, dataset.classes).items():
        if not count:
            raise DataError(
                f"{where}: no picture of the class {name} can be read; "
                "mend its pictures or remove the class"
            )
    check_classes(where, dataset.classes, targets, dataset.given)


def strata(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    return _targets(dataset.samples), dataset.classes


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(_targets(samples), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def remap_labels(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    number = class_numbers(dataset, classes).tolist()
    samples = tuple(replace(s, target=number[s.target]) for s in dataset.samples)
    return replace(dataset, samples=samples, classes=tuple(classes))


def _targets(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([sample.target for sample in samples], np.int64)

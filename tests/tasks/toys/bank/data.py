"""A folder with images and a file `bank.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.formats import Dataset
from pellucid.data.sample import Sample

COUNTED = "images"
MARK = "bank.txt"


def matches(source: str | Path) -> bool:
    return (Path(source) / MARK).is_file()


def load(source: str | Path) -> Dataset:
    root = Path(source)
    samples = tuple(
        Sample(path, int(path.name.startswith("odd")), path.name)
        for path in sorted(root.glob("*.png"))
    )
    return Dataset(samples, (), "folder", f"{len(samples)} images", root.name, root=root)


def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
    return None


def validate(dataset: Dataset) -> None:
    assert dataset.samples


def strata(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    return np.zeros(len(dataset.samples), np.int64), ("all",)


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    return {}


def remap_labels(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    return dataset

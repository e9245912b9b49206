"""Data of segmentation: images or volumes with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...core.types import IGNORE, Mask
from ...data import formats
from ...data.dicom import SUFFIX as DICOM
from ...data.formats import Dataset
from ...data.formats.volumes import find
from ...data.sample import Sample
from ...data.volumes import is_nifti
from ..shared import class_numbers

COUNTED = "masks"


def matches(source: str | Path) -> bool:
    return formats.recognise_masks(source) is not None


def load(source: str | Path) -> Dataset:
    return formats.read_masks(source)


def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
    """The volumes of a file or folder, for a model of volumes. Raises DataError."""
    if preprocess.look != "picture":
        return find(path, preprocess.channel_names)
    if path.is_file() and (is_nifti(path) or path.suffix.lower() == DICOM):
        raise DataError(f"{path}: is a volume, and this model knows flat pictures; name pictures")
    return None


def validate(dataset: Dataset) -> None:
    if not any(sample.target.counts[1:IGNORE].any() for sample in dataset.samples):
        raise DataError(
            f"{dataset.root or dataset.name}: every mask is {dataset.classes[0]} alone; "
            "there is nothing to find"
        )


def strata(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """The kinds of images, where the data tells them apart."""
    kinds = sorted({sample.target.kind for sample in dataset.samples})
    numbers = [kinds.index(sample.target.kind) for sample in dataset.samples]
    return np.array(numbers, np.int64), tuple(kind or "all" for kind in kinds)


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """How many masks contain each class."""
    present = np.sum(
        [
            np.zeros(len(classes), np.int64),
            *(sample.target.counts[: len(classes)] > 0 for sample in samples),
        ],
        axis=0,
    )
    return dict(zip(classes, present.tolist(), strict=True))


def remap_labels(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    number = class_numbers(dataset, classes)
    if (number == np.arange(len(number))).all():
        return replace(dataset, classes=tuple(classes))
    table = np.full(256, IGNORE, np.uint8)
    table[: len(number)] = number
    samples = tuple(
        replace(sample, target=_remap_mask(sample.target, table)) for sample in dataset.samples
    )
    return replace(dataset, samples=samples, classes=tuple(classes))


def _remap_mask(mask: Mask, table: np.ndarray) -> Mask:
    """The mask with each label looked up in a table of 256."""
    labels = [table[mask.labels(number)] for number in range(len(mask.packed))]
    return Mask.of(*labels, names=mask.names, spacing=mask.spacing, kind=mask.kind)

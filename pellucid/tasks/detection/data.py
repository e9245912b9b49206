"""The data of detection: images with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...data import formats
from ...data.formats import Dataset
from ...data.sample import Sample
from ..shared import class_numbers

COUNTED = "objects"
# A class in fewer images has no part in the strata of the split.
FEW_IMAGES = 10


def matches(source: str | Path) -> bool:
    return formats.recognise_objects(source) is not None


def load(source: str | Path) -> Dataset:
    return formats.read_objects(source)


def find_inputs(path: Path, preprocess: Any) -> list[Sample] | None:
    return None


def validate(dataset: Dataset) -> None:
    if not any((~sample.target.ignore).any() for sample in dataset.samples):
        raise DataError(
            f"{dataset.root or dataset.name}: no picture holds an object to learn; add boxes, "
            "or name another data set"
        )


def strata(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """The stratum of an image is the rarest of its classes that is in ten images or more, so that
    each part of a split gets some of it. All other images form one stratum if they are ten or more;
    otherwise they join the largest one."""
    classes = len(dataset.classes)
    present = np.array(
        [np.bincount(s.target.labels, minlength=classes) > 0 for s in dataset.samples]
    )
    images = present.sum(0)
    rank = np.where(present & (images >= FEW_IMAGES), images, len(present) + 1)
    stratum = np.where(rank.min(1) <= len(present), rank.argmin(1), classes)
    few = np.bincount(stratum, minlength=classes + 1) < FEW_IMAGES
    stratum = np.where(few[stratum], classes, stratum)
    sizes = np.bincount(stratum, minlength=classes + 1)
    if sizes[-1] < FEW_IMAGES:
        stratum[stratum == classes] = sizes.argmax()
    return stratum, (*dataset.classes, "other pictures")


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    labels = np.concatenate([np.empty(0, np.int64), *(sample.target.labels for sample in samples)])
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def remap_labels(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    number = class_numbers(dataset, classes)
    samples = tuple(
        replace(s, target=replace(s.target, labels=number[s.target.labels]))
        for s in dataset.samples
    )
    return replace(dataset, samples=samples, classes=tuple(classes))
